"""Alignment and task scores brought together: which method's score, at which layer, goes with a task over languages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.measures import alignment, sentence_subsets
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.statistics import correlation, layer_choice
from neuronxa_core.store.cache import Store

LAYER_POOLINGS = ("mean", "max")
COLUMNS = (
    "model",
    "task",
    "state",
    "pooling",
    "neuron",
    "layer",
    "layer_pooling",
    "n_languages",
    "pearson_r",
    "pearson_low",
    "pearson_high",
    "pearson_p",
    "family_low",
    "family_high",
    "spearman_rho",
    "kendall_tau",
)


@dataclass(frozen=True)
class Points:
    """The languages that have both an alignment and a task score, the pivot left out unless it was asked for.

    languages: codes of the plan. y: their task scores [language]. at: their places among the plan's languages.
    """

    languages: tuple[str, ...]
    y: np.ndarray
    at: np.ndarray


def same_model(plan: Plan, names: Sequence[str]) -> str | None:
    """Which of the names is the plan's model: equal in the last part of its path; None where none is.

    A name that only holds another's is another model: Llama-3.1-8B-Instruct is not Llama-3.1-8B.
    """

    def last_part(name: str) -> str:
        return name.replace("\\", "/").rstrip("/").rpartition("/")[2].partition("@")[0].lower()

    whole = [name for name in names if name.lower() == plan.source.name.lower()]
    own = last_part(plan.source.name)
    return next(iter([*whole, *(name for name in names if own and last_part(name) == own)]), None)


def points(plan: Plan, scores: Mapping[str, float], *, without: Sequence[str] = (), with_pivot: bool = False) -> Points:
    """The points of a correlation: languages of the plan with a task score that is a number.

    scores: task score by code of the plan. without: codes that are left out.
    """
    chosen = [
        (k, code)
        for k, code in enumerate(plan.languages)
        if code in scores and np.isfinite(scores[code]) and code not in without and (with_pivot or code != plan.pivot)
    ]
    return Points(
        tuple(code for _, code in chosen),
        np.array([float(scores[code]) for _, code in chosen]),
        np.array([k for k, _ in chosen], dtype=np.int64),
    )


def correlation_table(
    plan: Plan,
    store: Store,
    task: str,
    found: Points,
    states: Sequence[str],
    poolings: Sequence[str],
) -> pd.DataFrame:
    """Correlation of a task's scores with alignment, for every state, pooling, layer and way to pool the layers.

    Columns: COLUMNS; family_low and family_high are the interval over language families, missing for fewer than 5;
    `layer` is missing where layers are pooled, `layer_pooling` is empty where they are not. Raises ExperimentError for
    fewer than 5 languages.
    """
    tables, families = [], [languages.family(code) for code in found.languages]
    for state in states:
        for pooling in poolings:
            scores = alignment.align(plan, store, state, pooling).score[found.at]
            layers = scores.shape[1]
            pooled = [alignment.pool_layers(scores, how) for how in LAYER_POOLINGS]
            columns = np.column_stack([scores, *pooled])
            one = layer_choice.correlation_by_layer(columns, found.y)
            related = [correlation.by_family(x, found.y, families) for x in columns.T]
            tables.append(
                pd.DataFrame(
                    {
                        "model": plan.source.name,
                        "task": task,
                        "state": state,
                        "pooling": pooling,
                        "neuron": plan.experiment.neuron,
                        "layer": pd.array([*range(layers), *(pd.NA for _ in pooled)], dtype="Int64"),
                        "layer_pooling": [*("" for _ in range(layers)), *LAYER_POOLINGS],
                        "n_languages": one.n,
                        "pearson_r": one.r,
                        "pearson_low": one.low,
                        "pearson_high": one.high,
                        "pearson_p": one.p,
                        "family_low": [interval.low for interval in related],
                        "family_high": [interval.high for interval in related],
                        "spearman_rho": one.rho,
                        "kendall_tau": one.tau,
                    },
                    columns=COLUMNS,
                )
            )
    return pd.concat(tables, ignore_index=True)


def competitor_masks(plan: Plan, store: Store, state: str, pooling: str) -> Callable[[str, int], np.ndarray]:
    """What `sentence_subsets.sentence_curve` asks for: mask(language, layer) -> bool [n, n], against the pivot."""

    def mask(language: str, layer: int) -> np.ndarray:
        with StatesReader(plan, store, [plan.pivot, language]) as reader:
            vectors = (reader.vectors(code, state, pooling, layer) for code in (plan.pivot, language))
            return sentence_subsets.competitor_mask(*vectors)

    return mask


def tokens_per_sentence(plan: Plan, store: Store) -> dict[str, float]:
    """Mean number of tokens per sentence, by language: the tokenizer's fertility on this corpus."""
    with StatesReader(plan, store) as reader:
        return {code: float(reader.tokens(code).mean()) for code in plan.all_languages}
