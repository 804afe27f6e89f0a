"""Whether languages that a model aligns are those it answers alike in: alignment and RankC of the same pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neuronxa_core.measures.alignment import pool_layers
from neuronxa_core.statistics.correlation import Correlation, correlate
from neuronxa_core.statistics.mantel import Mantel, mantel
from neuronxa_core.tasks import matching


@dataclass(frozen=True)
class PairCorrelation:
    """Alignment against RankC: over all pairs, and over the pivot's alone.

    table: language_x, language_y (codes of the corpus), alignment, rankc; a row per pair. pivot: None where fewer than
    5 languages have a value with it. notes: what was left aside.
    """

    table: pd.DataFrame
    all_pairs: Mantel
    pivot: Correlation | None
    notes: tuple[str, ...]

    def conclusion(self, pivot: str) -> str:
        """What was found, in one sentence. pivot: its name."""
        one = self.all_pairs
        if np.isnan(one.r):
            return "Alignment or RankC is the same for all pairs, so that their correlation is not defined."
        said = f"Over all {one.pairs} pairs of {one.n} languages alignment and RankC have r = {one.r:.3f} (Mantel's "
        said += f"test, p = {one.p:.3f})"
        if self.pivot is None or self.pivot.constant:
            return f"{said}."
        return f"{said}; over the {self.pivot.n} pairs with {pivot} alone r = {self.pivot.pearson_r:.3f}."


def pair_correlation(alignment: pd.DataFrame, consistency: pd.DataFrame, pivot: str, layers: str) -> PairCorrelation:
    """Alignment of every pair, layers pooled by mean or max, against RankC of the same pairs.

    alignment: the table of `AllPairs`. consistency: that of `Consistency`, whose languages are matched with the
    corpus's by `matching.join`. Raises ExperimentError for fewer than 5 languages with both.
    """
    ours = list(dict.fromkeys([*alignment["language_x"], *alignment["language_y"]]))
    theirs = list(dict.fromkeys([*consistency["language_x"], *consistency["language_y"]]))
    joined = matching.join(pd.DataFrame({"language": theirs, "score": 0.0}), ours, pivot=pivot)
    names = joined.pairs["language"]
    codes = list(names.index)
    pooled = alignment.pivot(index=["language_x", "language_y"], columns="layer", values="score")
    aligned = dict(zip(pooled.index, pool_layers(pooled.to_numpy(), layers), strict=True))
    ranked = consistency.set_index(["language_x", "language_y"])["rankc"].to_dict()
    x, y = np.ones((len(codes), len(codes))), np.ones((len(codes), len(codes)))
    for i, a in enumerate(codes):
        for j, b in enumerate(codes[:i]):
            x[i, j] = x[j, i] = _of_pair(aligned, a, b)
            y[i, j] = y[j, i] = _of_pair(ranked, names[a], names[b])
    rows, columns = np.triu_indices(len(codes), 1)
    found, at = mantel(x, y), np.array(codes)
    with_pivot = None
    if pivot in codes and len(codes) > 5:
        k = codes.index(pivot)
        with_pivot = correlate(np.delete(x[k], k), np.delete(y[k], k))
    table = pd.DataFrame(
        {
            "language_x": at[rows],
            "language_y": at[columns],
            "alignment": x[rows, columns],
            "rankc": y[rows, columns],
        }
    )
    return PairCorrelation(table, found, with_pivot, joined.notes)


def _of_pair(values: dict[tuple[str, str], float], a: str, b: str) -> float:
    return values[a, b] if (a, b) in values else values[b, a]
