"""TODO"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuronxa_core.errors import ExperimentError


@dataclass(frozen=True)
class Intersection:
    """Neurons that are active in exactly these languages and in no other of those compared."""

    languages: tuple[str, ...]
    layer: np.ndarray
    neuron: np.ndarray

    @property
    def size(self) -> int:
        return len(self.neuron)


def exclusive_intersections(active: np.ndarray, languages: Sequence[str]) -> list[Intersection]:
    """How many neurons are shared by exactly which languages, the largest first; neurons active in none are left out.

    active: bool [language, layer, neuron], of at most 16 languages. The sizes add up to the size of the union.
    """
    if len(languages) > 16:
        raise ExperimentError(f"exact intersections are told for at most 16 languages, not for {len(languages)}")
    pattern = np.zeros(active.shape[1:], dtype=np.int64)
    for k in range(len(languages)):
        pattern |= active[k].astype(np.int64) << k
    found = []
    for code in np.unique(pattern[pattern > 0]):
        layer, neuron = np.nonzero(pattern == code)
        members = tuple(language for k, language in enumerate(languages) if code >> k & 1)
        found.append(Intersection(members, layer, neuron))
    return sorted(found, key=lambda i: (-i.size, len(i.languages), i.languages))
