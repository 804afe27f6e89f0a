"""Controls that several views of alignment share."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import alignment_tables
from pages.components import controls
from pages.components.selection import Selection
from pages.components.wording import label


def languages_drawn(selection: Selection, key: str) -> list[str]:
    """The languages whose curves are drawn: no more than can be told apart, at first five from best to worst."""
    chosen = st.multiselect(
        "Languages",
        list(selection.plan.languages),
        default=controls.spread(selection.best_aligned(), 5),
        format_func=label,
        key=key,
        max_selections=charts.MOST_CURVES,
    )
    if not chosen:
        st.info("Choose at least one language.")
    return chosen


def layer_slider(selection: Selection, key: str) -> int:
    """A layer from 0; it starts where the languages together score highest by NASCA."""
    start = alignment_tables.best_layer(selection.reference)
    return controls.layer_slider(selection.plan.info.layers_of(selection.experiment.state), start, key)
