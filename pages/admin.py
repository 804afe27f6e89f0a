"""Admin: who runs what, what the cache holds and whether it is whole, loaded models, memory."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from neuronxa_core.errors import NeuronXAError
from neuronxa_core.exports import harmless_table
from neuronxa_core.host import cache_report
from neuronxa_core.host.cache_report import FOLDERS, Verification
from neuronxa_core.jobs.job_queue import Job
from neuronxa_core.jobs.journal import Interrupted
from neuronxa_core.states.computing import Extraction
from pages.access import people
from pages.components import cached, messages, process, progress, wording

SHOWN_JOBS = 30
ICONS = {
    "waiting": ":material/hourglass_empty:",
    "running": ":material/autorenew:",
    "done": ":material/check_circle:",
    "failed": ":material/error:",
    "cancelled": ":material/cancel:",
}
MOMENT = "YYYY-MM-DD HH:mm"
COLUMNS = {
    "kind": "What",
    "model": "Model",
    "corpus": "Corpus",
    "language": "Language",
    "dtype": "dtype",
    "neuron": "Neuron",
    "storage": "Storage",
    "sentences": "Sentences",
    "languages": "Languages",
    "entries": "Entries",
    "bytes": "Size",
    "stored": st.column_config.DatetimeColumn("Stored, UTC", format=MOMENT),
    "used": st.column_config.DatetimeColumn("Last used, UTC", format=MOMENT),
}
NO_RIGHTS = "Only those whom the host names as managers may do this."

with messages.errors_shown():
    services = process.services()
me = people.person()

st.title("Admin")
st.caption(
    "What this server does and keeps. Deleting never loses a result for good: what is needed again is computed again."
)


def when(seconds: float) -> str:
    """A moment, from seconds since 1970."""
    return f"{pd.Timestamp(seconds, unit='s', tz='UTC'):%Y-%m-%d %H:%M} UTC"


def machine() -> None:
    """Memory, disk and the cache's size, in one row."""
    store = services.store
    with messages.errors_shown():
        used, free = store.size(), store.free()
    figures = [
        ("Cache", wording.size(used), f"of at most {wording.size(store.size_limit)}"),
        ("Disk", wording.size(free), f"free below {store.folder}" if me.manages else "free"),
    ]
    for memory in cache_report.memory():
        name = "Memory" if memory.name == "host" else memory.name
        figures.append(
            (
                name,
                wording.size(memory.free),
                f"free of {wording.size(memory.whole)}; {wording.size(memory.ours)} are ours",
            )
        )
    for place, (name, value, rest) in zip(st.columns(len(figures)), figures, strict=True):
        place.metric(name, value)
        place.caption(wording.safe(rest))


def job_row(job: Job) -> None:
    """An active job: what, whose, how far, and a button."""
    with st.container(border=True):
        st.markdown(f"{ICONS[job.status]} **{wording.safe(job.work.title)}** · {wording.safe(progress.whose(job))}")
        progress.job_progress(job, services.queue, by_language=False)


def interrupted_row(lost: Interrupted) -> None:
    """A job that a server did not live to end, with what may be done about it."""
    with st.container(border=True):
        st.markdown(
            f":material/power_off: **{wording.safe(lost.title)}** · {wording.safe(lost.by)} · {when(lost.asked)}"
        )
        st.caption("The server stopped before it was over. What was finished is kept.")
        row = st.container(horizontal=True)
        key = lost.file.stem
        if lost.kind == Extraction.__name__:
            if row.button("Resume", key=f"resume-{key}", icon=":material/play_arrow:"):
                progress.submit(Extraction(cached.plan_for(lost.experiment)))
                services.queue.forget(lost)
                st.rerun()
        else:
            row.caption("Its page offers to resume it where the same is chosen there.")
        may = lost.who == me.key or me.manages
        if may and row.button("Forget", key=f"forget-{key}", icon=":material/close:"):
            services.queue.forget(lost)
            st.rerun()


def past_table(jobs: list[Job]) -> pd.DataFrame:
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


@st.fragment(run_every=2.0)
@messages.errors_shown()
def jobs() -> None:
    """Active, interrupted and past jobs."""
    everything = services.queue.jobs()
    active = [job for job in everything if job.active]
    numbers = [job.number for job in active]
    if st.session_state.setdefault("admin_active", numbers) != numbers:
        st.session_state.admin_active = numbers
        st.rerun()  # the rest of the page says what was computed
    lost = services.queue.interrupted()
    if not active and not lost:
        st.caption("Nothing runs, and nothing waits.")
    for job in active:
        job_row(job)
    for one in lost:
        interrupted_row(one)
    past = [job for job in everything if not job.active][-SHOWN_JOBS:]
    if past:
        st.dataframe(
            harmless_table(past_table(past)),
            hide_index=True,
            column_config={
                "Asked for": st.column_config.DatetimeColumn("Asked for, UTC", format=MOMENT),
                "Error": st.column_config.TextColumn(width="large"),
            },
        )


@st.cache_data(ttl=60, show_spinner="Looking through the cache …")
def contents(version: str) -> pd.DataFrame:
    """What the cache holds at a version of it."""
    return cache_report.contents(services.store)


def entries() -> None:
    """What the cache holds, by model and kind and then by language; what is chosen can be deleted."""
    store = services.store
    table = contents(store.version())
    if table.empty:
        st.caption("The cache is empty. Whatever is computed in Run, or by the command line, appears here.")
        return
    models = cache_report.by_model(table)
    chosen = st.dataframe(
        harmless_table(models.assign(bytes=models["bytes"].map(wording.size))),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key="admin_models",
        column_config=COLUMNS,
    ).selection.rows
    picked = models.iloc[[row for row in chosen if row < len(models)]]
    if picked.empty:
        st.caption("Choose rows to see their languages, or to delete them.")
        return
    inside = table.merge(picked[["model", "kind"]], on=["model", "kind"])
    shown = inside.drop(columns=["key"]).assign(
        language=[wording.label(code) if code else "" for code in inside["language"]],
        bytes=inside["bytes"].map(wording.size),
    )
    rows = st.dataframe(
        harmless_table(shown),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key="admin_entries",
        height=min(320, 38 + 35 * len(shown)),
        column_config=COLUMNS,
    ).selection.rows
    keys = inside["key"].iloc[[row for row in rows if row < len(inside)]] if rows else inside["key"]
    amount = wording.size(inside.loc[inside["key"].isin(keys), "bytes"].sum())
    what = f"{len(keys):,} {'entry' if len(keys) == 1 else 'entries'} ({amount})"
    if not me.manages:
        st.caption(NO_RIGHTS)
    with st.popover(f"Delete {what}", icon=":material/delete:", disabled=not me.manages):
        st.write("What a run reads just now stays readable for it. What is needed again is computed again.")
        if st.button(f"Delete {what} for good", key="admin_delete", type="primary"):
            for key in keys:
                store.drop(key)
            st.rerun()


def reads() -> None:
    """How often what was asked for was there."""
    found = services.store.reads()
    if not found:
        return
    table = pd.DataFrame(
        [
            {"What": kind, "Found": hits, "Not there": misses, "Found, %": 100 * hits / (hits + misses)}
            for kind, (hits, misses) in sorted(found.items())
        ]
    )
    hits, misses = table["Found"].sum(), table["Not there"].sum()
    st.caption(
        f"Since the server started, {hits / (hits + misses):.0%} of {hits + misses:,} reads found what they asked for."
    )
    with st.expander("Hit rate by kind", icon=":material/query_stats:"):
        st.dataframe(table, hide_index=True, column_config={"Found, %": st.column_config.NumberColumn(format="%.1f")})


def verification() -> None:
    """Whether the cache was whole when it was looked at last, and a button to look again."""
    last = cache_report.last_verified(services.store)
    if last is None:
        st.caption("The cache was not verified yet. Each entry is verified when it is read, in any case.")
    elif last.damaged:
        st.warning(
            wording.said(
                f"Verified on {last.when:%Y-%m-%d at %H:%M} UTC: {len(last.damaged)} of {last.entries:,} entries were "
                "damaged and have been dropped; they are computed again when they are needed."
            ),
            icon=":material/healing:",
        )
    else:
        st.caption(f"Verified on {last.when:%Y-%m-%d at %H:%M} UTC: all {last.entries:,} entries are whole.")
    work = Verification()
    running = services.queue.find(work)
    if st.button(
        "Verify all entries",
        icon=":material/verified:",
        disabled=running is not None and running.active,
        help="Reads every byte and compares it with its checksum. It waits its turn in the queue.",
    ) and progress.submit(work):
        st.rerun()


def models_in_memory() -> None:
    """Loaded models, and a button that frees them."""
    table = cache_report.loaded_models(services.pool)
    if table.empty:
        st.caption("No model is loaded.")
        return
    st.dataframe(
        harmless_table(table.assign(bytes=table["bytes"].map(wording.size))),
        hide_index=True,
        column_config={"model": "Model", "dtype": "dtype", "device": "Device", "bytes": "Weights"},
    )
    said = NO_RIGHTS if not me.manages else "The next run loads its model again."
    if st.button("Free the memory", icon=":material/eject:", disabled=not me.manages, help=said):
        try:
            services.pool.clear()
        except NeuronXAError as busy:
            st.warning(wording.said(str(busy)))
        else:
            st.rerun()


def beside() -> None:
    """Folders of the cache that its limit does not count."""
    sizes = {name: amount for name, amount in cache_report.beside(services.store).items() if amount}
    if sizes:
        said = "; ".join(f"{wording.size(amount)} of {FOLDERS[name]} ({name})" for name, amount in sizes.items())
        st.caption(wording.safe(f"Beside it, and not counted: {said}."))


machine()
st.subheader("Jobs", anchor=False)
jobs()
st.subheader("Cache", anchor=False)
with messages.errors_shown():
    entries()
    reads()
    beside()
    verification()
st.subheader("Models in memory", anchor=False)
models_in_memory()
