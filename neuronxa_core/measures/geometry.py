"""The space that a layer's sentence vectors fill: whether they crowd in a cone, around hubs, or in few dimensions.

Anisotropy: Ethayarajh, EMNLP 2019. Hubness: Radovanovic et al., JMLR 2010.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.base import Arrays, Measure, Run, choice, pooling_choice, state_choice
from neuronxa_core.measures.cka import gram

COLUMNS = ("anisotropy", "hub_skewness", "largest_hub", "hub_sentence", "reciprocity", "participation_ratio")


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [sentence, width] at length 1, in float64; zero vectors stay zero."""
    x = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, lengths, out=np.zeros_like(x), where=lengths > 0)


def anisotropy(vectors: np.ndarray) -> float:
    """Mean cosine of vectors [sentence, width] of different sentences, in [-1, 1]."""
    x = unit(vectors)
    n = len(x)
    return float((np.square(x.sum(axis=0)).sum() - np.square(x).sum()) / (n * (n - 1)))


def k_occurrences(cosines: np.ndarray, k: int) -> np.ndarray:
    """N_k of every column of cosines [x, y]: how many rows have it among their k nearest. Ties keep the order."""
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return np.bincount(nearest.ravel(), minlength=cosines.shape[1])


def reciprocity(cosines: np.ndarray) -> float:
    """The share of rows whose nearest column has that row as its nearest, translations or not."""
    forth, back = cosines.argmax(axis=1), cosines.argmax(axis=0)
    return float((back[forth] == np.arange(len(forth))).mean())


def participation_ratio(vectors: np.ndarray) -> float:
    """(sum of eigenvalues)^2 / sum of squared eigenvalues of the covariance of vectors [sentence, width].

    From 1, all variance in one direction, to n - 1; NaN where the vectors do not vary.
    """
    inner = gram(vectors)
    squares = float(np.square(inner).sum())
    return float(np.trace(inner) ** 2 / squares) if squares > 0 else np.nan


@dataclass(frozen=True)
class Geometry(Measure):
    """Anisotropy, hubs, reciprocity and dimension of every language's sentence vectors, layer by layer."""

    state: str = state_choice()
    pooling: str = pooling_choice()
    k: int = choice(10, "neighbours that count for hubs; at most one less than the sentences")
    name: ClassVar[str] = "geometry"
    unit: ClassVar[str] = "languages"
    instant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise ExperimentError(f"k is at least 1, not {self.k}")

    @property
    def neighbours(self) -> int:
        """k, or one less than the sentences where there are no more."""
        return min(self.k, self.plan.corpus.n_sentences - 1)

    def parts(self) -> tuple[str, ...]:
        return self.plan.languages

    def content(self, part: str) -> object:
        return [self.state, self.pooling, self.neighbours, self.reads(self.plan.pivot, part)]

    def compute(self, part: str, run: Run) -> Arrays:
        rows = []
        with run.states(*dict.fromkeys([self.plan.pivot, part])) as reader:
            for layer in range(self.plan.info.layers_of(self.state)):
                pivot, own = (
                    reader.sentence_vectors(code, self.state, self.pooling, layer) for code in (self.plan.pivot, part)
                )
                cosines = unit(pivot) @ unit(own).T
                counts = k_occurrences(cosines, self.neighbours)
                skewness = float(stats.skew(counts)) if np.ptp(counts) else 0.0
                hub = int(counts.argmax())
                rows.append(
                    [anisotropy(own), skewness, counts[hub], hub, reciprocity(cosines), participation_ratio(own)]
                )
        return dict(zip(COLUMNS, np.array(rows, dtype=np.float64).T, strict=True))

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per language and layer.

        Columns: language, layer, state, pooling, k; anisotropy, of the language's own sentences; hub_skewness, of N_k
        over its sentences as neighbours of the pivot's; largest_hub, the highest N_k, and hub_sentence, which sentence
        has it (from 1); reciprocity, the share of the pivot's sentences whose nearest one has them as its nearest;
        participation_ratio, from 1 to n - 1.
        """
        layers = self.plan.info.layers_of(self.state)
        numbers = {name: np.concatenate([arrays[name] for arrays in results.values()]) for name in COLUMNS}
        numbers["largest_hub"] = numbers["largest_hub"].astype(int)
        numbers["hub_sentence"] = numbers["hub_sentence"].astype(int) + 1
        return pd.DataFrame(
            {
                "language": np.repeat(list(results), layers),
                "layer": np.tile(np.arange(layers), len(results)),
                "state": self.state,
                "pooling": self.pooling,
                "k": self.neighbours,
                **numbers,
            }
        )
