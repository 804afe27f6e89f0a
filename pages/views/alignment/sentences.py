"""Sentences: those of two languages and which of them find each other, each over all languages, or as a map."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components import controls
from pages.components.selection import Selection
from pages.components.wording import label
from pages.views.alignment import pair, sentence_list, sentence_map
from pages.views.alignment.choices import layer_slider


def show(selection: Selection) -> None:
    row = st.container(horizontal=True, vertical_alignment="bottom")
    with row:
        shown = controls.segments("Sentences of", list(SHOWN), "Two languages", "sentences_of")
    SHOWN[shown](selection, row)


def _two_languages(selection: Selection, row: DeltaGenerator) -> None:
    codes, best = selection.codes, selection.best_aligned()[0]
    shown = {"format_func": label, "bind": "query-params", "width": 200}
    x = row.selectbox("From", codes, 0, key="from", **shown)
    y = row.selectbox("To", codes, codes.index(best), key="to", **shown)
    with row.container(width=180):
        layer = layer_slider(selection, "layer")
    pair.show(selection, x, y, layer, "sentences")


SHOWN = {"Two languages": _two_languages, "All languages": sentence_list.show, "Map": sentence_map.show}
