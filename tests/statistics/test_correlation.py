"""Correlation against loops from the textbook, by hand, and where it is undefined."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_statistics import (
    CLOSE,
    X,
    Y,
    nan,
    pairs,
    quick,
    random_pair,
    slow_p,
    slow_pearson,
    slow_ranks,
    slow_t_tail,
    slow_tau_b,
)

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics import correlation

pytestmark = pytest.mark.filterwarnings("error")


@given(pairs())
def test_correlations_against_loops(pair):
    x, y = pair
    found = quick(x, y)
    r = slow_pearson(x, y)
    rho = slow_pearson(slow_ranks(x), slow_ranks(y))
    assert found.n == len(x)
    assert found.pearson_r == pytest.approx(r, abs=CLOSE)
    assert found.spearman_rho == pytest.approx(rho, abs=CLOSE)
    assert found.kendall_tau == pytest.approx(slow_tau_b(x, y), abs=CLOSE)


def test_p_by_integration_and_by_enumeration():
    x, y = random_pair(3, n=6)
    found = quick(x, y)
    assert found.pearson_p == pytest.approx(slow_p(found.pearson_r, 4), abs=CLOSE)
    assert found.spearman_p == pytest.approx(slow_p(found.spearman_rho, 4), abs=CLOSE)
    taus = [abs(slow_tau_b(x, order)) for order in itertools.permutations(y)]
    assert found.kendall_p == pytest.approx(np.mean([t >= abs(found.kendall_tau) - 1e-12 for t in taus]), abs=CLOSE)


def test_by_hand():
    # deviations of x -2 -1 0 1 2 and of y -2 0 -1 1 2: sum of products 9, of squares 10 each
    found = quick([1, 2, 3, 4, 5], [1, 3, 2, 4, 5])
    assert found.pearson_r == pytest.approx(0.9)
    assert found.spearman_rho == pytest.approx(0.9)
    # one of ten couples disagrees
    assert found.kendall_tau == pytest.approx(0.8)
    # artanh 0.9 = ln(19) / 2, and 1.959964 / sqrt(2)
    half = 1.959963984540054 / math.sqrt(2)
    assert found.pearson_low == pytest.approx(math.tanh(math.log(19) / 2 - half))
    assert found.pearson_high == pytest.approx(math.tanh(math.log(19) / 2 + half))
    assert found.pearson_p == pytest.approx(slow_t_tail(0.9 * math.sqrt(3 / 0.19), 3))


def test_the_bootstrap_is_the_plain_one():
    x, y = random_pair(2, n=6)
    x[:4] = x[0]
    found = correlation.correlate(x, y, resamples=3000, seed=5, level=0.9)
    draws = np.random.default_rng(5).integers(6, size=(3000, 6))
    slow = [slow_pearson(x[drawn], y[drawn]) for drawn in draws]
    defined = [r for r in slow if not math.isnan(r)]
    assert 0 < found.undefined_resamples == 3000 - len(defined)
    assert (found.bootstrap_low, found.bootstrap_high) == pytest.approx(
        tuple(np.quantile(defined, [0.05, 0.95])), abs=CLOSE
    )


@given(pairs(), st.sampled_from([1, -1]))
def test_a_correlation_with_itself_is_one(pair, sign):
    x, _ = pair
    found = quick(x, sign * (3 * x + 0.1))
    assert found.pearson_r == found.pearson_low == found.pearson_high == sign
    assert found.pearson_p == 0
    assert found.spearman_rho == pytest.approx(sign)
    assert found.kendall_tau == pytest.approx(sign)
    assert quick(x, x).pearson_r == 1


def test_languages_without_a_value_are_left_out():
    x, y = np.array(X), np.array(Y)
    found = quick([*X[:6], nan, *X[6:], 0.5], [*Y[:6], 0.9, *Y[6:], nan])
    assert found == quick(x, y)
    assert found.n == 12


@pytest.mark.parametrize("size", [1e-200, 1e-8, 1e12, 1e200])
def test_tiny_and_huge_values(size):
    assert quick(np.array(X) * size, Y).pearson_r == pytest.approx(slow_pearson(X, Y), abs=CLOSE)


@pytest.mark.parametrize("constant", [[0.0] * 6, [0.3] * 6, [0.1 + 0.2, 0.3] * 3, [1e9] * 6])
def test_a_constant_has_no_correlation(constant):
    for found in (quick(constant, range(6)), quick(range(6), constant)):
        assert found.constant
        assert found.n == 6
        assert found.undefined_resamples == 20
        assert np.isnan(
            [found.pearson_r, found.pearson_low, found.pearson_p, found.spearman_rho, found.spearman_p]
        ).all()
        assert np.isnan([found.kendall_tau, found.kendall_p, found.bootstrap_low, found.bootstrap_high]).all()
    assert not quick(range(6), range(6)).constant


def test_few_points_are_refused_or_marked():
    with pytest.raises(ExperimentError, match=r"at least 5 languages.*4 of 6 have them.*add languages"):
        quick([1, 2, 3, 4, 5, nan], [1, 2, 3, 4, nan, 6])
    assert quick(range(9), range(9)).few
    assert not quick(range(10), range(10)).few


@pytest.mark.parametrize("options", [{"level": 0}, {"level": 1}, {"resamples": 0}])
def test_impossible_options_are_named(options):
    with pytest.raises(ExperimentError, match=r"level|resample"):
        quick(X, Y, **options)


def test_infinite_values_and_unequal_lengths():
    with pytest.raises(ExperimentError, match="infinite"):
        quick([*X[:-1], math.inf], Y)
    with pytest.raises(ExperimentError, match="infinite"):
        correlation.pearson_many([[1, math.inf]], [1, 2])
    with pytest.raises(ValueError, match="shapes"):
        quick(X, Y[:-1])
    with pytest.raises(ValueError, match="as many points"):
        correlation.pearson_many(np.ones((3, 2)), [1, 2, 3])


@given(st.integers(0, 1000), st.integers(2, 9))
def test_many_rows_are_each_row(seed, n):
    random = np.random.default_rng(seed)
    x, y = random.integers(0, 4, (3, 2, n)).astype(float), random.normal(size=n)
    x[random.random(x.shape) < 0.2] = nan
    found = correlation.pearson_many(x, y)
    assert found.shape == (3, 2)
    for place in np.ndindex(3, 2):
        there = ~np.isnan(x[place])
        wanted = slow_pearson(x[place][there], y[there]) if there.any() else nan
        assert found[place] == pytest.approx(wanted, abs=CLOSE, nan_ok=True)


def test_fishers_interval_covers_what_it_says():
    random = np.random.default_rng(0)
    x = random.normal(size=(4000, 15))
    y = 0.6 * x + 0.8 * random.normal(size=(4000, 15))
    low, high = correlation.fisher_interval(correlation.pearson_many(x, y), 15, 0.9)
    assert ((low < 0.6) & (high > 0.6)).mean() == pytest.approx(0.9, abs=0.015)
    with pytest.raises(ExperimentError, match="more than 3"):
        correlation.fisher_interval(0.5, 3)


@pytest.mark.parametrize("unknown", [False, True])
def test_the_interval_over_families_is_that_of_a_loop(unknown):
    families = list("aabbcddeefff") if not unknown else ["Other", "Other", *"bbcddeefff"]
    found = correlation.by_family([*X, nan], [*Y, 1], [*families, "g"], level=0.9, resamples=200, seed=3)
    groups = [[0, 1]] if not unknown else [[0], [1]]
    groups += [[2, 3], [4], [5, 6], [7, 8], [9, 10, 11]]
    slow = []
    for draw in np.random.default_rng(3).integers(len(groups), size=(200, len(groups))):
        rows = [k for group in draw for k in groups[group]]
        slow.append(slow_pearson([X[k] for k in rows], [Y[k] for k in rows]))
    assert (found.families, found.undefined_resamples) == (len(groups), 0)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(slow, [0.05, 0.95])), abs=CLOSE)


def test_relatives_that_say_the_same_are_one_point_and_it_is_said():
    """By hand: 30 languages of 5 families, of which one alone is high in both; and the same of 30 families."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 30)) * 0.1
    x[:6] += 1
    y[:6] += 1
    one = quick(x, y)
    few, many = (correlation.by_family(x, y, [str(k // size) for k in range(30)]) for size in (6, 1))
    assert few.low < 0 < 0.8 < min(one.pearson_low, many.low)
    assert few.verdict(one).endswith("which holds 0: the correlation may rest on a few families.")
    assert few.verdict(one).startswith("Resampling their 5 families gives ")
    assert "may rest" not in many.verdict(one)
    nothing = quick(x[6:], y[6:])
    assert nothing.pearson_low < 0 < nothing.pearson_high
    assert "may rest" not in correlation.by_family(x[6:], y[6:], [str(k) for k in range(24)]).verdict(nothing)
    four = correlation.by_family(x, y, [str(k % 4) for k in range(30)])
    assert np.isnan([four.low, four.high]).all()
    assert four.verdict(one) == "The languages are of 4 families, too few to resample families (at least 5)."


def test_families_of_a_constant_have_no_interval():
    found = correlation.by_family(np.full(12, 0.3), Y, list("abcdefghijkl"), resamples=50)
    assert found.undefined_resamples == 50
    assert np.isnan([found.low, found.high]).all()
