"""How often each neuron is active in each language, and which neurons that makes a language's active set.

The activation probability of a neuron in a language is the share of the language's real tokens with a > 0. All that is
known of languages by their active sets works layer by layer on these counts, so that 200 languages of a large model
fit into memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.base import Arrays, Measure, Run, choice
from neuronxa_core.states.planning import Plan
from neuronxa_core.store.cache import Store


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

    def all_sets(self, counts: ActivationCounts) -> np.ndarray:
        """Active sets of every layer, bool [language, layer, neuron]."""
        active = np.empty(counts.counts.shape, dtype=bool)
        for layer in range(counts.layers):
            active[:, layer] = self.sets(counts.probability(layer))
        return active

    def __str__(self) -> str:
        if self.kind == "threshold":
            return f"active in more than {100 * self.value:.3g} % of the tokens"
        return f"top {100 * self.value:.3g} % per layer"


@dataclass(frozen=True)
class ActivationCountsMeasure(Measure):
    """How often the neurons are active in each language, by layer."""

    name: ClassVar[str] = "activation_counts"
    unit: ClassVar[str] = "languages"
    instant: ClassVar[bool] = True

    def parts(self) -> tuple[str, ...]:
        return self.plan.all_languages

    def content(self, part: str) -> object:
        return self.reads(part)

    @classmethod
    def extra_states(cls, plan: Plan) -> tuple[str, ...]:
        return counts_states(plan)

    def compute(self, part: str, run: Run) -> Arrays:
        """counts: tokens with a > 0, [layer, neuron]. tokens: all real tokens, [1]."""
        with run.states(part) as reader:
            return {"counts": reader.activation_counts(part), "tokens": np.array([reader.tokens(part).sum()])}

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per language and layer.

        Columns: language, layer, tokens, active_share (mean over neurons of the activation probability), ever_active
        (neurons that are active in at least one token).
        """
        tables = []
        for language, arrays in results.items():
            counts, tokens = arrays["counts"], int(arrays["tokens"][0])
            columns = {
                "language": language,
                "layer": np.arange(len(counts)),
                "tokens": tokens,
                "active_share": counts.mean(axis=1) / tokens,
                "ever_active": (counts > 0).sum(axis=1),
            }
            tables.append(pd.DataFrame(columns))
        return pd.concat(tables, ignore_index=True)


def activation_counts(plan: Plan, store: Store) -> ActivationCounts:
    """Activation counts of a plan's languages, the pivot first, over the sentences that all of them have.

    They are kept in the store, a small entry per language. Raises ExperimentError where states are missing, and
    CorruptEntry.
    """
    results = ActivationCountsMeasure(plan).run(store)
    counts = np.empty((len(results), plan.info.layers, plan.info.neurons), dtype=np.uint32)
    tokens = np.empty(len(results), dtype=np.int64)
    for k, language in enumerate(plan.all_languages):
        # popped: the counts of 200 languages of a large model are not to be in memory twice
        arrays = results.pop(language)
        counts[k], tokens[k] = arrays["counts"], arrays["tokens"][0]
    return ActivationCounts(plan.all_languages, counts, tokens)


def counts_states(plan: Plan) -> tuple[str, ...]:
    """What activation counts are read from besides those that are kept, which are of all of a language's own rows."""
    whole = all(len(plan.positions[code]) == len(plan.rows(code)) for code in plan.all_languages)
    return () if whole else ("nas_mean",)


def counts_key(plan: Plan) -> str:
    """What decides a plan's activation counts."""
    return ActivationCountsMeasure(plan).key


@dataclass(frozen=True)
class ActiveSetsMeasure(Measure):
    """What can be said of the languages' active sets, layer by layer."""

    criterion: str = choice(
        "top",
        "when a neuron is active in a language: among the share VALUE of its layer's neurons with the highest "
        "activation probability, or with a probability above VALUE",
        ("top", "threshold"),
    )
    value: float = choice(0.1, "the share of neurons or the threshold, from 0 to 1")
    unit: ClassVar[str] = "layers"
    instant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.plan.all_languages) < 2:
            raise ExperimentError(f"{self.name.replace('_', ' ')} compares languages; choose at least 2")
        # an unknown criterion is said at once
        ActivationCriterion(self.criterion, self.value)

    @classmethod
    def extra_states(cls, plan: Plan) -> tuple[str, ...]:
        return counts_states(plan)

    def parts(self) -> range:
        return range(self.plan.info.layers)

    def content(self, part: int) -> object:
        return [self.criterion, self.value, part, self._counts_key]

    @cached_property
    def _counts_key(self) -> str:
        return counts_key(self.plan)

    def probability(self, layer: int, run: Run) -> np.ndarray:
        """Activation probabilities at a layer, [language, neuron]."""
        return run.once("counts", lambda: activation_counts(self.plan, run.store)).probability(layer)

    def sets(self, layer: int, run: Run) -> np.ndarray:
        """The languages' active sets at a layer, bool [language, neuron]."""
        return ActivationCriterion(self.criterion, self.value).sets(self.probability(layer, run))
