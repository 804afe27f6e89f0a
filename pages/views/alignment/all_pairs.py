"""Alignment of every pair of languages at a layer."""

from __future__ import annotations

import numpy as np
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import alignment, alignment_tables
from neuronxa_core.states.planning import Plan
from pages.components import controls
from pages.components.exporting import downloads
from pages.components.kept import kept
from pages.components.process import services
from pages.components.selection import Selection
from pages.components.wording import label
from pages.views.alignment import pair
from pages.views.alignment.choices import layer_slider


def show(selection: Selection) -> None:
    plan, state, pooling = selection.plan, selection.experiment.state, selection.experiment.pooling
    layer = layer_slider(selection, "layer")
    scores = _scores(alignment.scores_key(plan, state, pooling), state, pooling, layer, plan)
    services().pairs.prepare(plan, state, pooling, layer)
    table, codes = alignment_tables.pairs_table(scores, plan.all_languages)
    chart = charts.language_matrix(
        table[codes].to_numpy(),
        codes,
        [label(code) for code in codes],
        measure=selection.method,
        title=f"{selection.method} of every pair of languages",
        chosen=controls.chosen_pair("pairs"),
    )
    picked = controls.pair_of_matrix(chart, codes, "pairs", "Sentences of")
    st.caption("Ordered by hierarchical clustering (average linkage on 1 − score).")
    if picked:
        pair.show(selection, *picked, layer, "pairs")
    else:
        st.caption("Choose a cell to see the two languages' sentences.")
    downloads(table, chart, f"all-pairs-layer{layer}")


@kept("Comparing all languages …")
def _scores(key: str, state: str, pooling: str, layer: int, _plan: Plan) -> np.ndarray:
    return services().pairs.at(_plan, state, pooling, layer)
