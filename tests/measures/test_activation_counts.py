"""Activation counts against every token, and active sets against their definition."""

import numpy as np
import pytest
from hypothesis import given
from plain_sets import any_counts, any_criterion, slow_sets

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.activation_counts import (
    ActivationCounts,
    ActivationCountsMeasure,
    ActivationCriterion,
    activation_counts,
)
from neuronxa_core.measures.shared_core import SharedCoreMeasure
from neuronxa_core.states import planning, stored


def test_counts_are_those_of_every_token(three_languages, tokenwise):
    plan, store = three_languages
    counts = activation_counts(plan, store)
    assert counts.languages == plan.all_languages == ("eng_Latn", "deu_Latn", "tha_Thai")
    assert len(plan.corpus.usable) == 7
    table = ActivationCountsMeasure(plan).table(store).set_index(["language", "layer"])
    for k, code in enumerate(counts.languages):
        values = np.concatenate(tokenwise(code), axis=1)
        # what is all but 0 may have another sign in a batch
        assert (counts.counts[k] >= (values > 1e-5).sum(axis=1)).all()
        assert (counts.counts[k] <= (values > -1e-5).sum(axis=1)).all()
        assert counts.tokens[k] == values.shape[1]
        for layer in range(plan.info.layers):
            row = table.loc[(code, layer)]
            assert (row["tokens"], row["ever_active"]) == (values.shape[1], (counts.counts[k, layer] > 0).sum())
            assert row["active_share"] == pytest.approx((values[layer] > 0).mean(), rel=1e-3)


def test_states_are_summed_once(three_languages, monkeypatch):
    plan, store = three_languages
    before = activation_counts(plan, store)
    monkeypatch.setattr(stored.StatesReader, "vectors", None)
    np.testing.assert_array_equal(activation_counts(plan, store).counts, before.counts)


def test_probability_by_hand():
    counts = ActivationCounts(("a", "b"), np.array([[[1, 0, 4]], [[2, 1, 0]]], np.uint16), np.array([4, 3]))
    np.testing.assert_array_equal(counts.probability(0), [[0.25, 0, 1], [2 / 3, 1 / 3, 0]])
    np.testing.assert_array_equal(counts.at(0, 2), [1, 0])
    np.testing.assert_array_equal(counts.of(["b"]).at(np.array([0, 0]), np.array([1, 0])), [[1 / 3, 2 / 3]])
    active = {"threshold": [[0, 0, 1], [1, 1, 0]], "top": [[0, 0, 1], [1, 0, 0]]}
    for kind, value in (("threshold", 0.25), ("top", 0.34)):
        np.testing.assert_array_equal(ActivationCriterion(kind, value).sets(counts.probability(0)), active[kind])


@given(any_counts, any_criterion)
def test_active_sets_are_those_of_the_definition(counts, criterion):
    active = criterion.all_sets(counts)
    assert [[set(np.flatnonzero(row)) for row in rows] for rows in active] == slow_sets(counts, criterion)


def test_a_tie_for_the_last_place_goes_to_the_lower_number_and_a_silent_neuron_never_counts():
    criterion = ActivationCriterion("top", 0.5)
    assert criterion.sets(np.array([0.2, 0.5, 0.2, 0.2])).tolist() == [True, True, False, False]
    assert criterion.sets(np.array([0.0, 0.5, 0.0, 0.0])).tolist() == [False, True, False, False]


@pytest.mark.parametrize("choice", [("threshold", 1), ("threshold", -0.1), ("top", 0), ("top", 1.1), ("best", 0.5)])
def test_a_criterion_that_there_is_not_is_refused(choice, three_languages):
    with pytest.raises(ExperimentError, match=r"active|threshold|share"):
        ActivationCriterion(*choice)
    with pytest.raises(ExperimentError, match=r"active|threshold|share"):
        SharedCoreMeasure(three_languages[0], *choice)


def test_what_cannot_be_compared_is_refused(three_languages):
    with pytest.raises(ExperimentError, match="without tokens"):
        ActivationCounts(("a",), np.zeros((1, 1, 2), np.uint8), np.array([0]))
    plan, _ = three_languages
    with pytest.raises(ExperimentError, match="shared core compares languages; choose at least 2"):
        SharedCoreMeasure(planning.restrict(plan, []))


def test_what_decides_active_sets(three_languages):
    plan, _ = three_languages
    keys = [
        SharedCoreMeasure(one, *choice).key
        for one in (plan, planning.restrict(plan, ["deu_Latn"]))
        for choice in ((), ("top", 0.2), ("threshold", 0.1))
    ]
    assert len(set(keys)) == 6
    assert SharedCoreMeasure(plan).key == SharedCoreMeasure(plan, "top", 0.1).key
