"""The app as its users meet it: a server of its own process, and Chromium. Used by the tests that need either."""

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run", "--disable-quic"]  # fmt: skip
PATIENCE_MS = 60_000
PATIENCE_S = 120

needs_browser = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
]


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


class Server:
    """A running app.

    address: where it answers. process: to kill it. said(): its log so far.
    """

    def __init__(
        self,
        cache: Path,
        log: Path,
        *options: str,
        port: int | None = None,
        script: Path = ROOT / "streamlit_app.py",
        folder: Path = ROOT,
        **environment: str,
    ) -> None:
        self.port = port or free_port()
        self.address = f"http://localhost:{self.port}"
        self._log = log
        with log.open("ab") as handle:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(self.port), *options],
                cwd=folder,
                env={**os.environ, "NEURONXA_CACHE_DIR": str(cache), **environment},
                stdout=handle,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def wait_until_up(self, below: str = "") -> None:
        """below: the path under which the app is served."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.answers(f"{below}/_stcore/health"):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}{path}", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


@contextlib.contextmanager
def served(cache: Path, log: Path, *options: str, below: str = "", **environment: str):
    """The app on a free port, until the block ends; a traceback in its log fails the test."""
    server = Server(cache, log, *options, **environment)
    try:
        server.wait_until_up(below)
        yield server
        assert "Traceback" not in server.said(), server.said()
    finally:
        server.stop()


@contextlib.contextmanager
def chromium():
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


def watched(page):
    """The page; it reaches nothing but this machine, and `page.errors` and `page.strangers` tell what went wrong."""
    page.set_default_timeout(PATIENCE_MS)
    page.errors, page.strangers = [], []

    def local_only(route):
        if re.match(r"https?://(localhost|127\.0\.0\.1)[:/]", route.request.url):
            return route.continue_()
        page.strangers.append(route.request.url)
        return route.fulfill(status=204, body="")

    page.route("**/*", local_only)

    def on_console(message):
        # opened at a page's own address, Streamlit looks for its server below that address first
        looking = "/_stcore/" in message.location.get("url", "") and "404" in message.text
        if message.type == "error" and not looking:
            page.errors.append(message.text)

    page.on("console", on_console)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    return page


def settled(page):
    """Wait until no script runs, and look for exception boxes."""
    page.wait_for_function("!document.querySelector('[data-test-script-state=running]')")
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.locator("[data-testid=stAlertContentError]").count() == 0


def visit(page, name):
    """Follow the navigation to a page; on a narrow screen it may be among those that are folded away."""
    links = page.get_by_test_id("stTopNavLink")
    link = links.filter(has_text=name)
    if link.bounding_box()["y"] > links.first.bounding_box()["y"]:
        page.get_by_test_id("stTopNavSection").click()
        link = page.get_by_test_id("stTopNavDropdownLink").filter(has_text=name)
    link.click()
    page.get_by_role("heading", name=name, exact=True).wait_for()
