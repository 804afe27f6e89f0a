"""Correlation by layer, and p of the best of many, and the nested choice of a layer, against loops."""

import math

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


def test_the_best_of_many_columns_pays_for_the_choice():
    """Against a loop, with a column whose task lacks scores and one that is constant."""
    scores, y = random_layers(5, languages=9, layers=4)
    scores[:, 3] = 0.5
    y = np.tile(y[:, None], 4)
    y[:3, 1] = nan
    found = layer_choice.family_wise_p(scores, y, permutations=60, seed=4)

    def statistics(order):
        found = []
        for c in range(3):
            there = [(scores[k, c], y[order[k], c]) for k in range(9) if not np.isnan(y[order[k], c])]
            found.append(math.atanh(slow_pearson(*zip(*there, strict=True))) * math.sqrt(len(there) - 3))
        return found

    orders = np.random.default_rng(4).permuted(np.tile(np.arange(9), (60, 1)), axis=1)
    own, highest = statistics(range(9)), [max(statistics(order)) for order in orders]
    wanted = [(1 + sum(h >= one for h in highest)) / 61 for one in own]
    assert found[:3].tolist() == pytest.approx(wanted)
    assert np.isnan(found[3])


def test_one_column_has_the_p_of_all_orders_and_many_hold_their_level():
    # by hand: of the orders of 5, 1 of 120 is as good as the best one
    assert layer_choice.family_wise_p(np.arange(5.0)[:, None], np.arange(5.0), permutations=5000)[0] == pytest.approx(
        1 / 120, abs=0.004
    )
    random = np.random.default_rng(2)
    least = [
        layer_choice.family_wise_p(random.normal(size=(15, 20)), random.normal(size=15), permutations=99).min()
        for _ in range(150)
    ]
    assert 0.1 <= np.mean(np.array(least) <= 0.2) <= 0.3


def test_nested_choice_against_a_loop():
    scores, y = random_layers(3, languages=13)
    found = layer_choice.nested_layer_choice(scores, y, folds=4, repeats=6, seed=9)
    random = np.random.default_rng(9)
    held_out, chosen = [], [0] * 6
    for _ in range(6):
        products, squares_x, squares_y = [], [], []
        for held in np.array_split(random.permutation(13), 4):
            rest = [k for k in range(13) if k not in held]
            rs = [slow_pearson(scores[rest, layer], y[rest]) for layer in range(6)]
            layer = rs.index(max(rs))
            chosen[layer] += 1
            for k in held:
                a = (scores[k, layer] - np.mean(scores[rest, layer])) / np.std(scores[rest, layer])
                b = (y[k] - np.mean(y[rest])) / np.std(y[rest])
                products.append(a * b)
                squares_x.append(a * a)
                squares_y.append(b * b)
        held_out.append(sum(products) / math.sqrt(sum(squares_x) * sum(squares_y)))
    np.testing.assert_allclose(found.held_out, held_out, atol=CLOSE)
    assert found.chosen.tolist() == chosen
    rs = [slow_pearson(scores[:, layer], y) for layer in range(6)]
    assert found.best == rs.index(max(rs))
    assert (found.optimistic, found.mean) == pytest.approx((max(rs), np.mean(held_out)), abs=CLOSE)
    assert found.gap == pytest.approx(max(rs) - np.mean(held_out), abs=CLOSE)


@pytest.mark.parametrize(("most", "true"), [(0, 0.25), (0.5, 0.1), (0.85, 0.01)])
def test_the_optimism_is_near_the_truth(most, true):
    """24 layers that resemble their neighbours, of 24 languages, whose correlation in the population is known."""
    random = np.random.default_rng(1)
    rho = most * np.exp(-(((np.arange(24) - 12) / 5) ** 2))
    told, estimated = [], []
    for _ in range(60):
        y, noise = random.normal(size=24), random.normal(size=(24, 24))
        for layer in range(1, 24):
            noise[:, layer] = 0.9 * noise[:, layer - 1] + np.sqrt(0.19) * noise[:, layer]
        found = layer_choice.nested_layer_choice(rho * y[:, None] + np.sqrt(1 - rho**2) * noise, y, repeats=2)
        told.append(found.optimistic - rho[found.best])
        estimated.append(found.gap)
    assert np.mean(told) == pytest.approx(true, abs=0.03)
    assert np.mean(estimated) == pytest.approx(np.mean(told), abs=0.04)


def test_nested_choice_where_there_is_no_correlation():
    y = np.arange(10.0)
    one_language = np.zeros((10, 2))
    one_language[0, 0] = 1
    # without the one language that differs, nothing can be chosen
    found = layer_choice.nested_layer_choice(one_language, y)
    assert np.isnan([found.mean, found.gap, *found.held_out]).all()
    assert found.optimistic < 0
    nothing = layer_choice.nested_layer_choice(np.zeros((10, 2)), y, repeats=5)
    assert (nothing.best, nothing.chosen.tolist()) == (None, [0, 0])
    assert np.isnan(nothing.optimistic)
    for shape, repeats, why in (((9, 2), 5, "at least 10"), ((10, 2), 0, "at least once")):
        with pytest.raises(ExperimentError, match=why):
            layer_choice.nested_layer_choice(np.ones(shape), np.ones(len(np.ones(shape))), repeats=repeats)
