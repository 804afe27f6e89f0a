"""Who is at the page."""

from __future__ import annotations

from typing import NamedTuple

from streamlit.runtime.scriptrunner import get_script_run_ctx


class Person(NamedTuple):
    """Somebody who uses the app.

    key: equal for the same person in all their tabs. name: for others to read. manages: may delete, and stop what
    others started.
    """

    key: str
    name: str
    manages: bool


def person() -> Person:
    """Who is at this page."""
    context = get_script_run_ctx(suppress_warning=True)
    key = "" if context is None else context.session_id
    return Person(key, "somebody", True)
