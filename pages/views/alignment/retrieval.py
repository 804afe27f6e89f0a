"""Retrieval from the pivot and back, by all representations: the gap between directions, head and long tail."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import retrieval
from neuronxa_core.measures.retrieval import Retrieval
from pages.components.cached import table_of
from pages.components.exporting import downloads
from pages.components.selection import Selection
from pages.components.wording import label, safe
from pages.views.alignment.choices import layer_slider


def show(selection: Selection) -> None:
    chosen = selection.experiment
    by_layer = st.toggle("One layer only", key="retrieval_one_layer")
    layer = layer_slider(selection, "retrieval_layer") if by_layer else None
    pooled = "all" if by_layer else chosen.layers
    parts = [table_of(Retrieval(selection.plan, state, chosen.pooling, pooled)) for state in chosen.states_compared]
    table = pd.concat(parts, ignore_index=True)
    table = retrieval.labelled(table[table["layer"] == layer] if by_layer else table)
    own = table[table["state"] == chosen.state]
    st.markdown(safe(f"{selection.method}: {retrieval.conclusion(own, label(selection.plan.pivot))}"))
    where = f"at layer {layer}" if by_layer else f"{chosen.layers} over layers"
    chart = charts.retrieval_gaps(table, f"Retrieval accuracy in either direction, {where}")
    st.altair_chart(chart)
    three = st.column_config.NumberColumn(format="%.3f")
    st.dataframe(
        retrieval.by_group(table),
        hide_index=True,
        column_config={
            "state": "Representation",
            "group": "Languages",
            "languages": "Number",
            "src2trg": st.column_config.NumberColumn("From the pivot", format="%.3f"),
            "trg2src": st.column_config.NumberColumn("To the pivot", format="%.3f"),
            "both": st.column_config.NumberColumn("Mean of both", format="%.3f"),
            "gap": three,
        },
    )
    st.caption("Head: languages of XLM-R's training data (Conneau et al., ACL 2020). Long tail: all others.")
    downloads(table, chart, "retrieval")
