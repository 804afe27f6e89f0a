"""Report: one file with the choices, charts, tables and versions."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

from neuronxa_core import charts, exports
from neuronxa_core.charts import report
from neuronxa_core.experiment import digest
from neuronxa_core.measures import alignment, task_tables
from neuronxa_core.statistics import correlation, regression
from neuronxa_core.tasks import covariates
from pages.components import exporting, wording
from pages.views.downstream import layers, methods, robustness, scatter
from pages.views.downstream.selection import TaskSelection

SAYS = (
    "One file with the choices, charts, tables and versions, and how to make the figures again. It holds what this "
    "page shows now, with the same limits."
)


def show(selection: TaskSelection) -> None:
    st.caption("The report is made when you ask for it; it opens in any browser, without a network.")
    key = _key(selection)
    if st.button("Make the report", icon=":material/summarize:", key="report_make"):
        st.session_state.report_wanted = key
    if st.session_state.get("report_wanted") == key:  # also after a pass that the report needed
        with st.spinner("Drawing …"):
            st.session_state.report = (key, _report(selection))
        del st.session_state.report_wanted
    kept_key, text = st.session_state.get("report", (None, ""))
    if kept_key == key:
        name = f"downstream-{exports.file_name(selection.plan.source.name)}.html"
        exporting.download("HTML", text, name, "text/html", type="primary", key="report_html")
        st.caption(f"Ready: {wording.size(len(text))}.")


def _key(selection: TaskSelection) -> str:
    """What decides the report."""
    how, task = selection.experiment, selection.task
    key = alignment.scores_key(selection.plan, how.state, how.pooling)
    return digest([key, how.layers, task.title, task.model, sorted(task.scores.items())])


def _report(selection: TaskSelection) -> str:
    how, task, plan, points = selection.experiment, selection.task, selection.plan, selection.points
    x = selection.pooled()
    one = correlation.correlate(x, points.y)
    groups = covariates.groups(selection.known["script"])
    chart = charts.scatter(
        task_tables.scatter_points(selection.joined, x, points.y, groups),
        task_tables.regression_line(x, x, points.y),
        x_title=f"{selection.method}, {how.layers} over layers",
        y_title=task.title,
        colour="Script",
        title="Alignment with the pivot and task score",
    )
    enough = one.n > correlation.FEWEST
    sections = report.correlation_sections(
        one,
        selection.joined,
        chart,
        task_tables.by_layer(selection.scores(), points.y, task.sign),
        methods.table_of(selection),
        regression.leave_one_out(x, points.y, points.languages) if enough else None,
        task.unmatched,
        {view.__name__.rpartition(".")[2]: view.SAYS for view in (scatter, layers, methods, robustness)},
        lower_is_better=not task.higher_is_better,
    )
    of_task = selection.task.rows is not None
    sentences = f"{selection.alignment().n_sentences} sentences" if of_task else plan.corpus.size
    choices = {
        "model": plan.source.name,
        "model identity": plan.identity,
        "corpus": f"{plan.corpus.name}, {sentences}",
        "pivot": wording.label(plan.pivot),
        "representation, token pooling, layer aggregation": f"{how.state}, {how.pooling}, {how.layers}",
        "neuron, precision": f"{plan.experiment.neuron}, {plan.dtype}",
        "task": task.title,
        "scores of": task.model,
        "source of the scores": task.source,
    }
    line = wording.command_line(how)
    commands = [
        f"python -m neuronxa_core score {line} --states nas nav emb --out scores.csv",
        f"python -m neuronxa_core correlate {line} --scores downstream.csv",
    ]
    title = f"Alignment and {task.name}: {plan.source.name}"
    return report.html_report(title, choices, sections, commands, datetime.now())
