"""TODO"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics.correlation import _arrays, _complete
from neuronxa_core.statistics.leaving_out import _all_but_one
from neuronxa_core.statistics.regression import _line

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
