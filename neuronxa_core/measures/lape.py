"""TODO"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import entr

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.activation_counts import ActivationCounts

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
    drop_below, assign_above: the probabilities that the two percentiles came to.
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

    def counts(self) -> np.ndarray:
        """How many neurons are assigned to each language at each layer, [language, layer]."""
        counts = np.zeros((len(self.languages), self.layers), dtype=np.int64)
        for k in range(len(self.languages)):
            np.add.at(counts[k], self.layer[self.members[:, k]], 1)
        return counts

    def masks(self) -> dict[str, list[list[int]]]:
        """LAPE's mask format: for every language a list a layer of neuron numbers, ascending."""
        masks: dict[str, list[list[int]]] = {}
        for language in self.languages:
            layer, neuron = self.of(language)
            masks[language] = [sorted(neuron[layer == k].tolist()) for k in range(self.layers)]
        return masks


def _kth_smallest(activity: ActivationCounts, ks: Sequence[int]) -> list[float]:
    """The k-th smallest (from 1) of all probabilities, for each k, exactly, without holding them all at once.

    A histogram over all layers tells in which cell each lies; a second pass sorts just those cells.
    """
    histogram = np.zeros(BINS, dtype=np.int64)
    for layer in range(activity.layers):
        histogram += np.bincount(_cells(activity.probability(layer)), minlength=BINS)
    upto = np.cumsum(histogram)
    cells = {k: int(np.searchsorted(upto, k)) for k in ks}
    inside: dict[int, list[np.ndarray]] = {cell: [] for cell in cells.values()}
    for layer in range(activity.layers):
        probability = activity.probability(layer)
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


def entropies(activity: ActivationCounts, drop_below: float) -> np.ndarray:
    """Entropy of each neuron's probabilities normalised over languages, in nats: [layer, neuron] in [0, ln L].

    inf for a neuron whose probability is in no language above `drop_below`.
    """
    entropy = np.full((activity.layers, activity.neurons), np.inf)
    for layer in range(activity.layers):
        probability = activity.probability(layer)
        kept = (probability > drop_below).any(axis=0)
        chosen = probability[:, kept]
        entropy[layer, kept] = entr(chosen / chosen.sum(axis=0)).sum(axis=0)
    return entropy


def lape(
    activity: ActivationCounts, share: float = 0.01, drop_percentile: float = 95, assign_percentile: float = 95
) -> LanguageSpecific:
    """Language-specific neurons by language activation probability entropy (Tang et al., ACL 2024).

    share: of all neurons, how many of the lowest entropy are taken, in (0, 1]. drop_percentile: a neuron that is in no
    language above this percentile of all probabilities is dropped first. assign_percentile: a neuron belongs to the
    languages in which it is above this one. Percentiles are the k-th smallest of all probabilities, k = their share of
    the number of probabilities, rounded, as in the authors' own program; equal entropies go by layer, then number.
    """
    if len(activity.languages) < 2:
        raise ExperimentError("language-specific neurons need at least 2 languages")
    if not 0 < share <= 1:
        raise ExperimentError(f"the share of neurons is above 0 and at most 1, not {share}")
    for name, percentile in (("drop", drop_percentile), ("assign", assign_percentile)):
        if not 0 <= percentile <= 100:
            raise ExperimentError(f"the {name} percentile is between 0 and 100, not {percentile}")
    amount = activity.counts.size
    ks = [min(amount, max(1, round(amount * p / 100))) for p in (drop_percentile, assign_percentile)]
    drop_below, assign_above = _kth_smallest(activity, ks)
    entropy = entropies(activity, drop_below).ravel()
    wanted = min(round(share * entropy.size), int(np.isfinite(entropy).sum()))
    order = np.argsort(np.round(entropy, ENTROPY_DECIMALS), kind="stable")[:wanted]
    layer, neuron = np.divmod(order, activity.neurons)
    probability = activity.at(layer, neuron).T
    return LanguageSpecific(
        activity.languages,
        layer,
        neuron,
        entropy[order],
        probability,
        probability > assign_above,
        drop_below,
        assign_above,
        activity.layers,
    )
