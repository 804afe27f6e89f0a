"""What neurons do: ablate some of them and see what a language loses, in likelihood and in alignment.

A neuron is ablated by setting its activation to 0 at every token, at the input of the feed-forward network's last
projection: the network's output is then what it would be without that column (as for the language-specific neurons of
LAPE, Tang et al., ACL 2024, whose model then writes the language worse). Or it is set to its mean (mean-ablation): 0
may be far from all that the network ever meets, which costs something by itself; the mean takes away no more than how
the neuron differs between tokens and between languages. A loss says little by itself: ablating any
neurons costs something, the more the more often they are active. So sets are compared with random ones of the same
size and activation probability (`with_controls`), and tested on other sentences than they were chosen on (`halves`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import STATES, digest
from neuronxa_core.measures import alignment, cosine_retrieval
from neuronxa_core.measures.activation_counts import ActivationCounts, activation_counts, counts_key
from neuronxa_core.measures.base import Arrays, Measure, Run, choice, pooling_choice
from neuronxa_core.measures.lape import LapeMeasure, halves
from neuronxa_core.measures.neuron_sets import NeuronSets
from neuronxa_core.models.description import LoadedModel, ModelInfo
from neuronxa_core.states import extraction, mean_activations
from neuronxa_core.states import likelihood as likelihood_states
from neuronxa_core.states.interventions import Neurons, ablated, random_like
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from neuronxa_core.wording import some_of

BASELINE = "nothing"


def pivot_states(
    loaded: LoadedModel,
    plan: Plan,
    neurons: Neurons,
    pooling: str,
    sentences: int,
    *,
    means: np.ndarray | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, np.ndarray]:
    """Pooled sums of the pivot's first usable rows with some neurons ablated, by state.

    means: see interventions.ablated. Each is [layer, sentence, neuron or hidden]. Raises ExtractionError, Cancelled.
    """
    with ablated(loaded, neurons, plan.experiment.neuron, means):
        return _states(loaded, plan, plan.pivot, _texts(plan, plan.pivot, sentences), pooling, cancelled)


def effect(
    loaded: LoadedModel,
    plan: Plan,
    neurons: Neurons,
    language: str,
    pooling: str,
    sentences: int,
    *,
    pivot: Mapping[str, np.ndarray],
    means: np.ndarray | None = None,
    with_likelihood: bool = True,
    cancelled: Callable[[], bool] = lambda: False,
) -> Arrays:
    """What a language of the plan is like with some neurons ablated.

    The first `sentences` usable rows are read. pivot: what `pivot_states` gives for the same neurons, pooling,
    sentences and means. with_likelihood wants a model that was loaded with its head.

    Returns for each state (nas, nav, emb) the alignment with the pivot by layer, [layer] in [0, 1], with the neurons
    ablated in the pivot as well; and `likelihood`, if it is wanted: nats, tokens and bytes of all sentences together,
    see states.likelihood. Raises ModelError, ExtractionError, ExperimentError, Cancelled.
    """
    texts = _texts(plan, language, sentences)
    with ablated(loaded, neurons, plan.experiment.neuron, means):
        states = _states(loaded, plan, language, texts, pooling, cancelled)
        found = None
        if with_likelihood:
            found = likelihood_states.negative_log_likelihood(loaded, texts, language=language, cancelled=cancelled)
    arrays = {
        state: np.array(
            [
                cosine_retrieval.retrieve(pivot[state][layer], states[state][layer][None]).aligned.mean()
                for layer in range(plan.info.layers)
            ]
        )
        for state in STATES
    }
    if found is not None:
        arrays["likelihood"] = np.array([found.nats.sum(), found.tokens.sum(), found.bytes.sum()])
    return arrays


def _texts(plan: Plan, language: str, sentences: int | None = None) -> list[str]:
    return [plan.corpus.texts[language][row] for row in plan.corpus.usable[:sentences]]


def _states(
    loaded: LoadedModel, plan: Plan, language: str, texts: list[str], pooling: str, cancelled: Callable[[], bool]
) -> dict[str, np.ndarray]:
    names = {state: f"{state}_{pooling}" for state in STATES}
    neuron = plan.experiment.neuron
    arrays = extraction.extract(loaded, language, texts, neuron, names=list(names.values()), cancelled=cancelled).arrays
    return {state: arrays[name] for state, name in names.items()}


def with_controls(
    sets: Mapping[str, Neurons], counts: ActivationCounts, info: ModelInfo, controls: int
) -> tuple[tuple[str, Neurons], ...]:
    """The sets by name, and after them for each set so many random ones like it.

    They have as many neurons in every layer, of about the same activation probability: in the set's own language, or
    the mean over languages for a set that has none.
    """
    drawn = []
    for name, neurons in sets.items():
        part = counts.of([name]) if name in counts.languages else counts
        rate = np.stack([part.probability(layer).mean(axis=0) for layer in range(counts.layers)])
        drawn += [
            (control_name(name, number), random_like(neurons, info, number, rate)) for number in range(1, controls + 1)
        ]
    return (*sets.items(), *drawn)


def control_name(name: str, number: int) -> str:
    """What a set's random control is called, counted from 1."""
    return f"{name} · random {number}"


@dataclass(frozen=True)
class Ablation(Measure):
    """What each language loses when sets of neurons are ablated: nats per byte, and alignment with the pivot.

    sets: names, as a page shows them, with their neurons; the baseline, `nothing` ablated, is always measured too.
    languages: codes of the plan, all of them if none is given; the pivot may be one of them, though its alignment with
    itself says nothing. sentences: how many usable rows are read, the first ones. likelihood: whether it is measured
    where the model is causal; otherwise alignment alone. share, controls: of the sets that `make` finds.
    set_to: what neurons are set to. Their mean is that over the real tokens of each language of `chosen_on`, the plan
    whose sentences chose the neurons (this plan if none is given), and then over these languages, which weigh the same:
    a mean of the pivot's alone would tell the network that the text is in that language.
    Raises ExperimentError where these do not fit each other.
    """

    sets: tuple[tuple[str, Neurons], ...] = ()
    languages: tuple[str, ...] = ()
    pooling: str = pooling_choice()
    sentences: int = 100
    likelihood: bool = choice(True, "measure the likelihood, too, where the model is causal")
    share: float = choice(0.01, "ablate this share of all neurons, those of the lowest entropy (LAPE), by language")
    controls: int = choice(19, "random sets of as many neurons, as often active, for comparison with each set")
    set_to: str = choice("zero", "set the neurons to zero, or to their mean over all languages", ("zero", "mean"))
    definition: str = choice("lape", "which neurons, as many as LAPE's", ("lape", "ap", "impact"))
    chosen_on: Plan | None = None
    name: ClassVar[str] = "ablation"
    unit: ClassVar[str] = "languages"

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [name for name, _ in self.everything]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ExperimentError(f"every set of neurons needs a name of its own; {twice[0]!r} occurs twice")
        for _, neurons in self.sets:
            neurons.check(self.plan.info)
        unknown = [code for code in self.languages if code not in self.plan.keys]
        if unknown:
            raise ExperimentError(f"{unknown[0]} is not a language of this experiment; choose it there first")
        if len(set(self.languages)) < len(self.languages):
            raise ExperimentError("ablation measures each language once, but one is named twice")
        if self.sentences < 2:
            raise ExperimentError(f"alignment needs at least 2 sentences, not {self.sentences}")
        if self.controls < 0:
            raise ExperimentError(f"random controls of a set are 0 or more, not {self.controls}")

    @classmethod
    def make(cls, plan: Plan, store: Store, pool: ModelPool, **choices: Any) -> Ablation:
        """With the language-specific neurons of every language by LAPE as its sets, and random controls of each.

        Under another definition (see `neuron_sets`; of average precision the highest) as many neurons as LAPE finds.
        They are chosen on one half of the usable sentences; the other half is read, all of it unless `sentences` says
        otherwise.
        """
        on, tested = halves(plan)
        choices = {"sentences": len(tested.corpus.usable), "chosen_on": on, **choices}
        chosen = cls(tested, **choices)
        specific = LapeMeasure(on, chosen.share)
        found = specific.found(specific.run(store, pool))
        sets = {code: found.neurons_of(code) for code in plan.all_languages if len(found.of(code)[0])}
        if chosen.definition != "lape" and sets:
            most = max(neurons.count for neurons in sets.values())
            rival = NeuronSets(on, chosen.definition, most / (plan.info.layers * plan.info.neurons))
            results, part = rival.run(store, pool), rival.parts()[0]
            sets = {code: rival.neurons_of(results, part, code, neurons.count) for code, neurons in sets.items()}
        counts = activation_counts(on, store)
        return cls(tested, with_controls(sets, counts, plan.info, chosen.controls), **choices)

    @property
    def everything(self) -> tuple[tuple[str, Neurons], ...]:
        """The sets with the baseline before them."""
        return ((BASELINE, Neurons()), *self.sets)

    @property
    def with_likelihood(self) -> bool:
        """Whether likelihood is measured: asked for, and the model is causal."""
        return self.likelihood and self.plan.info.causal

    @property
    def needs(self) -> str:
        return "head" if self.with_likelihood else "model"

    @property
    def title(self) -> str:
        """One line for a list of jobs."""
        sets = some_of((name for name, _ in self.sets), 3)
        on = ", ".join(self._measured) if len(self._measured) <= 3 else f"{len(self._measured)} languages"
        kind = "mean-ablation" if self.set_to == "mean" else "ablation"
        return f"{kind} of {sets or BASELINE} in {self.plan.source.name}, effect on {on}"

    @property
    def _measured(self) -> tuple[str, ...]:
        return self.languages or self.plan.all_languages

    @cached_property
    def _neurons(self) -> dict[str, Neurons]:
        return dict(self.everything)

    @cached_property
    def _read(self) -> dict[str, str]:
        """Which model reads which texts of every language."""
        return {
            code: digest([self.plan.keys[code], self.plan.positions[code][: self.sentences].tolist()])
            for code in {self.plan.pivot, *self._measured}
        }

    def parts(self) -> list[tuple[str, str]]:
        """(name of a set, language), set by set, the baseline first."""
        return [(name, code) for name, _ in self.everything for code in self._measured]

    def group_of(self, part: tuple[str, str]) -> str:
        return part[0]

    def content(self, part: tuple[str, str]) -> object:
        name, language = part
        versions = [alignment.VERSION, likelihood_states.VERSION if self.with_likelihood else None]
        compared = [self._read[self.plan.pivot], self._read[language]]
        neurons = self._neurons[name]
        # where nothing is set, it is to nothing; and a key without means says zero
        means = [self._means_key] if self.set_to == "mean" and neurons.count else []
        return [versions, self.pooling, neurons.digest, compared, *means]

    @cached_property
    def _means_key(self) -> str:
        return "ablation-" + digest(["means", mean_activations.VERSION, counts_key(self.chosen_on or self.plan)])

    def _means(self, run: Run) -> np.ndarray | None:
        """What neurons are set to, [layer, neuron]; None for zero. Computed once, and kept."""
        if self.set_to == "zero":
            return None
        if (kept := run.store.read(self._means_key)) is not None:
            return kept["means"]
        plan = self.chosen_on or self.plan
        texts = {code: _texts(plan, code) for code in plan.all_languages}
        neuron, cancelled = plan.experiment.neuron, run.cancelled
        means = mean_activations.mean_activations(run.loaded, texts, neuron, cancelled=cancelled)
        run.store.put(self._means_key, {"means": means}, self.meta("means"))
        return means

    def compute_all(self, parts: Sequence[tuple[str, str]], run: Run) -> Iterator[tuple[tuple[str, str], Arrays]]:
        """Set by set: the pivot is read once for each, and sets of the same neurons are measured once."""
        effects: dict[str, Arrays] = {}
        means = self._means(run)
        for name, of_set in groupby(parts, key=self.group_of):
            neurons, pivot = self._neurons[name], None
            for part in of_set:
                key = self.key_of(part)
                if key not in effects:
                    how = (self.pooling, self.sentences)
                    if pivot is None:
                        pivot = pivot_states(run.loaded, self.plan, neurons, *how, means=means, cancelled=run.cancelled)
                    effects[key] = effect(
                        run.loaded,
                        self.plan,
                        neurons,
                        part[1],
                        *how,
                        pivot=pivot,
                        means=means,
                        with_likelihood=self.with_likelihood,
                        cancelled=run.cancelled,
                    )
                yield part, effects[key]

    def frame(self, results: Mapping[tuple[str, str], Arrays]) -> pd.DataFrame:
        """A row per set (the baseline first) and language.

        Columns: set, language, nats_per_byte (NaN without likelihood), score_nas, score_nav, score_emb (means over the
        layers), and change_* of each: minus the same language's baseline, NaN where that is missing. A rise of
        nats_per_byte is a loss.
        """
        measured = ("nats_per_byte", *(f"score_{state}" for state in STATES))
        rows = {part: _summary(arrays) for part, arrays in results.items()}
        # means of the same layers' scores in another order may differ in their last bit: that is no change
        changes = {
            (name, code): np.round(np.subtract(row, rows.get((BASELINE, code), np.nan)), 12)
            for (name, code), row in rows.items()
        }
        table = pd.DataFrame(
            [[*part, *row, *changes[part]] for part, row in rows.items()],
            columns=["set", "language", *measured, *(f"change_{name}" for name in measured)],
        )
        return table.astype(dict.fromkeys(table.columns[2:], float))


def _summary(arrays: Arrays) -> list[float]:
    """nats per byte, and the alignment by each state as the mean over the layers."""
    nats, _tokens, size = arrays.get("likelihood", (np.nan,) * 3)
    return [nats / size, *(float(arrays[state].mean()) for state in STATES)]


def effects_table(work: Ablation, store: Store) -> pd.DataFrame:
    """What is measured so far, see Ablation.frame; empty before anything is."""
    return work.frame(work.results(store))
