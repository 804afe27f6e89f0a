"""Retrieval in either direction by language, by layer or pooled, with head and long-tail languages apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from neuronxa_core.corpora import languages
from neuronxa_core.measures.alignment import METHODS, AlignmentScores, pool_layers
from neuronxa_core.measures.base import Arrays, choice
from neuronxa_core.tasks import covariates


@dataclass(frozen=True)
class Retrieval(AlignmentScores):
    """Retrieval accuracy from the pivot to every language, back, and their mean, by layer or pooled over layers."""

    layers: str = choice("all", "each layer, or the mean or maximum over them", ("all", "mean", "max"))
    name: ClassVar[str] = "retrieval"

    def key_of(self, part: str) -> str:
        """That of alignment, whose numbers these are."""
        return AlignmentScores(self.plan, self.state, self.pooling).key_of(part)

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """Columns: language, group (head or long tail, see `covariates.head`), state, pooling, layer (missing where
        layers are pooled), n_sentences, src2trg (from the pivot), trg2src, both (their mean), gap (src2trg - trg2src).

        Pooled, each direction by itself, under `max` at its own best layer.
        """
        there = tuple(results)
        accuracy = {
            name: np.stack([results[code][name].mean(axis=1) for code in there]) for name in ("src2trg", "trg2src")
        }
        pooled = self.layers != "all"
        if pooled:
            accuracy = {name: pool_layers(values, self.layers)[:, None] for name, values in accuracy.items()}
        count = accuracy["src2trg"].shape[1]
        table = pd.DataFrame(
            {
                "language": np.repeat(there, count),
                "group": np.repeat(covariates.head(there), count),
                "state": self.state,
                "pooling": self.pooling,
                "layer": pd.array([pd.NA] * len(there) if pooled else [*range(count)] * len(there), dtype="Int64"),
                "n_sentences": np.repeat([results[code]["src2trg"].shape[1] for code in there], count),
                **{name: values.ravel() for name, values in accuracy.items()},
            }
        )
        table["both"] = (table["src2trg"] + table["trg2src"]) / 2
        return table.assign(gap=table["src2trg"] - table["trg2src"])


def by_group(table: pd.DataFrame) -> pd.DataFrame:
    """Means over languages: a row per representation and group, and over all languages.

    table: a row per language and state. Columns: state, group, languages, src2trg, trg2src, both, gap.
    """
    both = pd.concat([table, table.assign(group="all languages")])
    means = both.groupby(["state", "group"], sort=False).agg(
        languages=("language", "size"), **{name: (name, "mean") for name in ("src2trg", "trg2src", "both", "gap")}
    )
    return means.reset_index()


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """The table with what a chart names: label, method."""
    return table.assign(
        label=table["language"].map(languages.label),
        method=[f"{METHODS[state]} ({state.upper()})" for state in table["state"]],
    )


def conclusion(table: pd.DataFrame, pivot: str) -> str:
    """In sentences: mean accuracies of head and long-tail languages, and whether one direction is ahead in most.

    table: of one representation, a row per language. pivot: as a person calls it.
    """
    rows = by_group(table)
    means = ", ".join(f"{one.both:.3f} over {one.group} ({one.languages})" for one in rows.itertuples())
    more, less = int((table["gap"] > 0).sum()), int((table["gap"] < 0).sum())
    p = binomtest(more, more + less).pvalue if more + less else 1.0
    way = f"from {pivot}" if more > less else f"towards {pivot}"
    ahead = (
        f"More is found {way} than the other way round in {max(more, less)} of {len(table)} languages"
        if p < 0.05
        else "Neither direction is ahead in more languages than by chance"
    )
    return f"Mean accuracy of both directions: {means}. {ahead} (sign test, p = {p:.2g})."
