"""Find a neuron: lists of neurons that stand out; a chosen row is looked at."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from neuronxa_core.measures import neuron_rankings
from pages.components import exporting, wording
from pages.views.microscope.selection import NeuronSelection

WAYS = {
    "shared": ("most shared", "Lowest probability of all languages"),
    "specific": ("most specific to …", "Probability above the next language's"),
    "discriminating": ("most discriminating between …", "Difference of probability"),
    "sentence": ("strongest for a sentence", ""),
}


def show(selection: NeuronSelection) -> None:
    way = st.segmented_control(
        "Neurons that are",
        list(WAYS),
        default="specific",
        required=True,
        key="find_by",
        format_func=lambda name: WAYS[name][0],
    )
    columns, codes = st.columns(3), selection.codes
    only = selection.layer if columns[2].toggle(f"In layer {selection.layer} only", key="find_here") else None
    x = y = ""
    if way != "shared":
        x = columns[0].selectbox("Language", codes, min(1, len(codes) - 1), format_func=wording.label, key="find_x")
    if way == "sentence":
        texts = selection.plan.corpus.sentences(x)
        at = columns[1].selectbox(
            "Sentence", range(len(texts)), format_func=lambda k: f"{k + 1}: {texts[k]}", key="find_k"
        )
        _strongest_in_sentence(selection, x, at, only)
        return
    if way == "discriminating":
        y = columns[1].selectbox("against", codes, 0, format_func=wording.label, key="find_y")
        if x == y:
            st.info("Choose two different languages.")
            return
    number = partial(st.column_config.NumberColumn, format="%.3f")
    neuron_list(
        neuron_rankings.rank_neurons(selection.activity, way, x=x, y=y, layer=only),
        f"find-{way}-{x}-{y}-{only}",
        value=st.column_config.NumberColumn(WAYS[way][1], format="%+.3f" if way == "discriminating" else "%.3f"),
        **{code: number(f"Probability in {code}") for code in (x, y) if code},
    )


def _strongest_in_sentence(selection: NeuronSelection, x: str, at: int, only: int | None) -> None:
    neuron_list(
        neuron_rankings.strongest_in_sentence(selection.plan, selection.store, x, at, layer=only),
        f"find-sentence-{x}-{at}-{only}",
        value=st.column_config.NumberColumn("Mean |a| in it", format="%.4f"),
        usual=st.column_config.NumberColumn("in all sentences", format="%.4f"),
        deviations=st.column_config.NumberColumn("Standard deviations above", format="%.2f"),
    )


def neuron_list(table: pd.DataFrame, key: str, **columns: object) -> None:
    """A list of neurons; a chosen row becomes the neuron that is looked at."""

    def look() -> None:
        rows = st.session_state[key].selection.rows
        if rows and rows[0] < len(table):
            st.session_state.neuron_layer = int(table["layer"].iloc[rows[0]])
            st.session_state.neuron_number = int(table["neuron"].iloc[rows[0]])

    if exporting.neuron_table(table, key, on_select=look, **columns):
        st.caption("Choose a row to look at that neuron.")
