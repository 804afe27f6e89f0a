"""The three representations side by side."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import alignment_tables
from pages.components.exporting import downloads
from pages.components.selection import Selection
from pages.views.alignment.choices import languages_drawn


def show(selection: Selection) -> None:
    if codes := languages_drawn(selection, "states"):
        by_state = {state: selection.alignment(state) for state in selection.experiment.states_compared}
        table = alignment_tables.states_table(by_state, codes)
        chart = charts.states_side_by_side(table[["method", "label", "layer", "score"]])
        st.altair_chart(chart)
        downloads(table, chart, "states")
