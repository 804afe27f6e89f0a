"""Language-specific neurons by language activation probability entropy (LAPE; Tang et al., ACL 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy.special import entr

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.activation_counts import ActivationCounts, activation_counts, counts_key, counts_states
from neuronxa_core.measures.base import Arrays, Measure, Run, choice
from neuronxa_core.states.interventions import Neurons
from neuronxa_core.states.planning import Plan

# entropies closer than this are taken as equal, so that the order in which a sum is made decides nothing
ENTROPY_DECIMALS = 12
# cells of the histogram with which a percentile of all probabilities is found
BINS = 1 << 16


@dataclass(frozen=True)
class LanguageSpecific:
    """LAPE's language-specific neurons, by entropy, the lowest first.

    layer, neuron: [found]. entropy: of the probabilities normalised over languages, in nats, [found] in [0, ln L].
    probability: [found, language]. members: the languages that a neuron is assigned to, bool [found, language]; a
    neuron may have several, or none where the assigning percentile is above the dropping one.
    drop_below, assign_above: the probabilities that the two percentiles came to. layers: of the model.
    """

    languages: tuple[str, ...]
    layer: np.ndarray
    neuron: np.ndarray
    entropy: np.ndarray
    probability: np.ndarray
    members: np.ndarray
    drop_below: float
    assign_above: float
    layers: int

    def of(self, language: str) -> tuple[np.ndarray, np.ndarray]:
        """(layer, neuron) of the neurons assigned to a language."""
        chosen = self.members[:, self.languages.index(language)]
        return self.layer[chosen], self.neuron[chosen]

    def neurons_of(self, language: str) -> Neurons:
        """The neurons assigned to a language, as a set that can be ablated."""
        layer, neuron = self.of(language)
        return Neurons.of({k: neuron[layer == k] for k in range(self.layers)})

    def counts(self) -> np.ndarray:
        """How many neurons are assigned to each language at each layer, [language, layer]."""
        counts = np.zeros((len(self.languages), self.layers), dtype=np.int64)
        at, language = np.nonzero(self.members)
        np.add.at(counts, (language, self.layer[at]), 1)
        return counts

    def masks(self) -> dict[str, list[list[int]]]:
        """LAPE's mask format: for every language a list per layer of neuron numbers, ascending."""
        masks: dict[str, list[list[int]]] = {}
        for language in self.languages:
            layer, neuron = self.of(language)
            masks[language] = [sorted(neuron[layer == k].tolist()) for k in range(self.layers)]
        return masks

    def table(self) -> pd.DataFrame:
        """A row per neuron: layer, neuron, entropy, languages (assigned to), and its probability in each language."""
        return pd.DataFrame(
            {
                "layer": self.layer,
                "neuron": self.neuron,
                "entropy": self.entropy,
                "languages": [", ".join(compress(self.languages, row)) for row in self.members.tolist()],
                **dict(zip(self.languages, self.probability.T, strict=True)),
            }
        )


def percentiles(counts: ActivationCounts, wanted: Sequence[float]) -> list[float]:
    """Percentiles of all probabilities, each in [0, 100]: the k-th smallest, k = its share of their number, rounded."""
    amount = counts.counts.size
    return _kth_smallest(counts, [min(amount, max(1, round(amount * p / 100))) for p in wanted])


def _kth_smallest(counts: ActivationCounts, ks: Sequence[int]) -> list[float]:
    """The k-th smallest (from 1) of all probabilities, for each k, exactly, without holding them all at once.

    A histogram over all layers tells in which cell each lies; a second pass sorts just those cells.
    """
    histogram = np.zeros(BINS, dtype=np.int64)
    for layer in range(counts.layers):
        histogram += np.bincount(_cells(counts.probability(layer)), minlength=BINS)
    upto = np.cumsum(histogram)
    cells = {k: int(np.searchsorted(upto, k)) for k in ks}
    inside: dict[int, list[np.ndarray]] = {cell: [] for cell in cells.values()}
    for layer in range(counts.layers):
        probability = counts.probability(layer)
        at = _cells(probability)
        for cell, parts in inside.items():
            parts.append(probability.ravel()[at == cell])
    values = []
    for k in ks:
        rank = k - 1 - (int(upto[cells[k] - 1]) if cells[k] else 0)
        values.append(float(np.partition(np.concatenate(inside[cells[k]]), rank)[rank]))
    return values


def _cells(probability: np.ndarray) -> np.ndarray:
    """The histogram cell of every probability, flat; larger ones never lie in smaller cells."""
    return (probability * (BINS - 1)).astype(np.int64).ravel()


def entropies(counts: ActivationCounts, drop_below: float) -> np.ndarray:
    """Entropy of each neuron's probabilities normalised over languages, in nats: [layer, neuron] in [0, ln L].

    inf for a neuron whose probability is in no language above `drop_below`.
    """
    entropy = np.full((counts.layers, counts.neurons), np.inf)
    for layer in range(counts.layers):
        probability = counts.probability(layer)
        kept = (probability > drop_below).any(axis=0)
        chosen = probability[:, kept]
        entropy[layer, kept] = entr(chosen / chosen.sum(axis=0)).sum(axis=0)
    return entropy


def lape(
    counts: ActivationCounts, share: float = 0.01, drop_percentile: float = 95, assign_percentile: float = 95
) -> LanguageSpecific:
    """Language-specific neurons by language activation probability entropy (Tang et al., ACL 2024).

    share: of all neurons, how many of the lowest entropy are taken, in (0, 1]. drop_percentile: a neuron that is in no
    language above this percentile of all probabilities is dropped first. assign_percentile: a neuron belongs to the
    languages in which it is above this one. Percentiles are the k-th smallest of all probabilities, k = their share of
    the number of probabilities, rounded, as in the authors' own program; equal entropies go by layer, then number.
    Raises ExperimentError for parameters outside their range and for fewer than 2 languages.
    """
    _check(counts.languages, share, drop_percentile, assign_percentile)
    drop_below, assign_above = percentiles(counts, (drop_percentile, assign_percentile))
    entropy = entropies(counts, drop_below).ravel()
    wanted = min(round(share * entropy.size), int(np.isfinite(entropy).sum()))
    order = np.argsort(np.round(entropy, ENTROPY_DECIMALS), kind="stable")[:wanted]
    layer, neuron = np.divmod(order, counts.neurons)
    probability = counts.at(layer, neuron).T
    return LanguageSpecific(
        counts.languages,
        layer,
        neuron,
        entropy[order],
        probability,
        probability > assign_above,
        drop_below,
        assign_above,
        counts.layers,
    )


def _check(languages: Sequence[str], share: float, drop_percentile: float, assign_percentile: float) -> None:
    if len(languages) < 2:
        raise ExperimentError("language-specific neurons need at least 2 languages")
    if not 0 < share <= 1:
        raise ExperimentError(f"the share of neurons is above 0 and at most 1, not {share}")
    for name, percentile in (("drop", drop_percentile), ("assign", assign_percentile)):
        if not 0 <= percentile <= 100:
            raise ExperimentError(f"the {name} percentile is between 0 and 100, not {percentile}")


def halves(plan: Plan) -> tuple[Plan, Plan]:
    """The plan with every second usable row: to choose neurons on, and with the others: to test them on.

    Raises ExperimentError for fewer than 4 rows.
    """
    rows = plan.corpus.usable
    if len(rows) < 4:
        raise ExperimentError(
            "neurons are chosen on one half of the sentences and tested on the other, which takes at least 4 "
            f"sentences, not {len(rows)}; choose more"
        )
    chosen, tested = (replace(plan, corpus=replace(plan.corpus, usable=rows[k::2])) for k in (0, 1))
    return chosen, tested


@dataclass(frozen=True)
class LapeMeasure(Measure):
    """Language-specific neurons (LAPE): those whose activation probability is concentrated on the fewest languages."""

    share: float = choice(0.01, "which share of all neurons, those of the lowest entropy, are language-specific")
    drop_percentile: float = choice(95.0, "drop neurons that are in no language above this percentile of probabilities")
    assign_percentile: float = choice(95.0, "a neuron belongs to the languages in which it is above this percentile")
    name: ClassVar[str] = "lape"
    unit: ClassVar[str] = "comparisons"
    instant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.plan.all_languages, self.share, self.drop_percentile, self.assign_percentile)

    @classmethod
    def extra_states(cls, plan: Plan) -> tuple[str, ...]:
        return counts_states(plan)

    @property
    def note(self) -> str:
        """That LAPE's own definition of a neuron is another one, where it is."""
        if self.plan.experiment.neuron == "gate" or not self.plan.info.gated:
            return ""
        return "LAPE as published defines a neuron as the gate's output: --neuron gate"

    def parts(self) -> tuple[str]:
        return ("all languages",)

    def content(self, part: str) -> object:
        return [float(value) for value in self.choices().values()] + [counts_key(self.plan)]

    def compute(self, part: str, run: Run) -> Arrays:
        """layer, neuron, entropy, probability and members as in LanguageSpecific; bounds: its two probabilities."""
        found = lape(activation_counts(self.plan, run.store), **self.choices())
        names = ("layer", "neuron", "entropy", "probability", "members")
        return {name: getattr(found, name) for name in names} | {
            "bounds": np.array([found.drop_below, found.assign_above])
        }

    def found(self, results: Mapping[str, Arrays]) -> LanguageSpecific:
        """The results as what `lape` returns."""
        (arrays,) = results.values()
        drop_below, assign_above = arrays["bounds"].tolist()
        named = {name: value for name, value in arrays.items() if name != "bounds"}
        layers = self.plan.info.layers
        return LanguageSpecific(
            self.plan.all_languages, **named, drop_below=drop_below, assign_above=assign_above, layers=layers
        )

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per neuron, the lowest entropy first: see LanguageSpecific.table."""
        return self.found(results).table()
