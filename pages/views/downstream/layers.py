"""By layer: how well each layer's alignment goes with the task, and what is left of the best layer elsewhere."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import task_tables
from neuronxa_core.tasks import reported
from pages.components import exporting, wording
from pages.views.downstream.selection import TaskSelection

SAYS = (
    "How well each layer's alignment goes with the task, for the three representations. The best of many layers is "
    "partly luck; the table below the chart says what is left of it on languages that did not choose the layer."
)


def show(selection: TaskSelection) -> None:
    task, scores = selection.task, selection.scores()
    table = task_tables.by_layer(scores, selection.points.y, task.sign)
    best = task_tables.best_layers(table, task.sign)
    named = [f"{one.method} at **layer {one.layer}** (r = {one.r:.3f})" for one in best.itertuples()]
    if named:
        every = table["method"] + " at layer " + table["layer"].astype(str)
        best_of_all = task_tables.best_of_all(table, every, "layers of the three methods")
        st.markdown(f"The highest correlation of each: {', '.join(named)}. {best_of_all}")
    paper = reported.correlations(task.name if task.higher_is_better else "")
    with_paper = len(paper) > 0 and st.toggle("The paper's figures, for orientation", key="layers_paper")
    chart = charts.correlation_by_layer(
        table,
        f"Correlation with {task.title} by layer; a diamond marks the best",
        paper if with_paper else None,
        lower_is_better=not task.higher_is_better,
    )
    st.altair_chart(chart)
    if with_paper:
        st.caption(wording.safe(reported.caption(paper)))
    try:
        nested = task_tables.held_out_layers(scores, selection.points.y, task.sign)
    except ExperimentError as error:
        st.caption(wording.safe(f"The best layer is not tested on other languages: {error}"))
    else:
        st.caption(
            "To pick the best layer is a selection: here it was chosen without a tenth of the languages and tested on "
            "these, for all tenths of 20 random partitions. *Optimism* is how much higher r is where the layer was "
            "chosen."
        )
        three = st.column_config.NumberColumn(format="%.3f")
        st.dataframe(nested, hide_index=True, column_config=dict.fromkeys(nested.columns[2:], three))
    exporting.downloads(table, chart, "correlation-by-layer")
