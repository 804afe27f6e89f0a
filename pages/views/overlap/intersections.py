"""Neurons active in exactly some languages."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import overlap_tables
from neuronxa_core.measures.intersections import exclusive_intersections
from pages.components.exporting import downloads, neuron_list
from pages.components.wording import label
from pages.views.overlap.selection import OverlapSelection, layer_slider, probability_columns

MOST_SETS = 6
MOST_BARS = 31


def show(selection: OverlapSelection) -> None:
    languages, every, one_layer = st.columns([3, 1, 2], vertical_alignment="bottom")
    chosen = languages.multiselect(
        f"Two to {MOST_SETS} languages",
        selection.codes,
        [selection.plan.pivot, *selection.best_aligned()[:3]],
        format_func=label,
        key="sets",
        max_selections=MOST_SETS,
    )
    whole = every.toggle("All layers", key="sets_all_layers", bind="query-params")
    with one_layer:
        layer = None if whole else layer_slider(selection, "sets_layer")
    if len(chosen) < 2:
        st.info("Choose at least two languages.")
        return
    part, criterion = selection.counts.of(chosen), selection.criterion
    active = criterion.all_sets(part) if layer is None else criterion.sets(part.probability(layer))[:, None]
    found = exclusive_intersections(active, chosen)
    if not found:
        st.info("No neuron is active in any of them; lower the threshold above.")
        return
    table = overlap_tables.intersections_table(found, chosen)
    chart = charts.upset(
        table.head(MOST_BARS),
        [label(code) for code in chosen],
        active.sum(axis=(1, 2)).tolist(),
        "Neurons active in exactly these languages",
    )
    event = st.altair_chart(chart, on_select="rerun", selection_mode="members", key="upset", width="content")
    if len(table) > MOST_BARS:
        st.caption(f"The {MOST_BARS} largest of {len(table)} intersections are drawn; the table has them all.")
    picked = event.selection.get("members") or []
    one = next((i for i in found if picked and " + ".join(i.languages) == picked[0].get("members")), None)
    if one is None:
        st.caption("Click a bar to list its neurons.")
    else:
        st.subheader("Active in exactly " + ", ".join(map(label, one.languages)), anchor=False)
        neurons = overlap_tables.neurons_table(
            selection.counts, one.layer if layer is None else layer, one.neuron, chosen
        )
        neuron_list(neurons, "upset-neurons", **probability_columns(chosen))
    named = table.rename(columns={str(k): code for k, code in enumerate(chosen)})
    downloads(named, chart, "exact-intersections")
