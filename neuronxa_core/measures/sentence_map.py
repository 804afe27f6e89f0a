"""All languages' sentences of a layer in a plane, turned so that each layer's map lies on that of the layer before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy import linalg

from neuronxa_core.corpora import languages
from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.base import QUICK, Arrays, Measure, Run, choice, pooling_choice, state_choice

MOST_POINTS = 2500
PLANES = ("pca", "umap")
# groups that have a colour of their own; all others are grey
MOST_GROUPS = 7
OTHERS = "others"


def pca_plane(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal components of vectors [point, width]: (coordinates [point, 2], shares of variance [2]).

    Exact, from the smaller of the two products. Coordinates are divided by the root of the whole variance, so that
    their mean squared distance from the centre is the share that the plane explains. All 0 where nothing varies.
    """
    x = np.asarray(vectors, dtype=np.float64)
    x = x - x.mean(axis=0)
    n, width = x.shape
    inner = x @ x.T if n <= width else x.T @ x
    whole = np.trace(inner)
    if not whole > 0:
        return np.zeros((n, 2)), np.zeros(2)
    values, axes = linalg.eigh(inner, subset_by_index=[max(0, len(inner) - 2), len(inner) - 1])
    values, axes = np.maximum(values[::-1], 0), axes[:, ::-1]
    coordinates = axes * np.sqrt(values) if n <= width else x @ axes
    missing = 2 - len(values)
    coordinates, values = np.pad(coordinates, ((0, 0), (0, missing))), np.pad(values, (0, missing))
    return coordinates * np.sqrt(n / whole), values / whole


def umap_plane(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """UMAP's plane of vectors [point, width] by the cosine: coordinates [point, 2], NaN for the shares of variance.

    Coordinates have a mean squared distance of 1 from their centre. From the same vectors come the same coordinates.
    Raises ExperimentError where the package umap-learn is not installed.
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise ExperimentError("UMAP needs a package more: pip install umap-learn, or choose pca") from error
    placed = UMAP(n_neighbors=min(15, len(vectors) - 1), metric="cosine", random_state=0, n_jobs=1).fit_transform(
        vectors
    )
    placed = placed.astype(np.float64) - placed.mean(axis=0, dtype=np.float64)
    return placed / np.sqrt(np.square(placed).sum(axis=1).mean()), np.full(2, np.nan)


@dataclass(frozen=True)
class SentenceMap(Measure):
    """Sentences of all languages in a plane, by principal components or UMAP, kept in place over layers."""

    state: str = state_choice()
    pooling: str = pooling_choice()
    plane: str = choice("pca", "pca: the first two principal components; umap: needs the package umap-learn", PLANES)
    points: int = choice(MOST_POINTS, "at most so many points; of every language the same sentences are left out")
    name: ClassVar[str] = "sentence_map"
    unit: ClassVar[str] = "layers"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.rows) < 2:
            raise ExperimentError(
                f"{self.points} points are fewer than 2 sentences of {len(self.codes)} languages; allow more or choose "
                "fewer languages"
            )

    @property
    def instant(self) -> bool:
        """Whether the products of all layers take no longer than a page may."""
        info, n = self.plan.info, len(self.rows) * len(self.codes)
        return self.plane == "pca" and info.layers * n * info.neurons * min(n, info.neurons) < QUICK

    @property
    def codes(self) -> tuple[str, ...]:
        """The languages, the pivot first."""
        return tuple(dict.fromkeys(self.plan.all_languages))

    @property
    def rows(self) -> np.ndarray:
        """The sentences that are shown, from 0: all, or as many as fit, spread evenly."""
        n = self.plan.corpus.n_sentences
        return np.linspace(0, n - 1, min(n, self.points // len(self.codes))).round().astype(int)

    @property
    def note(self) -> str:
        shown, n = len(self.rows), self.plan.corpus.n_sentences
        return "" if shown == n else f"the map shows {shown} of {n} sentences, spread evenly, in each language"

    def parts(self) -> range:
        return range(self.plan.info.layers_of(self.state))

    def content(self, part: int) -> object:
        other = [] if self.plane == "pca" else [self.plane]
        return [self.state, self.pooling, part, self.rows.tolist(), self.reads(*self.codes), *other]

    def compute(self, part: int, run: Run) -> Arrays:
        """Of `pca_plane` or `umap_plane`: coordinates [language x sentence, 2] and shares [2]."""
        placed = pca_plane if self.plane == "pca" else umap_plane
        with run.states(*self.codes) as reader:
            vectors = [reader.sentence_vectors(c, self.state, self.pooling, part)[self.rows] for c in self.codes]
        return dict(zip(("coordinates", "shares"), placed(np.concatenate(vectors)), strict=True))

    def frame(self, results: Mapping[int, Arrays]) -> pd.DataFrame:
        """A row per layer, language and sentence.

        Columns: layer, state, pooling, language, sentence and line (from 1); x and y, the coordinates, turned or
        mirrored as a whole to lie nearest to the layer before (orthogonal Procrustes); explained, the share of the
        layer's variance in the plane; explained_1 and explained_2, that of its two components. NaN for UMAP.
        """
        n, tables = len(self.rows), []
        before: np.ndarray | None = None
        for layer in sorted(results):
            shares, found = results[layer]["shares"], results[layer]["coordinates"]
            if before is not None:
                found = found @ linalg.orthogonal_procrustes(found, before)[0]
            before = found
            tables.append(
                pd.DataFrame(
                    {
                        "layer": layer,
                        "state": self.state,
                        "pooling": self.pooling,
                        "language": np.repeat(self.codes, n),
                        "sentence": np.tile(self.rows + 1, len(self.codes)),
                        "line": [self.plan.corpus.line(row) for row in self.rows] * len(self.codes),
                        "x": found[:, 0],
                        "y": found[:, 1],
                        "explained": shares.sum(),
                        "explained_1": shares[0],
                        "explained_2": shares[1],
                    }
                )
            )
        return pd.concat(tables, ignore_index=True)


def groups(codes: Sequence[str], by: str, highlighted: Sequence[str] = ()) -> list[str]:
    """What each language is coloured by: its `family` or `script`, or whether it is one of those `highlighted`.

    No more than MOST_GROUPS differ, those of most languages; all others are OTHERS.
    """
    name = {
        "family": lambda code: OTHERS if languages.family(code) == "Other" else languages.family(code),
        "script": lambda code: languages.script_name(languages.script(code) or "") or OTHERS,
        "language": lambda code: languages.label(code) if code in highlighted else OTHERS,
    }[by]
    found = pd.Series([name(code) for code in codes])
    kept = found[found != OTHERS].value_counts(sort=True).index[:MOST_GROUPS]
    return found.where(found.isin(kept), OTHERS).tolist()


def reach(table: pd.DataFrame) -> float:
    """How far the map's axes go, the same at all layers."""
    return 1.05 * float(table[["x", "y"]].abs().max(axis=None)) or 1.0


def conclusion(table: pd.DataFrame, layer: int) -> str:
    """A layer's map in a sentence: what it shows of the variance, and whether neighbours are translations or languages.

    The share of points whose nearest other point on the map is of the same sentence, and of the same language, beside
    what random positions give.
    """
    there = table[table["layer"] == layer]
    if not there["explained"].iloc[0]:
        return f"At layer {layer} all sentences have the same vector."
    x, y = there["x"].to_numpy(), there["y"].to_numpy()
    far = np.square(x[:, None] - x) + np.square(y[:, None] - y)
    np.fill_diagonal(far, np.inf)
    nearest, said = far.argmin(axis=1), []
    for column, what in (("sentence", "translations"), ("language", "sentences of the same language")):
        values = there[column].to_numpy()
        by_chance = (there[column].map(there[column].value_counts()) - 1).mean() / (len(there) - 1)
        said.append(f"{(values[nearest] == values).mean():.0%} are {what} ({by_chance:.0%} by chance)")
    share = there["explained"].iloc[0]
    holds = "" if np.isnan(share) else f"The plane holds {share:.0%} of layer {layer}'s variance. "
    return f"{holds}Of the points' nearest others, {' and '.join(said)}."
