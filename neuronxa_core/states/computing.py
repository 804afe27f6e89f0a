"""The missing states of a plan, computed language by language and put into the store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

from neuronxa_core.errors import Cancelled, CorruptEntry
from neuronxa_core.experiment import ENTRIES
from neuronxa_core.states import extraction, pace
from neuronxa_core.states.extraction import LanguageStates
from neuronxa_core.states.planning import Plan, check_size, missing, missing_entries
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.precision import scale_name
from neuronxa_core.store.cache import Store, kind_of

logger = logging.getLogger(__name__)


def compute_missing(
    plan: Plan,
    store: Store,
    pool: ModelPool,
    *,
    notes: Store | None = None,
    on_progress: Callable[[str, int, int], None] = lambda _language, _done, _all: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Extract and store the states that are missing, language by language; returns the languages that were.

    What is there of a language is neither computed nor stored again; states of an earlier version are dropped.
    notes: where the pace is kept, if not in the store. on_progress(language, sentences done, sentences of the
    language). A language is stored when it is whole, while the
    next is computed: whatever stops the run in this process loses one language at most, and no more than two are held.
    Raises ModelError, ExtractionError, Cancelled, and StoreError as soon as a language could not be written.
    """
    todo = missing_entries(plan, store)
    if not todo:
        return []
    if cancelled():
        raise Cancelled("stopped before it began")
    if isinstance(store, Store):
        _drop_earlier_versions(store)
    writing: Future[None] = Future()
    writing.set_result(None)

    def stopped() -> bool:
        if writing.done():
            writing.result()
        return cancelled()

    asked, ready = time.monotonic(), pool.holds(plan) or pool.busy
    with pool.acquire(plan) as loaded, ThreadPoolExecutor(1, "store") as writer:
        began = time.monotonic()
        for language, names in todo.items():
            sentences = plan.sentences(language)
            states = extraction.extract(
                loaded,
                language,
                sentences,
                plan.experiment.neuron,
                storage=plan.storage,
                names=names,
                folder=store.folder,
                on_progress=lambda done, whole, language=language: on_progress(language, done, whole),
                cancelled=stopped,
            )
            writing.result()
            meta = {
                "version": extraction.VERSION,
                "language": language,
                "model": plan.source.name,
                "corpus": plan.corpus.name,
                "dtype": plan.dtype,
                "neuron": plan.experiment.neuron,
                "storage": plan.storage,
                "sentences": len(sentences),
                "truncated": states.truncated,
                "max_length": states.max_length,
            }
            writing = writer.submit(_write, plan, store, language, names, states, meta)
        writing.result()
    if isinstance(notes := notes or store, Store):
        pace.keep(plan, notes, todo, time.monotonic() - began, None if ready else began - asked)
    return list(todo)


def _write(plan: Plan, store: Store, language: str, names: Sequence[str], states: LanguageStates, meta: dict) -> None:
    """Put a language's states into the store, an entry for each name; last what tells that the language is there."""
    for name in reversed(names):
        arrays = {one: states.arrays[one] for one in (name, scale_name(name)) if one in states.arrays}
        if name == ENTRIES[0]:
            arrays |= {"counts": states.counts, "tokens": states.tokens}
        store.put(plan.entry_key(language, name), arrays, {**meta, "states": name})


def _drop_earlier_versions(store: Store) -> None:
    """Remove states that an earlier version of the extraction computed: nothing reads them any more."""
    states = (one for one in store.entries() if kind_of(one.key) == "states" and isinstance(one.meta, dict))
    earlier = [one for one in states if one.meta.get("version") != extraction.VERSION]
    for one in earlier:
        store.drop(one.key)
    if earlier:
        logger.warning("states of an earlier version are dropped from the cache: %d entries", len(earlier))


@dataclass(frozen=True)
class Extraction:
    """The computation of the states of a plan that are missing, as a job."""

    plan: Plan
    unit: ClassVar[str] = "sentences"

    @property
    def key(self) -> str:
        return self.plan.key

    @property
    def title(self) -> str:
        count = len(self.plan.all_languages)
        return f"states of {count} {'language' if count == 1 else 'languages'} in {self.plan.source.name}"

    @property
    def units(self) -> int:
        """Sentences of all languages."""
        return sum(len(self.plan.rows(code)) for code in self.plan.all_languages)

    def totals(self, store: Store) -> dict[str, int]:
        """Sentences of every language whose states are missing."""
        return {code: len(self.plan.rows(code)) for code in missing(self.plan, store)}

    def run(
        self,
        store: Store,
        pool: ModelPool,
        on_progress: Callable[[str, int, int], None],
        cancelled: Callable[[], bool],
    ) -> list[str]:
        check_size(self.plan, store)
        return compute_missing(self.plan, store, pool, on_progress=on_progress, cancelled=cancelled)


def recompute_if_corrupt(plan: Plan, store: Store, pool: ModelPool, work: Callable[[], object], **options) -> object:
    """work(), and where it meets a damaged entry (the store has dropped it), compute that language again and retry."""
    for _ in range(len(plan.all_languages) * len(plan.needed)):
        try:
            return work()
        except CorruptEntry:
            compute_missing(plan, store, pool, **options)
    return work()
