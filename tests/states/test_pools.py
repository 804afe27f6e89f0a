"""Models in memory: those used last are kept, and a model at work is not taken away."""

from dataclasses import replace

import numpy as np
import pytest

from neuronxa_core.errors import ModelBusy
from neuronxa_core.experiment import Experiment
from neuronxa_core.host import cache_report
from neuronxa_core.states import planning
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
