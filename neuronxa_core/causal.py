"""What neurons do: switch some of them off and see what a language loses, in likelihood and in alignment.

A neuron is switched off by setting its activation to 0 at every token, at the input of the feed-forward network's last
projection: the network's output is then what it would be without that column (as for the language-specific neurons of
LAPE, Tang et al., ACL 2024, whose model then writes the language worse). A loss says little by itself: switching off
any neurons costs something, so that sets are compared with random ones of the same size (`random_like`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

from neuronxa_core import alignment, experts, extraction, likelihood
from neuronxa_core.errors import Cancelled, ExperimentError
from neuronxa_core.experiment import digest
from neuronxa_core.extraction import POOLINGS, STATES
from neuronxa_core.models import LoadedModel, ModelInfo, Neuron
from neuronxa_core.pipeline import ModelShelf, Plan
from neuronxa_core.store import Store
from neuronxa_core.wording import some_of

# part of the key under which effects are kept: raise it whenever the numbers below could change
VERSION = 1
BASELINE = "nothing"


@dataclass(frozen=True)
class Neurons:
    """A set of neurons. pairs: (layer, its neurons) for every layer that has some, all in ascending order."""

    pairs: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        layers = [layer for layer, _ in self.pairs]
        if any(a >= b for a, b in zip([-1, *layers], layers, strict=False)):
            raise ExperimentError(f"the layers of a set of neurons must be ascending and 0 or more, not {layers}")
        for layer, numbers in self.pairs:
            if not numbers or any(a >= b for a, b in zip((-1, *numbers), numbers, strict=False)):
                raise ExperimentError(
                    f"the neurons of layer {layer} must be at least one, ascending, each once and 0 or more"
                )

    @classmethod
    def from_mask(cls, mask: np.ndarray) -> Neurons:
        """The neurons at which a mask, bool [layer, neuron], is True."""
        mask = np.asarray(mask)
        if mask.ndim != 2 or mask.dtype != bool:
            raise ValueError(f"expected bool [layer, neuron], got {mask.dtype} {list(mask.shape)}")
        return cls.of({layer: np.flatnonzero(row) for layer, row in enumerate(mask)})

    @classmethod
    def of(cls, by_layer: Mapping[int, np.ndarray]) -> Neurons:
        """The neurons of a mapping from layers to neuron numbers, in any order."""
        numbers = {int(layer): tuple(sorted({int(j) for j in some})) for layer, some in by_layer.items()}
        return cls(tuple((layer, numbers[layer]) for layer in sorted(numbers) if numbers[layer]))

    @property
    def by_layer(self) -> dict[int, tuple[int, ...]]:
        """Layer to neurons, for the layers that have some."""
        return dict(self.pairs)

    @property
    def count(self) -> int:
        return sum(len(numbers) for _, numbers in self.pairs)

    @cached_property
    def digest(self) -> str:
        """A hash of the set."""
        return digest(self.pairs)

    def check(self, info: ModelInfo) -> None:
        """Raise ExperimentError where the model lacks one of the neurons."""
        for layer, numbers in self.pairs:
            if layer >= info.layers or numbers[-1] >= info.neurons:
                raise ExperimentError(
                    f"neuron {numbers[-1]} of layer {layer} is not in model {info.name}, which has {info.layers} "
                    f"layers of {info.neurons} neurons (both count from 0); the set was made for another model"
                )


def random_like(neurons: Neurons, info: ModelInfo, seed: int, avoid: Neurons | None = None) -> Neurons:
    """A random set with as many neurons in every layer, the same for the same arguments.

    Drawn without replacement from the layer's neurons that are neither in `neurons` nor in `avoid`; where those are too
    few, all of them and a random rest, first from `avoid` alone and only then from `neurons`. Raises ExperimentError
    for neurons that the model lacks and for a negative seed.
    """
    neurons.check(info)
    if seed < 0:
        raise ExperimentError(f"the seed of random neurons must be 0 or more, not {seed}")
    avoided = avoid.by_layer if avoid else {}
    drawn = {}
    for layer, numbers in neurons.pairs:
        # the sets of two languages get draws that have nothing to do with each other
        generator = np.random.default_rng([seed, layer, int(neurons.digest, 16)])
        rank = np.zeros(info.neurons)
        rank[[j for j in avoided.get(layer, ()) if j < info.neurons]] = 1
        rank[list(numbers)] = 2
        order = np.lexsort([generator.random(info.neurons), rank])
        drawn[layer] = order[: len(numbers)]
    return Neurons.of(drawn)


@contextmanager
def switched_off(loaded: LoadedModel, neurons: Neurons, neuron: Neuron = "product") -> Iterator[None]:
    """While it is open, the neurons' activation is 0 at every token; the model's own tensors stay as they are.

    It is set to 0 at the input of the network's last projection, whatever the definition of a neuron: of
    W_down( act(W_gate x) * (W_up x) ), setting act(W_gate x)_j (`gate`) or the whole product's entry j (`product`) to 0
    both take away column j of W_down and nothing else. Where extraction reads `gate` at the activation function's
    output, the neuron is set to 0 there too, so that its states are 0 under both definitions.

    In a mixture of experts the neurons are 0 at the tokens that chose their expert; at all others they are anyway. The
    router chooses as before in that layer. All experts run as `experts.replacing` runs them, also where no neuron is
    switched off, so that what is compared was computed in one way.

    StateHooks see the activations as they are after switching off, wherever they were registered. Raises
    ExperimentError for neurons that the model lacks, ModelError where `gate` cannot be read.
    """
    neurons.check(loaded.info)
    with ExitStack() as stack:
        if loaded.info.experts:
            off_in_experts = _OffInExperts(neurons, loaded.info.neurons // loaded.info.experts)
            for definition in sorted({"product", neuron}):
                stack.enter_context(experts.replacing(loaded, off_in_experts, definition))
        for layer, numbers in () if loaded.info.experts else neurons.pairs:
            feed_forward = loaded.feed_forwards[layer]
            off = _Off(numbers)
            last = loaded.model.get_submodule(feed_forward.last_projection)
            # first of all: hooks that were there before are to see the zeros as well
            stack.callback(last.register_forward_pre_hook(off.of_input, prepend=True).remove)
            path, side = feed_forward.module_for(neuron)
            if side == "output":
                activation = loaded.model.get_submodule(path)
                stack.callback(activation.register_forward_hook(off.of_output, prepend=True).remove)
        yield


class _Off:
    """Hooks of one layer that set some neurons of [..., neuron] to 0, in a copy."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._index = torch.tensor(list(numbers))

    def zeroed(self, activations: torch.Tensor) -> torch.Tensor:
        if self._index.device != activations.device:
            self._index = self._index.to(activations.device)
        # filled rather than multiplied: inf times 0 is NaN
        return activations.index_fill(-1, self._index, 0)

    def of_input(self, _module: torch.nn.Module, inputs: tuple) -> tuple:
        return (self.zeroed(inputs[0]), *inputs[1:])

    def of_output(self, _module: torch.nn.Module, _inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        return self.zeroed(output)


class _OffInExperts:
    """What `experts.replacing` calls to set some neurons of a mixture to 0, whose experts have `width` columns each."""

    def __init__(self, neurons: Neurons, width: int) -> None:
        columns: dict[tuple[int, int], list[int]] = {}
        for layer, numbers in neurons.pairs:
            for number in numbers:
                columns.setdefault((layer, number // width), []).append(number % width)
        self._off = {place: _Off(some) for place, some in columns.items()}

    def __call__(self, layer: int, expert: int, _tokens: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        off = self._off.get((layer, expert))
        return activations if off is None else off.zeroed(activations)


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
    with switched_off(loaded, neurons, plan.experiment.neuron):
        states = _states(loaded, plan, language, texts, pooling, cancelled)
        found = None
        if with_likelihood:
            found = likelihood.negative_log_likelihood(loaded, texts, language=language, cancelled=cancelled)
    scores = {
        state: tuple(
            float(alignment.retrieve(pivot[state][layer], states[state][layer][None]).aligned.mean())
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
    with switched_off(loaded, neurons, plan.experiment.neuron):
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
class SwitchOff:
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
        versions = [VERSION, alignment.VERSION, likelihood.VERSION if self.with_likelihood else None]
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
        shelf: ModelShelf,
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
        with shelf.borrow(self.plan, head=self.with_likelihood) as loaded:
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


def effects_table(work: SwitchOff, store: Store) -> pd.DataFrame:
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
