"""What neurons do: switch some of them off and see what a language loses, in likelihood and in alignment.

A neuron is switched off by setting its activation to 0 at every token, at the input of the feed-forward network's last
projection: the network's output is then what it would be without that column (as for the language-specific neurons of
LAPE, Tang et al., ACL 2024, whose model then writes the language worse). A loss says little by itself: switching off
any neurons costs something, so that sets are compared with random ones of the same size (`random_like`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd

from neuronxa_core.errors import Cancelled, ExperimentError
from neuronxa_core.experiment import digest
from neuronxa_core.measures import alignment, cosine_retrieval
from neuronxa_core.models.description import LoadedModel
from neuronxa_core.states import extraction
from neuronxa_core.states import likelihood as likelihood_states
from neuronxa_core.states.extraction import POOLINGS, STATES
from neuronxa_core.states.interventions import Neurons, zero_ablated
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from neuronxa_core.wording import some_of

# part of the key under which effects are kept: raise it whenever the numbers below could change
VERSION = 1
BASELINE = "nothing"


@dataclass(frozen=True)
class Effect:
    """What a language is like with some neurons switched off.

    nats, tokens, bytes: of all its sentences together, see likelihood.Likelihood; None where no likelihood was asked
    for or the model is an encoder. scores: for each state (nas, nav, emb) the alignment with the pivot by layer,
    [layer] in [0, 1], with the pivot's neurons switched off as well. sentences: how many were read.
    """

    nats: float | None
    tokens: int | None
    bytes: int | None
    scores: dict[str, tuple[float, ...]]
    sentences: int

    @property
    def nats_per_byte(self) -> float | None:
        return None if self.nats is None else self.nats / self.bytes

    def score(self, state: str) -> float:
        """The alignment with one state, averaged over the layers."""
        return float(np.mean(self.scores[state]))

    def to_json(self) -> dict:
        """What `from_json` reads."""
        return {
            "nats": self.nats,
            "tokens": self.tokens,
            "bytes": self.bytes,
            "scores": {state: list(scores) for state, scores in self.scores.items()},
            "sentences": self.sentences,
        }

    @classmethod
    def from_json(cls, document: object, layers: int) -> Effect | None:
        """The effect that `to_json` wrote for a model of `layers` layers; None for anything else."""

        if not isinstance(document, dict) or set(document) != {"nats", "tokens", "bytes", "scores", "sentences"}:
            return None
        nats, tokens, size, scores = (document[name] for name in ("nats", "tokens", "bytes", "scores"))
        measured = _is_number(nats, 0) and _is_count(tokens, 0) and _is_count(size, 1)
        if not measured and (nats, tokens, size) != (None, None, None):
            return None
        if not isinstance(scores, dict) or set(scores) != set(STATES) or not _is_count(document["sentences"], 2):
            return None
        if not all(isinstance(by_layer, list) and len(by_layer) == layers for by_layer in scores.values()):
            return None
        if not all(_is_number(score, 0) and score <= 1 for by_layer in scores.values() for score in by_layer):
            return None
        kept = {state: tuple(float(score) for score in scores[state]) for state in STATES}
        return cls(None if nats is None else float(nats), tokens, size, kept, document["sentences"])


def _is_number(value: object, least: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value < np.inf


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def measure(
    loaded: LoadedModel,
    plan: Plan,
    neurons: Neurons,
    language: str,
    pooling: str,
    sentences: int,
    *,
    pivot: dict[str, np.ndarray] | None = None,
    with_likelihood: bool = True,
    cancelled: Callable[[], bool] = lambda: False,
) -> Effect:
    """What a language of the plan is like with some neurons switched off; none of it is stored.

    The first `sentences` usable rows are read. pivot: what `pivot_states` gives for the same neurons, pooling and
    sentences, so that it need not be computed for every language. with_likelihood wants a model that was loaded with
    its head. Raises ModelError, ExtractionError, ExperimentError, Cancelled.
    """
    if pivot is None:
        pivot = pivot_states(loaded, plan, neurons, pooling, sentences, cancelled=cancelled)
    texts = _texts(plan, language, sentences)
    with zero_ablated(loaded, neurons, plan.experiment.neuron):
        states = _states(loaded, plan, language, texts, pooling, cancelled)
        found = None
        if with_likelihood:
            found = likelihood_states.negative_log_likelihood(loaded, texts, language=language, cancelled=cancelled)
    scores = {
        state: tuple(
            float(cosine_retrieval.retrieve(pivot[state][layer], states[state][layer][None]).aligned.mean())
            for layer in range(plan.info.layers)
        )
        for state in STATES
    }
    if found is None:
        return Effect(None, None, None, scores, len(texts))
    return Effect(float(found.nats.sum()), int(found.tokens.sum()), int(found.bytes.sum()), scores, len(texts))


def pivot_states(
    loaded: LoadedModel,
    plan: Plan,
    neurons: Neurons,
    pooling: str,
    sentences: int,
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, np.ndarray]:
    """Numerators of the pivot's first usable rows with some neurons switched off, by state.

    Each is [layer, sentence, neuron or hidden]. Raises ExtractionError, Cancelled.
    """
    with zero_ablated(loaded, neurons, plan.experiment.neuron):
        return _states(loaded, plan, plan.pivot, _texts(plan, plan.pivot, sentences), pooling, cancelled)


def _texts(plan: Plan, language: str, sentences: int) -> list[str]:
    return [plan.corpus.texts[language][row] for row in plan.corpus.usable[:sentences]]


def _states(
    loaded: LoadedModel,
    plan: Plan,
    language: str,
    texts: list[str],
    pooling: str,
    cancelled: Callable[[], bool],
) -> dict[str, np.ndarray]:
    states = extraction.extract(loaded, language, texts, plan.experiment.neuron, cancelled=cancelled)
    return {state: states.arrays[f"{state}_{pooling}"] for state in STATES}


@dataclass(frozen=True)
class Ablation:
    """Work for the queue: the effect of switching off each of some sets of neurons on each of some languages.

    sets: names, as a page shows them, with their neurons; the baseline, `nothing` switched off, is always measured too.
    languages: codes of the plan; the pivot may be one of them, though its alignment with itself says nothing.
    sentences: how many usable rows are read, the first ones. likelihood: whether it is measured where the model is
    causal; otherwise alignment alone.
    Raises ExperimentError where these do not fit each other.
    """

    plan: Plan
    sets: tuple[tuple[str, Neurons], ...]
    languages: tuple[str, ...]
    pooling: str = "weighted"
    sentences: int = 100
    likelihood: bool = True
    unit: ClassVar[str] = "languages"

    def __post_init__(self) -> None:
        names = [name for name, _ in self.everything]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ExperimentError(f"every set of neurons needs a name of its own; {twice[0]!r} occurs twice")
        for _, neurons in self.sets:
            neurons.check(self.plan.info)
        unknown = [code for code in self.languages if code not in self.plan.keys]
        if unknown:
            raise ExperimentError(f"{unknown[0]} is not a language of this experiment; choose it there first")
        if not self.languages or len(set(self.languages)) < len(self.languages):
            raise ExperimentError("switching neurons off needs at least one language, and each once")
        if self.pooling not in POOLINGS:
            raise ExperimentError(f"pooling is one of {', '.join(POOLINGS)}, not {self.pooling!r}")
        if self.sentences < 2:
            raise ExperimentError(f"alignment needs at least 2 sentences, not {self.sentences}")

    @property
    def everything(self) -> tuple[tuple[str, Neurons], ...]:
        """The sets with the baseline before them."""
        return ((BASELINE, Neurons()), *self.sets)

    @property
    def with_likelihood(self) -> bool:
        """Whether likelihood is measured: asked for, and the model is causal."""
        return self.likelihood and self.plan.info.causal

    @cached_property
    def key(self) -> str:
        """What decides the results: equal works share one run."""
        return digest([[name, code, self._effect_key(neurons, code)] for name, neurons, code in self._cells()])

    @property
    def title(self) -> str:
        """One line for a list of jobs."""
        sets = some_of((name for name, _ in self.sets), 3)
        on = ", ".join(self.languages) if len(self.languages) <= 3 else f"{len(self.languages)} languages"
        return f"switching off {sets or BASELINE} in {self.plan.source.name}, effect on {on}"

    def _cells(self) -> Iterator[tuple[str, Neurons, str]]:
        for name, neurons in self.everything:
            for code in self.languages:
                yield name, neurons, code

    def _effect_key(self, neurons: Neurons, language: str) -> str:
        """The store's key of one effect: it changes exactly when the numbers could."""
        versions = [VERSION, alignment.VERSION, likelihood_states.VERSION if self.with_likelihood else None]
        compared = [self._read[self.plan.pivot], self._read[language]]
        return "effect-" + digest([versions, self.pooling, neurons.digest, compared])

    @cached_property
    def _read(self) -> dict[str, str]:
        """Which model reads which texts of every language."""
        return {
            code: digest([self.plan.keys[code], self.plan.positions[code][: self.sentences].tolist()])
            for code in {self.plan.pivot, *self.languages}
        }

    def _kept(self, store: Store, neurons: Neurons, language: str) -> Effect | None:
        document = store.get_json(self._effect_key(neurons, language))
        effect = Effect.from_json(document, self.plan.info.layers)
        return None if effect is None or (effect.nats is None) is self.with_likelihood else effect

    def results(self, store: Store) -> dict[tuple[str, str], Effect]:
        """The effects that are there, by name of the set and language."""
        kept = ((name, code, self._kept(store, neurons, code)) for name, neurons, code in self._cells())
        return {(name, code): effect for name, code, effect in kept if effect is not None}

    @property
    def units(self) -> int:
        """Sets times languages, the baseline included."""
        return len(self.everything) * len(self.languages)

    def totals(self, store: Store) -> dict[str, int]:
        """Languages still to be measured, for every set that lacks some."""
        lacking: dict[str, int] = {}
        there = self.results(store)
        for name, _, code in self._cells():
            if (name, code) not in there:
                lacking[name] = lacking.get(name, 0) + 1
        return lacking

    def run(
        self,
        store: Store,
        pool: ModelPool,
        on_progress: Callable[[str, int, int], None] = lambda _name, _done, _all: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Measure and store what is missing, set by set; every effect is stored as soon as it is measured.

        on_progress(name of the set, languages done, languages that it lacked). Raises ModelError (also where the
        likelihood is asked for and the weights hold no language-model head), ExtractionError, StoreError, Cancelled.
        """
        totals = self.totals(store)
        if not totals:
            return
        if cancelled():
            raise Cancelled("stopped before it began")
        with pool.acquire(self.plan, head=self.with_likelihood) as loaded:
            for name, neurons in self.everything:
                for done in self._run_set(loaded, store, neurons, cancelled) if name in totals else ():
                    on_progress(name, done, totals[name])

    def _run_set(
        self, loaded: LoadedModel, store: Store, neurons: Neurons, cancelled: Callable[[], bool]
    ) -> Iterator[int]:
        """Measure and store what a set lacks; yields after every language how many are done."""
        lacking = [code for code in self.languages if self._kept(store, neurons, code) is None]
        if not lacking:
            return
        pivot = pivot_states(loaded, self.plan, neurons, self.pooling, self.sentences, cancelled=cancelled)
        for done, code in enumerate(lacking, start=1):
            effect = measure(
                loaded,
                self.plan,
                neurons,
                code,
                self.pooling,
                self.sentences,
                pivot=pivot,
                with_likelihood=self.with_likelihood,
                cancelled=cancelled,
            )
            store.put_json(self._effect_key(neurons, code), effect.to_json())
            yield done


def effects_table(work: Ablation, store: Store) -> pd.DataFrame:
    """What is measured so far, a row for every set (the baseline first) and language.

    Columns: set, language, nats_per_byte (NaN without likelihood), score_nas, score_nav, score_emb (means over the
    layers), and change_* of each: minus the same language's baseline, NaN where that is missing. A rise of
    nats_per_byte is a loss.
    """
    measures = ("nats_per_byte", *(f"score_{state}" for state in STATES))
    effects = work.results(store)
    rows = {place: _summary(effect) for place, effect in effects.items()}
    # means of the same layers' scores in another order may differ in their last bit: that is no change
    changes = {
        (name, code): np.round(np.subtract(row, rows.get((BASELINE, code), np.nan)), 12)
        for (name, code), row in rows.items()
    }
    table = pd.DataFrame(
        [[*place, *row, *changes[place]] for place, row in rows.items()],
        columns=["set", "language", *measures, *(f"change_{measure}" for measure in measures)],
    )
    return table.astype(dict.fromkeys(table.columns[2:], float))


def _summary(effect: Effect) -> list[float]:
    """Nats per byte, NaN where there are none, and the mean score of each state."""
    nats_per_byte = effect.nats_per_byte
    return [np.nan if nats_per_byte is None else nats_per_byte, *(effect.score(state) for state in STATES)]
