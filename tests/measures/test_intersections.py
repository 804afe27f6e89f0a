"""Exact intersections against Python's sets."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from plain_sets import any_counts, any_criterion

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.activation_counts import ActivationCriterion, activation_counts
from neuronxa_core.measures.intersections import IntersectionsMeasure, exclusive_intersections


@given(any_counts, any_criterion)
def test_exclusive_intersections_against_python_sets(counts, criterion):
    active = criterion.all_sets(counts)
    neurons = [set(zip(*np.nonzero(row), strict=True)) for row in active]
    found = exclusive_intersections(active, counts.languages)
    assert [i.size for i in found] == sorted((i.size for i in found), reverse=True)
    by_members = {i.languages: set(zip(i.layer, i.neuron, strict=True)) for i in found}
    for r in range(1, len(neurons) + 1):
        for chosen in itertools.combinations(range(len(neurons)), r):
            inside = set.intersection(*(neurons[k] for k in chosen))
            outside = set().union(*(neurons[k] for k in range(len(neurons)) if k not in chosen))
            members = tuple(counts.languages[k] for k in chosen)
            assert by_members.get(members, set()) == inside - outside
    assert sum(i.size for i in found) == len(set().union(*neurons))


def test_the_table_has_the_intersections_of_each_layer(three_languages):
    plan, store = three_languages
    measure = IntersectionsMeasure(plan)
    measure.run(store)
    table = measure.table(store)
    counts = activation_counts(plan, store)
    active = ActivationCriterion().all_sets(counts)
    for layer, rows in table.groupby("layer"):
        found = exclusive_intersections(active[:, [layer]], counts.languages)
        assert rows["size"].tolist() == [i.size for i in found]
        assert dict(zip(rows["languages"], rows["size"], strict=True)) == {
            " + ".join(i.languages): i.size for i in found
        }


def test_too_many_languages_are_refused():
    with pytest.raises(ExperimentError, match="at most 16 languages, not for 17"):
        exclusive_intersections(np.ones((17, 1, 1), bool), [str(k) for k in range(17)])
