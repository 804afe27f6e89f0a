"""The session's experiment and its link."""

from __future__ import annotations

from contextlib import suppress

import streamlit as st

from neuronxa_core.errors import CorpusError, ModelError, NeuronXAError
from neuronxa_core.experiment import Experiment
from pages.access.host import host_settings
from pages.components.wording import said


def open_experiment() -> None:
    """Take the experiment from the link on the first visit, and keep the link that of the session's experiment."""
    allowed = host_settings()
    if "experiment" not in st.session_state:
        st.session_state.experiment = Experiment()
        try:
            named = Experiment.from_query(st.query_params.to_dict())
            with suppress(CorpusError, ModelError):  # a page says these
                allowed.check(named)
            st.session_state.experiment = named
        except NeuronXAError as error:
            st.session_state.link_error = str(error)
    if problem := st.session_state.get("link_error"):
        st.warning(f"The link could not be read as it is ({said(problem)}); the bundled example is shown instead.")
    keep_link()


def keep_link() -> None:
    """Make the address name the session's experiment, so that it opens the same view elsewhere."""
    wanted = experiment().to_query()
    # each change by itself would be a step of the browser's back button
    if changed := {name: value for name, value in wanted.items() if st.query_params.get(name) != value}:
        st.query_params.update(changed)
    for name in Experiment.__dataclass_fields__:
        if name not in wanted and name in st.query_params:
            del st.query_params[name]


def experiment() -> Experiment:
    """The session's experiment."""
    return st.session_state.experiment


def enter(page: str) -> None:
    """Remember the experiment with which a page is entered: its widgets start there, wherever they then move it."""
    if st.session_state.get("page") != page:
        st.session_state.page = page
        st.session_state.entered_with = experiment()


def entered_with() -> Experiment:
    """The experiment when the page was entered."""
    return st.session_state.setdefault("entered_with", experiment())


def choose(chosen: Experiment) -> None:
    """Make another experiment the session's."""
    st.session_state.experiment = chosen
    st.session_state.pop("link_error", None)
    keep_link()
