"""Sign-in, as a browser meets it, against an OpenID provider of the tests' own; and what is said of a bad set-up."""

import contextlib
import sys
import time

import pytest
from live import ROOT, Server, chromium, free_port, needs_browser, served, settled, visit, watched
from openid import provided
from streamlit import config
from streamlit.runtime.secrets import secrets_singleton

from neuronxa_core.errors import NotSignedIn
from neuronxa_core.host.settings import People, Settings
from pages.access import cookies, host, people, sign_in, startup
from pages.components import process

PAGES = sorted({path.stem for path in (ROOT / "pages").glob("*.py")})
ANN = {"sub": "248289761001", "name": "Ann Example", "email": "ann@example.org", "email_verified": True}
LINK = "languages=spa_Latn&sentences=6"


@pytest.fixture(scope="module")
def provider():
    with provided() as provider:
        yield provider


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def server(provider, cache, tmp_path_factory):
    """An app that asks for a sign-in."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    (folder / "secrets.toml").write_text(provider.secrets_toml(port), "utf-8")
    with served(cache, folder / "log", "--secrets.files", str(folder / "secrets.toml"), port=port) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def somebody(browser):
    """Another browser, without any cookie."""
    context = browser.new_context()
    yield watched(context.new_page())
    context.close()


def sees_nothing_of_the_app(page):
    page.get_by_role("button", name="Sign in").wait_for()
    settled(page)
    assert page.get_by_test_id("stTopNavLink").count() == 0
    assert page.get_by_test_id("stSidebarNavLink").count() == 0
    assert page.get_by_role("dialog").count() == 0
    assert page.get_by_role("heading").all_inner_texts() == ["NeuronXA Explorer"]
    assert page.get_by_test_id("stVegaLiteChart").count() == 0


def signed_in(page):
    page.get_by_role("button", name="Sign in").click()
    page.get_by_test_id("stTopNavLink").filter(has_text="Account").wait_for()


@pytest.mark.full
class TestInABrowser:
    pytestmark = needs_browser

    def test_nobody_sees_a_page_before_signing_in(self, server, cache, somebody):
        """The first is a link straight to a page as the first request of a new server."""
        for where in ("overlap", "", *PAGES, "account", "none"):
            somebody.goto(f"{server.address}/{where}?{LINK}")
            sees_nothing_of_the_app(somebody)
        assert list(cache.iterdir()) == []  # no job, and not even the store
        assert somebody.errors == []

    def test_signing_in_opens_every_page_and_signing_out_ends_it(self, server, provider, somebody):
        from playwright import sync_api as playwright

        provider.claims = ANN
        somebody.goto(f"{server.address}/microscope?{LINK}")
        signed_in(somebody)
        # where the link led to
        somebody.get_by_role("heading", name="Microscope", exact=True).wait_for()
        assert "sentences=6" in somebody.url
        assert cookies.WANTED not in {cookie["name"] for cookie in somebody.context.cookies()}
        names = somebody.get_by_test_id("stTopNavLink").all_inner_texts()
        assert {"Run", "Alignment", "Overlap", "Microscope", "Downstream"} <= {name.split("\n")[-1] for name in names}
        for name in ("Run", "Account"):
            visit(somebody, name)
        somebody.get_by_text("Signed in as Ann Example.").wait_for()

        # what Streamlit serves besides pages is for those who signed in, too
        icon = somebody.evaluate("document.querySelector('link[rel~=icon]').href")
        assert "/media/" in icon
        assert somebody.request.get(icon).status == 200
        assert not server.answers(icon.removeprefix(server.address))

        other_tab = watched(somebody.context.new_page())
        other_tab.goto(f"{server.address}/run?{LINK}")
        other_tab.get_by_role("heading", name="Run", exact=True).wait_for()
        settled(other_tab)
        kept = {cookie["name"]: cookie for cookie in somebody.context.cookies()}
        days = (kept["_streamlit_user"]["expires"] - time.time()) / 86400
        assert 29.9 < days <= 30
        assert kept["_streamlit_user"]["httpOnly"]
        assert cookies.BROWSER not in kept

        ended = provider.ended
        somebody.get_by_role("button", name="Sign out").click()
        sees_nothing_of_the_app(somebody)
        assert provider.ended == ended + 1
        assert "_streamlit_user" not in {cookie["name"] for cookie in somebody.context.cookies()}

        # the tab that was open keeps its connection, but what it asks for next is refused
        over, link = other_tab.get_by_role("button", name="Sign in"), other_tab.get_by_test_id("stTopNavLink")
        over.or_(link).first.wait_for()
        if not over.count():  # a page that watches a run asks by itself
            with contextlib.suppress(playwright.Error):
                link.filter(has_text="Overlap").click(timeout=5000)
        sees_nothing_of_the_app(other_tab)

        # a cookie that was copied before is of no use either
        somebody.context.add_cookies([kept["_streamlit_user"]])
        somebody.goto(f"{server.address}/run?{LINK}")
        sees_nothing_of_the_app(somebody)
        assert somebody.errors == []
        # the tab that lost its sign-in asks for pictures of its page in vain
        assert [error for error in other_tab.errors if "403 (Forbidden)" not in error] == []
        assert somebody.strangers == other_tab.strangers == []

    def test_an_address_that_is_not_verified_is_refused(self, server, provider, somebody):
        provider.claims = {**ANN, "email_verified": False}
        somebody.goto(server.address)
        somebody.get_by_role("button", name="Sign in").click()
        somebody.get_by_text("has not verified your e-mail address").wait_for()
        assert somebody.get_by_test_id("stTopNavLink").count() == 0
        provider.claims = ANN
        somebody.get_by_role("button", name="Sign out").click()
        sees_nothing_of_the_app(somebody)
        signed_in(somebody)

    def test_whoever_refuses_at_the_provider_is_back_at_the_sign_in(self, server, provider, somebody):
        provider.claims = None
        somebody.goto(server.address)
        somebody.get_by_role("button", name="Sign in").click()
        somebody.wait_for_timeout(500)
        sees_nothing_of_the_app(somebody)

    def test_a_forged_cookie_lets_nobody_in(self, server, somebody):
        forged = "eyJpc19sb2dnZWRfaW4iOiB0cnVlLCAic3ViIjogIjEifQ.aGVsbG8.c2lnbmF0dXJl"
        somebody.context.add_cookies([{"name": "_streamlit_user", "value": forged, "url": server.address}])
        somebody.goto(server.address)
        sees_nothing_of_the_app(somebody)


def test_without_authlib_the_start_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "authlib.integrations.starlette_client", None)
    assert 'pip install "streamlit[auth]"' in next(startup._faults_of(GOOD))


@pytest.mark.full
def test_a_server_with_a_fault_ends_and_says_so(tmp_path):
    (tmp_path / "secrets.toml").write_text("[auth\nclient_id = ", "utf-8")
    server = Server(tmp_path / "cache", tmp_path / "log", "--secrets.files", str(tmp_path / "secrets.toml"))
    try:
        assert server.process.wait(60) != 0
    finally:
        server.process.kill()
    assert "Traceback" not in server.said(), server.said()
    assert "does not start" in server.said()
    assert "cannot be read" in server.said()


GOOD = {
    "redirect_uri": "https://lab.example.org/oauth2callback",
    "cookie_secret": "c" * 40,
    "client_id": "a",
    "client_secret": "b",
    "server_metadata_url": "https://id.example.org/.well-known/openid-configuration",
}


def test_a_good_section_has_no_faults():
    assert list(startup._faults_of(GOOD)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cookie_secret": "xxx"}, "cookie_secret"),
        ({"cookie_secret": None}, "cookie_secret"),
        ({"redirect_uri": "https://lab.example.org/"}, "/oauth2callback"),
        ({"redirect_uri": "lab.example.org/oauth2callback"}, "redirect_uri"),
        ({"redirect_uri": "http://lab.example.org/oauth2callback"}, "https://"),
        ({"client_id": None}, "names no identity provider"),
        ({"client_secret": ""}, "client_secret"),
        ({"server_metadata_url": None}, "server_metadata_url"),
        ({"server_metadata_url": "http://id.example.org/x"}, "https://"),
        ({"my_lab": {"client_id": "a"}}, "underscore"),
        ({"lab": {"client_id": "a", "client_secret": "b"}}, "[auth.lab] has no server_metadata_url"),
    ],
)
def test_a_fault_of_the_section_is_named(changes, said):
    section = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    assert any(said in fault for fault in startup._faults_of(section))


@pytest.fixture
def secrets_file(tmp_path):
    """Where this process reads its secrets, for one test."""
    place, before = tmp_path / "secrets.toml", config.get_option("secrets.files")
    config.set_option("secrets.files", [str(place)])
    secrets_singleton._reset()
    sign_in.auth_section.cache_clear()
    yield place
    config.set_option("secrets.files", before)
    secrets_singleton._reset()
    sign_in.auth_section.cache_clear()


@pytest.mark.parametrize(
    ("text", "asks"), [(None, False), ("other = 1", False), ("[auth]", True), ("auth = 1", True), ("[auth.lab]", True)]
)
def test_any_auth_in_the_secrets_asks_for_a_sign_in(secrets_file, text, asks):
    if text is not None:
        secrets_file.write_text(text, "utf-8")
    assert (sign_in.auth_section() is not None) is asks
    assert any(startup.faults()) is asks  # none of these is complete
    if asks:
        with pytest.raises(NotSignedIn):
            people.person()
        with pytest.raises(NotSignedIn):
            process.services()


def test_what_becomes_of_the_secrets_later_opens_nothing(secrets_file):
    secrets_file.write_text("[auth]", "utf-8")
    assert sign_in.auth_section() is not None
    secrets_file.unlink()
    secrets_singleton._reset()
    assert sign_in.auth_section() is not None


@pytest.mark.parametrize("text", ["[auth", "\0", "[auth]\n[auth]"])
def test_secrets_that_are_no_toml_let_nobody_in(secrets_file, text):
    secrets_file.write_text(text, "utf-8")
    assert "cannot be read" in next(startup.faults())
    for _ in range(2):
        with pytest.raises(NotSignedIn, match="cannot be read"):
            people.person()


NOW = 1_800_000_000
CLAIMS = {"is_logged_in": True, "iss": "https://id.example.org", "iat": NOW - 60, "nonce": "n", **ANN}


@pytest.fixture
def managers(monkeypatch):
    monkeypatch.setattr(people.time, "time", lambda: NOW)
    allowed = Settings(people=People(managers=("ann@example.org",)))
    monkeypatch.setattr(host, "host_settings", lambda: allowed)


@pytest.mark.usefixtures("managers")
def test_the_person_of_a_sign_in():
    ann = people._of_claims(CLAIMS)
    assert ann.name == "Ann Example"
    assert ann.manages
    assert people._of_claims({**CLAIMS, "iat": NOW, "nonce": "m", "name": "Ann B."}).key == ann.key
    assert people._of_claims({**CLAIMS, "sub": "2"}).key != ann.key
    assert people._of_claims({**CLAIMS, "iss": "https://other.example.org"}).key != ann.key
    assert not people._of_claims({**CLAIMS, "email": "bob@example.org"}).manages
    unnamed = {name: value for name, value in CLAIMS.items() if name != "name"}
    assert people._of_claims(unnamed).name == "ann@example.org"
    assert people._of_claims({**CLAIMS, "email": "Ann@Example.ORG"}).manages
    assert not people._of_claims({name: value for name, value in CLAIMS.items() if name != "email_verified"}).manages
    assert all(secret not in ann.key for secret in (ANN["sub"], "ann", "example"))


@pytest.mark.usefixtures("managers")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"is_logged_in": False}, "Sign in"),
        ({"sub": ""}, "did not say who you are"),
        ({"iss": None}, "did not say who you are"),
        ({"sub": 7}, "did not say who you are"),
        ({"email_verified": False}, "verified"),
        ({"email_verified": "false"}, "verified"),
        ({"iat": NOW - 31 * 86400}, "too old"),
        ({"iat": None}, "too old"),
    ],
)
def test_what_counts_as_no_sign_in(changes, said):
    with pytest.raises(NotSignedIn, match=said):
        people._of_claims({**CLAIMS, **changes})


@pytest.mark.usefixtures("managers")
def test_a_sign_in_that_was_ended_counts_no_more_and_a_new_one_does(monkeypatch):
    monkeypatch.setattr(people, "_signed_out", {people._sign_in(CLAIMS)})
    with pytest.raises(NotSignedIn, match="signed out in another tab"):
        people._of_claims(CLAIMS)
    assert people._of_claims({**CLAIMS, "nonce": "another"}).name == "Ann Example"


@pytest.mark.usefixtures("managers")
def test_a_name_is_one_short_line():
    name = people._of_claims({**CLAIMS, "name": "Ann\n\t" + "x" * 500}).name
    assert "\n" not in name
    assert len(name) == people.MOST_NAME
