"""Who is at the page, and the pages on which they sign in and out.

Where the secrets have a section `[auth]`, everybody signs in with its OpenID provider first. Elsewhere a person is a
browser, known by a cookie that the gate sets; nothing that a proxy may add to a request is believed.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from typing import NamedTuple

import streamlit as st
from streamlit.auth_util import get_cookie_with_chunks
from streamlit.navigation.page import Page
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from neuronxa_core.errors import NotSignedIn
from pages.access import addresses, cookies, host
from pages.access.sign_in import UNNAMED, auth_section, providers
from pages.components import wording

# how long Streamlit's cookie lasts, and so how long an open tab may be used
SIGN_IN_SECONDS = 30 * 24 * 3600
MOST_NAME = 60
_signed_out: set[str] = set()


class Person(NamedTuple):
    """Somebody who uses the app.

    key: equal for the same person in all their tabs; neither cookie nor account can be read from it. name: for others
    to read. manages: whether they may delete from the cache, and stop what others started.
    """

    key: str
    name: str
    manages: bool


def person() -> Person:
    """Who is at this page. Where the host asks for a sign-in and there is none that counts, the page ends here.

    It becomes the one to sign in on; outside of a page, NotSignedIn.
    """
    try:
        return _somebody()
    except NotSignedIn:
        if get_script_run_ctx(suppress_warning=True) is not None:
            st.rerun()
        raise


def _somebody() -> Person:
    if auth_section() is not None:
        return _of_claims(st.user.to_dict())
    context = get_script_run_ctx(suppress_warning=True)
    if context is None:
        return Person("", "somebody", False)
    cookie = st.context.cookies.get(cookies.BROWSER, "")
    key = _key("browser", cookie) if cookies.is_browser(cookie) else _key("session", context.session_id)
    local = addresses.is_own_user()
    return Person(key, "this machine" if local else f"guest {key[:4]}", local)


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _of_claims(claims: Mapping[str, object]) -> Person:
    """The person of an identity token."""
    _check(claims)
    email = str(claims.get("email") or "")
    name = re.sub(r"\s+", " ", str(claims.get("name") or email or "somebody")).strip()
    # an address that nobody verified is what its owner says it is
    manages = _verified(claims) == "true" and email.casefold() in host.host_settings().people.managers
    return Person(_account_key(claims), name[:MOST_NAME], manages)


def _check(claims: Mapping[str, object]) -> None:
    """NotSignedIn where a sign-in does not count."""
    if not claims.get("is_logged_in"):
        raise NotSignedIn("Sign in to go on.")
    if not all(isinstance(claims.get(name), str) and claims[name] for name in ("iss", "sub")):
        raise NotSignedIn("The identity provider did not say who you are. Sign out, and sign in again.")
    if _verified(claims) == "false":
        raise NotSignedIn(
            "The identity provider has not verified your e-mail address. Verify it there, sign out here, and sign in "
            "again."
        )
    issued = claims.get("iat")
    if not isinstance(issued, (int, float)) or time.time() - issued > SIGN_IN_SECONDS:
        raise NotSignedIn("Your sign-in is too old. Sign out, and sign in again.")
    if _sign_in(claims) in _signed_out:
        raise NotSignedIn("You have signed out in another tab. Sign in to go on.")


def _verified(claims: Mapping[str, object]) -> str:
    """true, false, or nothing where the provider does not say; some say it as a text."""
    return str(claims.get("email_verified", "")).lower()


def key_of(sent: Mapping[str, str]) -> str:
    """The key of the person whose a request's cookies are; "" for nobody known, or no sign-in that counts."""

    def checked(name: str) -> bytes | None:
        value = sent.get(name)
        return None if value is None else decode_signed_value(get_cookie_secret(), name, value.encode("latin-1"))

    try:
        if auth_section() is None:
            cookie = sent.get(cookies.BROWSER)
            return _key("browser", cookie) if cookies.is_browser(cookie) else ""
        kept = get_cookie_with_chunks(checked, USER_COOKIE_NAME)
        claims = json.loads(kept) if kept else {}
        _check(claims)
        return _account_key(claims)
    except (NotSignedIn, ValueError):
        return ""


def _account_key(claims: Mapping[str, object]) -> str:
    return _key("account", str(claims["iss"]), str(claims["sub"]))


def _sign_in(claims: Mapping[str, object]) -> str:
    """One sign-in, in whatever tabs of a browser it is used."""
    return _key(*(str(claims.get(name)) for name in ("iss", "sub", "iat", "nonce")))


def admit() -> None:
    """Go on only with somebody who may; everybody else gets a page to sign in on, and nothing of the app."""
    try:
        _somebody()
    except NotSignedIn as problem:
        reason = str(problem)

        def sign_in() -> None:
            _sign_in_page(reason)

        st.set_page_config(page_title="NeuronXA Explorer")
        pages = [st.Page(sign_in, title="Sign in", default=True)]
        # the page that was asked for, or Streamlit says that there is none; later runs no longer know it
        if name := st.session_state.setdefault("asked_for", _asked_for()):
            pages.append(st.Page(sign_in, title="Sign in", url_path=name))
        st.navigation(pages, position="hidden").run()
        st.stop()


def _asked_for() -> str:
    context = get_script_run_ctx(suppress_warning=True)
    name = "" if context is None else context.pages_manager.intended_page_name or ""
    return name if re.fullmatch(r"[\w-]{1,100}", name) else ""


def _sign_in_page(reason: str) -> None:
    _, middle, _ = st.columns([1, 2, 1])
    with middle:
        st.title("NeuronXA Explorer")
        st.write(reason)
        claims = st.user.to_dict()
        if claims.get("is_logged_in") and _sign_in(claims) not in _signed_out:
            _sign_out_button()
            return
        for provider in providers(auth_section() or {}):
            label = "Sign in" if provider == UNNAMED else f"Sign in with {provider}"
            if st.button(label, type="primary", icon=":material/login:"):
                st.login(None if provider == UNNAMED else provider)


def account_pages() -> list[Page]:
    """For the navigation: the page on which one signs out, where people sign in at all."""
    if auth_section() is None:
        return []
    return [st.Page(_account, title="Account", icon=":material/person:", url_path="account")]


def _account() -> None:
    who = person()
    st.title("Account")
    st.write(wording.safe(f"Signed in as {who.name}."))
    if who.manages:
        st.caption("You may delete what the cache holds, and stop what others started.")
    _sign_out_button()
    st.caption("Signing out ends all tabs of this browser. What you started goes on.")


def _sign_out_button() -> None:
    if st.button("Sign out", icon=":material/logout:"):
        _signed_out.add(_sign_in(st.user.to_dict()))
        st.logout()
        st.stop()
