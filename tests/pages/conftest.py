"""A computed cache for all pages; and no run of a page outlives its test."""

import sys

import pytest
from page_walk import SMALL

from neuronxa_core.experiment import ENTRIES
from neuronxa_core.states import computing, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from pages.components import process


@pytest.fixture(scope="session")
def computed(tmp_path_factory):
    """A cache folder in which SMALL is computed."""
    folder = tmp_path_factory.mktemp("computed")
    store = Store(folder)
    plan = planning.with_states(planning.make_plan(SMALL, store), ENTRIES)
    computing.compute_missing(plan, store, ModelPool())
    store.close()
    return folder


@pytest.fixture(autouse=True)
def own_main_module(monkeypatch):
    """Running the app makes its script `__main__`, which processes that other tests start would run again."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(autouse=True)
def no_job_outlives_its_test(tmp_path, monkeypatch):
    """A run that a page started would go on beside the tests that follow."""
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(tmp_path))
    yield
    queue = process.services().queue
    for job in queue.jobs():
        job.cancel()
    assert all(queue.wait(job, 60) for job in queue.jobs())
    assert process.services().pairs.wait(60)
