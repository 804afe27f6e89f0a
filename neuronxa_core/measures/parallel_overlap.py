"""TODO"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.alignment import resampling_weights
from neuronxa_core.measures.overlap import jaccard
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store


@dataclass(frozen=True)
class ParallelOverlap:
    """Overlap of sentences' active sets at one layer, each (value, low, high) with a percentile bootstrap interval.

    parallel: mean Jaccard of translations. mismatched: mean Jaccard of all other pairs. difference: the first minus the
    second, what meaning rather than language contributes.
    """

    parallel: tuple[float, float, float]
    mismatched: tuple[float, float, float]
    difference: tuple[float, float, float]


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
