"""By language: how often and how strongly the neuron is active."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import neuron_rankings, neuron_tables
from pages.components import exporting
from pages.views.microscope.selection import NeuronSelection

MOST_BARS = 60


def show(selection: NeuronSelection) -> None:
    layer, neuron = selection.layer, selection.neuron
    values = neuron_rankings.neuron_values(selection.plan, selection.store, selection.codes, layer, neuron)
    table = neuron_tables.by_language(selection.activity, values, layer, neuron)
    drawn, half = table, MOST_BARS // 2
    if len(table) > MOST_BARS:
        drawn = pd.concat([table.head(half), table.tail(half)])
        st.caption(f"The {half} languages with the highest and the {half} with the lowest probability are drawn.")
    bars = charts.probability_bars(drawn, "How often it is active")
    left, right = st.columns(2)
    left.altair_chart(bars)
    right.altair_chart(
        charts.value_distribution(drawn, "Mean |a| of a sentence's tokens", "How strongly, sentence by sentence")
    )
    st.caption(
        "Boxes: the middle half of the sentences, with the median; lines: all of them. Values are sizes, without sign; "
        "tokens below show the sign."
    )
    exporting.downloads(table, bars, f"neuron-{layer}-{neuron}")
