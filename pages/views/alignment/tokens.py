"""Scores against tokens per sentence: a language that the tokenizer splits finely is read in small pieces."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import alignment_tables, findings
from pages.components import cached
from pages.components.exporting import downloads
from pages.components.selection import Selection


def show(selection: Selection) -> None:
    found, layers = selection.alignment(), selection.experiment.layers
    table = alignment_tables.tokens_table(found, layers, cached.tokens_of(selection.plan))
    st.markdown(findings.tokens_sentence(table))
    chart = charts.scatter(
        table.rename(columns={"tokens": "x", "score": "y", "script": "group"}).assign(more=table["family"]),
        pd.DataFrame(),
        x_title="Tokens per sentence",
        y_title=f"{selection.method}, {layers} over layers",
        colour="Script",
        title="Alignment and tokens per sentence",
    )
    st.altair_chart(chart)
    downloads(table, chart, "tokens")
