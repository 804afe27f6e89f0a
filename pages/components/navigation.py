"""The app's pages."""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import Page
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.access import people
from pages.components.icon import icon


def navigation() -> Page:
    """The app's pages, and the one that is asked for."""
    return st.navigation(
        [
            st.Page("pages/overview.py", title="Overview", icon=":material/grid_on:", default=True),
            st.Page("pages/alignment.py", title="Alignment", icon=":material/insights:"),
            st.Page("pages/overlap.py", title="Overlap", icon=":material/join_inner:"),
            st.Page("pages/microscope.py", title="Microscope", icon=":material/biotech:"),
            st.Page("pages/downstream.py", title="Downstream", icon=":material/scatter_plot:"),
            st.Page("pages/run.py", title="Run", icon=":material/play_arrow:"),
            st.Page("pages/admin.py", title="Admin", icon=":material/monitor_heart:"),
            st.Page("pages/method.py", title="Method", icon=":material/menu_book:"),
            *people.account_pages(),
        ],
        position="top",
    )


def ensure_app() -> None:
    """Run the whole app where Streamlit has run a page alone.

    Until st.navigation is called for the first time in a process, Streamlit takes a folder named pages for its older
    kind of app, and a link straight to a page runs that page without streamlit_app.py.
    """
    if "experiment" not in st.session_state and get_script_run_ctx(suppress_warning=True) is not None:
        st.set_page_config(page_icon=icon())  # or the page's own icon is fetched from afar
        navigation()
        st.rerun()
