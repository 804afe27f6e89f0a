"""Two runs on the same sentences: against plain computations, on planted differences, and where there is none."""

import itertools

import numpy as np
import pandas as pd
import pytest

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import alignment, compare
from neuronxa_core.measures.compare import Compare, conclusion, paired


def test_the_p_value_is_that_of_all_exchanges_and_the_interval_that_of_plain_resamples():
    rng = np.random.default_rng(4)
    first, second = rng.random(8), rng.random(8)
    d = first - second
    every = [abs(np.dot(signs, d)) >= abs(d.sum()) - 1e-6 for signs in itertools.product((-1, 1), repeat=8)]
    low, high, p = paired(first, second)
    assert p == pytest.approx(np.mean(every), abs=0.02)
    drawn = [rng.choice(d, 8).mean() for _ in range(4000)]
    assert (low, high) == (
        pytest.approx(np.quantile(drawn, 0.025), abs=0.03),
        pytest.approx(np.quantile(drawn, 0.975), abs=0.03),
    )


def test_by_hand():
    # all 6 sentences are won by the first: of 64 ways to exchange, two are as far from 0
    assert paired(np.ones(6), np.zeros(6))[2] == pytest.approx(2 / 64, abs=0.006)
    assert paired(np.ones(6), np.ones(6)) == (0, 0, 1)


@pytest.mark.parametrize(
    ("differences", "p", "said"),
    [
        ([2, -1], [0.01, 0.02], "**2 of 2 languages differ beyond chance** (Holm): 1 better by A, 1 better by B."),
        ([0.2], [0.01], "**1 of 1 language differs beyond chance** (Holm): 1 better by A."),
        ([0.2, 0.1], [0.3, 0.05], "**No difference is beyond chance** in 2 languages (Holm)."),
    ],
)  # fmt: skip
def test_what_is_said_holds(differences, p, said):
    table = pd.DataFrame({"difference": differences, "p_holm": p})
    assert conclusion(table, "A", "B") == said


def test_scores_are_those_of_the_alignment_and_equal_sides_are_refused(three_languages):
    plan, store = three_languages
    nas, emb = (alignment.align(plan, store, state, "weighted").score for state in ("nas", "emb"))
    measure = Compare(plan, other_state="emb", other_layer=3)
    results = measure.run(store)
    table = measure.frame(results).set_index("language")
    for k, code in enumerate(plan.languages):
        assert table.loc[code, "first"] == pytest.approx(nas[k].mean())
        assert table.loc[code, ["second", "n_sentences"]].tolist() == [emb[k, 3], 7]
        assert measure.by_layer(results)[code] == pytest.approx(nas[k] - emb[k], abs=1e-4)
    assert table["difference"].is_monotonic_decreasing
    by_p = table.sort_values("p")
    wanted = np.maximum.accumulate(by_p["p"] * np.arange(len(by_p), 0, -1)).clip(upper=1)
    assert by_p["p_holm"].tolist() == pytest.approx(wanted.tolist())
    assert measure.key != Compare(plan, other_state="emb", other_layer=2).key
    for same in ({}, {"layer": 2, "other_layer": 2}, {"other_model": "demo"}):
        with pytest.raises(ExperimentError, match="both sides"):
            Compare(plan, **same)
    with pytest.raises(ExperimentError, match="has the layers 0 to 7, not 8"):
        Compare(plan, layer=8)
    with pytest.raises(ExperimentError, match="state is one of"):
        Compare(plan, other_state="nonsense")


def test_noise_is_rarely_called_a_difference():
    rng = np.random.default_rng(0)
    runs = [[paired(*rng.integers(0, 2, (2, 40)).astype(float))[2] for _ in range(5)] for _ in range(40)]
    assert np.mean([5 * min(p) < compare.LEVEL for p in runs]) <= 0.125
