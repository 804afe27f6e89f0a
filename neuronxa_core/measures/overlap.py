"""Which neurons languages share: activation probabilities, active sets, Jaccard overlap, shared core, LAPE.

The activation probability of neuron (l, j) in a language is the share of the language's real tokens with a > 0. A
language's active set at a layer are the neurons whose probability passes an `ActiveRule`. Everything here works layer
by layer on activation counts, so that 200 languages of a large model fit into memory.

Overlap of sets says which neurons two languages use; it does not say what for. Source of the terms: Huang et al.,
ACL 2025 (overlap of parallel sentences); Tang et al., ACL 2024 (LAPE, language activation probability entropy).
"""

from __future__ import annotations

import numpy as np

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion


def _intersections(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|A n B| of all rows of two bool matrices [n, neuron] and [m, neuron]: [n, m], exact below 2^24 neurons."""
    return (x.astype(np.float32) @ y.astype(np.float32).T).astype(np.float64)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where the whole is 0: an empty set shares nothing."""
    return np.divide(part, whole, out=np.zeros(np.broadcast_shapes(part.shape, whole.shape)), where=whole > 0)


def jaccard(x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    """|A n B| / |A u B| of the sets in the rows of x [n, neuron] and y [m, neuron] (x itself if not given), bool.

    Returns [n, m] float64 in [0, 1]; two empty sets have 0.
    """
    y = x if y is None else y
    shared = _intersections(x, y)
    return _ratio(shared, x.sum(axis=1)[:, None] + y.sum(axis=1)[None, :] - shared)


def conditional(x: np.ndarray) -> np.ndarray:
    """|A n B| / |A| of the sets in the rows of x, bool [language, neuron]: [A, B] in [0, 1], not symmetric."""
    return _ratio(_intersections(x, x), x.sum(axis=1)[:, None].astype(np.float64))


def chance_jaccard(a: float, b: float, neurons: int) -> float:
    """The overlap of independent sets of a and b of so many neurons: the expected |A n B| over the expected |A u B|."""
    shared = a * b / neurons
    whole = a + b - shared
    return shared / whole if whole else 0.0


def overlap_by_layer(activity: ActivationCounts, rule: ActivationCriterion, measure: str = "jaccard") -> np.ndarray:
    """Overlap of every pair of languages at every layer, [layer, language, language] in [0, 1].

    measure: `jaccard`, or `conditional` with [layer, A, B] = |A n B| / |A|.
    """
    measures = {"jaccard": jaccard, "conditional": conditional}
    if measure not in measures:
        raise ExperimentError(f"overlap is measured by jaccard or conditional, not by {measure!r}")
    count = len(activity.languages)
    overlaps = np.empty((activity.layers, count, count))
    for layer in range(activity.layers):
        overlaps[layer] = measures[measure](rule.sets(activity.probability(layer)))
    return overlaps
