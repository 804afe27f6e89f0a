"""TODO"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics.correlation import FEWEST, _complete, _is_constant, _p_of_r, fisher_interval, pearson_many

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
