"""Correlation layer by layer, and what the best layer is worth on languages that did not choose it.

Own code: the choice of a layer nested in halves of the languages is in no library.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics.correlation import (
    FEWEST,
    complete,
    fisher_interval,
    kendall,
    p_of_r,
    pearson_many,
    percentile_interval,
    spearman,
)


@dataclass(frozen=True)
class LayerCorrelations:
    """Correlation of each layer's scores with y over n languages, all arrays [layer]; NaN where a layer is constant.

    low, high: Fisher's interval of r. p: two-sided, of r. best: the layer with the largest r, None where none has one.
    The best of many is larger by chance than it would be on other languages: see `nested_layer_choice`.
    """

    n: int
    r: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    rho: np.ndarray
    tau: np.ndarray
    best: int | None
    level: float


def _by_layer(scores: ArrayLike, y: ArrayLike, fewest: int = FEWEST) -> tuple[np.ndarray, np.ndarray]:
    """Scores [layer, language] and y [language] of the languages that have all of them."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2:
        raise ValueError(f"expected scores of [language, layer], got {list(scores.shape)}")
    (scores, y), _ = complete(scores, y, fewest=fewest)
    return scores.T, y


def _largest(r: np.ndarray) -> int | None:
    """Where r [layer] is largest, the first of several; None where it is nowhere defined."""
    return None if np.isnan(r).all() else int(np.nanargmax(r))


def correlation_by_layer(scores: ArrayLike, y: ArrayLike, level: float = 0.95) -> LayerCorrelations:
    """Correlation of scores [language, layer] with y [language], layer by layer.

    Raises ExperimentError for fewer than 5 languages that have y and the scores of all layers.
    """
    by_layer, y = _by_layer(scores, y)
    r = pearson_many(by_layer, y)
    low, high = fisher_interval(r, len(y), level)
    tau = np.array([kendall(layer, y)[0] for layer in by_layer])
    return LayerCorrelations(
        len(y), r, low, high, p_of_r(r, len(y) - 2), spearman(by_layer, y), tau, best=_largest(r), level=level
    )


@dataclass(frozen=True)
class Nested:
    """What the best layer's correlation is worth on languages that did not choose it.

    held_out: r of the chosen layer on the other half, [repeat], NaN where it is undefined there; `undefined_repeats`
    counts those, which mean, low, median and high leave out. low, high: quantiles that hold the share `level` of the
    repeats. chosen: how often each layer was the best on its half, [layer]. optimistic: r of the layer that is best on
    all languages, `best`, on those same languages. gap: optimistic - mean.
    """

    n: int
    held_out: np.ndarray
    mean: float
    low: float
    median: float
    high: float
    chosen: np.ndarray
    best: int | None
    optimistic: float
    gap: float
    undefined_repeats: int
    level: float


def nested_layer_choice(
    scores: ArrayLike, y: ArrayLike, *, repeats: int = 200, seed: int = 0, level: float = 0.95
) -> Nested:
    """Choose the layer with the largest r on a random half of the languages, and correlate it on the other half.

    scores: [language, layer]. y: [language]. r is taken with its sign: a layer that predicts failure is not the best.
    The chosen half has n // 2 languages. Raises ExperimentError for fewer than 10 languages, 5 in each half.
    """
    by_layer, y = _by_layer(scores, y, fewest=2 * FEWEST)
    if repeats < 1:
        raise ExperimentError(f"halves are drawn at least once, not {repeats} times; 200 are usual")
    n = len(y)
    random = np.random.default_rng(seed)
    held_out = np.full(repeats, np.nan)
    chosen = np.zeros(len(by_layer), dtype=np.int64)
    for repeat in range(repeats):
        order = random.permutation(n)
        choosing, held = order[: n // 2], order[n // 2 :]
        layer = _largest(pearson_many(by_layer[:, choosing], y[choosing]))
        if layer is not None:
            chosen[layer] += 1
            held_out[repeat] = pearson_many(by_layer[layer, held], y[held])
    on_all = pearson_many(by_layer, y)
    best = _largest(on_all)
    optimistic = np.nan if best is None else float(on_all[best])
    defined = held_out[~np.isnan(held_out)]
    low, high = percentile_interval(held_out, level)
    mean, median = (float(defined.mean()), float(np.median(defined))) if len(defined) else (np.nan, np.nan)
    return Nested(
        n=n,
        held_out=held_out,
        mean=mean,
        low=low,
        median=median,
        high=high,
        chosen=chosen,
        best=best,
        optimistic=optimistic,
        gap=optimistic - mean,
        undefined_repeats=repeats - len(defined),
        level=level,
    )
