"""TODO"""

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
    activity: ActivationCounts, rule: ActivationCriterion, pivot: str, specific: LanguageSpecific
) -> pd.DataFrame:
    """One row a language, over all layers: tokens, active neurons, those shared with the pivot, those specific to it.

    Columns: language, tokens, active, active_share, shared_with_pivot, jaccard_with_pivot, specific. The Jaccard
    overlap is the mean over layers.
    """
    at = activity.languages.index(pivot)
    count = len(activity.languages)
    active, shared, overlap = np.zeros(count), np.zeros(count), np.zeros(count)
    for layer in range(activity.layers):
        sets = rule.sets(activity.probability(layer))
        active += sets.sum(axis=1)
        shared += (sets & sets[at]).sum(axis=1)
        overlap += jaccard(sets, sets[at : at + 1])[:, 0]
    return pd.DataFrame(
        {
            "language": activity.languages,
            "tokens": np.asarray(activity.tokens, dtype=np.int64),
            "active": active.astype(np.int64),
            "active_share": active / (activity.layers * activity.neurons),
            "shared_with_pivot": shared.astype(np.int64),
            "jaccard_with_pivot": overlap / activity.layers,
            "specific": specific.counts().sum(axis=1),
        }
    )


RANKINGS = ("shared", "specific", "discriminating")


def rank_neurons(
    activity: ActivationCounts, by: str, *, x: str = "", y: str = "", layer: int | None = None, top: int = 100
) -> pd.DataFrame:
    """The neurons that stand out, best first: columns layer, neuron, value, and one probability a language concerned.

    by: `shared`, value = the lowest probability over all languages; `specific` to x, value = probability in x minus
    the highest in any other; `discriminating` between x and y, value = probability in x minus that in y, ordered by its
    size. layer: in one layer only. Equal values go by layer, then number.
    """
    if by not in RANKINGS:
        raise ExperimentError(f"neurons are ranked by {', '.join(RANKINGS)}, not by {by!r}")
    layers = range(activity.layers) if layer is None else [layer]
    value = np.empty((len(layers), activity.neurons))
    for k, number in enumerate(layers):
        probability = activity.probability(number)
        if by == "shared":
            value[k] = probability.min(axis=0)
        else:
            own = probability[activity.languages.index(x)]
            if by == "specific":
                others = np.delete(probability, activity.languages.index(x), axis=0)
                value[k] = own - (others.max(axis=0) if len(others) else 0)
            else:
                value[k] = own - probability[activity.languages.index(y)]
    size = np.abs(value) if by == "discriminating" else value
    order = np.argsort(-size.ravel(), kind="stable")[:top]
    at, neuron = np.divmod(order, activity.neurons)
    numbers = np.asarray(layers)[at]
    table = pd.DataFrame({"layer": numbers, "neuron": neuron, "value": value.ravel()[order]})
    concerned = {"shared": (), "specific": (x,), "discriminating": (x, y)}[by]
    probabilities = activity.at(numbers, neuron)
    for code in concerned:
        k = activity.languages.index(code)
        table[code] = probabilities[k]
    return table


def pairs_shared(activity: ActivationCounts, x: str, y: str, rule: ActivationCriterion, layer: int) -> pd.DataFrame:
    """Neurons active in both of two languages at a layer, by the lower of the two probabilities."""
    both = activity.of([x, y])
    probability = both.probability(layer)
    neuron = np.flatnonzero(rule.sets(probability).all(axis=0))
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
