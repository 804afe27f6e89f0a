"""From where the app can be reached.

Only what the server itself knows counts here: its configuration and the addresses of its own sockets. A forwarded
header can be written by anybody, and only takes rights away.
"""

from __future__ import annotations

import ipaddress
import logging
from urllib.parse import urlsplit

import streamlit as st
from starlette.types import Scope

from pages.access.sign_in import auth_section

log = logging.getLogger(__name__)

PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Real-IP")
# of the server's own sockets, those that other machines can reach
_reachable: set[str] = set()


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


def named_hosts() -> list[str]:
    """Names other than this machine's own under which the host said that the app is opened."""
    urls = [*st.get_option("server.corsAllowedOrigins"), str((auth_section() or {}).get("redirect_uri", ""))]
    named = [*st.get_option("server.allowedHosts"), *(urlsplit(url).hostname or "" for url in urls)]
    return [name.strip().lower().rstrip(".") for name in named if name and not is_loopback(name)]


def allowed_hosts() -> list[str]:
    """Patterns of the `Host` of requests that are answered, so that no other site's name leads a browser here."""
    names = [f"[{name}]" if ":" in name and "[" not in name else name for name in named_hosts()]
    if not names and not is_loopback(st.get_option("server.address")):
        return ["*"]  # bound to the network without names: the log warns of it at start
    return [*names, "localhost", "127.0.0.1", "[::1]"]


def note_socket(scope: Scope) -> None:
    """Remember to which address a request came: an ASGI server may be bound to more than Streamlit's configuration."""
    address = (scope.get("server") or ("localhost", None))[0]
    if address not in _reachable and not is_loopback(address):
        _reachable.add(address)
        if is_loopback(st.get_option("server.address")):
            log.warning("the app is reached at %s, although server.address says otherwise", address)


def is_local_only() -> bool:
    """Whether only this machine can open the app: it is bound to it, and the host named no proxy before it.

    A proxy is of no use before the app's hosts are named, in `server.allowedHosts` or by the sign-in.
    """
    return is_loopback(st.get_option("server.address")) and not named_hosts() and not _reachable


def is_own_user() -> bool:
    """Whether whoever is at this page can only be a user of this machine.

    A path below which the app is served, or a header that proxies add, means that there may be a proxy after all.
    """
    proxied = any(name in st.context.headers for name in PROXY_HEADERS)
    return is_local_only() and not base_path() and not proxied
