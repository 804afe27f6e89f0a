"""Rival measures: whether CSLS, centring, CKA, SVCCA, RSA or ANC rank the languages as the alignment score does."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import rivals
from pages.components import exporting
from pages.components.cached import table_of
from pages.components.progress import ready
from pages.components.selection import Selection
from pages.components.wording import label
from pages.views.alignment.choices import layer_slider


def show(selection: Selection) -> None:
    chosen = selection.experiment
    measure = rivals.Rivals(selection.plan, chosen.state, chosen.pooling)
    if not ready(measure, "Compute rival measures", "rivals_run"):
        return
    layer = layer_slider(selection, "rivals_layer")
    wide = rivals.at_layer(table_of(measure), layer)
    taus = rivals.agreement(wide)
    named = rivals.names(chosen.state)
    st.markdown(rivals.conclusion(taus, len(wide), layer, named.__getitem__))
    title = f"Agreement of the rankings at layer {layer}"
    chart = charts.language_matrix(
        taus.to_numpy(),
        list(taus),
        [named[method] for method in taus],
        measure="Kendall's tau over languages",
        title=title,
        domain=(-1, 1),
        row_title="Measure",
    )
    st.altair_chart(chart, width="content")
    st.subheader(f"Rank of each language at layer {layer}", anchor=False)
    ranks = wide.rank(ascending=False, method="min").astype("Int64").sort_values("cosine").rename(columns=named)
    ranks.insert(0, "label", [label(code) for code in ranks.index])
    exporting.table(ranks.reset_index(), f"rivals-ranks-layer-{layer}")
    exporting.downloads(wide.rename(columns=named).reset_index(), chart, f"rivals-layer-{layer}")
