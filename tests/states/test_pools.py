"""Models in memory: those used last are kept, and a model at work is not taken away."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from neuronxa_core.errors import ModelBusy, ModelError
from neuronxa_core.experiment import Experiment
from neuronxa_core.host import cache_report
from neuronxa_core.models import loading
from neuronxa_core.models.sources import parse_source
from neuronxa_core.states import computing, extraction, planning
from neuronxa_core.states.extraction import extract
from neuronxa_core.states.pools import ModelPool

CHOSEN = Experiment(languages=("spa_Latn", "rus_Cyrl"), sentences=4)


def test_loaded_models_and_their_end(store, tiny):
    pool = ModelPool(most=2)
    plans = [planning.make_plan(replace(CHOSEN, model=str(tiny("llama", seed=seed))), store) for seed in (1, 2, 3)]
    assert cache_report.loaded_models(pool).empty
    for plan in (*plans, plans[1]):
        with pool.acquire(plan) as loaded:
            assert pool.holds(plan)
            with pytest.raises(ModelBusy):
                pool.clear()
    assert [pool.holds(plan) for plan in plans] == [False, True, True]
    table = cache_report.loaded_models(pool)
    assert list(table["model"]) == [plans[1].source.name, plans[2].source.name]
    assert table["bytes"].iloc[0] == sum(p.numel() * 4 for p in loaded.model.parameters())
    pool.clear()
    assert pool.loaded() == []


@pytest.mark.parametrize("most", [1, pytest.param(2, marks=pytest.mark.full)])
def test_the_pool_keeps_the_models_used_last(store, tiny, most):
    pool = ModelPool(most)
    plans = [planning.make_plan(replace(CHOSEN, model=str(tiny("llama", seed=seed))), store) for seed in (1, 2, 3, 4)]
    used = []
    for k in np.random.default_rng(most).integers(0, 4, 8).tolist():
        with pool.acquire(plans[k]):
            pass
        used = [k, *(other for other in used if other != k)][:most]
        assert [pool.holds(plan) for plan in plans] == [k in used for k in range(4)]
        assert [loaded.info.name for loaded in pool.loaded()] == [plans[k].source.name for k in used]


# weights that change on the disk, as a trainer overwrites its checkpoint


@pytest.fixture
def checkpoint(tiny, tmp_path, store):
    """(plan, step, correct): a model's plan as it is now; its next weights; whether its stored states are those."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny("llama"), folder)
    weights = folder / "model.safetensors"

    def step(seed, how):
        before, content = weights.stat(), (tiny("llama", seed=seed) / "model.safetensors").read_bytes()
        if how == "replaced":
            weights.unlink()
        with weights.open("wb" if how == "replaced" else "r+b") as file:
            file.write(content)
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert weights.stat().st_size == before.st_size

    def correct(plan, seed):
        sentences = plan.sentences("rus_Cyrl")
        loaded = loading.load(parse_source(str(tiny("llama", seed=seed))))
        fresh = extract(loaded, "", sentences, names=["nas_weighted"])
        kept = store.read(plan.keys["rus_Cyrl"])
        return all(np.array_equal(kept[name], array) for name, array in fresh.arrays.items())

    return lambda: planning.make_plan(replace(CHOSEN, model=str(folder)), store), step, correct


@pytest.mark.parametrize("how", ["replaced", "in place"])
def test_states_are_those_of_the_weights_that_their_key_names(how, checkpoint, store, monkeypatch):
    plan_now, step, correct = checkpoint
    pool = ModelPool()
    plan = plan_now()
    real = extraction.extract

    def overwritten_meanwhile(*arguments, **options):
        step(1, how)
        return real(*arguments, **options)

    # while the first language is at work
    monkeypatch.setattr(extraction, "extract", overwritten_meanwhile)
    computing.compute_missing(plan, store, pool)
    monkeypatch.undo()
    assert correct(plan, 0)
    # while the model is loaded
    later = plan_now()
    assert not set(later.keys.values()) & set(plan.keys.values())
    computing.compute_missing(later, store, pool)
    assert correct(later, 1)
    # between plan and load, and while it loads
    step(2, how)
    planned = plan_now()
    step(3, how)
    with pytest.raises(ModelError, match="changed after the run was planned"):
        computing.compute_missing(planned, store, pool)
    again, load = plan_now(), loading.load

    def overwritten_then(*arguments):
        loaded = load(*arguments)
        step(2, how)
        return loaded

    monkeypatch.setattr(loading, "load", overwritten_then)
    with pytest.raises(ModelError, match="changed after the run was planned"):
        computing.compute_missing(again, store, pool)
    assert planning.missing(planned, store) == planning.missing(again, store) == list(plan.all_languages)
    assert not pool.loaded()
