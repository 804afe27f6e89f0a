"""What is checked and said before the app answers its first request."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import streamlit as st

from neuronxa_core.errors import NotSignedIn
from pages.access.addresses import base_path, is_local_only, is_loopback, named_hosts
from pages.access.sign_in import CALLBACK, UNNAMED, auth_section, providers

log = logging.getLogger(__name__)

SHORTEST_SECRET = 32


def check() -> None:
    """Log what the host should know; end the process where the app must not be served as it is configured."""
    if wrong := list(faults()):
        raise SystemExit("NeuronXA Explorer does not start:\n" + "\n".join(f"- {fault}" for fault in wrong))
    for warning in warnings():
        log.warning(warning)


def faults() -> Iterator[str]:
    """What must be mended before the app may be served at all."""
    if st.get_option("server.trustedUserHeaders"):
        yield (
            "server.trustedUserHeaders is set: whoever reaches the port could say who they are. Remove it, and "
            "configure [auth] in the secrets."
        )
    for name in st.get_option("server.allowedHosts"):
        if name != "*" and "*" in name.removeprefix("*."):
            yield f"server.allowedHosts has {name!r}: give a name, or *. and a name"
    try:
        section = auth_section()
    except NotSignedIn as problem:
        yield str(problem)
    else:
        yield from () if section is None else _faults_of(section)


def _faults_of(section: Mapping[str, Any]) -> Iterator[str]:
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
    elif not _is_safe(redirect):
        yield "[auth] redirect_uri must begin with https:// on any host but localhost, or cookies are sent in the clear"
    if not providers(section):
        yield "[auth] names no identity provider: client_id, client_secret and server_metadata_url are missing"
    for name in providers(section):
        values, where = (section, "[auth]") if name == UNNAMED else (section[name], f"[auth.{name}]")
        if "_" in name:
            yield f"{where} must not have an underscore in its name"
        for key in ("client_id", "client_secret", "server_metadata_url"):
            if not values.get(key):
                yield f"{where} has no {key}"
        if not _is_safe(urlsplit(str(values.get("server_metadata_url", "")))):
            yield f"{where} server_metadata_url must begin with https://"


def _is_safe(url: Any) -> bool:
    return url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname))


def warnings() -> Iterator[str]:
    """What the host should know when the app starts."""
    address = st.get_option("server.address") or "all addresses of this machine"
    if auth_section() is None and not is_local_only():
        yield (
            f"the app is open to everybody who reaches it ({address}): no sign-in is configured. Set [auth] in "
            ".streamlit/secrets.toml, or server.address to localhost; docs/deployment.md says how."
        )
    if not is_loopback(st.get_option("server.address")):
        if not st.get_option("server.sslCertFile"):
            yield (
                f"the app speaks plain HTTP on {address}: bind it to localhost behind a proxy with TLS, or set "
                "server.sslCertFile and server.sslKeyFile"
            )
        if not named_hosts():
            yield (
                "server.allowedHosts is empty: name the hosts under which the app is opened, or a foreign page can "
                "reach it under a name of its own (DNS rebinding)"
            )
    if not (st.get_option("server.enableXsrfProtection") and st.get_option("server.enableCORS")):
        yield "server.enableXsrfProtection or server.enableCORS is off: foreign pages can use the app"
