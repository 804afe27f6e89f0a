"""Neurons that stand out: in languages, between them, in a sentence; and how many each language has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion
from neuronxa_core.measures.lape import LanguageSpecific
from neuronxa_core.measures.overlap import jaccard
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store


def summary(
    counts: ActivationCounts, criterion: ActivationCriterion, pivot: str, specific: LanguageSpecific
) -> pd.DataFrame:
    """A row per language, over all layers: tokens, active neurons, those shared with the pivot, those specific to it.

    Columns: language, tokens, active, active_share, shared_with_pivot, jaccard_with_pivot, specific. The Jaccard
    overlap is the mean over layers.
    """
    at = counts.languages.index(pivot)
    active, shared, overlap = np.zeros((3, len(counts.languages)))
    for layer in range(counts.layers):
        sets = criterion.sets(counts.probability(layer))
        active += sets.sum(axis=1)
        shared += (sets & sets[at]).sum(axis=1)
        overlap += jaccard(sets, sets[at : at + 1])[:, 0]
    return pd.DataFrame(
        {
            "language": counts.languages,
            "tokens": np.asarray(counts.tokens, dtype=np.int64),
            "active": active.astype(np.int64),
            "active_share": active / (counts.layers * counts.neurons),
            "shared_with_pivot": shared.astype(np.int64),
            "jaccard_with_pivot": overlap / counts.layers,
            "specific": specific.counts().sum(axis=1),
        }
    )


RANKINGS = ("shared", "specific", "discriminating")


def rank_neurons(
    counts: ActivationCounts, by: str, *, x: str = "", y: str = "", layer: int | None = None, top: int = 100
) -> pd.DataFrame:
    """The neurons that stand out, best first: columns layer, neuron, value, and the probability in x and y.

    by: `shared`, value = the lowest probability over all languages; `specific` to x, value = probability in x minus
    the highest in any other; `discriminating` between x and y, value = probability in x minus that in y, ordered by its
    size. layer: in one layer only. Equal values go by layer, then number. Raises ExperimentError for another ranking.
    """
    if by not in RANKINGS:
        raise ExperimentError(f"neurons are ranked by {', '.join(RANKINGS)}, not by {by!r}")
    concerned = [counts.languages.index(code) for code in {"shared": (), "specific": (x,)}.get(by, (x, y))]

    def value_of(probability: np.ndarray) -> np.ndarray:
        if by == "shared":
            return probability.min(axis=0)
        others = np.delete(probability, concerned[0], axis=0) if by == "specific" else probability[concerned[1:]]
        return probability[concerned[0]] - others.max(axis=0, initial=0)

    layers = np.arange(counts.layers) if layer is None else np.array([layer])
    value = np.stack([value_of(counts.probability(number)) for number in layers])
    size = np.abs(value) if by == "discriminating" else value
    order = np.argsort(-size, axis=None, kind="stable")[:top]
    at, neuron = np.unravel_index(order, value.shape)
    table = pd.DataFrame({"layer": layers[at], "neuron": neuron, "value": value[at, neuron]})
    probabilities = counts.at(layers[at], neuron)
    for k in concerned:
        table[counts.languages[k]] = probabilities[k]
    return table


def pairs_shared(counts: ActivationCounts, x: str, y: str, criterion: ActivationCriterion, layer: int) -> pd.DataFrame:
    """Neurons active in both of two languages at a layer, by the lower of the two probabilities, the highest first."""
    probability = counts.of([x, y]).probability(layer)
    neuron = np.flatnonzero(criterion.sets(probability).all(axis=0))
    table = pd.DataFrame({"layer": layer, "neuron": neuron, x: probability[0, neuron], y: probability[1, neuron]})
    lower = probability[:, neuron].min(axis=0)
    return table.iloc[np.argsort(-lower, kind="stable")].reset_index(drop=True)


def neuron_values(
    plan: Plan, store: Store, languages: Sequence[str], layer: int, neuron: int, state: str = "nav"
) -> dict[str, np.ndarray]:
    """One neuron's mean over the tokens of each sentence, by language: {language: [sentence] float64}.

    state: `nav`, the mean of |a|; `nas`, the share of tokens with a > 0.
    """
    with StatesReader(plan, store, languages) as reader:
        return {
            code: reader.pooled_sums(code, state, "mean", layer)[:, neuron] / reader.tokens(code).astype(np.float64)
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
            values = reader.pooled_sums(language, "nav", "mean", number) / tokens
            usual, spread = values.mean(axis=0), values.std(axis=0)
            gap = values[sentence] - usual
            deviations = np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 1e-12 * (1 + np.abs(usual)))
            best = np.argsort(-deviations, kind="stable")[:top]
            columns = {"value": values[sentence], "usual": usual, "deviations": deviations}
            some = {name: column[best] for name, column in columns.items()}
            parts.append(pd.DataFrame({"layer": number, "neuron": best, **some}))
    table = pd.concat(parts, ignore_index=True)
    return table.sort_values("deviations", ascending=False, kind="stable").head(top).reset_index(drop=True)
