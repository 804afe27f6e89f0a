"""The gate before the app: hosts, origins, cookies, headers, and who is whose own user."""

import asyncio
from types import SimpleNamespace

import pytest
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from streamlit import config
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from neuronxa_core.host.settings import Settings, Uploads
from pages.access import addresses, cookies, gate, startup, upload_budget


async def app(scope, receive, send):
    """Reads and answers every request; opens every web socket, and says back what it hears there."""
    if scope["type"] == "http":
        while (await receive()).get("more_body"):
            pass
        headers = {"location": "/", "set-cookie": "_streamlit_user=x"} if scope["path"].endswith("callback") else {}
        await PlainTextResponse("the app", headers=headers)(scope, receive, send)
    else:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        while (heard := await socket.receive())["type"] == "websocket.receive":
            await socket.send_bytes(heard["bytes"])


@pytest.fixture
def served(monkeypatch):
    """served(options, signed_in, auth): a client of the app behind the gate, as Streamlit's options say."""
    before = {}
    monkeypatch.setattr(addresses, "_reachable", set())

    def serve(signed_in=False, auth=None, **options):
        for name, value in options.items():
            before.setdefault(f"server.{name}", config.get_option(f"server.{name}"))
            config.set_option(f"server.{name}", value)
        for module in (gate, addresses, startup):
            monkeypatch.setattr(module, "auth_section", lambda: auth)
        behind = gate.Gate(ExceptionMiddleware(app), lambda sent: sent.get("who", "") or "x" * signed_in)
        return TestClient(behind, "http://localhost:8501", headers={"Accept": "text/html"}, follow_redirects=False)

    yield serve
    for name, value in before.items():
        config.set_option(name, value)


def opens(client, **headers):
    """Whether a web socket opens."""
    try:
        with client.websocket_connect("ws://localhost:8501/_stcore/stream", headers=headers):
            return True
    except WebSocketDisconnect:
        return False


# hosts and origins


def test_another_name_for_this_machine_gets_no_answer(served):
    """DNS rebinding: to the browser, host and origin are the same foreign site."""
    client = served()
    refused = client.get("/", headers={"Host": "evil.example:8501"})
    assert (refused.status_code, refused.headers["X-Content-Type-Options"]) == (400, "nosniff")
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "", "10.0.0.7"):
        assert client.get("/", headers={"Host": host}).status_code == 400
        assert not opens(client, Host=host)
    for host in ("localhost", "127.0.0.1:1", "[::1]:8501", "LOCALHOST"):
        assert client.get("/", headers={"Host": host}).status_code == 200
        assert opens(client, Host=host)
    assert client.get(gate.HEALTH, headers={"Host": "10.0.0.7"}).status_code == 200


def test_hosts_that_were_named_get_an_answer(served):
    client = served(
        allowedHosts=["lab.example.org", "*.cluster.example"],
        corsAllowedOrigins=["https://other.example"],
        auth={"redirect_uri": "https://signed.example/oauth2callback"},
    )
    named = ("lab.example.org", "Lab.Example.Org:443", "a.cluster.example", "other.example", "signed.example")
    for host in (*named, "localhost"):
        assert client.get("/", headers={"Host": host}).status_code == 200
    for host in ("example.org", "cluster.example", "evilcluster.example", "xlab.example.org", "www.lab.example.org"):
        assert client.get("/", headers={"Host": host, "X-Forwarded-Host": "lab.example.org"}).status_code == 400


def test_bound_to_the_network_without_names_any_host_is_answered(served):
    assert served(address="0.0.0.0").get("/", headers={"Host": "10.0.0.7"}).status_code == 200


def test_a_page_of_another_site_gets_no_web_socket(served):
    client = served(corsAllowedOrigins=["http://[::1]:8600"])
    assert opens(client)  # a program without an origin
    for origin in ("http://localhost:8501", "http://[::1]:8600"):
        assert opens(client, Origin=origin)
    # also not one of this machine's other ports, whose cookies are shared
    for origin in ("http://evil.example", "http://localhost:8502", "null", "http://[", "http://127.0.0.1"):
        assert not opens(client, Origin=origin)


@pytest.mark.parametrize("auth", [None, {}])
def test_no_visitor_can_clear_what_is_kept_for_all(served, auth):
    """Signed in or not: the message is Streamlit's own, and would drop the queue."""
    plain, both = BackMsg(stop_script=True).SerializeToString(), BackMsg(clear_cache=True).SerializeToString()
    with served(auth=auth).websocket_connect("ws://localhost:8501/_stcore/stream") as socket:
        for sent in (both, plain + both, b"\xff", both + plain):
            socket.send_bytes(sent)
        assert [socket.receive_bytes(), socket.receive_bytes()] == [b"\xff", both + plain]


# uploads


def test_uploads_are_counted_by_visitor_and_in_all_and_given_back(served, monkeypatch):
    kept, sender = {}, {}
    monkeypatch.setattr(upload_budget, "held", lambda: kept)
    monkeypatch.setattr(upload_budget, "_sender", sender)
    uploads = Uploads(memory_mib=3, memory_mib_a_person=2)
    monkeypatch.setattr(upload_budget.host, "of_visitors", lambda: Settings(uploads=uploads))
    client, mib = served(), 1 << 20

    def put(who, session, size):
        cookie = {"Cookie": f"who={who}"}
        status = client.put(f"/_stcore/upload_file/{session}/file", content=b"x" * size, headers=cookie).status_code
        if status == 200:
            kept[session] = kept.get(session, 0) + size
            sender[session] = who
        return status

    assert put("ann", "a1", mib) == put("ann", "a2", mib) == 200
    assert put("ann", "a3", 1) == 413  # in whatever tab
    assert put("bob", "b", mib + 1) == 413  # in all
    assert put("bob", "b", mib) == 200
    assert put("", "c", 1) == 413
    del kept["a1"]  # a tab was closed
    assert put("ann", "a2", mib // 2) == put("", "c", mib // 2) == 200
    assert upload_budget._coming.total() == 0
    assert sender.keys() == {"a2", "b", "c"}


def test_uploads_of_a_page_that_does_not_come_back_are_given_back(monkeypatch):
    manager, active, closed = MemoryUploadedFileManager("/"), {"open", "back"}, []
    for session in ("open", "gone", "back"):
        manager.add_file(session, UploadedFileRec("1", "a.csv", "text/csv", b"x" * 10))
    app = SimpleNamespace(uploaded_file_mgr=manager, is_active_session=active.__contains__, close_session=closed.append)
    monkeypatch.setattr(upload_budget, "runtime", SimpleNamespace(exists=lambda: True, get_instance=lambda: app))
    monkeypatch.setattr(upload_budget, "RECONNECT_SECONDS", 0.02)

    async def close_pages():
        active.discard("back")  # loses its connection for a moment
        upload_budget.page_closed()
        assert upload_budget.held().keys() == {"open", "gone", "back"}
        active.add("back")
        await asyncio.sleep(0.1)

    asyncio.run(close_pages())
    assert upload_budget.held() == dict.fromkeys(("open", "back"), 10 + upload_budget.FILE_BYTES)
    assert closed == ["gone"]


# cookies and headers


def test_the_cookie_is_for_pages_of_this_app_and_no_script(served):
    client = served()
    name, value = client.get("/").headers["Set-Cookie"].split("; ")[0].split("=")
    assert set(client.get("/", headers={"Cookie": f"{name}=chosen"}).headers["Set-Cookie"].split("; ")[1:]) == {
        "Path=/",
        f"Max-Age={365 * 86400}",
        "HttpOnly",
        "SameSite=Lax",
    }
    assert name == cookies.BROWSER
    assert cookies.is_browser(value)
    assert "Set-Cookie" not in client.get("/", headers={"Cookie": f"{name}={value}"}).headers
    client.cookies.clear()
    assert "Set-Cookie" not in client.get("/media/x.png", headers={"Accept": "*/*"}).headers


def test_the_cookie_stays_below_the_apps_path_and_behind_tls_on_tls(served):
    client = served(baseUrlPath="lab")
    client.base_url = "https://localhost:8501"
    cookie = client.get("/lab/").headers["Set-Cookie"]
    assert "; Path=/lab;" in cookie
    assert "; Secure" in cookie


@pytest.mark.parametrize("value", ["", "short", "x" * 44, "x" * 42 + "é", "x" * 42 + "\n", "x" * 42 + ";"])
def test_a_value_that_the_gate_did_not_make_is_no_cookie(value):
    assert not cookies.is_browser(value)


@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/media/nothing"])
@pytest.mark.parametrize("auth", [None, {}])
def test_every_answer_carries_the_safe_headers(served, path, auth):
    headers = served(auth=auth).get(path).headers
    for name, value in gate.HEADERS.items():
        assert headers.get_list(name) == [value]


# where people sign in


def test_nothing_of_the_app_is_answered_without_a_sign_in(served):
    for signed_in, status in ((False, 403), (True, 200)):
        client = served(signed_in, auth={})
        for path in ("/media/x.png", "/_stcore/upload_file/a/b", "/_stcore/metrics", "/_stcore/agent/interact"):
            assert client.post(path).status_code == status
        assert client.get(gate.HEALTH).status_code == client.get("/run").status_code == 200


def test_a_sign_in_goes_on_with_the_link_that_was_followed(served):
    client = served(auth={})
    asked = client.get("/overlap?sentences=6").headers["Set-Cookie"]
    assert asked.startswith(f"{cookies.WANTED}=/overlap%3Fsentences%3D6; Path=/; Max-Age=600; HttpOnly")
    back = client.get("/oauth2callback")
    assert back.headers["location"] == "/overlap?sentences=6"
    assert f"{cookies.WANTED}=; Path=/; Max-Age=0" in back.headers.get_list("set-cookie")[1]
    client.cookies.clear()
    assert client.get("/oauth2callback").headers["location"] == "/"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("/overlap?sentences=6", True), ("/?a=%2F%2Fb", True), ("//evil.example", False), ("/\\evil.example", False),
        ("https://evil.example/", False), ("/a b", False), ("/a\r\nX: y", False), ("", False),
        ("/" + "x" * 3000, False),
    ],
)  # fmt: skip
def test_only_links_to_the_app_itself_are_gone_on_with(link, expected):
    assert cookies.is_own_link(link) is expected


# addresses


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True),
        ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("", False), (None, False),
        ("lab.example.org", False), ("localhost.evil.example", False), ("::ffff:10.0.0.1", False),
    ],
)  # fmt: skip
def test_what_is_this_machine_alone(name, expected):
    assert addresses.is_loopback(name) is expected


def test_an_app_that_is_bound_to_more_than_it_was_told_is_not_this_machine_alone(served):
    """As under another ASGI server, which does not read server.address."""
    client = served()
    for address, local in (("127.0.0.1", True), ("10.0.0.5", False), ("127.0.0.1", False)):
        client.base_url = f"http://{address}:8501"
        client.get("/", headers={"Host": "localhost"})
        assert addresses.is_local_only() is local


@pytest.mark.parametrize(
    ("options", "auth", "said"),
    [
        ({}, None, []),
        ({"allowedHosts": ["lab.example.org"]}, None, ["open to everybody who reaches it (localhost)"]),
        ({"address": "0.0.0.0"}, None, ["reaches it (0.0.0.0)", "plain HTTP", "allowedHosts is empty"]),
        ({"address": "0.0.0.0"}, {"redirect_uri": "https://a.b/oauth2callback"}, ["plain HTTP"]),
        ({"enableCORS": False}, None, ["enableCORS is off"]),
    ],
)
def test_what_is_open_is_said_at_start(served, options, auth, said):
    served(auth=auth, **options)
    warnings = list(startup.warnings())
    assert len(warnings) == len(said)
    assert all(part in warning for part, warning in zip(said, warnings, strict=True))


@pytest.mark.parametrize(
    ("option", "value"), [("trustedUserHeaders", {"X-User": "sub"}), ("allowedHosts", ["lab*.example.org"])]
)
def test_an_option_that_would_open_the_app_is_a_fault(served, option, value):
    served(**{option: ()})  # so that it is set back
    config.set_option(f"server.{option}", value)
    (fault,) = startup.faults()
    assert f"server.{option}" in fault
