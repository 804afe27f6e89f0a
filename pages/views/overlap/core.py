"""Neurons active in all languages."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import overlap_tables, shared_core
from pages.components.exporting import downloads, neuron_list
from pages.components.wording import label
from pages.views.overlap.selection import OverlapSelection


def show(selection: OverlapSelection) -> None:
    chosen = codes = selection.codes
    if not st.toggle(f"All {len(codes)} languages", True, key="core_all"):
        chosen = st.multiselect("Languages", codes, codes[:6], format_func=label, key="core_languages")
    if len(chosen) < 2:
        st.info("Choose at least two languages.")
        return
    counts = selection.counts.of(chosen)
    table = shared_core.core_of(counts, selection.criterion)
    st.markdown(shared_core.core_sentence(table))
    title = f"Neurons active in all {len(chosen)} languages; expected by base rates, with 95 % range"
    chart = charts.shared_core(table, selection.plan.info.neurons, title)
    st.altair_chart(chart)
    neurons = overlap_tables.core_neurons(counts, selection.criterion)
    if neurons.empty:
        st.caption("No neuron is active in all of them; choose fewer languages, or a lower bar above.")
    else:
        lowest = st.column_config.NumberColumn("Lowest probability of all", format="%.3f")
        neuron_list(neurons, "core-neurons", lowest=lowest)
    downloads(table, chart, "shared-core")
