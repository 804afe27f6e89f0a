"""The line, its bands, influence and predictions against loops from the textbook."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from plain_statistics import CLOSE, NAMES, X, Y, nan, pairs, slow_line, slow_pearson
from scipy import stats

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics import regression

pytestmark = pytest.mark.filterwarnings("error")


@given(pairs(), st.floats(-10, 10), st.sampled_from([0.5, 0.95]))
def test_the_bands_against_the_textbook(pair, at, level):
    x, y = pair
    n = len(x)
    found = regression.regression(x, y, [at], level)
    slope, intercept = slow_line(x, y)
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), abs=CLOSE)
    s = math.sqrt(sum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True)) / (n - 2))
    h = 1 / n + (at - sum(x) / n) ** 2 / sum((a - sum(x) / n) ** 2 for a in x)
    t = stats.t.ppf((1 + level) / 2, n - 2)
    assert found.high[0] - found.line[0] == pytest.approx(t * s * math.sqrt(h), abs=1e-7)
    assert found.line[0] - found.low[0] == pytest.approx(t * s * math.sqrt(h), abs=1e-7)
    assert found.prediction_high[0] - found.line[0] == pytest.approx(t * s * math.sqrt(1 + h), abs=1e-7)
    assert found.line[0] - found.prediction_low[0] == pytest.approx(t * s * math.sqrt(1 + h), abs=1e-7)


def test_a_line_by_hand_and_one_that_is_none():
    found = regression.regression([0, 1, 2, 3, 4, nan], [1, 3, 5, 7, 9, 5], [10])
    assert (found.n, found.slope, found.intercept, *found.line) == pytest.approx((5, 2, 1, 21))
    assert (*found.low, *found.high, *found.prediction_low) == pytest.approx((21, 21, 21))
    none = regression.regression([0.3] * 5, [1, 3, 5, 7, 9], [0, 1])
    assert np.isnan([none.slope, none.intercept, none.deviation, *none.line, *none.low, *none.prediction_high]).all()
    with pytest.raises(ExperimentError, match="at least 5"):
        regression.regression([1, 2, 3, 4], [1, 2, 3, 4], [0])


def test_leaving_one_out_against_a_loop():
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


def test_the_adjusted_estimate_by_hand():
    np.testing.assert_allclose(regression.adjusted([0.5, 1, nan], 0.8), [0.4, 0.8, nan])
    # off by 0.1, -0.1 and 0
    found = regression.Errors.of(np.array([0.4, 0.8, 0.2]), np.array([0.3, 0.9, 0.2]))
    assert fields(found) == pytest.approx((3, 0.2 / 3, math.sqrt(0.02 / 3), 0))
    with pytest.raises(ExperimentError, match="pivot's own"):
        regression.adjusted([0.5], nan)


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
