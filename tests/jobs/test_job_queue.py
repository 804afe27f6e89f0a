"""The queue: one run for equal requests, first come first served, progress, owners, cancel, failure, what it logs."""

import json
import logging
import threading

import pytest

from neuronxa_core.errors import Cancelled, ExtractionError, QueueFull
from neuronxa_core.experiment import Experiment
from neuronxa_core.jobs.job_queue import JobQueue, Owner
from neuronxa_core.states import extraction, planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

LONG = 60


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def queue(store):
    queue = JobQueue(store, ModelPool())
    yield queue
    queue.close()


ADA, BOB = Owner("ada", "Ada"), Owner("bob", "Bob")


def plan_of(store, *languages, sentences=4):
    return planning.make_plan(Experiment(languages=languages, sentences=sentences), store)


def test_a_job_computes_what_is_missing_and_reports_every_sentence(store, queue):
    plan = plan_of(store, "deu_Latn", "spa_Latn")
    job = queue.submit(Extraction(plan))
    assert queue.wait(job, LONG)
    assert job.status == "done"
    assert job.done == job.totals == {"eng_Latn": 4, "deu_Latn": 4, "spa_Latn": 4}
    assert job.fraction == 1.0
    assert planning.missing(plan, store) == []
    assert queue.submit(Extraction(plan)) is None


def test_equal_requests_share_one_run(store, queue, gate):
    reached, go = gate("deu_Latn")
    first = queue.submit(Extraction(plan_of(store, "deu_Latn")))
    assert reached.wait(LONG)
    other_state = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=4, state="emb"), store)
    assert queue.submit(Extraction(other_state)) is first
    go.set()
    assert queue.wait(first, LONG)
    assert len(queue.jobs()) == 1


def test_jobs_wait_their_turn(store, queue, gate):
    reached, go = gate("deu_Latn")
    first = queue.submit(Extraction(plan_of(store, "deu_Latn")))
    assert reached.wait(LONG)
    second, third = (
        queue.submit(Extraction(plan_of(store, "fra_Latn"))),
        queue.submit(Extraction(plan_of(store, "ita_Latn"))),
    )
    assert [job.status for job in (first, second, third)] == ["running", "waiting", "waiting"]
    assert [queue.position(job) for job in (first, second, third)] == [0, 1, 2]
    go.set()
    assert queue.wait(third, LONG)
    assert [job.status for job in (first, second, third)] == ["done"] * 3
    assert first.finished <= second.finished <= third.finished


def test_cancel_keeps_finished_languages_and_a_new_request_computes_the_rest(store, queue, gate):
    reached, go = gate("spa_Latn")
    plan = plan_of(store, "deu_Latn", "spa_Latn")
    job = queue.submit(Extraction(plan))
    assert reached.wait(LONG)
    job.cancel()
    again = queue.submit(Extraction(plan))
    assert again is not job
    go.set()
    assert queue.wait(job, LONG)
    assert job.status == "cancelled"
    assert queue.wait(again, LONG)
    assert again.status == "done"
    assert set(again.totals) == {"spa_Latn"}


def test_a_waiting_job_can_be_cancelled(store, queue, gate):
    reached, go = gate("deu_Latn")
    first = queue.submit(Extraction(plan_of(store, "deu_Latn")))
    assert reached.wait(LONG)
    second = queue.submit(Extraction(plan_of(store, "fra_Latn")))
    second.cancel()
    go.set()
    assert queue.wait(second, LONG)
    assert (first.status, second.status) == ("done", "cancelled")
    assert planning.missing(second.work.plan, store) == ["fra_Latn"]


@pytest.mark.parametrize(
    "error",
    [ExtractionError("layer 3 overflowed"), ZeroDivisionError("oops"), MemoryError("none left"), SystemExit("the end")],
)
def test_a_failed_job_says_why_and_the_queue_goes_on(store, queue, failing, error):
    failing("deu_Latn", error)
    first, second = (
        queue.submit(Extraction(plan_of(store, "deu_Latn"))),
        queue.submit(Extraction(plan_of(store, "fra_Latn"))),
    )
    assert queue.wait(second, LONG)
    assert first.status == "failed"
    assert str(error) in first.error
    assert second.status == "done"


def test_closing_the_queue_stops_the_run_and_its_thread(store, queue, gate):
    reached, go = gate("deu_Latn")
    job = queue.submit(Extraction(plan_of(store, "deu_Latn", "fra_Latn")))
    waiting = queue.submit(Extraction(plan_of(store, "ita_Latn")))
    assert reached.wait(LONG)
    threading.Timer(0.2, go.set).start()
    queue.close()
    assert (job.status, waiting.status) == ("cancelled", "waiting")
    assert not queue._worker.is_alive()


def test_cancelled_error_from_extraction_is_no_failure(store, queue, monkeypatch):
    def stopped(*_arguments, **_options):
        raise Cancelled("stopped")

    monkeypatch.setattr(extraction, "extract", stopped)
    job = queue.submit(Extraction(plan_of(store, "deu_Latn")))
    assert queue.wait(job, LONG)
    assert (job.status, job.error) == ("cancelled", "stopped")


def test_plans_that_differ_in_scores_only_have_one_key(store):
    plan = plan_of(store, "deu_Latn", "spa_Latn")
    assert plan.key == plan_of(store, "spa_Latn", "deu_Latn").key
    assert plan.key != plan_of(store, "spa_Latn").key
    assert plan.key != plan_of(store, "deu_Latn", "spa_Latn", sentences=5).key


def test_who_asks_for_the_same_shares_the_run_and_one_who_leaves_does_not_end_it(store, queue, gate):
    reached, go = gate("deu_Latn")
    plan = plan_of(store, "deu_Latn")
    job = queue.submit(Extraction(plan), ADA)
    assert queue.submit(Extraction(plan), BOB) is queue.submit(Extraction(plan), ADA) is job
    assert job.owners == (ADA, BOB)
    assert reached.wait(LONG)
    queue.withdraw(job, "ada")
    assert (job.owners, job.stopping) == ((BOB,), False)
    assert not job.is_of("ada")
    go.set()
    assert queue.wait(job, LONG)
    assert job.status == "done"


def test_the_last_who_leaves_ends_the_run(store, queue, gate):
    reached, go = gate("deu_Latn")
    job = queue.submit(Extraction(plan_of(store, "deu_Latn", "fra_Latn")), ADA)
    queue.submit(job.work, BOB)
    assert reached.wait(LONG)
    queue.withdraw(job, "bob")
    queue.withdraw(job, "ada")
    assert job.stopping
    go.set()
    assert queue.wait(job, LONG)
    assert (job.status, job.owners) == ("cancelled", (ADA,))
    assert "fra_Latn" in planning.missing(job.work.plan, store)


def test_a_waiting_job_that_is_cancelled_is_over_at_once_and_nobody_waits_for_it(store, queue, gate):
    reached, go = gate("deu_Latn")
    queue.submit(Extraction(plan_of(store, "deu_Latn")), ADA)
    assert reached.wait(LONG)
    second = queue.submit(Extraction(plan_of(store, "fra_Latn")), BOB)
    third = queue.submit(Extraction(plan_of(store, "ita_Latn")), BOB)
    assert queue.position(third) == 2
    queue.withdraw(second, "bob")
    assert (second.status, queue.position(third)) == ("cancelled", 1)
    go.set()
    assert queue.wait(third, LONG)
    assert third.status == "done"
    assert planning.missing(second.work.plan, store) == ["fra_Latn"]


def test_only_so_many_may_wait(store, gate):
    queue = JobQueue(store, ModelPool(), most_waiting=3, most_each=2)
    reached, go = gate("deu_Latn")
    queue.submit(Extraction(plan_of(store, "deu_Latn")), ADA)
    assert reached.wait(LONG)
    waiting = [queue.submit(Extraction(plan_of(store, code)), ADA) for code in ("fra_Latn", "ita_Latn")]
    with pytest.raises(QueueFull, match="2 of your runs wait already"):
        queue.submit(Extraction(plan_of(store, "por_Latn")), ADA)
    assert queue.submit(waiting[0].work, ADA) is waiting[0]  # nothing new
    waiting.append(queue.submit(Extraction(plan_of(store, "spa_Latn")), BOB))
    with pytest.raises(QueueFull, match="3 runs wait already"):
        queue.submit(Extraction(plan_of(store, "por_Latn")), BOB)
    queue.withdraw(waiting[0], "ada")
    assert queue.submit(Extraction(plan_of(store, "por_Latn")), BOB) is not None
    go.set()
    queue.close()


def test_the_pace_of_like_jobs_tells_when_a_waiting_one_starts(store, queue, gate):
    first = queue.submit(Extraction(plan_of(store, "deu_Latn")))
    assert queue.wait(first, LONG)
    reached, go = gate("fra_Latn")
    running = queue.submit(Extraction(plan_of(store, "spa_Latn", "fra_Latn", sentences=5)))
    second = queue.submit(Extraction(plan_of(store, "ita_Latn")))
    third = queue.submit(Extraction(plan_of(store, "por_Latn")))
    assert reached.wait(LONG)
    pace = (first.finished - first.started) / (2 * 4)  # two languages of four sentences
    assert second.units == 4
    assert queue.seconds_needed(second) == pytest.approx(pace * 4)
    left = running.seconds_left
    assert 0 < left <= queue.seconds_until(second) < queue.seconds_until(third)
    assert queue.seconds_until(third) - queue.seconds_until(second) == pytest.approx(pace * 4, abs=0.05)
    go.set()
    assert queue.wait(third, LONG)


def test_without_anything_like_it_no_time_is_told(store, queue, gate):
    reached, go = gate("eng_Latn")
    queue.submit(Extraction(plan_of(store, "fra_Latn")))
    second = queue.submit(Extraction(plan_of(store, "ita_Latn")))
    assert reached.wait(LONG)
    assert queue.seconds_until(second) is None
    go.set()
    assert queue.wait(second, LONG)


def test_the_log_has_one_line_a_job(store, queue, caplog, monkeypatch):
    with caplog.at_level(logging.INFO, "neuronxa.jobs"):
        first = queue.submit(Extraction(plan_of(store, "deu_Latn")), ADA)
        assert queue.wait(first, LONG)
        second = queue.submit(Extraction(plan_of(store, "deu_Latn", "spa_Latn")), BOB)
        assert queue.wait(second, LONG)
        monkeypatch.setattr(
            extraction, "extract", lambda *_a, **_o: (_ for _ in ()).throw(ExtractionError("bad\nluck"))
        )
        third = queue.submit(Extraction(plan_of(store, "fra_Latn")), ADA)
        assert queue.wait(third, LONG)
        queue.close()  # the thread has written its last line
    lines = [record.getMessage() for record in caplog.records if record.name == "neuronxa.jobs"]
    assert not any("\n" in line for line in lines)
    one, two, three = map(json.loads, lines)
    assert (one["who"], one["status"], one["units"], one["cached"], one["computed"]) == (["Ada"], "done", 8, 0, 8)
    assert (two["who"], two["units"], two["cached"], two["computed"]) == (["Bob"], 12, 8, 4)
    assert (three["status"], three["error"], three["computed"]) == ("failed", "bad\nluck", 0)
    assert one["what"] == "states of 2 languages in demo"
    assert one["took_s"] == pytest.approx(first.finished - first.started, abs=0.001)
    assert all(line["model"] == "demo" and line["unit"] == "sentences" for line in (one, two, three))


def test_what_is_over_is_forgotten_before_what_waits(store, monkeypatch, gate):
    monkeypatch.setattr("neuronxa_core.jobs.job_queue.REMEMBERED", 2)
    queue = JobQueue(store, ModelPool())
    for code in ("deu_Latn", "fra_Latn"):
        assert queue.wait(queue.submit(Extraction(plan_of(store, code))), LONG)
    reached, go = gate("spa_Latn")
    active = [queue.submit(Extraction(plan_of(store, code))) for code in ("spa_Latn", "ita_Latn", "por_Latn")]
    assert reached.wait(LONG)
    assert [job.number for job in queue.jobs()] == [2, 3, 4, 5]
    assert all(job in queue.jobs() for job in active)
    go.set()
    queue.close()
