"""Overlap of translations beyond that of mismatched sentences."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import overlap_tables
from neuronxa_core.states.planning import Plan
from pages.components.exporting import downloads
from pages.components.kept import kept
from pages.components.process import services
from pages.components.wording import label
from pages.views.overlap.selection import OverlapSelection


def show(selection: OverlapSelection) -> None:
    codes, chosen = selection.codes, selection.experiment
    row = st.container(horizontal=True, vertical_alignment="bottom")
    common = {"format_func": label, "bind": "query-params", "width": 210}
    x = row.selectbox("Language", codes, 0, key="meaning_x", **common)
    best = codes.index(selection.best_aligned()[0])
    y = row.selectbox("and", codes, best, key="meaning_y", **common)
    threshold = row.slider(
        "Active above, % of tokens",
        0,
        95,
        50,
        key="meaning_threshold",
        bind="query-params",
        width=220,
        help="A neuron is active in a sentence if it is in more than this share of the sentence's tokens.",
    )
    match_length = row.toggle(
        "Mismatches of the same length",
        True,
        key="meaning_length",
        bind="query-params",
        help="Within 10 % in tokens, in both languages. Long sentences share more neurons with long ones, whatever "
        "they mean; a sentence that has no other of its length is left out.",
    )
    if x == y:
        st.info("Choose two different languages: every sentence is its own translation.")
        return
    table = _table(selection.key, x, y, threshold / 100, match_length, chosen.state, chosen.pooling, selection.plan)
    chart = charts.meaning(table, selection.method, f"{label(x)} and {label(y)}: translation-specific overlap")
    st.markdown(overlap_tables.parallel_sentence(table, len(selection.plan.corpus.usable)))
    st.altair_chart(chart)
    downloads(table, chart, f"meaning-{x}-{y}")


@kept("Comparing sentences …")
def _table(
    key: str, x: str, y: str, threshold: float, match_length: bool, state: str, pooling: str, _plan: Plan
) -> pd.DataFrame:
    return overlap_tables.parallel_table(_plan, services().store, x, y, threshold, match_length, state, pooling)
