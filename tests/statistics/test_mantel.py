"""Mantel's test by loops, by hand, and on what is planted."""

import numpy as np
import pytest

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics.mantel import mantel


def symmetric(generator, n):
    values = generator.normal(size=(n, n))
    return values + values.T


def test_it_is_a_plain_permutation_of_languages():
    generator = np.random.default_rng(1)
    x, noise = symmetric(generator, 6), symmetric(generator, 6)
    y = x + 2 * noise
    pairs = [(i, j) for i in range(6) for j in range(i)]

    def plain(order):
        return np.corrcoef([x[i, j] for i, j in pairs], [y[order[i], order[j]] for i, j in pairs])[0, 1]

    draws = np.random.default_rng(7)
    orders = [np.arange(6), *(draws.permutation(6) for _ in range(60))]
    wanted = np.array([plain(order) for order in orders])
    found = mantel(x, y, permutations=60, seed=7)
    assert (found.n, found.pairs, found.r) == (6, 15, pytest.approx(wanted[0]))
    assert found.p == sum(abs(wanted) >= abs(wanted[0]) - 1e-12) / 61


def test_what_is_planted_is_found_and_chance_is_not():
    generator = np.random.default_rng(0)
    x = symmetric(generator, 8)
    assert mantel(x, 2 * x + 1).r == pytest.approx(1)
    assert mantel(x, 2 * x + 1).p < 0.001
    ps = [mantel(x, symmetric(generator, 8), permutations=199).p for _ in range(60)]
    assert 0.3 < np.mean(ps) < 0.7
    # the diagonal says nothing
    assert mantel(x, x + np.diag(np.arange(8.0))).r == pytest.approx(1)


def test_what_cannot_be_tested():
    assert np.isnan(mantel(np.ones((5, 5)), np.eye(5)).r)
    assert np.isnan(mantel(np.ones((5, 5)), np.eye(5)).p)
    with pytest.raises(ExperimentError, match="at least 5 languages, not 4"):
        mantel(np.eye(4), np.eye(4))
