"""The queue of work in the background: one job at a time, with progress and cancelling; equal requests share a job."""

from __future__ import annotations

import atexit
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol

from neuronxa_core.errors import Cancelled, NeuronXAError, QueueFull
from neuronxa_core.host.redaction import redacted
from neuronxa_core.jobs import journal
from neuronxa_core.jobs.journal import Interrupted, Journal
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

log = logging.getLogger(__name__)

Status = Literal["waiting", "running", "done", "failed", "cancelled"]
REMEMBERED = 100
# one line of JSON per job that is over
job_log = logging.getLogger("neuronxa.jobs")


class Owner(NamedTuple):
    """Who asked for a job. key: the same in all of a person's tabs. name: for others to read."""

    key: str = ""
    name: str = "somebody"


NOBODY = Owner()


class Work(Protocol):
    """What a job does; every measure is one. What is finished is stored part by part, so that a stop loses little."""

    plan: Plan | None
    """Its model and corpus; None where it has neither, and nothing can be resumed."""
    unit: str
    """What is counted, in the plural: sentences."""

    @property
    def key(self) -> str:
        """Equal work has an equal key."""

    @property
    def title(self) -> str:
        """One line for a list of jobs."""

    @property
    def units(self) -> int:
        """Units of the whole work, including those that are in the store."""

    def totals(self, store: Store) -> dict[str, int]:
        """Units that are still to do, by part; empty where everything is in the store."""

    def run(
        self,
        store: Store,
        pool: ModelPool,
        on_progress: Callable[[str, int, int], None],
        cancelled: Callable[[], bool],
    ) -> object:
        """Do it: on_progress(part, units done, units of the part). Raises NeuronXAError, Cancelled."""


@dataclass
class Job:
    """One run of some work. Read it from any thread; only the queue writes it."""

    number: int
    work: Work
    totals: dict[str, int]
    """Units that were to do when the job was made, by part."""
    owners: tuple[Owner, ...] = (NOBODY,)
    """Everybody who asked for it, in order."""
    asked: float = field(default_factory=time.time)
    """Seconds since 1970."""
    status: Status = "waiting"
    done: dict[str, int] = field(default_factory=dict)
    error: str = ""
    entered: float = field(default_factory=time.monotonic)
    started: float = 0.0
    finished: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _first: tuple[float, int] | None = None
    """When the first units were done, and how many."""

    @property
    def active(self) -> bool:
        return self.status in ("waiting", "running")

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop and has not yet."""
        return self.active and self._stop.is_set()

    @property
    def units_done(self) -> int:
        return sum(self.done.values())

    @property
    def units(self) -> int:
        return sum(self.totals.values())

    @property
    def units_cached(self) -> int:
        """Of the whole work, what was in the store when the job was made."""
        return max(0, self.work.units - self.units)

    @property
    def fraction(self) -> float:
        """What is done, in [0, 1]."""
        return min(1.0, self.units_done / self.units) if self.units else 1.0

    @property
    def pace(self) -> float | None:
        """Units per second since the first were done, which leaves out the loading of a model; None before that."""
        if self.status != "running" or self._first is None:
            return None
        since, before = self._first
        done = self.units_done
        return (done - before) / max(time.monotonic() - since, 1e-9) if done > before else None

    @property
    def seconds_left(self) -> float | None:
        """At the job's pace; None where that is not known."""
        pace = self.pace
        return None if pace is None else (self.units - self.units_done) / pace

    @property
    def seconds_waited(self) -> float:
        """Until it was started, or until now."""
        over = self.started or self.finished
        return (over or time.monotonic()) - self.entered

    @property
    def seconds_run(self) -> float:
        """Since it was started; 0 before."""
        return (self.finished or time.monotonic()) - self.started if self.started else 0.0

    @property
    def pace_key(self) -> tuple[str, str]:
        """Jobs of one key take about the same time per unit."""
        return type(self.work).__name__, "" if self.work.plan is None else self.work.plan.identity

    def is_of(self, key: str) -> bool:
        """Whether a person is one of those who asked for it."""
        return any(owner.key == key for owner in self.owners)

    def note(self, part: str, done: int) -> None:
        """Set how many units of a part are done."""
        self.done[part] = done
        if self._first is None and self.units_done:
            self._first = time.monotonic(), self.units_done

    def cancel(self) -> None:
        """Ask the job to stop: it does between two batches, and what is finished is kept."""
        self._stop.set()


class JobQueue:
    """First come, first served, one job at a time, on a thread of its own.

    most_waiting: jobs that may wait, of everybody; most_each: of one person.
    """

    def __init__(self, store: Store, pool: ModelPool, most_waiting: int = 100, most_each: int = 20) -> None:
        self.store, self.pool = store, pool
        self.most_waiting, self.most_each = most_waiting, most_each
        self._journal = Journal(store.folder)
        self._numbers = itertools.count(1)
        self._jobs: list[Job] = []
        self._seconds_per_unit: dict[tuple[str, str], float] = {}
        self._change = threading.Condition()
        self._worker: threading.Thread | None = None
        self._closed = False
        atexit.register(self.close)

    def close(self) -> None:
        """Stop the running job between two batches, and the thread: a process must not exit during a forward pass.

        The next server lists jobs that were not over as interrupted.
        """
        atexit.unregister(self.close)
        with self._change:
            self._closed = True
            for job in self._jobs:
                job.cancel()
            self._change.notify_all()
        if self._worker is not None:
            self._worker.join(timeout=60)
        self._journal.close()

    def submit(self, work: Work, owner: Owner = NOBODY) -> Job | None:
        """The job for some work: an equal one that waits or runs, else a new one; None where nothing is to do.

        Raises QueueFull where too many wait already.
        """
        totals = work.totals(self.store)
        if not totals:
            return None
        with self._change:
            running = self.find(work)
            if running is not None and running.active and not running.stopping:
                if not running.is_of(owner.key):
                    running.owners = (*running.owners, owner)
                return running
            self._check_queue(owner)
            job = Job(next(self._numbers), work, totals, (owner,))
            if work.plan is not None:
                self._journal.write(job.number, journal.note_of(work, owner.key, owner.name, job.asked))
            kept = [old for old in self._jobs if old.active]
            over = [old for old in self._jobs if not old.active][-(REMEMBERED - 1) :]
            self._jobs = sorted([*over, *kept, job], key=lambda one: one.number)
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, name="neuronxa-jobs", daemon=True)
                self._worker.start()
            self._change.notify_all()
        for lost in self.interrupted(work):
            self._journal.take(lost)
        return job

    def _check_queue(self, owner: Owner) -> None:
        waiting = [job for job in self._jobs if job.status == "waiting" and not job.stopping]
        own = sum(job.is_of(owner.key) for job in waiting)
        for count, most, whose in ((len(waiting), self.most_waiting, "runs"), (own, self.most_each, "of your runs")):
            if count >= most:
                raise QueueFull(
                    f"{count} {whose} wait already, which is the most that this host allows; try again later"
                )

    def withdraw(self, job: Job, key: str) -> None:
        """Take a person off a job's owners; it stops where nobody else asked for it."""
        with self._change:
            others = tuple(owner for owner in job.owners if owner.key != key)
            if others:
                job.owners = others
            else:
                self.cancel(job)

    def cancel(self, job: Job) -> None:
        """Stop a job, whoever asked for it: at once where it waits, between two batches where it runs."""
        job.cancel()
        with self._change:
            if job.status == "waiting":
                self._end(job, "cancelled", "stopped before it began")

    def find(self, work: Work) -> Job | None:
        """The newest job for equal work, whatever its status."""
        return next((job for job in reversed(self._jobs) if job.work.key == work.key), None)

    def jobs(self) -> list[Job]:
        """All jobs that are remembered, the oldest first."""
        return list(self._jobs)

    def interrupted(self, work: Work | None = None) -> list[Interrupted]:
        """Jobs (for equal work, where some is given) whose server stopped before they were over, the oldest first."""
        found = self._journal.interrupted()
        return found if work is None else [job for job in found if job.key == work.key]

    def forget(self, job: Interrupted) -> bool:
        """Take an interrupted job off the list; False where it was gone already."""
        return self._journal.take(job)

    def position(self, job: Job) -> int:
        """How many jobs come before a waiting one."""
        return sum(other.active for other in self._jobs if other.number < job.number)

    def seconds_needed(self, job: Job) -> float | None:
        """Running time that an active job still needs; None where no like job was run before."""
        if job.seconds_left is not None:
            return job.seconds_left
        pace = self._seconds_per_unit.get(job.pace_key)
        return None if pace is None else pace * job.units

    def seconds_for(self, work: Work) -> float | None:
        """Running time of what is missing of some work; None where no like job was run before."""
        return self.seconds_needed(Job(0, work, work.totals(self.store)))

    def seconds_until(self, job: Job) -> float | None:
        """Until a waiting job starts; None where that is unknown."""
        before = [self.seconds_needed(other) for other in self._jobs if other.active and other.number < job.number]
        return None if None in before else sum(before)

    def wait(self, job: Job, timeout: float | None = None) -> bool:
        """Until the job is over; False on timeout."""
        with self._change:
            return self._change.wait_for(lambda: not job.active, timeout)

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closed or any(job.status == "waiting" for job in self._jobs))
                if self._closed:
                    return
                job = next(job for job in self._jobs if job.status == "waiting")
                job.status, job.started = "running", time.monotonic()
            status, error = self._run(job)
            with self._change:
                self._end(job, status, error)

    def _end(self, job: Job, status: Status, error: str) -> None:
        job.status, job.error, job.finished = status, error, time.monotonic()
        if job.units_done:
            self._seconds_per_unit[job.pace_key] = job.seconds_run / job.units_done
        if not self._closed:
            self._journal.strike(job.number)
        job_log.info("%s", line(job))
        self._change.notify_all()

    def _run(self, job: Job) -> tuple[Status, str]:
        try:
            job.work.run(
                self.store,
                self.pool,
                on_progress=lambda part, done, _all: job.note(part, done),
                cancelled=job._stop.is_set,
            )
        except Cancelled as stopped:
            return "cancelled", str(stopped)
        except NeuronXAError as error:
            return "failed", str(error)
        except BaseException as error:  # the thread must go on with the other jobs
            log.exception("job %d failed", job.number)
            return "failed", redacted(f"{type(error).__name__}: {error} (the server's log has the details)")
        return "done", ""


def line(job: Job) -> str:
    """The log's record of a job that is over: one line of JSON.

    units: of the whole work; cached: those of them that were in the store before; seconds are rounded to milliseconds.
    """
    plan = job.work.plan
    about = {}
    if plan is not None:
        about = {"model": plan.source.name, "device": plan.device, "dtype": plan.dtype, "storage": plan.storage}
        about["corpus"] = plan.corpus.name
    return json.dumps(
        {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "event": "job",
            "job": job.number,
            "who": [owner.name for owner in job.owners],
            "what": job.work.title,
            "kind": type(job.work).__name__,
            **about,
            "status": job.status,
            "waited_s": round(job.seconds_waited, 3),
            "took_s": round(job.seconds_run, 3),
            "unit": job.work.unit,
            "units": job.work.units,
            "cached": job.units_cached,
            "computed": job.units_done,
            "error": job.error,
        },
        ensure_ascii=False,
    )


def log_lines() -> None:
    """From now on, write what is logged here to stderr: jobs that are over as lines of JSON, the rest with its time."""
    for name, line_format in (
        (job_log.name, "%(message)s"),
        *((name, "%(asctime)s %(levelname)s %(message)s") for name in ("neuronxa_core", "pages")),
    ):
        logger = logging.getLogger(name)
        if not logger.handlers:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter(line_format))
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
            logger.propagate = False
