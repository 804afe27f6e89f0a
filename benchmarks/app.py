"""How fast the app answers in a real browser, and how much it sends there: python benchmarks/app.py [--times N]

Starts the app with an empty cache and measures the bundled model on the bundled corpus, then on a corpus of many
languages: the first chart of a new visit, the switch between pages and views, the step of a layer slider to layers that
nobody looked at before, and the bytes of the largest chart and table of every view as they come through the web socket.
Times are from the action to the new picture. Needs Chromium and playwright (requirements-dev.txt).
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from playwright.sync_api import Browser, Page
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from timing import seconds

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from live import chromium, served

from neuronxa_core.corpora import languages

ROOT = Path(__file__).parents[1]
BUNDLED = ROOT / "neuronxa_core" / "demo" / "corpus"
CHART = "[data-testid=stVegaLiteChart] .marks"
FRAME = "[data-testid=stDataFrame]:visible"
PATIENCE_MS = 300_000

# a page's parameter for its views, and the views, in the order in which they are measured
VIEWS = {
    "": ("", ("",)),
    "alignment": ("view", ("Ranking", "Layers", "Sentences", "All pairs", "Representations", "Table")),
    "overlap": (
        "overlap_view",
        (
            "Matrix",
            "By layer",
            "Translation-specific",
            "Intersections",
            "Shared core",
            "Language-specific",
            "Summary",
        ),
    ),
    "microscope": ("", ("",)),
    "downstream": ("downstream_view", ("Scatter", "By layer", "Methods", "Sentences", "Robustness", "Estimate")),
}
NO_CHART = {"Table", "Summary", "Robustness", "Estimate"}
SLIDERS = (
    ("similarity matrix", "alignment", "view=Sentences"),
    ("all pairs", "alignment", "view=All pairs"),
    ("overlap matrix", "overlap", ""),
    ("overlap sets", "overlap", "overlap_view=Sets"),
)

# what is drawn, small enough to be compared at every frame
LOOK = """chart => {
  const drawn = document.querySelector(chart);
  if (!drawn) return null;
  if (!drawn.toDataURL) return [...drawn.querySelectorAll('path, text, image')].map(
      m => m.getAttribute('d') + m.getAttribute('fill') + m.getAttribute('href') + m.textContent).join();
  const small = document.createElement('canvas');
  small.width = small.height = 128;
  small.getContext('2d').drawImage(drawn, 0, 0, 128, 128);
  return small.toDataURL();
}"""
# in every frame, where Playwright's own waiting looks again after up to half a second
SEEN = "selector => document.querySelector(selector)?.getBoundingClientRect().width > 0"
SAID = "text => [...document.querySelectorAll('[data-testid=stHeading]')].some(h => h.textContent.includes(text))"
CHANGED = f"([chart, before]) => {{ const now = ({LOOK})(chart); return now && now !== before }}"


class Row(NamedTuple):
    """One line of the table of times, in seconds."""

    action: str
    taken: list[float]

    def __str__(self) -> str:
        return f"| {self.action} | {statistics.median(self.taken):.2f} | {max(self.taken):.2f} |"


class Received:
    """The bytes of what a page's web socket brings, by Streamlit's kind of element."""

    def __init__(self, page: Page) -> None:
        self.sizes: list[tuple[str | None, int]] = []
        page.on("websocket", lambda socket: socket.on("framereceived", self._take))

    def _take(self, frame: bytes) -> None:
        kind = ForwardMsg.FromString(frame).delta.new_element.WhichOneof("type")
        self.sizes.append((kind, len(frame)))

    def largest(self, kind: str) -> int:
        """Of one element of a kind."""
        return max((size for one, size in self.sizes if one == kind), default=0)

    def total(self) -> int:
        return sum(size for _, size in self.sizes)


def many_languages(folder: Path, count: int, sentences: int) -> None:
    """A corpus of so many languages: the bundled ones, and under further codes the same with their words turned."""
    texts = {path.stem: path.read_text("utf-8").splitlines()[:sentences] for path in sorted(BUNDLED.glob("*_*.txt"))}
    with (ROOT / "neuronxa_core" / "corpora" / "languages.csv").open(encoding="utf-8", newline="") as table:
        known = [row["code3"] for row in csv.DictReader(table)]
    taken = {code.split("_")[0] for code in texts}
    named = [code for code in known if code not in taken and languages.name(code) != code and languages.script(code)]
    codes = [*texts, *(f"{code}_{languages.script(code)}" for code in named)][:count]
    for k, code in enumerate(codes):
        turns, source = divmod(k, len(texts))
        lines = []
        for line in list(texts.values())[source]:
            space = " " if " " in line else ""
            words = line.split(space) if space else list(line)
            lines.append(space.join(words[turns % len(words) :] + words[: turns % len(words)]))
        (folder / f"{code}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    labels = (BUNDLED / "labels.txt").read_text("utf-8").splitlines()[:sentences]
    (folder / "labels.txt").write_text("\n".join(labels) + "\n", "utf-8")


def settle(page: Page) -> None:
    """Until no script runs any more."""
    page.wait_for_timeout(700)
    page.wait_for_function("!document.querySelector('[data-test-script-state=running]')")


def until_changed(page: Page, act: Callable[[], object]) -> float:
    """Seconds from an action until the page's first chart looks different."""
    before = page.evaluate(LOOK, CHART)
    return seconds(lambda: (act(), page.wait_for_function(CHANGED, arg=[CHART, before], polling="raf")))


def until(page: Page, condition: str, argument: str = CHART) -> None:
    """Wait until a condition holds, looked at in every frame."""
    page.wait_for_function(condition, arg=argument, polling="raf")


def slider_steps(page: Page, most: int | None) -> list[float]:
    """The steps of a view's layer slider from the first layer to the last, or so many."""
    settle(page)
    slider = page.get_by_role("slider").last
    slider.focus()
    page.keyboard.press("Home")
    settle(page)
    taken = []
    for _ in range(most or int(slider.get_attribute("max"))):
        taken.append(until_changed(page, lambda: page.keyboard.press("ArrowRight")))
        settle(page)
    return taken


def choose_view(page: Page, name: str) -> None:
    page.get_by_role("radio", name=name, exact=True).or_(
        page.get_by_test_id("stMain").get_by_role("button", name=name, exact=True)
    ).first.click()


class Corpus(NamedTuple):
    """What is looked at: `query` names it in a link."""

    title: str
    query: str
    count: int


class Session:
    """Measurements of one corpus. brief: one step of every slider, one view of every page."""

    def __init__(self, browser: Browser, root: str, corpus: Corpus, times: int, brief: bool) -> None:
        self.browser, self.root, self.corpus, self.times, self.brief = browser, root, corpus, times, brief

    def address(self, path: str = "", query: str = "") -> str:
        asked = "&".join(part for part in (self.corpus.query, query) if part)
        return f"{self.root}{path}?{quote(asked, safe='=&/,')}"

    def views(self, path: str) -> tuple[str, ...]:
        """The views of a page."""
        return VIEWS[path][1][:1] if self.brief else VIEWS[path][1]

    def new_page(self) -> Page:
        page = self.browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        return page

    def compute(self) -> Iterator[Row]:
        """The first visit, which computes everything."""
        page = self.new_page()
        start = time.perf_counter()
        page.goto(self.address())
        button = page.get_by_role("button", name="Compute them")
        chart = page.locator(CHART).first
        chart.or_(button).first.wait_for()
        if button.count():
            button.click()
        until(page, SEEN)
        first = time.perf_counter() - start
        page.get_by_text(f"{self.corpus.count - 1} languages against").wait_for()
        yield Row("first visit: first chart", [first])
        yield Row(f"first visit: all {self.corpus.count} languages", [time.perf_counter() - start])
        page.goto(self.address("downstream"))
        measure = page.get_by_role("button", name="Measure", exact=True)
        measure.or_(chart).first.wait_for()
        if measure.count():
            measure.click()
        chart.wait_for()
        page.close()

    def visits(self) -> Iterator[Row]:
        """A new visit, until its first chart."""
        taken = []
        for _ in range(self.times):
            page = self.new_page()
            taken.append(seconds(lambda page=page: (page.goto(self.address()), until(page, SEEN))))
            page.close()
        yield Row("new visit: first chart", taken)

    def steps(self) -> Iterator[Row]:
        """Layer sliders, each in a new visit, and the Microscope's next neuron."""
        for name, path, query in SLIDERS:
            page = self.new_page()
            page.goto(self.address(path, query))
            page.locator(CHART).first.wait_for()
            yield Row(f"layer slider step: {name}", slider_steps(page, 1 if self.brief else None))
            page.close()
        page = self.new_page()
        page.goto(self.address("microscope"))
        page.locator(CHART).first.wait_for()
        settle(page)
        number = page.get_by_label("Neuron", exact=True)
        taken = []
        for _ in range(self.times):
            number.focus()
            page.keyboard.press("ArrowUp")
            taken.append(until_changed(page, lambda: page.keyboard.press("Enter")))
            settle(page)
        page.close()
        yield Row("microscope: next neuron", taken)

    def switches(self) -> Iterator[Row]:
        """Pages and back to Run, then views and back to one without a chart."""
        page = self.new_page()
        page.goto(self.address("run"))
        everything = f"{self.corpus.count} of {self.corpus.count} languages cached"
        chart = page.locator(CHART).first
        until(page, SAID, everything)
        back = []

        def follow(name: str, condition: str, argument: str) -> float:
            link = page.get_by_test_id("stTopNavLink").filter(has_text=name)
            taken = seconds(lambda: (link.click(), until(page, condition, argument)))
            settle(page)
            return taken

        for name in ("Alignment", "Overlap", "Microscope", "Downstream"):
            taken = []
            for _ in range(self.times + 1):
                taken.append(follow(name, SEEN, CHART))
                back.append(follow("Run", SAID, everything))
            yield Row(f"page switch to {name}", taken[1:])
        yield Row("page switch to Run", back)
        for path, name in (("alignment", "Table"), ("overlap", "Summary")):
            page.goto(self.address(path, f"{VIEWS[path][0]}={name}"))
            page.locator(FRAME).first.wait_for()
            settle(page)
            for view in self.views(path):
                if view in NO_CHART:
                    continue
                taken = []
                for _ in range(self.times):
                    taken.append(seconds(lambda view=view: (choose_view(page, view), until(page, SEEN))))
                    settle(page)
                    choose_view(page, name)
                    chart.wait_for(state="detached")
                    settle(page)
                yield Row(f"view switch to {view}", taken)
        page.close()

    def payloads(self) -> Iterator[str]:
        """For every view of every page the largest chart, the largest table and everything, in kB."""
        for path, (key, _) in VIEWS.items():
            for view in self.views(path):
                page = self.new_page()
                received = Received(page)
                page.goto(self.address(path, f"{key}={view}" if key else ""))
                page.locator(FRAME if view in NO_CHART else CHART).first.wait_for()
                settle(page)
                sizes = (received.largest("vega_lite_chart"), received.largest("dataframe"), received.total())
                name = f"{(path or 'overview').capitalize()} {view}".strip()
                page.close()
                yield f"| {name} | " + " | ".join(f"{size / 1000:.0f}" for size in sizes) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=100)
    parser.add_argument("--times", type=int, default=7, help="repetitions of each measurement")
    parser.add_argument("--languages", type=int, default=200, help="of the second corpus; 0 for none")
    parser.add_argument("--cache", type=Path, help="a folder that keeps the states; otherwise the cache starts empty")
    parser.add_argument("--tiny", action="store_true", help="few sentences, 64 languages, once: does it run?")
    options = parser.parse_args()
    if options.tiny:
        options.sentences, options.times, options.languages = 24, 1, 64  # fewer sentences have too few labels
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = [] if options.tiny else [Corpus("bundled", f"sentences={options.sentences}", 25)]
        if options.languages:
            corpus = folder / "corpus"
            corpus.mkdir()
            many_languages(corpus, options.languages, options.sentences)
            sources.append(Corpus("many", f"corpus={corpus}", options.languages))
        with served(options.cache or folder / "cache", folder / "log") as server, chromium() as browser:
            for source in sources:
                session = Session(browser, f"{server.address}/", source, options.times, options.tiny)
                size = f"bundled model, {source.count} languages x {options.sentences} sentences"
                print(f"\n| {size} | seconds | slowest |\n| --- | ---: | ---: |", flush=True)
                for measure in (session.compute, session.visits, session.steps, session.switches):
                    for row in measure():
                        print(row, flush=True)
                print("\n| largest of the view, kB | chart | table | all |\n| --- | ---: | ---: | ---: |", flush=True)
                for line in session.payloads():
                    print(line, flush=True)


if __name__ == "__main__":
    main()
