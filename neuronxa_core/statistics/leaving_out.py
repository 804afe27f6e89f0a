"""TODO"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from neuronxa_core.statistics.correlation import FEWEST, NEGLIGIBLE, _complete, pearson_many
from neuronxa_core.statistics.regression import _line


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
