"""Overlap of translations beyond that of mismatched sentences."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import overlap_tables
from neuronxa_core.states.planning import Plan
from pages.components.exporting import downloads
from pages.components.process import services
from pages.components.wording import counted, label
from pages.views.overlap.selection import OverlapSelection


def show(selection: OverlapSelection) -> None:
    codes, chosen = selection.codes, selection.experiment
    columns = st.columns(2)
    common = {"format_func": label, "bind": "query-params"}
    x = columns[0].selectbox("Language", codes, 0, key="meaning_x", **common)
    best = codes.index(selection.best_aligned()[0])
    y = columns[1].selectbox("and", codes, best, key="meaning_y", **common)
    threshold = st.slider(
        "A neuron is active in a sentence if it is in more than this share of the sentence's tokens, %",
        0,
        95,
        50,
        key="meaning_threshold",
        bind="query-params",
    )
    if x == y:
        st.info("Choose two different languages: every sentence is its own translation.")
        return
    table = _table(selection.key, x, y, threshold / 100, chosen.state, chosen.pooling, selection.plan)
    chart = charts.meaning(table, selection.method, f"{label(x)} and {label(y)}: translation-specific overlap")
    at, sentences = overlap_tables.largest_difference(table), len(selection.plan.corpus.usable)
    st.markdown(
        f"Translations share most beyond mismatched sentences at **layer {at['layer']}**: {at['value']:.3f} more "
        f"(95 % interval {at['low']:.3f} to {at['high']:.3f}, {counted(sentences, 'sentence')})."
    )
    st.altair_chart(chart)
    downloads(table, chart, f"meaning-{x}-{y}")


@st.cache_resource(max_entries=64, show_spinner="Comparing sentences …")
def _table(key: str, x: str, y: str, threshold: float, state: str, pooling: str, _plan: Plan) -> pd.DataFrame:
    return overlap_tables.parallel_table(_plan, services().store, x, y, threshold, state, pooling)
