"""The queue: one run for equal requests, first come first served, progress, cancel, failure."""

import threading

import pytest

from neuronxa_core import extraction, pipeline
from neuronxa_core.errors import Cancelled, ExtractionError
from neuronxa_core.experiment import Experiment
from neuronxa_core.jobs import JobQueue
from neuronxa_core.pipeline import Extraction, ModelShelf
from neuronxa_core.store import Store

LONG = 60


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def queue(store):
    return JobQueue(store, ModelShelf())


def plan_of(store, *languages, sentences=4):
    return pipeline.make_plan(Experiment(languages=languages, sentences=sentences), store)


def gate(monkeypatch, language):
    """Extraction that stops before `language` until it is let go."""
    reached, go = threading.Event(), threading.Event()
    real = extraction.extract

    def held(loaded, code, *arguments, **options):
        if code == language:
            reached.set()
            assert go.wait(LONG)
        return real(loaded, code, *arguments, **options)

    monkeypatch.setattr(extraction, "extract", held)
    return reached, go


def test_a_job_computes_what_is_missing_and_reports_every_sentence(store, queue):
    plan = plan_of(store, "deu_Latn", "spa_Latn")
    job = queue.submit(Extraction(plan))
    assert queue.wait(job, LONG)
    assert job.status == "done"
    assert job.done == job.totals == {"eng_Latn": 4, "deu_Latn": 4, "spa_Latn": 4}
    assert job.fraction == 1.0
    assert pipeline.missing(plan, store) == []
    assert queue.submit(Extraction(plan)) is None


def test_equal_requests_share_one_run(store, queue, monkeypatch):
    reached, go = gate(monkeypatch, "deu_Latn")
    first = queue.submit(Extraction(plan_of(store, "deu_Latn")))
    assert reached.wait(LONG)
    other_state = pipeline.make_plan(Experiment(languages=("deu_Latn",), sentences=4, state="emb"), store)
    assert queue.submit(Extraction(other_state)) is first
    go.set()
    assert queue.wait(first, LONG)
    assert len(queue.jobs()) == 1


def test_jobs_wait_their_turn(store, queue, monkeypatch):
    reached, go = gate(monkeypatch, "deu_Latn")
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


def test_cancel_keeps_finished_languages_and_a_new_request_computes_the_rest(store, queue, monkeypatch):
    reached, go = gate(monkeypatch, "spa_Latn")
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


def test_a_waiting_job_can_be_cancelled(store, queue, monkeypatch):
    reached, go = gate(monkeypatch, "deu_Latn")
    first = queue.submit(Extraction(plan_of(store, "deu_Latn")))
    assert reached.wait(LONG)
    second = queue.submit(Extraction(plan_of(store, "fra_Latn")))
    second.cancel()
    go.set()
    assert queue.wait(second, LONG)
    assert (first.status, second.status) == ("done", "cancelled")
    assert pipeline.missing(second.work.plan, store) == ["fra_Latn"]


@pytest.mark.parametrize("error", [ExtractionError("layer 3 overflowed"), ZeroDivisionError("oops")])
def test_a_failed_job_says_why_and_the_queue_goes_on(store, queue, monkeypatch, error):
    real = extraction.extract

    def fails(loaded, code, *arguments, **options):
        if code == "deu_Latn":
            raise error
        return real(loaded, code, *arguments, **options)

    monkeypatch.setattr(extraction, "extract", fails)
    first, second = (
        queue.submit(Extraction(plan_of(store, "deu_Latn"))),
        queue.submit(Extraction(plan_of(store, "fra_Latn"))),
    )
    assert queue.wait(second, LONG)
    assert first.status == "failed"
    assert str(error) in first.error
    assert second.status == "done"


def test_closing_the_queue_stops_the_run_and_its_thread(store, queue, monkeypatch):
    reached, go = gate(monkeypatch, "deu_Latn")
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
