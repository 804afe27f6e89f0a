"""The neurons that are active in all languages, against languages that choose by nothing but a neuron's base rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy.stats import binom

from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion, ActiveSetsMeasure
from neuronxa_core.measures.base import Arrays, Run

# neurons of neighbouring base rates that are taken as alike
ALIKE = 16


def shared_core(active: np.ndarray, rate: np.ndarray) -> Arrays:
    """How many neurons of a layer are active in all languages, and how many would be by chance, each [1].

    active: bool [language, neuron]. rate: every neuron's mean activation probability over languages, its base rate,
    [neuron]. Neurons are taken in groups of 16 by their rate. Under the null, a neuron is active in a language, and in
    each independently, with the share of its group that is active in that language, so that the size of the core is
    Poisson-binomial.

    observed; expected; low, high: the null's central 95 %; p: the null's probability of a core at least as large.
    """
    groups = np.array_split(np.argsort(rate, kind="stable"), max(1, len(rate) // ALIKE))
    expected, probability = 0.0, np.ones(1)
    for group in groups:
        shared = active[:, group].mean(axis=1).prod()
        expected += len(group) * shared
        of_group = binom.pmf(np.arange(len(group) + 1), len(group), shared)
        probability = np.convolve(probability, np.trim_zeros(of_group, "b"))
    observed = int(active.all(axis=0).sum())
    low, high = np.searchsorted(probability.cumsum(), [0.025, 0.975])
    found = {"observed": observed, "expected": expected, "low": low, "high": high}
    return {name: np.array([value]) for name, value in found.items()} | {
        "p": np.minimum(probability[observed:].sum(keepdims=True), 1)
    }


def core_table(layers: Mapping[int, Arrays]) -> pd.DataFrame:
    """A row per layer of `shared_core`: layer, observed, expected, ratio (NaN for 0 / 0), low, high, p."""
    table = pd.DataFrame([{"layer": layer, **{k: v.item() for k, v in one.items()}} for layer, one in layers.items()])
    table.insert(3, "ratio", table["observed"] / table["expected"])
    return table


def core_of(counts: ActivationCounts, criterion: ActivationCriterion) -> pd.DataFrame:
    """`core_table` of the languages of activation counts."""
    layers = map(counts.probability, range(counts.layers))
    return core_table({k: shared_core(criterion.sets(one), one.mean(axis=0)) for k, one in enumerate(layers)})


def core_sentence(table: pd.DataFrame) -> str:
    """What a `core_table` shows: the layers whose core is larger than by chance, by Bonferroni's correction.

    A core of no neuron is larger than nothing.
    """
    beyond = table[(table["observed"] > 0) & (table["p"] * len(table) < 0.05)]
    of = f"of {len(table)} layer{'s' if len(table) != 1 else ''}"
    if beyond.empty:
        return f"At none {of} is the core larger than neurons of the same base rates would give by chance."
    best = beyond.loc[beyond["ratio"].idxmax()]
    return (
        f"At {len(beyond)} {of} the core is larger than neurons of the same base rates would give by chance, most at "
        f"layer {best['layer']:.0f}: {best['observed']:.0f} neurons where {best['expected']:.3g} are expected. "
        "Related languages are not independent of each other, so that a part of this is kinship."
    )


class SharedCoreMeasure(ActiveSetsMeasure):
    """How many neurons are active in all languages, by layer, beside what neurons of the same base rates would give."""

    name: ClassVar[str] = "shared_core"
    version: ClassVar[int] = 2

    def compute(self, part: int, run: Run) -> Arrays:
        """As `shared_core`."""
        return shared_core(self.sets(part, run), self.probability(part, run).mean(axis=0))

    def frame(self, results: Mapping[int, Arrays]) -> pd.DataFrame:
        """A row per layer: see `core_table`."""
        return core_table(results)
