"""Whether the server's memory grows as people use it: python benchmarks/soak.py [--pages N] [--models N] [--tiny]

A browser walks from page to page of a fresh server, and every so often another model is chosen in a new visit and its
states are computed. Each model has weights of its own, large enough that one that is not freed is seen. What the server
holds in memory is read after a warm-up that has seen every page and a few models, on the way, and at the end; it
exits with 1 where it has grown by more than --most per cent in between. Needs Chromium and playwright
(requirements-dev.txt).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from live import chromium, served, settled, visit
from playwright.sync_api import Browser, Page
from tiny_models import tiny_model

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "neuronxa_core" / "demo" / "corpus"
LANGUAGES = ("deu_Latn", "spa_Latn", "fra_Latn", "ita_Latn", "por_Latn")
PAGES = ("Run", "Alignment", "Overlap", "Microscope", "Downstream")
SIZES = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4}
PATIENCE_MS = 300_000
MIB = 1 << 20


def resident(server: psutil.Process) -> int:
    """Bytes of memory that a process and those that it started hold, once its work has settled."""
    time.sleep(3)
    family = [server, *server.children(recursive=True)]
    return sum(process.memory_info().rss for process in family)


class Soak:
    """A browser at a server, and models to choose from."""

    def __init__(self, browser: Browser, address: str, folder: Path, sentences: int) -> None:
        self.browser, self.address, self.folder, self.sentences = browser, address, folder, sentences
        self.page: Page | None = None
        self.models = self.pages = 0

    def change_model(self) -> None:
        """Another model in a new visit, and its states."""
        model = tiny_model("llama", self.folder / f"model{self.models}", seed=self.models, **SIZES)
        self.models += 1
        if self.page is not None:
            self.page.close()
        self.page = self.browser.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        query = f"model={model}&corpus={CORPUS}&languages={','.join(LANGUAGES)}&sentences={self.sentences}"
        self.page.goto(f"{self.address}/run?{quote(query, safe='=&/,')}")
        self.page.get_by_role("button", name="Compute", exact=True).click()
        self.page.get_by_text("Everything that this choice needs is there").wait_for()
        settled(self.page)

    def change_page(self) -> None:
        """The next page, until all that it shows is there."""
        visit(self.page, PAGES[self.pages % len(PAGES)])
        settled(self.page)
        self.pages += 1

    def steps(self, pages: int, models: int) -> Iterator[None]:
        """So many changes of the page, with so many changes of the model evenly among them."""
        changes = {k * pages // models for k in range(models)}
        for k in range(pages):
            if k in changes:
                self.change_model()
            self.change_page()
            yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200, help="changes of the page after the warm-up")
    parser.add_argument("--models", type=int, default=30, help="changes of the model among them")
    parser.add_argument("--warm", type=int, default=4, help="models of the warm-up, with every page each")
    parser.add_argument("--sentences", type=int, default=24)
    parser.add_argument("--most", type=float, default=10.0, help="per cent that memory may grow")
    parser.add_argument("--tiny", action="store_true", help="5 pages, 2 models: does it run?")
    options = parser.parse_args()
    if options.tiny:
        options.pages, options.models, options.warm, options.most = 5, 2, 1, 25.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # on a thread each, matrix products take turns with the browser instead of waiting for it
        with served(folder / "cache", folder / "log", OMP_NUM_THREADS="1") as server, chromium() as browser:
            process = psutil.Process(server.process.pid)
            print("| page changes | model changes | resident, MiB |\n| ---: | ---: | ---: |", flush=True)
            print(f"| 0 | 0 | {resident(process) / MIB:.0f} |", flush=True)
            soak = Soak(browser, server.address, folder, options.sentences)
            for _ in soak.steps(options.warm * len(PAGES), options.warm):
                pass
            before = resident(process)
            print(f"| {soak.pages} | {soak.models} | {before / MIB:.0f} |", flush=True)
            every = max(1, options.pages // 5)
            for k, _ in enumerate(soak.steps(options.pages, options.models), start=1):
                if k % every == 0 and k < options.pages:
                    print(f"| {soak.pages} | {soak.models} | {resident(process) / MIB:.0f} |", flush=True)
            after = resident(process)
            print(f"| {soak.pages} | {soak.models} | {after / MIB:.0f} |", flush=True)
    grown = 100 * (after / before - 1)
    print(f"\nAfter the warm-up, {options.pages} page changes and {options.models} model changes: {grown:+.1f} %")
    return int(grown > options.most)


if __name__ == "__main__":
    sys.exit(main())
