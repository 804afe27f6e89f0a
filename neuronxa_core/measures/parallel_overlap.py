"""How much of their active neurons a sentence and its translation share, against sentences that are no translations.

The difference is what meaning, rather than language, contributes (Huang et al., ACL 2025). Long sentences share more
neurons with long ones, so that translations are compared with mismatched sentences of their length unless one asks for
all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    second, the translation-specific overlap. sentences: how many have mismatched ones to be compared with; without any,
    all values are NaN.
    """

    parallel: tuple[float, float, float]
    mismatched: tuple[float, float, float]
    difference: tuple[float, float, float]
    sentences: int


KINDS = ("parallel", "mismatched", "difference")
# by how much of the longer one's length sentences may differ and still be of one length
TOLERANCE = 0.1


def same_length(*lengths: np.ndarray) -> np.ndarray:
    """Which sentences have one length, within 10 % of the longer one, in every language: bool [n, n].

    lengths: tokens of each sentence, [n], a language each.
    """
    return np.logical_and.reduce([np.abs(t[:, None] - t) <= TOLERANCE * np.maximum(t[:, None], t) for t in lengths])


def parallel_overlap(
    x: np.ndarray,
    y: np.ndarray,
    comparable: np.ndarray | None = None,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> ParallelOverlap:
    """Mean Jaccard of translations' active sets against that of mismatched sentences.

    x, y: active sets of n parallel sentences, bool [n, neuron]; n at least 2. comparable: which sentences may stand for
    each other in a mismatched pair, bool [n, n], symmetric, True on its diagonal; all if not given. Each sentence has
    the same weight, however many others are comparable with it; one that has none is left out. A resample draws
    sentences; a mismatched pair counts as often as both of its sentences are drawn, and a sentence is never paired with
    its own translation as a mismatch.
    """
    n = len(x)
    if n < 2:
        raise ExperimentError("mismatched pairs need at least 2 parallel sentences")
    comparable = np.ones((n, n), dtype=bool) if comparable is None else comparable
    others = comparable.sum(axis=1) - 1
    has = others > 0
    if not has.any():
        return ParallelOverlap(*[(np.nan,) * 3] * 3, 0)
    # a sentence's comparable ones share what its n - 1 others would count; its translation is taken off below
    share = comparable * ((n - 1) / np.maximum(others, 1))[:, None]
    np.fill_diagonal(share, 1)
    pairs = jaccard(x, y)
    own = np.diag(pairs).copy()
    weights = np.vstack([np.ones(n), resampling_weights(n, resamples, seed)]).astype(np.float64)
    squares = weights**2
    among_others = np.einsum("ri,ri->r", weights @ (share * pairs), weights) - squares @ own
    chances = np.einsum("ri,ri->r", weights @ share, weights) - squares.sum(axis=1)
    drawn_more_than_one = chances > 1e-9
    mismatched = among_others[drawn_more_than_one] / chances[drawn_more_than_one]
    counted = weights[drawn_more_than_one][:, has]
    parallel = counted @ own[has] / counted.sum(axis=1)
    tail = (1 - level) / 2

    def with_interval(values: np.ndarray) -> tuple[float, float, float]:
        low, high = np.quantile(values[1:], [tail, 1 - tail])
        return float(values[0]), float(low), float(high)

    values = (parallel, mismatched, parallel - mismatched)
    return ParallelOverlap(*map(with_interval, values), int(has.sum()))


def parallel_overlaps(
    plan: Plan, store: Store, x: str, y: str, threshold: float, match_length: bool = True
) -> list[ParallelOverlap]:
    """Overlap of translations' and of mismatched sentences' active sets, for every layer.

    A neuron is active in a sentence where the share of its tokens with a > 0 is above `threshold`. match_length:
    mismatched pairs are of sentences that have one length in both languages (`same_length`).
    """
    found = []
    with StatesReader(plan, store, [x, y]) as reader:
        tokens = {code: reader.tokens(code)[:, None] for code in (x, y)}
        comparable = same_length(*(one[:, 0].astype(np.float64) for one in tokens.values())) if match_length else None
        for layer in range(plan.info.layers):
            shares = [reader.vectors(code, "nas", "mean", layer) / tokens[code] for code in (x, y)]
            found.append(parallel_overlap(*(share > threshold for share in shares), comparable))
    return found


@dataclass(frozen=True)
class ParallelOverlapMeasure(Measure):
    """How much more of their active neurons translations share with the pivot's sentences than mismatched ones do."""

    threshold: float = choice(0.5, "a neuron is active in a sentence if it is in more than this share of its tokens")
    match_length: bool = choice(True, "compare with mismatched sentences within 10 % of the length in tokens only")
    name: ClassVar[str] = "parallel_overlap"
    version: ClassVar[int] = 2
    unit: ClassVar[str] = "languages"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.threshold < 1:
            raise ExperimentError(f"the threshold is a share of tokens, at least 0 and below 1, not {self.threshold}")

    @classmethod
    def extra_states(cls, plan: Plan) -> tuple[str, ...]:
        return ("nas_mean",)

    def parts(self) -> tuple[str, ...]:
        return tuple(code for code in self.plan.languages if code != self.plan.pivot)

    def content(self, part: str) -> object:
        return [self.threshold, self.match_length, self.reads(self.plan.pivot, part)]

    def compute(self, part: str, run: Run) -> Arrays:
        """Each of KINDS as value, low and high, [layer, 3], and sentences, [1]."""
        found = parallel_overlaps(self.plan, run.store, self.plan.pivot, part, self.threshold, self.match_length)
        arrays = {kind: np.array([getattr(one, kind) for one in found]) for kind in KINDS}
        return arrays | {"sentences": np.array([found[0].sentences])}

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per language, layer and kind (parallel, mismatched, difference).

        Columns: language, layer, kind, value, low and high of the 95 % interval, and sentences (how many have
        mismatched ones to be compared with; the others are left out).
        """
        rows = [
            (language, layer, kind, *values, arrays["sentences"].item())
            for language, arrays in results.items()
            for layer in range(self.plan.info.layers)
            for kind in KINDS
            for values in [arrays[kind][layer].tolist()]
        ]
        return pd.DataFrame(rows, columns=["language", "layer", "kind", "value", "low", "high", "sentences"])
