"""TODO"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics.correlation import (
    FEW,
    FEWEST,
    NEGLIGIBLE,
    _arrays,
    _check_finite,
    _complete,
    _length,
    _p_of_r,
    _standardised,
    fisher_interval,
    pearson_many,
)

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
    _check_finite(design)
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
