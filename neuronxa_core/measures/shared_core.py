"""TODO"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
