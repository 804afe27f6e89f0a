"""Cosines of parallel sentences: which translation is nearest, decided in float64 where float32 is close."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from neuronxa_core.errors import ExperimentError
from neuronxa_core.host.threads import side_by_side

# No more than this is lost between two float32 cosines, each a unit vector times a vector over the vector's length.
# BLAS adds up some 400 products one after another, then these sums: with w columns that is 400 + w / 400 roundings by
# 2^-24 of the sum so far, half of the whole on average, so that either cosine is off by at most 1.3e-5 for w = 14,336
# and 2.1e-5 for the 114,688 of a large mixture of experts, and by some 1e-6 where roundings cancel as they do. Those of
# the unit vector, the length and the quotient add 5e-7.
FLOAT32_MARGIN = 5e-5
TIE = 1e-12
# rows that are multiplied at a time: as many as fill 4 MiB in float32, or these where rows are long
BLOCK_CELLS = 1 << 20
BLOCK_ROWS = 256
# cosines that are decided at a time, unless one language has more: 1 MiB
DECIDED_CELLS = 1 << 18
# float32 numbers of unit rows that all_pairs holds twice: 128 MiB
HELD_CELLS = 1 << 25
# columns whose squares are added up in float32
SQUARED_COLUMNS = 1024
# sums of squares between which no float32 product of a unit vector overflows or loses digits to underflow
SAFE_SQUARES = (2.0**-60, 2.0**100)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows [..., width] scaled to length 1, float32; a zero row stays zero."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.sqrt(np.einsum("...k,...k->...", rows, rows, dtype=np.float64))
    lengths[lengths == 0] = 1
    return rows / lengths[..., None].astype(np.float32)


def _load(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Write vectors [n, width] of any dtype into float32 `rows` of the same shape; returns their lengths [n], float32.

    A row whose squares a float32 cannot add up, and a zero row, is written as a unit row, and its length is 1.
    """
    if vectors.dtype == np.float16:
        # numpy takes 15 times as long; torch leaves parts of fewer than 2^15 numbers to this thread
        part = max(1, (2**15 - 1) // rows.shape[1])
        halves = torch.from_numpy(np.require(vectors, requirements="W"))
        for some, half in zip(torch.from_numpy(rows).split(part), halves.split(part), strict=True):
            some.copy_(half)
    else:
        np.copyto(rows, vectors, casting="same_kind")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squares = np.zeros(len(rows))
        for start in range(0, rows.shape[1], SQUARED_COLUMNS):
            part = rows[:, start : start + SQUARED_COLUMNS]
            squares += np.vecdot(part, part)
    low, high = SAFE_SQUARES
    unsafe = ~((low < squares) & (squares < high))
    if unsafe.any():
        rows[unsafe] = unit_rows(vectors[unsafe])
        squares[unsafe] = 1
    return np.sqrt(squares).astype(np.float32)


def _exact_cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """C of x [n, width] and y [m, width] in float64, [n, m]; 0 for zero vectors."""
    dots, x_squares, y_squares = np.zeros((len(x), len(y))), np.zeros(len(x)), np.zeros(len(y))
    step = max(1, BLOCK_CELLS // max(len(x), len(y)))
    for start in range(0, x.shape[1], step):
        a, b = (np.asarray(v[:, start : start + step], dtype=np.float64) for v in (x, y))
        dots += a @ b.T
        x_squares += np.einsum("ij,ij->i", a, a)
        y_squares += np.einsum("ij,ij->i", b, b)
    lengths = np.sqrt(x_squares)[:, None] * np.sqrt(y_squares)
    return np.divide(dots, lengths, out=dots, where=lengths > 0)


def similarity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """C[i, j] = cosine(x_i, y_j) of x [n, width] and y [m, width]: float32 [n, m] in [-1, 1]."""
    return unit_rows(x) @ unit_rows(y).T


@dataclass(frozen=True)
class Retrieved:
    """Which sentences are found, [language, sentence] bool: src2trg from x to y, trg2src from y to x.

    mutual: [language, sentence] int32, the sentence of y that is nearest to x's and has x's nearest, translation or
    not; -1 where there is none. Nearest by float32 products, but for translations, which are as in the other two.
    """

    src2trg: np.ndarray
    trg2src: np.ndarray
    mutual: np.ndarray

    @property
    def aligned(self) -> np.ndarray:
        """Found in both directions, [language, sentence] bool."""
        return self.src2trg & self.trg2src


def retrieve(x: np.ndarray, others: Sequence[np.ndarray]) -> Retrieved:
    """Which of the n sentences of x are found in each other language, and back, at one layer.

    x: [n, width], n at least 2. others: languages of [n, width], rows parallel to x's, each of a dtype of its own. A
    language is asked for when its turn comes, perhaps again where a call is close, and used only until the next one is.
    """
    n, width = x.shape
    if n < 2:
        raise ExperimentError("alignment needs at least 2 parallel sentences")
    unit_x = unit_rows(x)
    found = np.empty((2, len(others), n), dtype=bool)
    mutual = np.empty((len(others), n), dtype=np.int32)
    rows = np.empty((_rows_a_block(n, width, len(others)), width), dtype=np.float32)
    step = languages_at_once(n)

    def language(number: int) -> np.ndarray:
        return _of_shape(others[number], x.shape)

    for first in range(0, len(others), step):
        numbers = range(first, min(first + step, len(others)))
        cosines = np.empty((len(numbers) * n, n), dtype=np.float32)
        done = 0
        for block, lengths in _float32_blocks(map(language, numbers), rows):
            part = cosines[done : done + len(block)]
            np.matmul(block, unit_x.T, out=part)
            part /= lengths[:, None]
            done += len(block)
        cosines = cosines.reshape(-1, n, n)
        mutual[first : first + step] = _mutual(cosines)
        found[:, first : first + step] = _decide(cosines, x, lambda k, first=first: language(first + k))
    own = np.arange(n, dtype=np.int32)
    mutual[mutual == own] = -1
    return Retrieved(*found, np.where(found.all(axis=0), own, mutual))


def languages_at_once(n: int) -> int:
    """How many languages of n sentences `retrieve` decides at a time; parts of so many are compared to the same bit."""
    return max(1, DECIDED_CELLS // n**2)


def _mutual(cosines: np.ndarray) -> np.ndarray:
    """For each x_i the y_j that is its nearest and has it as its nearest, or -1: [language, i]; cosines as below."""
    nearest_y = cosines.argmax(axis=1)
    back = np.take_along_axis(cosines.argmax(axis=2), nearest_y, axis=1)
    return np.where(back == np.arange(cosines.shape[1]), nearest_y, -1)


def _of_shape(vectors: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if vectors.shape != shape:
        raise ValueError(f"expected [language, {shape[0]}, {shape[1]}], got a language of {list(vectors.shape)}")
    return vectors


def _rows_a_block(n: int, width: int, languages: int) -> int:
    """How many rows are multiplied at a time: those of whole languages, or a part of one, in parts of about a size."""
    most = max(BLOCK_ROWS, BLOCK_CELLS // width)
    return min(most // n, languages) * n if n <= most else -(-n // -(-n // most))


def _float32_blocks(languages: Iterable[np.ndarray], rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows of all languages [n, width] in order, in blocks: (float32 rows [m, width], their lengths [m]).

    rows: a float32 buffer in which blocks are made, each over the one before. See `_load` for rows of length 1.
    """
    lengths = np.empty(len(rows), dtype=np.float32)
    filled = 0
    for vectors in languages:
        for start in range(0, len(vectors), len(rows)):
            part = vectors[start : start + len(rows)]
            if filled + len(part) > len(rows):
                yield rows[:filled], lengths[:filled]
                filled = 0
            place = slice(filled, filled + len(part))
            lengths[place] = _load(part, rows[place])
            filled += len(part)
    yield rows[:filled], lengths[:filled]


def _decide(cosines: np.ndarray, x: np.ndarray, language: Callable[[int], np.ndarray]) -> np.ndarray:
    """Strict winners of float32 cosines [language, j, i] of y_j and x_i: bool [2, language, sentence].

    First whether x_i finds y_i, then whether y_j finds x_j. Close calls are decided in float64 from x [n, width] and
    language(number) [n, width]. The diagonals of `cosines` are overwritten.
    """
    index = np.arange(cosines.shape[1])
    own = cosines[:, index, index]
    cosines[:, index, index] = -np.inf
    leads = np.stack([own - cosines.max(axis=1), own - cosines.max(axis=2)])
    found, close = leads > 0, np.abs(leads) <= FLOAT32_MARGIN
    for number in np.flatnonzero(close.any(axis=(0, 2))):
        src2trg, trg2src = close[:, number]
        # the open columns and rows, and what is as near as their best
        rivals = own[number, src2trg] - cosines[number][:, src2trg] <= FLOAT32_MARGIN
        counter_rivals = own[number, trg2src, None] - cosines[number][trg2src] <= FLOAT32_MARGIN
        involved = np.flatnonzero(src2trg | trg2src | rivals.any(axis=1) | counter_rivals.any(axis=0))
        exact = _exact_cosines(language(number)[involved], x[involved])
        for axis, undecided in enumerate((src2trg, trg2src)):
            found[axis, number, undecided] = is_strictly_nearest(exact, axis)[undecided[involved]]
    return found


def leads(cosines: np.ndarray, axis: int) -> np.ndarray:
    """How far each cell of the diagonal is above the largest other one of its column (axis 0) or row (1), [n]."""
    rivals = cosines.copy()
    np.fill_diagonal(rivals, -np.inf)
    return np.diagonal(cosines) - rivals.max(axis=axis)


def is_strictly_nearest(cosines: np.ndarray, axis: int) -> np.ndarray:
    """Whether each cell of the diagonal is above all others of its column (axis 0) or row (1) by more than a tie."""
    return leads(cosines, axis) > TIE


def all_pairs(vectors: Sequence[np.ndarray], on_pairs: Callable[[int], None] = lambda _count: None) -> np.ndarray:
    """Alignment score of every pair of languages at one layer, [language, language] in [0, 1], symmetric.

    vectors: languages of [n, width], n at least 2, each of a dtype of its own. Parts of what HELD_CELLS allow are held
    two at a time, so that a language is asked for once for its own part and once for each before, by several threads.
    on_pairs(count): so many pairs are compared, each language with itself among them; called on those threads, and what
    it raises ends the work. The diagonal is the score of a language with itself: below 1 where two of its sentences
    have the same vector.
    """
    n, width = vectors[0].shape
    if n < 2:
        raise ExperimentError("alignment needs at least 2 parallel sentences")
    scores = np.empty((len(vectors), len(vectors)))
    held = max(1, HELD_CELLS // (n * width))
    step = languages_at_once(n)
    for first in range(0, len(vectors), held):
        mine = _held(vectors, range(first, min(first + held, len(vectors))))
        for second in range(first, len(vectors), held):
            theirs = mine if second == first else _held(vectors, range(second, min(second + held, len(vectors))))

            def compare(a: int, first=first, second=second, mine=mine, theirs=theirs) -> None:
                x, unit_x = mine[0][a], mine[1][a]
                start = a if theirs is mine else 0
                for b in range(start, len(theirs[0]), step):
                    others, unit = (part[b : b + step] for part in theirs)
                    cosines = (unit.reshape(-1, width) @ unit_x.T).reshape(-1, n, n)
                    aligned = _decide(cosines, x, others.__getitem__).all(axis=0)
                    row, columns = first + a, slice(second + b, second + b + len(others))
                    scores[row, columns] = scores[columns, row] = aligned.mean(axis=1)
                on_pairs(len(theirs[0]) - start)

            side_by_side(compare, len(mine[0]), len(mine[0]))
    return scores


def _held(vectors: Sequence[np.ndarray], numbers: range) -> tuple[list[np.ndarray], np.ndarray]:
    """Some languages' vectors, and their unit rows [language, n, width] in float32."""
    unit = np.empty((len(numbers), *vectors[0].shape), dtype=np.float32)

    def load(k: int) -> np.ndarray:
        y = _of_shape(vectors[numbers[k]], unit.shape[1:])
        unit[k] /= _load(y, unit[k])[:, None]
        return y

    return side_by_side(load, len(numbers), len(numbers)), unit
