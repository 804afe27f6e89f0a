"""Does alignment predict a task's scores over languages, and how far can that be believed?

A point is a language: x its alignment, y its score in a task. Languages without both values (NaN) are left out before
anything is computed, and every result says by n how many were left. Fewer than 5 points are refused; a result of
fewer than 10 says so by `few`.

Sources: Fisher, Metron 1, 1921 (interval of r by z = artanh r); Kendall, Biometrika 33, 1945 (tau-b); Williams, JRSS B
21, 1959, as given by Steiger, Psychological Bulletin 87, 1980 (two correlations that share a variable); Cook,
Technometrics 19, 1977 (distance); Efron, Annals of Statistics 7, 1979 (bootstrap); Kargaran et al., Findings of ACL
2025 (MEXA's adjusted estimate).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from neuronxa_core.alignment import TIE, pool_layers
from neuronxa_core.errors import ExperimentError

FEWEST = 5
FEW = 10
# values whose spread is below this share of their size differ by rounding alone
NEGLIGIBLE = 1e-12
# a correlation this close to 1 or -1 is 1 or -1
ROUNDING = 1e-14
TRANSFORMS = ("identity", "logit", "log")


# ------------------------------------------------------------------------------------------------------ what all share


def _arrays(*columns: ArrayLike) -> list[np.ndarray]:
    """The columns [language, ...] as float64, as long as each other and without infinities."""
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    if any(a.ndim == 0 for a in arrays) or len({len(a) for a in arrays}) > 1:
        raise ValueError(f"expected as many languages in each, got shapes {[a.shape for a in arrays]}")
    _refuse_infinite(*arrays)
    return arrays


def _refuse_infinite(*arrays: np.ndarray) -> None:
    if any(np.isinf(a).any() for a in arrays):
        raise ExperimentError("an infinite value cannot be correlated; leave it out or choose another transform")


def _complete(*columns: ArrayLike, fewest: int = FEWEST) -> tuple[list[np.ndarray], np.ndarray]:
    """The columns [language, ...] without the languages in which any is NaN; and which were kept, bool [language]."""
    arrays = _arrays(*columns)
    missing = [np.isnan(a).any(axis=tuple(range(1, a.ndim))) for a in arrays]
    kept = ~np.any(missing, axis=0)
    if kept.sum() < fewest:
        raise ExperimentError(
            f"at least {fewest} languages with all values are needed here, and {kept.sum()} of {len(kept)} have them; "
            "add languages to the run, or task scores for those that lack one"
        )
    return [a[kept] for a in arrays], kept


def _tail(level: float) -> float:
    if not 0 < level < 1:
        raise ExperimentError(f"the level of an interval is above 0 and below 1, not {level}; 0.95 is usual")
    return (1 - level) / 2


def _draws(n: int, resamples: int, seed: int) -> np.ndarray:
    """Bootstrap samples of n languages, with replacement: their numbers, [resample, n]."""
    if resamples < 1:
        raise ExperimentError(f"a bootstrap needs at least 1 resample, not {resamples}; 2000 are usual")
    return np.random.default_rng(seed).integers(n, size=(resamples, n))


def _quantiles(values: np.ndarray, level: float) -> tuple[float, float]:
    """The percentile interval of the values that are numbers; NaN where none is."""
    tail = _tail(level)
    defined = values[~np.isnan(values)]
    if not len(defined):
        return np.nan, np.nan
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def _length(values: np.ndarray) -> np.ndarray:
    return np.sqrt((values**2).sum(axis=-1, keepdims=True))


def _standardised(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """values [..., n] centred and of length 1 along the last axis, 0 where missing; NaN where they are constant."""
    values = np.where(missing, 0, values)
    # squares of what is around 1 neither overflow nor vanish
    largest = np.abs(values).max(axis=-1, keepdims=True, initial=0)
    values = values / np.where(largest == 0, 1, largest)
    count = np.maximum((~missing).sum(axis=-1, keepdims=True), 1)
    centred = np.where(missing, 0, values - values.sum(axis=-1, keepdims=True) / count)
    length = _length(centred)
    return centred / np.where(length <= NEGLIGIBLE * _length(values), np.nan, length)


def _is_constant(values: np.ndarray) -> bool:
    return bool(np.isnan(_standardised(values, np.zeros(values.shape, dtype=bool))).all())


def pearson_many(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Pearson r of every row of x with y, in [-1, 1]; NaN where one of the two is constant.

    x: [..., n]. y: [n], or [..., n] that broadcasts with x. Returns [...]. Pairs with a NaN are left out, row by row;
    a row is not refused for its few points, as resamples and leave-one-out tables need them.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim == 0 or y.ndim == 0 or x.shape[-1] != y.shape[-1]:
        raise ValueError(f"expected x of [..., n] and y of as many points, got {list(x.shape)} and {list(y.shape)}")
    _refuse_infinite(x, y)
    x, y = np.broadcast_arrays(x, y)
    missing = np.isnan(x) | np.isnan(y)
    r = (_standardised(x, missing) * _standardised(y, missing)).sum(axis=-1)
    return np.where(1 - np.abs(r) < ROUNDING, np.sign(r), r)


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman rho of the rows of x [..., n] with y [n], without NaN: Pearson r of the ranks, ties sharing theirs."""
    return pearson_many(stats.rankdata(x, axis=-1), stats.rankdata(y))


def _kendall(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Kendall tau-b and its two-sided p: exact without ties up to 33 points, else from the normal distribution."""
    if _is_constant(x) or _is_constant(y):
        return np.nan, np.nan
    tau, p = stats.kendalltau(x, y)
    return float(tau), float(p)


def _p_of_r(r: ArrayLike, dof: int) -> np.ndarray:
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
    half = stats.norm.isf(_tail(level)) / np.sqrt(n - 3)
    with np.errstate(divide="ignore"):
        z = np.arctanh(np.asarray(r, dtype=np.float64))
    return np.tanh(z - half), np.tanh(z + half)


# --------------------------------------------------------------------------------------------------------- correlation


@dataclass(frozen=True)
class Correlation:
    """How x and y go together over n languages.

    pearson_low, pearson_high: Fisher's interval. bootstrap_low, bootstrap_high: percentile interval of r over resampled
    languages; `undefined_resamples` of them had one value only and are left out. kendall_tau: tau-b. Every p is
    two-sided. All but n is NaN where x or y is constant.
    """

    n: int
    pearson_r: float
    pearson_low: float
    pearson_high: float
    pearson_p: float
    spearman_rho: float
    spearman_p: float
    kendall_tau: float
    kendall_p: float
    bootstrap_low: float
    bootstrap_high: float
    undefined_resamples: int
    resamples: int
    level: float

    @property
    def few(self) -> bool:
        """Whether there are so few points that one language can make the result."""
        return self.n < FEW

    @property
    def constant(self) -> bool:
        """Whether x or y is the same for all languages, so that no correlation is defined."""
        return bool(np.isnan(self.pearson_r))


def correlate(x: ArrayLike, y: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Correlation:
    """Pearson, Spearman and Kendall correlation of x and y, [language] each, NaN where a language has no value.

    Spearman's p comes from t with n - 2 degrees of freedom, which is rough below 10 points. Raises ExperimentError for
    fewer than 5 languages with both values.
    """
    (x, y), _ = _complete(x, y)
    n = len(x)
    r = pearson_many(x, y)
    low, high = fisher_interval(r, n, level)
    rho = np.nan if np.isnan(r) else _spearman(x, y)
    tau, tau_p = _kendall(x, y)
    draws = _draws(n, resamples, seed)
    resampled = pearson_many(x[draws], y[draws])
    bootstrap_low, bootstrap_high = _quantiles(resampled, level)
    return Correlation(
        n=n,
        pearson_r=float(r),
        pearson_low=float(low),
        pearson_high=float(high),
        pearson_p=float(_p_of_r(r, n - 2)),
        spearman_rho=float(rho),
        spearman_p=float(_p_of_r(rho, n - 2)),
        kendall_tau=tau,
        kendall_p=tau_p,
        bootstrap_low=bootstrap_low,
        bootstrap_high=bootstrap_high,
        undefined_resamples=int(np.isnan(resampled).sum()),
        resamples=resamples,
        level=level,
    )


@dataclass(frozen=True)
class Regression:
    """The least-squares line of y on x, and how sure it is at the points `at`; all arrays [point].

    low, high: band of the line itself, pointwise. prediction_low, prediction_high: where a new language's y would lie.
    deviation: of the residuals, in the units of y, with n - 2 degrees of freedom. All NaN where x is constant.
    """

    n: int
    slope: float
    intercept: float
    deviation: float
    at: np.ndarray
    line: np.ndarray
    low: np.ndarray
    high: np.ndarray
    prediction_low: np.ndarray
    prediction_high: np.ndarray
    level: float


def regression(x: ArrayLike, y: ArrayLike, at: ArrayLike, level: float = 0.95) -> Regression:
    """Least-squares line of y on x, [language] each, with bands at the points `at`.

    Bands: line +- t s sqrt(h), and line +- t s sqrt(1 + h) for a prediction, with h = 1/n + (at - mean x)^2 / Sxx,
    s^2 = sum of squared residuals / (n - 2), and t of n - 2 degrees of freedom. Raises ExperimentError for fewer than 5
    languages with both values.
    """
    (x, y), _ = _complete(x, y)
    at = np.asarray(at, dtype=np.float64)
    n = len(x)
    slope, intercept = _line(x, y)
    deviation = np.sqrt(((y - intercept - slope * x) ** 2).sum() / (n - 2))
    # where x is constant the slope is NaN, and with it all that follows
    spread = np.nan if np.isnan(slope) else ((x - x.mean()) ** 2).sum()
    leverage = 1 / n + (at - x.mean()) ** 2 / spread
    line = intercept + slope * at
    t = stats.t.isf(_tail(level), n - 2)
    half, wide = t * deviation * np.sqrt(leverage), t * deviation * np.sqrt(1 + leverage)
    return Regression(
        n=n,
        slope=slope,
        intercept=intercept,
        deviation=float(deviation),
        at=at,
        line=line,
        low=line - half,
        high=line + half,
        prediction_low=line - wide,
        prediction_high=line + wide,
        level=level,
    )


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """(slope, intercept) of the least-squares line, both NaN where x [n] is constant."""
    if _is_constant(x):
        return np.nan, np.nan
    from_mean = x - x.mean()
    slope = float((from_mean * (y - y.mean())).sum() / (from_mean**2).sum())
    return slope, float(y.mean() - slope * x.mean())


# ------------------------------------------------------------------------------------------------ what else explains it


@dataclass(frozen=True)
class Partial:
    """What of the correlation of x and y is left when the controls are held constant.

    columns: the control variables, a category's values but the first one each. controls: how many of them count, those
    that the others determine left out; the degrees of freedom are n - 2 - controls. rank_controls: the same for
    their ranks, on which spearman_rho and its p stand. NaN where the controls explain all of x or of y.
    """

    n: int
    columns: tuple[str, ...]
    controls: int
    rank_controls: int
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
        """Whether so few points remain, controls taken off, that one language can make the result."""
        return self.n - self.controls < FEW

    @property
    def constant(self) -> bool:
        """Whether the controls leave nothing of x or of y to correlate."""
        return bool(np.isnan(self.pearson_r))


def partial(x: ArrayLike, y: ArrayLike, controls: pd.DataFrame | ArrayLike, *, level: float = 0.95) -> Partial:
    """Partial correlation of x and y [language] given controls [language, k]: that of the two regressions' residuals.

    controls: a DataFrame, whose columns that are no numbers are categories (a language family, a script), each value
    but the first a column of 0 and 1; or an array of numbers, [language] or [language, k]. Languages that lack a
    control are left out too. Spearman's is the same on the ranks of x, y and every numeric control.

    p is that of t with n - 2 - k degrees of freedom, the interval Fisher's with n - k - 3. Raises ExperimentError where
    n - k is below 5, as 5 points without a control would be.
    """
    frame = controls if isinstance(controls, pd.DataFrame) else _named(controls)
    x, y, lacking = _arrays(x, y, frame.isna().any(axis=1))
    (x, y), kept = _complete(np.where(lacking, np.nan, x), y)
    n = len(x)
    design, names, numeric = _design(frame[kept])
    ranked = design.copy()
    ranked[:, numeric] = stats.rankdata(design[:, numeric], axis=0)
    left, used = _unexplained(np.stack([x, y]), design)
    left_ranks, ranks_used = _unexplained(stats.rankdata(np.stack([x, y]), axis=1), ranked)
    taken = max(used, ranks_used)
    if n - taken < FEWEST:
        raise ExperimentError(
            f"{n} languages are too few to hold {', '.join(map(str, frame))} constant, {taken} numbers in all: at "
            f"least {FEWEST + taken} are needed; choose fewer controls, or categories with fewer values"
        )
    r = pearson_many(*left)
    low, high = fisher_interval(r, n - used, level)
    rho = np.nan if np.isnan(r) else pearson_many(*left_ranks)
    return Partial(
        n=n,
        columns=names,
        controls=used,
        rank_controls=ranks_used,
        pearson_r=float(r),
        pearson_low=float(low),
        pearson_high=float(high),
        pearson_p=float(_p_of_r(r, n - 2 - used)),
        spearman_rho=float(rho),
        spearman_p=float(_p_of_r(rho, n - 2 - ranks_used)),
        level=level,
    )


def _named(controls: ArrayLike) -> pd.DataFrame:
    frame = pd.DataFrame(np.asarray(controls, dtype=np.float64))
    return frame.set_axis([f"control {k + 1}" for k in range(frame.shape[1])], axis=1)


def _design(frame: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Controls as numbers: ([language, k], their names, which of them are numeric [k])."""
    columns, names, numeric = [], [], []
    for name, values in frame.items():
        if pd.api.types.is_numeric_dtype(values):
            columns.append(values.to_numpy(dtype=np.float64))
            names.append(str(name))
            numeric.append(True)
        else:
            codes, categories = pd.factorize(values, sort=False)
            for code in range(1, len(categories)):
                columns.append((codes == code).astype(np.float64))
                names.append(f"{name}: {categories[code]}")
                numeric.append(False)
    design = np.stack(columns, axis=1) if columns else np.empty((len(frame), 0))
    _refuse_infinite(design)
    return design, tuple(names), np.array(numeric, dtype=bool)


def _unexplained(values: np.ndarray, design: np.ndarray) -> tuple[np.ndarray, int]:
    """What a regression on the design [n, k] and a constant leaves of values [variable, n]; how many columns it used.

    Columns that are constant or that others determine are not used. What is left by rounding alone is 0.
    """
    values = values - values.mean(axis=1, keepdims=True)
    size = _length(values)
    design = np.nan_to_num(_standardised(design.T, np.zeros(design.T.shape, dtype=bool)))
    _, sizes, directions = np.linalg.svd(design, full_matrices=False)
    directions = directions[sizes > 1e-9]
    values = values - values @ directions.T @ directions
    return np.where(_length(values) <= NEGLIGIBLE * size, 0, values), len(directions)


def leave_one_out(x: ArrayLike, y: ArrayLike, names: Sequence[str]) -> pd.DataFrame:
    """What each language does to Pearson r of x and y, [language] each: the one that changes it most comes first.

    Columns: language; r, without it (NaN where x or y is then constant); change, r without it less r of all;
    cooks_distance, how far it moves the least-squares line of y on x, D = e^2 / (2 s^2) h / (1 - h)^2 with its residual
    e and leverage h (Cook, 1977): 0 where all points lie on the line, NaN where there is no line without it.

    Raises ExperimentError for fewer than 6 languages with both values, as 5 have to be left.
    """
    if len(names) != len(np.atleast_1d(x)):
        raise ValueError(f"{len(names)} names for {len(np.atleast_1d(x))} values")
    (x, y), kept = _complete(x, y, fewest=FEWEST + 1)
    without = pearson_many(_all_but_one(x), _all_but_one(y))
    table = pd.DataFrame(
        {
            "language": [name for name, there in zip(names, kept, strict=True) if there],
            "r": without,
            "change": without - pearson_many(x, y),
            "cooks_distance": _cooks_distance(x, y),
        }
    )
    return table.sort_values("change", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def _all_but_one(values: np.ndarray) -> np.ndarray:
    """Row i is values [n] without its i-th: [n, n - 1]."""
    n = len(values)
    return np.broadcast_to(values, (n, n))[~np.eye(n, dtype=bool)].reshape(n, n - 1)


def _cooks_distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    slope, intercept = _line(x, y)
    if np.isnan(slope):
        return np.full(len(x), np.nan)
    from_mean = x - x.mean()
    leverage = 1 / len(x) + from_mean**2 / (from_mean**2).sum()
    residual = y - intercept - slope * x
    squares = (residual**2).sum()
    alone = 1 - leverage <= NEGLIGIBLE
    if squares <= NEGLIGIBLE**2 * (y**2).sum():
        return np.where(alone, np.nan, 0)
    rest = np.where(alone, np.nan, 1 - leverage)
    return residual**2 / (2 * squares / (len(x) - 2)) * leverage / rest**2


# ------------------------------------------------------------------------------------------ one measure against another


@dataclass(frozen=True)
class Williams:
    """Williams' test of two correlations that share a variable: t, its degrees of freedom, two-sided p."""

    t: float
    dof: int
    p: float


def williams(r_xy: float, r_zy: float, r_xz: float, n: int) -> Williams:
    """Whether x correlates with y otherwise than z does, over the same n languages.

    t = (r_xy - r_zy) sqrt((n - 1) (1 + r_xz) / (2 (n - 1) / (n - 3) |R| + m^2 (1 - r_xz)^3)), with n - 3 degrees of
    freedom, |R| = 1 - r_xy^2 - r_zy^2 - r_xz^2 + 2 r_xy r_zy r_xz and m = (r_xy + r_zy) / 2 (Williams, 1959; equation 7
    of Steiger, 1980). NaN where a correlation is, or where x and z tell the same, so that nothing can differ.

    Raises ExperimentError for fewer than 5 languages, ValueError for correlations that cannot be those of three
    variables.
    """
    if n < FEWEST:
        raise ExperimentError(f"comparing two correlations needs at least {FEWEST} languages, not {n}; add languages")
    determinant = 1 - r_xy**2 - r_zy**2 - r_xz**2 + 2 * r_xy * r_zy * r_xz
    if max(abs(r_xy), abs(r_zy), abs(r_xz)) > 1 or determinant < -1e-9:
        raise ValueError(f"no three variables have the correlations {r_xy}, {r_zy} and {r_xz}")
    mean = (r_xy + r_zy) / 2
    variance = 2 * (n - 1) / (n - 3) * determinant + mean**2 * (1 - r_xz) ** 3
    if not variance > NEGLIGIBLE:
        return Williams(np.nan, n - 3, np.nan)
    t = (r_xy - r_zy) * np.sqrt((n - 1) * (1 + r_xz) / variance)
    return Williams(float(t), n - 3, float(2 * stats.t.sf(abs(t), n - 3)))


@dataclass(frozen=True)
class Comparison:
    """Whether x or z goes better with y, over the n languages that have all three.

    difference: r_xy - r_zy, signs as they are. low, high: percentile bootstrap interval, x and z resampled together.
    share_first_larger: of the resamples, in which r_xy was above r_zy; `undefined_resamples` are left out. t, dof, p:
    Williams' test, see `williams`.
    """

    n: int
    r_xy: float
    r_zy: float
    r_xz: float
    difference: float
    low: float
    high: float
    share_first_larger: float
    undefined_resamples: int
    t: float
    dof: int
    p: float
    resamples: int
    level: float


def compare(
    x: ArrayLike, z: ArrayLike, y: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """Compare the correlation of x with y and that of z with y, [language] each.

    Raises ExperimentError for fewer than 5 languages that have all three. NaN where one is constant.
    """
    (x, z, y), _ = _complete(x, z, y)
    n = len(x)
    r_xy, r_zy, r_xz = (float(pearson_many(a, b)) for a, b in ((x, y), (z, y), (x, z)))
    test = williams(r_xy, r_zy, r_xz, n)
    draws = _draws(n, resamples, seed)
    differences = pearson_many(x[draws], y[draws]) - pearson_many(z[draws], y[draws])
    low, high = _quantiles(differences, level)
    defined = differences[~np.isnan(differences)]
    return Comparison(
        n=n,
        r_xy=r_xy,
        r_zy=r_zy,
        r_xz=r_xz,
        difference=r_xy - r_zy,
        low=low,
        high=high,
        # two measures that are one up to scale differ by rounding, in either direction
        share_first_larger=float((defined > TIE).mean()) if len(defined) else np.nan,
        undefined_resamples=resamples - len(defined),
        t=test.t,
        dof=test.dof,
        p=test.p,
        resamples=resamples,
        level=level,
    )


@dataclass(frozen=True)
class Difference:
    """How two models' alignment differs over the languages that both have.

    difference: mean of a - b. low, high: percentile bootstrap interval over languages. share_first_larger: of the
    languages, in which a is above b.
    """

    languages: tuple[Hashable, ...]
    difference: float
    low: float
    high: float
    share_first_larger: float
    level: float

    @property
    def n(self) -> int:
        return len(self.languages)

    @property
    def few(self) -> bool:
        return self.n < FEW


def paired_difference(
    a: Mapping[str, float] | pd.Series | ArrayLike,
    b: Mapping[str, float] | pd.Series | ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Mean difference of two models' alignment over languages, paired: by name, or by place if both are plain arrays.

    a, b: language -> value, or [language] in the same order. Raises ExperimentError for fewer than 5 shared languages.
    """
    named = [isinstance(values, Mapping | pd.Series) for values in (a, b)]
    if named[0] != named[1]:
        raise ValueError("values are paired by name or by place: give both with languages or neither")
    if not named[0]:
        a, b = _arrays(a, b)
    first, second = (pd.Series(values, dtype=np.float64) for values in (a, b))
    for series in (first, second):
        if series.index.has_duplicates:
            raise ValueError(f"{series.index[series.index.duplicated()][0]!r} is there twice")
    shared = first.index.intersection(second.index, sort=False)
    (x, y), kept = _complete(first.loc[shared], second.loc[shared])
    differences = x - y
    low, high = _quantiles(differences[_draws(len(x), resamples, seed)].mean(axis=1), level)
    return Difference(
        languages=tuple(shared[kept]),
        difference=float(differences.mean()),
        low=low,
        high=high,
        share_first_larger=float((differences > 0).mean()),
        level=level,
    )


# -------------------------------------------------------------------------------------------------------------- layers


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
    (scores, y), _ = _complete(scores, y, fewest=fewest)
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
    return LayerCorrelations(
        n=len(y),
        r=r,
        low=low,
        high=high,
        p=_p_of_r(r, len(y) - 2),
        rho=np.where(np.isnan(r), np.nan, _spearman(by_layer, y)),
        tau=np.array([_kendall(layer, y)[0] for layer in by_layer]),
        best=_largest(r),
        level=level,
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
    low, high = _quantiles(held_out, level)
    mean = float(defined.mean()) if len(defined) else np.nan
    return Nested(
        n=n,
        held_out=held_out,
        mean=mean,
        low=low,
        median=float(np.median(defined)) if len(defined) else np.nan,
        high=high,
        chosen=chosen,
        best=best,
        optimistic=optimistic,
        gap=optimistic - mean,
        undefined_repeats=repeats - len(defined),
        level=level,
    )


# ----------------------------------------------------------------------------------------------------------- sentences


def beaten_pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
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


# ------------------------------------------------------------------------------------------------- predicting the score


@dataclass(frozen=True)
class Errors:
    """How far estimates are from n languages' task scores: estimate - score, in the units of the score.

    mean_absolute, root_mean_square: at least 0. bias: mean, above 0 where estimates are too high.
    """

    n: int
    mean_absolute: float
    root_mean_square: float
    bias: float


def _errors(estimates: np.ndarray, scores: np.ndarray) -> Errors:
    off = estimates - scores
    return Errors(len(off), float(np.abs(off).mean()), float(np.sqrt((off**2).mean())), float(off.mean()))


def adjusted(alignment: ArrayLike, pivot_score: float) -> np.ndarray:
    """MEXA's adjusted estimate of task scores, alignment [...] * the pivot's own score (Kargaran et al., 2025)."""
    if not np.isfinite(pivot_score):
        raise ExperimentError("the adjusted estimate needs the pivot's own task score; add it to the scores")
    return np.asarray(alignment, dtype=np.float64) * pivot_score


def adjusted_error(alignment: ArrayLike, scores: ArrayLike, pivot_score: float) -> Errors:
    """Errors of the adjusted estimate on the languages that have a score; alignment and scores [language].

    Raises ExperimentError where none has, or the pivot has none.
    """
    (alignment, scores), _ = _complete(alignment, scores, fewest=1)
    return _errors(adjusted(alignment, pivot_score), scores)


@dataclass(frozen=True)
class Predicted:
    """Estimates of the task scores of new languages by three methods, and each one's errors on the known languages.

    adjusted: MEXA's, which uses no score but the pivot's, [new]. line: the least-squares line through the known
    languages, [new]. mean: their mean score, which knows nothing of alignment.
    adjusted_error: on the known languages as they are. line_error, mean_error: each known language predicted from the
    others (leave-one-out). Alignment tells something only where its errors are below mean_error.
    """

    adjusted: np.ndarray
    line: np.ndarray
    mean: float
    adjusted_error: Errors
    line_error: Errors
    mean_error: Errors


def predicted(
    alignment_known: ArrayLike, scores_known: ArrayLike, alignment_new: ArrayLike, pivot_score: float
) -> Predicted:
    """Estimate the task scores of languages from their alignment [new], by that of languages with a score [known].

    Where all languages that a line would go through have the same alignment, it is level at their mean. Raises
    ExperimentError for fewer than 5 known languages, and where the pivot has no score.
    """
    (x, y), _ = _complete(alignment_known, scores_known)
    (new,) = _arrays(alignment_new)
    others_x, others_y = _all_but_one(x), _all_but_one(y)
    without = np.array([_level_line(a, b, np.array(at)) for a, b, at in zip(others_x, others_y, x, strict=True)])
    return Predicted(
        adjusted=adjusted(new, pivot_score),
        line=_level_line(x, y, new),
        mean=float(y.mean()),
        adjusted_error=_errors(adjusted(x, pivot_score), y),
        line_error=_errors(without, y),
        mean_error=_errors(others_y.mean(axis=1), y),
    )


def _level_line(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The least-squares line at [...], level where x is constant."""
    slope, _ = _line(x, y)
    return y.mean() + np.nan_to_num(slope) * (at - x.mean())


# ------------------------------------------------------------------------------------------------------ several models


@dataclass(frozen=True)
class PooledWithin:
    """Correlation over languages of several models together, and within them.

    pooled_*: all n points as if of one model. within_*: x and y less their model's means, with n - models - 1 degrees
    of freedom, and Fisher's interval as for n - models + 1 points. per_model: model, n, r, low, high, p; NaN for models
    with fewer than 5 points. simpson: whether pooling turns the sign round: pooled and within differ in sign, both
    beyond doubt by their intervals, or the pooled sign is that of no model.
    """

    n: int
    models: int
    pooled_r: float
    pooled_low: float
    pooled_high: float
    pooled_p: float
    within_r: float
    within_low: float
    within_high: float
    within_p: float
    per_model: pd.DataFrame
    simpson: bool
    level: float


def pooled_and_within(frame: pd.DataFrame, level: float = 0.95) -> PooledWithin:
    """Correlate x and y over the languages of several models; frame has the columns model, x and y, a row a point.

    Rows that lack one are left out. Raises ExperimentError where fewer than 5 points are left, or where points less
    models come below 4, the least that 5 points of one model have.
    """
    lacking = [name for name in ("model", "x", "y") if name not in frame]
    if lacking:
        raise ValueError(f"the table has no column {' and no '.join(lacking)}")
    frame = frame[frame["model"].notna()]
    (x, y), kept = _complete(frame["x"], frame["y"])
    codes, names = pd.factorize(frame["model"][kept])
    n, models = len(x), len(names)
    effective = n - models + 1
    if effective < FEWEST:
        raise ExperimentError(
            f"{n} points of {models} models are too few to look within models: at least {FEWEST + models - 1} are "
            "needed; choose fewer models, or more languages"
        )
    x_within, y_within, rows = np.zeros(n), np.zeros(n), []
    for code, name in enumerate(names):
        own = codes == code
        count = int(own.sum())
        for values, within in ((x, x_within), (y, y_within)):
            if not _is_constant(values[own]):
                within[own] = values[own] - values[own].mean()
        row = {"model": name, "n": count, "r": np.nan, "low": np.nan, "high": np.nan, "p": np.nan}
        if count >= FEWEST:
            r = pearson_many(x[own], y[own])
            low, high = fisher_interval(r, count, level)
            row |= {"r": float(r), "low": float(low), "high": float(high), "p": float(_p_of_r(r, count - 2))}
        rows.append(row)
    per_model = pd.DataFrame(rows)
    pooled, within = float(pearson_many(x, y)), float(pearson_many(x_within, y_within))
    pooled_low, pooled_high = (float(v) for v in fisher_interval(pooled, n, level))
    within_low, within_high = (float(v) for v in fisher_interval(within, effective, level))
    signs = np.sign(per_model["r"].dropna().to_numpy())
    return PooledWithin(
        n=n,
        models=models,
        pooled_r=pooled,
        pooled_low=pooled_low,
        pooled_high=pooled_high,
        pooled_p=float(_p_of_r(pooled, n - 2)),
        within_r=within,
        within_low=within_low,
        within_high=within_high,
        within_p=float(_p_of_r(within, effective - 2)),
        per_model=per_model,
        simpson=bool(
            (pooled_low > 0 and within_high < 0)
            or (pooled_high < 0 and within_low > 0)
            or (len(signs) and pooled != 0 and (signs == -np.sign(pooled)).all())
        ),
        level=level,
    )


# ---------------------------------------------------------------------------------------------------------- transforms


def logit(scores: ArrayLike, n: int | ArrayLike) -> np.ndarray:
    """ln(p / (1 - p)) of scores [...] in [0, 1] that are shares of n, with p = (score n + 0.5) / (n + 1).

    The correction (Haldane, 1956; Anscombe, 1956) keeps 0 and 1 finite. n: of sentences or questions, one or [...].
    NaN stays NaN. Raises ExperimentError for scores outside [0, 1] and for n below 1.
    """
    scores, n = np.asarray(scores, dtype=np.float64), np.asarray(n, dtype=np.float64)
    if not (n >= 1).all():
        raise ExperimentError("a logit needs the number of sentences or questions behind a score, at least 1")
    _refuse_where((scores < 0) | (scores > 1), "are not between 0 and 1, and have no logit; divide percentages by 100")
    return np.log((scores * n + 0.5) / (n - scores * n + 0.5))


def log(values: ArrayLike) -> np.ndarray:
    """Natural logarithm of values [...]; NaN stays NaN. Raises ExperimentError where one is 0 or below."""
    values = np.asarray(values, dtype=np.float64)
    _refuse_where(
        values <= 0, "are 0 or below, and have no logarithm; for shares choose logit, or leave them as they are"
    )
    return np.log(values)


def _refuse_where(wrong: np.ndarray, why: str) -> None:
    if wrong.any():
        raise ExperimentError(f"{wrong.sum()} of {wrong.size} values {why}")


def transformed(values: ArrayLike, how: str, n: int | ArrayLike | None = None) -> np.ndarray:
    """values [...] by `identity`, `log` or `logit`, the last with the n of which they are shares."""
    if how not in TRANSFORMS:
        raise ExperimentError(f"values are transformed by {', '.join(TRANSFORMS)}, not by {how!r}")
    if how == "identity":
        return np.asarray(values, dtype=np.float64)
    if how == "log":
        return log(values)
    if n is None:
        raise ExperimentError(
            "a logit needs the number of sentences or questions behind a score; give it, or choose log"
        )
    return logit(values, n)
