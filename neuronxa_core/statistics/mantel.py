"""Mantel's test: whether two tables of pairs go together, by permutations of what the pairs are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics.correlation import FEWEST, pearson_many


@dataclass(frozen=True)
class Mantel:
    """Pearson's r over the pairs of n languages, and its two-sided p; both NaN where one of the two is constant."""

    n: int
    pairs: int
    r: float
    p: float
    permutations: int


def mantel(x: np.ndarray, y: np.ndarray, *, permutations: int = 9999, seed: int = 0) -> Mantel:
    """Pearson's r of symmetric x and y [language, language] over pairs (Mantel, Cancer Research 27, 1967).

    Pairs share languages, so that they are no independent points: p is the share of random permutations of y's
    languages, the identity among them, whose |r| is as large. The diagonal plays no part. Raises ExperimentError for
    fewer than 5 languages.
    """
    n = len(x)
    if n < FEWEST:
        raise ExperimentError(f"Mantel's test needs at least {FEWEST} languages, not {n}; add languages")
    rows, columns = np.triu_indices(n, 1)
    generator = np.random.default_rng(seed)
    orders = np.stack([np.arange(n), *(generator.permutation(n) for _ in range(permutations))])
    found = pearson_many(y[orders[:, rows], orders[:, columns]], x[rows, columns])
    r = float(found[0])
    p = float((np.abs(found) >= abs(r) - 1e-12).mean()) if np.isfinite(r) else np.nan
    return Mantel(n, len(rows), r, p, permutations)
