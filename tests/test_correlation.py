"""Correlation against scipy, loops written from the textbook, statsmodels' figures, and what one can rely on.

Figures marked as statsmodels' were computed once with statsmodels 0.15.0 from the twelve languages below.
"""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import cosine_retrieval, sentence_subsets
from neuronxa_core.statistics import (
    across_models,
    comparison,
    correlation,
    layer_choice,
    partial,
    regression,
    transforms,
)

pytestmark = pytest.mark.filterwarnings("error")

CLOSE = 1e-9
# alignment, task score, log of training tokens, family, and model of twelve made-up languages
X = [0.91, 0.85, 0.42, 0.77, 0.30, 0.66, 0.58, 0.12, 0.95, 0.71, 0.25, 0.49]
Y = [0.62, 0.70, 0.41, 0.55, 0.35, 0.58, 0.44, 0.31, 0.66, 0.45, 0.38, 0.52]
SIZE = [4.9, 4.1, 2.2, 3.6, 2.5, 3.9, 2.8, 1.4, 4.4, 2.6, 1.9, 3.1]
FAMILY = [{"G": "Germanic", "B": "Bantu", "R": "Romance"}[letter] for letter in "GGBRBRRBGRBG"]
NAMES = [f"l{k}" for k in range(12)]
nan = math.nan


@st.composite
def pairs(draw, fewest=5, most=14):
    """(x, y) of some languages, on a grid so that ties occur, and neither constant."""
    n = draw(st.integers(fewest, most))
    values = st.lists(st.integers(-40, 40).map(lambda v: v / 8), min_size=n, max_size=n)
    x, y = np.array(draw(values)), np.array(draw(values))
    assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    return x, y


def random_pair(seed=0, n=20, slope=0.6):
    random = np.random.default_rng(seed)
    x = random.normal(size=n)
    return x, slope * x + random.normal(size=n)


def quick(x, y, **options):
    return correlation.correlate(x, y, **{"resamples": 20, **options})


# -------------------------------------------------------------------------------------- slow ones, from the definitions


def slow_pearson(x, y):
    n = len(x)
    mean_x, mean_y = math.fsum(x) / n, math.fsum(y) / n
    xy = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    xx = math.fsum((a - mean_x) ** 2 for a in x)
    yy = math.fsum((b - mean_y) ** 2 for b in y)
    return nan if xx == 0 or yy == 0 else xy / math.sqrt(xx * yy)


def slow_ranks(values):
    return [sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2 for value in values]


def slow_tau_b(x, y):
    agree = tied_x = tied_y = 0
    couples = list(itertools.combinations(range(len(x)), 2))
    for i, j in couples:
        agree += np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
        tied_x += x[i] == x[j]
        tied_y += y[i] == y[j]
    return agree / math.sqrt((len(couples) - tied_x) * (len(couples) - tied_y))


def slow_t_tail(t, dof):
    """Two-sided p of Student's t by integrating its density."""
    scale = math.gamma((dof + 1) / 2) / (math.sqrt(dof * math.pi) * math.gamma(dof / 2))
    inside, _ = quad(lambda u: scale * (1 + u * u / dof) ** (-(dof + 1) / 2), -abs(t), abs(t), epsabs=1e-13)
    return 1 - inside


def slow_p(r, dof):
    return slow_t_tail(r * math.sqrt(dof / (1 - r * r)), dof)


def slow_line(x, y):
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
    return slope, mean_y - slope * mean_x


def residuals(values, controls):
    """What is left of values when regressed on a constant and controls [n, k], by the normal equations."""
    design = np.column_stack([np.ones(len(values)), controls])
    return values - design @ np.linalg.solve(design.T @ design, design.T @ values)


# --------------------------------------------------------------------------------------------------------- correlation


@given(pairs())
def test_correlations_against_loops_and_scipy(pair):
    x, y = pair
    found = quick(x, y)
    r = slow_pearson(x, y)
    rho = slow_pearson(slow_ranks(x), slow_ranks(y))
    assert found.n == len(x)
    assert found.pearson_r == pytest.approx(r, abs=CLOSE)
    assert found.spearman_rho == pytest.approx(rho, abs=CLOSE)
    assert found.kendall_tau == pytest.approx(slow_tau_b(x, y), abs=CLOSE)
    theirs = stats.pearsonr(x, y)
    assert (found.pearson_r, found.pearson_p) == pytest.approx((theirs.statistic, theirs.pvalue), abs=CLOSE)
    interval = theirs.confidence_interval(0.95)
    assert (found.pearson_low, found.pearson_high) == pytest.approx((interval.low, interval.high), abs=CLOSE)
    theirs = stats.spearmanr(x, y)
    if abs(theirs.statistic) < 1 - CLOSE:
        assert (found.spearman_rho, found.spearman_p) == pytest.approx((theirs.statistic, theirs.pvalue), abs=CLOSE)
    theirs = stats.kendalltau(x, y)
    assert (found.kendall_tau, found.kendall_p) == pytest.approx((theirs.statistic, theirs.pvalue), abs=CLOSE)


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


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_intervals_at_other_levels(level):
    x, y = random_pair(1)
    found = quick(x, y, level=level)
    interval = stats.pearsonr(x, y).confidence_interval(level)
    assert (found.pearson_low, found.pearson_high) == pytest.approx((interval.low, interval.high), abs=CLOSE)


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


def test_the_bootstrap_against_scipys():
    x, y = random_pair(4, n=40)
    theirs = stats.bootstrap(
        (x, y),
        lambda a, b, axis: stats.pearsonr(a, b, axis=axis).statistic,
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=1,
    ).confidence_interval
    found = correlation.correlate(x, y, resamples=20_000)
    assert (found.bootstrap_low, found.bootstrap_high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_a_seed_makes_the_same_interval_again():
    x, y = random_pair(7)
    assert correlation.correlate(x, y, seed=3) == correlation.correlate(x, y, seed=3)
    assert correlation.correlate(x, y, seed=3).bootstrap_low != correlation.correlate(x, y, seed=4).bootstrap_low


@given(pairs())
def test_symmetry_range_and_order_of_languages(pair):
    x, y = pair
    found, turned, shuffled = quick(x, y), quick(y, x), quick(x[::-1], y[::-1])
    for name in ("pearson_r", "pearson_low", "pearson_high", "pearson_p", "spearman_rho", "spearman_p", "kendall_tau"):
        value = getattr(found, name)
        assert getattr(turned, name) == pytest.approx(value, abs=CLOSE)
        assert getattr(shuffled, name) == pytest.approx(value, abs=CLOSE)
    assert -1 <= found.pearson_low <= found.pearson_r <= found.pearson_high <= 1
    assert -1 <= found.bootstrap_low <= found.bootstrap_high <= 1
    for p in (found.pearson_p, found.spearman_p, found.kendall_p):
        assert 0 <= p <= 1


@given(pairs(), st.floats(0.01, 100), st.floats(-100, 100), st.booleans())
def test_scale_and_offset_do_not_matter(pair, scale, offset, turned):
    x, y = pair
    sign = -1 if turned else 1
    found, changed = quick(x, y), quick(sign * scale * x + offset, y)
    assert changed.pearson_r == pytest.approx(sign * found.pearson_r, abs=CLOSE)
    low, high = (found.bootstrap_low, found.bootstrap_high)
    wanted = (-high, -low) if turned else (low, high)
    assert (changed.bootstrap_low, changed.bootstrap_high) == pytest.approx(wanted, abs=1e-6, nan_ok=True)


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
    assert quick(np.array(X) * size, Y).pearson_r == pytest.approx(stats.pearsonr(X, Y).statistic, abs=CLOSE)


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


# ---------------------------------------------------------------------------------------------------------- regression


def test_the_line_and_its_bands_against_statsmodels():
    found = regression.regression(X, Y, [0, 0.5, 1])
    # statsmodels: OLS(y, add_constant(x)).fit(), and get_prediction(...).summary_frame(alpha=0.05)
    assert found.intercept == pytest.approx(0.24961402029632218, abs=CLOSE)
    assert found.slope == pytest.approx(0.42434119207476967, abs=CLOSE)
    assert found.deviation == pytest.approx(0.05521182438181598, abs=CLOSE)
    np.testing.assert_allclose(found.line, [0.24961402029632218, 0.46178461633370704, 0.6739552123710919], atol=CLOSE)
    np.testing.assert_allclose(found.low, [0.16224628275370245, 0.42445596971323796, 0.6069482410115884], atol=CLOSE)
    np.testing.assert_allclose(found.high, [0.3369817578389419, 0.49911326295417613, 0.7409621837305954], atol=CLOSE)
    np.testing.assert_allclose(
        found.prediction_low, [0.09872682318380266, 0.33322625391541827, 0.5338703848560125], atol=CLOSE
    )
    np.testing.assert_allclose(
        found.prediction_high, [0.4005012174088417, 0.5903429787519958, 0.8140400398861714], atol=CLOSE
    )


@given(pairs(), st.floats(-10, 10), st.sampled_from([0.5, 0.95]))
def test_the_bands_against_the_textbook(pair, at, level):
    x, y = pair
    n = len(x)
    found = regression.regression(x, y, [at], level)
    theirs = stats.linregress(x, y)
    assert (found.slope, found.intercept) == pytest.approx((theirs.slope, theirs.intercept), abs=CLOSE)
    slope, intercept = slow_line(x, y)
    s = math.sqrt(sum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True)) / (n - 2))
    h = 1 / n + (at - sum(x) / n) ** 2 / sum((a - sum(x) / n) ** 2 for a in x)
    t = stats.t.ppf((1 + level) / 2, n - 2)
    assert found.high[0] - found.line[0] == pytest.approx(t * s * math.sqrt(h), abs=1e-7)
    assert found.line[0] - found.low[0] == pytest.approx(t * s * math.sqrt(h), abs=1e-7)
    assert found.prediction_high[0] - found.line[0] == pytest.approx(t * s * math.sqrt(1 + h), abs=1e-7)
    assert found.line[0] - found.prediction_low[0] == pytest.approx(t * s * math.sqrt(1 + h), abs=1e-7)


def test_a_line_by_hand_and_one_that_is_none():
    found = regression.regression([0, 1, 2, 3, 4, nan], [1, 3, 5, 7, 9, 5], [10])
    assert (found.n, found.slope, found.intercept, found.line.tolist()) == (5, 2, 1, [21])
    assert found.low[0] == found.high[0] == found.prediction_low[0] == 21
    none = regression.regression([0.3] * 5, [1, 3, 5, 7, 9], [0, 1])
    assert np.isnan([none.slope, none.intercept, none.deviation, *none.line, *none.low, *none.prediction_high]).all()
    with pytest.raises(ExperimentError, match="at least 5"):
        regression.regression([1, 2, 3, 4], [1, 2, 3, 4], [0])


# ------------------------------------------------------------------------------------------------------------- partial


def test_partial_correlation_against_statsmodels():
    # statsmodels: r of the residuals of two OLS fits; p that of x in the OLS fit of y on x and the controls
    found = partial.partial(X, Y, SIZE)
    assert found.pearson_r == pytest.approx(0.3869366406874593, abs=CLOSE)
    assert found.pearson_p == pytest.approx(0.23974949244450833, abs=CLOSE)
    assert found.spearman_rho == pytest.approx(0.4071306862463861, abs=CLOSE)
    assert found.spearman_p == pytest.approx(0.21395712448618415, abs=CLOSE)
    assert (found.n, found.controls, found.dof) == (12, 1, 9)
    both = partial.partial(X, Y, pd.DataFrame({"size": SIZE, "family": FAMILY}))
    assert both.pearson_r == pytest.approx(0.37240833931748374, abs=CLOSE)
    assert both.pearson_p == pytest.approx(0.32363672972941526, abs=CLOSE)
    assert both.spearman_rho == pytest.approx(0.40749730557888864, abs=CLOSE)
    assert both.spearman_p == pytest.approx(0.27631629859737683, abs=CLOSE)
    assert both.columns == ("size", "family: Bantu", "family: Romance")
    assert (both.n, both.controls, both.dof) == (12, 3, 7)


def test_partial_correlation_given_one_by_the_formula():
    found = partial.partial(X, Y, SIZE, level=0.9)
    for kind, ranked in (("pearson_r", list), ("spearman_rho", slow_ranks)):
        x, y, z = ranked(X), ranked(Y), ranked(SIZE)
        xy, xz, yz = slow_pearson(x, y), slow_pearson(x, z), slow_pearson(y, z)
        wanted = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
        assert getattr(found, kind) == pytest.approx(wanted, abs=CLOSE)
    assert found.pearson_p == pytest.approx(slow_p(found.pearson_r, 9), abs=CLOSE)
    assert found.spearman_p == pytest.approx(slow_p(found.spearman_rho, 9), abs=CLOSE)
    # n - k - 3 = 8
    z, half = math.atanh(found.pearson_r), stats.norm.ppf(0.95) / math.sqrt(8)
    assert (found.pearson_low, found.pearson_high) == pytest.approx(
        (math.tanh(z - half), math.tanh(z + half)), abs=CLOSE
    )


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_partial_correlation_by_the_inverse_and_by_residuals(seed, k):
    random = np.random.default_rng(seed)
    controls = random.normal(size=(12, k))
    x, y = controls.sum(axis=1) + random.normal(size=12), controls[:, 0] + random.normal(size=12)
    found = partial.partial(x, y, controls)
    inverse = np.linalg.inv(np.corrcoef(np.column_stack([x, y, controls]).T))
    assert found.pearson_r == pytest.approx(-inverse[0, 1] / math.sqrt(inverse[0, 0] * inverse[1, 1]), abs=1e-8)
    assert found.pearson_r == pytest.approx(slow_pearson(residuals(x, controls), residuals(y, controls)), abs=1e-8)
    ranks = np.column_stack([slow_ranks(column) for column in controls.T])
    ranked = [residuals(np.array(slow_ranks(v)), ranks) for v in (x, y)]
    assert found.spearman_rho == pytest.approx(slow_pearson(*ranked), abs=1e-8)
    swapped = partial.partial(y, 5 - 2 * x, 3 * controls[:, ::-1] + 1)
    assert swapped.pearson_r == pytest.approx(-found.pearson_r, abs=1e-8)


def test_categories_are_what_one_codes_by_hand():
    found = partial.partial(X, Y, pd.DataFrame({"family": pd.Categorical(FAMILY)}))
    coded = np.array([[f == "Bantu", f == "Romance"] for f in FAMILY], dtype=float)
    by_hand = partial.partial(X, Y, coded)
    assert (found.pearson_r, found.spearman_rho) == pytest.approx((by_hand.pearson_r, by_hand.spearman_rho), abs=CLOSE)
    # holding a category constant is correlating within it
    x, y = (pd.Series(v) - pd.Series(v).groupby(FAMILY).transform("mean") for v in (X, Y))
    assert found.pearson_r == pytest.approx(slow_pearson(x, y), abs=CLOSE)


def test_without_controls_it_is_the_plain_correlation():
    found, plain = partial.partial(X, Y, np.empty((12, 0))), quick(X, Y)
    for name in ("pearson_r", "pearson_low", "pearson_high", "pearson_p", "spearman_rho", "spearman_p"):
        assert getattr(found, name) == pytest.approx(getattr(plain, name), abs=CLOSE)


def test_a_control_that_others_determine_takes_no_degree_of_freedom():
    family = pd.DataFrame({"size": SIZE, "family": FAMILY})
    doubled = family.assign(twice=2 * family["size"] - 1, same=1.0, again=FAMILY, one="Latn")
    one, other = partial.partial(X, Y, family), partial.partial(X, Y, doubled)
    assert other.controls == one.controls == 3
    assert other.pearson_r == pytest.approx(one.pearson_r, abs=CLOSE)
    assert other.pearson_p == pytest.approx(one.pearson_p, abs=CLOSE)


def test_languages_that_lack_a_control_are_left_out():
    frame = pd.DataFrame({"size": [nan, *SIZE, 3.0], "family": ["Bantu", *FAMILY, None]})
    found = partial.partial([0.1, *X, 0.2], [0.9, *Y, 0.8], frame)
    wanted = partial.partial(X, Y, pd.DataFrame({"size": SIZE, "family": FAMILY}))
    assert found.n == 12
    assert found.pearson_r == pytest.approx(wanted.pearson_r, abs=CLOSE)


def test_controls_that_explain_everything_leave_nothing():
    found = partial.partial(X, Y, [2 * v + 0.1 for v in X])
    assert found.constant
    assert np.isnan([found.pearson_low, found.pearson_p, found.spearman_rho, found.spearman_p]).all()
    assert not partial.partial(X, Y, SIZE).constant


def test_too_many_controls_are_refused():
    random = np.random.default_rng(0)
    assert partial.partial(X, Y, random.random((12, 7))).dof == 3
    with pytest.raises(ExperimentError, match=r"12 languages.*control 1.*at least 13"):
        partial.partial(X, Y, random.random((12, 8)))
    with pytest.raises(ExperimentError, match=r"hold language constant, 11 numbers in all: at least 16"):
        partial.partial(X, Y, pd.DataFrame({"language": NAMES}))
    with pytest.raises(ExperimentError, match="infinite"):
        partial.partial(X, Y, [-math.inf, *SIZE[1:]])
    with pytest.raises(ValueError, match="shapes"):
        partial.partial(X, Y, SIZE[1:])
    assert partial.partial(X, Y, random.random((12, 3))).few
    assert not partial.partial(X, Y, random.random((12, 2))).few


# ------------------------------------------------------------------------------------------------------- leave one out

# statsmodels: OLS(y, add_constant(x)).fit().get_influence().cooks_distance[0]
COOK = [
    0.014153124325419267,
    0.32706173020751006,
    0.007796166063902238,
    0.01878363048234219,
    0.03257061736879602,
    0.04539763814768778,
    0.050540726608280816,
    0.012112329639079366,
    0.0038049869095512193,
    0.21341856929927783,
    0.03530212345484432,
    0.07353457248502507,
]


def test_leaving_one_out_against_a_loop_and_statsmodels():
    table = regression.leave_one_out(X, Y, NAMES)
    assert list(table.columns) == ["language", "r", "change", "cooks_distance"]
    assert table["change"].abs().is_monotonic_decreasing
    table = table.set_index("language")
    assert sorted(table.index) == sorted(NAMES)
    everything = slow_pearson(X, Y)
    for k, name in enumerate(NAMES):
        without = slow_pearson(X[:k] + X[k + 1 :], Y[:k] + Y[k + 1 :])
        assert table.loc[name, "r"] == pytest.approx(without, abs=CLOSE)
        assert table.loc[name, "change"] == pytest.approx(without - everything, abs=CLOSE)
        assert table.loc[name, "cooks_distance"] == pytest.approx(COOK[k], abs=CLOSE)


@given(pairs(fewest=6))
def test_cooks_distance_is_how_far_the_line_moves(pair):
    x, y = pair
    n = len(x)
    slope, intercept = slow_line(x, y)
    s2 = sum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True)) / (n - 2)
    assume(s2 > 1e-6)
    table = regression.leave_one_out(x, y, range(n)).set_index("language")
    for k in range(n):
        rest = np.arange(n) != k
        distance = table.loc[k, "cooks_distance"]
        if np.ptp(x[rest]) == 0:
            assert np.isnan(distance)
            continue
        other_slope, other_intercept = slow_line(x[rest], y[rest])
        moved = sum((intercept + slope * a - other_intercept - other_slope * a) ** 2 for a in x)
        assert distance == pytest.approx(moved / (2 * s2), rel=1e-6, abs=CLOSE)


def test_one_language_that_makes_it_all():
    table = regression.leave_one_out([0, 0, 0, 0, 0, 1, nan], [1, 2, 3, 4, 5, 9, 7], list("abcdefg"))
    assert table["language"].tolist()[-1] == "f"
    last = table.iloc[-1]
    assert np.isnan(last["r"])
    assert np.isnan(last["cooks_distance"])
    assert "g" not in set(table["language"])


def test_leaving_one_out_where_nothing_moves():
    on_a_line = regression.leave_one_out(range(6), [2 * k + 0.1 for k in range(6)], list("abcdef"))
    assert on_a_line["r"].tolist() == [1] * 6
    assert on_a_line["cooks_distance"].tolist() == [0] * 6
    constant = regression.leave_one_out([0.3] * 6, range(6), list("abcdef"))
    assert constant[["r", "change", "cooks_distance"]].isna().all(axis=None)


def test_leaving_one_of_five_out_is_refused():
    with pytest.raises(ExperimentError, match="at least 6"):
        regression.leave_one_out(range(5), range(5), list("abcde"))
    with pytest.raises(ValueError, match="11 names"):
        regression.leave_one_out(X, Y, NAMES[1:])


# ------------------------------------------------------------------------------------------ one measure against another


def test_williams_by_hand():
    # Steiger's (1980) example, as in R's psych::r.test: n = 103, r = .5 and .4, which correlate .1. |R| = .62,
    # t = .1 sqrt(102 * 1.1 / (2 * 102 / 100 * .62 + .45^2 * .9^3)) = .1 sqrt(112.2 / 1.4124225)
    found = comparison.williams(0.5, 0.4, 0.1, 103)
    assert found.t == pytest.approx(0.1 * math.sqrt(112.2 / 1.4124225), abs=CLOSE)
    assert round(found.t, 2) == 0.89
    assert (found.dof, round(found.p, 2)) == (100, 0.37)
    assert found.p == pytest.approx(slow_t_tail(found.t, 100), abs=CLOSE)


@given(st.integers(0, 10_000))
def test_williams_turns_with_its_arguments(seed):
    random = np.random.default_rng(seed)
    x, z, y = random.normal(size=(3, 8))
    xy, zy, xz = slow_pearson(x, y), slow_pearson(z, y), slow_pearson(x, z)
    one, other = comparison.williams(xy, zy, xz, 8), comparison.williams(zy, xy, xz, 8)
    assert one.t == pytest.approx(-other.t)
    assert one.p == pytest.approx(other.p)
    turned = comparison.williams(-xy, -zy, xz, 8)
    assert turned.t == pytest.approx(-one.t)
    determinant = np.linalg.det([[1, xy, zy], [xy, 1, xz], [zy, xz, 1]])
    variance = 2 * 7 / 5 * determinant + ((xy + zy) / 2) ** 2 * (1 - xz) ** 3
    assert one.t == pytest.approx((xy - zy) * math.sqrt(7 * (1 + xz) / variance), abs=1e-8)


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


def test_the_difference_of_two_models():
    a = {"deu": 0.9, "fra": 0.8, "swh": 0.3, "zho": 0.6, "yor": 0.2, "only": 0.5, "gone": nan}
    b = pd.Series({"yor": 0.3, "zho": 0.5, "swh": 0.1, "fra": 0.8, "deu": 0.6, "other": 0.4, "gone": 0.1})
    found = across_models.paired_difference(a, b, resamples=300, seed=1, level=0.8)
    assert found.languages == ("deu", "fra", "swh", "zho", "yor")
    assert found.n == 5
    differences = np.array([0.3, 0, 0.2, 0.1, -0.1])
    assert found.difference == pytest.approx(0.1)
    # 0.8 - 0.8 is 0, and not above it
    assert found.share_first_larger == pytest.approx(3 / 5)
    draws = np.random.default_rng(1).integers(5, size=(300, 5))
    slow = [sum(differences[k] for k in drawn) / 5 for drawn in draws]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(slow, [0.1, 0.9])), abs=CLOSE)
    assert found.few
    by_place = across_models.paired_difference(X, Y)
    assert by_place.difference == pytest.approx(np.mean(X) - np.mean(Y))
    assert by_place.languages == tuple(range(12))
    assert not by_place.few


def test_what_cannot_be_paired():
    with pytest.raises(ExperimentError, match="at least 5"):
        across_models.paired_difference({"deu": 1, "fra": 2}, {"deu": 1, "fra": 2})
    with pytest.raises(ValueError, match="by name or by place"):
        across_models.paired_difference({"deu": 1}, [1])
    with pytest.raises(ValueError, match="shapes"):
        across_models.paired_difference(X, Y[1:])
    with pytest.raises(ValueError, match="'deu' is there twice"):
        across_models.paired_difference(pd.Series([1, 2], ["deu", "deu"]), {"deu": 1})


# -------------------------------------------------------------------------------------------------------------- layers


def random_layers(seed=0, languages=14, layers=6, informed=2):
    random = np.random.default_rng(seed)
    y = random.normal(size=languages)
    scores = random.normal(size=(languages, layers))
    scores[:, informed] += 1.5 * y
    return scores, y


def test_layers_are_each_layer():
    scores, y = random_layers()
    scores[:, 4] = [0.3, 0.1 + 0.2] * 7
    scores[3, 1] = nan
    y[5] = nan
    found = layer_choice.correlation_by_layer(scores, y, 0.9)
    kept = [k for k in range(14) if k not in (3, 5)]
    assert found.n == 12
    for layer in range(6):
        one = quick(scores[kept, layer], y[kept], level=0.9)
        assert found.r[layer] == pytest.approx(one.pearson_r, abs=CLOSE, nan_ok=True)
        assert found.low[layer] == pytest.approx(one.pearson_low, abs=CLOSE, nan_ok=True)
        assert found.high[layer] == pytest.approx(one.pearson_high, abs=CLOSE, nan_ok=True)
        assert found.p[layer] == pytest.approx(one.pearson_p, abs=CLOSE, nan_ok=True)
        assert found.rho[layer] == pytest.approx(one.spearman_rho, abs=CLOSE, nan_ok=True)
        assert found.tau[layer] == pytest.approx(one.kendall_tau, abs=CLOSE, nan_ok=True)
    assert np.isnan(found.r[4])
    assert found.best == 2


def test_the_best_layer_is_the_largest_and_not_the_strongest():
    y = np.arange(6.0)
    scores = np.column_stack([-y, [0, 1, 0, 1, 1, 1]])
    assert layer_choice.correlation_by_layer(scores, y).best == 1
    assert layer_choice.correlation_by_layer(np.ones((6, 2)), y).best is None
    with pytest.raises(ValueError, match=r"\[language, layer\]"):
        layer_choice.correlation_by_layer(y, y)


def test_nested_choice_against_a_loop():
    scores, y = random_layers(3, languages=13)
    found = layer_choice.nested_layer_choice(scores, y, repeats=40, seed=9, level=0.8)
    random = np.random.default_rng(9)
    held_out, chosen = [], [0] * 6
    for _ in range(40):
        order = random.permutation(13)
        first, second = order[:6], order[6:]
        rs = [slow_pearson(scores[first, layer], y[first]) for layer in range(6)]
        layer = rs.index(max(rs))
        chosen[layer] += 1
        held_out.append(slow_pearson(scores[second, layer], y[second]))
    np.testing.assert_allclose(found.held_out, held_out, atol=CLOSE)
    assert found.chosen.tolist() == chosen
    assert found.mean == pytest.approx(np.mean(held_out), abs=CLOSE)
    wanted = tuple(np.quantile(held_out, [0.1, 0.5, 0.9]))
    assert (found.low, found.median, found.high) == pytest.approx(wanted, abs=CLOSE)
    rs = [slow_pearson(scores[:, layer], y) for layer in range(6)]
    assert found.best == rs.index(max(rs))
    assert found.optimistic == pytest.approx(max(rs), abs=CLOSE)
    assert found.gap == pytest.approx(max(rs) - np.mean(held_out), abs=CLOSE)
    assert found.undefined_repeats == 0


def test_the_best_of_many_layers_of_noise_is_worth_nothing():
    random = np.random.default_rng(0)
    gaps = [
        layer_choice.nested_layer_choice(random.normal(size=(20, 30)), random.normal(size=20), repeats=30)
        for _ in range(30)
    ]
    assert np.mean([g.optimistic for g in gaps]) > 0.4
    assert abs(np.mean([g.mean for g in gaps])) < 0.1
    signal = layer_choice.nested_layer_choice(*random_layers(1, languages=60))
    assert signal.chosen[2] == 200
    assert abs(signal.gap) < 0.05


def test_nested_choice_where_halves_have_no_correlation():
    y = np.arange(10.0)
    one_language = np.zeros((10, 2))
    one_language[0, 0] = 1
    found = layer_choice.nested_layer_choice(one_language, y, repeats=50)
    # the one language that differs is in one half only, so that either half is constant
    assert found.undefined_repeats == 50
    assert np.isnan([found.mean, found.low, found.median, found.gap]).all()
    assert found.optimistic < 0
    nothing = layer_choice.nested_layer_choice(np.zeros((10, 2)), y, repeats=5)
    assert nothing.best is None
    assert nothing.chosen.tolist() == [0, 0]
    assert np.isnan(nothing.optimistic)


def test_halves_need_five_each():
    with pytest.raises(ExperimentError, match="at least 10"):
        layer_choice.nested_layer_choice(np.ones((9, 2)), np.ones(9))
    with pytest.raises(ExperimentError, match="at least once"):
        layer_choice.nested_layer_choice(np.ones((10, 2)), np.ones(10), repeats=0)


# ----------------------------------------------------------------------------------------------------------- sentences


def vectors(seed, n, width=6, ties=False):
    """Parallel sentences in two languages, [n, width] each; with ties, some are equal and some zero."""
    random = np.random.default_rng(seed)
    x = random.integers(0, 3, (n, width)).astype(np.float32) if ties else random.normal(size=(n, width))
    y = x + (0 if ties else 1) * random.normal(size=(n, width))
    if ties:
        y[:, 0] = 0
        x[random.integers(n)] = 0
    return x.astype(np.float32), y.astype(np.float32)


@given(st.integers(0, 10_000), st.integers(3, 12), st.booleans(), st.data())
def test_subsets_score_as_retrieval_on_the_subset_does(seed, n, ties, data):
    x, y = vectors(seed, n, ties=ties)
    k = data.draw(st.integers(2, n))
    random = np.random.default_rng(seed)
    subsets = np.array([random.permutation(n)[:k] for _ in range(5)])
    found = sentence_subsets.alignment_in_subsets(sentence_subsets.competitor_mask(x, y), subsets)
    for score, subset in zip(found, subsets, strict=True):
        assert score == cosine_retrieval.retrieve(x[subset], y[None, subset]).aligned.mean()


def test_beaten_from_its_definition():
    x, y = vectors(4, 9)
    found = sentence_subsets.competitor_mask(x, y)
    cosine = [[a @ b / math.sqrt((a @ a) * (b @ b)) for b in y.astype(float)] for a in x.astype(float)]
    for i, j in itertools.product(range(9), repeat=2):
        wanted = i != j and (cosine[i][j] >= cosine[i][i] or cosine[j][i] >= cosine[i][i])
        assert found[i, j] == wanted


def test_subsets_by_hand():
    # 0 loses to 1 only, 1 to nobody, 2 to 0 and 1
    beaten = np.array([[0, 1, 0], [0, 0, 0], [1, 1, 0]], dtype=bool)
    found = sentence_subsets.alignment_in_subsets(beaten, np.array([[0, 1], [1, 0], [0, 2], [2, 1]]))
    assert found.tolist() == [0.5, 0.5, 0.5, 0.5]
    assert sentence_subsets.alignment_in_subsets(beaten, np.array([[2, 0, 1]])).tolist() == [1 / 3]
    # what counts on the diagonal counts for nothing
    np.testing.assert_array_equal(
        sentence_subsets.alignment_in_subsets(beaten | np.eye(3, dtype=bool), np.array([[2, 0, 1]])), [1 / 3]
    )


def test_fewer_rivals_make_more_alignments():
    beaten = sentence_subsets.competitor_mask(*vectors(0, 60))
    random = np.random.default_rng(0)
    subsets = np.array([random.permutation(60)[:10] for _ in range(200)])
    among_all = ~beaten.any(axis=1)
    assert (
        sentence_subsets.alignment_in_subsets(beaten, subsets).mean()
        > np.mean([among_all[s].mean() for s in subsets]) + 0.1
    )


def test_subsets_that_are_none():
    beaten = np.zeros((4, 4), dtype=bool)
    with pytest.raises(ValueError, match="twice"):
        sentence_subsets.alignment_in_subsets(beaten, np.array([[0, 1, 0]]))
    with pytest.raises(ValueError, match="none of the 4"):
        sentence_subsets.alignment_in_subsets(beaten, np.array([[0, 4]]))
    with pytest.raises(ExperimentError, match="at least 2"):
        sentence_subsets.alignment_in_subsets(beaten, np.array([[0]]))
    with pytest.raises(ValueError, match=r"\[n, n\]"):
        sentence_subsets.alignment_in_subsets(beaten[:3], np.array([[0, 1]]))
    with pytest.raises(ValueError, match=r"\[n, width\]"):
        sentence_subsets.competitor_mask(np.ones((3, 2)), np.ones((2, 2)))


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_the_curve_against_retrieval_on_each_subset(pooling):
    n, languages, layers = 16, ["a", "b", "c", "lacking", "d", "e", "f"], [1, 3]
    random = np.random.default_rng(6)
    y = np.array([0.9, 0.7, 0.5, nan, 0.6, 0.3, 0.2])
    x = random.normal(size=(n, 8))
    others = {
        (code, layer): x + (1.2 - (0.5 if math.isnan(score) else score)) * random.normal(size=(n, 8))
        for code, score in zip(languages, y, strict=True)
        for layer in layers
    }
    asked = []

    def beaten_of(code, layer):
        asked.append((code, layer))
        return sentence_subsets.competitor_mask(x, others[code, layer])

    table = sentence_subsets.sentence_curve(
        beaten_of, languages, layers, y, [n, 5, 10], layer_pooling=pooling, resamples=12, seed=3
    )
    known = [code for code in languages if code != "lacking"]
    assert asked == [(code, layer) for code in known for layer in layers]
    assert table["sentences"].tolist() == [5, 10, n]
    assert table["subsets"].tolist() == [12, 12, 1]
    orders = np.random.default_rng(3).permuted(np.tile(np.arange(n), (12, 1)), axis=1)
    for row in table.itertuples():
        rs, scores = [], []
        for order in orders[: row.subsets]:
            subset = order[: row.sentences]
            by_layer = [
                [
                    cosine_retrieval.retrieve(x[subset], others[code, layer][None, subset]).aligned.mean()
                    for layer in layers
                ]
                for code in known
            ]
            pooled = [max(s) if pooling == "max" else sum(s) / 2 for s in by_layer]
            scores.append(np.mean(pooled))
            rs.append(slow_pearson(pooled, y[~np.isnan(y)]))
        assert row.undefined == np.isnan(rs).sum()
        assert row.r == pytest.approx(np.nanmean(rs), abs=CLOSE)
        assert (row.low, row.high) == pytest.approx(tuple(np.nanquantile(rs, [0.05, 0.95])), abs=CLOSE)
        assert row.alignment == pytest.approx(np.mean(scores), abs=CLOSE)


def test_all_sentences_are_the_score_itself():
    x = np.random.default_rng(0).normal(size=(20, 5))
    others = [x + 0.4 * (k + 1) * np.random.default_rng(k + 1).normal(size=(20, 5)) for k in range(6)]
    y = [0.9, 0.7, 0.8, 0.5, 0.4, 0.45]
    table = sentence_subsets.sentence_curve(
        lambda k, _: sentence_subsets.competitor_mask(x, others[k]), range(6), [0], y, [20]
    )
    scores = cosine_retrieval.retrieve(x, others).aligned.mean(axis=1)
    assert table.loc[0, "r"] == table.loc[0, "low"] == table.loc[0, "high"]
    assert table.loc[0, "r"] == pytest.approx(slow_pearson(scores, y), abs=CLOSE)


def test_a_curve_where_all_languages_score_the_same():
    nobody = np.zeros((5, 5), dtype=bool)
    table = sentence_subsets.sentence_curve(lambda _, __: nobody, range(5), [0], range(5), [2, 5], resamples=3)
    assert table["alignment"].tolist() == [1, 1]
    assert table["undefined"].tolist() == [3, 1]
    assert table[["r", "low", "high"]].isna().all(axis=None)


def test_curves_that_cannot_be_drawn():
    nobody = np.zeros((5, 5), dtype=bool)

    def curve(sizes=(2,), layers=(0,), y=range(5), languages=range(5), beaten_of=lambda _, __: nobody, **options):
        return sentence_subsets.sentence_curve(beaten_of, languages, layers, y, sizes, **options)

    for sizes in ([1], [2, 6]):
        with pytest.raises(ExperimentError, match=r"of 5 sentences.*from 2 to 5"):
            curve(sizes)
    for nothing in ({"sizes": []}, {"layers": []}, {"resamples": 0}):
        with pytest.raises(ExperimentError, match="at least one"):
            curve(**nothing)
    with pytest.raises(ExperimentError, match="mean or max"):
        curve(layer_pooling="median")
    with pytest.raises(ExperimentError, match="at least 5"):
        curve(y=[1, 2, 3, 4, nan])
    with pytest.raises(ValueError, match="4 languages, but 5"):
        curve(languages=range(4))
    with pytest.raises(ValueError, match="for 1 at layer 0"):
        curve(beaten_of=lambda k, _: nobody if k == 0 else nobody[:4, :4])


# ------------------------------------------------------------------------------------------------- predicting the score


def test_the_adjusted_estimate_by_hand():
    np.testing.assert_allclose(regression.adjusted([0.5, 1, nan], 0.8), [0.4, 0.8, nan])
    found = regression.adjusted_error([0.5, 1, 0.25, 0.9], [0.3, 0.9, 0.2, nan], 0.8)
    # off by 0.1, -0.1 and 0
    assert found.n == 3
    assert found.mean_absolute == pytest.approx(0.2 / 3)
    assert found.root_mean_square == pytest.approx(math.sqrt(0.02 / 3))
    assert found.bias == pytest.approx(0)
    with pytest.raises(ExperimentError, match="pivot's own"):
        regression.adjusted([0.5], nan)
    with pytest.raises(ExperimentError, match="at least 1"):
        regression.adjusted_error([0.5], [nan], 0.8)


def slow_errors(estimates, scores):
    off = [e - s for e, s in zip(estimates, scores, strict=True)]
    return (
        len(off),
        sum(map(abs, off)) / len(off),
        math.sqrt(sum(d * d for d in off) / len(off)),
        sum(off) / len(off),
    )


def fields(errors):
    return errors.n, errors.mean_absolute, errors.root_mean_square, errors.bias


def test_predictions_against_a_loop():
    found = regression.predicted([*X, 0.4], [*Y, nan], [0.2, 0.6, nan], 0.75)
    slope, intercept = slow_line(X, Y)
    np.testing.assert_allclose(found.line, [intercept + slope * 0.2, intercept + slope * 0.6, nan], atol=CLOSE)
    np.testing.assert_allclose(found.adjusted, [0.15, 0.45, nan], atol=CLOSE)
    assert found.mean == pytest.approx(np.mean(Y))
    lines, means = [], []
    for k in range(12):
        rest_x, rest_y = X[:k] + X[k + 1 :], Y[:k] + Y[k + 1 :]
        slope, intercept = slow_line(rest_x, rest_y)
        lines.append(intercept + slope * X[k])
        means.append(sum(rest_y) / 11)
    assert fields(found.line_error) == pytest.approx(slow_errors(lines, Y), abs=CLOSE)
    assert fields(found.mean_error) == pytest.approx(slow_errors(means, Y), abs=CLOSE)
    assert fields(found.adjusted_error) == pytest.approx(slow_errors([0.75 * v for v in X], Y), abs=CLOSE)
    assert found.adjusted_error == regression.adjusted_error(X, Y, 0.75)
    # the known shortcut: what a left-out line misses is residual / (1 - leverage)
    slope, intercept = slow_line(X, Y)
    leverage = 1 / 12 + (np.array(X) - np.mean(X)) ** 2 / (12 * np.var(X))
    shortcut = np.abs((np.array(Y) - intercept - slope * np.array(X)) / (1 - leverage)).mean()
    assert found.line_error.mean_absolute == pytest.approx(shortcut, abs=CLOSE)


def test_a_line_that_nothing_leans_is_level():
    found = regression.predicted([0.5] * 5, [1, 2, 3, 4, 5], [0.1, 0.9], 10)
    assert found.line.tolist() == [3, 3]
    assert found.line_error == found.mean_error
    # without the only language that differs the line is level, too
    one = regression.predicted([0.5] * 4 + [0.7], [1, 2, 3, 4, 5], [0.7], 10)
    assert one.line[0] == pytest.approx(5)
    assert one.line_error.n == 5
    with pytest.raises(ExperimentError, match="at least 5"):
        regression.predicted(X[:4], Y[:4], [0.5], 0.8)


# ------------------------------------------------------------------------------------------------------ several models


def models_frame(**columns):
    return pd.DataFrame({"model": [*"abc"] * 4, "x": X, "y": Y} | columns)


def test_pooled_and_within_against_statsmodels():
    found = across_models.pooled_and_within(models_frame())
    # statsmodels: t of x in the OLS fit of y on x and two model dummies, r = t / sqrt(t^2 + 8)
    assert found.within_r == pytest.approx(0.9608573319905813, abs=CLOSE)
    assert found.within_p == pytest.approx(9.79563936093115e-06, abs=1e-12)
    assert (found.n, found.models) == (12, 3)


def test_pooled_and_within_are_what_they_say():
    frame = models_frame(model=[*"aaaaabbbbccc"])
    lacking = pd.DataFrame({"model": ["a", None], "x": [0.5, 0.5], "y": [nan, 0.9]})
    found = across_models.pooled_and_within(pd.concat([frame, lacking]))
    assert found.n == 12
    pooled = quick(X, Y)
    assert (found.pooled_r, found.pooled_low, found.pooled_high, found.pooled_p) == pytest.approx(
        (pooled.pearson_r, pooled.pearson_low, pooled.pearson_high, pooled.pearson_p), abs=CLOSE
    )
    # holding the model constant: the partial correlation given the model
    within = partial.partial(X, Y, frame[["model"]])
    assert (found.within_r, found.within_low, found.within_high, found.within_p) == pytest.approx(
        (within.pearson_r, within.pearson_low, within.pearson_high, within.pearson_p), abs=CLOSE
    )
    assert found.within_p == pytest.approx(slow_p(found.within_r, 12 - 3 - 1), abs=CLOSE)
    table = found.per_model.set_index("model")
    assert table["n"].to_dict() == {"a": 5, "b": 4, "c": 3}
    one = quick(X[:5], Y[:5])
    assert table.loc["a", ["r", "low", "high", "p"]].tolist() == pytest.approx(
        [one.pearson_r, one.pearson_low, one.pearson_high, one.pearson_p], abs=CLOSE
    )
    assert table.loc[["b", "c"], ["r", "low", "high", "p"]].isna().all(axis=None)
    assert not found.simpson


def test_one_model_is_pooled_and_within_at_once():
    found = across_models.pooled_and_within(models_frame(model="a"))
    assert found.within_r == pytest.approx(found.pooled_r, abs=CLOSE)
    assert (found.within_low, found.within_high) == pytest.approx((found.pooled_low, found.pooled_high), abs=CLOSE)
    assert found.within_p == pytest.approx(found.pooled_p, abs=CLOSE)


def test_simpsons_paradox_is_flagged():
    random = np.random.default_rng(0)
    step = np.tile(np.arange(10) / 10, 3)
    shift = np.repeat([0, 2, 4], 10)
    turned = pd.DataFrame({"model": shift, "x": shift + step, "y": shift - step + 0.1 * random.normal(size=30)})
    found = across_models.pooled_and_within(turned)
    assert found.pooled_low > 0 > found.within_high
    assert found.simpson
    assert across_models.pooled_and_within(turned.assign(y=-turned["y"])).simpson
    alike = turned.assign(y=shift + step + 0.1 * random.normal(size=30))
    assert not across_models.pooled_and_within(alike).simpson


@pytest.mark.parametrize("sign", [1, -1])
def test_simpsons_paradox_over_models_too_small_to_have_a_sign(sign):
    step, shift = np.tile([0, 0.1, 0.2, 0.3], 8), np.repeat(np.arange(8), 4)
    noise = 0.02 * np.random.default_rng(0).normal(size=32)
    found = across_models.pooled_and_within(
        pd.DataFrame({"model": shift, "x": shift + step, "y": sign * (shift - step + noise)})
    )
    assert found.per_model["r"].isna().all()
    assert sign * found.pooled_r > 0.9
    assert sign * found.within_r < -0.9
    assert found.simpson


def test_simpsons_paradox_where_no_interval_is_sure():
    # by 5 languages of each of two models; each alone falls a little, together they rise a little
    a, b = [0.0, 1, 2, 3, 4], [1.0, 0, 2, 1, 0]
    frame = pd.DataFrame({"model": ["a"] * 5 + ["b"] * 5, "x": a + [v + 3 for v in a], "y": b + [v + 1.2 for v in b]})
    found = across_models.pooled_and_within(frame)
    assert found.pooled_low < 0 < found.pooled_r
    assert (found.per_model["r"] < 0).all()
    assert found.simpson


def test_models_that_are_constant_within():
    frame = pd.DataFrame(
        {"model": ["a"] * 5 + ["b"] * 5, "x": [0.1 + 0.2, 0.3] * 2 + [0.3] + [0.7] * 5, "y": range(10)}
    )
    found = across_models.pooled_and_within(frame)
    assert found.pooled_r > 0
    assert np.isnan([found.within_r, found.within_low, found.within_p]).all()
    assert found.per_model["r"].isna().all()
    assert not found.simpson


def test_too_little_to_look_within():
    with pytest.raises(ExperimentError, match=r"12 points of 9 models.*at least 13"):
        across_models.pooled_and_within(models_frame(model=[*"abcdefghiiii"]))
    with pytest.raises(ValueError, match="no column model and no y"):
        across_models.pooled_and_within(pd.DataFrame({"x": X}))


# ---------------------------------------------------------------------------------------------------------- transforms


def test_transforms_by_hand():
    # 0, 1 and 4 of 4 sentences: ln(.5 / 4.5), ln(1.5 / 3.5), ln(4.5 / .5)
    np.testing.assert_allclose(
        transforms.logit([0, 0.25, 1, nan], 4), [-math.log(9), math.log(3 / 7), math.log(9), nan], atol=1e-12
    )
    np.testing.assert_allclose(transforms.logit([0.5, 0.5], [10, 20]), [0, 0], atol=1e-12)
    np.testing.assert_allclose(transforms.log([1, math.e, nan]), [0, 1, nan])
    for how, wanted in (("identity", [0.5]), ("log", [math.log(0.5)]), ("logit", [0])):
        np.testing.assert_allclose(transforms.transformed([0.5], how, 10), wanted, atol=1e-12)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=6), st.integers(50, 90))
def test_a_logit_keeps_the_order_and_turns_with_its_complement(counts, n):
    shares = np.array(counts) / n
    found = transforms.logit(shares, n)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(transforms.logit(1 - shares, n), -found, atol=CLOSE)
    assert stats.rankdata(np.round(found, 9)).tolist() == stats.rankdata(counts).tolist()
    p = (np.array(counts) + 0.5) / (n + 1)
    np.testing.assert_allclose(found, np.log(p / (1 - p)), atol=CLOSE)


@pytest.mark.parametrize(
    ("values", "how", "n", "said"),
    [
        ([0.5, 50], "logit", 10, "1 of 2 values are not between 0 and 1.*divide percentages"),
        ([-0.1], "logit", 10, "not between"),
        ([0.5], "logit", 0, "at least 1"),
        ([0.5], "logit", nan, "at least 1"),
        ([0.5], "logit", None, "needs the number"),
        ([0, -1, 2], "log", None, "2 of 3 values are 0 or below.*logit"),
        ([1], "square", None, "identity, logit, log, not by 'square'"),
    ],
)
def test_impossible_transforms_say_why(values, how, n, said):
    with pytest.raises(ExperimentError, match=said):
        transforms.transformed(values, how, n)
