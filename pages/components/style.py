"""What the theme's settings cannot say: less room above the title, and figures in the size of a subheading."""

from __future__ import annotations

import streamlit as st

STYLE = """<style>
.stMainBlockContainer { padding-top: 4.75rem; padding-bottom: 3rem; }
.stMainBlockContainer h1 { padding-top: 0; font-size: 2rem; }
[data-testid="stMetricValue"] { font-size: 1.5rem; }
/* captions in AA's contrast */
[data-testid="stCaptionContainer"] { color: inherit; opacity: .8; }
/* a chart that is wider than its place scrolls: nothing of it is cut off */
[data-testid="stVegaLiteChart"] { max-width: 100%; overflow-x: auto; }
/* on the dark theme's light accent, white text could not be read */
[data-testid="stBaseButton-primary"] *, [data-testid="stMultiSelectTagsContainer"] [data-tag] * {
  color: light-dark(#FFFFFF, #111111);
}
[data-testid="stSidebarHeader"] { height: 2.5rem; }
</style>"""


def apply() -> None:
    """Put the style on the page; to be called once per run."""
    st.html(STYLE)
