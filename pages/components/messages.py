"""Errors and warnings on a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from neuronxa_core.errors import NeuronXAError
from pages.components.process import services
from pages.components.wording import said


def show_write_error() -> None:
    """A word above every page where the cache could not be written when that was last tried."""
    if hindrance := services().store.last_write_error:
        st.warning(f"{said(hindrance)}. Until then, nothing that is computed is kept.", icon=":material/hard_drive:")


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show what a user can mend as an error on the page, and end the page there."""
    try:
        yield
    except NeuronXAError as error:
        st.error(said(str(error)), icon=":material/error:")
        st.stop()
