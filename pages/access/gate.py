"""The gate before the app: which hosts, origins and people get an answer, and what every answer carries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import streamlit as st
from google.protobuf.message import DecodeError
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg

from pages.access import addresses, cookies, upload_budget
from pages.access.sign_in import CALLBACK, auth_section

log = logging.getLogger(__name__)

HEALTH = "/_stcore/health"
# what Streamlit serves of the app besides its pages, to whoever asks
OF_THE_APP = ("/media/", upload_budget.ADDRESS, "/_stcore/metrics", "/_stcore/agent/")
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


class Gate:
    """ASGI middleware: refuses foreign hosts and origins, and adds cookies and safe headers to what is answered.

    key_of: whose a request's cookies are; "" where that is unknown, and where people sign in and this one did not.
    """

    def __init__(self, app: ASGIApp, key_of: Callable[[Mapping[str, str]], str] = lambda _: "") -> None:
        self.app, self.key_of = app, key_of
        self._of_trusted_hosts = TrustedHostMiddleware(
            self._answer, allowed_hosts=addresses.allowed_hosts(), www_redirect=False
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        addresses.note_socket(scope)
        is_health = scope["type"] == "http" and _path(scope) == HEALTH
        await (self._answer if is_health else self._of_trusted_hosts)(scope, receive, _adding(HEADERS, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, path, answering = Headers(scope=scope), _path(scope), self.app
        who = self.key_of(cookie_parser(headers.get("cookie", "")))
        if scope["type"] == "websocket":
            receive = _without_clearing(receive)
            if not _is_allowed_origin(headers.get("origin"), headers.get("host")):
                log.warning("refused a page of %.100r: it is not in server.corsAllowedOrigins", headers["origin"])
                answering = PlainTextResponse("Foreign origin", status_code=403)
        elif auth_section() is None:
            send = _adding({"Set-Cookie": cookies.browser_cookie(scope, headers)}, send)
        elif path == CALLBACK:
            send = cookies.going_on(send, headers)
        elif not who:
            send = _adding({"Set-Cookie": cookies.wanted_cookie(path, scope, headers)}, send)
            if path.startswith(OF_THE_APP):
                answering = PlainTextResponse("Sign in first.", status_code=403)
        if answering is self.app and path.startswith(upload_budget.ADDRESS) and scope["type"] == "http":
            await upload_budget.counted(self.app, path, who, scope, receive, send)
        else:
            await answering(scope, receive, send)
        if scope["type"] == "websocket":
            upload_budget.page_closed()


def _path(scope: Scope) -> str:
    return scope["path"].removeprefix(addresses.base_path())


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


def _without_clearing(receive: Receive) -> Receive:
    """`receive`, without what would make Streamlit drop the caches of all visitors."""

    async def receive_others() -> Message:
        while (message := await receive())["type"] == "websocket.receive" and _clears(message.get("bytes") or b""):
            log.warning("ignored a visitor's request to clear the caches")
        return message

    return receive_others


def _clears(data: bytes) -> bool:
    try:
        return BackMsg.FromString(data).WhichOneof("type") == "clear_cache"
    except DecodeError:  # Streamlit ends the connection
        return False


def _adding(headers: Mapping[str, str | None], send: Send) -> Send:
    """`send`, with headers that an answer does not have yet, and with cookies."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer = MutableHeaders(scope=message)
            for name, value in headers.items():
                if value is not None and (name == "Set-Cookie" or name not in answer):
                    answer.append(name, value)
        await send(message)

    return send_with_headers
