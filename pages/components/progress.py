"""Runs as a page shows them: started, watched, cancelled, and the part that is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import streamlit as st

from neuronxa_core.errors import CorruptEntry, QueueFull
from neuronxa_core.jobs.job_queue import Job, JobQueue, Owner, Work
from neuronxa_core.states import planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.planning import Plan
from pages.access import people
from pages.components.cached import plan_for
from pages.components.messages import errors_shown
from pages.components.process import services
from pages.components.session import experiment
from pages.components.wording import duration, label, safe, said


def _part(plan: Plan) -> Plan | None:
    """The plan of the languages whose states are there; None without the pivot or any other."""
    lacking = set(planning.missing(plan, services().store))
    ready = [code for code in plan.languages if code not in lacking]
    if plan.pivot in lacking or not ready:
        return None
    return planning.restrict(plan, ready)


# times that a damaged entry is computed again without being asked: a disk may damage it every time
MOST_REPAIRS = 2


@contextmanager
def healing(plan: Plan) -> Iterator[None]:
    """Errors as `errors_shown`; where a damaged entry is met, compute it again and show the page anew meanwhile."""
    with errors_shown():
        try:
            yield
        except CorruptEntry as damage:
            if services().store.damage[damage.key] > MOST_REPAIRS:
                raise
            submit(Extraction(plan))
            st.toast(f"{said(str(damage))}. It is being computed again.", icon=":material/build:")
            st.rerun()


@st.fragment(run_every=1.0)
@errors_shown()
def watch(work: Work) -> None:
    """A job's bar, until it is over."""
    job = services().queue.find(work)
    if job is None or not job.active:
        st.rerun()
    job_progress(job, services().queue, by_language=False)


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


def how_it_ended(work: Work) -> bool:
    """Say how the last run of work ended that is not complete; whether the server did not live to end it."""
    queue = services().queue
    job = queue.find(work)
    if job is not None and job.status == "failed":
        st.error(said(job.error), icon=":material/error:")
    if job is not None and job.status == "cancelled":
        st.info("The run was cancelled; what was finished is kept.")
    lost = job is None and queue.interrupted(work)
    if lost:
        asked = pd.Timestamp(lost[-1].asked, unit="s", tz="UTC")
        st.warning(
            safe(f"The server stopped before this run was over (asked for on {asked:%Y-%m-%d at %H:%M} UTC). ")
            + "What was finished is kept; resuming computes the rest.",
            icon=":material/power_off:",
        )
    return bool(lost)


def is_done(work: Work, button: str, key: str, **options: object) -> bool:
    """Whether work is complete; where it is not, its progress, or what ended it and a button that starts it."""
    queue = services().queue
    job = queue.find(work)
    if job is not None and job.active:
        watch(work)
        return False
    if not work.totals(services().store):
        return True
    lost = how_it_ended(work)
    if st.button("Resume" if lost else button, key=key, **options) and submit(work):
        st.rerun()
    return False


@st.fragment(run_every=1.0)
@errors_shown()
def _progress(plan: Plan, shown: int) -> None:
    """The run's bar, and what is seen anew as languages are finished."""
    job = services().queue.find(Extraction(plan))
    if job is None or not job.active:
        st.rerun()
    job_progress(job, services().queue, by_language=False)
    part = _part(plan)
    if part is not None and len(part.languages) >= (2 * shown or 1):
        st.rerun()


def computed_part(whole: Plan) -> Plan:
    """The part of a plan whose states are there, with a line that says what it is; ends the page where there is none.

    For the rest it shows the run that computes it, or offers one. The bundled model on the bundled corpus is computed
    without being asked.
    """
    queue, work = services().queue, Extraction(whole)
    lacking = planning.missing(whole, services().store)
    is_demo = (whole.experiment.model, whole.experiment.corpus) == ("demo", "demo")
    if lacking and is_demo and queue.find(work) is None:
        submit(work)
    part = _part(whole)
    job = queue.find(work)
    if lacking and job is not None and job.active:
        _progress(whole, 0 if part is None else len(part.languages))
    elif lacking:
        lost = how_it_ended(work)
        st.info(
            f"{len(lacking)} of {len(whole.all_languages)} languages of this choice are not computed yet.",
            icon=":material/info:",
        )
        said = "Resume" if lost else "Compute them"
        if st.button(said, type="primary", icon=":material/play_arrow:") and submit(work):
            st.rerun()
    if part is None:
        st.caption("The first results appear here as soon as the pivot and one more language are read.")
        st.stop()
    st.caption(
        safe(
            f"{part.info.name} on {part.corpus.name}: {len(part.corpus.usable)} parallel sentences, "
            f"{len(part.languages)} languages against {label(part.pivot)}, {part.info.layers} layers of "
            f"{part.info.neurons:,} neurons, {part.dtype}."
        )
    )
    return part


def open_page(title: str) -> tuple[Plan, Plan]:
    """A page's title, the plan of the session's experiment, and the part of it whose states are there."""
    st.title(title)
    with errors_shown():
        whole = plan_for(experiment())
    return whole, computed_part(whole)


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
        left = job.seconds_left
        text = f"{job.units_done:,} of {job.units:,} {job.work.unit}"
        st.progress(job.fraction, text=text + (f", about {duration(left)} left" if left is not None else ""))
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
