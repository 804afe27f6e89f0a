"""Method: every formula with its source, as docs/method.md has them."""

from pathlib import Path

import streamlit as st

from pages.access import people
from pages.components.navigation import ensure_app

TEXT = Path(__file__).parents[1] / "docs" / "method.md"

ensure_app()
people.person()
st.markdown(TEXT.read_text(encoding="utf-8"))
