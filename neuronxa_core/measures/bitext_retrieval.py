"""How often a sentence's translation is found among sentences that alignment was not measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import alignment
from neuronxa_core.measures.alignment import Alignment
from neuronxa_core.measures.base import Arrays, Run, choice, pooling_choice, state_choice
from neuronxa_core.measures.language_scores import LanguageScores, check_layer, mean_score
from neuronxa_core.states.planning import Plan
from neuronxa_core.store.cache import Store


def split_sentences(plan: Plan, share: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A random partition of the sentences: (those to measure alignment on, those held out), int64 ascending each.

    Numbers are among the usable sentences, from 0. share: how many of them are held out. Raises ExperimentError where a
    part would have fewer than 2 sentences.
    """
    n = plan.corpus.n_sentences
    if not 0 < share < 1:
        raise ExperimentError(f"the share of sentences that is held out is between 0 and 1, not {share}")
    if seed < 0:
        raise ExperimentError(f"the seed of the held-out sentences must be 0 or more, not {seed}")
    held = round(share * n)
    if min(held, n - held) < 2:
        raise ExperimentError(
            f"a share of {share:g} parts {n} sentences into {n - held} and {held}, and each part needs at least 2; "
            "choose more sentences or another share"
        )
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[held:]), np.sort(order[:held])


def alignment_on(plan: Plan, store: Store, rows: Sequence[int] | np.ndarray, state: str, pooling: str) -> Alignment:
    """Alignment of the pivot with every language over some of the sentences only, which compete with each other alone.

    rows: numbers among the usable sentences, at least 2, each once. It is kept in the store as any alignment is.
    Raises ExperimentError, and CorruptEntry where a stored block turns out damaged.
    """
    return alignment.align(only_rows(plan, rows), store, state, pooling)


def only_rows(plan: Plan, rows: Sequence[int] | np.ndarray) -> Plan:
    """The plan with some of its usable sentences only, in ascending order."""
    chosen = sorted({int(row) for row in rows})
    if len(chosen) < 2 or len(chosen) < len(rows) or chosen[0] < 0 or chosen[-1] >= plan.corpus.n_sentences:
        raise ExperimentError(
            f"alignment on some sentences needs at least 2 of the {plan.corpus.n_sentences} compared ones, each once"
        )
    usable = tuple(plan.corpus.usable[row] for row in chosen)
    return replace(plan, corpus=replace(plan.corpus, usable=usable))


@dataclass(frozen=True)
class BitextRetrieval(LanguageScores):
    """Accuracy of finding translations among held-out sentences.

    Of the sentences, `share` are held out (see `split_sentences`); the score is the accuracy among them alone, the mean
    of pivot to language and language to pivot, a tie counting as a miss. layer: a number, or for None the one with the
    best mean accuracy over the languages among the sentences that are not held out, the lowest of equals.
    `alignment_on` with the first part of `split_sentences` is then an alignment that shares no sentence with this
    measure. The pivot itself is not measured. Standard errors are sd / sqrt(n) over sentences.

    Raises ExperimentError where these do not fit each other.
    """

    state: str = state_choice()
    pooling: str = pooling_choice()
    layer: int | None = choice(None, "layer, from 0 (default: the best on the other sentences)", of=int)
    share: float = choice(0.5, "share of the sentences that is held out, between 0 and 1")
    split_seed: int = choice(0, "which sentences are held out: any number, 0 or more")
    name: ClassVar[str] = "bitext_retrieval"
    version: ClassVar[int] = 2
    metric: ClassVar[str] = "retrieval accuracy"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer is not None:
            check_layer(self.plan, self.state, self.layer)
        if not self.languages:
            raise ExperimentError(f"retrieval needs a language besides the pivot {self.plan.pivot}; choose one first")
        split_sentences(self.plan, self.share, self.split_seed)

    @property
    def languages(self) -> tuple[str, ...]:
        """Which languages are measured: all of the plan but the pivot."""
        return tuple(code for code in self.plan.languages if code != self.plan.pivot)

    @property
    def title(self) -> str:
        count = len(self.languages)
        languages = self.languages[0] if count == 1 else f"{count} languages"
        return f"retrieval between {self.plan.pivot} and {languages} in {self.plan.source.name}"

    @property
    def chance(self) -> float:
        """The accuracy of guessing: one over the sentences that are held out."""
        return 1 / self._split[1].corpus.n_sentences

    @cached_property
    def _split(self) -> tuple[Plan, Plan]:
        """The plan with the sentences to measure alignment on, and with those held out."""
        first, held = split_sentences(self.plan, self.share, self.split_seed)
        return only_rows(self.plan, first), only_rows(self.plan, held)

    def content(self, part: str) -> object:
        # not the layer: all are kept
        read = [
            [self.plan.keys[code], *(some.positions[code].tolist() for some in self._split)]
            for code in (self.plan.pivot, part)
        ]
        return [alignment.VERSION, self.state, self.pooling, read]

    def compute(self, part: str, run: Run) -> Arrays:
        """At every layer: chosen_on, accuracy where alignment is measured, and score and stderr over the others."""
        # one value per sentence and layer: found in neither direction, in one, or in both
        first, held = (
            (found.src2trg[0] + found.trg2src[0].astype(np.float64)) / 2
            for found in (
                alignment.pair_alignment(some, run.store, self.plan.pivot, part, self.state, self.pooling)
                for some in self._split
            )
        )
        return {"chosen_on": first.mean(axis=1), **mean_score(held)}

    def layer_read(self, results: Mapping[str, Arrays]) -> int | None:
        """The layer of the scores; None where it is to be chosen and a language is lacking."""
        if self.layer is not None:
            return self.layer
        if not set(self.languages) <= set(results):
            return None
        mean = np.mean([results[code]["chosen_on"] for code in self.languages], axis=0)
        # means of equal figures may differ in their last bit
        return int(np.argmax(mean >= mean.max() - 1e-12))

    def scores(self, results: Mapping[str, Arrays]) -> dict[str, Arrays]:
        layer = self.layer_read(results)
        if layer is None:
            return {}
        return {
            code: {name: arrays[name][layer] for name in ("score", "stderr")} | {"n": arrays["n"]}
            for code, arrays in super().scores(results).items()
        }
