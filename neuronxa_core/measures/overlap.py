"""How much of their active neurons languages share: Jaccard and conditional overlap of active sets.

Overlap of sets says which neurons two languages use; it does not say what for. Source of the terms: Huang et al.,
ACL 2025.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion, ActiveSetsMeasure
from neuronxa_core.measures.base import Arrays, Run


def _shared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|A n B| of all rows of two bool matrices [n, neuron] and [m, neuron]: [n, m], exact below 2^24 neurons."""
    return (x.astype(np.float32) @ y.astype(np.float32).T).astype(np.float64)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where the whole is 0: an empty set shares nothing."""
    return np.divide(part, whole, out=np.zeros(np.broadcast_shapes(np.shape(part), np.shape(whole))), where=whole > 0)


def jaccard(x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    """|A n B| / |A u B| of the sets in the rows of x [n, neuron] and y [m, neuron] (x itself if not given), bool.

    Returns [n, m] float64 in [0, 1]; two empty sets have 0.
    """
    y = x if y is None else y
    shared = _shared(x, y)
    return _ratio(shared, x.sum(axis=1)[:, None] + y.sum(axis=1)[None, :] - shared)


def conditional(x: np.ndarray) -> np.ndarray:
    """|A n B| / |A| of the sets in the rows of x, bool [language, neuron]: [A, B] in [0, 1], not symmetric."""
    return _ratio(_shared(x, x), x.sum(axis=1)[:, None].astype(np.float64))


def chance_jaccard(a: np.ndarray | float, b: np.ndarray | float, neurons: int) -> np.ndarray | float:
    """The overlap of independent sets of a and b of so many neurons: the expected |A n B| over the expected |A u B|."""
    shared = a * b / neurons
    return _ratio(shared, a + b - shared)[()]


MEASURES = {"jaccard": jaccard, "conditional": conditional}


def overlap_by_layer(counts: ActivationCounts, criterion: ActivationCriterion, measure: str = "jaccard") -> np.ndarray:
    """Overlap of every pair of languages at every layer, [layer, language, language] in [0, 1].

    measure: `jaccard`, or `conditional` with [layer, A, B] = |A n B| / |A|.
    """
    if measure not in MEASURES:
        raise ExperimentError(f"overlap is measured by jaccard or conditional, not by {measure!r}")
    layers = (criterion.sets(counts.probability(layer)) for layer in range(counts.layers))
    return np.stack([MEASURES[measure](sets) for sets in layers])


@dataclass(frozen=True)
class OverlapMeasure(ActiveSetsMeasure):
    """How much of their active neurons every two languages share, by layer."""

    name: ClassVar[str] = "overlap"

    def compute(self, part: int, run: Run) -> Arrays:
        """jaccard, conditional: [language, language] in [0, 1]. active: sizes of the active sets, [language]."""
        sets = self.sets(part, run)
        return {"jaccard": jaccard(sets), "conditional": conditional(sets), "active": sets.sum(axis=1)}

    def frame(self, results: Mapping[int, Arrays]) -> pd.DataFrame:
        """A row per ordered pair of languages and layer.

        Columns: language_x, language_y, layer, active_x, active_y (neurons), jaccard, conditional (the share of x's
        active neurons that y has), and chance_jaccard, chance_conditional of independent sets of the same sizes.
        """
        codes, neurons = np.array(self.plan.all_languages), self.plan.info.neurons
        x, y = np.nonzero(~np.eye(len(codes), dtype=bool))
        tables = []
        for layer, arrays in results.items():
            active_x, active_y = arrays["active"][x], arrays["active"][y]
            columns = {
                "language_x": codes[x],
                "language_y": codes[y],
                "layer": layer,
                "active_x": active_x,
                "active_y": active_y,
                "jaccard": arrays["jaccard"][x, y],
                "chance_jaccard": chance_jaccard(active_x, active_y, neurons),
                "conditional": arrays["conditional"][x, y],
                "chance_conditional": active_y / neurons,
            }
            tables.append(pd.DataFrame(columns))
        return pd.concat(tables, ignore_index=True)
