"""How much of their active neurons a sentence and its translation share, against sentences that are no translations.

The difference is what meaning, rather than language, contributes (Huang et al., ACL 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import pandas as pd

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.alignment import resampling_weights
from neuronxa_core.measures.base import Arrays, Measure, Run, choice
from neuronxa_core.measures.overlap import jaccard
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store


@dataclass(frozen=True)
class ParallelOverlap:
    """Overlap of sentences' active sets at one layer, each (value, low, high) with a percentile bootstrap interval.

    parallel: mean Jaccard of translations. mismatched: mean Jaccard of all other pairs. difference: the first minus the
    second, the translation-specific overlap.
    """

    parallel: tuple[float, float, float]
    mismatched: tuple[float, float, float]
    difference: tuple[float, float, float]


KINDS = tuple(one.name for one in fields(ParallelOverlap))


def parallel_overlap(
    x: np.ndarray, y: np.ndarray, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> ParallelOverlap:
    """Mean Jaccard of translations' active sets against that of mismatched sentences.

    x, y: active sets of n parallel sentences, bool [n, neuron]; n at least 2. A resample draws sentences; a mismatched
    pair counts as often as both of its sentences are drawn, and a sentence is never paired with its own translation as
    a mismatch.
    """
    n = len(x)
    if n < 2:
        raise ExperimentError("mismatched pairs need at least 2 parallel sentences")
    pairs = jaccard(x, y)
    own = np.diag(pairs).copy()
    weights = np.vstack([np.ones(n), resampling_weights(n, resamples, seed)]).astype(np.float64)
    parallel = weights @ own / n
    squares = weights**2
    among_others = np.einsum("ri,ri->r", weights @ pairs, weights) - squares @ own
    chances = n**2 - squares.sum(axis=1)
    drawn_more_than_one = chances > 0
    mismatched = among_others[drawn_more_than_one] / chances[drawn_more_than_one]
    parallel = parallel[drawn_more_than_one]
    tail = (1 - level) / 2

    def with_interval(values: np.ndarray) -> tuple[float, float, float]:
        low, high = np.quantile(values[1:], [tail, 1 - tail])
        return float(values[0]), float(low), float(high)

    return ParallelOverlap(with_interval(parallel), with_interval(mismatched), with_interval(parallel - mismatched))


def parallel_overlaps(plan: Plan, store: Store, x: str, y: str, threshold: float) -> list[ParallelOverlap]:
    """Overlap of translations' and of mismatched sentences' active sets, for every layer.

    A neuron is active in a sentence where the share of its tokens with a > 0 is above `threshold`.
    """
    found = []
    with StatesReader(plan, store, [x, y]) as reader:
        tokens = {code: reader.tokens(code)[:, None] for code in (x, y)}
        for layer in range(plan.info.layers):
            shares = [reader.vectors(code, "nas", "mean", layer) / tokens[code] for code in (x, y)]
            found.append(parallel_overlap(*(share > threshold for share in shares)))
    return found


@dataclass(frozen=True)
class ParallelOverlapMeasure(Measure):
    """How much more of their active neurons translations share with the pivot's sentences than mismatched ones do."""

    threshold: float = choice(0.5, "a neuron is active in a sentence if it is in more than this share of its tokens")
    name: ClassVar[str] = "parallel_overlap"
    unit: ClassVar[str] = "languages"

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ExperimentError(f"the threshold is a share of tokens, at least 0 and below 1, not {self.threshold}")

    def parts(self) -> tuple[str, ...]:
        return tuple(code for code in self.plan.languages if code != self.plan.pivot)

    def content(self, part: str) -> object:
        return [self.threshold, self.reads(self.plan.pivot, part)]

    def compute(self, part: str, run: Run) -> Arrays:
        """Each of KINDS as value, low and high, [layer, 3]."""
        found = parallel_overlaps(self.plan, run.store, self.plan.pivot, part, self.threshold)
        return {kind: np.array([getattr(one, kind) for one in found]) for kind in KINDS}

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per language, layer and kind (parallel, mismatched, difference).

        Columns: language, layer, kind, value, and low and high of the 95 % interval.
        """
        rows = [
            (language, layer, kind, *values)
            for language, arrays in results.items()
            for layer in range(self.plan.info.layers)
            for kind in KINDS
            for values in [arrays[kind][layer].tolist()]
        ]
        return pd.DataFrame(rows, columns=["language", "layer", "kind", "value", "low", "high"])
