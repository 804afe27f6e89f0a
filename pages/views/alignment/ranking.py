"""Languages by score; a click opens a language's layers and sentences."""

from __future__ import annotations

import altair as alt
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.demo import training
from neuronxa_core.measures import alignment_tables
from neuronxa_core.measures.alignment import chance_level
from neuronxa_core.tasks import covariates
from pages.components import controls
from pages.components.exporting import downloads
from pages.components.selection import Selection
from pages.components.wording import label
from pages.views.alignment import pair
from pages.views.alignment.choices import layer_slider


def show(selection: Selection) -> None:
    found, layers, method = selection.alignment(), selection.experiment.layers, selection.method
    chance = chance_level(found.n_sentences)
    table = alignment_tables.ranking_table(found, layers)
    st.markdown(alignment_tables.conclusion(found, table, layers))
    drawn = table.assign(script=[covariates.script_of(code) for code in table["language"]])

    def draw(chosen: str | None = None) -> alt.LayerChart:
        return charts.ranking(drawn, chance, method, layers, chosen)

    side_by_side = st.container(horizontal=True, gap="medium")
    picture, detail = side_by_side.container(width=560), side_by_side.container(width=370)
    with picture:
        code, _ = controls.language_of_chart(draw, "language", "ranking", found.languages)
    if code is not None:
        with detail:
            st.subheader(label(code), anchor=False)
            curve = alignment_tables.curve_table(found, [code])
            st.altair_chart(charts.layer_curves(curve, chance, method))
            layer = layer_slider(selection, "ranking_layer")
        pair.show(selection, selection.plan.pivot, code, layer, "ranking")
    else:
        detail.caption("Click a language to see its layers and its sentences.")
    downloads(training.with_shares(table) if selection.plan.source.kind == "demo" else table, draw(), "ranking")
