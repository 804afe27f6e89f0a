"""The queue: work in the background, with progress, cancelling, and one run for equal requests."""

from __future__ import annotations

import atexit
import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from neuronxa_core.errors import Cancelled, NeuronXAError
from neuronxa_core.pipeline import ModelShelf
from neuronxa_core.store import Store

Status = Literal["waiting", "running", "done", "failed", "cancelled"]
log = logging.getLogger(__name__)


class Work(Protocol):
    """What a job does. What it finishes goes into the store piece by piece, so that a stop loses little."""

    unit: str
    """What is counted, in the plural: sentences."""

    @property
    def key(self) -> str:
        """Equal work has an equal key."""

    @property
    def title(self) -> str:
        """What it is, for a person."""

    def totals(self, store: Store) -> dict[str, int]:
        """Units that are still to do, by part; empty where everything is in the store."""

    def run(
        self,
        store: Store,
        shelf: ModelShelf,
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
    """Units of every part that was to do when the job was made."""
    status: Status = "waiting"
    done: dict[str, int] = field(default_factory=dict)
    error: str = ""
    started: float = 0.0
    finished: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def active(self) -> bool:
        return self.status in ("waiting", "running")

    @property
    def units_done(self) -> int:
        return sum(self.done.values())

    @property
    def units(self) -> int:
        return sum(self.totals.values())

    @property
    def fraction(self) -> float:
        """What is done, in [0, 1]."""
        return min(1.0, self.units_done / self.units) if self.units else 1.0

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None before there is a pace."""
        if self.status != "running" or not self.units_done:
            return None
        return (time.monotonic() - self.started) * (self.units - self.units_done) / self.units_done

    def cancel(self) -> None:
        """Ask the job to stop; it does between two batches, and what is finished stays."""
        self._stop.set()


class JobQueue:
    """First come, first served, one job at a time, on a thread of its own."""

    def __init__(self, store: Store, shelf: ModelShelf) -> None:
        self.store, self.shelf = store, shelf
        self._numbers = itertools.count(1)
        self._jobs: list[Job] = []
        self._change = threading.Condition()
        self._worker: threading.Thread | None = None
        self._closed = False
        atexit.register(self.close)

    def close(self) -> None:
        """Stop the running job between two batches, and the thread: a process must not end in a forward pass."""
        atexit.unregister(self.close)
        with self._change:
            self._closed = True
            for job in self._jobs:
                job.cancel()
            self._change.notify_all()
        if self._worker is not None:
            self._worker.join(timeout=60)

    def submit(self, work: Work) -> Job | None:
        """The job that does what is still to do: an equal one that waits or runs, or a new one.

        None where everything is in the store.
        """
        totals = work.totals(self.store)
        if not totals:
            return None
        with self._change:
            running = self.find(work)
            if running is not None and running.active and not running._stop.is_set():
                return running
            job = Job(next(self._numbers), work, totals)
            self._jobs = [*self._jobs[-99:], job]
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._work, name="neuronxa-jobs", daemon=True)
                self._worker.start()
            self._change.notify_all()
            return job

    def find(self, work: Work) -> Job | None:
        """The newest job for equal work, whatever its status."""
        return next((job for job in reversed(self._jobs) if job.work.key == work.key), None)

    def jobs(self) -> list[Job]:
        """All jobs that are remembered, the oldest first."""
        return list(self._jobs)

    def position(self, job: Job) -> int:
        """How many jobs come before a waiting one."""
        return sum(other.active for other in self._jobs if other.number < job.number)

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
                job.status, job.error, job.finished = status, error, time.monotonic()
                self._change.notify_all()

    def _run(self, job: Job) -> tuple[Status, str]:
        try:
            job.work.run(
                self.store,
                self.shelf,
                on_progress=lambda part, done, _all: job.done.update({part: done}),
                cancelled=job._stop.is_set,
            )
        except Cancelled as stopped:
            return "cancelled", str(stopped)
        except NeuronXAError as error:
            return "failed", str(error)
        except Exception as error:
            log.exception("job %d failed", job.number)
            return "failed", f"{type(error).__name__}: {error} (the server's log has the details)"
        return "done", ""
