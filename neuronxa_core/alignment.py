"""States to similarity, alignment scores and retrieval accuracy.

For n parallel sentences with vectors x_i and y_i at one layer, C[i, j] = cosine(x_i, y_j). Sentence i is aligned when
it is found in both directions, strictly:

    C[i, i] > C[i, j] and C[i, i] > C[j, i] for every j != i

and the score of the pair is the share of aligned sentences (NeuronXA, Huang et al., ACL 2025: NASCA from activation
states, NAVCA from activation values; MEXA, Kargaran et al., 2025, from hidden states). A zero vector has cosine 0 with
everything; a tie is not an alignment.

Scores do not depend on the order in which a matrix product adds up. Products run in float32; wherever the decision is
closer than a float32 product can tell, the rows in question are compared again in float64, and what is then equal
within 1e-12 counts as a tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from neuronxa_core.errors import ExperimentError

# part of the key under which scores are kept: raise it whenever they could change
VERSION = 1
METHODS = {"nas": "NASCA", "nav": "NAVCA", "emb": "MEXA"}

# no float32 product of unit vectors of up to some 100,000 components is further off, blocks of a few hundred assumed
FLOAT32_MARGIN = 2.5e-5
TIE = 1e-12
# cells of a float32 similarity block held at a time, 256 MiB
BLOCK_CELLS = 1 << 26


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows [..., width] scaled to length 1, float32; a zero row stays zero."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.sqrt(np.einsum("...k,...k->...", rows, rows, dtype=np.float64))
    lengths[lengths == 0] = 1
    return rows / lengths[..., None].astype(np.float32)


def _exact_unit_rows(vectors: np.ndarray) -> np.ndarray:
    rows = np.asarray(vectors, dtype=np.float64)
    lengths = np.sqrt(np.einsum("...k,...k->...", rows, rows))
    lengths[lengths == 0] = 1
    return rows / lengths[..., None]


def similarity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """C[i, j] = cosine(x_i, y_j) of x [n, width] and y [m, width]: float32 [n, m] in [-1, 1]."""
    return unit_rows(x) @ unit_rows(y).T


@dataclass(frozen=True)
class Retrieved:
    """Which sentences are found, [language, sentence] bool: forward from x to y, backward from y to x."""

    forward: np.ndarray
    backward: np.ndarray

    @property
    def aligned(self) -> np.ndarray:
        """Found in both directions, [language, sentence] bool."""
        return self.forward & self.backward


def retrieve(x: np.ndarray, others: Sequence[np.ndarray] | np.ndarray) -> Retrieved:
    """Which of the n sentences of x are found in each other language, and back, at one layer.

    x: [n, width]. others: [language, n, width], rows parallel to x's. n must be at least 2.
    """
    others = np.asarray(others)
    n = x.shape[0]
    if n < 2:
        raise ExperimentError("alignment needs at least 2 parallel sentences")
    if others.ndim != 3 or others.shape[1:] != x.shape:
        raise ValueError(f"expected [language, {n}, {x.shape[1]}], got {list(others.shape)}")
    forward = np.empty((len(others), n), dtype=bool)
    backward = np.empty((len(others), n), dtype=bool)
    unit_x = unit_rows(x)
    step = _languages_a_block(n)
    for start in range(0, len(others), step):
        block = slice(start, start + step)
        forward[block], backward[block] = _decide(unit_x, unit_rows(others[block]), x, others[block])
    return Retrieved(forward, backward)


def _languages_a_block(n: int) -> int:
    """How many languages' n x n similarities are held at a time."""
    return max(1, BLOCK_CELLS // (n * n))


def _decide(
    unit_x: np.ndarray, unit_others: np.ndarray, x: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Strict winners among x [n, width] and others [language, n, width], by row and by column: [language, n] bool.

    unit_x and unit_others are their float32 unit rows; close calls are decided in float64 from x and others.
    """
    n, width = x.shape
    cosines = (unit_x @ unit_others.reshape(-1, width).T).reshape(n, -1, n).swapaxes(0, 1)
    index = np.arange(n)
    own = cosines[:, index, index]
    cosines[:, index, index] = -np.inf
    row_lead = own - cosines.max(axis=2)
    column_lead = own - cosines.max(axis=1)
    forward, backward = row_lead > 0, column_lead > 0
    close_rows, close_columns = np.abs(row_lead) <= FLOAT32_MARGIN, np.abs(column_lead) <= FLOAT32_MARGIN
    for language in np.flatnonzero((close_rows | close_columns).any(axis=1)):
        exact_x = _exact_unit_rows(x)
        exact_y = _exact_unit_rows(others[language])
        rows, columns = np.flatnonzero(close_rows[language]), np.flatnonzero(close_columns[language])
        forward[language, rows] = _leads(exact_x[rows] @ exact_y.T, rows)
        backward[language, columns] = _leads(exact_y[columns] @ exact_x.T, columns)
    return forward, backward


def _leads(cosines: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Whether entry own[k] of row k is above all others of its row by more than a tie."""
    at = np.arange(len(own))
    mine = cosines[at, own]
    cosines[at, own] = -np.inf
    return mine - cosines.max(axis=1) > TIE


def all_pairs(vectors: np.ndarray) -> np.ndarray:
    """Alignment score of every pair of languages at one layer, [language, language] in [0, 1], symmetric.

    vectors: [language, n, width]. The diagonal is the score of a language with itself: below 1 where two of its
    sentences have the same vector.
    """
    languages, n, _ = vectors.shape
    if n < 2:
        raise ExperimentError("alignment needs at least 2 parallel sentences")
    scores = np.empty((languages, languages))
    unit = unit_rows(vectors)
    step = _languages_a_block(n)
    for a in range(languages):
        for start in range(a, languages, step):
            block = slice(start, start + step)
            forward, backward = _decide(unit[a], unit[block], vectors[a], vectors[block])
            scores[a, block] = scores[block, a] = (forward & backward).mean(axis=1)
    return scores


@dataclass(frozen=True)
class Alignment:
    """Alignment of the pivot with each language, by layer, with one state and one pooling.

    forward, backward: [language, layer, sentence] bool, pivot to language and language to pivot.
    """

    languages: tuple[str, ...]
    forward: np.ndarray
    backward: np.ndarray

    @property
    def aligned(self) -> np.ndarray:
        """Sentences found in both directions, [language, layer, sentence] bool."""
        return self.forward & self.backward

    @property
    def n_sentences(self) -> int:
        return self.forward.shape[2]

    @property
    def score(self) -> np.ndarray:
        """[language, layer] in [0, 1]."""
        return self.aligned.mean(axis=2)

    @property
    def retrieval_forward(self) -> np.ndarray:
        """Retrieval accuracy from the pivot to the language, [language, layer] in [0, 1]."""
        return self.forward.mean(axis=2)

    @property
    def retrieval_backward(self) -> np.ndarray:
        """Retrieval accuracy from the language to the pivot, [language, layer] in [0, 1]."""
        return self.backward.mean(axis=2)

    def pooled(self, how: str = "mean") -> np.ndarray:
        """The model's score of each language, layers pooled by `mean` or `max`: [language] in [0, 1]."""
        return pool_layers(self.score, how)


def pool_layers(scores: np.ndarray, how: str) -> np.ndarray:
    """Pool the last axis, layers, by `mean` or `max`."""
    if how not in ("mean", "max"):
        raise ExperimentError(f"layers are pooled by mean or max, not by {how!r}")
    return scores.mean(axis=-1) if how == "mean" else scores.max(axis=-1)


def chance_level(n: int) -> float:
    """The score of vectors that know nothing of each other: 1 / (2n - 1).

    C[i, i] has to be the largest of the 2n - 1 cells of its row and column, each equally likely to be it.
    """
    return 1 / (2 * n - 1)


def resampling_weights(n: int, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each of n sentences is drawn in each resample, [resample, sentence] float32; rows sum to n."""
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return draws.astype(np.float32)


def bootstrap(
    aligned: np.ndarray, layer_pooling: str | None = None, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval of the score over sentences; no state is computed again.

    aligned: [..., layer, sentence] bool. Returns (low, high) of [..., layer], or of [...] where layers are pooled by
    `mean` or `max`: all layers share a resample, and `max` picks its layer anew in each. That biases `max` upwards: its
    interval can lie above the score itself. What is resampled is which sentences count; each still has to be found
    among all n, so that duplicates in a resample cause no ties.
    """
    n = aligned.shape[-1]
    weights = resampling_weights(n, resamples, seed)
    means = aligned.astype(np.float32) @ weights.T / n
    if layer_pooling is not None:
        means = pool_layers(np.moveaxis(means, -1, -2), layer_pooling)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=-1)
    return low, high


@dataclass(frozen=True)
class Match:
    """What sentence `row` of x finds in y and what finds it, by number; -1 where there is a tie for the best."""

    row: int
    status: str
    best_in_y: int
    best_in_x: int


def matches(x: np.ndarray, y: np.ndarray) -> Iterator[Match]:
    """Every sentence's nearest neighbours at one layer, for x and y of [n, width].

    status: `aligned`, `missed` (found in neither direction), `x to y only` or `y to x only`.
    best_in_y is the sentence of y that is nearest to x_row, best_in_x the sentence of x nearest to y_row.
    """
    exact = _exact_unit_rows(x) @ _exact_unit_rows(y).T
    found = retrieve(x, y[None])

    def best(cosines: np.ndarray) -> int:
        order = np.argsort(-cosines, kind="stable")
        return -1 if cosines[order[0]] - cosines[order[1]] <= TIE else int(order[0])

    names = {(True, True): "aligned", (True, False): "x to y only", (False, True): "y to x only"}
    for i in range(len(x)):
        status = names.get((bool(found.forward[0, i]), bool(found.backward[0, i])), "missed")
        yield Match(i, status, best(exact[i]), best(exact[:, i]))


def hierarchical_order(scores: np.ndarray) -> list[int]:
    """An order of languages that puts like ones side by side: average linkage on 1 - score.

    Leaves are turned by scipy's optimal_leaf_ordering, which is not always the optimum that its name promises (scipy
    issue 11227); the clusters stay together either way.

    scores: [language, language], symmetric, in [0, 1].
    """
    if len(scores) < 3:
        return list(range(len(scores)))
    distances = 1 - (scores + scores.T) / 2
    np.fill_diagonal(distances, 0)
    condensed = squareform(distances, checks=False)
    return [int(k) for k in leaves_list(optimal_leaf_ordering(linkage(condensed, "average"), condensed))]
