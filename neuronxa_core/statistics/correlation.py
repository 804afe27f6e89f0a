"""Correlation of alignment with a task's scores over languages, and what the other modules of this room share.

A point is a language: x its alignment, y its score in a task. Languages that lack a value (NaN) are left out before
anything is computed, and every result gives the number of languages that were left, n. Fewer than 5 are refused.

Own code where scipy has no such thing: many correlations at once with constants that differ by rounding (scipy's
`pearsonr` correlates that rounding), and Fisher's interval and p with variables held constant.

Sources: Fisher, Metron 1, 1921 (interval of r by z = artanh r); Kendall, Biometrika 33, 1945 (tau-b); Efron, Annals of
Statistics 7, 1979 (bootstrap).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from neuronxa_core.errors import ExperimentError

FEWEST = 5
FEW = 10
# values whose spread is below this share of their size differ by rounding alone
NEGLIGIBLE = 1e-12
# a correlation this close to 1 or -1 is 1 or -1
ROUNDING = 1e-14


# ------------------------------------------------------------------------------------------------- shared by this room


def as_columns(*columns: ArrayLike) -> list[np.ndarray]:
    """The columns [language, ...] as float64. Raises where their lengths differ or one holds an infinite value."""
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    if any(a.ndim == 0 for a in arrays) or len({len(a) for a in arrays}) > 1:
        raise ValueError(f"expected as many languages in each, got shapes {[a.shape for a in arrays]}")
    check_finite(*arrays)
    return arrays


def check_finite(*arrays: np.ndarray) -> None:
    """Raise ExperimentError where a value is infinite; NaN may be there."""
    if any(np.isinf(a).any() for a in arrays):
        raise ExperimentError("an infinite value cannot be correlated; leave it out or choose another transform")


def complete(*columns: ArrayLike, fewest: int = FEWEST) -> tuple[list[np.ndarray], np.ndarray]:
    """The columns [language, ...] without the languages in which any is NaN; and which were kept, bool [language].

    Raises ExperimentError where fewer than `fewest` are left.
    """
    arrays = as_columns(*columns)
    missing = [np.isnan(a).any(axis=tuple(range(1, a.ndim))) for a in arrays]
    kept = ~np.any(missing, axis=0)
    if kept.sum() < fewest:
        raise ExperimentError(
            f"at least {fewest} languages with all values are needed here, and {kept.sum()} of {len(kept)} have them; "
            "add languages to the run, or task scores for those that lack one"
        )
    return [a[kept] for a in arrays], kept


def tail(level: float) -> float:
    """The share beyond each end of an interval. Raises ExperimentError for a level that is not between 0 and 1."""
    if not 0 < level < 1:
        raise ExperimentError(f"the level of an interval is above 0 and below 1, not {level}; 0.95 is usual")
    return (1 - level) / 2


def bootstrap_draws(n: int, resamples: int, seed: int) -> np.ndarray:
    """Bootstrap samples of n languages, with replacement: their numbers, [resample, n]."""
    if resamples < 1:
        raise ExperimentError(f"a bootstrap needs at least 1 resample, not {resamples}; 2000 are usual")
    return np.random.default_rng(seed).integers(n, size=(resamples, n))


def percentile_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """The interval that holds the share `level` of the values that are numbers; NaN where none is."""
    outside = tail(level)
    defined = values[~np.isnan(values)]
    if not len(defined):
        return np.nan, np.nan
    low, high = np.quantile(defined, [outside, 1 - outside])
    return float(low), float(high)


def lengths(values: np.ndarray) -> np.ndarray:
    """Euclidean length along the last axis, [..., 1]."""
    return np.sqrt((values**2).sum(axis=-1, keepdims=True))


def standardised(values: np.ndarray, missing: np.ndarray | None = None) -> np.ndarray:
    """values [..., n] centred and of length 1 along the last axis, 0 where missing; NaN where they are constant."""
    missing = np.zeros(values.shape, dtype=bool) if missing is None else missing
    values = np.where(missing, 0, values)
    # squares of what is around 1 neither overflow nor vanish
    largest = np.abs(values).max(axis=-1, keepdims=True, initial=0)
    values = values / np.where(largest == 0, 1, largest)
    count = np.maximum((~missing).sum(axis=-1, keepdims=True), 1)
    centred = np.where(missing, 0, values - values.sum(axis=-1, keepdims=True) / count)
    length = lengths(centred)
    return centred / np.where(length <= NEGLIGIBLE * lengths(values), np.nan, length)


def is_constant(values: np.ndarray) -> bool:
    """Whether values [n] are the same but for rounding."""
    return bool(np.isnan(standardised(values)).all())


def pearson_many(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Pearson r of every row of x with y, in [-1, 1]; NaN where one of the two is constant.

    x: [..., n]. y: [n], or [..., n] that broadcasts with x. Returns [...]. Pairs with a NaN are left out, row by row;
    a row is not refused for its few points, as resamples and leave-one-out tables need them.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim == 0 or y.ndim == 0 or x.shape[-1] != y.shape[-1]:
        raise ValueError(f"expected x of [..., n] and y of as many points, got {list(x.shape)} and {list(y.shape)}")
    check_finite(x, y)
    x, y = np.broadcast_arrays(x, y)
    missing = np.isnan(x) | np.isnan(y)
    r = (standardised(x, missing) * standardised(y, missing)).sum(axis=-1)
    return np.where(1 - np.abs(r) < ROUNDING, np.sign(r), r)


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman rho of the rows of x [..., n] with y [n], without NaN; NaN where one is constant but for rounding."""
    rho = pearson_many(stats.rankdata(x, axis=-1), stats.rankdata(y))
    return np.where(np.isnan(pearson_many(x, y)), np.nan, rho)


def kendall(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Kendall tau-b and its two-sided p: exact without ties up to 33 points, else from the normal distribution."""
    if is_constant(x) or is_constant(y):
        return np.nan, np.nan
    tau, p = stats.kendalltau(x, y)
    return float(tau), float(p)


def p_of_r(r: ArrayLike, dof: int) -> np.ndarray:
    """Two-sided p of a correlation: t = r sqrt(dof / (1 - r^2)) with dof degrees of freedom."""
    r = np.asarray(r, dtype=np.float64)
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(dof / ((1 - r) * (1 + r)))
    return 2 * stats.t.sf(t, dof)


def fisher_interval(r: ArrayLike, n: int, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Interval of correlations r [...] of n points: tanh(artanh r +- z / sqrt(n - 3)); [r, r] where |r| is 1.

    n: above 3; with k variables held constant, the number of points less k.
    """
    if n <= 3:
        raise ExperimentError(f"Fisher's interval needs more than 3 points, not {n}; add languages")
    half = stats.norm.isf(tail(level)) / np.sqrt(n - 3)
    with np.errstate(divide="ignore"):
        z = np.arctanh(np.asarray(r, dtype=np.float64))
    return np.tanh(z - half), np.tanh(z + half)


def with_interval(r: ArrayLike, n: int, level: float, controls: int = 0) -> tuple[float, float, float, float]:
    """(r, low, high, p) of one correlation of n points with so many controls held constant."""
    low, high = fisher_interval(r, n - controls, level)
    return float(r), float(low), float(high), float(p_of_r(r, n - 2 - controls))


# --------------------------------------------------------------------------------------------------------- correlation


@dataclass(frozen=True)
class Association:
    """How x and y go together over n languages, with so many controls held constant.

    pearson_low, pearson_high: Fisher's interval. Every p is two-sided. All but counts is NaN where x or y is constant.
    """

    n: int
    controls: int
    pearson_r: float
    pearson_low: float
    pearson_high: float
    pearson_p: float
    spearman_rho: float
    spearman_p: float
    level: float

    @property
    def dof(self) -> int:
        """Degrees of freedom of pearson_p."""
        return self.n - 2 - self.controls

    @property
    def few(self) -> bool:
        """Whether there are so few points, controls taken off, that one language can make the result."""
        return self.n - self.controls < FEW

    @property
    def constant(self) -> bool:
        """Whether x or y, or what the controls leave of it, is the same for all, so that r is not defined."""
        return bool(np.isnan(self.pearson_r))


@dataclass(frozen=True)
class Correlation(Association):
    """How x and y go together over n languages; controls is 0.

    bootstrap_low, bootstrap_high: percentile interval of r over resampled languages; `undefined_resamples` of them had
    one value only and are left out. kendall_tau: tau-b.
    """

    kendall_tau: float
    kendall_p: float
    bootstrap_low: float
    bootstrap_high: float
    undefined_resamples: int
    resamples: int


def correlate(x: ArrayLike, y: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Correlation:
    """Pearson, Spearman and Kendall correlation of x and y, [language] each, NaN where a language has no value.

    Spearman's p comes from t with n - 2 degrees of freedom, which is rough below 10 points. Raises ExperimentError for
    fewer than 5 languages with both values.
    """
    (x, y), _ = complete(x, y)
    n = len(x)
    rho = float(spearman(x, y))
    tau, tau_p = kendall(x, y)
    draws = bootstrap_draws(n, resamples, seed)
    resampled = pearson_many(x[draws], y[draws])
    low, high = percentile_interval(resampled, level)
    return Correlation(
        n,
        0,
        *with_interval(pearson_many(x, y), n, level),
        spearman_rho=rho,
        spearman_p=float(p_of_r(rho, n - 2)),
        level=level,
        kendall_tau=tau,
        kendall_p=tau_p,
        bootstrap_low=low,
        bootstrap_high=high,
        undefined_resamples=int(np.isnan(resampled).sum()),
        resamples=resamples,
    )


@dataclass(frozen=True)
class ByFamily:
    """The interval of Pearson's r when language families are resampled, not languages: relatives are no independent
    points.

    families: how many there are. low, high: percentile interval, NaN for fewer than 5 families; `undefined_resamples`
    had one value only and are left out.
    """

    families: int
    low: float
    high: float
    undefined_resamples: int

    def verdict(self, one: Association) -> str:
        """What it says beside the plain interval, in a sentence."""
        if np.isnan(self.low):
            return f"The languages are of {self.families} families, too few to resample families (at least {FEWEST})."
        said = f"Resampling their {self.families} families gives {self.low:.2f} … {self.high:.2f}"
        if one.pearson_low * one.pearson_high > 0 and self.low <= 0 <= self.high:
            return f"{said}, which holds 0: the correlation may rest on a few families."
        return f"{said}."


@lru_cache(maxsize=4)
def _times_drawn(n: int, resamples: int, seed: int) -> np.ndarray:
    """How often each of n families is in each resample, [resample, family]: the same for every column of a table."""
    return np.stack([np.bincount(draw, minlength=n) for draw in bootstrap_draws(n, resamples, seed)])


def by_family(
    x: ArrayLike,
    y: ArrayLike,
    families: Sequence[str],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> ByFamily:
    """Bootstrap Pearson's r of x and y [language] over families, each drawn with all its languages.

    The cluster bootstrap (Cameron, Gelbach and Miller, 2008). families: of each language; one of family "Other" has a
    family of its own. Raises ExperimentError for fewer than 5 languages with both values.
    """
    (x, y), kept = complete(x, y)
    named = [f"{k}" if name == "Other" else name for k, name in enumerate(families)]
    own, names = pd.factorize(np.array(named, dtype=object)[kept])
    if len(names) < FEWEST:
        return ByFamily(len(names), np.nan, np.nan, 0)
    times = _times_drawn(len(names), resamples, seed)[:, own]
    x, y = (values / (np.abs(values).max() or 1) for values in (x, y))
    count = times.sum(axis=1, keepdims=True)
    far = [values - (times * values).sum(axis=1, keepdims=True) / count for values in (x, y)]
    squares = [(times * values**2).sum(axis=1) for values in far]
    spread = np.sqrt(np.prod([np.where(square > NEGLIGIBLE**2 * count[:, 0], square, np.nan) for square in squares], 0))
    r = (times * far[0] * far[1]).sum(axis=1) / spread
    return ByFamily(len(names), *percentile_interval(r, level), int(np.isnan(r).sum()))
