"""TODO"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.alignment import pool_layers
from neuronxa_core.measures.cosine_retrieval import TIE
from neuronxa_core.statistics.correlation import _complete, _length, _quantiles, pearson_many

# ----------------------------------------------------------------------------------------------------------- sentences


def competitor_mask(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which sentence keeps which from being aligned at one layer, for n parallel sentences x and y of [n, width].

    Returns bool [n, n], False on the diagonal: [i, j] is True where C[i, j] or C[j, i] is at least C[i, i], what is
    equal within 1e-12 counting as a tie. All products run in float64, so that this decides as `alignment.retrieve`.
    """
    if x.ndim != 2 or x.shape != y.shape:
        raise ValueError(f"expected two of [n, width], got {list(x.shape)} and {list(y.shape)}")
    rows_x, rows_y = (np.asarray(v, dtype=np.float64) for v in (x, y))
    lengths = [_length(rows) for rows in (rows_x, rows_y)]
    unit_x, unit_y = (rows / np.where(long == 0, 1, long) for rows, long in zip((rows_x, rows_y), lengths, strict=True))
    cosines = unit_x @ unit_y.T
    beats = np.diag(cosines)[:, None] - np.maximum(cosines, cosines.T) <= TIE
    np.fill_diagonal(beats, False)
    return beats


def alignment_in_subsets(beaten: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """The alignment score that each subset of the sentences would have by itself, [resample] in [0, 1].

    beaten: bool [n, n], [i, j] where sentence j keeps i from being aligned; the diagonal does not matter. subsets:
    sentence numbers, [resample, k], none twice in a row. A sentence of a subset is aligned when no other one of the
    subset beats it. That is not whether it is aligned among all n: with fewer rivals more sentences are.
    """
    n = len(beaten)
    subsets = np.asarray(subsets)
    if beaten.shape != (n, n) or subsets.ndim != 2:
        raise ValueError(f"expected [n, n] and [resample, k], got {list(beaten.shape)} and {list(subsets.shape)}")
    return _alignment_inside(beaten, _inside(subsets, n))


def _inside(subsets: np.ndarray, n: int) -> np.ndarray:
    """Which of n sentences each subset [resample, k] holds, float32 [resample, n] of 0 and 1."""
    if subsets.shape[1] < 2:
        raise ExperimentError("alignment needs at least 2 parallel sentences")
    if subsets.size and (subsets.min() < 0 or subsets.max() >= n):
        raise ValueError(f"a subset names a sentence that is none of the {n}")
    if (np.diff(np.sort(subsets, axis=1), axis=1) == 0).any():
        raise ValueError("a subset holds a sentence twice, and a sentence cannot compete with itself")
    inside = np.zeros((len(subsets), n), dtype=np.float32)
    np.put_along_axis(inside, subsets, 1, axis=1)
    return inside


def _alignment_inside(beaten: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Alignment scores [resample] of the subsets that `_inside` tells, [resample, n]."""
    beats = beaten & ~np.eye(len(beaten), dtype=bool)
    # only who is ever beaten has to be looked at
    losers = np.flatnonzero(beats.any(axis=1))
    rivals = inside @ beats[losers].T.astype(np.float32)
    lost = ((rivals > 0) & (inside[:, losers] > 0)).sum(axis=1)
    size = inside.sum(axis=1, dtype=np.float64)
    return (size - lost) / size


def sentence_curve(
    beaten_of: Callable[[Hashable, int], np.ndarray],
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

    beaten_of(language, layer): which sentence keeps which from being aligned, bool [n, n], see `beaten_pairs`; it is
    called once for every language with a y and every layer, and nothing is kept of it. languages, layers: what it is
    called with. All languages and layers share the subsets, and a resample's smaller subset is part of its larger one;
    all n sentences make one subset only. Layers are pooled by `mean` or `max`, in each subset by itself.

    Columns, a row a size, ascending: sentences; r, mean over subsets; low and high, their 5 % and 95 % quantiles;
    alignment, mean score over languages and subsets; subsets, drawn; undefined, how many of them have no r as all
    languages had the same score, and are left out of r, low and high.

    Raises ExperimentError for fewer than 5 languages with a y, and for sizes below 2 or above n.
    """
    (y,), kept = _complete(y)
    if len(languages) != len(kept):
        raise ValueError(f"{len(languages)} languages, but {len(kept)} task scores")
    if layer_pooling not in ("mean", "max"):
        raise ExperimentError(f"layers are pooled by mean or max, not by {layer_pooling!r}")
    if not len(layers) or not len(sizes) or resamples < 1:
        raise ExperimentError(
            "a curve over sentences needs at least one layer, one number of sentences and one resample"
        )
    subsets: dict[int, np.ndarray] = {}
    pooled: dict[int, np.ndarray] = {}
    n = 0
    for row, language in enumerate(code for code, there in zip(languages, kept, strict=True) if there):
        by_layer: dict[int, list[np.ndarray]] = {}
        for layer in layers:
            beats = beaten_of(language, layer)
            if not subsets:
                n = len(beats)
                subsets = {
                    size: _inside(drawn, n) for size, drawn in _nested_subsets(n, sizes, resamples, seed).items()
                }
                pooled = {size: np.empty((len(inside), len(y))) for size, inside in subsets.items()}
            if beats.shape != (n, n):
                raise ValueError(f"expected [{n}, {n}] for {language} at layer {layer}, got {list(beats.shape)}")
            for size, inside in subsets.items():
                by_layer.setdefault(size, []).append(_alignment_inside(beats, inside))
        for size, scores in by_layer.items():
            pooled[size][:, row] = pool_layers(np.stack(scores, axis=-1), layer_pooling)
    rows = []
    for size, scores in pooled.items():
        r = pearson_many(scores, y)
        defined = r[~np.isnan(r)]
        low, high = _quantiles(r, 0.9)
        rows.append(
            {
                "sentences": size,
                "r": defined.mean() if len(defined) else np.nan,
                "low": low,
                "high": high,
                "alignment": scores.mean(),
                "subsets": len(r),
                "undefined": len(r) - len(defined),
            }
        )
    return pd.DataFrame(rows)


def _nested_subsets(n: int, sizes: Sequence[int], resamples: int, seed: int) -> dict[int, np.ndarray]:
    """For each size, ascending, the sentences of every resample, [resample, size]: the first of one shuffled order."""
    wrong = [size for size in sizes if not 2 <= size <= n]
    if wrong:
        raise ExperimentError(f"{wrong[0]} of {n} sentences cannot be drawn; choose from 2 to {n}")
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (resamples, 1)), axis=1)
    return {size: orders[: 1 if size == n else resamples, :size] for size in sorted({int(size) for size in sizes})}
