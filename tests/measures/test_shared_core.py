"""The shared core against sums over all outcomes, by hand, and what is said of planted cores."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion, activation_counts
from neuronxa_core.measures.shared_core import SharedCoreMeasure, core_of, core_sentence, core_table, shared_core


def found(active, rate):
    return {name: value.item() for name, value in shared_core(np.array(active, bool), np.array(rate)).items()}


def test_the_core_by_hand():
    # 2 of 4 neurons in one language, 3 of 4 in the other: each is in both with 1/2 * 3/4 = 3/8, of 4 alike
    one = found([[1, 1, 0, 0], [1, 1, 1, 0]], [0.5, 0.5, 0.5, 0.5])
    assert (one["observed"], one["expected"], one["low"], one["high"]) == (2, 1.5, 0, 3)
    assert one["p"] == pytest.approx(1 - (5 / 8) ** 4 - 4 * 3 / 8 * (5 / 8) ** 3)


@given(st.integers(0, 2**32 - 1), st.integers(32, 36), st.integers(2, 4))
def test_the_core_by_summing_over_all_outcomes(seed, neurons, languages):
    """Two groups by rate: the probability of every pair of their cores, summed where they come to as many."""
    random = np.random.default_rng(seed)
    active, rate = random.random((languages, neurons)) < 0.7, random.random(neurons)
    order = sorted(range(neurons), key=lambda j: rate[j])
    groups = [order[: math.ceil(neurons / 2)], order[math.ceil(neurons / 2) :]]
    shared = [math.prod(sum(row[j] for j in group) / len(group) for row in active) for group in groups]
    observed = sum(all(row[j] for row in active) for j in range(neurons))
    tail = sum(
        math.prod(
            math.comb(len(g), k) * q**k * (1 - q) ** (len(g) - k) for g, q, k in zip(groups, shared, ks, strict=True)
        )
        for ks in itertools.product(*(range(len(group) + 1) for group in groups))
        if sum(ks) >= observed
    )
    one = found(active, rate)
    assert one["observed"] == observed
    assert one["expected"] == pytest.approx(sum(len(g) * q for g, q in zip(groups, shared, strict=True)))
    assert one["p"] == pytest.approx(tail, abs=1e-12)


def planted(languages, *, common):
    """640 neurons in two layers, of very different base rates; some are active alike in all languages, if wanted."""
    random = np.random.default_rng(1)
    base, own = random.normal(0, 2, (2, 640)), random.normal(0, 2, (languages, 2, 640))
    base[0, :common], own[:, 0, :common] = np.linspace(2, 4, common), 0
    level = base + own
    counts = (10_000 / (1 + np.exp(-level))).astype(np.uint32)
    names = tuple(f"l{k}" for k in range(languages))
    return core_of(ActivationCounts(names, counts, np.full(languages, 10_000)), ActivationCriterion("top", 0.25))


def test_a_core_beyond_base_rates_is_said_and_one_that_they_explain_is_not():
    table = planted(20, common=40)
    assert np.isfinite(table[["ratio", "p"]].to_numpy()).all()
    assert core_sentence(table).startswith("At 1 of 2 layers the core is larger")
    assert "most at layer 0" in core_sentence(table)
    table = planted(20, common=0)
    assert table["observed"].max() > 2 * 640 * 0.25**20, "against independent sets it stands out"
    assert core_sentence(table).startswith("At none of 2 layers")


def test_no_core_is_no_claim():
    nothing = core_table({0: shared_core(np.eye(4, 64, dtype=bool), np.zeros(64))})
    assert (nothing["observed"].item(), nothing["p"].item()) == (0, pytest.approx(1))
    assert nothing["expected"].item() == pytest.approx(16 / 16**4)
    assert core_sentence(nothing).startswith("At none of 1 layer is")


def test_the_table_is_that_of_all_layers_at_once(three_languages):
    plan, store = three_languages
    measure = SharedCoreMeasure(plan, "threshold", 0.5)
    measure.run(store)
    whole = core_of(activation_counts(plan, store), ActivationCriterion("threshold", 0.5))
    assert measure.table(store).equals(whole)
