"""Linear CKA between the pivot and every language, layer by layer.

Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019; the debiased estimator of HSIC is
that of Song et al., "Feature Selection via Dependence Maximization", JMLR 2012.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.base import Arrays, Measure, Run, choice, pooling_choice, state_choice

FEWEST = 4


def gram(vectors: np.ndarray) -> np.ndarray:
    """X X' of vectors [sentence, width], in float64: [sentence, sentence]."""
    x = np.asarray(vectors, dtype=np.float64)
    # a shift changes no centred product, and what is left is small enough to keep its digits
    x = x - x.mean(axis=0)
    return x @ x.T


def hsic(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased HSIC_1 of two Gram matrices [n, n], n at least 4 (Song et al., 2012)."""
    n = len(x)
    x, y = (one - np.diag(np.diag(one)) for one in (x, y))
    rows = x.sum(axis=0) @ y.sum(axis=0)
    return float(((x * y).sum() + x.sum() * y.sum() / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3)))


def cka(x: np.ndarray, y: np.ndarray, debiased: bool = True) -> float:
    """Linear CKA of two representations of the same n sentences, from their Gram matrices (see `gram`), at most 1.

    1 for equal representations, also where one is rotated or scaled; debiased it is about 0, and may be below, for
    unrelated ones. NaN where a representation does not vary. Raises ExperimentError for fewer than 4 sentences.
    """
    if len(x) < FEWEST:
        raise ExperimentError(f"CKA needs at least {FEWEST} parallel sentences, not {len(x)}")
    between, of_x, of_y = (hsic(a, b) if debiased else float((a * b).sum()) for a, b in ((x, y), (x, x), (y, y)))
    return between / np.sqrt(of_x * of_y) if min(of_x, of_y) > 0 else np.nan


@dataclass(frozen=True)
class CKA(Measure):
    """Linear CKA of every language with the pivot by layer: how alike two languages arrange the same sentences."""

    state: str = state_choice()
    pooling: str = pooling_choice()
    debiased: bool = choice(True, "the unbiased estimate, which does not rise with the width of a layer")
    name: ClassVar[str] = "cka"
    unit: ClassVar[str] = "languages"
    instant: ClassVar[bool] = True

    def parts(self) -> tuple[str, ...]:
        return self.plan.languages

    def content(self, part: str) -> object:
        return [self.state, self.pooling, self.debiased, self.reads(self.plan.pivot, part)]

    def compute(self, part: str, run: Run) -> Arrays:
        with run.states(self.plan.pivot, part) as reader:

            def grams(code: str) -> list[np.ndarray]:
                return [gram(reader.sentence_vectors(code, self.state, self.pooling, k)) for k in layers]

            layers = range(self.plan.info.layers_of(self.state))
            pivot = run.once("pivot", lambda: grams(self.plan.pivot))
            pairs = zip(pivot, grams(part), strict=True)
            return {"cka": np.array([cka(x, y, self.debiased) for x, y in pairs])}

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """Columns: language, layer, state, pooling, cka."""
        layers = self.plan.info.layers_of(self.state)
        return pd.DataFrame(
            {
                "language": np.repeat(list(results), layers),
                "layer": np.tile(np.arange(layers), len(results)),
                "state": self.state,
                "pooling": self.pooling,
                "cka": np.concatenate([arrays["cka"] for arrays in results.values()]),
            }
        )


def conclusion(table: pd.DataFrame, pivot: str, named: Callable[[str], str] = str) -> str:
    """The table in a sentence: which language is most and which least like the pivot, at the layer where most are.

    named: how a language is called.
    """
    by_layer = table.dropna(subset="cka").groupby("layer")["cka"].mean()
    if by_layer.empty:
        return f"No language's states vary over these sentences, so none can be compared with {pivot}."
    layer = by_layer.idxmax()
    there = table[(table["layer"] == layer) & table["cka"].notna()].set_index("language")["cka"].sort_values()
    if len(there) == 1:
        return f"CKA of {named(there.index[0])} with {pivot} is highest at layer {layer} ({there.iloc[0]:.2f})."
    return (
        f"CKA with {pivot} is highest at layer {layer}, over all languages; there {named(there.index[-1])} is arranged "
        f"most like it ({there.iloc[-1]:.2f}), {named(there.index[0])} least ({there.iloc[0]:.2f})."
    )
