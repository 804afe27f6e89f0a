"""The models that a process holds in memory, used by one computation at a time."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from neuronxa_core.errors import ModelBusy
from neuronxa_core.host import process_memory
from neuronxa_core.models import fingerprint, loading
from neuronxa_core.models.description import LoadedModel
from neuronxa_core.states.batches import TOKEN_BUDGET
from neuronxa_core.states.planning import Plan


class ModelPool:
    """Keeps the loaded models that were used last, at most `most`; loading one more frees the one used longest ago."""

    def __init__(self, most: int = 1) -> None:
        process_memory.keep_what_is_freed()
        self.most = most
        self._lock = threading.Lock()
        self._models: dict[tuple, LoadedModel] = {}
        """The one used last is the last."""

    @contextmanager
    def acquire(
        self, plan: Plan, head: bool | Literal["masked"] = False, patience: float | None = None
    ) -> Iterator[LoadedModel]:
        """The plan's model, for one user at a time; with its head where `head` asks; see loading.load.

        A model that has its head serves both. patience: seconds to wait for whoever has it, without end if not given.
        Raises ModelBusy after that, and ModelError, also where the model's files have changed since the plan was made.
        """
        key = self._key_of(plan)
        if not self._lock.acquire(timeout=-1 if patience is None else patience):
            raise ModelBusy("the model is at work on a run; this appears when the run is over")
        try:
            loaded = self._models.pop(key, None)
            if loaded is None or (head and loaded.head is None):
                del loaded
                self._shrink(self.most - 1)
                loaded = loading.load(plan.source, plan.dtype, plan.device, TOKEN_BUDGET[plan.device], head)
                fingerprint.check_unchanged(plan.source, plan.identity)
            self._models[key] = loaded
            yield loaded
        finally:
            process_memory.trim()
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
            process_memory.trim()
            self._lock.release()

    @staticmethod
    def _key_of(plan: Plan) -> tuple:
        return plan.source, plan.identity, plan.info, plan.dtype, plan.device

    def _shrink(self, most: int) -> None:
        """Free the models used longest ago until at most so many are left."""
        while len(self._models) > most:
            del self._models[next(iter(self._models))]
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
