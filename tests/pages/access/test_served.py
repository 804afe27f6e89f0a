"""Servers and browsers: who somebody is, errors, the network, a proxy, and what deploy/ holds."""

import http.client
import logging
import os
import re
import shutil
import socket
import subprocess
import time

import psutil
import pytest
from live import ROOT, Server, chromium, free_port, needs_browser, served, settled, visit, watched
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from websockets.sync.client import connect

from neuronxa_core.errors import CorpusError
from pages.access import cookies, people, unexpected
from pages.components import wording

# an app without the libraries, behind the same gate as the real one
WHO = """
import streamlit as st

if __name__ == "__main__":
    from pages.access import people
    who = people.person()
    st.title("Who")
    st.text(f"key={who.key} name={who.name} manages={who.manages}")
    if st.button("Break"):
        raise ValueError("a secret detail")
else:
    from starlette.middleware import Middleware
    from pages.access import gate, unexpected
    unexpected.number_errors()
    app = st.App("who.py", middleware=[Middleware(gate.Gate)], on_script_error=unexpected.show)
"""


@pytest.fixture(scope="module")
def who(tmp_path_factory):
    """who(name, *options): a server of the small app, started once a name."""
    servers = {}

    def start(name, *options):
        if name not in servers:
            folder = tmp_path_factory.mktemp(name)
            (folder / "who.py").write_text(WHO, "utf-8")
            (folder / ".streamlit").mkdir()
            shutil.copy(ROOT / ".streamlit" / "config.toml", folder / ".streamlit")
            server = Server(
                folder, folder / "log", *options, script=folder / "who.py", folder=folder, PYTHONPATH=str(ROOT)
            )
            servers[name] = server
            server.wait_until_up()
        return servers[name]

    yield start
    for server in servers.values():
        server.stop()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def got(server, path="/", **headers):
    """An answer: its status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", path, headers={"Accept": "text/html", **headers})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def seen(page):
    page.get_by_text("key=").wait_for()
    found = re.search(r"key=(\w+) name=(.+) manages=(\w+)", page.get_by_text("key=").inner_text())
    return found.groups()


@pytest.mark.full
class TestInABrowser:
    pytestmark = needs_browser

    def test_two_tabs_of_a_browser_are_one_person_and_another_browser_is_another(self, who, browser):
        server = who("local")
        context, other = browser.new_context(), browser.new_context()
        tabs = [watched(context.new_page()), watched(context.new_page()), watched(other.new_page())]
        for tab in tabs:
            tab.goto(server.address)
        (first, name, manages), second, third = (seen(tab) for tab in tabs)
        assert second[0] == first != third[0]
        assert (name, manages) == ("this machine", "True")
        (cookie,) = [found for found in context.cookies() if found["name"] == cookies.BROWSER]
        assert first not in cookie["value"]
        tabs[0].reload()
        assert seen(tabs[0])[0] == first
        assert all(tab.errors == [] for tab in tabs)
        for closed in (context, other):
            closed.close()

    def test_on_the_network_a_browser_is_a_guest_that_manages_nothing(self, who, browser):
        server = who("public", "--server.address", "0.0.0.0")
        page = watched(browser.new_page(extra_http_headers={"X-Forwarded-For": "127.0.0.1"}))
        page.goto(server.address)
        key, name, manages = seen(page)
        assert (name, manages) == (f"guest {key[:4]}", "False")
        # on an app of this machine alone, it says that there is a proxy: whoever made it up loses by it
        page.goto(who("local").address)
        assert seen(page)[2] == "False"
        page.close()

    def test_what_breaks_is_one_sentence_on_the_page_and_a_traceback_in_the_log(self, who, browser):
        server = who("local")
        page = watched(browser.new_page())
        page.goto(server.address)
        page.get_by_role("button", name="Break").click()
        alert = page.get_by_test_id("stAlert")
        alert.wait_for()
        number = re.fullmatch(r".*error ([0-9a-f]{8}) in the log\.", alert.inner_text(), re.DOTALL).group(1)
        assert page.get_by_test_id("stException").count() == 0
        assert "detail" not in page.content()
        said = server.said()
        assert said.count(number) == said.count("Traceback") == 1
        assert said.index(number) < said.index("ValueError: a secret detail")
        page.close()

    @pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx on this machine (apt-get install nginx-light)")
    def test_behind_a_proxy_below_a_path(self, tmp_path, browser):
        """With the configuration that deploy/ holds, but for the ports."""
        port = free_port()
        with served(tmp_path / "cache", tmp_path / "log", "--server.baseUrlPath", "neuronxa", below="/neuronxa") as app:
            shipped = (ROOT / "deploy" / "nginx.conf").read_text("utf-8")
            configuration, errors = tmp_path / "nginx.conf", tmp_path / "errors"
            kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            places = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
            configuration.write_text(
                f"daemon off; master_process off; pid {tmp_path}/pid; error_log {errors}; events {{}}\n"
                f"http {{ access_log off; {places}\n"
                f"server {{ listen 127.0.0.1:{port}; {shipped.replace(':8501', f':{app.port}')} }} }}\n",
                "utf-8",
            )
            proxy = subprocess.Popen(["nginx", "-p", tmp_path, "-e", errors, "-c", configuration])
            try:
                wait_for(port)
                walk_behind(f"http://localhost:{port}", watched(browser.new_page()), tmp_path)
            finally:
                proxy.terminate()
                proxy.wait(20)


def wait_for(port):
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def walk_behind(address, page, tmp_path):
    """Pages, a link straight to one, a web socket, and an upload that is larger than nginx takes by itself."""
    page.goto(f"{address}/neuronxa?languages=spa_Latn&sentences=6")
    page.get_by_text("6 sentences, 1 language against English").wait_for()
    page.locator("[data-testid=stVegaLiteChart] .marks").first.wait_for()
    page.goto(f"{address}/neuronxa/overlap?languages=spa_Latn&sentences=6")
    page.get_by_role("heading", name="Overlap", exact=True).wait_for()
    page.locator("[data-testid=stVegaLiteChart] .marks").first.wait_for()
    visit(page, "Run")
    assert page.url.startswith(f"{address}/neuronxa/run")
    settled(page)
    corpus = tmp_path / "eng-spa.tsv"
    corpus.write_text("".join(f"word {k} {'x' * 500}\tpalabra {k} {'y' * 500}\n" for k in range(2000)), "utf-8")
    page.get_by_role("radio", name="Upload").or_(page.get_by_role("button", name="Upload", exact=True)).first.click()
    page.locator("input[type=file]").set_input_files(corpus)
    page.get_by_text("All 2,000 sentences").wait_for()
    settled(page)
    (cookie,) = [found for found in page.context.cookies() if found["name"] == cookies.BROWSER]
    assert cookie["path"] == "/neuronxa"
    assert page.errors == page.strangers == []
    page.close()


@pytest.mark.full
def test_answers_are_still_compressed(who):
    _, packed, _ = got(who("local"), "/_stcore/agent/openapi.json", **{"Accept-Encoding": "gzip"})
    assert packed["Content-Encoding"] == "gzip"
    script = re.search(rb'src="\./(static/js/index\.[^"]+)"', got(who("local"))[2]).group(1).decode()
    _, plain, body = got(who("local"), f"/{script}")
    assert int(plain["Content-Length"]) == len(body)
    assert "immutable" in plain["Cache-Control"]


@pytest.mark.full
def test_started_from_another_folder_the_app_listens_to_this_machine_only(tmp_path):
    with served(tmp_path / "cache", tmp_path / "log", folder=tmp_path) as server:
        process = psutil.Process(server.process.pid)
        listening = {found.laddr.ip for found in process.net_connections() if found.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
        assert got(server, Host="evil.example")[0] == 400
        assert "open to everybody" not in server.said()


@pytest.mark.full
def test_a_link_to_the_project_reads_the_secrets_that_lie_beside_the_link(tmp_path):
    """The host's own copy of the settings must count, wherever the app is started from."""
    for path in ROOT.iterdir():
        if path.name not in (".streamlit", ".git", "cache"):
            (tmp_path / "app" / path.name).parent.mkdir(exist_ok=True)
            (tmp_path / "app" / path.name).symlink_to(path)
    shutil.copytree(ROOT / ".streamlit", tmp_path / "app" / ".streamlit")
    (tmp_path / "app" / ".streamlit" / "secrets.toml").write_text("[auth]\n", "utf-8")
    (tmp_path / "elsewhere").mkdir()
    script = tmp_path / "app" / "streamlit_app.py"
    server = Server(tmp_path / "cache", tmp_path / "log", script=script, folder=tmp_path / "elsewhere")
    try:
        assert server.process.wait(60) != 0
    finally:
        if server.process.poll() is None:
            server.stop()
    assert "names no identity provider" in server.said()


@pytest.mark.full
def test_a_server_that_is_asked_to_end_stops_its_run_which_stays_listed(tmp_path):
    with served(tmp_path / "cache", tmp_path / "log") as server:
        jobs, deadline = tmp_path / "cache" / "jobs", time.monotonic() + 60
        with connect(f"ws://localhost:{server.port}/_stcore/stream", subprotocols=["streamlit"]) as page:
            page.send(BackMsg(rerun_script=ClientState()).SerializeToString())
            while not list(jobs.glob("*.json")):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        server.stop()
        assert '"status": "cancelled"' in server.said()
        assert len(list(jobs.glob("*.json"))) == 1


def test_outside_of_a_page_nobody_manages():
    assert people.person() == ("", "somebody", False)


def test_a_problem_that_can_be_mended_is_shown_in_its_own_words(monkeypatch):
    shown = []
    monkeypatch.setattr(unexpected.st, "error", lambda text, **_: shown.append(text))
    assert unexpected.show(CorpusError("no file *here*")) is True
    assert shown == [wording.said("no file *here*")]


def test_an_exception_keeps_its_number():
    error, other = ValueError("x"), ValueError("x")
    assert unexpected.number_of(error) == unexpected.number_of(error) != unexpected.number_of(other)
    record = logging.LogRecord("a", logging.ERROR, "f", 1, "Uncaught", (), (ValueError, error, None))
    assert unexpected.number(record)
    assert unexpected.number_of(error) in record.getMessage()


# what deploy/ holds


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_the_systemd_unit_is_one(tmp_path):
    unit = (ROOT / "deploy" / "neuronxa.service").read_text("utf-8")
    # the account and the project's place are those of another machine
    unit = unit.replace("/opt/neuronxa/.venv/bin/streamlit", shutil.which("true")).replace(
        "/opt/neuronxa", str(tmp_path)
    )
    place = tmp_path / "neuronxa.service"
    place.write_text(unit, "utf-8")
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", place], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )  # fmt: skip
    assert "neuronxa.service" not in found.stdout + found.stderr, found.stderr


def test_uploads_that_the_app_takes_pass_the_proxies():
    most = int(re.search(r"maxUploadSize = (\d+)", (ROOT / ".streamlit" / "config.toml").read_text("utf-8")).group(1))
    for file, pattern in (("nginx.conf", r"client_max_body_size (\d+)m"), ("Caddyfile", r"max_size (\d+)MB")):
        assert int(re.search(pattern, (ROOT / "deploy" / file).read_text("utf-8")).group(1)) > most


def test_the_container_gets_all_of_the_app():
    lines = (ROOT / "deploy" / "Containerfile").read_text("utf-8").splitlines()
    copied = {word.strip("./") for line in lines if line.startswith("COPY") for word in line.split()[1:]}
    assert {"streamlit_app.py", "neuronxa_core", "pages", "requirements.txt", "streamlit/config.toml"} <= copied
    assert (ROOT / "deploy" / "Containerfile.dockerignore").read_text("utf-8").split().count(".git") == 1
