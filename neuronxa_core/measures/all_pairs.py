"""Alignment of every pair of languages: kept in the store by layer, and computed ahead around the layer that is shown.

The work grows with the square of the languages. What takes a page too long is asked for, and is a job with a bar.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from neuronxa_core.errors import NeuronXAError, StoreError
from neuronxa_core.measures import alignment, cosine_retrieval
from neuronxa_core.measures.base import Arrays, Measure, Run, pooling_choice, state_choice
from neuronxa_core.states import planning
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.stored import LayerStates, StatesReader
from neuronxa_core.store.cache import Store

log = logging.getLogger(__name__)

# layers on each side of the one that is shown which are computed ahead
AHEAD = 4
# products and sums of one layer above which nothing is computed without being asked for: some 5 s on two cores
MOST_AHEAD = 500_000_000_000


@dataclass(frozen=True)
class AllPairs(Measure):
    """Alignment score of every pair of languages, layer by layer."""

    state: str = state_choice()
    pooling: str = pooling_choice()
    name: ClassVar[str] = "all_pairs"
    version: ClassVar[int] = alignment.VERSION
    unit: ClassVar[str] = "language pairs"
    layers: tuple[int, ...] | None = None
    """Those that are computed, all if not given."""

    def parts(self) -> Sequence[int]:
        return range(self.plan.info.layers_of(self.state)) if self.layers is None else self.layers

    def units_of(self, part: int) -> int:
        """Pairs of a layer, each language with itself among them."""
        count = len(self.plan.all_languages)
        return count * (count + 1) // 2

    def content(self, part: int) -> object:
        return [self.state, self.pooling, part, self.reads(*self.plan.all_languages)]

    def compute(self, part: int, run: Run) -> Arrays:
        done, lock = 0, threading.Lock()

        def on_pairs(count: int) -> None:
            nonlocal done
            run.check()
            with lock:
                done += count
                run.on_units(done)

        return {"scores": pair_matrix(self.plan, run.store, self.state, self.pooling, part, on_pairs)}

    def frame(self, results: Mapping[int, Arrays]) -> pd.DataFrame:
        """Columns: state, pooling, language_x, language_y, layer, score; each pair once."""
        codes = self.plan.all_languages
        x, y = np.triu_indices(len(codes), 1)
        return pd.DataFrame(
            {
                "state": self.state,
                "pooling": self.pooling,
                "language_x": np.tile(np.array(codes)[x], len(results)),
                "language_y": np.tile(np.array(codes)[y], len(results)),
                "layer": np.repeat(list(results), len(x)),
                "score": np.concatenate([arrays["scores"][x, y] for arrays in results.values()]),
            }
        )


class PairScores:
    """All pairs' scores of any plan, each layer computed once, however many ask for it; safe between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._wanted: list[tuple[Plan, str, str, int]] = []
        self._worker: threading.Thread | None = None

    def at(self, plan: Plan, state: str, pooling: str, layer: int) -> np.ndarray:
        """Alignment score of every pair of languages at a layer, the pivot first: [language, language] in [0, 1].

        Raises CorruptEntry where a language's stored states turn out damaged.
        """
        measure = AllPairs(plan, state, pooling)
        key = measure.key_of(layer)
        with self._guard:
            lock = self._locks[key]
        with lock:
            kept = self._store.read(key)
            if kept is None:
                kept = measure.compute(layer, Run(plan, self._store, lambda: False))
                try:
                    self._store.put(key, kept, measure.meta(layer))
                except StoreError as error:
                    log.warning("all pairs of layer %d are shown but not kept: %s", layer, error)
            return kept["scores"]

    def prepare(self, plan: Plan, state: str, pooling: str, layer: int) -> None:
        """Compute the layers around one in the background, the nearest first, in place of what was wanted before."""
        if takes_long(plan, state):
            return
        near = range(max(0, layer - AHEAD), min(plan.info.layers_of(state), layer + AHEAD + 1))
        with self._guard:
            self._wanted = [(plan, state, pooling, k) for k in sorted(near, key=lambda k: (abs(k - layer), -k))]
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="pairs ahead", daemon=True)
                self._worker.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Until nothing is computed ahead any more; False where that takes longer than so many seconds."""
        with self._guard:
            worker = self._worker
        if worker is not None:
            worker.join(seconds)
        return worker is None or not worker.is_alive()

    def _work(self) -> None:
        while True:
            with self._guard:
                if not self._wanted:
                    self._worker = None
                    return
                wanted = self._wanted.pop(0)
            try:
                self.at(*wanted)
            except NeuronXAError as error:
                # whoever looks at that layer meets the error itself, where it can be shown and mended
                log.warning("layer %d was not computed ahead: %s", wanted[-1], error)


def takes_long(plan: Plan, state: str) -> bool:
    """Whether a layer is too much work for a page to wait for."""
    n, width = len(plan.corpus.usable), plan.info.width_of(state)
    return len(plan.all_languages) ** 2 * n**2 * width > MOST_AHEAD


def pair_matrix(
    plan: Plan,
    store: Store,
    state: str,
    pooling: str,
    layer: int,
    on_pairs: Callable[[int], None] = lambda _count: None,
) -> np.ndarray:
    """Alignment score of every pair of languages at a layer, the pivot first: [language, language] in [0, 1].

    on_pairs: see cosine_retrieval.all_pairs.
    """
    with StatesReader(plan, store) as reader:
        return cosine_retrieval.all_pairs(LayerStates(reader, plan.all_languages, state, pooling, layer), on_pairs)


def pair_vectors(
    plan: Plan, store: Store, x: str, y: str, state: str, pooling: str, layer: int
) -> tuple[np.ndarray, np.ndarray]:
    """Two languages' pooled sums at a layer, each [sentence, neuron or hidden]."""
    with StatesReader(planning.of_pair(plan, x, y), store, [x, y]) as reader:
        return tuple(reader.vectors(code, state, pooling, layer) for code in (x, y))
