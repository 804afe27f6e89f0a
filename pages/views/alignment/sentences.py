"""The sentences of two languages: which of them find each other."""

from __future__ import annotations

import streamlit as st

from pages.components.selection import Selection
from pages.components.wording import label
from pages.views.alignment import pair
from pages.views.alignment.choices import layer_slider


def show(selection: Selection) -> None:
    codes = selection.codes
    columns = st.columns(3)
    x = columns[0].selectbox("From", codes, 0, format_func=label, key="from", bind="query-params")
    best = codes.index(selection.best_aligned()[0])
    y = columns[1].selectbox("To", codes, best, format_func=label, key="to", bind="query-params")
    with columns[2]:
        layer = layer_slider(selection, "layer")
    pair.show(selection, x, y, layer, "sentences")
