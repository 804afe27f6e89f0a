"""TODO"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from neuronxa_core.statistics.correlation import _complete, _is_constant, _tail


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
