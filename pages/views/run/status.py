"""What is cached, what runs, and the buttons."""

from __future__ import annotations

import streamlit as st

from neuronxa_core.errors import NeuronXAError
from neuronxa_core.experiment import Experiment
from neuronxa_core.states import pace, planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.planning import Plan
from neuronxa_core.wording import some_of
from pages.components import messages, progress, session, wording
from pages.components.process import services


def show(chosen: Experiment, plan: Plan) -> None:
    """The state of the run, looked at again every second while it goes on."""
    job = services().queue.find(Extraction(plan))
    st.fragment(_show, run_every=1.0 if job is not None and job.active else None)(chosen, plan)


@messages.errors_shown()
def _show(chosen: Experiment, plan: Plan) -> None:
    work, store, queue = Extraction(plan), services().store, services().queue
    job = queue.find(work)
    missing, count = planning.missing(plan, store), len(plan.all_languages)
    st.subheader(f"{count - len(missing)} of {count} languages cached", anchor=False)
    if missing:
        st.caption(f"{pace.summary(plan, store)}: {some_of(map(wording.label, missing))}")
    else:
        st.caption("Everything that this choice needs is cached; nothing will be computed.")
    if job is not None and job.active:
        progress.job_progress(job, queue, by_language=len(job.totals) <= 40)
        if not st.session_state.get("watching"):
            st.session_state.watching = True
            st.rerun()
        return
    if st.session_state.pop("watching", False):
        st.rerun()
    if not missing:
        if st.button("Show alignment", type="primary", icon=":material/insights:"):
            session.choose(chosen)
            st.switch_page("pages/alignment.py")
        return
    interrupted = progress.how_it_ended(work)
    try:
        planning.check_size(plan, store)
    except NeuronXAError as error:
        st.warning(wording.said(str(error)), icon=":material/warning:")
        return
    label = "Resume" if interrupted else "Compute"
    doubtful = any(one.severity == "error" for one in plan.corpus.findings)
    if doubtful:
        st.caption("The corpus has errors, above: scores on it would mislead.")
        label += " all the same"
    kind = "secondary" if doubtful else "primary"
    if st.button(label, type=kind, icon=":material/play_arrow:") and progress.submit(work):
        session.choose(chosen)
        st.session_state.watching = True
        st.rerun()
