"""The app towards the network: who may connect, what every answer carries, and what is checked before the first one.

Only what the server itself knows counts here: its configuration and the addresses of its own sockets. A forwarded
header can be written by anybody.
"""

from __future__ import annotations

import functools
import importlib
import ipaddress
import logging
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.errors import StreamlitSecretNotFoundError

from neuronxa_core.errors import NeuronXAError, NotSignedIn

log = logging.getLogger(__name__)

COOKIE = "neuronxa_browser"
COOKIE_SECONDS = 365 * 24 * 3600
UNNAMED = "default"
SHORTEST_SECRET = 32
HEALTH = "/_stcore/health"
# what Streamlit serves of the app besides its pages, to whoever asks
OF_THE_APP = ("/media/", "/_stcore/upload_file/", "/_stcore/metrics", "/_stcore/agent/")
CALLBACK = "/oauth2callback"
# the link that somebody followed before signing in
WANTED = "neuronxa_wanted"
WANTED_SECONDS = 600
LONGEST_LINK = 3000
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # links hold paths of this host
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    # charts compile their expressions, and Streamlit writes styles and one script into its page
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' data: blob:",
            "font-src 'self' data:",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        )
    ),
}


def is_loopback(name: str | None) -> bool:
    """Whether an address or host name reaches this machine alone. No address is every address."""
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address((name or "").strip("[]"))
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def base_path() -> str:
    """The path under which the app is served, with a slash before and none behind; empty for the root."""
    path = st.get_option("server.baseUrlPath").strip("/")
    return f"/{path}" if path else ""


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _other_names() -> list[str]:
    """Names other than this machine's own under which the host said that the app is opened."""
    named = list(st.get_option("server.allowedHosts"))
    named += [_host(origin) for origin in st.get_option("server.corsAllowedOrigins")]
    named.append(_host(str((auth_section() or {}).get("redirect_uri", ""))))
    return [name.lower().rstrip(".") for name in named if name and not is_loopback(name)]


def is_local_only() -> bool:
    """Whether only this machine can open the app: it is bound to it, and the host told of no proxy before it.

    A proxy is of no use before the app's hosts are named, in `server.allowedHosts` or by the sign-in.
    """
    return is_loopback(st.get_option("server.address")) and not _other_names() and not Gate.reached_from_afar


def is_own_user() -> bool:
    """Whether whoever is at this page can only be a user of this machine.

    A path below which the app is served, or a header that proxies add, means that there may be a proxy after all.
    """
    proxied = any(name in st.context.headers for name in ("Forwarded", "X-Forwarded-For", "X-Real-IP"))
    return is_local_only() and not base_path() and not proxied


def _is_allowed_host(host: str | None, names: list[str]) -> bool:
    """Whether a request's Host may be answered, so that no other site's name leads a browser here."""
    if not names and not is_loopback(st.get_option("server.address")):
        return True  # bound to the network without names: the host is warned at start
    try:
        name = urlsplit(f"//{host or ''}").hostname or ""
    except ValueError:
        return False
    name = name.rstrip(".")
    return is_loopback(name) or any(
        known in ("*", name) or (known.startswith("*.") and name.endswith(known[1:])) for known in names
    )


def _is_allowed_origin(origin: str | None, host: str | None) -> bool:
    """Whether a page of this origin may talk to the app: the app's own pages, and those the host listed.

    Programs other than browsers send no origin, and have no cookies that could be misused.
    """
    if origin is None or origin in [listed.strip() for listed in st.get_option("server.corsAllowedOrigins")]:
        return True
    try:
        return urlsplit(origin).netloc.lower() == (host or "").lower() != ""
    except ValueError:
        return False


def is_cookie(value: str) -> bool:
    """Whether a browser's cookie is one of ours."""
    return isinstance(value, str) and re.fullmatch(r"[\w-]{43}", value, re.ASCII) is not None


class Gate:
    """ASGI middleware: refuses strange hosts and origins, and adds cookies and safe headers to what is answered.

    is_signed_in: whether a request's cookies are those of somebody who may use the app; asked where people sign in.
    """

    reached_from_afar = False

    def __init__(self, app: ASGIApp, is_signed_in: Callable[[Mapping[str, str]], bool] = lambda _: False) -> None:
        self.app, self.is_signed_in = app, is_signed_in
        self._names = _other_names()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        self._note_own_address(scope)
        host, origin = headers.get("host"), headers.get("origin")
        path = scope["path"].removeprefix(base_path())
        if not _is_allowed_host(host, self._names) and not (scope["type"] == "http" and path == HEALTH):
            log.warning("refused the host %.100r: it is not in server.allowedHosts", host)
            await _refuse("This app does not answer to this host name.", 421, scope, receive, send)
        elif scope["type"] == "websocket":
            if _is_allowed_origin(origin, host):
                await self.app(scope, receive, send)
            else:
                log.warning("refused a page of %.100r: it is not in server.corsAllowedOrigins", origin)
                await _refuse("", 403, scope, receive, send)
        elif auth_section() is None:
            await self.app(scope, receive, _adding(send, _browser_cookie(scope, headers)))
        else:
            await self._where_people_sign_in(path, headers, scope, receive, send)

    async def _where_people_sign_in(
        self, path: str, headers: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        cookies = cookie_parser(headers.get("cookie", ""))
        if path == CALLBACK:
            await self.app(scope, receive, _going_on(_adding(send), cookies.get(WANTED, "")))
        elif self.is_signed_in(cookies):
            await self.app(scope, receive, _adding(send))
        elif path.startswith(OF_THE_APP):
            await _refuse("Sign in first.", 403, scope, receive, send)
        else:
            await self.app(scope, receive, _adding(send, _wanted_cookie(path, scope, headers)))

    @staticmethod
    def _note_own_address(scope: Scope) -> None:
        """An ASGI server may be bound to more than Streamlit's configuration says."""
        server = scope.get("server")
        if server and not Gate.reached_from_afar and not is_loopback(server[0]):
            Gate.reached_from_afar = True
            if is_loopback(st.get_option("server.address")):
                log.warning("the app is reached at %s, although server.address says otherwise", server[0])


async def _refuse(said: str, status: int, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    await PlainTextResponse(said, status_code=status)(scope, receive, _adding(send))


def _asks_for_a_page(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks for a page, and not a page for one of its parts."""
    return scope["method"] == "GET" and "text/html" in headers.get("accept", "")


def _cookie(scope: Scope, name: str, value: str, seconds: int) -> str:
    secure = "; Secure" if scope["scheme"] == "https" else ""
    return f"{name}={value}; Path={base_path() or '/'}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"


def _browser_cookie(scope: Scope, headers: Headers) -> str | None:
    """A cookie for a browser that opens a page and has none yet."""
    known = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
    if is_cookie(known) or not _asks_for_a_page(scope, headers):
        return None
    return _cookie(scope, COOKIE, secrets.token_urlsafe(32), COOKIE_SECONDS)


def _wanted_cookie(path: str, scope: Scope, headers: Headers) -> str | None:
    """A cookie that keeps the link that was followed, for Streamlit goes on with the first page after a sign-in."""
    if not _asks_for_a_page(scope, headers) or path.startswith("/auth/"):
        return None
    link = quote(scope["path"]) + "?" + scope["query_string"].decode("latin-1")
    if not _is_own_link(link):
        return None
    return _cookie(scope, WANTED, quote(link, safe="/"), WANTED_SECONDS)


def _is_own_link(link: str) -> bool:
    """Whether a link stays on this app, whatever a browser makes of it."""
    if len(link) > LONGEST_LINK or not link.startswith(base_path() + "/"):
        return False
    return re.fullmatch(r"/(?![/\\])[!-~]*", link) is not None


def _going_on(send: Send, wanted: str) -> Send:
    """Let a sign-in that succeeded go on with the link that was followed."""
    link = unquote(wanted)

    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            succeeded = any(line.startswith("_streamlit_user=") for line in headers.getlist("set-cookie"))
            if succeeded and "location" in headers and _is_own_link(link):
                headers["location"] = link
                headers.append("Set-Cookie", f"{WANTED}=; Path={base_path() or '/'}; Max-Age=0; HttpOnly; SameSite=Lax")
        await send(message)

    return send_on


def _adding(send: Send, cookie: str | None = None) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if cookie is not None:
                headers.append("Set-Cookie", cookie)
        await send(message)

    return send_with_headers


@functools.cache
def auth_section() -> Mapping[str, Any] | None:
    """The secrets' section `[auth]`, read once a process; None where the host asks for no sign-in.

    NotSignedIn where the secrets are there and cannot be read: they may ask for one.
    """
    try:
        section = st.secrets.to_dict().get("auth")
    except StreamlitSecretNotFoundError as problem:
        if problem.error_id == "no-secrets-found":
            return None
        raise NotSignedIn(f"The app's secrets cannot be read, so nobody is let in: {problem}") from problem
    except (OSError, ValueError) as problem:
        raise NotSignedIn(f"The app's secrets cannot be read, so nobody is let in: {problem}") from problem
    return section if section is None or isinstance(section, Mapping) else {}


def providers(section: Mapping[str, Any]) -> list[str]:
    """The identity providers of an `[auth]` section; UNNAMED is that of the section itself."""
    named = [name for name, value in section.items() if isinstance(value, Mapping) and name != "client_kwargs"]
    return ([UNNAMED] if "client_id" in section else []) + named


def faults() -> list[str]:
    """What must be mended before the app may be served at all."""
    found = []
    if st.get_option("server.trustedUserHeaders"):
        found.append(
            "server.trustedUserHeaders is set: whoever reaches the port could say who they are. Remove it, and "
            "configure [auth] in the secrets."
        )
    try:
        section = auth_section()
    except NotSignedIn as problem:
        return [*found, str(problem)]
    return found if section is None else found + list(_faults_of(section))


def _faults_of(section: Mapping[str, Any]) -> Iterable[str]:
    try:
        importlib.import_module("authlib.integrations.starlette_client")
    except ImportError as problem:
        yield f'[auth] needs Authlib and httpx ({problem}). Run: pip install "streamlit[auth]"'
    if len(str(section.get("cookie_secret", ""))) < SHORTEST_SECRET:
        yield (
            f"[auth] cookie_secret must have at least {SHORTEST_SECRET} characters, or a sign-in could be forged. Make "
            'one: python -c "import secrets; print(secrets.token_urlsafe(48))"'
        )
    wanted = f"{base_path()}{CALLBACK}"
    redirect = urlsplit(str(section.get("redirect_uri", "")))
    if redirect.scheme not in ("http", "https") or not redirect.netloc or redirect.path != wanted:
        yield f"[auth] redirect_uri must be the app's address with the path {wanted}"
    elif redirect.scheme == "http" and not is_loopback(redirect.hostname):
        yield "[auth] redirect_uri must begin with https:// on any host but localhost, or cookies go in the clear"
    if not providers(section):
        yield "[auth] names no identity provider: client_id, client_secret and server_metadata_url are missing"
    for name in providers(section):
        values = section if name == UNNAMED else section[name]
        where = "[auth]" if name == UNNAMED else f"[auth.{name}]"
        if "_" in name:
            yield f"{where} must not have an underscore in its name"
        for key in ("client_id", "client_secret", "server_metadata_url"):
            if not values.get(key):
                yield f"{where} has no {key}"
        metadata = urlsplit(str(values.get("server_metadata_url", "")))
        if metadata.scheme != "https" and not (metadata.scheme == "http" and is_loopback(metadata.hostname)):
            yield f"{where} server_metadata_url must begin with https://"


def warnings() -> list[str]:
    """What the host should know when the app starts."""
    found = []
    section, address = auth_section(), st.get_option("server.address") or "all addresses of this machine"
    if section is None and not is_local_only():
        found.append(
            f"the app is open to everybody who reaches it ({address}): no sign-in is configured. Set [auth] in "
            ".streamlit/secrets.toml, or server.address to localhost; docs/deployment.md says how."
        )
    if not is_loopback(st.get_option("server.address")):
        if not st.get_option("server.sslCertFile"):
            found.append(
                f"the app speaks plain HTTP on {address}: bind it to localhost behind a proxy with TLS, or set "
                "server.sslCertFile and server.sslKeyFile"
            )
        if not _other_names():
            found.append(
                "server.allowedHosts is empty: name the hosts under which the app is opened, or a foreign page can "
                "reach it under a name of its own (DNS rebinding)"
            )
    if not (st.get_option("server.enableXsrfProtection") and st.get_option("server.enableCORS")):
        found.append("server.enableXsrfProtection or server.enableCORS is off: foreign pages can use the app")
    return found


def check_start() -> None:
    """Say what the host should know; end the process where the app must not be served as it is configured."""
    if wrong := faults():
        raise SystemExit("NeuronXA Explorer does not start:\n" + "\n".join(f"- {fault}" for fault in wrong))
    for warning in warnings():
        log.warning(warning)


class NumberedErrors(logging.Filter):
    """Gives every exception of a page that Streamlit logs the number that the page shows."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], Exception):
            record.msg = f"error {number_of(record.exc_info[1])}: {record.msg}"
        return True


def number_of(error: Exception) -> str:
    """The number of an exception, the same whenever it is asked for."""
    if not hasattr(error, "number"):
        error.number = secrets.token_hex(4)
    return error.number


def number_errors() -> None:
    """Let the log carry the numbers that pages show."""
    logging.getLogger("streamlit.error_util").addFilter(NumberedErrors())


def show_what_broke(error: Exception) -> bool:
    """Show an exception that no page expected as one sentence; True: Streamlit shows nothing of its own."""
    if isinstance(error, NeuronXAError):
        from pages.components.wording import safe

        st.error(safe(str(error)), icon=":material/error:")
    else:
        st.error(
            f"Something went wrong here. Try again; if it stays, tell the host: error {number_of(error)} in the log.",
            icon=":material/error:",
        )
    return True
