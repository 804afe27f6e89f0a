"""Sentences: the correlation with only so many sentence pairs."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import alignment, task_tables
from neuronxa_core.measures.task_correlation import Points
from neuronxa_core.states.planning import Plan
from pages.components import exporting
from pages.components.kept import kept
from pages.components.process import services
from pages.views.downstream.selection import TaskSelection

SAYS = (
    "The correlation with only so many sentence pairs, drawn from those that there are. Draws of nearly all sentences "
    "are nearly the same draw, so their spread narrows of itself."
)


@kept("Drawing sentences …")
def _curve(
    key: str, state: str, pooling: str, layers: str, scores: tuple[tuple[str, float], ...], _plan: Plan, _points: Points
) -> pd.DataFrame:
    return task_tables.by_sentences(_plan, services().store, state, pooling, layers, _points)


def show(selection: TaskSelection) -> None:
    how, points, plan = selection.experiment, selection.points, selection.plan
    key = alignment.scores_key(plan, how.state, how.pooling)
    scores = tuple(zip(points.languages, points.y.tolist(), strict=True))
    table = _curve(key, how.state, how.pooling, how.layers, scores, plan, points)
    title = f"Correlation with {selection.task.title} by number of sentences"
    chart = charts.sentence_curve(table.dropna(subset="r"), title)
    st.altair_chart(chart)
    enough = task_tables.enough_sentences(table)
    if enough is not None:
        st.caption(
            f"From {enough} sentence pairs on the mean r is within 0.05 of that of all {plan.corpus.n_sentences}. In "
            "every draw a sentence competes with those of the draw only. The score itself falls as sentences are "
            "added, since each gets more competitors."
        )
    if selection.task.rows is not None:
        st.caption("Drawn from all sentences, so that here alignment and the task share some.")
    exporting.downloads(table, chart, "correlation-by-sentences")
