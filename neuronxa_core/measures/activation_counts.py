"""TODO"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import digest
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store

# part of the key under which activation counts are kept: raise it whenever they could change
VERSION = 1


@dataclass(frozen=True)
class ActivationCounts:
    """How often each neuron was active, by language.

    counts: tokens with a > 0, [language, layer, neuron] unsigned integers. tokens: all real tokens, [language].
    """

    languages: tuple[str, ...]
    counts: np.ndarray
    tokens: np.ndarray

    def __post_init__(self) -> None:
        if self.counts.ndim != 3 or len(self.counts) != len(self.languages) or len(self.tokens) != len(self.languages):
            raise ValueError(f"{len(self.languages)} languages, but counts of shape {self.counts.shape}")
        if len(self.tokens) and int(np.min(self.tokens)) < 1:
            raise ExperimentError("a language without tokens has no activation probabilities")

    @property
    def layers(self) -> int:
        return self.counts.shape[1]

    @property
    def neurons(self) -> int:
        """Neurons of one layer."""
        return self.counts.shape[2]

    def probability(self, layer: int) -> np.ndarray:
        """Activation probabilities of a layer, [language, neuron] float64 in [0, 1]."""
        return self.counts[:, layer] / np.asarray(self.tokens, dtype=np.float64)[:, None]

    def at(self, layer: int | np.ndarray, neuron: int | np.ndarray) -> np.ndarray:
        """Activation probabilities of single neurons, [language] or, of arrays [found], [language, found]."""
        return (self.counts[:, layer, neuron].T / np.asarray(self.tokens, dtype=np.float64)).T

    def of(self, languages: Sequence[str]) -> ActivationCounts:
        """The same for some of the languages, in the order given."""
        at = [self.languages.index(code) for code in languages]
        return ActivationCounts(tuple(languages), self.counts[at], np.asarray(self.tokens)[at])


@dataclass(frozen=True)
class ActivationCriterion:
    """When a neuron counts as active in a language.

    `threshold`: its probability is above `value`, in [0, 1). `top`: it is among the share `value`, in (0, 1], of the
    layer's neurons with the highest probability; where several tie for the last place the lower numbers get it, and a
    neuron that was never active is left out.
    """

    kind: Literal["threshold", "top"] = "top"
    value: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in ("threshold", "top"):
            raise ExperimentError(f"neurons are active by threshold or top, not by {self.kind!r}")
        if self.kind == "threshold" and not 0 <= self.value < 1:
            raise ExperimentError(f"a threshold is at least 0 and below 1, not {self.value}")
        if self.kind == "top" and not 0 < self.value <= 1:
            raise ExperimentError(f"a top share is above 0 and at most 1, not {self.value}")

    def sets(self, probability: np.ndarray) -> np.ndarray:
        """Active sets of [..., neuron] probabilities, bool of the same shape."""
        if self.kind == "threshold":
            return probability > self.value
        neurons = probability.shape[-1]
        k = max(1, round(self.value * neurons))
        kth = np.partition(probability, neurons - k, axis=-1)[..., neurons - k, None]
        above = probability > kth
        ties = probability == kth
        free = k - above.sum(axis=-1, keepdims=True)
        return (above | (ties & (np.cumsum(ties, axis=-1) <= free))) & (probability > 0)

    def all_sets(self, activity: ActivationCounts) -> np.ndarray:
        """Active sets of every layer, bool [language, layer, neuron]."""
        active = np.empty(activity.counts.shape, dtype=bool)
        for layer in range(activity.layers):
            active[:, layer] = self.sets(activity.probability(layer))
        return active

    def __str__(self) -> str:
        if self.kind == "threshold":
            return f"active in more than {100 * self.value:.3g} % of the tokens"
        return f"the {100 * self.value:.3g} % most often active"


def activation_counts(
    plan: Plan,
    store: Store,
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> ActivationCounts:
    """Activation counts of a plan's languages, the pivot first, over the sentences that all of them have.

    The sums are kept in the store, one small entry a language. on_progress(languages done, languages).
    """
    everyone = plan.all_languages
    counts = np.empty((len(everyone), plan.info.layers, plan.info.neurons), dtype=np.uint32)
    tokens = np.empty(len(everyone), dtype=np.int64)
    for k, language in enumerate(everyone):
        counts[k], tokens[k] = _counts_of(plan, store, language)
        on_progress(k + 1, len(everyone))
    return ActivationCounts(everyone, counts, tokens)


def counts_key(plan: Plan) -> str:
    """What decides a plan's activation counts."""
    return "activity-" + digest([_language_counts_key(plan, language) for language in plan.all_languages])


def _language_counts_key(plan: Plan, language: str) -> str:
    return "counts-" + digest([VERSION, plan.keys[language], plan.positions[language].tolist()])


def _counts_of(plan: Plan, store: Store, language: str) -> tuple[np.ndarray, int]:
    """(activation counts [layer, neuron], tokens) of one language."""
    key = _language_counts_key(plan, language)
    kept = store.read(key)
    if kept is not None:
        return kept["counts"], int(kept["tokens"][0])
    with StatesReader(plan, store, [language]) as reader:
        sums = [
            reader.vectors(language, "nas", "mean", layer).sum(axis=0, dtype=np.uint32)
            for layer in range(plan.info.layers)
        ]
        counts, tokens = np.stack(sums), int(reader.tokens(language).sum())
    meta = {"kind": "activation counts", "language": language, "model": plan.source.name, "corpus": plan.corpus.name}
    store.try_put(key, {"counts": counts, "tokens": np.array([tokens])}, meta)
    return counts, tokens
