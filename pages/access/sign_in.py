"""Whether the host asks for a sign-in: the section `[auth]` of Streamlit's secrets."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

from neuronxa_core.errors import NotSignedIn

UNNAMED = "default"
CALLBACK = "/oauth2callback"


@functools.cache
def auth_section() -> Mapping[str, Any] | None:
    """The section `[auth]`, read once per process; None where the host asks for no sign-in.

    NotSignedIn where the secrets are there and cannot be read: they may ask for one.
    """
    try:
        section = st.secrets.to_dict().get("auth")
    except (StreamlitSecretNotFoundError, OSError, ValueError) as problem:
        if getattr(problem, "error_id", None) == "no-secrets-found":
            return None
        raise NotSignedIn(f"The app's secrets cannot be read, so nobody is let in: {problem}") from problem
    return section if section is None or isinstance(section, Mapping) else {}


def providers(section: Mapping[str, Any]) -> list[str]:
    """The identity providers of an `[auth]` section; UNNAMED is that of the section itself."""
    named = [name for name, value in section.items() if isinstance(value, Mapping) and name != "client_kwargs"]
    return ([UNNAMED] if "client_id" in section else []) + named
