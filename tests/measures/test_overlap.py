"""Overlap of active sets against Python's sets, and what one can rely on."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from plain_sets import any_counts, any_criterion, random_counts, slow_jaccard, slow_sets

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import overlap
from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion, activation_counts
from neuronxa_core.measures.overlap import OverlapMeasure


@given(any_counts, any_criterion)
def test_jaccard_and_conditional_overlap_against_python_sets(counts, criterion):
    jaccard = overlap.overlap_by_layer(counts, criterion)
    conditional = overlap.overlap_by_layer(counts, criterion, "conditional")
    for layer, sets in enumerate(zip(*slow_sets(counts, criterion), strict=True)):
        for a, b in itertools.product(range(len(sets)), repeat=2):
            assert jaccard[layer, a, b] == slow_jaccard(sets[a], sets[b])
            assert conditional[layer, a, b] == (len(sets[a] & sets[b]) / len(sets[a]) if sets[a] else 0)


@given(any_counts, any_criterion)
def test_what_one_can_rely_on_of_overlap(counts, criterion):
    jaccard = overlap.overlap_by_layer(counts, criterion)
    sizes = criterion.all_sets(counts).sum(axis=2).T
    np.testing.assert_array_equal(jaccard, jaccard.swapaxes(1, 2))
    np.testing.assert_array_equal(np.diagonal(jaccard, axis1=1, axis2=2), (sizes > 0).astype(float))
    assert (overlap.overlap_by_layer(counts, criterion, "conditional") >= jaccard - 1e-12).all()
    if criterion.kind == "threshold":  # ties at the edge of a top share go by number
        order = np.random.default_rng(1).permutation(counts.neurons)
        shuffled = ActivationCounts(counts.languages, counts.counts[:, :, order], counts.tokens)
        np.testing.assert_array_equal(overlap.overlap_by_layer(shuffled, criterion), jaccard)


def test_chance_is_what_independent_sets_come_to():
    random = np.random.default_rng(3)
    neurons, a, b = 2000, 300, 500
    x, y = np.zeros((200, neurons), bool), np.zeros((200, neurons), bool)
    for k in range(200):
        x[k, random.choice(neurons, a, replace=False)] = True
        y[k, random.choice(neurons, b, replace=False)] = True
    assert overlap.chance_jaccard(a, b, neurons) == pytest.approx(75 / 725)
    assert overlap.jaccard(x, y).mean() == pytest.approx(75 / 725, rel=0.01)
    assert overlap.chance_jaccard(0, 0, 10) == 0


def test_the_table_has_a_row_per_ordered_pair_and_layer(three_languages):
    plan, store = three_languages
    measure = OverlapMeasure(plan, "threshold", 0.5)
    measure.run(store)
    table = measure.table(store)
    assert len(table) == plan.info.layers * 6
    counts = activation_counts(plan, store)
    sets = slow_sets(counts, ActivationCriterion("threshold", 0.5))
    for row in table.to_dict("records"):
        a, b = (sets[counts.languages.index(row[f"language_{side}"])][row["layer"]] for side in "xy")
        assert (row["active_x"], row["active_y"]) == (len(a), len(b))
        assert (row["jaccard"], row["conditional"]) == (slow_jaccard(a, b), len(a & b) / len(a))
        assert row["chance_jaccard"] == overlap.chance_jaccard(len(a), len(b), plan.info.neurons)
        assert row["chance_conditional"] == len(b) / plan.info.neurons


def test_an_unknown_measure_is_refused():
    with pytest.raises(ExperimentError, match="jaccard"):
        overlap.overlap_by_layer(random_counts(), ActivationCriterion(), "dice")
