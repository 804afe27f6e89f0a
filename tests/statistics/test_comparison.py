"""Two correlations with one task: Williams' test by hand, the bootstrap by loops, and what cannot be compared."""

import math
from dataclasses import replace

import numpy as np
import pytest
from plain_statistics import CLOSE, SIZE, X, Y, nan, slow_pearson, slow_t_tail

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics import comparison, correlation

pytestmark = pytest.mark.filterwarnings("error")


def test_williams_by_hand():
    # Steiger's (1980) example, as in R's psych::r.test: n = 103, r = .5 and .4, which correlate .1. |R| = .62,
    # t = .1 sqrt(102 * 1.1 / (2 * 102 / 100 * .62 + .45^2 * .9^3)) = .1 sqrt(112.2 / 1.4124225)
    found = comparison.williams(0.5, 0.4, 0.1, 103)
    assert found.t == pytest.approx(0.1 * math.sqrt(112.2 / 1.4124225), abs=CLOSE)
    assert round(found.t, 2) == 0.89
    assert (found.dof, round(found.p, 2)) == (100, 0.37)
    assert found.p == pytest.approx(slow_t_tail(found.t, 100), abs=CLOSE)


def test_williams_rejects_as_often_as_it_says():
    random = np.random.default_rng(1)
    y = random.normal(size=(1500, 20))
    x, z = y + random.normal(size=(2, 1500, 20))
    rs = [correlation.pearson_many(a, b) for a, b in ((x, y), (z, y), (x, z))]
    p = np.array([comparison.williams(*r, 20).p for r in zip(*rs, strict=True)])
    assert (p < 0.1).mean() == pytest.approx(0.1, abs=0.025)


def test_williams_of_what_cannot_differ_or_be():
    same = comparison.williams(0.5, 0.5, 1, 20)
    assert np.isnan([same.t, same.p]).all()
    assert np.isnan(comparison.williams(nan, 0.5, 0.5, 20).t)
    with pytest.raises(ExperimentError, match="at least 5"):
        comparison.williams(0.5, 0.4, 0.1, 4)
    for impossible in ((0.9, -0.9, 0.9), (1.5, 0.2, 0.1)):
        with pytest.raises(ValueError, match="no three variables"):
            comparison.williams(*impossible, 20)


def test_comparison_against_the_plain_paired_bootstrap():
    random = np.random.default_rng(8)
    y = random.normal(size=11)
    x, z = y + random.normal(size=11), y + 2 * random.normal(size=11)
    found = comparison.compare([*x, 1, nan], [*z, nan, 3], [*y, 1, 2], resamples=500, seed=2, level=0.9)
    assert found.n == 11
    assert found.difference == pytest.approx(slow_pearson(x, y) - slow_pearson(z, y), abs=CLOSE)
    assert found.r_xz == pytest.approx(slow_pearson(x, z), abs=CLOSE)
    draws = np.random.default_rng(2).integers(11, size=(500, 11))
    slow = [slow_pearson(x[d], y[d]) - slow_pearson(z[d], y[d]) for d in draws]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(slow, [0.05, 0.95])), abs=CLOSE)
    assert found.share_first_larger == pytest.approx(np.mean([d > 0 for d in slow]))
    test = comparison.williams(found.r_xy, found.r_zy, found.r_xz, 11)
    assert (found.t, found.dof, found.p) == (test.t, 8, test.p)


def test_comparing_one_with_itself_and_with_a_constant():
    same = comparison.compare(X, [3 * v + 1 for v in X], Y, resamples=100)
    assert same.difference == pytest.approx(0, abs=1e-12)
    assert same.share_first_larger == 0
    assert np.isnan([same.t, same.p]).all()
    constant = comparison.compare(X, [0.5] * 12, Y, resamples=100)
    assert constant.undefined_resamples == 100
    assert np.isnan([constant.difference, constant.low, constant.high, constant.share_first_larger, constant.p]).all()
    with pytest.raises(ExperimentError, match="at least 5"):
        comparison.compare(X, [nan] * 8 + X[8:], Y)


@pytest.mark.parametrize("x", [np.zeros(12), np.full(12, 0.3), 3 * np.array(SIZE) + 1])
def test_nothing_is_beyond_chance_where_nothing_can_be_compared(x):
    """A constant has no correlation, and a measure that is the other one on another scale no other."""
    for first, second in ((x, SIZE), (SIZE, x)):
        assert comparison.compare(first, second, Y, resamples=50).beyond_chance is None


def test_a_difference_is_beyond_chance_by_williams_test():
    y = np.arange(12.0)
    close, far = y + np.tile([0.1, -0.1], 6), np.tile([0.0, 1.0, 1.0, 0.0], 3)
    found = comparison.compare(close, far, y, resamples=50)
    assert found.p < 0.05
    assert found.beyond_chance is True
    assert comparison.compare(X, SIZE, Y, resamples=50).beyond_chance is False


def test_the_verdict_is_that_of_williams_test_whatever_the_bootstrap_says():
    y = np.arange(12.0)
    close, far = y + np.tile([0.1, -0.1], 6), np.tile([0.0, 1.0, 1.0, 0.0], 3)
    said = [
        comparison.compare(a, b, c, resamples=50).verdict("NASCA", "MEXA")
        for a, b, c in ((close, far, y), (far, close, y), (X, SIZE, Y), (np.zeros(12), SIZE, Y))
    ]
    assert said[0].startswith("NASCA predicts this task better than MEXA (Williams' test, p = ")
    assert said[1].startswith("MEXA predicts this task better than NASCA")
    assert said[2].startswith("Neither of NASCA and MEXA is shown to predict this task better")
    assert said[3].startswith("NASCA and MEXA cannot be compared")
    # a bootstrap interval that leaves 0 out decides nothing
    by_bootstrap = replace(comparison.compare(X, SIZE, Y, resamples=50), low=0.1, high=0.4)
    assert by_bootstrap.verdict("NASCA", "MEXA") == said[2]
