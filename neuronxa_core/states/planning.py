"""A plan: an experiment with its corpus read, its model described and the states of every language named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import tokenizers
import torch
import transformers

from neuronxa_core.corpora import languages, reading, selection
from neuronxa_core.corpora.parallel import Corpus, RawCorpus
from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import ENTRIES, Experiment, digest
from neuronxa_core.models import estimates, fingerprint, sources, structure
from neuronxa_core.models.description import ModelInfo, ModelSource, Neuron
from neuronxa_core.states import extraction, precision
from neuronxa_core.store.cache import LIMIT_VARIABLE, Store

# of what the store may hold, what exact states may take unless they are asked for
EXACT_SHARE = 0.25
# what computes the numbers, up to the part of a version that says that they may be others
LIBRARIES = [
    f"{module.__name__} {re.match(r'0[.][0-9]+|[0-9]+', module.__version__)[0]}"
    for module in (tokenizers, torch, transformers)
]


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
    """What decides every language's states, the pivot's first: the store's key of what is always kept of them."""
    identity: str = ""
    """What tells the model's numbers from any other's; see fingerprint.identity."""
    storage: str = "exact"
    """How they are kept: exact or half."""

    @property
    def pivot(self) -> str:
        return self.corpus.pivot

    @property
    def languages(self) -> tuple[str, ...]:
        return self.corpus.languages

    @property
    def all_languages(self) -> tuple[str, ...]:
        """The pivot and the languages, each once."""
        return tuple(self.keys)

    @property
    def key(self) -> str:
        """What the plan needs from the store: equal plans share one run."""
        return digest(sorted(key for language in self.keys for key in self.entries(language).values()))

    @property
    def needed(self) -> tuple[str, ...]:
        """Which states of each language are needed, as `<state>_<pooling>`, `nas_weighted` first."""
        return self.experiment.needed

    def entry_key(self, language: str, name: str) -> str:
        """The store's key of a language's states `<state>_<pooling>`; activation counts lie with `nas_weighted`."""
        return self.keys[language] + ("" if name == ENTRIES[0] else f"-{name}")

    def entries(self, language: str) -> dict[str, str]:
        """The store's key of each of the states that are needed of a language."""
        return {name: self.entry_key(language, name) for name in self.needed}

    def rows(self, language: str) -> list[int]:
        """The corpus rows whose states are kept for a language: all that are not empty in it."""
        return self.corpus.rows(language)

    def sentences(self, language: str) -> list[str]:
        """The texts of those rows."""
        return [self.corpus.texts[language][row] for row in self.rows(language)]

    @cached_property
    def positions(self) -> dict[str, np.ndarray]:
        """Where the rows that every language has lie among each language's own, [sentence].

        Raises ExperimentError where languages have their own sentences of the pivot.
        """
        check_shared(self, "This")
        if self.corpus.pairs:
            (own,) = self.corpus.pairs.values()
            return {self.pivot: np.array(list(own)), self.languages[0]: np.arange(len(own))}
        places = {code: {row: k for k, row in enumerate(self.rows(code))} for code in self.all_languages}
        return {code: np.array([place[row] for row in self.corpus.usable]) for code, place in places.items()}


def make_plan(
    experiment: Experiment,
    store: Store,
    raw: RawCorpus | None = None,
    device: str | None = None,
    source: ModelSource | None = None,
) -> Plan:
    """Read the corpus (unless `raw` is it), describe the model and name every language's states.

    device: cpu or cuda, and source: where the model is, where something else than the experiment decides them. The
    storage `auto` is exact where the default states of all languages that the corpus has, chosen or not, take at most
    EXACT_SHARE of what the store may hold, and else half. Raises CorpusError, ModelError and ExperimentError.
    """
    raw = raw or reading.read(experiment.corpus)
    corpus = selection.select(
        raw, experiment.pivot, experiment.languages or None, experiment.sentences, experiment.seed
    )
    source = sources.resolved(source or sources.parse_source(experiment.model))
    info = structure.describe(source)
    device = device or estimates.resolve_device(experiment.device)
    dtype = estimates.resolve_dtype(experiment.dtype, info, device)
    identity = fingerprint.identity(source, lambda key, compute: _remembered(store, key, compute))
    storage = experiment.storage
    if storage == "auto":
        sentences = len(raw.texts) * max(len(corpus.rows(code)) for code in (corpus.pivot, *corpus.languages))
        exact = sentences * precision.bytes_per_sentence(info, "exact", Experiment.kept)
        storage = "exact" if exact <= EXACT_SHARE * store.size_limit else "half"
    keys = _keys(experiment, corpus, info, dtype, storage, identity)
    return Plan(experiment, corpus, source, info, device, dtype, keys, identity, storage)


def on_corpus(plan: Plan, corpus: Corpus, source: str) -> Plan:
    """The plan's model on another corpus, which was read from `source`."""
    names = {"corpus": source, "pivot": corpus.pivot, "languages": corpus.languages}
    experiment = replace(plan.experiment, **names, sentences=None, seed=None)
    keys = _keys(experiment, corpus, plan.info, plan.dtype, plan.storage, plan.identity)
    return replace(plan, experiment=experiment, corpus=corpus, keys=keys)


def _keys(
    experiment: Experiment, corpus: Corpus, info: ModelInfo, dtype: str, storage: str, identity: str
) -> dict[str, str]:
    """The store's key of every language's states, the pivot's first."""
    how = (experiment.neuron, storage, info.max_length, extraction.VERSION)
    return {
        code: states_key(identity, dtype, *how, [corpus.texts[code][row] for row in corpus.rows(code)], LIBRARIES)
        for code in (corpus.pivot, *corpus.languages)
    }


def states_key(
    model_identity: str,
    dtype: str,
    neuron: str,
    storage: str,
    max_length: int,
    version: int,
    sentences: Sequence[str],
    libraries: Sequence[str],
) -> str:
    """The cache key of one language's states: it changes exactly when the numbers could."""
    choices = [dtype, neuron, storage, max_length, version]
    return "states-" + digest([model_identity, *choices, list(sentences), list(libraries)])


def _remembered(store: Store, key: str, compute: Callable[[], str]) -> str:
    """A file's hash, kept in the store under the file's path, size and time."""
    name = "hash-" + digest(key)
    known = store.get_json(name)
    if isinstance(known, str):
        return known
    value = compute()
    store.try_put_json(name, value)
    return value


def restrict(plan: Plan, codes: Sequence[str]) -> Plan:
    """The same plan for fewer languages; the rows stay those that all of the plan's languages have, or a pair's own."""
    kept = tuple(code for code in plan.languages if code in set(codes))
    if kept == plan.languages:
        return plan
    keys = {code: plan.keys[code] for code in (plan.pivot, *kept)}
    return replace(plan, corpus=plan.corpus.restricted(kept), keys=keys)


def of_pair(plan: Plan, x: str, y: str) -> Plan:
    """A plan in which two languages have the same sentences: itself, or where pairs have their own, that of the pair.

    Raises ExperimentError for languages that are no pair.
    """
    if not plan.corpus.own_sentences:
        return plan
    if x == y or plan.pivot not in (x, y):
        check_shared(plan, f"{languages.name(x)} with {languages.name(y)}")
    return restrict(plan, [x, y])


def pair_by_pair(plan: Plan) -> list[Plan]:
    """Plans whose pivot and languages are every pair of the plan's languages once. They have the same sentences."""
    codes = plan.all_languages
    return [
        replace(
            plan,
            corpus=replace(plan.corpus, pivot=pivot, languages=codes[k + 1 :]),
            keys={code: plan.keys[code] for code in codes[k:]},
        )
        for k, pivot in enumerate(codes[:-1])
    ]


def check_shared(plan: Plan, what: str) -> None:
    """Raise ExperimentError, which begins with what needs them, unless all languages have the same sentences."""
    if plan.corpus.own_sentences:
        raise ExperimentError(
            f"{what} needs the same sentences in all languages, and each pair of the corpus {plan.corpus.name} has its "
            f"own sentences of {languages.name(plan.pivot)}; choose one language, or a corpus that is parallel in all"
        )


def with_states(plan: Plan, names: Iterable[str]) -> Plan:
    """The same plan, for which some more states `<state>_<pooling>` are needed."""
    return with_only(plan, (*plan.needed, *names))


def with_neuron(plan: Plan, neuron: Neuron) -> Plan:
    """The same plan under a definition of a neuron; in a plain network both are one."""
    if plan.experiment.neuron == neuron or not plan.info.gated:
        return plan
    experiment = replace(plan.experiment, neuron=neuron)
    keys = _keys(experiment, plan.corpus, plan.info, plan.dtype, plan.storage, plan.identity)
    return replace(plan, experiment=experiment, keys=keys)


def with_only(plan: Plan, names: Iterable[str]) -> Plan:
    """The same plan, for which only some states `<state>_<pooling>` are needed, and `nas_weighted`."""
    return replace(plan, experiment=replace(plan.experiment.extraction, kept=(ENTRIES[0], *names)).extraction)


def missing_entries(plan: Plan, store: Store) -> dict[str, list[str]]:
    """By language, the pivot first, the states `<state>_<pooling>` that are needed and not in the store."""
    lacks = {code: [one for one, key in plan.entries(code).items() if key not in store] for code in plan.keys}
    return {code: names for code, names in lacks.items() if names}


def missing(plan: Plan, store: Store) -> list[str]:
    """Languages of whose states some are not in the store, the pivot first."""
    return list(missing_entries(plan, store))


def bytes_per_language(plan: Plan, names: Sequence[str] | None = None, code: str = "") -> int:
    """Size on disk of some states of one language, or all that are needed, for sentences of 23 to 255 tokens."""
    names = plan.needed if names is None else names
    per_sentence = precision.bytes_per_sentence(plan.info, plan.storage, names)
    counts = 2 * plan.info.layers * plan.info.neurons if ENTRIES[0] in names else 0
    return len(plan.corpus.pairs.get(code, plan.corpus.lines)) * per_sentence + counts


def missing_bytes(plan: Plan, store: Store) -> int:
    """Size on disk of what is needed and not in the store."""
    return sum(bytes_per_language(plan, names, code) for code, names in missing_entries(plan, store).items())


def check_size(plan: Plan, store: Store) -> None:
    """Raise ExperimentError where the plan's states cannot all be kept at once: the first would go before the last."""
    gib = 1 << 30
    all_bytes = sum(bytes_per_language(plan, code=code) for code in plan.all_languages)
    new_bytes = missing_bytes(plan, store)
    free = store.free()
    smaller = "choose fewer languages or sentences"
    smaller += ", or keep fewer representations" if len(plan.needed) > 1 else ""
    smaller += ", or half precision (storage half)" if plan.storage == "exact" else ""
    if all_bytes > store.size_limit:
        raise ExperimentError(
            f"the states of {len(plan.all_languages)} languages take {all_bytes / gib:,.1f} GiB and the cache holds "
            f"at most {store.size_limit / gib:,.1f} GiB; {smaller}, or set {LIMIT_VARIABLE} higher"
        )
    if new_bytes > (room := store.room()):
        raise ExperimentError(
            f"the states to compute take {new_bytes / gib:,.3g} GiB and the cache has room for "
            f"{max(0, room) / gib:,.3g} GiB{store.spared}, or {smaller}"
        )
    if new_bytes > free:
        raise ExperimentError(
            f"the states to compute take {new_bytes / gib:,.1f} GiB and {free / gib:,.1f} GiB are free in "
            f"{store.folder}; {smaller}, or put the cache on a larger disk"
        )
