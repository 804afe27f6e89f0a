"""TODO"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from neuronxa_core.errors import Cancelled, ExperimentError
from neuronxa_core.experiment import digest
from neuronxa_core.measures import alignment
from neuronxa_core.measures.alignment import Alignment
from neuronxa_core.measures.figures import VERSION, Measured, _check_layer, _check_states, _is_number
from neuronxa_core.states import computing
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

# Retrieval --------------------------------------------------------------------------------------------------------


def parts(plan: Plan, share: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
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
    Raises ExperimentError, and CorruptEntry where a stored block turns out damaged (see pipeline.healed).
    """
    _check_states(state, pooling)
    return alignment.align(_only(plan, rows), store, state, pooling)


def _only(plan: Plan, rows: Sequence[int] | np.ndarray) -> Plan:
    """The plan with some of its usable sentences only, in ascending order."""
    chosen = sorted({int(row) for row in rows})
    if len(chosen) < 2 or len(chosen) < len(rows) or chosen[0] < 0 or chosen[-1] >= plan.corpus.n_sentences:
        raise ExperimentError(
            f"alignment on some sentences needs at least 2 of the {plan.corpus.n_sentences} compared ones, each once"
        )
    usable = tuple(plan.corpus.usable[row] for row in chosen)
    return replace(plan, corpus=replace(plan.corpus, usable=usable))


@dataclass(frozen=True)
class _ByLayer:
    """Retrieval of one language at every layer.

    chosen_on: accuracy over the sentences to measure alignment on, [layer]. held_out: the figure over the others.
    """

    chosen_on: tuple[float, ...]
    held_out: tuple[Measured, ...]

    def to_json(self) -> dict:
        return {"chosen_on": list(self.chosen_on), "held_out": [measured.to_json() for measured in self.held_out]}

    @classmethod
    def from_json(cls, document: object, layers: int) -> _ByLayer | None:
        if not isinstance(document, dict) or set(document) != {"chosen_on", "held_out"}:
            return None
        if not all(isinstance(by_layer, list) and len(by_layer) == layers for by_layer in document.values()):
            return None
        held_out = tuple(Measured.from_json(measured, 1) for measured in document["held_out"])
        if None in held_out or not all(_is_number(accuracy, 1) for accuracy in document["chosen_on"]):
            return None
        return cls(tuple(map(float, document["chosen_on"])), held_out)


@dataclass(frozen=True)
class BitextRetrieval:
    """Work for the queue: how often a sentence's nearest neighbour in another language is its translation.

    Of the sentences, `share` are held out (see `parts`); the score is the accuracy among them alone, the mean of pivot
    to language and language to pivot, a tie counting as a miss. layer: a number, or for None the one with the best mean
    accuracy over the languages among the sentences that are not held out, the lowest of equals. `alignment_on` with the
    first part of `parts` is then an alignment that shares no sentence with this measure.
    The pivot itself is not measured. Standard errors are sd / sqrt(n) over sentences.

    Raises ExperimentError where these do not fit each other.
    """

    plan: Plan
    state: str = "nas"
    pooling: str = "weighted"
    layer: int | None = None
    share: float = 0.5
    seed: int = 0
    unit: ClassVar[str] = "languages"
    metric: ClassVar[str] = "retrieval accuracy"
    higher_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_states(self.state, self.pooling)
        if self.layer is not None:
            _check_layer(self.plan, self.layer)
        if not self.languages:
            raise ExperimentError(f"retrieval needs a language besides the pivot {self.plan.pivot}; choose one first")
        parts(self.plan, self.share, self.seed)

    @property
    def languages(self) -> tuple[str, ...]:
        """Which languages are measured: all of the plan but the pivot."""
        return tuple(code for code in self.plan.languages if code != self.plan.pivot)

    @property
    def chance(self) -> float:
        """The accuracy of guessing: one over the sentences that are held out."""
        return 1 / len(parts(self.plan, self.share, self.seed)[1])

    @cached_property
    def _parts(self) -> tuple[Plan, Plan]:
        """The plan with the sentences to measure alignment on, and with those held out."""
        first, held = parts(self.plan, self.share, self.seed)
        return _only(self.plan, first), _only(self.plan, held)

    @cached_property
    def _keys(self) -> dict[str, str]:
        """The store's key of every language's figures at all layers: it changes exactly when the numbers could."""
        how = [VERSION, alignment.VERSION, self.state, self.pooling]
        pivot = self._read(self.plan.pivot)
        return {code: "retrieval-" + digest([how, pivot, self._read(code)]) for code in self.languages}

    def _read(self, language: str) -> list:
        """Which states of a language are read."""
        return [self.plan.keys[language], *(part.positions[language].tolist() for part in self._parts)]

    @cached_property
    def key(self) -> str:
        """What decides the results: equal works share one run."""
        return digest([self.layer, list(self._keys.values())])

    @property
    def title(self) -> str:
        """One line for a list of jobs."""
        count = len(self.languages)
        languages = self.languages[0] if count == 1 else f"{count} languages"
        return f"retrieval between {self.plan.pivot} and {languages} in {self.plan.source.name}"

    def _kept(self, store: Store) -> dict[str, _ByLayer]:
        layers = self.plan.info.layers
        kept = {code: _ByLayer.from_json(store.get_json(self._keys[code]), layers) for code in self.languages}
        return {code: by_layer for code, by_layer in kept.items() if by_layer is not None}

    def results(self, store: Store) -> dict[str, Measured]:
        """The figures that are there, by language, in [0, 1]; none before all are where the layer is to be chosen."""
        kept = self._kept(store)
        layer = self._best_layer(kept)
        return {} if layer is None else {code: by_layer.held_out[layer] for code, by_layer in kept.items()}

    def layer_read(self, store: Store) -> int | None:
        """The layer of the results; None while it is not known."""
        return self._best_layer(self._kept(store))

    def _best_layer(self, kept: dict[str, _ByLayer]) -> int | None:
        if self.layer is not None:
            return self.layer
        if len(kept) < len(self.languages):
            return None
        mean = np.mean([kept[code].chosen_on for code in self.languages], axis=0)
        # means of equal figures may differ in their last bit
        return int(np.argmax(mean >= mean.max() - 1e-12))

    @property
    def units(self) -> int:
        """Languages."""
        return len(self.languages)

    def totals(self, store: Store) -> dict[str, int]:
        """Languages still to be measured."""
        lacking = len(self.languages) - len(self._kept(store))
        return {"languages": lacking} if lacking else {}

    def run(
        self,
        store: Store,
        pool: ModelPool,
        on_progress: Callable[[str, int, int], None] = lambda _part, _done, _all: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Measure and store what is missing, at all layers; every language is stored as soon as it is measured.

        on_progress(`languages`, how many are done, how many were lacking). The model is loaded only where stored states
        turn out damaged. Raises ExperimentError where states are not in the store, StoreError, Cancelled, and for
        damaged states ModelError and ExtractionError.
        """
        there = self._kept(store)
        lacking = [code for code in self.languages if code not in there]
        for done, code in enumerate(lacking, start=1):
            if cancelled():
                raise Cancelled(f"stopped before {code}, after {done - 1} of {len(lacking)} languages")
            by_layer = computing.recompute_if_corrupt(
                self.plan, store, pool, lambda code=code: self._measure(store, code), cancelled=cancelled
            )
            store.put_json(self._keys[code], by_layer.to_json())
            on_progress("languages", done, len(lacking))

    def _measure(self, store: Store, language: str) -> _ByLayer:
        # one value a sentence and layer: found in neither direction, in one, or in both
        first, held = (
            (found.src2trg[0] + found.trg2src[0].astype(np.float64)) / 2
            for found in (
                alignment.pair_alignment(part, store, self.plan.pivot, language, self.state, self.pooling)
                for part in self._parts
            )
        )
        return _ByLayer(tuple(first.mean(axis=1).tolist()), tuple(Measured.mean_of(layer) for layer in held))
