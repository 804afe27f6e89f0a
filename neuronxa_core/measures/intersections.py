"""Which neurons are active in exactly which of a few languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.activation_counts import ActiveSetsMeasure
from neuronxa_core.measures.base import Arrays, Run

# of so many languages there are 65,535 combinations
MOST_LANGUAGES = 16


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
    pattern = _patterns(active)
    found = []
    for code in np.unique(pattern[pattern > 0]):
        layer, neuron = np.nonzero(pattern == code)
        found.append(Intersection(_members(code, languages), layer, neuron))
    return sorted(found, key=lambda i: (-i.size, len(i.languages), i.languages))


def _patterns(active: np.ndarray) -> np.ndarray:
    """The languages in which each neuron is active as bits of a number, the first language's the lowest."""
    _check_number(len(active))
    return np.tensordot(1 << np.arange(len(active)), active, axes=1)


def _members(pattern: int, languages: Sequence[str]) -> tuple[str, ...]:
    return tuple(language for k, language in enumerate(languages) if pattern >> k & 1)


def _check_number(languages: int) -> None:
    if languages > MOST_LANGUAGES:
        raise ExperimentError(
            f"exact intersections are told for at most {MOST_LANGUAGES} languages, not for {languages}; choose fewer"
        )


@dataclass(frozen=True)
class IntersectionsMeasure(ActiveSetsMeasure):
    """How many neurons are active in exactly which languages, by layer; for at most 16 languages."""

    name: ClassVar[str] = "intersections"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_number(len(self.plan.all_languages))

    def compute(self, part: int, run: Run) -> Arrays:
        """pattern: the languages as bits, see `_patterns`; size: how many neurons have it; both [intersection]."""
        pattern, size = np.unique(_patterns(self.sets(part, run)), return_counts=True)
        return {"pattern": pattern[pattern > 0], "size": size[pattern > 0]}

    def frame(self, results: Mapping[int, Arrays]) -> pd.DataFrame:
        """A row per layer and combination of languages that has neurons: layer, languages, size; the largest first."""
        tables = []
        for layer, arrays in results.items():
            members = [" + ".join(_members(code, self.plan.all_languages)) for code in arrays["pattern"]]
            table = pd.DataFrame({"layer": layer, "languages": members, "size": arrays["size"]})
            tables.append(table.sort_values("size", ascending=False, kind="stable"))
        return pd.concat(tables, ignore_index=True)
