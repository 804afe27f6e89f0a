"""The shared core against all draws of independent sets, one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from neuronxa_core.measures.activation_counts import ActivationCriterion, activation_counts
from neuronxa_core.measures.shared_core import SharedCoreMeasure, shared_core


@given(st.integers(2, 5).flatmap(lambda n: st.lists(st.integers(0, n), min_size=2, max_size=3).map(lambda s: (n, s))))
def test_the_expected_core_by_enumeration(drawn):
    neurons, sizes = drawn
    draws = itertools.product(*(itertools.combinations(range(neurons), size) for size in sizes))
    cores = [len(set.intersection(*map(set, sets))) for sets in draws]
    active = np.arange(neurons) < np.array(sizes)[:, None, None]
    core = shared_core(active)
    assert core.observed.tolist() == [min(sizes)]
    assert_allclose([core.expected[0], core.deviation[0]], [np.mean(cores), np.std(cores)], atol=1e-6)
    if np.std(cores) > 1e-6:
        assert core.z[0] == pytest.approx((min(sizes) - np.mean(cores)) / np.std(cores))
    else:  # the core could be no other
        assert np.isnan(core.z[0])


def test_a_core_that_could_be_no_other_has_no_z():
    everything = shared_core(np.ones((3, 2, 7), bool))
    assert everything.observed.tolist() == everything.expected.tolist() == [7, 7]
    assert np.isnan(everything.z).all()


def test_the_table_is_that_of_all_layers_at_once(three_languages):
    plan, store = three_languages
    measure = SharedCoreMeasure(plan, "threshold", 0.5)
    measure.run(store)
    whole = shared_core(ActivationCriterion("threshold", 0.5).all_sets(activation_counts(plan, store)))
    assert measure.table(store).equals(whole.table())
