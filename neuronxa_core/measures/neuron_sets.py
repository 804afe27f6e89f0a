"""The neurons of a language by rival definitions, as many under each.

LAPE (Tang et al., ACL 2024), lambda-entropy (Zhang et al., AAAI 2026), average precision as a detector of the language
(Kojima et al., NAACL 2024) and impact on the layer's output (PLND; Zhao et al., NeurIPS 2024); docs/method.md says what
each is and where it differs from the published one. All are also computed of made-up languages, to which each line's
translations are dealt out at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.special import entr

from neuronxa_core.errors import ExperimentError
from neuronxa_core.host.threads import side_by_side
from neuronxa_core.measures.activation_counts import activation_counts
from neuronxa_core.measures.base import Arrays, Measure, Run, choice
from neuronxa_core.measures.lape import ENTROPY_DECIMALS, halves, percentiles
from neuronxa_core.measures.lape_robustness import dealt, shuffled_counts
from neuronxa_core.states.interventions import Neurons
from neuronxa_core.states.output_norms import norms_of
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store

DEFINITIONS = {
    "lape": ("lape",),
    "ap": ("ap_top", "ap_bottom"),
    "impact": ("impact",),
    "lambda_entropy": ("lambda_entropy",),
}
"""The sets that each definition gives."""
# a neuron belongs to the languages in which its probability is above this percentile of all, as in LAPE
ASSIGN_PERCENTILE = 95
# values of a layer that are held, and that are sorted, at once
HELD, SORTED = 1 << 26, 1 << 22


def ranks_from_above(values: np.ndarray) -> np.ndarray:
    """For each value [neuron, sentence] how many of its row are at least as large, int32 in [1, sentences]."""
    order = np.argsort(values, axis=1)
    ascending = np.take_along_axis(values, order, 1)
    below = np.zeros(values.shape, np.int32)
    below[:, 1:] = np.where(ascending[:, 1:] > ascending[:, :-1], np.arange(1, values.shape[1]), 0)
    np.maximum.accumulate(below, axis=1, out=below)
    ranks = np.empty_like(below)
    np.put_along_axis(ranks, order, values.shape[1] - below, 1)
    return ranks


def average_precision(ranks: np.ndarray) -> np.ndarray:
    """Average precision of each row's positives from their ranks among all (see `ranks_from_above`), in (0, 1].

    ranks: [..., positive]. The sum over thresholds of (recall gained) x precision, equal values at one threshold, as in
    scikit-learn: the mean over positives of (positives at least as large) / (all at least as large).
    """
    ranks = np.sort(ranks, axis=-1)
    n = ranks.shape[-1]
    found = np.full(ranks.shape, n, np.int32)
    found[..., :-1] = np.where(ranks[..., 1:] > ranks[..., :-1], np.arange(1, n), n)
    found = np.minimum.accumulate(found[..., ::-1], axis=-1)[..., ::-1]
    return np.round((found / ranks).mean(axis=-1), ENTROPY_DECIMALS)


def specificity(probability: np.ndarray, above: float, weight: float | None = None) -> np.ndarray:
    """Minus the entropy of a layer's neurons, in each language in which their probability is above a bound; else -inf.

    probability: [language, neuron]. weight: of the lambda-entropy H / ln L - weight * max p / ((1 + 1/2 + ... + 1/L)
    / L), where L is the number of languages; None for H, LAPE's.
    """
    entropy = entr(probability / np.maximum(probability.sum(axis=0), 1e-300)).sum(axis=0)
    if weight is not None:
        languages = len(probability)
        harmonic = (1 / np.arange(1, languages + 1)).sum()
        entropy = entropy / np.log(languages) - weight * probability.max(axis=0) / (harmonic / languages)
    return np.where(probability > above, -np.round(entropy, ENTROPY_DECIMALS), -np.inf)


def _by_probability(plan: Plan, store: Store, name: str, weight: float | None) -> Iterator[dict[str, np.ndarray]]:
    """Scores of LAPE or lambda-entropy, layer by layer; see `best`."""
    counts = activation_counts(plan, store), shuffled_counts(plan, store)
    both = [(one, percentiles(one, [ASSIGN_PERCENTILE])[0]) for one in counts]
    for layer in range(plan.info.layers):
        yield {name: np.stack([specificity(one.probability(layer), above, weight) for one, above in both])}


def _by_value(plan: Plan, store: Store, norms: np.ndarray | None) -> Iterator[dict[str, np.ndarray]]:
    """Scores of impact, or without norms of average precision, layer by layer; see `best`."""
    codes, n, width = plan.all_languages, len(plan.corpus.usable), plan.info.neurons
    # the places of each made-up language's sentences among all, language after language
    made_up = (np.argsort(dealt(plan), axis=1).T * n + np.arange(n)).ravel()

    step = max(1, SORTED // len(made_up))

    def scores(values: np.ndarray) -> np.ndarray:
        """Of values [neuron, sentence of any language]: [real or made-up, language, neuron]."""

        def part(number: int) -> np.ndarray:
            some = values[number * step : (number + 1) * step]
            kept = ranks_from_above(some) if norms is None else some
            parted = [one.reshape(len(some), len(codes), n) for one in (kept, kept[:, made_up])]
            return np.stack([average_precision(one).T if norms is None else one.min(axis=2).T for one in parted])

        parts = -(-len(values) // step)
        return np.concatenate(side_by_side(part, parts, parts), axis=2)

    with StatesReader(plan, store) as reader:
        held = max(1, HELD // len(made_up))
        for layer in range(plan.info.layers):
            found = np.empty((2, len(codes), width))
            for first in range(0, width, held):
                columns = slice(first, min(first + held, width))
                values = np.empty((columns.stop - first, len(codes), n), np.float32)
                for k, code in enumerate(codes):
                    values[:, k] = reader.sentence_vectors(code, "nav", "mean", layer)[:, columns].T
                found[..., columns] = scores(values.reshape(len(values), -1))
            yield {"impact": found * norms[layer]} if norms is not None else {"ap_top": found, "ap_bottom": -found}


def merged(kept: tuple[np.ndarray, np.ndarray] | None, scores: np.ndarray, first: int, k: int) -> tuple:
    """The k best of what is kept and of a layer's scores [..., neuron], numbered from `first` on; ties by number.

    Returns (numbers, scores) [..., at most k], the best first; -1 for what has the score -inf.
    """
    numbers = np.broadcast_to(np.arange(first, first + scores.shape[-1], dtype=np.int64), scores.shape)
    numbers = np.where(np.isneginf(scores), -1, numbers)
    if kept is not None:
        numbers, scores = (np.concatenate(both, axis=-1) for both in zip(kept, (numbers, scores), strict=True))
    order = np.argsort(-scores, axis=-1, kind="stable")[..., :k]
    return np.take_along_axis(numbers, order, -1), np.take_along_axis(scores, order, -1)


def best(
    definition: str,
    plan: Plan,
    store: Store,
    k: int,
    weight: float = 0.1,
    on_layer: Callable[[int], None] = lambda _done: None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The k best neurons of each language and of as many made-up ones, from stored states, layer by layer.

    For each set of the definition (numbers, scores), [2 (real, made-up), language, k], the best first: a number is
    layer x neurons per layer + neuron, -1 where a language has fewer. Raises StatesMissing and ExperimentError.
    """
    if definition in ("lape", "lambda_entropy"):
        layers = _by_probability(plan, store, definition, None if definition == "lape" else weight)
    else:
        norms = norms_of(plan, store) if definition == "impact" else None
        if definition == "impact" and norms is None:
            raise ExperimentError("the norms of the model's last projections are not known yet; run the measure first")
        layers = _by_value(plan, store, norms)
    kept: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for layer, scores in enumerate(layers):
        for name, values in scores.items():
            kept[name] = merged(kept.get(name), values, layer * plan.info.neurons, k)
        on_layer(layer + 1)
    return kept


@dataclass(frozen=True)
class NeuronSets(Measure):
    """The neurons of every language by one definition: LAPE, average precision, impact (PLND) or lambda-entropy."""

    definition: str = choice("lape", "what makes a neuron a language's: " + ", ".join(DEFINITIONS), tuple(DEFINITIONS))
    share: float = choice(0.01, "neurons per language, as a share of all of the model's")
    weight: float = choice(0.1, "lambda of lambda-entropy: what a high activation probability counts")
    name: ClassVar[str] = "neuron_sets"
    unit: ClassVar[str] = "layers"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.plan.all_languages) < 2:
            raise ExperimentError("a language's neurons are told from those of others; choose at least 2 languages")
        if not 0 < self.share <= 1:
            raise ExperimentError(f"the share of neurons is above 0 and at most 1, not {self.share}")
        if self.definition == "impact" and self.plan.experiment.neuron == "gate" and self.plan.info.gated:
            raise ExperimentError("impact is of what the last projection reads; choose product as the neuron")
        halves(self.plan)

    @classmethod
    def extra_states(cls, plan: Plan) -> tuple[str, ...]:
        return ("nas_mean", "nav_mean")

    @property
    def size(self) -> int:
        """Neurons per language."""
        return max(1, round(self.share * self.plan.info.layers * self.plan.info.neurons))

    def parts(self) -> tuple[str, ...]:
        return DEFINITIONS[self.definition]

    def units_of(self, part: str) -> int:
        """Layers of all sentences and of each half; both ends of average precision are one work."""
        return 0 if part == "ap_bottom" else 3 * self.plan.info.layers

    def content(self, part: str) -> object:
        weight = [float(self.weight)] if part == "lambda_entropy" else []
        return [part, self.size, *weight, self.reads(*self.plan.all_languages)]

    def run(self, store: Store, pool: ModelPool | None = None, *arguments: Any, **options: Any) -> dict[str, Arrays]:
        """As every measure; where impact is not computed yet, the model's norms come first."""
        if self.definition == "impact" and self.missing(store):
            norms_of(self.plan, store, pool)
        return super().run(store, pool, *arguments, **options)

    def compute_all(self, parts: Sequence[str], run: Run) -> Iterator[tuple[str, Arrays]]:
        """numbers: [3 (all sentences, each half), 2 (real, made-up), language, k]. scores: of all sentences."""
        found = []
        for k, plan in enumerate((self.plan, *halves(self.plan))):

            def on_layer(done: int, before: int = k * self.plan.info.layers) -> None:
                run.on_units(before + done)
                run.check()

            found.append(best(self.definition, plan, run.store, self.size, self.weight, on_layer))
        for part in parts:
            yield (
                part,
                {"numbers": np.stack([one[part][0] for one in found]).astype(np.int32), "scores": found[0][part][1]},
            )

    def neurons_of(self, results: Mapping[str, Arrays], part: str, language: str, most: int | None = None) -> Neurons:
        """The set of a language, or its `most` best neurons, as what can be ablated."""
        numbers = results[part]["numbers"][0, 0, self.plan.all_languages.index(language)][:most]
        layer, neuron = np.divmod(numbers[numbers >= 0], self.plan.info.neurons)
        return Neurons.of({k: neuron[layer == k] for k in np.unique(layer)})

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per set, language and neuron, the best first.

        Columns: definition (ap_top and ap_bottom for average precision), language, rank (from 1), layer, neuron, score:
        minus the entropy in nats or the lambda-entropy, the average precision (minus it for ap_bottom), or the lowest
        impact over the sentences.
        """
        tables = []
        for part, arrays in results.items():
            numbers = arrays["numbers"][0, 0]
            language, rank = np.nonzero(numbers >= 0)
            layer, neuron = np.divmod(numbers[language, rank], self.plan.info.neurons)
            columns = {"language": np.array(self.plan.all_languages)[language], "rank": rank + 1}
            columns |= {"layer": layer, "neuron": neuron, "score": arrays["scores"][0][language, rank]}
            tables.append(pd.DataFrame({"definition": part, **columns}))
        return pd.concat(tables, ignore_index=True)
