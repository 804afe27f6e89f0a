"""Overlap of every pair of languages at a layer; the layers can play."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import alignment, neuron_rankings, overlap_tables
from pages.components import controls
from pages.components.exporting import downloads, neuron_list
from pages.components.wording import label
from pages.views.overlap.selection import (
    MEASURES,
    OverlapSelection,
    layer_slider,
    measure_choice,
    probability_columns,
)

SECONDS_PER_LAYER = 0.9


def show(selection: OverlapSelection) -> None:
    with st.container(horizontal=True, gap="large", vertical_alignment="bottom"):
        measure = measure_choice("overlap_measure")
        playing = bool(st.session_state.get("overlap_playing"))
        if selection.plan.info.layers > 1:
            st.button(
                "Pause" if playing else "Play the layers",
                icon=":material/pause:" if playing else ":material/play_arrow:",
                key="overlap_play",
                on_click=_start_or_stop,
            )
    st.fragment(_at_layer, run_every=SECONDS_PER_LAYER if playing else None)(selection, measure)


def _start_or_stop() -> None:
    st.session_state.overlap_playing = not st.session_state.get("overlap_playing")
    st.session_state.overlap_due = 0.0


def _next_layer_if_due(last_layer: int) -> None:
    """While the layers play, move on to the next one when the time of this one is over."""
    if st.session_state.get("overlap_playing") and time.monotonic() >= st.session_state.get("overlap_due", 0):
        at = st.session_state.get("overlap_layer", last_layer)
        st.session_state.overlap_layer = at + 1 if at < last_layer else 0
        st.session_state.overlap_due = time.monotonic() + 0.8 * SECONDS_PER_LAYER


def _at_layer(selection: OverlapSelection, measure: str) -> None:
    """The slider and the matrix; alone in its fragment, so that it can play."""
    _next_layer_if_due(selection.plan.info.layers - 1)
    layer = layer_slider(selection, "overlap_layer")
    whole = selection.overlaps(measure)
    order = alignment.hierarchical_order(selection.overlaps("jaccard").mean(axis=0))
    codes = [selection.codes[k] for k in order]
    ordered = whole[layer][np.ix_(order, order)]
    is_conditional = measure == "conditional"
    chart = charts.language_matrix(
        ordered,
        codes,
        [label(code) for code in codes],
        measure="Share of the row's neurons that the column has" if is_conditional else MEASURES[measure],
        title="Active neurons that two languages share",
        domain=overlap_tables.colour_range(whole),
        row_title="Of the neurons of" if is_conditional else None,
        column_title="active in" if is_conditional else None,
        chosen=controls.chosen_pair("overlap"),
    )
    picked = controls.pair_of_matrix(chart, codes, "overlap", "Neurons of")
    st.caption("Ordered by hierarchical clustering over all layers; order and colours stay as the layer changes.")
    if picked and picked[0] != picked[1]:
        x, y = picked
        st.subheader(f"{label(x)} and {label(y)}", anchor=False)
        table = overlap_tables.curve_table(whole, selection.counts, selection.criterion, x, [y], measure)
        st.altair_chart(charts.overlap_curves(table, MEASURES[measure], "Their overlap by layer"))
        st.caption(f"Neurons of layer {layer} that are active in both")
        shared = neuron_rankings.pairs_shared(selection.counts, x, y, selection.criterion, layer)
        neuron_list(shared, "overlap-pair", **probability_columns([x, y]))
    else:
        st.caption("Choose a cell to see the neurons that two languages share.")
    table = pd.DataFrame(ordered, index=codes, columns=codes).rename_axis("language").reset_index()
    downloads(table, chart, f"overlap-{measure}-layer{layer}")
