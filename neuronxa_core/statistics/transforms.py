"""Scales on which alignment and task scores are correlated: as they are, log, and logit of shares."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from neuronxa_core.errors import ExperimentError

TRANSFORMS = ("identity", "logit", "log")


def logit(scores: ArrayLike, n: int | ArrayLike) -> np.ndarray:
    """ln(p / (1 - p)) of scores [...] in [0, 1] that are shares of n, with p = (score n + 0.5) / (n + 1).

    The correction (Haldane, 1956; Anscombe, 1956), which scipy's logit has not, keeps 0 and 1 finite. n: of sentences
    or questions, one or [...]. NaN stays NaN. Raises ExperimentError for scores outside [0, 1] and for n below 1.
    """
    scores, n = np.asarray(scores, dtype=np.float64), np.asarray(n, dtype=np.float64)
    if not (n >= 1).all():
        raise ExperimentError("a logit needs the number of sentences or questions behind a score, at least 1")
    _check_none((scores < 0) | (scores > 1), "are not between 0 and 1, and have no logit; divide percentages by 100")
    return np.log((scores * n + 0.5) / (n - scores * n + 0.5))


def log(values: ArrayLike) -> np.ndarray:
    """Natural logarithm of values [...]; NaN stays NaN. Raises ExperimentError where one is 0 or below."""
    values = np.asarray(values, dtype=np.float64)
    _check_none(
        values <= 0, "are 0 or below, and have no logarithm; for shares choose logit, or leave them as they are"
    )
    return np.log(values)


def _check_none(wrong: np.ndarray, why: str) -> None:
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
