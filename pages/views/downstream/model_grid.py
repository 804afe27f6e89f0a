"""The paper's table below Models: every model, task and method."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pandas as pd
import streamlit as st

from neuronxa_core import exports
from neuronxa_core.experiment import ENTRIES
from neuronxa_core.measures import grid
from neuronxa_core.states import planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.planning import Plan
from pages.components import cached, exporting, progress, wording
from pages.views.downstream import methods
from pages.views.downstream.selection import TaskSelection


def show(selection: TaskSelection, plans: dict[str, Plan]) -> None:
    """The paper's table: every model, task and method, with averages, as files too."""
    st.subheader("Models by tasks by methods", anchor=False)
    tables, own = [], methods.tasks_of(selection)
    states = selection.experiment.states_compared
    names = [name for name in ENTRIES if name.partition("_")[0] in states]
    works = {name: Extraction(planning.with_states(plan, names)) for name, plan in plans.items()}
    waiting = [
        name
        for name, work in works.items()
        if not progress.ready(work, f"Compute all token poolings of {wording.safe(name)}", f"all-{name}")
    ]
    if waiting:
        st.caption("The grid needs the states of every model under all token poolings.")
        return
    for name, plan in plans.items():
        others = plan is not selection.plan
        tasks = [replace(task, scores=task.of_model(plan, selection.store)) for task in own] if others else own
        for said in grid.left_out(name, plan, tasks):
            st.caption(wording.safe(said))
        tables.append(
            grid.correlations(
                name,
                plan,
                tasks,
                lambda task, state, pooling, plan=plan: cached.alignment_of(plan, state, pooling, task.rows),
                states,
            )
        )
    table = pd.concat(tables, ignore_index=True)
    st.markdown(wording.safe(grid.conclusion(table)))
    st.dataframe(exports.harmless_table(grid.wide(table)), hide_index=True)
    st.caption(
        "Pearson's r (number of languages); in averages, the number of correlations. A star marks the best method of a "
        "model with a task where its lead on the next one is beyond chance."
    )
    row = st.container(horizontal=True)
    for kind, ending in grid.FORMATS.items():
        exporting.download(kind, partial(grid.text, table, kind), f"grid.{ending}", key=f"grid-{kind}", place=row)
