"""Two models, representations or layers on the same sentences, language by language."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.errors import NeuronXAError
from neuronxa_core.experiment import CHOICES
from neuronxa_core.measures import compare
from neuronxa_core.measures.alignment import METHODS
from neuronxa_core.measures.compare import Compare
from neuronxa_core.states import planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.planning import Plan
from pages.components import cached, exporting, progress, sidebar, wording
from pages.components.selection import Selection


def show(selection: Selection) -> None:
    own, row = selection.experiment, st.container(horizontal=True, vertical_alignment="bottom")
    models = list(dict.fromkeys([own.model, *(run.model for run in sidebar.runs())]))
    layers = [None, *range(selection.plan.info.layers_of(own.state))]
    bound = {"bind": "query-params", "width": 190}
    first = row.selectbox("Layer", layers, format_func=_layer, key="compare_layer", **bound)
    model = row.selectbox("against model", models, key="compare_model", accept_new_options=True, **bound)
    start = 2 if own.state != "emb" else 0
    state = row.selectbox("and representation", CHOICES["state"], start, str.upper, key="compare_state", **bound)
    other = _plan_of(selection, model)
    if other is None:
        return
    layers = [None, *range(other.info.layers_of(state))]
    second = row.selectbox("at layer", layers, format_func=_layer, key="compare_other_layer", **bound)
    try:
        measure = Compare(selection.plan, own.state, own.pooling, first, model, state, own.pooling, second, other=other)
    except NeuronXAError as same:
        st.info(wording.said(str(same)))
        return
    table = cached.table_of(measure)
    shown = [
        METHODS[one] + ("" if layer is None else f", layer {layer}")
        for one, layer in ((own.state, first), (state, second))
    ]
    names = (
        shown
        if model == own.model
        else [
            f"{name}: {one}" for name, one in zip((selection.plan.source.name, other.source.name), shown, strict=True)
        ]
    )
    st.markdown(compare.conclusion(table, *map(wording.safe, names)))
    chart = charts.dumbbells(
        table.assign(clear=table["p_holm"] < compare.LEVEL),
        *names,
        "Alignment with the pivot, side by side; hollow: not beyond chance",
    )
    left, right = st.columns(2)
    left.altair_chart(chart)
    by_layer = measure.by_layer(cached.results_of(measure))
    if by_layer is None:
        right.caption("The two have different numbers of layers, so that there is no difference by layer.")
    else:
        most = max(max(map(abs, row)) for row in by_layer.values()) or 1.0
        drawn = table.assign(scores=table["language"].map(by_layer))
        right.altair_chart(charts.layer_heat_map(drawn, f"{names[0]} less {names[1]}", spread=most))
    st.caption(
        "Intervals: paired bootstrap over sentences. p: the two results of each sentence exchanged at random; Holm's "
        "correction over languages."
    )
    exporting.downloads(table, chart, "compare")


def _layer(layer: int | None) -> str:
    return "mean of all" if layer is None else f"layer {layer}"


def _plan_of(selection: Selection, model: str) -> Plan | None:
    """Another model on the same corpus; None, and a button, where it is not computed."""
    try:
        plan = cached.plan_for(replace(selection.experiment, model=model))
    except NeuronXAError as error:
        st.error(wording.said(str(error)), icon=":material/error:")
        return None
    plan = planning.restrict(plan, selection.plan.languages)
    return plan if progress.ready(Extraction(plan), f"Compute {wording.safe(model)}", f"compare-{model}") else None
