"""Whether one measure of alignment predicts a task better than another, over the same languages.

Own code: neither scipy nor statsmodels has Williams' test of dependent correlations, or a bootstrap of their
difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics.correlation import (
    FEWEST,
    NEGLIGIBLE,
    bootstrap_draws,
    complete,
    pearson_many,
    percentile_interval,
)


@dataclass(frozen=True)
class Williams:
    """Williams' test of two correlations that share a variable: t, its degrees of freedom, two-sided p."""

    t: float
    dof: int
    p: float


def williams(r_xy: float, r_zy: float, r_xz: float, n: int) -> Williams:
    """Whether x correlates with y otherwise than z does, over the same n languages.

    t = (r_xy - r_zy) sqrt((n - 1) (1 + r_xz) / (2 (n - 1) / (n - 3) |R| + m^2 (1 - r_xz)^3)), with n - 3 degrees of
    freedom, |R| = 1 - r_xy^2 - r_zy^2 - r_xz^2 + 2 r_xy r_zy r_xz and m = (r_xy + r_zy) / 2 (Williams, JRSS B 21, 1959;
    equation 7 of Steiger, Psychological Bulletin 87, 1980). NaN where a correlation is, or where x and z tell the same,
    so that nothing can differ.

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

    @property
    def beyond_chance(self) -> bool | None:
        """Whether Williams' test tells the two apart at the level; None where it is undefined: nothing can be said."""
        return None if np.isnan(self.p) else self.p < 1 - self.level

    def verdict(self, x: str, z: str) -> str:
        """What Williams' test says of the measures called x and z, in a sentence."""
        if self.beyond_chance is None:
            return (
                f"{x} and {z} cannot be compared: one of them, or the task's score, is the same for all languages, or "
                "they agree in all of them."
            )
        test = f"Williams' test, p = {self.p:.2g}"
        if not self.beyond_chance:
            return f"Neither of {x} and {z} is shown to predict this task better than the other ({test})."
        better, worse = (x, z) if self.difference > 0 else (z, x)
        return f"{better} predicts this task better than {worse} ({test})."


def compare(
    x: ArrayLike, z: ArrayLike, y: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """Compare the correlation of x with y and that of z with y, [language] each.

    Raises ExperimentError for fewer than 5 languages that have all three. NaN where one is constant.
    """
    (x, z, y), _ = complete(x, z, y)
    n = len(x)
    r_xy, r_zy, r_xz = (float(pearson_many(a, b)) for a, b in ((x, y), (z, y), (x, z)))
    test = williams(r_xy, r_zy, r_xz, n)
    draws = bootstrap_draws(n, resamples, seed)
    differences = pearson_many(x[draws], y[draws]) - pearson_many(z[draws], y[draws])
    low, high = percentile_interval(differences, level)
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
        share_first_larger=float((defined > NEGLIGIBLE).mean()) if len(defined) else np.nan,
        undefined_resamples=resamples - len(defined),
        t=test.t,
        dof=test.dof,
        p=test.p,
        resamples=resamples,
        level=level,
    )
