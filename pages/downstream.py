"""Downstream: does alignment go with what the model can do, language by language, and how far to believe it."""

import streamlit as st

from pages.components import controls, selection, wording
from pages.views.downstream import (
    consistency,
    estimate,
    items,
    languages,
    layers,
    measured,
    methods,
    models,
    report,
    robustness,
    scatter,
    sentences,
    tables,
)
from pages.views.downstream.selection import TaskSelection

SOURCES = {
    "Measured here": measured.measured_here,
    "Published": tables.published,
    "File": tables.from_file,
    "lm-evaluation-harness": measured.harness,
}
VIEWS = {
    "Scatter": scatter,
    "By layer": layers,
    "Methods": methods,
    "Sentences": sentences,
    "Robustness": robustness,
    "Estimate": estimate,
    "Models": models,
    "Consistency": consistency,
    "Items": items,
    "Report": report,
}

opened = selection.open_page("Downstream")
# open until there are scores, then out of the way of the answer
with st.expander("Task scores", icon=":material/tune:", expanded=not st.session_state.get("has_task")):
    row = st.container(horizontal=True, gap="medium")
    with row:
        source = controls.segments("Task scores", list(SOURCES), "Measured here", "scores_from")
    with selection.recompute_if_corrupt(opened.plan):
        task = SOURCES[source](opened, row)
if st.session_state.get("has_task") != (task is not None):
    st.session_state.has_task = task is not None
    st.rerun()
if task is None:
    st.info("There are no task scores yet; choose or measure some above.")
    st.stop()
now = controls.reading_choice("downstream")
chosen = TaskSelection(now, opened.whole, opened.plan, task, source)
languages.check_enough(chosen)
if warning := task.of_another_model(opened.plan):
    st.warning(wording.safe(warning), icon=":material/warning:")
controls.show_views(
    {name: view.show for name, view in VIEWS.items()},
    "downstream_view",
    chosen,
    {name: view.SAYS for name, view in VIEWS.items()},
    {"Doubts": "Robustness"},
)
languages.show(chosen)
