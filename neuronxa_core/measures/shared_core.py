"""The neurons that are active in all languages, against what independent sets of the same sizes would share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from neuronxa_core.measures.activation_counts import ActiveSetsMeasure
from neuronxa_core.measures.base import Arrays, Run


@dataclass(frozen=True)
class SharedCore:
    """Neurons active in all languages, by layer, against independent sets of the same sizes.

    observed: how many, [layer]. expected, deviation: mean and standard deviation of that number if every language drew
    its active set at random, [layer]. z: (observed - expected) / deviation, NaN where the deviation is 0.
    """

    observed: np.ndarray
    expected: np.ndarray
    deviation: np.ndarray

    @property
    def z(self) -> np.ndarray:
        gap = self.observed - self.expected
        return np.divide(gap, self.deviation, out=np.full(len(gap), np.nan), where=self.deviation > 0)

    def table(self) -> pd.DataFrame:
        """A row per layer: layer, observed, expected, deviation, z."""
        return pd.DataFrame({"layer": range(len(self.observed)), **asdict(self), "z": self.z})


def shared_core(active: np.ndarray) -> SharedCore:
    """The shared core of the sets active [language, layer, neuron].

    Of independent uniformly drawn sets of sizes a_k among N neurons, the intersection X has mean N prod(a_k / N) and
    E[X (X - 1)] = N (N - 1) prod(a_k (a_k - 1) / (N (N - 1))), whence its variance.
    """
    neurons = active.shape[2]
    sizes = active.sum(axis=2, dtype=np.int64).astype(np.float64)
    expected = neurons * np.prod(sizes / neurons, axis=0)
    pairs = np.zeros_like(expected)
    if neurons > 1:
        pairs = neurons * (neurons - 1) * np.prod(sizes * (sizes - 1) / (neurons * (neurons - 1)), axis=0)
    variance = pairs + expected - expected**2
    # a variance of 0 comes out as rounding errors of the terms it is made of
    variance[variance < 1e-9 * (1 + expected**2)] = 0
    return SharedCore(active.all(axis=0).sum(axis=1), expected, np.sqrt(variance))


@dataclass(frozen=True)
class SharedCoreMeasure(ActiveSetsMeasure):
    """How many neurons are active in all languages, by layer, beside independent sets of the same sizes."""

    name: ClassVar[str] = "shared_core"

    def compute(self, part: int, run: Run) -> Arrays:
        """observed, expected, deviation as in SharedCore, each [1]."""
        return asdict(shared_core(self.sets(part, run)[:, None]))

    def frame(self, results: Mapping[int, Arrays]) -> pd.DataFrame:
        """A row per layer: layer, observed, expected, deviation, z."""
        columns = (np.concatenate([a[name] for a in results.values()]) for name in SharedCore.__dataclass_fields__)
        return SharedCore(*columns).table().assign(layer=list(results))
