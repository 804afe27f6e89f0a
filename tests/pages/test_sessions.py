"""Many people at one server: one queue for all, each with choices of their own, whatever their browsers do."""

import re
from pathlib import Path

import pytest
from live import ROOT, Server, chromium, needs_browser, settled, visit, watched

pytestmark = [*needs_browser, pytest.mark.full]

CORPUS = ROOT / "neuronxa_core" / "demo" / "corpus"
LANGUAGES = sorted(path.stem for path in CORPUS.glob("*_*.txt") if path.stem != "eng_Latn")
# the server's extraction waits while there is a file that is named by its number of sentences
HOLD = """
import importlib.abc, importlib.util, os, sys, time

class Hold(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "neuronxa_core.states.extraction":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            real = module.extract

            def extract(loaded, language, sentences, *arguments, cancelled=lambda: False, **options):
                while os.path.exists(os.path.join(os.environ["HELD"], str(len(sentences)))) and not cancelled():
                    time.sleep(0.05)
                return real(loaded, language, sentences, *arguments, cancelled=cancelled, **options)

            module.extract = extract

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Hold())
"""


class Held:
    """A server for several people, and a hand on its runs: those of so many sentences can be held."""

    def __init__(self, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text(HOLD, "utf-8")
        self._held = folder / "held"
        self._held.mkdir()
        allowed = folder / "neuronxa.toml"
        allowed.write_text(f"[corpora]\nfolders = ['{CORPUS}']\n", "utf-8")
        self.server = Server(
            folder / "cache",
            folder / "log",
            "--server.address",
            "0.0.0.0",  # where it is this machine's alone, everybody may stop everything
            NEURONXA_SETTINGS=str(allowed),
            PYTHONPATH=str(folder),
            HELD=str(self._held),
        )

    def hold(self, sentences: int) -> None:
        (self._held / str(sentences)).touch()

    def release(self, sentences: int) -> None:
        (self._held / str(sentences)).unlink()

    def link(self, sentences: int, page: str = "run") -> str:
        """To a choice that is told from all others by its number of sentences, and so are its languages."""
        chosen = ",".join(self.languages(sentences))
        return f"{self.server.address}/{page}?corpus={CORPUS}&languages={chosen}&sentences={sentences}"

    @staticmethod
    def languages(sentences: int) -> list[str]:
        return [LANGUAGES[sentences % len(LANGUAGES)], LANGUAGES[(sentences + 7) % len(LANGUAGES)]]


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    held = Held(tmp_path_factory.mktemp("sessions"))
    try:
        held.server.wait_until_up()
        yield held
        assert "Traceback" not in held.server.said(), held.server.said()
    finally:
        held.server.stop()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def person(browser):
    """person(): a browser of another person, who has no cookies yet."""
    contexts = []

    def new():
        contexts.append(browser.new_context())
        return contexts[-1]

    yield new
    for context in contexts:
        context.close()


def tab(context, address):
    """A tab of a person, at an address."""
    page = watched(context.new_page())
    page.goto(address)
    page.get_by_test_id("stMain").get_by_role("heading").first.wait_for()
    return page


def at_run(context, held, sentences):
    page = tab(context, held.link(sentences))
    page.get_by_text(re.compile(r"\d of 3 languages cached")).wait_for()
    return page


def compute(page):
    page.get_by_role("button", name="Compute", exact=True).click()


def assert_own_choices(page, held, sentences):
    """A page shows its own session's languages and sentences, and so does its address."""
    assert page.get_by_label("Sentences", exact=True).input_value() == str(sentences)
    chosen = page.get_by_test_id("stMultiSelect").first.inner_text()
    assert sorted(re.findall(r"\((\w+_\w+)\)", chosen)) == sorted(held.languages(sentences))
    assert f"sentences={sentences}" in page.url
    for code in held.languages(sentences):
        assert code in page.url


def assert_no_trouble(*pages):
    for page in pages:
        assert page.errors == []
        assert page.strangers == []


def waits_behind(page, count):
    page.get_by_text(f"Waiting: {count} {'run' if count == 1 else 'runs'} before this one").wait_for()


def test_many_people_share_one_queue_and_nothing_else(held, person):
    count, starting = 20, 5
    sizes = [4 + k for k in range(count)]
    people = [person() for _ in sizes]
    pages = [at_run(context, held, sentences) for context, sentences in zip(people, sizes, strict=True)]
    for sentences in sizes[:starting]:
        held.hold(sentences)
    for k, page in enumerate(pages[:starting]):
        compute(page)
        if k == 0:
            page.get_by_text("0 of 12 sentences").wait_for()
        else:
            waits_behind(page, k)
            page.get_by_text(re.compile(r"Now: states of 3 languages in demo, for guest \w+")).wait_for()

    # others see whose it is, and cannot stop it; the same person in another tab can
    last = starting - 1
    stranger = at_run(people[starting], held, sizes[last])
    stranger.get_by_text(re.compile(r"Started by guest \w+, who can stop it")).wait_for()
    waits_behind(stranger, last)
    assert stranger.get_by_role("button", name=re.compile("Cancel")).count() == 0
    second_tab = at_run(people[last], held, sizes[last])
    waits_behind(second_tab, last)
    second_tab.get_by_role("button", name="Cancel", exact=True).wait_for()

    for k in range(last):
        held.release(sizes[k])
        pages[k].get_by_text("3 of 3 languages cached").wait_for()
        if k + 1 < last:
            pages[k + 1].get_by_text(re.compile(r"^0 of \d+ sentences")).wait_for()
            waits_behind(pages[last], last - k - 1)
            # how long the first took tells how long the others will
            pages[last].get_by_text(re.compile("about .* until it starts")).wait_for()
    second_tab.get_by_role("button", name="Cancel", exact=True).click()
    for page in (pages[last], second_tab, stranger):
        page.get_by_text("The run was cancelled").wait_for()
        page.get_by_text("0 of 3 languages cached").wait_for()
    held.release(sizes[last])

    for page, sentences in zip(pages, sizes, strict=True):
        settled(page)
        assert_own_choices(page, held, sentences)
    for page in pages[starting:]:
        assert page.get_by_text("0 of 3 languages cached").count() == 1
    for page, sentences in zip(pages[:last], sizes, strict=False):
        page.get_by_role("button", name="Show alignment").click()
        page.get_by_text(f"{sentences} sentences, 2 languages against English").wait_for()
        settled(page)
    assert_no_trouble(*pages, stranger, second_tab)


def test_a_run_goes_on_whatever_happens_to_its_tabs(held, person):
    sentences = 30
    held.hold(sentences)
    somebody = person()
    page = at_run(somebody, held, sentences)
    compute(page)
    page.get_by_text("0 of 90 sentences").wait_for()
    page.reload()
    page.get_by_text("0 of 90 sentences").wait_for()
    page.get_by_role("button", name="Cancel", exact=True).wait_for()
    assert_own_choices(page, held, sentences)
    other = at_run(somebody, held, sentences)
    other.get_by_text("0 of 90 sentences").wait_for()
    other.get_by_role("button", name="Cancel", exact=True).wait_for()
    # a second tab with a choice of its own leaves the first as it is
    third = at_run(somebody, held, sentences + 1)
    assert_own_choices(third, held, sentences + 1)
    assert_own_choices(page, held, sentences)
    assert_no_trouble(page, other, third)
    page.close()
    other.close()
    held.release(sentences)
    again = at_run(somebody, held, sentences)
    again.get_by_text("3 of 3 languages cached").wait_for()
    settled(again)
    third.reload()
    third.get_by_text("0 of 3 languages cached").wait_for()
    assert_own_choices(third, held, sentences + 1)

    # the browser's own buttons, one step a page
    shown = f"{sentences} sentences, 2 languages against English"
    visit(again, "Alignment")
    again.get_by_text(shown).wait_for()
    settled(again)
    visit(again, "Overlap")
    again.get_by_text(shown).wait_for()
    settled(again)
    again.go_back()
    again.get_by_role("heading", name="Alignment", exact=True).wait_for()
    again.get_by_text(shown).wait_for()
    settled(again)
    again.go_back()
    again.get_by_role("heading", name="Run", exact=True).wait_for()
    again.get_by_text("3 of 3 languages cached").wait_for()
    settled(again)
    assert_own_choices(again, held, sentences)
    again.go_forward()
    again.get_by_role("heading", name="Alignment", exact=True).wait_for()
    again.get_by_text(shown).wait_for()
    settled(again)
    assert_no_trouble(again, third)
