"""Errors that no page expected: a number on the page, and the traceback under that number in the log."""

from __future__ import annotations

import logging
import secrets

import streamlit as st

from neuronxa_core.errors import NeuronXAError


def number_of(error: Exception) -> str:
    """The number of an exception, the same whenever it is asked for."""
    if not hasattr(error, "number"):
        error.number = secrets.token_hex(4)
    return error.number


def number(record: logging.LogRecord) -> bool:
    """A filter of the log: a record of an exception gets the number that the page shows."""
    if record.exc_info and isinstance(record.exc_info[1], Exception):
        record.msg = f"error {number_of(record.exc_info[1])}: {record.msg}"
    return True


def number_errors() -> None:
    """Let the log carry the numbers that pages show."""
    logging.getLogger("streamlit.error_util").addFilter(number)


def show(error: Exception) -> bool:
    """Show an exception that no page expected as one sentence; True: Streamlit shows nothing of its own."""
    if isinstance(error, NeuronXAError):
        from pages.components.wording import said

        text = said(str(error))
    else:
        text = f"Something went wrong. Try again; if it stays, tell the host: error {number_of(error)} in the log."
    st.error(text, icon=":material/error:")
    return True
