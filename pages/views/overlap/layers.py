"""Overlap of one language with others by layer."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import overlap_tables
from pages.components import controls
from pages.components.exporting import downloads
from pages.components.wording import label
from pages.views.overlap.selection import MEASURES, OverlapSelection, measure_choice


def show(selection: OverlapSelection) -> None:
    codes = selection.codes
    columns = st.columns([1, 2])
    x = columns[0].selectbox("Language", codes, 0, format_func=label, key="curve_x", bind="query-params")
    ranked = [code for code in (*selection.best_aligned(), selection.plan.pivot) if code != x]
    others = columns[1].multiselect(
        "with",
        [code for code in codes if code != x],
        controls.spread(ranked, 4),
        format_func=label,
        key=f"curve_y_{x}",
        max_selections=8,
    )
    measure = measure_choice("curve_measure")
    if not others:
        st.info("Choose at least one language to compare with.")
        return
    overlaps = selection.overlaps(measure)
    table = overlap_tables.curve_table(overlaps, selection.counts, selection.criterion, x, others, measure)
    title = f"Overlap of active neurons by layer, {selection.criterion}"
    chart = charts.overlap_curves(table, MEASURES[measure], title)
    st.altair_chart(chart)
    downloads(table, chart, "overlap-by-layer")
