"""How far LAPE's neurons can be relied on: on other sentences, and against languages whose sentences are shuffled.

LAPE returns its share of neurons whatever the data are; the number alone says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from neuronxa_core.measures.activation_counts import ActivationCounts, activation_counts
from neuronxa_core.measures.base import Arrays, Run
from neuronxa_core.measures.lape import LanguageSpecific, LapeMeasure, entropies, halves, lape
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store


def set_jaccard(x: LanguageSpecific, y: LanguageSpecific) -> float:
    """Jaccard index of the neurons that two runs of LAPE chose; NaN where neither chose any."""
    a, b = (set(zip(one.layer.tolist(), one.neuron.tolist(), strict=True)) for one in (x, y))
    return len(a & b) / len(a | b) if a | b else float("nan")


def dealt(plan: Plan, seed: int = 0) -> np.ndarray:
    """To which of as many made-up languages each line's translations are dealt out at random, [sentence, language]."""
    numbers = np.tile(np.arange(len(plan.all_languages)), (len(plan.corpus.usable), 1))
    return np.random.default_rng(seed).permuted(numbers, axis=1)


def shuffled_counts(plan: Plan, store: Store, seed: int = 0) -> ActivationCounts:
    """Activation counts of as many made-up languages: each line's translations are dealt out to them at random."""
    codes, order = plan.all_languages, dealt(plan, seed)
    counts = np.zeros((len(codes), plan.info.layers, plan.info.neurons), dtype=np.uint32)
    tokens = np.zeros(len(codes), dtype=np.int64)
    with StatesReader(plan, store) as reader:
        for k, code in enumerate(codes):
            np.add.at(tokens, order[:, k], reader.tokens(code).astype(np.int64))
            for layer in range(plan.info.layers):
                np.add.at(counts[:, layer], order[:, k], reader.vectors(code, "nas", "mean", layer).astype(np.uint32))
    return ActivationCounts(codes, counts, tokens)


@dataclass(frozen=True)
class LapeRobustness(LapeMeasure):
    """Whether LAPE chooses the same neurons on other sentences, and how many it would find in shuffled languages."""

    name: ClassVar[str] = "lape_robustness"

    @classmethod
    def extra_states(cls, plan: Plan) -> tuple[str, ...]:
        return ("nas_mean",)

    def compute(self, part: str, run: Run) -> Arrays:
        """neurons, jaccard (of the sets chosen on two halves of the sentences) and null, each [1].

        null: neurons of shuffled languages that would pass, with the real bounds: above the dropping probability, and
        of no higher entropy than the highest that was chosen.
        """
        found = lape(activation_counts(self.plan, run.store), **self.choices())
        on_halves = (lape(activation_counts(half, run.store), **self.choices()) for half in halves(self.plan))
        null = 0
        if len(found.entropy):
            shuffled = entropies(shuffled_counts(self.plan, run.store), found.drop_below)
            null = int((shuffled <= found.entropy.max() + 1e-12).sum())
        values = {"neurons": len(found.neuron), "jaccard": set_jaccard(*on_halves), "null": null}
        return {name: np.array([value]) for name, value in values.items()}

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """One row: definition (of a neuron; LAPE's own is gate), neurons, jaccard, null."""
        (arrays,) = results.values()
        return pd.DataFrame({"definition": [self.plan.experiment.neuron], **arrays})


def robustness_sentence(table: pd.DataFrame) -> str:
    """What a table of `LapeRobustness` shows."""
    neurons, jaccard, null = (table[name].item() for name in ("neurons", "jaccard", "null"))
    if not neurons:
        return "No neuron is chosen, so that there is nothing to check."
    text = f"Shuffled languages give {null:,} such neuron{'s' if null != 1 else ''}, against {neurons:,} here. "
    if 2 * null >= neurons:
        text += "Most of these may be chance. "
    if np.isnan(jaccard):
        return text + "On halves of the sentences none is chosen."
    return text + f"Two halves of the sentences choose sets with a Jaccard index of {jaccard:.2f}."
