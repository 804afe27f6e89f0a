"""The app's cookies: by which a browser is known where nobody signs in, and the link to go on with after a sign-in."""

from __future__ import annotations

import re
import secrets
from urllib.parse import quote, unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import Message, Scope, Send

from pages.access.addresses import base_path

BROWSER = "neuronxa_browser"
BROWSER_SECONDS = 365 * 24 * 3600
WANTED = "neuronxa_wanted"
WANTED_SECONDS = 600
LONGEST_LINK = 3000


def is_browser(value: object) -> bool:
    """Whether a value is one that `browser_cookie` makes."""
    return isinstance(value, str) and re.fullmatch(r"[\w-]{43}", value, re.ASCII) is not None


def browser_cookie(scope: Scope, headers: Headers) -> str | None:
    """A cookie for a browser that opens a page and has none yet."""
    known = cookie_parser(headers.get("cookie", "")).get(BROWSER, "")
    if is_browser(known) or not _asks_for_a_page(scope, headers):
        return None
    return _cookie(scope, BROWSER, secrets.token_urlsafe(32), BROWSER_SECONDS)


def wanted_cookie(path: str, scope: Scope, headers: Headers) -> str | None:
    """A cookie that keeps the link that was followed, since Streamlit shows the first page after a sign-in."""
    link = quote(scope["path"]) + "?" + scope["query_string"].decode("latin-1")
    if not _asks_for_a_page(scope, headers) or path.startswith("/auth/") or not is_own_link(link):
        return None
    return _cookie(scope, WANTED, quote(link, safe="/"), WANTED_SECONDS)


def is_own_link(link: str) -> bool:
    """Whether a link stays in this app, whatever a browser makes of it."""
    if len(link) > LONGEST_LINK or not link.startswith(base_path() + "/"):
        return False
    return re.fullmatch(r"/(?![/\\])[!-~]*", link) is not None


def going_on(send: Send, headers: Headers) -> Send:
    """`send`, but a sign-in that succeeded goes on with the link that was followed."""
    link = unquote(cookie_parser(headers.get("cookie", "")).get(WANTED, ""))

    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer = MutableHeaders(scope=message)
            succeeded = any(line.startswith("_streamlit_user=") for line in answer.getlist("set-cookie"))
            if succeeded and "location" in answer and is_own_link(link):
                answer["location"] = link
                answer.append("Set-Cookie", f"{WANTED}=; Path={base_path() or '/'}; Max-Age=0; HttpOnly; SameSite=Lax")
        await send(message)

    return send_on


def _asks_for_a_page(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks for a page, and not a page for one of its parts."""
    return scope["method"] == "GET" and "text/html" in headers.get("accept", "")


def _cookie(scope: Scope, name: str, value: str, seconds: int) -> str:
    secure = "; Secure" if scope["scheme"] == "https" else ""
    return f"{name}={value}; Path={base_path() or '/'}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
