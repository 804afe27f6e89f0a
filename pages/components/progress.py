"""Runs as a page shows them: started, watched, cancelled, ended."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from neuronxa_core.errors import QueueFull
from neuronxa_core.jobs.job_queue import Job, JobQueue, Owner, Work
from neuronxa_core.models import estimates
from neuronxa_core.states import pace
from neuronxa_core.states.computing import Extraction
from pages.access import people
from pages.components.cached import table_of
from pages.components.messages import errors_shown
from pages.components.process import services
from pages.components.wording import duration, label, safe, said

# what a page starts by itself, because somebody opened a link, takes no longer
UNASKED_S = 60.0


@st.fragment(run_every=1.0)
@errors_shown()
def watch(work: Work, until: Callable[[], bool] = lambda: False) -> None:
    """A job's bar; the page runs again when the job is over, or earlier when `until()` says so."""
    job = services().queue.find(work)
    if job is None or not job.active:
        st.rerun()
    job_progress(job, services().queue, by_language=False)
    if until():
        st.rerun()


def owner() -> Owner:
    """Whose a job is that is started from this page."""
    somebody = people.person()
    return Owner(somebody.key, somebody.name)


def submit(work: Work) -> bool:
    """Put work into the queue; False, with a word on the page, where the queue is full."""
    try:
        services().queue.submit(work, owner())
    except QueueFull as full:
        st.warning(said(str(full)), icon=":material/hourglass_disabled:")
        return False
    return True


def estimate(work: Work) -> tuple[float, str]:
    """How long what is missing takes, in seconds and in words: at the pace of like runs, else of two CPU cores."""
    seconds = services().queue.seconds_for(work)
    if seconds is None and isinstance(work, Extraction):
        seconds = pace.seconds_of(work.plan, services().store)
    if seconds is not None:
        return seconds, f"about {duration(seconds)}"
    seconds = estimates.cpu_seconds(work.plan.info, sum(work.totals(services().store).values()))
    return seconds, f"about {duration(seconds)} on two CPU cores"


def submit_unasked(work: Work) -> bool:
    """`submit` where somebody only opened a page: False for what takes longer than UNASKED_S, to be offered."""
    return estimate(work)[0] <= UNASKED_S and submit(work)


def how_it_ended(work: Work) -> bool:
    """Say how the last run of incomplete work ended; whether it was interrupted by a stop of the server."""
    queue = services().queue
    job = queue.find(work)
    if job is not None and job.status == "failed":
        st.error(said(job.error), icon=":material/error:")
    if job is not None and job.status == "cancelled":
        st.info("The run was cancelled; what was finished is kept.")
    interrupted = queue.interrupted(work) if job is None else []
    if interrupted:
        asked = pd.Timestamp(interrupted[-1].asked, unit="s", tz="UTC")
        st.warning(
            safe(f"The server stopped before this run was over (asked for on {asked:%Y-%m-%d at %H:%M} UTC). ")
            + "What was finished is kept; resuming computes the rest.",
            icon=":material/power_off:",
        )
    return bool(interrupted)


def ready(work: Work, button: str, key: str, **options: object) -> bool:
    """Whether a measure or other work is complete.

    Where it is not, an instant measure is computed at once; otherwise this shows its progress, or how it ended and a
    button that starts it.
    """
    queue = services().queue
    job = queue.find(work)
    if job is not None and job.active:
        watch(work)
        return False
    if getattr(work, "instant", False):
        table_of(work)
        return True
    if not work.totals(services().store):
        return True
    interrupted = how_it_ended(work)
    if st.button("Resume" if interrupted else button, key=key, **options) and submit(work):
        st.rerun()
    return False


def job_progress(job: Job, queue: JobQueue, *, by_language: bool) -> None:
    """A job's bars, what is before it, and its cancel button for whoever may stop it."""
    if job.status == "waiting":
        ahead = queue.position(job)
        text = f"Waiting: {ahead} {'run' if ahead == 1 else 'runs'} before this one"
        until = queue.seconds_until(job)
        st.progress(0.0, text=text + (f", about {duration(until)} until it starts" if until is not None else ""))
        for other in queue.jobs():
            if other.status == "running":
                st.caption(safe(f"Now: {other.work.title}, for {whose(other)}"))
    else:
        text = f"{job.units_done:,} of {job.units:,} {job.work.unit}"
        if (pace := job.pace) is not None:
            text += f", {pace:,.{0 if pace >= 10 else 2}f} per second, about {duration(job.seconds_left or 0)} left"
        st.progress(job.fraction, text=text)
    if by_language:
        columns = st.columns(4)
        for k, (code, total) in enumerate(job.totals.items()):
            done = job.done.get(code, 0)
            columns[k % 4].progress(done / total if total else 1.0, text=f"{label(code)} {done}/{total}")
    cancel_button(job, queue)


def whose(job: Job) -> str:
    """Who asked for a job, for others to read."""
    me = people.person().key
    return ", ".join("you" if owner.key == me else owner.name for owner in job.owners)


def cancel_button(job: Job, queue: JobQueue) -> None:
    """A button for those who asked for the job and those who manage the app; for others a word on whose it is."""
    me = people.person()
    options = {"key": f"cancel-{job.number}", "icon": ":material/stop_circle:"}
    if job.stopping:
        st.caption("It stops after the sentences that it reads now.")
    elif job.is_of(me.key):
        if st.button("Cancel", **options):
            queue.withdraw(job, me.key)
            if not job.stopping and job.active:
                st.toast("Somebody else asked for the same run, so it goes on.")
    elif me.manages:
        if st.button(f"Cancel the run of {safe(whose(job))}", **options):
            queue.cancel(job)
    else:
        st.caption(safe(f"Started by {whose(job)}, who can stop it."))
