"""How fast the app answers in a real browser, on the bundled model: python benchmarks/app.py [--sentences N]

Starts the app with an empty cache, waits for the first results, then measures with a warm cache: the first chart of a
new visit, the switch between pages and views, and the step of the layer slider, each as a median of several. Needs
Chromium and playwright (requirements-dev.txt).
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
CHART = "[data-testid=stVegaLiteChart] .marks"


def wait_for_server(port: int) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


def median_of(times: int, measure: Callable[[int], float]) -> float:
    return statistics.median(measure(k) for k in range(times))


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


LOOK = """chart => {
  const drawn = document.querySelector(chart);
  if (!drawn) return null;
  if (drawn.toDataURL) return drawn.toDataURL();
  return [...drawn.querySelectorAll('path, text')].map(m => m.getAttribute('d') + m.getAttribute('fill')).join();
}"""


def step_slider(page: Page, number: int) -> float:
    """Move the layer slider by one; until what the chart shows is another."""
    page.wait_for_timeout(700)  # the step before is over
    page.get_by_role("slider").last.focus()
    key = "ArrowLeft" if number % 2 else "ArrowRight"
    before = page.evaluate(LOOK, CHART)

    def move() -> None:
        page.keyboard.press(key)
        page.wait_for_function(
            f"([chart, before]) => {{ const now = ({LOOK})(chart); return now && now !== before }}",
            arg=[CHART, before],
            polling="raf",
        )

    return seconds(move)


def slider_steps(page: Page, address: str, times: int) -> float:
    """The median step of a view's layer slider."""
    page.goto(address)
    page.locator(CHART).first.wait_for()
    step_slider(page, 0)
    return median_of(times, lambda k: step_slider(page, k + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=100)
    parser.add_argument("--times", type=int, default=7, help="repetitions of each measurement")
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    rows: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory() as cache, sync_playwright() as playwright:
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.port", str(port)],
            cwd=ROOT,
            env={**os.environ, "NEURONXA_CACHE_DIR": cache},
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for_server(port)
            flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path=chromium, args=flags)
            address = f"http://localhost:{port}/?sentences={options.sentences}"
            page = browser.new_page()
            page.set_default_timeout(600_000)
            start = time.perf_counter()
            page.goto(address)
            page.locator(CHART).first.wait_for()
            rows.append(("first visit, empty cache: first chart", time.perf_counter() - start))
            page.get_by_text("24 languages against").wait_for()
            rows.append(("first visit, empty cache: all 25 languages", time.perf_counter() - start))
            page.close()

            def visit(_number: int) -> float:
                page = browser.new_page()
                taken = seconds(lambda: (page.goto(address), page.locator(CHART).first.wait_for()))
                page.close()
                return taken

            rows.append(("new visit, warm cache: first chart", median_of(options.times, visit)))
            page = browser.new_page()
            page.goto(address)
            page.locator(CHART).first.wait_for()

            def switch(number: int) -> float:
                name = "Alignment" if number % 2 else "Run"
                shown = page.locator(CHART).first if number % 2 else page.get_by_text("25 of 25 languages cached")
                link = page.get_by_test_id("stTopNavLink").filter(has_text=name)
                return seconds(lambda: (link.click(), shown.wait_for()))

            rows.append(("page switch", median_of(2 * options.times, switch)))
            root, _, query = address.partition("?")
            for name, path in (
                ("similarity matrix", f"?{query}&view=Sentences"),
                ("all pairs", f"?{query}&view=All+pairs"),
                ("overlap matrix", f"overlap?{query}"),
                ("overlap sets", f"overlap?{query}&overlap_view=Sets"),
            ):
                rows.append((f"layer slider step: {name}", slider_steps(page, root + path, options.times)))
            browser.close()
        finally:
            server.terminate()
            server.wait()
    print(f"| bundled model, 25 languages x {options.sentences} sentences | seconds |\n| --- | ---: |")
    for name, taken in rows:
        print(f"| {name} | {taken:.2f} |")


if __name__ == "__main__":
    main()
