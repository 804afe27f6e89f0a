"""Partial correlation by its formula, by residuals, and with categories."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_statistics import CLOSE, FAMILY, NAMES, SIZE, X, Y, nan, slow_p, slow_pearson, slow_ranks
from scipy import stats

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics import partial

pytestmark = pytest.mark.filterwarnings("error")


def residuals(values, controls):
    """What is left of values when regressed on a constant and controls [n, k], by the normal equations."""
    design = np.column_stack([np.ones(len(values)), controls])
    return values - design @ np.linalg.solve(design.T @ design, design.T @ values)


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
