"""Ways from one view to another, with what is chosen."""

from __future__ import annotations

import streamlit as st

from pages.components.session import experiment


def open_page(page: str, **chosen: str) -> None:
    """Go to a page with the experiment and some of its widgets chosen."""
    # the parameters of this page's widgets cannot be cleared here, only replaced
    st.switch_page(f"pages/{page}.py", query_params={**experiment().to_query(), **chosen})


def button(text: str, page: str, key: str, **chosen: str) -> None:
    """A button that opens a page as `open_page`."""
    if st.button(text, key=key, type="tertiary", icon=":material/arrow_forward:"):
        open_page(page, **chosen)
