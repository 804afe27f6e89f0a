"""The queue goes on whatever a job meets: memory that runs out, models that do not fit, errors of any kind."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from faults import CHOSEN, PATIENCE_S

from neuronxa_core.experiment import Experiment
from neuronxa_core.jobs.job_queue import JobQueue
from neuronxa_core.models import loading
from neuronxa_core.states import planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.hooks import StateHooks
from neuronxa_core.states.pools import ModelPool


@pytest.fixture
def queue(store):
    with closing(JobQueue(store, ModelPool())) as opened:
        yield opened


def waited_for(queue: JobQueue, plan: planning.Plan):
    job = queue.submit(Extraction(plan))
    assert queue.wait(job, PATIENCE_S)
    return job


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), OSError(12, "Cannot allocate memory")])
def test_a_model_that_does_not_fit_leaves_the_pool_empty_and_the_next_job_works(error, store, tiny, monkeypatch):
    real = loading.AutoModel.from_pretrained
    large = tiny("llama")

    def full(source, *arguments, **options):
        if source == str(large):
            raise error
        return real(source, *arguments, **options)

    monkeypatch.setattr(loading.AutoModel, "from_pretrained", full)
    pool = ModelPool()
    too_large, small = (
        planning.make_plan(Experiment(model=model, languages=("deu_Latn",), sentences=3), store)
        for model in (str(large), "demo")
    )
    with closing(JobQueue(store, pool)) as queue:
        first = waited_for(queue, too_large)
        assert first.status == "failed"
        assert f"model {large.name} does not fit into memory" in first.error
        assert waited_for(queue, small).status == "done"
        assert not pool.holds(too_large)
        assert pool.holds(small)


@pytest.mark.full
def test_memory_that_runs_out_in_a_batch_halves_it_and_costs_no_number(store, queue, undisturbed, monkeypatch):
    plan = planning.make_plan(replace(CHOSEN, languages=("rus_Cyrl",)), store)
    sizes = []
    real = StateHooks.run

    def run(hooks, rows):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        real(hooks, rows)

    monkeypatch.setattr(StateHooks, "run", run)
    job = waited_for(queue, plan)
    assert (job.status, job.error) == ("done", "")
    assert max(sizes) > 2
    key = plan.keys["rus_Cyrl"]
    mine, other = store.read(key), undisturbed.read(key)
    for name in mine:
        if name.startswith("nas"):
            np.testing.assert_array_equal(mine[name], other[name])
        else:
            np.testing.assert_allclose(mine[name], other[name], rtol=1e-4, atol=1e-5 * np.abs(other[name]).max())


def test_a_sentence_that_never_fits_fails_its_job_alone(store, queue, monkeypatch):
    plan = planning.make_plan(CHOSEN, store)

    def full(*_arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(StateHooks, "run", full)
        job = waited_for(queue, plan)
    assert job.status == "failed"
    assert "memory ran out on a single sentence" in job.error
    assert waited_for(queue, plan).status == "done"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), RecursionError("deep")], ids=repr)
def test_whatever_a_job_raises_the_queue_goes_on(error, store, queue, failing):
    plan = planning.make_plan(CHOSEN, store)
    failing("deu_Latn", error)
    first = waited_for(queue, plan)
    assert first.status == "failed"
    assert type(error).__name__ in first.error
    assert waited_for(queue, planning.restrict(plan, ["rus_Cyrl"])).status == "done"
