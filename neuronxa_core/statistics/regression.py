"""The line of task score on alignment: its bands, which language it hangs on, and what it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics.correlation import (
    FEWEST,
    NEGLIGIBLE,
    as_columns,
    complete,
    is_constant,
    pearson_many,
    tail,
)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """(slope, intercept) of the least-squares line of y [n] on x [n], which is not constant."""
    found = stats.linregress(x, y)
    return float(found.slope), float(found.intercept)


def _fit(x: np.ndarray, y: np.ndarray) -> Any:
    """statsmodels' least-squares fit of y [n] on a constant and x [n], which is standardised for the precision."""
    # a second that only these views need: not at the top
    from statsmodels.regression.linear_model import OLS

    return OLS(y, _design(x, x)).fit()


def _design(at: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones_like(at), (at - x.mean()) / x.std()])


# --------------------------------------------------------------------------------------------------------------- bands


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

    Bands are those of statsmodels: line +- t s sqrt(h), and line +- t s sqrt(1 + h) for a prediction, with h = 1/n +
    (at - mean x)^2 / Sxx, s^2 = sum of squared residuals / (n - 2), and t of n - 2 degrees of freedom. Raises
    ExperimentError for fewer than 5 languages with both values.
    """
    (x, y), _ = complete(x, y)
    at = np.asarray(at, dtype=np.float64)
    alpha = 2 * tail(level)
    if is_constant(x):
        bands = np.full((5, len(at)), np.nan)
        return Regression(len(x), np.nan, np.nan, np.nan, at, *bands, level=level)
    fit = _fit(x, y)
    bands = fit.get_prediction(_design(at, x)).summary_frame(alpha)
    names = ("mean", "mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper")
    deviation = float(np.sqrt(fit.mse_resid))
    return Regression(len(x), *_line(x, y), deviation, at, *(bands[name].to_numpy() for name in names), level=level)


# ----------------------------------------------------------------------------------------------------------- influence


def leave_one_out(x: ArrayLike, y: ArrayLike, names: Sequence[str]) -> pd.DataFrame:
    """What each language does to Pearson r of x and y, [language] each: the one that changes it most comes first.

    Columns: language; r, without it (NaN where x or y is then constant); change, r without it less r of all;
    cooks_distance, how far it moves the least-squares line of y on x, D = e^2 / (2 s^2) h / (1 - h)^2 with its residual
    e and leverage h (Cook, Technometrics 19, 1977): 0 where all points lie on the line, NaN where there is no line
    without it.

    Raises ExperimentError for fewer than 6 languages with both values, as 5 have to be left.
    """
    if len(names) != len(np.atleast_1d(x)):
        raise ValueError(f"{len(names)} names for {len(np.atleast_1d(x))} values")
    (x, y), kept = complete(x, y, fewest=FEWEST + 1)
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
    if is_constant(x):
        return np.full(len(x), np.nan)
    fit = _fit(x, y)
    influence = fit.get_influence()
    on_the_line = fit.ssr <= NEGLIGIBLE**2 * (y**2).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.zeros(len(x)) if on_the_line else influence.cooks_distance[0]
    return np.where(1 - influence.hat_matrix_diag <= NEGLIGIBLE, np.nan, distance)


# ---------------------------------------------------------------------------------------------------------- prediction


@dataclass(frozen=True)
class Errors:
    """How far estimates are from n languages' task scores: estimate - score, in the units of the score.

    mean_absolute, root_mean_square: at least 0. bias: mean, above 0 where estimates are too high.
    """

    n: int
    mean_absolute: float
    root_mean_square: float
    bias: float

    @classmethod
    def of(cls, estimates: np.ndarray, scores: np.ndarray) -> Errors:
        """The errors of estimates [language] of scores [language]."""
        off = estimates - scores
        return cls(len(off), float(np.abs(off).mean()), float(np.sqrt((off**2).mean())), float(off.mean()))


def adjusted(alignment: ArrayLike, pivot_score: float) -> np.ndarray:
    """MEXA's adjusted estimate of task scores, alignment [...] * the pivot's own score (Kargaran et al., ACL 2025)."""
    if not np.isfinite(pivot_score):
        raise ExperimentError("the adjusted estimate needs the pivot's own task score; add it to the scores")
    return np.asarray(alignment, dtype=np.float64) * pivot_score


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
    (x, y), _ = complete(alignment_known, scores_known)
    (new,) = as_columns(alignment_new)
    others_x, others_y = _all_but_one(x), _all_but_one(y)
    without = np.array([_level_line(a, b, at) for a, b, at in zip(others_x, others_y, x, strict=True)])
    return Predicted(
        adjusted=adjusted(new, pivot_score),
        line=_level_line(x, y, new),
        mean=float(y.mean()),
        adjusted_error=Errors.of(adjusted(x, pivot_score), y),
        line_error=Errors.of(without, y),
        mean_error=Errors.of(others_y.mean(axis=1), y),
    )


def _level_line(x: np.ndarray, y: np.ndarray, at: ArrayLike) -> np.ndarray:
    """The least-squares line at [...], level where x is constant."""
    slope = 0.0 if is_constant(x) else _line(x, y)[0]
    return y.mean() + slope * (at - x.mean())
