"""Partial correlation: what is left of a correlation over languages when something else is held constant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics.correlation import (
    FEWEST,
    NEGLIGIBLE,
    Association,
    as_columns,
    check_finite,
    complete,
    lengths,
    p_of_r,
    pearson_many,
    standardised,
    with_interval,
)


@dataclass(frozen=True)
class Partial(Association):
    """What of the correlation of x and y is left when the controls are held constant.

    columns: the control variables, a category's values but the first one each. controls: how many of them count, those
    that the others determine left out; the degrees of freedom are n - 2 - controls. rank_controls: the same for
    their ranks, on which spearman_rho and its p stand. NaN where the controls explain all of x or of y.
    """

    columns: tuple[str, ...]
    rank_controls: int


def partial(x: ArrayLike, y: ArrayLike, controls: pd.DataFrame | ArrayLike, *, level: float = 0.95) -> Partial:
    """Partial correlation of x and y [language] given controls [language, k]: that of the two regressions' residuals.

    controls: a DataFrame, whose columns that are no numbers are categories (a language family, a script), each value
    but the first a column of 0 and 1; or an array of numbers, [language] or [language, k]. Languages that lack a
    control are left out too. Spearman's is the same on the ranks of x, y and every numeric control.

    p is that of t with n - 2 - k degrees of freedom, the interval Fisher's with n - k - 3. Raises ExperimentError where
    n - k is below 5, as 5 points without a control would be.
    """
    frame = controls if isinstance(controls, pd.DataFrame) else _named(controls)
    x, y, lacking = as_columns(x, y, frame.isna().any(axis=1))
    (x, y), kept = complete(np.where(lacking, np.nan, x), y)
    n = len(x)
    design, names, numeric = _design(frame[kept])
    ranked = np.where(numeric, stats.rankdata(design, axis=0), design)
    left, used = _unexplained(np.stack([x, y]), design)
    left_ranks, ranks_used = _unexplained(stats.rankdata(np.stack([x, y]), axis=1), ranked)
    taken = max(used, ranks_used)
    if n - taken < FEWEST:
        raise ExperimentError(
            f"{n} languages are too few to hold {', '.join(map(str, frame))} constant, {taken} numbers in all: at "
            f"least {FEWEST + taken} are needed; choose fewer controls, or categories with fewer values"
        )
    r = pearson_many(*left)
    rho = np.nan if np.isnan(r) else float(pearson_many(*left_ranks))
    return Partial(
        n,
        used,
        *with_interval(r, n, level, controls=used),
        spearman_rho=rho,
        spearman_p=float(p_of_r(rho, n - 2 - ranks_used)),
        level=level,
        columns=names,
        rank_controls=ranks_used,
    )


def _named(controls: ArrayLike) -> pd.DataFrame:
    frame = pd.DataFrame(np.asarray(controls, dtype=np.float64))
    return frame.set_axis([f"control {k + 1}" for k in range(frame.shape[1])], axis=1)


def _design(frame: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Controls as numbers: ([language, column], the columns' names, which of them are numeric [column])."""
    columns: list[tuple[str, bool, np.ndarray]] = []
    for name, values in frame.items():
        if pd.api.types.is_numeric_dtype(values):
            columns.append((str(name), True, values.to_numpy(dtype=np.float64)))
        else:
            columns += [(f"{name}: {one}", False, np.float64(values == one)) for one in values.unique()[1:]]
    design = np.array([column for *_, column in columns]).reshape(len(columns), len(frame)).T
    check_finite(design)
    return design, tuple(name for name, *_ in columns), np.array([numeric for _, numeric, _ in columns], dtype=bool)


def _unexplained(values: np.ndarray, design: np.ndarray) -> tuple[np.ndarray, int]:
    """What a regression on the design [n, k] and a constant leaves of values [variable, n]; how many columns it used.

    Columns that are constant or that others determine are not used. What is left by rounding alone is 0.
    """
    values = values - values.mean(axis=1, keepdims=True)
    design = np.nan_to_num(standardised(design.T)).T
    coefficients, _, rank, _ = np.linalg.lstsq(design, values.T, rcond=1e-9)
    left = values - (design @ coefficients).T
    return np.where(lengths(left) <= NEGLIGIBLE * lengths(values), 0, left), int(rank)
