"""Estimate: task scores from alignment, in MEXA's way and by a line with its prediction interval."""

from __future__ import annotations

import streamlit as st

from neuronxa_core.measures import task_tables
from pages.components import exporting, wording
from pages.views.downstream.selection import TaskSelection

SAYS = (
    "Estimates for languages without a score: alignment times the pivot's own score, in the manner of MEXA, and the "
    "line through the other languages. They are worth something only where their errors, on languages with a score, "
    "are smaller than those of the other languages' mean."
)


def show(selection: TaskSelection) -> None:
    plan, task = selection.plan, selection.task
    if not task.is_share:
        st.info("The estimate is for scores between 0 and 1 of which more is better, such as an accuracy.")
        return
    pivot_score = task.scores.get(plan.pivot)
    if pivot_score is None:
        st.info(f"The scores have none for the pivot {wording.label(plan.pivot)}; give it, as alignment is times it.")
        pivot_score = st.number_input("The pivot's own score", 0.0, 1.0, None, 0.01, key="pivot_score")
        if pivot_score is None:
            return
    pooled = selection.alignment().pooled(selection.experiment.layers)
    method = selection.method
    errors, estimates = task_tables.estimates(plan, task, selection.points, pooled, float(pivot_score), method)
    three = st.column_config.NumberColumn(format="%.3f")
    st.markdown(f"**Errors on the {len(selection.points.languages)} languages with a score**")
    st.dataframe(errors, hide_index=True, column_config=dict.fromkeys(errors.columns[1:], three))
    best = errors.set_index("estimate")["mean absolute error"].idxmin()
    st.caption(
        f"The smallest mean absolute error: {best}. Alignment is {method}; the pivot's score is {pivot_score:.3f}. "
        "*Line from* and *to* are the line's 95 % prediction interval for the score of a single language."
    )
    st.markdown(f"**All languages, {estimates['score'].isna().sum()} of them without a score of their own**")
    number = {
        name: st.column_config.NumberColumn(name[0].upper() + name[1:], format="%.3f") for name in estimates.columns[2:]
    }
    exporting.table(estimates, "estimates", number)
