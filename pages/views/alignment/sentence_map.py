"""A map of all languages' sentences at a layer; the layer slider moves it as little as it can."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from neuronxa_core import charts
from neuronxa_core.measures import sentence_map
from neuronxa_core.measures.sentence_map import SentenceMap
from pages.components import controls, exporting
from pages.components.cached import table_of
from pages.components.progress import ready
from pages.components.selection import Selection
from pages.components.wording import label, passages, safe
from pages.views.alignment.choices import layer_slider

PLANES = {"PCA": "first two components", "UMAP": "UMAP"}
COLOURED_BY = {"Family": "family", "Script": "script", "Languages": "language"}


def show(selection: Selection, row: DeltaGenerator) -> None:
    """row: where the controls go."""
    chosen = selection.experiment
    with row.container(width=180):
        layer = layer_slider(selection, "layer")
    with row:
        plane = controls.segments("Plane", list(PLANES), "PCA", "map_plane")
        by = controls.segments("Colour", list(COLOURED_BY), "Family", "map_colour")
    measure = SentenceMap(selection.plan, chosen.state, chosen.pooling, plane.lower())
    marked = []
    if by == "Languages":
        marked = st.multiselect(
            "Languages",
            measure.codes,
            default=[selection.plan.pivot, *controls.spread(selection.best_aligned(), 3)],
            format_func=label,
            key="map_languages",
            max_selections=sentence_map.MOST_GROUPS,
        )
    if not ready(measure, "Draw the map", "map_run"):
        return
    table = table_of(measure)
    st.markdown(safe(sentence_map.conclusion(table, layer)))
    if measure.note:
        st.caption(f"Of all sentences {measure.note}.")
    codes = list(measure.codes)
    group = dict(zip(codes, sentence_map.groups(codes, COLOURED_BY[by], marked), strict=True))
    sentences = selection.plan.corpus.sentences
    pivot = sentences(selection.plan.pivot)
    drawn = table[table["layer"] == layer].assign(
        label=lambda rows: rows["language"].map(label),
        group=lambda rows: rows["language"].map(group),
        text=lambda rows: [pivot[number - 1] for number in rows["sentence"]],
    )
    chart = charts.sentence_map(
        drawn,
        sentence_map.reach(table),
        others=sentence_map.OTHERS,
        colour=by.removesuffix("s"),
        title=f"Sentences at layer {layer}: {PLANES[plane]}, {chosen.state.upper()}",
    )
    side_by_side = st.container(horizontal=True, gap="medium")
    with side_by_side.container(width=600):
        event = st.altair_chart(chart, on_select="rerun", selection_mode="sentence", key="sentence_map")
    picked = [int(one["sentence"]) for one in event.selection.get("sentence") or [] if "sentence" in one]
    with side_by_side.container(width=330):
        if picked and picked[0] <= len(pivot):
            st.markdown(f"**Sentence {picked[0]}**")
            with st.container(height=460, border=False):
                st.html(passages([(label(code), sentences(code)[picked[0] - 1], code) for code in codes]))
        else:
            st.caption("Point at a sentence to see its translations joined to it; click it to read them.")
    exporting.downloads(table[table["layer"] == layer], chart, f"sentence-map-layer{layer}")
