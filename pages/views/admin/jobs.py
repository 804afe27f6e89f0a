"""Active, interrupted and past jobs."""

from __future__ import annotations

import logging

import pandas as pd
import streamlit as st

from neuronxa_core.exports import harmless_table
from neuronxa_core.jobs.job_queue import Job
from neuronxa_core.jobs.journal import Interrupted
from neuronxa_core.states.computing import Extraction
from pages.access.people import Person
from pages.components import cached, messages, progress, wording
from pages.components.process import Services
from pages.views.admin.columns import MOMENT, when

log = logging.getLogger(__name__)

SHOWN_JOBS = 30
ICONS = {"waiting": ":material/hourglass_empty:", "running": ":material/autorenew:"}


@st.fragment(run_every=2.0)
@messages.errors_shown()
def show(services: Services, me: Person) -> None:
    """All jobs; they are looked at every two seconds."""
    everything = services.queue.jobs()
    active = [job for job in everything if job.active]
    numbers = [job.number for job in active]
    if st.session_state.setdefault("admin_active", numbers) != numbers:
        st.session_state.admin_active = numbers
        st.rerun()  # the rest of the page shows what was computed
    interrupted = services.queue.interrupted()
    if not active and not interrupted:
        st.caption("No job is running or waiting.")
    for job in active:
        with st.container(border=True):
            st.markdown(f"{ICONS[job.status]} **{wording.safe(job.work.title)}** · {wording.safe(progress.whose(job))}")
            progress.job_progress(job, services.queue, by_language=False)
    for job in interrupted:
        with st.container(border=True):
            _interrupted(job, services, me)
    past = [job for job in everything if not job.active][-SHOWN_JOBS:]
    if past:
        st.dataframe(
            harmless_table(_past(past)),
            hide_index=True,
            column_config={
                "Asked for": st.column_config.DatetimeColumn("Asked for, UTC", format=MOMENT),
                "Error": st.column_config.TextColumn(width="large"),
            },
        )


def _interrupted(job: Interrupted, services: Services, me: Person) -> None:
    """A job whose server stopped, with what may be done about it."""
    st.markdown(f":material/power_off: **{wording.safe(job.title)}** · {wording.safe(job.by)} · {when(job.asked)}")
    st.caption("The server stopped before it was over. What was finished is kept.")
    row = st.container(horizontal=True)
    if job.kind != Extraction.__name__:
        row.caption("Its page offers to resume it where the same is chosen there.")
    elif row.button("Resume", key=f"resume-{job.file.stem}", icon=":material/play_arrow:"):
        progress.submit(Extraction(cached.plan_for(job.experiment)))
        services.queue.forget(job)
        st.rerun()
    may = job.who == me.key or me.manages
    if may and row.button("Forget", key=f"forget-{job.file.stem}", icon=":material/close:"):
        services.queue.forget(job)
        log.info("%s deleted the interrupted job %s of %s", me.name, job.title, job.by)
        st.rerun()


def _past(jobs: list[Job]) -> pd.DataFrame:
    """Jobs that are over, the newest first."""
    return pd.DataFrame(
        [
            {
                "What": job.work.title,
                "Who": progress.whose(job),
                "How": job.status,
                "Asked for": pd.Timestamp(job.asked, unit="s", tz="UTC"),
                "Waited, s": round(job.seconds_waited, 1),
                "Took, s": round(job.seconds_run, 1),
                "Computed": f"{job.units_done:,} {job.work.unit}",
                "In the cache before": f"{job.units_cached:,}",
                "Error": job.error,
            }
            for job in reversed(jobs)
        ]
    )
