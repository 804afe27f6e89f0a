"""Correlation by layer, and the nested choice of a layer against a loop."""

import numpy as np
import pytest
from plain_statistics import CLOSE, nan, quick, slow_pearson

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics import layer_choice

pytestmark = pytest.mark.filterwarnings("error")


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
