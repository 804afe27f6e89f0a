"""Methods: the correlation of every method with every task, and whether NASCA is ahead of MEXA."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.experiment import CHOICES
from neuronxa_core.measures import grid, task, task_tables
from neuronxa_core.measures.alignment import METHODS
from neuronxa_core.measures.bitext_retrieval import only_rows
from neuronxa_core.measures.rivals import Rivals, by_method
from neuronxa_core.measures.task import Task
from neuronxa_core.statistics import comparison
from pages.components import cached, exporting, wording
from pages.components.progress import ready
from pages.components.selection import need
from pages.views.downstream.selection import TaskSelection

SAYS = (
    "The correlation of every method with every task, as in the paper's tables. Cells differ by chance too: a "
    "permutation says what the best of them is worth, and Williams' test whether NASCA is ahead of MEXA."
)


def tasks_of(selection: TaskSelection) -> list[Task]:
    """The task that is shown, and the others of its model from the same source."""
    chosen = selection.task
    if selection.source == "Published":
        return task.all_tasks(selection.plan, task.published(), chosen.model)
    if selection.source == "Measured here":
        others = task.measured_already(selection.plan, selection.store, selection.experiment.pooling)
        return [chosen, *(other for other in others if other.name != chosen.name)]
    return [chosen]


def rivals_of(selection: TaskSelection) -> dict[tuple, Rivals]:
    """The rival measures of the chosen token pooling, by the rows that a task leaves for it and representation."""
    plan, pooling = selection.plan, selection.experiment.pooling
    return {
        (rows, state): Rivals(plan if rows is None else only_rows(plan, rows), state, pooling)
        for rows in dict.fromkeys(task.rows for task in tasks_of(selection))
        for state in selection.experiment.states_compared
    }


def table_of(selection: TaskSelection, rivals: Mapping[tuple, Rivals] = MappingProxyType({})) -> pd.DataFrame:
    """r of every method with every task; see `grid.correlations`. rivals: computed ones to add, see `rivals_of`."""
    plan, states = selection.plan, selection.experiment.states_compared
    need(plan, [f"{state}_{pooling}" for pooling in CHOICES["pooling"] for state in states])

    def others(task: Task, state: str, pooling: str) -> dict[str, np.ndarray]:
        measure = rivals.get((task.rows, state))
        if measure is None or pooling != measure.pooling:
            return {}
        return by_method(measure, cached.results_of(measure))

    return grid.correlations(
        plan.source.name,
        plan,
        tasks_of(selection),
        lambda one, state, pooling: selection.alignment(state, pooling, one),
        states=states,
        others=others,
    )


def show(selection: TaskSelection) -> None:
    wanted = st.toggle(
        "With rival measures",
        key="methods_rivals",
        help="CSLS, margin, centring, CKA, SVCCA, RSA and ANC, too. The best of more cells has a larger p.",
    )
    rivals = rivals_of(selection) if wanted else {}
    buttons = [f"Compute rival measures of {state.upper()}" for _rows, state in rivals]
    measures = zip(rivals.values(), buttons, strict=True)
    complete = [ready(one, button, f"methods_rivals_{k}") for k, (one, button) in enumerate(measures)]
    if not all(complete):
        return
    table = table_of(selection, rivals)
    chart = charts.methods_by_tasks(table, "Pearson's r (number of languages) of every method with every task")
    cells = table["row"] + " with " + table["task"]
    st.markdown(wording.safe(task_tables.best_of_all(table, cells, "cells")))
    st.altair_chart(chart, width="content")
    state = selection.experiment.states_compared[-1]
    mexa = METHODS[state]
    st.subheader(f"Is NASCA ahead of {mexa}?", anchor=False)
    chosen = selection.task
    one = comparison.compare(selection.pooled("nas"), selection.pooled(state), chosen.sign * selection.points.y)
    if not chosen.higher_is_better:
        st.caption("Less is better in this task, so its scores are negated here: a larger r predicts better.")
    st.markdown(one.verdict("NASCA", mexa))
    exporting.figures(
        {
            "r of NASCA": f"{one.r_xy:.3f}",
            f"r of {mexa}": f"{one.r_zy:.3f}",
            "Difference": f"{one.difference:+.3f}",
            "95 % interval": f"{one.low:+.2f} … {one.high:+.2f}",
            "Resamples with NASCA ahead": f"{one.share_first_larger:.0%}",
            "Williams' p": f"{one.p:.2g}",
        }
    )
    how = selection.experiment
    st.caption(
        f"With {wording.safe(chosen.title)}, token pooling {how.pooling}, layer aggregation {how.layers}. "
        f"Williams' test for dependent correlations over {one.n} languages (t = {one.t:.2f}, {one.dof} degrees of "
        "freedom) decides; the interval and the share of resamples are those of a paired bootstrap."
    )
    exporting.downloads(table, chart, "methods-by-tasks")
