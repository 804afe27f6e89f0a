"""Stored states of a plan's languages, read layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from neuronxa_core.errors import StatesMissing
from neuronxa_core.experiment import ENTRIES
from neuronxa_core.states import precision
from neuronxa_core.states.planning import Plan
from neuronxa_core.store.cache import Entry, Store


class StatesReader:
    """Open entries of a plan's languages: states by layer, restricted to the rows all languages have.

    All but `nas_weighted` are opened when they are first read. Raises StatesMissing where a language's states are
    not in the cache.
    """

    def __init__(self, plan: Plan, store: Store, languages: Sequence[str] | None = None) -> None:
        self._plan, self._store, self._stack = plan, store, ExitStack()
        self._entries: dict[tuple[str, str], Entry] = {}
        try:
            for language in languages or plan.all_languages:
                self._entry(language)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> StatesReader:
        return self

    def __exit__(self, *_exception) -> None:
        self._stack.close()

    def _entry(self, language: str, name: str = ENTRIES[0]) -> Entry:
        if (language, name) not in self._entries:
            entry = self._store.get(self._plan.entry_key(language, name))
            if entry is None:
                raise StatesMissing(language, name, self._plan)
            self._entries[language, name] = self._stack.enter_context(entry)
        return self._entries[language, name]

    def block(self, language: str, state: str, pooling: str, layer: int) -> np.ndarray:
        """`vectors` of all sentences that are kept of the language."""
        name = f"{state}_{pooling}"
        return self._entry(language, name).layer(name, layer)

    def vectors(
        self, language: str, state: str, pooling: str, layer: int, buffer: np.ndarray | None = None
    ) -> np.ndarray:
        """Vectors [sentence, neuron or hidden] of one layer as they are kept: sums up to a factor per sentence.

        buffer: bytes to read into, as `self.buffer` gives; the vectors are then gone with the next that are read there.
        """
        name = f"{state}_{pooling}"
        return self._rows(language, self._entry(language, name).layer(name, layer, buffer))

    def buffer(self, state: str, pooling: str) -> np.ndarray:
        """Bytes enough to read the `vectors` of any language into."""
        name = f"{state}_{pooling}"
        arrays = [self._entry(code, name).arrays[name] for code, _ in list(self._entries)]
        return np.empty(max(math.prod(shape[1:]) * dtype.itemsize for shape, dtype in arrays), np.uint8)

    def pooled_sums(self, language: str, state: str, pooling: str, layer: int) -> np.ndarray:
        """Pooled sums [sentence, neuron or hidden] of one layer; where they were rounded, float64."""
        name = f"{state}_{pooling}"
        kept = self.vectors(language, state, pooling, layer)
        entry = self._entry(language, name)
        if precision.scale_name(name) not in entry.arrays:
            return kept
        scales = self._rows(language, entry.layer(precision.scale_name(name), layer))
        return kept * scales[:, None].astype(np.float64)

    def sentence_vectors(self, language: str, state: str, pooling: str, layer: int) -> np.ndarray:
        """The sentence vectors themselves of one layer, float64 [sentence, neuron or hidden]: sums over weights.

        For what does not stay the same when a sentence's vector is scaled, as a cosine does.
        """
        tokens = self.tokens(language).astype(np.float64)
        whole = {"weighted": tokens * (tokens + 1) / 2, "mean": tokens, "last": np.ones_like(tokens)}[pooling]
        return self.pooled_sums(language, state, pooling, layer) / whole[:, None]

    def _rows(self, language: str, block: np.ndarray) -> np.ndarray:
        """The rows that every language has, of all that the language has."""
        return taken(block, self._plan.positions[language])

    def activation_counts(self, language: str) -> np.ndarray:
        """Tokens with a > 0, uint32 [layer, neuron]; where other languages lack rows, from NAS under `mean`."""
        if len(self._plan.positions[language]) == len(self._plan.rows(language)):
            return self._entry(language).array("counts").astype(np.uint32)
        layers = range(self._plan.info.layers)
        return np.stack([self.vectors(language, "nas", "mean", k).sum(axis=0, dtype=np.uint32) for k in layers])

    def tokens(self, language: str) -> np.ndarray:
        """Real tokens of each sentence, [sentence]; of the language's own where pairs have their own sentences."""
        tokens = self._entry(language).array("tokens")
        return tokens if self._plan.corpus.own_sentences else self._rows(language, tokens)

    def truncated(self, language: str) -> int:
        """How many of the language's sentences were cut at the longest length."""
        return self._entry(language).meta["truncated"]


def taken(block: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """block[positions], without a copy where these are all rows in their order."""
    return block if np.array_equal(positions, np.arange(len(block))) else block[positions]


@dataclass(frozen=True)
class LayerStates(Sequence[np.ndarray]):
    """Vectors of languages at one layer, [sentence, neuron or hidden] each, read when they are asked for.

    buffer: where they are read to, each over the one before; each has its own if not given.
    """

    reader: StatesReader
    languages: Sequence[str]
    state: str
    pooling: str
    layer: int
    buffer: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.languages)

    def __getitem__(self, number: int) -> np.ndarray:
        return self.reader.vectors(self.languages[number], self.state, self.pooling, self.layer, self.buffer)
