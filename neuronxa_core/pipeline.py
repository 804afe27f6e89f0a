"""The way of the data: corpus and model to a plan, the plan's missing states into the store, states to scores."""

from __future__ import annotations

import gc
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

from neuronxa_core import alignment, corpora, extraction, forms, memory, models, overlap
from neuronxa_core.alignment import Alignment, Retrieved
from neuronxa_core.corpora import Corpus, RawCorpus
from neuronxa_core.errors import Cancelled, CorruptEntry, ExperimentError, ModelBusy
from neuronxa_core.experiment import Experiment, digest, states_key
from neuronxa_core.models import LoadedModel, ModelInfo, ModelSource
from neuronxa_core.overlap import Activity, ParallelOverlap
from neuronxa_core.store import LIMIT_VARIABLE, Entry, Store

log = logging.getLogger(__name__)

# what layers that are compared side by side may hold of states, in bytes as float32
CHUNK_BYTES = 512 << 20


@dataclass(frozen=True)
class Plan:
    """An experiment with everything found out that can be without loading weights."""

    experiment: Experiment
    corpus: Corpus
    source: ModelSource
    info: ModelInfo
    device: str
    dtype: str
    keys: dict[str, str]
    """The store's key of every language's states, the pivot's first."""
    identity: str = ""
    """What tells the model's numbers from any other's; see models.identity."""

    @property
    def pivot(self) -> str:
        return self.corpus.pivot

    @property
    def languages(self) -> tuple[str, ...]:
        return self.corpus.languages

    @property
    def everyone(self) -> tuple[str, ...]:
        """The pivot and the languages, each once."""
        return tuple(self.keys)

    @property
    def key(self) -> str:
        """What the plan needs from the store: equal plans share one run."""
        return digest(sorted(self.keys.values()))

    def rows(self, language: str) -> list[int]:
        """The corpus rows whose states are kept for a language: all that are not empty in it."""
        return [row for row, text in enumerate(self.corpus.texts[language]) if text]

    def sentences(self, language: str) -> list[str]:
        """The texts of those rows."""
        return [self.corpus.texts[language][row] for row in self.rows(language)]

    @cached_property
    def positions(self) -> dict[str, np.ndarray]:
        """Where the rows that every language has lie among each language's own, [sentence]."""
        places = {code: {row: k for k, row in enumerate(self.rows(code))} for code in self.everyone}
        return {code: np.array([place[row] for row in self.corpus.usable]) for code, place in places.items()}

    def scores_key(self, state: str, pooling: str) -> str:
        """What decides the plan's alignment with a state and a pooling, and names it in the store."""
        return "scores-" + digest([alignment.VERSION, state, pooling, self._compared])

    @cached_property
    def _compared(self) -> str:
        """Which states of which languages are compared, in order, and which of their rows."""
        everyone = (self.pivot, *self.languages)
        return digest([[(self.keys[code], self.positions[code].tolist()) for code in everyone]])


def make_plan(
    experiment: Experiment,
    store: Store,
    raw: RawCorpus | None = None,
    device: str | None = None,
    source: ModelSource | None = None,
) -> Plan:
    """Read the corpus (unless `raw` is it), describe the model and name every language's states.

    device: cpu or cuda, and source: where the model is, where something else than the experiment decides them. Raises
    CorpusError, ModelError and ExperimentError.
    """
    raw = raw or corpora.read(experiment.corpus)
    corpus = corpora.select(raw, experiment.pivot, experiment.languages or None, experiment.sentences, experiment.seed)
    source = source or models.parse_source(experiment.model)
    info = models.describe(source)
    device = device or models.resolve_device(experiment.device)
    dtype = models.resolve_dtype(experiment.dtype, info, device)
    identity = models.identity(source, lambda key, compute: _remembered(store, key, compute))
    source = models.pinned(source, identity)
    keys = {}
    for language in (corpus.pivot, *corpus.languages):
        texts = [text for text in corpus.texts[language] if text]
        keys[language] = states_key(
            identity, dtype, experiment.neuron, experiment.storage, info.longest, extraction.VERSION, texts
        )
    return Plan(experiment, corpus, source, info, device, dtype, keys, identity)


def _remembered(store: Store, key: str, compute: Callable[[], str]) -> str:
    """A file's hash, kept in the store under the file's path, size and time."""
    name = "hash-" + digest(key)
    known = store.get_json(name)
    if isinstance(known, str):
        return known
    value = compute()
    store.offer_json(name, value)
    return value


def restrict(plan: Plan, languages: Sequence[str]) -> Plan:
    """The same plan for fewer languages; the rows stay those that all of the plan's languages have."""
    kept = tuple(code for code in plan.languages if code in set(languages))
    if kept == plan.languages:
        return plan
    corpus = replace(plan.corpus, languages=kept)
    return replace(plan, corpus=corpus, keys={code: plan.keys[code] for code in (plan.pivot, *kept)})


def missing(plan: Plan, store: Store) -> list[str]:
    """Languages whose states are not in the store, the pivot first."""
    return [language for language, key in plan.keys.items() if key not in store]


def bytes_a_language(plan: Plan) -> int:
    """Size on disk of one language's states, in bytes, for sentences of 23 to 255 tokens."""
    return len(plan.corpus.lines) * forms.bytes_a_sentence(plan.info, plan.experiment.storage)


def refuse_too_large(plan: Plan, store: Store) -> None:
    """Raise ExperimentError where the plan's states cannot all be kept at once: the first would go before the last."""
    gib = 1 << 30
    one = bytes_a_language(plan)
    whole, lacking = one * len(plan.everyone), one * len(missing(plan, store))
    free = store.free()
    smaller = "choose fewer languages or sentences" + (
        ", or shorter numbers (storage half or compact)" if plan.experiment.storage == "exact" else ""
    )
    if whole > store.size_limit:
        raise ExperimentError(
            f"the states of {len(plan.everyone)} languages take {whole / gib:,.1f} GiB and the cache holds at most "
            f"{store.size_limit / gib:,.1f} GiB; {smaller}, or set {LIMIT_VARIABLE} higher"
        )
    if lacking > free:
        raise ExperimentError(
            f"the states to compute take {lacking / gib:,.1f} GiB and {free / gib:,.1f} GiB are free in "
            f"{store.folder}; {smaller}, or put the cache on a larger disk"
        )


class ModelShelf:
    """Keeps the loaded models that were used last, at most `most`; loading one more frees the one used longest ago."""

    def __init__(self, most: int = 1) -> None:
        memory.keep_what_is_freed()
        self.most = most
        self._lock = threading.Lock()
        self._models: dict[tuple, LoadedModel] = {}
        """The one used last is the last."""

    @contextmanager
    def borrow(self, plan: Plan, head: bool = False, patience: float | None = None) -> Iterator[LoadedModel]:
        """The plan's model, for one user at a time; with its language-model head where `head` asks for it.

        A model that has its head serves both. patience: seconds to wait for whoever has it, without end if not given.
        Raises ModelBusy after that, and ModelError.
        """
        key = self._key_of(plan)
        if not self._lock.acquire(timeout=-1 if patience is None else patience):
            raise ModelBusy("the model is at work on a run; this appears when the run is over")
        try:
            loaded = self._models.pop(key, None)
            if loaded is None or (head and loaded.head is None):
                del loaded
                self._shrink(self.most - 1)
                budget = extraction.TOKEN_BUDGET[plan.device]
                loaded = models.load(plan.source, plan.dtype, plan.device, budget, head)
            self._models[key] = loaded
            yield loaded
        finally:
            memory.give_back()
            self._lock.release()

    def holds(self, plan: Plan) -> bool:
        """Whether the plan's model is loaded."""
        return self._key_of(plan) in self._models

    @property
    def busy(self) -> bool:
        """Whether someone has a model."""
        return self._lock.locked()

    def loaded(self) -> list[LoadedModel]:
        """The models that are loaded, the one used last first."""
        return list(self._models.values())[::-1]

    def clear(self) -> None:
        """Free all models. Raises ModelBusy where one is at work."""
        if not self._lock.acquire(blocking=False):
            raise ModelBusy("a model is at work; free it when the run is over, or cancel the run")
        try:
            self._shrink(0)
        finally:
            memory.give_back()
            self._lock.release()

    @staticmethod
    def _key_of(plan: Plan) -> tuple:
        return plan.source, plan.info, plan.dtype, plan.device

    def _shrink(self, most: int) -> None:
        """Free the models used longest ago until at most so many are left."""
        while len(self._models) > most:
            del self._models[next(iter(self._models))]
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def compute_missing(
    plan: Plan,
    store: Store,
    shelf: ModelShelf,
    *,
    on_progress: Callable[[str, int, int], None] = lambda _language, _done, _all: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Extract and store the states that are missing, language by language; returns the languages that were.

    on_progress(language, sentences done, sentences of the language). A language is stored when it is whole, so that
    whatever stops the run loses one language at most. Raises ModelError, ExtractionError, StoreError and
    Cancelled.
    """
    todo = missing(plan, store)
    if not todo:
        return []
    if cancelled():
        raise Cancelled("stopped before it began")
    with shelf.borrow(plan) as loaded:
        for language in todo:
            sentences = plan.sentences(language)
            states = extraction.extract(
                loaded,
                language,
                sentences,
                plan.experiment.neuron,
                form=plan.experiment.storage,
                folder=store.folder,
                on_progress=lambda done, whole, language=language: on_progress(language, done, whole),
                cancelled=cancelled,
            )
            store.put(
                plan.keys[language],
                {**states.arrays, "tokens": states.tokens},
                {
                    "language": language,
                    "model": plan.source.name,
                    "corpus": plan.corpus.name,
                    "dtype": plan.dtype,
                    "neuron": plan.experiment.neuron,
                    "storage": plan.experiment.storage,
                    "sentences": len(sentences),
                    "truncated": states.truncated,
                    "longest": states.longest,
                },
            )
    return todo


@dataclass(frozen=True)
class Extraction:
    """The work of computing the states that a plan lacks."""

    plan: Plan
    unit: ClassVar[str] = "sentences"

    @property
    def key(self) -> str:
        return self.plan.key

    @property
    def title(self) -> str:
        count = len(self.plan.everyone)
        return f"states of {count} {'language' if count == 1 else 'languages'} in {self.plan.source.name}"

    @property
    def units(self) -> int:
        """Sentences of all languages."""
        return sum(len(self.plan.rows(code)) for code in self.plan.everyone)

    def totals(self, store: Store) -> dict[str, int]:
        """Sentences of every language whose states are missing."""
        return {code: len(self.plan.rows(code)) for code in missing(self.plan, store)}

    def run(
        self,
        store: Store,
        shelf: ModelShelf,
        on_progress: Callable[[str, int, int], None],
        cancelled: Callable[[], bool],
    ) -> list[str]:
        refuse_too_large(self.plan, store)
        return compute_missing(self.plan, store, shelf, on_progress=on_progress, cancelled=cancelled)


class StatesReader:
    """Open entries of a plan's languages: states by layer, memory-mapped, restricted to the rows all languages have."""

    def __init__(self, plan: Plan, store: Store, languages: Sequence[str] | None = None) -> None:
        self._stack = ExitStack()
        self._entries: dict[str, Entry] = {}
        self._positions: dict[str, np.ndarray] = {}
        try:
            for language in languages or plan.everyone:
                entry = store.get(plan.keys[language])
                if entry is None:
                    raise ExperimentError(f"the states of {language} are not in the cache; run the extraction first")
                self._entries[language] = self._stack.enter_context(entry)
                self._positions[language] = plan.positions[language]
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> StatesReader:
        return self

    def __exit__(self, *_exception) -> None:
        self._stack.close()

    def vectors(self, language: str, state: str, pooling: str, layer: int) -> np.ndarray:
        """Vectors [sentence, neuron or hidden] of one layer as they are kept: numerators up to a factor a sentence."""
        return self._rows(language, self._entries[language].layer(f"{state}_{pooling}", layer))

    def read(self, language: str, state: str, pooling: str, layer: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """The same as `vectors`, read into a buffer, its own or the one given: for what is read once."""
        return self._rows(language, self._entries[language].read_layer(f"{state}_{pooling}", layer, buffer))

    def buffer(self, state: str, pooling: str) -> np.ndarray:
        """Bytes enough to `read` any language into."""
        arrays = [entry.arrays[f"{state}_{pooling}"] for entry in self._entries.values()]
        return np.empty(max(math.prod(shape[1:]) * dtype.itemsize for shape, dtype in arrays), np.uint8)

    def numerators(self, language: str, state: str, pooling: str, layer: int) -> np.ndarray:
        """Numerators [sentence, neuron or hidden] of one layer; where they were rounded, float64."""
        name = f"{state}_{pooling}"
        kept = self.vectors(language, state, pooling, layer)
        entry = self._entries[language]
        if forms.scale_name(name) not in entry.arrays:
            return kept
        scales = self._rows(language, entry.layer(forms.scale_name(name), layer))
        return kept * scales[:, None].astype(np.float64)

    def _rows(self, language: str, block: np.ndarray) -> np.ndarray:
        """The rows that every language has, of all that the language has."""
        positions = self._positions[language]
        return block if len(positions) == len(block) else block[positions]

    def tokens(self, language: str) -> np.ndarray:
        """Real tokens of each sentence, [sentence]."""
        return self._entries[language].array("tokens")[self._positions[language]]

    def truncated(self, language: str) -> int:
        """How many of the language's sentences were cut at the longest length."""
        return self._entries[language].meta["truncated"]


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
        return self.reader.read(self.languages[number], self.state, self.pooling, self.layer, self.buffer)


def align(plan: Plan, store: Store, state: str, pooling: str) -> Alignment:
    """Alignment of the pivot with every language at all layers, from stored states; itself kept in the store.

    States stream by layer and language. Raises CorruptEntry where a stored block turns out damaged.
    """
    key = plan.scores_key(state, pooling)
    kept = _kept_alignment(store, key, plan.languages)
    if kept is not None:
        return kept
    shape = (len(plan.languages), plan.info.layers, len(plan.corpus.usable))
    forward, backward = np.empty(shape, dtype=bool), np.empty(shape, dtype=bool)
    width = plan.info.hidden if state == "emb" else plan.info.neurons
    # of each layer the pivot, its unit rows and one language
    layers = max(1, CHUNK_BYTES // (3 * 4 * shape[2] * width))
    with StatesReader(plan, store) as reader:

        def compare(layer: int) -> Retrieved:
            pivot = reader.read(plan.pivot, state, pooling, layer)
            buffer = reader.buffer(state, pooling)
            return alignment.retrieve(pivot, LayerStates(reader, plan.languages, state, pooling, layer, buffer))

        for layer, found in enumerate(alignment.side_by_side(compare, plan.info.layers, layers)):
            forward[:, layer], backward[:, layer] = found.forward, found.backward
    store.offer(key, {"forward": forward, "backward": backward}, {"kind": "scores", "model": plan.source.name})
    return Alignment(plan.languages, forward, backward)


def _kept_alignment(store: Store, key: str, languages: tuple[str, ...]) -> Alignment | None:
    """An alignment that was computed before; None where there is none or it was damaged."""
    kept = store.read(key)
    return None if kept is None else Alignment(languages, kept["forward"], kept["backward"])


def healed(plan: Plan, store: Store, shelf: ModelShelf, work: Callable[[], object], **options) -> object:
    """work(), and where it meets a damaged entry (the store has dropped it), compute that language again and retry."""
    for _ in plan.everyone:
        try:
            return work()
        except CorruptEntry:
            compute_missing(plan, store, shelf, **options)
    return work()


def pair_matrix(plan: Plan, store: Store, state: str, pooling: str, layer: int) -> np.ndarray:
    """Alignment score of every pair of languages at a layer, the pivot first: [language, language] in [0, 1]."""
    with StatesReader(plan, store) as reader:
        return alignment.all_pairs(LayerStates(reader, plan.everyone, state, pooling, layer))


def pair_vectors(
    plan: Plan, store: Store, x: str, y: str, state: str, pooling: str, layer: int
) -> tuple[np.ndarray, np.ndarray]:
    """Two languages' numerators at a layer, each [sentence, neuron or hidden]."""
    with StatesReader(plan, store, [x, y]) as reader:
        return tuple(reader.read(code, state, pooling, layer) for code in (x, y))


def pair_alignment(plan: Plan, store: Store, x: str, y: str, state: str, pooling: str) -> Alignment:
    """Alignment of language x with y at all layers, from stored states."""
    shape = (1, plan.info.layers, len(plan.corpus.usable))
    forward, backward = np.empty(shape, dtype=bool), np.empty(shape, dtype=bool)
    with StatesReader(plan, store, [x, y]) as reader:
        for layer in range(plan.info.layers):
            mine, other = (reader.read(code, state, pooling, layer) for code in (x, y))
            found = alignment.retrieve(mine, [other])
            forward[:, layer], backward[:, layer] = found.forward, found.backward
    return Alignment((y,), forward, backward)


def activity(
    plan: Plan,
    store: Store,
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Activity:
    """Activation counts of a plan's languages, the pivot first, over the sentences that all of them have.

    The sums are kept in the store, one small entry a language. on_progress(languages done, languages).
    """
    everyone = plan.everyone
    counts = np.empty((len(everyone), plan.info.layers, plan.info.neurons), dtype=np.uint32)
    tokens = np.empty(len(everyone), dtype=np.int64)
    for k, language in enumerate(everyone):
        counts[k], tokens[k] = _activity_of(plan, store, language)
        on_progress(k + 1, len(everyone))
    return Activity(everyone, counts, tokens)


def activity_key(plan: Plan) -> str:
    """What decides a plan's activation counts."""
    return "activity-" + digest([_counts_key(plan, language) for language in plan.everyone])


def _counts_key(plan: Plan, language: str) -> str:
    return "counts-" + digest([overlap.VERSION, plan.keys[language], plan.positions[language].tolist()])


def _activity_of(plan: Plan, store: Store, language: str) -> tuple[np.ndarray, int]:
    """(activation counts [layer, neuron], tokens) of one language."""
    key = _counts_key(plan, language)
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
    store.offer(key, {"counts": counts, "tokens": np.array([tokens])}, meta)
    return counts, tokens


def parallel_overlaps(plan: Plan, store: Store, x: str, y: str, threshold: float) -> list[ParallelOverlap]:
    """Overlap of translations' and of mismatched sentences' active sets, for every layer.

    A neuron is active in a sentence where the share of its tokens with a > 0 is above `threshold`.
    """
    found = []
    with StatesReader(plan, store, [x, y]) as reader:
        tokens = {code: reader.tokens(code)[:, None] for code in (x, y)}
        for layer in range(plan.info.layers):
            shares = [reader.vectors(code, "nas", "mean", layer) / tokens[code] for code in (x, y)]
            found.append(overlap.parallel_overlap(*(share > threshold for share in shares)))
    return found


def neuron_values(
    plan: Plan, store: Store, languages: Sequence[str], layer: int, neuron: int, state: str = "nav"
) -> dict[str, np.ndarray]:
    """One neuron's mean over the tokens of each sentence, by language: {language: [sentence] float64}.

    state: `nav`, the mean of |a|; `nas`, the share of tokens with a > 0.
    """
    with StatesReader(plan, store, languages) as reader:
        return {
            code: reader.numerators(code, state, "mean", layer)[:, neuron] / reader.tokens(code).astype(np.float64)
            for code in languages
        }


def strongest_in_sentence(
    plan: Plan, store: Store, language: str, sentence: int, *, layer: int | None = None, top: int = 100
) -> pd.DataFrame:
    """The neurons that stand out in one sentence of a language, against its other sentences, best first.

    sentence: among the usable ones, from 0. Columns: layer, neuron, value (mean of |a| over the sentence's tokens),
    usual (mean of that over all sentences), deviations (how many standard deviations above it; 0 where it never
    changes). Equal ones go by layer, then number.
    """
    parts = []
    with StatesReader(plan, store, [language]) as reader:
        tokens = reader.tokens(language).astype(np.float64)[:, None]
        for number in range(plan.info.layers) if layer is None else [layer]:
            values = reader.numerators(language, "nav", "mean", number) / tokens
            usual, spread = values.mean(axis=0), values.std(axis=0)
            gap = values[sentence] - usual
            deviations = np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 1e-12 * (1 + np.abs(usual)))
            best = np.argsort(-deviations, kind="stable")[:top]
            parts.append(
                pd.DataFrame(
                    {
                        "layer": number,
                        "neuron": best,
                        "value": values[sentence, best],
                        "usual": usual[best],
                        "deviations": deviations[best],
                    }
                )
            )
    table = pd.concat(parts, ignore_index=True)
    return table.sort_values("deviations", ascending=False, kind="stable").head(top).reset_index(drop=True)
