"""Correlation layer by layer, and what the best layer is worth on languages that did not choose it.

Own code: neither the choice of a layer nested in folds of the languages nor maxT over correlations of columns with
different languages is in scipy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics.correlation import (
    FEW,
    FEWEST,
    NEGLIGIBLE,
    as_columns,
    complete,
    fisher_interval,
    kendall,
    p_of_r,
    pearson_many,
    spearman,
    standardised,
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


def family_wise_p(x: ArrayLike, y: ArrayLike, *, permutations: int = 2000, seed: int = 0) -> np.ndarray:
    """p of each correlation of many, so that picking the best of them is paid for: [column], NaN where r is.

    x: [language, column], as of layers and methods. y: [language], or [language, column] with NaN where a column's task
    has no score. The languages of all x are permuted together, which keeps what the columns share, and p is how often
    the largest statistic of all columns is at least a column's own, (1 + count) / (1 + permutations): the single-step
    maxT of Westfall and Young (1993), one-sided for a large r. The statistic is artanh(r) sqrt(n - 3), so that columns
    of few languages do not rule.
    """
    x, y = as_columns(x, y)
    columns, y = standardised(x.T).T, np.broadcast_to(y if y.ndim > 1 else y[:, None], x.shape)
    by_task: dict[bytes, list[int]] = {}
    for k in range(x.shape[1]):
        by_task.setdefault(y[:, k].tobytes(), []).append(k)
    first = np.arange(len(x))
    orders = np.vstack([first, np.random.default_rng(seed).permuted(np.tile(first, (permutations, 1)), axis=1)])
    reached, own = np.full(len(orders), -np.inf), np.empty(x.shape[1])
    for task in by_task.values():
        statistic = _permuted(columns[:, task], y[:, task[0]], orders)
        own[task], reached = statistic[0], np.fmax(reached, np.fmax.reduce(statistic, axis=1))
    # equal orders add up otherwise
    count = (reached[1:, None] >= own - 1e-9).sum(axis=0)
    return np.where(np.isnan(own), np.nan, (1 + count) / (1 + permutations))


def _permuted(x: np.ndarray, y: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """artanh(r) sqrt(n - 3) of x [language, column] with y [language] in each order [order, language] of its values."""
    there = ~np.isnan(y)
    n = there.sum()
    y = np.where(there, y - y[there].mean(), 0) if n else np.zeros(len(y))
    counted = there[orders].astype(np.float64)
    left = counted @ x**2 - np.square(counted @ x) / max(n, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = y[orders] @ x / np.sqrt(np.where(left > NEGLIGIBLE, left, np.nan) * np.square(y).sum())
        return np.arctanh(np.where(np.abs(r) > 1 - NEGLIGIBLE, np.sign(r), r)) * np.sqrt(max(n - 3, 0))


@dataclass(frozen=True)
class Nested:
    """What the best layer's correlation is worth on languages that did not choose it.

    held_out: r on held-out languages, [repeat], NaN where it is undefined. mean: of those that are defined. chosen: how
    often each layer was the best of the others, [layer]. optimistic: r of the layer that is best on all languages,
    `best`, on those same languages. gap: optimistic - mean, an estimate of the optimism of picking the layer.
    """

    n: int
    held_out: np.ndarray
    mean: float
    chosen: np.ndarray
    best: int | None
    optimistic: float
    gap: float


def nested_layer_choice(
    scores: ArrayLike, y: ArrayLike, *, folds: int = 10, repeats: int = 20, seed: int = 0
) -> Nested:
    """Choose the layer with the largest r without a tenth of the languages, and correlate on that tenth.

    scores: [language, layer]. y: [language]. r is taken with its sign: a layer that predicts failure is not the best.
    A held-out language's values at the chosen layer and its y are put on the scale of the others, (value - mean) / sd,
    and r is the sum of products over the roots of the sums of squares of all folds. Choosing on half of the languages
    would choose worse than all of them do, and overstate the optimism. Raises ExperimentError for fewer than 10
    languages.
    """
    by_layer, y = _by_layer(scores, y, fewest=FEW)
    if repeats < 1:
        raise ExperimentError(f"the languages are parted at least once, not {repeats} times; 20 are usual")
    n, random = len(y), np.random.default_rng(seed)
    held_out, chosen = np.full(repeats, np.nan), np.zeros(len(by_layer), dtype=np.int64)
    for repeat in range(repeats):
        scaled = np.zeros((2, n))
        for held in np.array_split(random.permutation(n), folds):
            others = np.delete(np.arange(n), held)
            layer = _largest(pearson_many(by_layer[:, others], y[others]))
            if layer is None:
                scaled[:, held] = np.nan
                continue
            chosen[layer] += 1
            both = np.stack([by_layer[layer], y])
            rest = both[:, others]
            scaled[:, held] = (both[:, held] - rest.mean(axis=1)[:, None]) / rest.std(axis=1)[:, None]
        squares = np.square(scaled).sum(axis=1).prod()
        held_out[repeat] = scaled.prod(axis=0).sum() / np.sqrt(squares) if squares > 0 else np.nan
    on_all = pearson_many(by_layer, y)
    best = _largest(on_all)
    optimistic = np.nan if best is None else float(on_all[best])
    defined = held_out[~np.isnan(held_out)]
    mean = float(defined.mean()) if len(defined) else np.nan
    return Nested(n, held_out, mean, chosen, best, optimistic, gap=optimistic - mean)
