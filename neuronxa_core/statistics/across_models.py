"""Several models over the same languages: how two differ, and correlations within models and over all their points.

Own code: no library has a bootstrap paired by language name, or says when pooling turns a correlation round.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics.correlation import (
    FEW,
    FEWEST,
    as_columns,
    bootstrap_draws,
    complete,
    is_constant,
    pearson_many,
    percentile_interval,
    with_interval,
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
        """How many languages both have."""
        return len(self.languages)

    @property
    def few(self) -> bool:
        """Whether there are so few languages that one can make the result."""
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
        a, b = as_columns(a, b)
    first, second = (pd.Series(values, dtype=np.float64) for values in (a, b))
    for series in (first, second):
        if series.index.has_duplicates:
            raise ValueError(f"{series.index[series.index.duplicated()][0]!r} is there twice")
    shared = first.index.intersection(second.index, sort=False)
    (x, y), kept = complete(first.loc[shared], second.loc[shared])
    differences = x - y
    means = differences[bootstrap_draws(len(x), resamples, seed)].mean(axis=1)
    return Difference(
        tuple(shared[kept]),
        float(differences.mean()),
        *percentile_interval(means, level),
        share_first_larger=float((differences > 0).mean()),
        level=level,
    )


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
    level: float

    @property
    def simpson(self) -> bool:
        """Whether pooling turns the sign round, as the class says (Simpson's paradox)."""
        signs = np.sign(self.per_model["r"].dropna())
        return bool(
            (self.pooled_low > 0 and self.within_high < 0)
            or (self.pooled_high < 0 and self.within_low > 0)
            or (len(signs) and self.pooled_r != 0 and (signs == -np.sign(self.pooled_r)).all())
        )


def pooled_and_within(frame: pd.DataFrame, level: float = 0.95) -> PooledWithin:
    """Correlate x and y over the languages of several models; frame has the columns model, x and y, a point per row.

    Rows that lack one are left out. Raises ExperimentError where fewer than 5 points are left, or where points less
    models come below 4, the least that 5 points of one model have.
    """
    lacking = [name for name in ("model", "x", "y") if name not in frame]
    if lacking:
        raise ValueError(f"the table has no column {' and no '.join(lacking)}")
    frame = frame[frame["model"].notna()]
    (x, y), kept = complete(frame["x"], frame["y"])
    codes, names = pd.factorize(frame["model"][kept])
    n, models = len(x), len(names)
    if n - models + 1 < FEWEST:
        raise ExperimentError(
            f"{n} points of {models} models are too few to look within models: at least {FEWEST + models - 1} are "
            "needed; choose fewer models, or more languages"
        )
    x_within, y_within, rows = np.zeros(n), np.zeros(n), []
    for code, name in enumerate(names):
        own = codes == code
        count = int(own.sum())
        for values, within in ((x, x_within), (y, y_within)):
            if not is_constant(values[own]):
                within[own] = values[own] - values[own].mean()
        figures = with_interval(pearson_many(x[own], y[own]), count, level) if count >= FEWEST else (np.nan,) * 4
        rows.append((name, count, *figures))
    return PooledWithin(
        n,
        models,
        *with_interval(pearson_many(x, y), n, level),
        *with_interval(pearson_many(x_within, y_within), n, level, controls=models - 1),
        per_model=pd.DataFrame(rows, columns=["model", "n", "r", "low", "high", "p"]),
        level=level,
    )
