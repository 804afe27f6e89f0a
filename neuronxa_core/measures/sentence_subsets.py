"""Correlation with a task when only so many parallel sentences are there.

Own code: scores of many subsets of the sentences come from one table of which sentence beats which, instead of a
retrieval per subset.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.alignment import pool_layers
from neuronxa_core.measures.cosine_retrieval import TIE
from neuronxa_core.statistics.correlation import complete, lengths, pearson_many, percentile_interval


def competitor_mask(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which sentence keeps which from being aligned at one layer, for n parallel sentences x and y of [n, width].

    Returns bool [n, n], False on the diagonal: [i, j] is True where C[i, j] or C[j, i] is at least C[i, i], what is
    equal within 1e-12 counting as a tie. All products run in float64, so that this decides as `retrieve` does.
    """
    if x.ndim != 2 or x.shape != y.shape:
        raise ValueError(f"expected two of [n, width], got {list(x.shape)} and {list(y.shape)}")
    rows = [np.asarray(v, dtype=np.float64) for v in (x, y)]
    unit_x, unit_y = (v / np.where((length := lengths(v)) == 0, 1, length) for v in rows)
    cosines = unit_x @ unit_y.T
    mask = np.diag(cosines)[:, None] - np.maximum(cosines, cosines.T) <= TIE
    np.fill_diagonal(mask, False)
    return mask


def alignment_in_subsets(mask: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """The alignment score that each subset of the sentences would have by itself, [resample] in [0, 1].

    mask: bool [n, n], see `competitor_mask`; the diagonal does not matter. subsets: sentence numbers, [resample, k]
    with k at least 2, none twice in a row. A sentence of a subset is aligned when no other one of the subset beats it.
    That is not whether it is aligned among all n: with fewer rivals more sentences are.
    """
    n, k = len(mask), subsets.shape[1]
    inside = np.zeros((len(subsets), n), dtype=np.float32)
    np.put_along_axis(inside, subsets, 1, axis=1)
    mask = mask & ~np.eye(n, dtype=bool)
    # only who is ever beaten has to be looked at
    losers = np.flatnonzero(mask.any(axis=1))
    rivals = inside @ mask[losers].T.astype(np.float32)
    lost = ((rivals > 0) & (inside[:, losers] > 0)).sum(axis=1)
    return (k - lost) / k


def sentence_curve(
    mask_of: Callable[[Hashable, int], np.ndarray],
    languages: Sequence[Hashable],
    layers: Sequence[int],
    y: ArrayLike,
    sizes: Sequence[int],
    *,
    layer_pooling: str = "mean",
    resamples: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Pearson r with y [language] when only so many sentences are there, each size drawn anew without replacement.

    mask_of(language, layer): bool [n, n], see `competitor_mask`; it is called once per language with a y and layer, and
    nothing is kept of it. languages, layers: what it is called with. All languages and layers share the subsets, and a
    resample's smaller subset is part of its larger one; all n sentences make one subset only. Layers are pooled by
    `mean` or `max`, in each subset by itself.

    Columns, a row per size, ascending: sentences; r, mean over subsets; low and high, their 5 % and 95 % quantiles;
    alignment, mean score over languages and subsets; subsets, drawn; undefined, how many of them have no r as all
    languages had the same score, and are left out of r, low and high.

    Raises ExperimentError for fewer than 5 languages with a y, and for sizes below 2 or above n.
    """
    (y,), kept = complete(y)
    if len(languages) != len(kept):
        raise ValueError(f"{len(languages)} languages, but {len(kept)} task scores")
    if not len(layers) or not len(sizes) or resamples < 1:
        raise ExperimentError(
            "a curve over sentences needs at least one layer, one number of sentences and one resample"
        )
    known = [code for code, there in zip(languages, kept, strict=True) if there]
    subsets: dict[int, np.ndarray] = {}
    by_language: dict[int, list[np.ndarray]] = {}
    n = 0
    for language in known:
        by_layer: dict[int, list[np.ndarray]] = {}
        for layer in layers:
            mask = mask_of(language, layer)
            if not subsets:
                n = len(mask)
                subsets = _nested_subsets(n, sizes, resamples, seed)
            if mask.shape != (n, n):
                raise ValueError(f"expected [{n}, {n}] for {language} at layer {layer}, got {list(mask.shape)}")
            for size, drawn in subsets.items():
                by_layer.setdefault(size, []).append(alignment_in_subsets(mask, drawn))
        for size, scores in by_layer.items():
            by_language.setdefault(size, []).append(pool_layers(np.stack(scores, axis=-1), layer_pooling))
    rows = []
    for size, pooled in by_language.items():
        scores = np.stack(pooled, axis=1)
        r = pearson_many(scores, y)
        defined = r[~np.isnan(r)]
        mean = defined.mean() if len(defined) else np.nan
        interval = percentile_interval(r, 0.9)
        rows.append((size, mean, *interval, scores.mean(), len(r), len(r) - len(defined)))
    return pd.DataFrame(rows, columns=["sentences", "r", "low", "high", "alignment", "subsets", "undefined"])


def _nested_subsets(n: int, sizes: Sequence[int], resamples: int, seed: int) -> dict[int, np.ndarray]:
    """For each size, ascending, the sentences of every resample, [resample, size]: the first of one shuffled order."""
    wrong = [size for size in sizes if not 2 <= size <= n]
    if wrong:
        raise ExperimentError(f"{wrong[0]} of {n} sentences cannot be drawn; choose from 2 to {n}")
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (resamples, 1)), axis=1)
    return {size: orders[: 1 if size == n else resamples, :size] for size in sorted({int(size) for size in sizes})}
