"""Scores by layer, a curve per language."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import alignment_tables
from neuronxa_core.measures.alignment import chance_level
from pages.components.exporting import downloads
from pages.components.selection import Selection
from pages.views.alignment.choices import languages_drawn


def show(selection: Selection) -> None:
    found = selection.alignment()
    if codes := languages_drawn(selection, "curves"):
        table = alignment_tables.curve_table(found, codes)
        chart = charts.layer_curves(table, chance_level(found.n_sentences), selection.method)
        st.altair_chart(chart)
        downloads(table, chart, "layers")
