"""Alignment of every pair of languages, at a layer or pooled over layers."""

from __future__ import annotations

import numpy as np
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import alignment, alignment_tables
from neuronxa_core.measures.all_pairs import AllPairs, takes_long
from neuronxa_core.states.planning import Plan
from pages.components import controls
from pages.components.cached import results_of
from pages.components.exporting import downloads
from pages.components.kept import kept
from pages.components.process import services
from pages.components.progress import ready
from pages.components.selection import Selection
from pages.components.wording import label
from pages.views.alignment import pair
from pages.views.alignment.choices import layer_slider


def show(selection: Selection) -> None:
    plan, state, pooling = selection.plan, selection.experiment.state, selection.experiment.pooling
    pooled = st.toggle("Pooled over layers", key="pairs_pooled", bind="query-params")
    if pooled:
        measure = AllPairs(plan, state, pooling)
        if not ready(measure, "Compute all layers", "pairs_run"):
            return
        layers = np.stack([arrays["scores"] for arrays in results_of(measure).values()], axis=-1)
        scores, where = alignment.pool_layers(layers, selection.experiment.layers), selection.experiment.layers
    else:
        layer = layer_slider(selection, "layer")
        work = AllPairs(plan, state, pooling, (layer,))
        if takes_long(plan, state) and not ready(work, "Compute this layer", "pairs_layer"):
            return
        scores = _scores(alignment.scores_key(plan, state, pooling), state, pooling, layer, plan)
        services().pairs.prepare(plan, state, pooling, layer)
        where = f"layer{layer}"
    table, codes = alignment_tables.pairs_table(scores, plan.all_languages)
    chart = charts.language_matrix(
        table[codes].to_numpy(),
        codes,
        [label(code) for code in codes],
        measure=selection.method,
        title=f"{selection.method} of every pair of languages{f', {where} over layers' if pooled else ''}",
        chosen=controls.chosen_pair("pairs"),
    )
    picked = controls.pair_of_matrix(chart, codes, "pairs", "Sentences of")
    st.caption("Ordered by hierarchical clustering (average linkage on 1 − score).")
    if picked:
        if pooled:  # the pair's sentences at its own best layer
            layer = int(layers[tuple(plan.all_languages.index(code) for code in picked)].argmax())
        pair.show(selection, *picked, layer, "pairs")
    else:
        st.caption("Choose a cell to see the two languages' sentences.")
    downloads(table, chart, f"all-pairs-{where}")


@kept("Comparing all languages …")
def _scores(key: str, state: str, pooling: str, layer: int, _plan: Plan) -> np.ndarray:
    return services().pairs.at(_plan, state, pooling, layer)
