"""Pages on a cache that cannot be opened, vanishes, is read-only or damaged: one sentence, and the app goes on."""

from pathlib import Path

import numpy as np
import pytest
from faults import CHOSEN, LANGUAGES, PATIENCE_S, ROOT, damage, without_scores
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from neuronxa_core.jobs.job_queue import JobQueue
from neuronxa_core.store.entry_file import Entry
from pages.components import cached, kept, process, progress, session
from pages.components.process import services

PAGES = ("alignment", "overlap", "microscope", "downstream", "run")
SOME_PAGES = ("alignment", *(pytest.param(page, marks=pytest.mark.full) for page in PAGES[1:]))
MOST_RUNS = 12
"""Runs of the app's script by themselves, after one visit or click, that are no crash loop."""


@pytest.fixture
def visit(monkeypatch):
    """visit(page, cache, **query): the whole app at one of its pages, as a visitor meets it; runs are counted."""
    runs: list[str] = []
    queues: list[JobQueue] = []
    real = session.enter

    def enter(page):
        runs.append(page)
        assert len(runs) <= MOST_RUNS, "the page runs again and again"
        return real(page)

    def queue(*arguments, **options):
        queues.append(JobQueue(*arguments, **options))
        return queues[-1]

    begin = PagesManager.__init__

    def begin_later(*arguments, **options):
        """As in a server that has shown a page before: Streamlit knows the app's navigation."""
        begin(*arguments, **options)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", begin_later)
    # of a server that has one cache; here every test has another
    kept._values.clear()
    monkeypatch.setattr(session, "enter", enter)
    monkeypatch.setattr(process, "JobQueue", queue)

    def open_page(name: str, cache: Path, **query: str) -> AppTest:
        runs.clear()
        monkeypatch.setenv("NEURONXA_CACHE_DIR", str(cache))
        test = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=PATIENCE_S)
        test._page_hash = calc_hash(name)  # how Streamlit names a page of st.navigation
        for key, value in {**CHOSEN.to_query(), **query}.items():
            test.query_params[key] = value
        return again(test)

    def again(test: AppTest) -> AppTest:
        runs.clear()
        return test.run()

    open_page.again = again
    yield open_page
    for queue in queues:
        queue.close()


def said(test: AppTest) -> list[str]:
    return [element.value.replace("\\", "") for kind in ("error", "warning") for element in test.get(kind)]


@pytest.fixture
def means(right_scores):
    """{language: its score over all layers}, as a page shows it."""
    return pytest.approx(dict(zip(LANGUAGES, np.mean(right_scores, axis=1).tolist(), strict=True)))


def shown_scores(test: AppTest) -> dict[str, float]:
    return test.dataframe[0].value.set_index("language")["score"].to_dict()


def assert_one_sentence(test: AppTest, *words: str) -> None:
    """An error that a person can read, and no box that hides one."""
    assert [element.value for element in test.exception] == []
    errors = [element.value.replace("\\", "") for element in test.error]
    assert len(errors) == 1, errors
    assert all(word in errors[0] for word in words), errors
    assert "\n" not in errors[0]


@pytest.mark.parametrize("page", SOME_PAGES)
def test_a_cache_that_cannot_be_opened_is_one_sentence_on_every_page(page, visit, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("precious")
    assert_one_sentence(visit(page, file), "is a file; move it, or set NEURONXA_CACHE_DIR")
    monkeypatch.setenv("NEURONXA_CACHE_GIB", "nonsense")
    assert_one_sentence(visit(page, tmp_path / "cache"), "NEURONXA_CACHE_GIB is a number of GiB above 0")
    monkeypatch.delenv("NEURONXA_CACHE_GIB")
    assert file.read_text() == "precious"


@pytest.mark.parametrize("page", SOME_PAGES)
def test_a_cache_that_vanishes_is_one_sentence_and_the_app_goes_on_when_it_is_back(page, visit, own_cache, tmp_path):
    test = visit(page, own_cache)
    assert not test.exception
    before = said(test)
    assert not any("cache" in words for words in before)
    away = tmp_path / "away"
    own_cache.rename(away)
    assert_one_sentence(visit.again(test), f"the cache folder {own_cache} has vanished; make it again")
    assert_one_sentence(visit(page, own_cache), f"the cache folder {own_cache} has vanished; make it again")
    assert not own_cache.exists()
    away.rename(own_cache)
    test = visit.again(test)
    assert not test.exception
    assert said(test) == before


@pytest.mark.parametrize("page", SOME_PAGES)
def test_a_page_on_a_cache_that_cannot_be_written_shows_its_scores_and_says_so(page, visit, read_only_cache, means):
    test = visit(page, read_only_cache)
    assert [element.value for element in test.exception] == []
    assert not any("cache" in element.value for element in test.error)
    assert any("cannot be written" in words for words in said(test))
    if page == "alignment":
        assert shown_scores(test) == means


def test_damage_is_computed_again_and_the_scores_are_right(visit, own_cache, means):
    without_scores(own_cache)
    damaged = damage(own_cache)
    test = visit("alignment", own_cache)
    queue = services().queue
    jobs = -1
    while jobs < len(queue.jobs()):  # one a damaged entry, at the most
        jobs = len(queue.jobs())
        assert jobs <= damaged
        assert all(queue.wait(job, PATIENCE_S) for job in queue.jobs())
        test = visit.again(test)
        assert not test.exception
        # damage that is found while a run goes on is not part of that run
        offered = [button for button in test.button if button.label == "Compute them"]
        if offered and not any(job.active for job in queue.jobs()):
            test = offered[0].click().run()
    assert said(test) == []
    assert shown_scores(test) == means


def test_damage_starts_no_run_of_what_a_link_names_besides(visit, own_cache):
    without_scores(own_cache)
    damage(own_cache)
    folder = ROOT / "neuronxa_core" / "demo" / "corpus"  # not by its name, which is computed without being asked
    visit("alignment", own_cache, corpus=str(folder), languages=",".join([*CHOSEN.languages, "vie_Latn"]))
    queue = services().queue
    assert all(queue.wait(job, PATIENCE_S) for job in queue.jobs())
    computed = {code for job in queue.jobs() for code in job.totals}
    assert computed and "vie_Latn" not in computed


def test_damage_that_takes_long_to_mend_is_offered(visit, own_cache, monkeypatch):
    monkeypatch.setattr(progress, "UNASKED_S", 0.0)
    without_scores(own_cache)
    damage(own_cache)
    test = visit("alignment", own_cache)
    assert services().queue.jobs() == []
    assert "Compute them" in [button.label for button in test.button]


def test_a_disk_that_damages_all_that_is_written_is_an_error_and_no_endless_loop(visit, own_cache, monkeypatch):
    without_scores(own_cache)

    def damaged(entry, *_arguments):
        entry._give_up("bits that flip")

    monkeypatch.setattr(Entry, "_read", damaged)
    test = visit("alignment", own_cache)
    queue = services().queue
    for _ in range(3 * len(LANGUAGES) + 6):
        assert all(queue.wait(job, PATIENCE_S) for job in queue.jobs())
        test = visit.again(test)
        assert not test.exception
        if test.error:
            break
    assert_one_sentence(test, "damaged")
    jobs = len(queue.jobs())
    for _ in range(3):
        test = visit.again(test)
        assert all(queue.wait(job, PATIENCE_S) for job in queue.jobs())
    assert len(queue.jobs()) == jobs, "it is computed again and again"


def test_a_corpus_whose_folder_of_a_split_changes_is_read_again(tmp_path):
    root = tmp_path / "flores"
    (root / "devtest").mkdir(parents=True)
    for code in ("eng_Latn", "deu_Latn"):
        (root / "devtest" / f"{code}.devtest").write_text("one\ntwo\nthree\n", "utf-8")
    before = cached._fingerprint(str(root))
    assert before == cached._fingerprint(str(root))
    (root / "devtest" / "deu_Latn.devtest").write_text("eins\nzwei\ndrei\n", "utf-8")
    assert cached._fingerprint(str(root)) != before
