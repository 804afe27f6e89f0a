"""TODO"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from neuronxa_core.errors import Cancelled, ExperimentError, ModelError
from neuronxa_core.experiment import digest
from neuronxa_core.measures.figures import VERSION, Measured
from neuronxa_core.states import likelihood as likelihood_states
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

# Likelihood -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NatsPerByte:
    """Work for the queue: how well a causal language model predicts each language, in nats per byte; lower is better.

    sentences: how many usable rows are read, the first ones; all for None. The score is the sum of nats over the sum
    of UTF-8 bytes, see likelihood; its standard error is that of a ratio of two means over sentences (delta method).
    Scripts need from one to three bytes a letter, which is why languages can be compared with care only.

    Raises ModelError for an encoder, ExperimentError for fewer than 2 sentences.
    """

    plan: Plan
    sentences: int | None = None
    unit: ClassVar[str] = "sentences"
    metric: ClassVar[str] = "nats per byte"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.plan.info.causal:
            raise ModelError(
                f"model {self.plan.source.name} ({self.plan.info.class_name}) is an encoder, which predicts no next "
                "token; likelihood needs a causal language model, such as demo or Qwen/Qwen3-8B"
            )
        if self.sentences is not None and self.sentences < 2:
            raise ExperimentError(f"likelihood needs at least 2 sentences, not {self.sentences}")

    @property
    def languages(self) -> tuple[str, ...]:
        """Which languages are measured: all of the plan, the pivot first."""
        return self.plan.all_languages

    def _texts(self, language: str) -> list[str]:
        return [self.plan.corpus.texts[language][row] for row in self.plan.corpus.usable[: self.sentences]]

    @cached_property
    def _keys(self) -> dict[str, str]:
        """The store's key of every language's figure: it changes exactly when the number could."""
        # not plan.keys: how a neuron is defined does not matter here
        how = [VERSION, likelihood_states.VERSION, self.plan.identity, self.plan.dtype, self.plan.info.max_length]
        return {code: "likelihood-" + digest([how, self._texts(code)]) for code in self.languages}

    @cached_property
    def key(self) -> str:
        """What decides the results: equal works share one run."""
        return digest(list(self._keys.values()))

    @property
    def title(self) -> str:
        """One line for a list of jobs."""
        count = len(self.languages)
        return f"likelihood of {count} {'language' if count == 1 else 'languages'} in {self.plan.source.name}"

    def results(self, store: Store) -> dict[str, Measured]:
        """The figures that are there, by language; scores in nats per byte, 0 or more."""
        kept = {code: Measured.from_json(store.get_json(self._keys[code])) for code in self.languages}
        return {code: measured for code, measured in kept.items() if measured is not None}

    @property
    def units(self) -> int:
        """Sentences of all languages."""
        return sum(len(self._texts(code)) for code in self.languages)

    def totals(self, store: Store) -> dict[str, int]:
        """Sentences of every language that is still to be measured."""
        there = self.results(store)
        return {code: len(self._texts(code)) for code in self.languages if code not in there}

    def run(
        self,
        store: Store,
        pool: ModelPool,
        on_progress: Callable[[str, int, int], None] = lambda _language, _done, _all: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Measure and store what is missing, language by language.

        on_progress(language, sentences done, sentences of the language). Raises ModelError (also where the weights hold
        no language-model head), ExtractionError, StoreError, Cancelled.
        """
        lacking = self.totals(store)
        if not lacking:
            return
        if cancelled():
            raise Cancelled("stopped before it began")
        with pool.acquire(self.plan, head=True) as loaded:
            for code in lacking:
                found = likelihood_states.negative_log_likelihood(
                    loaded,
                    self._texts(code),
                    language=code,
                    cancelled=cancelled,
                    on_progress=lambda done, whole, code=code: on_progress(code, done, whole),
                )
                store.put_json(self._keys[code], _ratio(found.nats, found.bytes).to_json())


def _ratio(above: np.ndarray, below: np.ndarray) -> Measured:
    """Sum of `above` over sum of `below`, [sentence] each, with the standard error of the delta method."""
    n, score = len(above), above.sum() / below.sum()
    residual = above - score * below
    return Measured(float(score), float(np.sqrt(n / (n - 1) * (residual**2).sum()) / below.sum()), n)
