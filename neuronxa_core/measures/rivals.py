"""Rivals of the alignment score: other similarities under the same strict retrieval, and measures without retrieval.

Retrieval, with another similarity in place of the cosine: CSLS (Conneau et al., ICLR 2018), margin as a ratio (Artetxe
and Schwenk, ACL 2019), the cosine of vectors that are centred per language, and of those without their language's first
principal component (Mu and Viswanath, ICLR 2018). Without retrieval: debiased linear CKA (see `cka`), SVCCA (Raghu et
al., NeurIPS 2017), RSA (Kriegeskorte et al., 2008) and ANC (Del and Fishel, 2022).

All of it but ANC follows from products of sentences, [n, n], so that nothing grows with the square of the width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy import linalg, stats

from neuronxa_core.errors import ExperimentError
from neuronxa_core.host.threads import side_by_side
from neuronxa_core.measures import alignment
from neuronxa_core.measures.base import Arrays, Measure, Run, choice, pooling_choice, state_choice
from neuronxa_core.measures.cka import cka
from neuronxa_core.measures.cosine_retrieval import is_strictly_nearest
from neuronxa_core.statistics import correlation
from neuronxa_core.statistics.correlation import NEGLIGIBLE

RIVALS = {
    "csls": "CSLS",
    "margin": "Margin",
    "centred": "Centred cosine",
    "top_pc_removed": "Without first component",
    "cka": "CKA",
    "svcca": "SVCCA",
    "rsa": "RSA",
    "anc": "ANC",
}
"""The methods as the table and as a person calls them."""
# of a language's variance that the subspace of SVCCA holds at least
SVCCA_VARIANCE = 0.99


def names(state: str) -> dict[str, str]:
    """What each method is called with a representation; `cosine` is NASCA, NAVCA or MEXA."""
    return {"cosine": alignment.METHODS[state], **RIVALS}


@dataclass(frozen=True)
class Prepared:
    """What the measures need of one language's n sentences at a layer.

    rows: [n + 1, width], the sentence vectors less their mean, and the mean. products: rows by rows. lengths: of the
    columns of the n centred rows, [width], 0 where a neuron is constant. values, axes: eigenvalues of the centred
    products, the largest first, and their eigenvectors in columns. ranks: of the cosines of each two sentences,
    standardised; NaN where these are all the same.
    """

    rows: np.ndarray
    products: np.ndarray
    lengths: np.ndarray
    values: np.ndarray
    axes: np.ndarray
    ranks: np.ndarray


def prepare(vectors: np.ndarray) -> Prepared:
    """One language's sentence vectors [sentence, width] as the measures need them, in float64."""
    n, width = vectors.shape
    rows = np.empty((n + 1, width))
    np.mean(vectors, axis=0, dtype=np.float64, out=rows[n])
    np.subtract(vectors, rows[n], out=rows[:n])
    lengths = np.sqrt(np.einsum("ij,ij->j", rows[:n], rows[:n]))
    constant = lengths <= NEGLIGIBLE * np.sqrt(n) * np.abs(rows[n])
    if constant.any():
        rows[:n, constant] = lengths[constant] = 0
    products = rows @ rows.T
    centred, whole = parted(products)
    values, axes = linalg.eigh(centred, driver="evd", check_finite=False)
    among = cosines(whole, whole.diagonal(), whole.diagonal())[np.triu_indices(n, 1)]
    ranks = correlation.standardised(stats.rankdata(among))
    if correlation.is_constant(among):
        ranks[:] = np.nan
    return Prepared(rows, products, lengths, np.maximum(values[::-1], 0), axes[:, ::-1], ranks)


def parted(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Products of centred sentence vectors and of whole ones, each [x, y], from those of `Prepared.rows`."""
    centred = products[:-1, :-1]
    return centred, centred + products[:-1, -1:] + products[-1:, :-1] + products[-1, -1]


def cosines(products: np.ndarray, x_squares: np.ndarray, y_squares: np.ndarray) -> np.ndarray:
    """Cosines [x, y] from inner products and squared lengths; 0 for zero vectors."""
    lengths = np.sqrt(np.multiply.outer(x_squares, y_squares))
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)


def strict_score(similarities: np.ndarray) -> float:
    """The share of sentences above all others of their row and their column of [n, n] by more than a tie."""
    return float((is_strictly_nearest(similarities, 0) & is_strictly_nearest(similarities, 1)).mean())


def nearest_mean(similarities: np.ndarray, k: int) -> np.ndarray:
    """Mean of the k largest of each row."""
    return np.partition(similarities, -k, axis=1)[:, -k:].mean(axis=1)


def csls(similarities: np.ndarray, k: int) -> np.ndarray:
    """2 cos(x, y) - r(x) - r(y) of cosines [x, y], r the mean cosine with the k nearest of the other language."""
    return 2 * similarities - nearest_mean(similarities, k)[:, None] - nearest_mean(similarities.T, k)


def margin(similarities: np.ndarray, k: int) -> np.ndarray:
    """cos(x, y) over the mean of r(x) and r(y), see `csls`; 0 where that mean is not above 0."""
    means = (nearest_mean(similarities, k)[:, None] + nearest_mean(similarities.T, k)) / 2
    return np.divide(similarities, means, out=np.zeros_like(similarities), where=means > 0)


def without_first_component(x: Prepared, y: Prepared, centred: np.ndarray) -> np.ndarray:
    """Cosines [x, y] once each language's first principal component is taken from its centred vectors."""
    first, second = x.axes[:, :1], y.axes[:, :1]
    products = centred - first @ (first.T @ centred)
    products -= (products @ second) @ second.T
    squares = []
    for one in (x, y):
        before = one.products.diagonal()[:-1]
        left = before - one.values[0] * one.axes[:, 0] ** 2
        squares.append(np.where(left > NEGLIGIBLE * before, left, 0))
    return cosines(products, *squares)


def svcca(x: Prepared, y: Prepared) -> float:
    """Mean canonical correlation of the fewest components of each that hold 99 % of its variance, in [0, 1].

    NaN where a language does not vary. With fewer sentences than neurons the components fill much of the space of n - 1
    dimensions, and unrelated languages are far above 0, too.
    """
    if not x.values[0] or not y.values[0]:
        return np.nan
    counts = [int((np.cumsum(v) < SVCCA_VARIANCE * v.sum()).sum()) + 1 for v in (x.values, y.values)]
    correlations = linalg.svdvals(x.axes[:, : counts[0]].T @ y.axes[:, : counts[1]], check_finite=False)
    return float(np.minimum(correlations, 1).mean())


def anc(x: Prepared, y: Prepared) -> float:
    """Mean over neurons of Pearson's r between their values in x and in y; over those that vary in both, else NaN."""
    lengths = x.lengths * y.lengths
    if not (varies := lengths > 0).any():
        return np.nan
    sums = np.einsum("ij,ij->j", x.rows[:-1], y.rows[:-1])
    return float((sums[varies] / lengths[varies]).mean())


def scores(x: Prepared, y: Prepared, k: int) -> list[float]:
    """The score of a language y with the pivot x, method by method as `names` has them. k: at most n."""
    centred, whole = parted(x.rows @ y.rows.T)
    own = [parted(one.products) for one in (x, y)]
    plain = cosines(whole, *(both.diagonal() for _, both in own))
    similarities = (
        plain,
        csls(plain, k),
        margin(plain, k),
        cosines(centred, *(inner.diagonal() for inner, _ in own)),
        without_first_component(x, y, centred),
    )
    linear = cka(*(inner for inner, _ in own))
    return [*map(strict_score, similarities), linear, svcca(x, y), float(x.ranks @ y.ranks), anc(x, y)]


@dataclass(frozen=True)
class Rivals(Measure):
    """CSLS, margin, centred cosines, CKA, SVCCA, RSA and ANC of every language with the pivot by layer."""

    state: str = state_choice()
    pooling: str = pooling_choice()
    k: int = choice(10, "nearest neighbours of CSLS and margin; at most one less than the sentences")
    name: ClassVar[str] = "rivals"
    unit: ClassVar[str] = "layers"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise ExperimentError(f"k is at least 1, not {self.k}")

    def parts(self) -> range:
        return range(self.plan.info.layers_of(self.state))

    def content(self, part: int) -> object:
        return [self.state, self.pooling, self.k, part, self.reads(self.plan.pivot, *self.plan.languages)]

    def compute(self, part: int, run: Run) -> Arrays:
        n, codes = self.plan.corpus.n_sentences, self.plan.languages
        width = self.plan.info.width_of(self.state)
        # of each language the vectors and the rows
        at_once = max(1, alignment.CHUNK_BYTES // (2 * 8 * n * width))
        with run.states(*dict.fromkeys([self.plan.pivot, *codes])) as reader:

            def prepared(code: str) -> Prepared:
                return prepare(reader.sentence_vectors(code, self.state, self.pooling, part))

            pivot, k = prepared(self.plan.pivot), min(self.k, n - 1)
            found = side_by_side(lambda number: scores(pivot, prepared(codes[number]), k), len(codes), at_once)
        return {"scores": np.array(found)}

    def frame(self, results: Mapping[int, Arrays]) -> pd.DataFrame:
        """Columns: language, layer, state, method (see `names`), score; NaN where a method has none."""
        codes, methods = self.plan.languages, list(names(self.state))
        return pd.DataFrame(
            {
                "language": np.tile(np.repeat(codes, len(methods)), len(results)),
                "layer": np.repeat(list(results), len(codes) * len(methods)),
                "state": self.state,
                "method": methods * (len(codes) * len(results)),
                "score": np.concatenate([arrays["scores"].ravel() for arrays in results.values()]),
            }
        )


def by_method(measure: Rivals, results: Mapping[int, Arrays]) -> dict[str, np.ndarray]:
    """Scores [language, layer] of the methods but the cosine, named with the representation, for a table of many.

    Without the layers at which a language has none; a method that has no other layer is left out.
    """
    every = np.stack([results[part]["scores"].T for part in measure.parts()], axis=-1)
    found = {
        f"{name} ({measure.state.upper()})": scores[:, ~np.isnan(scores).any(axis=0)]
        for name, scores in zip(RIVALS.values(), every[1:], strict=True)
    }
    return {name: scores for name, scores in found.items() if scores.shape[1]}


def at_layer(table: pd.DataFrame, layer: int) -> pd.DataFrame:
    """Scores at a layer, a row per language and a column per method, in the table's order."""
    there = table[table["layer"] == layer]
    wide = there.pivot(index="language", columns="method", values="score")
    return wide.loc[there["language"].unique(), there["method"].unique()]


def agreement(wide: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau between the methods' scores of the languages, [method, method]; NaN where a method ranks none."""
    return wide.corr(lambda x, y: correlation.kendall(x, y)[0])


def conclusion(taus: pd.DataFrame, languages: int, layer: int, named: Callable[[str], str]) -> str:
    """In a sentence: which measures rank the languages most and least alike, and which comes nearest to the cosine.

    taus: see `agreement`. languages: how many were ranked.
    """
    if languages < correlation.FEWEST:
        return f"Rankings are compared from {correlation.FEWEST} languages on, and there are {languages}."
    pairs = taus.where(np.triu(np.ones(taus.shape, dtype=bool), 1)).stack().dropna()
    if pairs.empty:
        return f"At layer {layer} no two measures tell the languages apart."

    def pair(of: tuple[str, str]) -> str:
        return f"{named(of[0])} and {named(of[1])}"

    said = f"At layer {layer}, {pair(pairs.idxmax())} rank the {languages} languages most alike (Kendall's tau "
    said += f"{pairs.max():.2f})"
    if pairs.min() < pairs.max():
        said += f", {pair(pairs.idxmin())} least ({pairs.min():.2f})"
    others = taus["cosine"].drop("cosine").dropna()
    if len(others):
        said += f"; {named(others.idxmax())} comes nearest to {named('cosine')} ({others.max():.2f})"
    return said + "."
