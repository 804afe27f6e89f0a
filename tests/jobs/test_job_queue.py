"""The queue: one job for equal requests, first come first served, progress, owners, cancel, failure, what it logs."""

import json
import logging
import re
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from neuronxa_core.errors import Cancelled, ExtractionError, QueueFull
from neuronxa_core.experiment import Experiment
from neuronxa_core.jobs.job_queue import JobQueue, Owner, job_log, log_lines
from neuronxa_core.states import planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.pools import ModelPool

LONG = 60
ADA, BOB = Owner("ada", "Ada"), Owner("bob", "Bob")


class Work:
    """Work of two parts of four units; `held` work waits before its second part until `go` is set."""

    plan, unit = None, "sentences"

    def __init__(self, name, held=False, error=None, stored=()):
        self.key = self.title = name
        self.reached, self.go, self.error = threading.Event(), threading.Event(), error
        self.parts = {part: 4 for part in ("one", "two") if part not in stored}
        if not held:
            self.go.set()

    units = 8

    def totals(self, _store):
        return self.parts

    def run(self, store, pool, on_progress, cancelled):
        for part, units in self.parts.items():
            if part == "two":
                self.reached.set()
                assert self.go.wait(LONG)
            if cancelled():
                raise Cancelled("stopped")
            if self.error is not None:
                raise self.error
            on_progress(part, units, units)


@pytest.fixture
def queue(store):
    queue = JobQueue(store, ModelPool())
    yield queue
    for job in queue.jobs():
        getattr(job.work, "go", threading.Event()).set()
    queue.close()


@pytest.fixture
def running(queue):
    """A job of Ada that runs until its work is told to go on."""
    job = queue.submit(Work("first", held=True), ADA)
    assert job.work.reached.wait(LONG)
    return job


def test_a_job_computes_what_is_missing_and_reports_every_sentence(store, queue):
    plan = planning.make_plan(Experiment(languages=("deu_Latn", "spa_Latn"), sentences=4), store)
    job = queue.submit(Extraction(plan))
    assert queue.wait(job, LONG)
    assert (job.status, job.fraction) == ("done", 1.0)
    assert job.done == job.totals == {"eng_Latn": 4, "deu_Latn": 4, "spa_Latn": 4}
    assert planning.missing(plan, store) == []
    assert queue.submit(Extraction(plan)) is None


def test_a_cancelled_extraction_keeps_finished_languages_and_a_new_request_computes_the_rest(store, queue, gate):
    reached, go = gate("spa_Latn")
    plan = planning.make_plan(Experiment(languages=("deu_Latn", "spa_Latn"), sentences=4), store)
    job = queue.submit(Extraction(plan))
    assert reached.wait(LONG)
    until = time.monotonic() + LONG
    while plan.keys["deu_Latn"] not in store and time.monotonic() < until:
        time.sleep(0.01)  # it is written beside the next language
    job.cancel()
    again = queue.submit(Extraction(plan))
    assert again is not job
    go.set()
    assert queue.wait(again, LONG)
    assert (job.status, again.status) == ("cancelled", "done")
    assert set(again.totals) == {"spa_Latn"}


def test_equal_requests_share_one_job(queue, running):
    assert queue.submit(Work("first"), BOB) is queue.submit(Work("first"), ADA) is running
    assert running.owners == (ADA, BOB)
    assert queue.jobs() == [running]


def test_jobs_wait_their_turn(queue, running):
    second, third = queue.submit(Work("second")), queue.submit(Work("third"))
    jobs = [running, second, third]
    assert [job.status for job in jobs] == ["running", "waiting", "waiting"]
    assert [queue.position(job) for job in jobs] == [0, 1, 2]
    running.work.go.set()
    assert queue.wait(third, LONG)
    assert [job.status for job in jobs] == ["done"] * 3
    assert running.finished <= second.finished <= third.finished


@pytest.mark.parametrize("error", [ExtractionError("layer 3 overflowed"), MemoryError("none left"), SystemExit("end")])
def test_a_failed_job_says_why_and_the_queue_goes_on(queue, error):
    first, second = queue.submit(Work("first", error=error)), queue.submit(Work("second"))
    assert queue.wait(second, LONG)
    assert (first.status, second.status) == ("failed", "done")
    assert str(error) in first.error


def test_closing_the_queue_stops_the_job_and_its_thread(queue, running):
    waiting = queue.submit(Work("second"))
    threading.Timer(0.2, running.work.go.set).start()
    queue.close()
    assert (running.status, running.error, waiting.status) == ("cancelled", "stopped", "waiting")
    assert not queue._worker.is_alive()


def test_one_who_leaves_does_not_end_the_job_and_the_last_does(queue, running):
    queue.submit(running.work, BOB)
    queue.withdraw(running, "ada")
    assert (running.owners, running.stopping, running.is_of("ada")) == ((BOB,), False, False)
    queue.withdraw(running, "bob")
    assert running.stopping
    running.work.go.set()
    assert queue.wait(running, LONG)
    assert (running.status, running.owners) == ("cancelled", (BOB,))


def test_a_waiting_job_that_is_cancelled_is_over_at_once(queue, running):
    second, third = queue.submit(Work("second"), BOB), queue.submit(Work("third"), BOB)
    assert queue.position(third) == 2
    queue.withdraw(second, "bob")
    assert (second.status, second.done, queue.position(third)) == ("cancelled", {}, 1)
    running.work.go.set()
    assert queue.wait(third, LONG)
    assert (third.status, second.done) == ("done", {})


def test_only_so_many_may_wait(queue, running):
    queue.most_waiting, queue.most_each = 3, 2
    waiting = [queue.submit(Work(name), ADA) for name in ("second", "third")]
    with pytest.raises(QueueFull, match="2 of your runs wait already"):
        queue.submit(Work("fourth"), ADA)
    assert queue.submit(Work("second"), ADA) is waiting[0]  # nothing new
    queue.submit(Work("fourth"), BOB)
    with pytest.raises(QueueFull, match="3 runs wait already"):
        queue.submit(Work("fifth"), BOB)
    queue.withdraw(waiting[0], "ada")
    assert queue.submit(Work("fifth"), BOB) is not None


def test_the_pace_of_like_jobs_tells_when_a_waiting_one_starts(queue):
    running = queue.submit(Work("first", held=True))
    assert running.work.reached.wait(LONG)
    second, third = queue.submit(Work("second", stored=("one",))), queue.submit(Work("third"))
    assert queue.seconds_until(second) is queue.seconds_for(second.work) is None  # nothing like it is over
    queue._seconds_per_unit[running.pace_key] = 0.5
    assert queue.seconds_for(second.work) == 2.0
    assert (second.units, second.units_cached) == (4, 4)
    assert queue.seconds_needed(second) == 2.0
    assert queue.seconds_until(third) - queue.seconds_until(second) == pytest.approx(2.0, abs=0.2)
    running.work.go.set()
    assert queue.wait(running, LONG)
    assert queue.wait(third, LONG)
    assert queue._seconds_per_unit[third.pace_key] == pytest.approx((third.finished - third.started) / 8)


def test_the_log_has_one_line_per_job(store, queue, caplog):
    plan = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=4), store)
    with caplog.at_level(logging.INFO, "neuronxa.jobs"):
        first = queue.submit(Extraction(plan), ADA)
        queue.submit(Work("two", stored=("one",)), BOB)
        queue.submit(Work("three", error=ExtractionError("bad\nluck")))
        assert all(queue.wait(job, LONG) for job in queue.jobs())
        queue.close()  # the thread has written its last line
    lines = [record.getMessage() for record in caplog.records if record.name == "neuronxa.jobs"]
    assert not any("\n" in line for line in lines)
    one, two, three = map(json.loads, lines)
    assert abs(datetime.fromisoformat(one["at"]) - datetime.now(UTC)) < timedelta(seconds=LONG)
    assert (one["who"], one["status"], one["units"], one["cached"], one["computed"]) == (["Ada"], "done", 8, 0, 8)
    assert (one["what"], one["model"], one["unit"]) == ("states of 2 languages in demo", "demo", "sentences")
    assert one["took_s"] == pytest.approx(first.finished - first.started, abs=0.001)
    assert (two["who"], two["units"], two["cached"], two["computed"]) == (["Bob"], 8, 4, 4)
    assert (three["status"], three["error"], three["computed"]) == ("failed", "bad\nluck", 0)


def test_lines_of_the_log_have_a_time_and_those_of_jobs_are_json(monkeypatch):
    record = logging.LogRecord("x", logging.WARNING, "f.py", 1, "%s", ("{}",), None)
    for name, pattern in (("neuronxa_core", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING {}"), (job_log.name, "{}")):
        logger = logging.getLogger(name)
        for attribute, value in (("handlers", []), ("propagate", True), ("level", logging.NOTSET)):
            monkeypatch.setattr(logger, attribute, value)
        log_lines()
        (handler,) = logger.handlers
        assert re.fullmatch(pattern, handler.format(record))


def test_what_is_over_is_forgotten_before_what_waits(queue, monkeypatch):
    monkeypatch.setattr("neuronxa_core.jobs.job_queue.REMEMBERED", 2)
    for name in ("first", "second"):
        assert queue.wait(queue.submit(Work(name)), LONG)
    active = [queue.submit(Work("third", held=True)), queue.submit(Work("fourth")), queue.submit(Work("fifth"))]
    assert [job.number for job in queue.jobs()] == [2, 3, 4, 5]
    assert all(job in queue.jobs() for job in active)
