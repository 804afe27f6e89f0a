"""alignment.py against the strict definition: exact fractions where ties matter, plain float64 loops elsewhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binomtest

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import alignment, cosine_retrieval
from neuronxa_core.measures.alignment import Alignment, bootstrap, matches
from neuronxa_core.measures.cosine_retrieval import all_pairs, retrieve

BLOCK_NAMES = ("BLOCK_CELLS", "BLOCK_ROWS", "DECIDED_CELLS", "HELD_CELLS")
# one row, language or column at a time; some rows, so that blocks end within a language; some languages; all
BLOCKS = {
    "one": (1, 1, 1, 1),
    "some": (30, 3, 60, 100),
    "few languages": (1, 20, 200, 1000),
    "all": tuple(getattr(cosine_retrieval, name) for name in BLOCK_NAMES),
}
DTYPES = ("uint8", "uint16", "uint32", "int64", "float16", "float32", "float64")


def signed_square(a, b) -> Fraction:
    """cosine(a, b) * |cosine(a, b)| of two vectors, with no rounding at all: it orders as cosines do."""
    a, b = [Fraction(float(v)) for v in a], [Fraction(float(v)) for v in b]
    dot = sum((p * q for p, q in zip(a, b, strict=True)), Fraction())
    lengths = sum((p * p for p in a), Fraction()) * sum((q * q for q in b), Fraction())
    return dot * abs(dot) / lengths if lengths else Fraction()


def cosine(a, b) -> float:
    dot = math.fsum(float(p) * float(q) for p, q in zip(a, b, strict=True))
    lengths = math.sqrt(math.fsum(float(p) ** 2 for p in a)) * math.sqrt(math.fsum(float(q) ** 2 for q in b))
    return dot / lengths if lengths else 0.0


def by_definition(x, y, cell=signed_square) -> tuple[list[bool], list[bool]]:
    """Found src2trg and trg2src: C[i, i] > C[i, j], and C[i, i] > C[j, i], for every j != i."""
    n = len(x)
    c = [[cell(x[i], y[j]) for j in range(n)] for i in range(n)]
    src2trg = [all(c[i][i] > c[i][j] for j in range(n) if j != i) for i in range(n)]
    trg2src = [all(c[i][i] > c[j][i] for j in range(n) if j != i) for i in range(n)]
    return src2trg, trg2src


def score_by_definition(x, y, cell=signed_square) -> float:
    src2trg, trg2src = by_definition(x, y, cell)
    return sum(f and b for f, b in zip(src2trg, trg2src, strict=True)) / len(x)


def blocks_of(size: str):
    """A patch of how much is multiplied, decided and held at a time."""
    return mock.patch.multiple(cosine_retrieval, **dict(zip(BLOCK_NAMES, BLOCKS[size], strict=True)))


def score(x, y) -> float:
    return float(retrieve(x, np.asarray(y)[None]).aligned.mean())


def small_integers(shape) -> st.SearchStrategy[np.ndarray]:
    """Vectors among which equal, proportional and zero ones are frequent."""
    return hnp.arrays(np.int64, shape, elements=st.integers(-2, 3))


@st.composite
def pairs(draw) -> tuple[np.ndarray, np.ndarray]:
    n, width = draw(st.integers(2, 6)), draw(st.integers(1, 4))
    return draw(small_integers((n, width))), draw(small_integers((n, width)))


@st.composite
def distinct_directions(draw) -> np.ndarray:
    """[n, width] of vectors no two of which are equal or proportional, and none of which is zero."""
    x = draw(small_integers((draw(st.integers(2, 6)), draw(st.integers(2, 5)))))
    assume(all(row.any() for row in x))
    assume(all(signed_square(a, b) != 1 for a, b in itertools.combinations(x, 2)))
    return x


# the definition


def test_a_hand_worked_case():
    """C = [[1, .7, 0], [0, .7, 1], [.7, 1, .7]]: only the first sentence wins its row and its column."""
    x = np.array([[1, 0], [0, 1], [1, 1]])
    y = np.array([[2, 0], [1, 1], [0, 3]])
    h = math.sqrt(0.5)
    np.testing.assert_allclose(cosine_retrieval.similarity(x, y), [[1, h, 0], [0, h, 1], [h, 1, h]], atol=1e-6)
    found = retrieve(x, y[None])
    assert found.src2trg.tolist() == [[True, False, False]]
    assert found.trg2src.tolist() == [[True, False, False]]
    assert found.aligned.mean() == 1 / 3


def test_a_hand_worked_case_that_is_not_symmetric():
    """C = [[.970, .949, -1], [.243, .316, 0], [-.970, -.949, 1]]: rows are all won, the second column is not."""
    x = np.array([[1, 0], [0, 1], [-1, 0]])
    y = np.array([[4, 1], [3, 1], [-1, 0]])
    found = retrieve(x, y[None])
    assert found.src2trg.tolist() == [[True, True, True]]
    assert found.trg2src.tolist() == [[True, False, True]]
    assert found.aligned.tolist() == [[True, False, True]]
    back = retrieve(y, x[None])
    assert back.src2trg.tolist() == found.trg2src.tolist()
    assert back.trg2src.tolist() == found.src2trg.tolist()


@given(pairs(), st.lists(st.sampled_from(DTYPES), min_size=4, max_size=4), st.sampled_from(list(BLOCKS)))
def test_retrieval_is_the_definition_with_ties_and_zero_vectors(pair, dtypes, size):
    """Each language in a dtype of its own."""
    if any(dtype.startswith("uint") for dtype in dtypes):
        pair = [np.abs(v) for v in pair]
    x, *others = (v.astype(dtype) for v, dtype in zip((*pair, pair[0], pair[1][::-1]), dtypes, strict=True))
    with blocks_of(size):
        found = retrieve(x, others)
    for k, other in enumerate(others):
        src2trg, trg2src = by_definition(x, other)
        assert found.src2trg[k].tolist() == src2trg
        assert found.trg2src[k].tolist() == trg2src


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "width"), [(2, 3), (25, 16), (40, 64), (12, 700)])
def test_retrieval_of_random_vectors(n, width, dtype):
    rng = np.random.default_rng([n, width])
    x = rng.normal(size=(n, width)).astype(dtype)
    others = np.stack([x + noise * rng.normal(size=x.shape) for noise in (0.5, 2, 30)]).astype(dtype)
    found = retrieve(x, others)
    for k, y in enumerate(others):
        src2trg, trg2src = by_definition(x, y, cosine)
        assert found.src2trg[k].tolist() == src2trg
        assert found.trg2src[k].tolist() == trg2src
        assert score(x, y) == score_by_definition(x, y, cosine)


def test_retrieval_of_counts_as_large_as_they_get():
    """NAS pooled_sums of sentences of 2048 tokens, as unsigned integers: nothing overflows."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2048 * 2049 // 2, size=(8, 12), dtype=np.uint32)
    y = np.maximum(x.astype(np.int64) + rng.integers(-(10**6), 10**6, size=x.shape), 0).astype(np.uint32)
    found = retrieve(x, y[None])
    assert (found.src2trg[0].tolist(), found.trg2src[0].tolist()) == by_definition(x, y)
    assert 0 < found.aligned.mean() < 1


@given(st.data())
def test_all_pairs_is_the_definition(data):
    languages, n, width = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 5)), data.draw(st.integers(1, 4))
    vectors = data.draw(small_integers((languages, n, width))).astype(np.float32)
    dtypes = data.draw(st.lists(st.sampled_from(DTYPES), min_size=languages, max_size=languages))
    if any(dtype.startswith("uint") for dtype in dtypes):
        vectors = np.abs(vectors)
    with blocks_of(data.draw(st.sampled_from(list(BLOCKS)))):
        scores = all_pairs([v.astype(dtype) for v, dtype in zip(vectors, dtypes, strict=True)])
    wanted = [[score_by_definition(x, y) for y in vectors] for x in vectors]
    assert scores.tolist() == wanted
    assert np.array_equal(scores, scores.T)


@pytest.mark.parametrize("size", BLOCKS)
def test_all_pairs_of_random_vectors_equals_retrieval(size):
    rng = np.random.default_rng(3)
    meaning = rng.normal(size=(20, 32))
    vectors = np.stack([meaning + noise * rng.normal(size=meaning.shape) for noise in (0.1, 1, 1.5, 2, 9)])
    with blocks_of(size):
        scores = all_pairs(vectors)
    assert len(set(scores.ravel().tolist())) > 5
    for a, b in itertools.product(range(5), repeat=2):
        assert scores[a, b] == score(vectors[a], vectors[b]) == score_by_definition(vectors[a], vectors[b], cosine)


# ties


@pytest.mark.parametrize("width", [1, 7, 64, 1000, 4096, 11008])
@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize("kind", ["counts", "values"])
def test_equal_and_proportional_vectors_never_align(width, size, kind):
    """Whatever order a product adds up in: sentences 0 and 1 of y are equal, 2 is 3 times 3, 4 is zero."""
    rng = np.random.default_rng(width)
    y = rng.integers(0, 200, size=(9, width)).astype(np.uint16) if kind == "counts" else rng.normal(size=(9, width))
    y[1] = y[0]
    y[2] = 3 * y[3]
    y[4] = 0
    noise = rng.integers(0, 3, size=y.shape) if kind == "counts" else 0.01 * rng.normal(size=y.shape)
    x = y + noise.astype(y.dtype)
    with blocks_of(size):
        found = retrieve(x, np.stack([y, y]))
        itself = retrieve(y, y[None])
        scores = all_pairs(np.stack([x, y]))
    for k in range(2):
        assert not found.src2trg[k, :5].any()
        assert not found.trg2src[k, 4]
        assert not found.aligned[k, :5].any()
    assert not itself.src2trg[0, :5].any()
    assert not itself.trg2src[0, :5].any()
    assert scores[0, 1] == found.aligned[0].mean()
    if width > 1:
        assert itself.aligned[0, 5:].all()
        assert found.aligned[0, 5:].all()
        assert scores[1, 1] == 4 / 9
    else:
        assert scores[1, 1] == 0


def test_a_zero_vector_has_cosine_zero_with_everything():
    x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert cosine_retrieval.similarity(x, x).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]
    found = retrieve(x, x[None])
    assert found.src2trg.tolist() == found.trg2src.tolist() == [[False, True, True]]
    # 0 beats what is negative: the zero vector is nobody's opposite
    y = np.array([[1.0, 1.0], [-1.0, -1.0], [-1.0, 1.0]])
    zero_first = np.array([[0.0, 0.0], [-1.0, -1.0], [1.0, -5.0]])
    assert (retrieve(zero_first, y[None]).src2trg[0].tolist()) == by_definition(zero_first, y)[0]
    assert retrieve(zero_first, y[None]).trg2src[0].tolist() == by_definition(zero_first, y)[1]


@pytest.mark.parametrize("width", [3, 64, 4096])
@pytest.mark.parametrize("gap", [1e-9, -1e-9, 1e-7, -1e-7, 1e-5, -1e-5])
def test_near_ties_are_decided_right(width, gap):
    """cos(x_0, y_0) is `gap` above cos(x_0, y_1): far closer than float32 can tell."""
    rng = np.random.default_rng(width)
    basis = np.linalg.qr(rng.normal(size=(width, 3)))[0].T
    near, far = 0.8, 0.8 - gap
    y = np.stack(
        [
            near * basis[0] + math.sqrt(1 - near**2) * basis[1],
            far * basis[0] + math.sqrt(1 - far**2) * basis[2],
        ]
    )
    x = np.stack([basis[0], basis[2]])
    found = retrieve(x, y[None])
    assert found.src2trg.tolist() == [[gap > 0, True]]
    assert retrieve(y, x[None]).trg2src.tolist() == found.src2trg.tolist()
    # x_0 is nearer to y_1 than x_1 is: the second column is lost either way
    assert found.trg2src.tolist() == [[True, False]]
    assert all_pairs(np.stack([x, y]))[0, 1] == (0.5 if gap > 0 else 0)


@pytest.mark.parametrize("step", range(8))
def test_near_ties_of_float32_vectors(step):
    """y_1 is y_0 but for the last bits of one number: which is nearer to x_0 is decided by exact fractions."""
    rng = np.random.default_rng(step)
    x, y = rng.normal(size=(2, 4, 12)).astype(np.float32)
    x[0] = y[0] + np.float32(0.3) * x[0]
    y[1] = y[0]
    y[1, step] *= np.float32(1) + np.float32(2.0**-22)
    assert np.count_nonzero(y[0] != y[1]) == 1
    wanted = by_definition(x, y)
    found = retrieve(x, y[None])
    assert (found.src2trg[0].tolist(), found.trg2src[0].tolist()) == wanted


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize("dtype", ["uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("spread", [3e-4, 1e-2])
def test_calls_that_float32_cannot_make(dtype, size, spread):
    """All sentences are nearly one: most leads are closer than the margin, and every row has many rivals."""
    rng = np.random.default_rng(4)
    base = rng.random((1, 150)) + 0.5
    meaning, *noise = rng.normal(size=(5, 14, 150))
    x, *others = (base + spread * (meaning / 3 + some) for some in noise)
    if dtype == "uint16":
        x, *others = (np.rint(v * 30000) for v in (x, *others))
    x, *others = (v.astype(dtype) for v in (x, *others))
    with blocks_of(size):
        found = retrieve(x, others)
        scores = all_pairs([x, *others])
    for k, y in enumerate(others):
        cosines = np.array([[cosine(a, b) for b in y] for a in x])
        own, rest = np.diag(cosines), cosines - 2 * np.eye(len(x))
        assert np.array_equal(found.src2trg[k], own - rest.max(axis=1) > cosine_retrieval.TIE)
        assert np.array_equal(found.trg2src[k], own - rest.max(axis=0) > cosine_retrieval.TIE)
        assert scores[0, k + 1] == found.aligned[k].mean()
    if spread == 3e-4:
        assert (np.abs(own - rest.max(axis=1)) < cosine_retrieval.FLOAT32_MARGIN).mean() > 0.5
        assert 0 < found.src2trg.mean() < 1


class OverOneAnother(Sequence):
    """Languages that are read into the same memory, each over the one before."""

    def __init__(self, languages: list[np.ndarray]) -> None:
        self._languages = languages
        self._memory = np.empty(max(v.nbytes for v in languages), np.uint8)
        self.asked = []

    def __len__(self) -> int:
        return len(self._languages)

    def __getitem__(self, number: int) -> np.ndarray:
        self.asked.append(number)
        self._memory[:] = 255
        wanted = self._languages[number]
        place = self._memory[: wanted.nbytes].view(wanted.dtype).reshape(wanted.shape)
        place[...] = wanted
        return place


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize("spread", [0.01, 1.0])
def test_a_language_need_not_outlast_its_turn(size, spread):
    rng = np.random.default_rng(7)
    meaning = rng.random((13, 40))
    x, *others = (100 + 100 * spread * (meaning + rng.random(meaning.shape)) for _ in range(10))
    others = [v.astype(dtype) for v, dtype in zip(others, itertools.cycle(DTYPES))]
    languages = OverOneAnother(others)
    with blocks_of(size):
        found, wanted = retrieve(x, languages), retrieve(x, others)
    assert np.array_equal(found.src2trg, wanted.src2trg)
    assert np.array_equal(found.trg2src, wanted.trg2src)
    again = len(languages.asked) - len(set(languages.asked))
    assert sorted(set(languages.asked)) == list(range(9))
    assert again > 0 if spread < 1 else again < 9
    for k, y in enumerate(others):
        assert (found.src2trg[k].tolist(), found.trg2src[k].tolist()) == by_definition(x, y, cosine)


def test_no_language_is_no_work():
    found = retrieve(np.ones((3, 2)), [])
    assert found.src2trg.shape == found.trg2src.shape == found.aligned.shape == (0, 3)


# what one can rely on


@given(distinct_directions())
def test_a_language_aligns_with_itself(x):
    assert score(x, x) == 1
    assert all_pairs(np.stack([x, x])).tolist() == [[1, 1], [1, 1]]


@given(pairs())
def test_the_score_is_symmetric(pair):
    x, y = pair
    there, back = retrieve(x, y[None]), retrieve(y, x[None])
    assert np.array_equal(there.aligned, back.aligned)
    assert np.array_equal(there.src2trg, back.trg2src)
    assert score(x, y) == score(y, x)


@given(pairs(), st.randoms(use_true_random=False))
def test_a_common_permutation_changes_nothing(pair, random):
    x, y = pair
    order = list(range(len(x)))
    random.shuffle(order)
    before, after = retrieve(x, y[None]), retrieve(x[order], y[None][:, order])
    assert np.array_equal(before.src2trg[:, order], after.src2trg)
    assert np.array_equal(before.trg2src[:, order], after.trg2src)


@given(pairs(), st.data())
def test_a_vectors_length_changes_nothing(pair, data):
    x, y = (v.astype(np.float64) for v in pair)
    power = st.integers(-60, 60).map(lambda k: 2.0**k)
    factors = [data.draw(hnp.arrays(np.float64, (len(x), 1), elements=power | st.floats(1e-3, 1e3))) for _ in range(2)]
    before, after = retrieve(x, y[None]), retrieve(x * factors[0], (y * factors[1])[None])
    assert np.array_equal(before.src2trg, after.src2trg)
    assert np.array_equal(before.trg2src, after.trg2src)


@pytest.mark.parametrize("power", [-100, -30, 30, 60])
def test_a_float32_vectors_length_changes_nothing(power):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 12, 40)).astype(np.float32)
    y = x + 2 * y
    scaled = x.copy()
    scaled[::2] *= np.float32(2.0**power)
    assert 0 < score(x, y) < 1
    assert score(scaled, y) == score(x, y)
    assert score(y, scaled) == score(x, y)


def test_chance_level():
    assert alignment.chance_level(2) == 1 / 3
    assert alignment.chance_level(100) == 1 / 199
    # of 2n - 1 independent cells, the share in which the diagonal one is the largest, by counting all orders
    for n in (2, 3):
        orders = list(itertools.permutations(range(2 * n - 1)))
        assert sum(order[0] == 2 * n - 2 for order in orders) / len(orders) == alignment.chance_level(n)


@pytest.mark.parametrize("n", [3, 10, 30])
def test_vectors_that_know_nothing_of_each_other_score_at_chance(n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, 200)), rng.normal(size=(6000 // n, n, 200))
    chance = alignment.chance_level(n)
    measured = retrieve(x, y).aligned.mean()
    assert abs(measured - chance) < 5 * math.sqrt(chance / 6000)


@pytest.mark.parametrize("hub", [False, True])
def test_chance_over_random_pairings_is_the_mean_over_all_of_them(hub):
    """A sentence that is near to all others leaves a smaller chance than 1 / (2n - 1)."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 4, 8))
    if hub:
        y[:, 2] = x.sum(axis=1)
        x += 3 * y[:, 2:3]
    found = [retrieve(a, b[None]) for a, b in zip(x, y, strict=True)]
    mutual = np.stack([one.mutual[0] for one in found])
    orders = list(itertools.permutations(range(4)))
    by_pairing = [
        [score_by_definition(a, b[list(order)], cosine) for a, b in zip(x, y, strict=True)] for order in orders
    ]
    level = alignment.random_pairing_level(mutual)
    np.testing.assert_allclose(level, np.mean(by_pairing, axis=0), atol=1e-12)
    assert alignment.random_pairing_level(mutual, "mean") == pytest.approx(level.mean())
    most = np.max(by_pairing, axis=1).mean()
    assert alignment.random_pairing_level(mutual[None], "max", draws=8000) == pytest.approx([most], abs=0.01)
    if hub:
        assert (level == 1 / 16).all()
        assert alignment.chance_level(4) > 1 / 16


def test_ties_are_no_mutual_neighbours_of_translations():
    x = np.array([[1, 0], [1, 0], [0, 1]])
    assert retrieve(x, x[None]).mutual[0].tolist()[2] == 2
    assert not {0, 1} & set(np.flatnonzero(retrieve(x, x[None]).mutual[0] == np.arange(3)))


# vectors and cosines


def test_unit_rows_and_similarity():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 7)), rng.integers(0, 9, size=(4, 7)).astype(np.uint8)
    assert cosine_retrieval.unit_rows([[3, 4], [0, 0]]).tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 0]]
    assert cosine_retrieval.unit_rows(np.ones((2, 3, 4))).shape == (2, 3, 4)
    cosines = cosine_retrieval.similarity(x, y)
    assert cosines.dtype == np.float32
    np.testing.assert_allclose(cosines, [[cosine(a, b) for b in y] for a in x], atol=1e-6)


def plain_lengths(vectors) -> list[float]:
    return [math.sqrt(math.fsum(float(v) ** 2 for v in row)) for row in vectors]


@pytest.mark.parametrize("columns", [1, 7, cosine_retrieval.SQUARED_COLUMNS])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_become_float32_with_their_lengths(dtype, columns, monkeypatch):
    monkeypatch.setattr(cosine_retrieval, "SQUARED_COLUMNS", columns)
    rng = np.random.default_rng(0)
    top = 1 if dtype.startswith("float") else min(np.iinfo(dtype).max, 2**21)
    vectors = (rng.random((6, 50)) * top).astype(dtype)
    vectors[2] = 0
    for given_rows in (vectors, np.asfortranarray(vectors)):
        given_rows.flags.writeable = False
        rows = np.full(vectors.shape, np.nan, np.float32)
        lengths = cosine_retrieval._load(given_rows, rows)
        assert lengths.dtype == np.float32
        assert np.array_equal(rows, vectors.astype(np.float32))
        np.testing.assert_allclose(lengths, [length or 1 for length in plain_lengths(vectors)], rtol=3e-7)


def test_every_half_number_becomes_itself():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(-1, 64)
    rows = np.empty(halves.shape, np.float32)
    cosine_retrieval._load(halves, rows)
    assert rows.tolist() == [[float(v) for v in row] for row in halves]


@pytest.mark.parametrize(("power", "whole"), [(-120, 0), (-34, 0), (-29, 1), (0, 1), (46, 1), (49, 0), (100, 0)])
def test_rows_whose_squares_leave_float32_come_as_unit_rows(power, whole):
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(4, 30)).astype(np.float32)
    vectors[1] *= np.float32(2.0**power)
    rows = np.empty_like(vectors)
    lengths = cosine_retrieval._load(vectors, rows)
    np.testing.assert_allclose(
        rows / lengths[:, None], vectors / np.array(plain_lengths(vectors))[:, None], rtol=1e-6, atol=1e-12
    )
    assert (lengths[1] != 1) == np.array_equal(rows[1], vectors[1]) == whole
    assert np.array_equal(rows[[0, 2, 3]], vectors[[0, 2, 3]])


@pytest.mark.parametrize("width", [3, 1000, 14336])
@pytest.mark.parametrize("kind", ["counts", "values", "hidden"])
def test_a_float32_cosine_is_within_the_margin(width, kind):
    """Of counts and absolute values, whose sums only grow, and of signed numbers with some large columns."""
    rng = np.random.default_rng(width)
    x, y = rng.normal(size=(2, 40, width)) + 3 * rng.normal(size=width)
    if kind == "hidden":
        x[:, :2] *= 200
        y[:, :2] *= 200
    else:
        x, y = np.abs(x), np.abs(y)
    if kind == "counts":
        x, y = np.rint(100 * x), np.rint(100 * y)
    x, y = x.astype(np.float32), y.astype(np.float32)
    rows = np.empty_like(y)
    lengths = cosine_retrieval._load(y, rows)
    cosines = rows @ cosine_retrieval.unit_rows(x).T / lengths[:, None]
    exact = cosine_retrieval._exact_cosines(y, x)
    np.testing.assert_allclose(exact[:3, :3], [[cosine(b, a) for a in x[:3]] for b in y[:3]], rtol=0, atol=1e-14)
    assert np.abs(cosines - exact).max() < cosine_retrieval.FLOAT32_MARGIN / 4


@given(pairs(), st.sampled_from([1, 5, cosine_retrieval.BLOCK_CELLS]))
def test_exact_cosines_whatever_the_block(pair, cells):
    x, y = pair
    with mock.patch.object(cosine_retrieval, "BLOCK_CELLS", cells):
        found = cosine_retrieval._exact_cosines(x, y)
    np.testing.assert_allclose(found, [[cosine(a, b) for b in y] for a in x], rtol=0, atol=1e-15)


def test_inputs_stay_as_they_were():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 6, 5))
    before = x.copy(), y.copy()
    retrieve(x, y[None])
    all_pairs(np.stack([x, y]))
    list(matches(x, y))
    assert np.array_equal(x, before[0])
    assert np.array_equal(y, before[1])


# scores by layer


def make_alignment(languages: int, layers: int, n: int, seed: int = 0) -> Alignment:
    rng = np.random.default_rng(seed)
    src2trg, trg2src = rng.random((2, languages, layers, n)) < rng.random((2, languages, layers, 1))
    mutual = np.where(src2trg & trg2src, np.arange(n), -1)
    return Alignment(tuple(f"l{k}" for k in range(languages)), src2trg, trg2src, mutual)


def test_alignment_shares_and_pools():
    found = make_alignment(3, 4, 11)
    assert found.n_sentences == 11
    for a in range(3):
        scores = []
        for layer in range(4):
            src2trg, trg2src = found.src2trg[a, layer].tolist(), found.trg2src[a, layer].tolist()
            both = [f and b for f, b in zip(src2trg, trg2src, strict=True)]
            scores.append(sum(both) / 11)
            assert found.aligned[a, layer].tolist() == both
            assert found.score[a, layer] == pytest.approx(scores[-1], abs=1e-15)
            assert found.retrieval_src2trg[a, layer] == pytest.approx(sum(src2trg) / 11, abs=1e-15)
            assert found.retrieval_trg2src[a, layer] == pytest.approx(sum(trg2src) / 11, abs=1e-15)
        assert found.pooled()[a] == found.pooled("mean")[a] == pytest.approx(sum(scores) / 4, abs=1e-15)
        assert found.pooled("max")[a] == pytest.approx(max(scores), abs=1e-15)


# bootstrap


def quantile(values: list[float], q: float) -> float:
    """Linear interpolation between order statistics, as numpy's default."""
    values = sorted(values)
    place = q * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])


def test_resampling_weights():
    weights = alignment.resampling_weights(7, 500, seed=3)
    assert weights.shape == (500, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert np.array_equal(weights, np.round(weights))
    assert weights.min() == 0
    assert abs(weights.mean(axis=0) - 1).max() < 0.2
    assert np.array_equal(weights, alignment.resampling_weights(7, 500, seed=3))
    assert not np.array_equal(weights, alignment.resampling_weights(7, 500, seed=4))


@pytest.mark.parametrize("pooling", [None, "mean", "max"])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_bootstrap_equals_a_slow_loop(pooling, level):
    aligned = make_alignment(2, 3, 9, seed=1).aligned
    weights = alignment.resampling_weights(9, 40, seed=5).tolist()
    low, high = bootstrap(aligned, pooling, level=level, resamples=40, seed=5)
    assert low.shape == high.shape == ((2, 3) if pooling is None else (2,))
    for a in range(2):
        by_layer = [
            [sum(w * hit for w, hit in zip(resample, row, strict=True)) / 9 for resample in weights]
            for row in aligned[a].tolist()
        ]
        if pooling is None:
            series = by_layer
        else:
            pool = max if pooling == "max" else lambda values: sum(values) / 3
            series = [[pool(values) for values in zip(*by_layer, strict=True)]]
        for k, values in enumerate(series):
            place = (a, k) if pooling is None else (a,)
            if len(set(values)) == 1:  # Wilson's, below
                continue
            assert low[place] == pytest.approx(quantile(values, (1 - level) / 2), abs=1e-6)
            assert high[place] == pytest.approx(quantile(values, 1 - (1 - level) / 2), abs=1e-6)


@given(hnp.arrays(bool, st.tuples(st.integers(1, 4), st.integers(2, 30))))
def test_bootstrap_holds_the_score(aligned):
    low, high = bootstrap(aligned, resamples=300)
    for k, row in enumerate(aligned.tolist()):
        share = sum(row) / len(row)
        assert 0 <= low[k] <= share + 1e-6
        assert share - 1e-6 <= high[k] <= 1 + 1e-6
    wider_low, wider_high = bootstrap(aligned, level=0.99, resamples=300)
    assert (wider_low <= low).all()
    assert (wider_high >= high).all()


@pytest.mark.parametrize("pooling", [None, "mean", "max"])
@pytest.mark.parametrize("value", [True, False])
def test_none_and_all_of_the_sentences_have_wilsons_interval(value, pooling):
    # 1.96^2 / (20 + 1.96^2) by hand
    wanted = binomtest(20 * value, 20).proportion_ci(method="wilson")
    assert wanted == pytest.approx((0.8389, 1) if value else (0, 0.1611), abs=1e-4)
    low, high = bootstrap(np.full((2, 3, 20), value), pooling)
    assert np.stack([low, high], axis=-1).reshape(-1, 2) == pytest.approx(np.tile(wanted, (low.size, 1)))
    varied = np.full((1, 1, 20), value)
    varied[..., 0] = not value
    assert (1 if value else 0) not in np.mean(bootstrap(varied, pooling), axis=0)


def test_bootstrap_is_about_as_wide_as_the_binomial():
    aligned = np.arange(400)[None] < 200
    low, high = bootstrap(aligned, resamples=4000)
    assert low[0] == pytest.approx(0.5 - 1.96 * 0.025, abs=0.006)
    assert high[0] == pytest.approx(0.5 + 1.96 * 0.025, abs=0.006)


# nearest neighbours


@given(pairs())
def test_matches_are_the_nearest_or_a_tie(pair):
    x, y = pair
    n = len(x)
    src2trg, trg2src = by_definition(x, y)
    words = {(1, 1): "aligned", (1, 0): "x to y only", (0, 1): "y to x only", (0, 0): "missed"}

    def nearest(cells: list[Fraction]) -> int:
        best = [k for k, cell in enumerate(cells) if cell == max(cells)]
        return best[0] if len(best) == 1 else -1

    found = list(matches(x, y))
    assert [m.row for m in found] == list(range(n))
    for i, match in enumerate(found):
        assert match.best_in_y == nearest([signed_square(x[i], y[j]) for j in range(n)])
        assert match.best_in_x == nearest([signed_square(x[j], y[i]) for j in range(n)])
        assert match.status == words[src2trg[i], trg2src[i]]
        assert (match.best_in_y == i) == src2trg[i]
        assert (match.best_in_x == i) == trg2src[i]


def test_matches_by_hand():
    x = np.array([[1, 0], [0, 1], [-1, 0]])
    y = np.array([[4, 1], [3, 1], [-1, 0]])
    assert list(matches(x, y)) == [
        alignment.Match(0, "aligned", 0, 0, pytest.approx((4 / 17**0.5) - 3 / 10**0.5)),
        alignment.Match(1, "x to y only", 1, 0, pytest.approx(-2 / 10**0.5)),
        alignment.Match(2, "aligned", 2, 2, pytest.approx(1)),
    ]


# the order of languages


def plain_dendrogram(distances: np.ndarray):
    """Average linkage by brute force: nested pairs of leaves."""
    clusters = [(k, [k]) for k in range(len(distances))]
    while len(clusters) > 1:

        def apart(pair):
            (_, a), (_, b) = pair
            return sum(distances[i, j] for i in a for j in b) / (len(a) * len(b))

        one, other = min(itertools.combinations(clusters, 2), key=apart)
        clusters = [c for c in clusters if c is not one and c is not other]
        clusters.append(((one[0], other[0]), one[1] + other[1]))
    return clusters[0][0]


def leaf_orders(tree) -> list[list[int]]:
    """Every order of leaves that turning branches round can give."""
    if isinstance(tree, int):
        return [[tree]]
    left, right = leaf_orders(tree[0]), leaf_orders(tree[1])
    return [a + b for a in left for b in right] + [b + a for a in left for b in right]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_keeps_the_clusters_of_average_linkage_together(seed):
    rng = np.random.default_rng(seed)
    scores = rng.random((6, 6))
    scores = (scores + scores.T) / 2
    np.fill_diagonal(scores, 1)
    allowed = leaf_orders(plain_dendrogram(1 - scores))
    assert len(allowed) == 2**5
    assert alignment.hierarchical_order(scores) in allowed


def test_like_languages_lie_side_by_side():
    group = np.array([0, 1, 2, 0, 1, 2, 0])
    scores = np.where(group[:, None] == group[None, :], 0.9, 0.1)
    np.fill_diagonal(scores, 1)
    order = alignment.hierarchical_order(scores)
    assert sorted(order) == list(range(7))
    assert len(list(itertools.groupby(group[order]))) == 3
    assert all(type(k) is int for k in order)


def test_the_order_of_few_languages_and_of_equal_ones():
    for n in range(3):
        assert alignment.hierarchical_order(np.ones((n, n))) == list(range(n))
    assert sorted(alignment.hierarchical_order(np.ones((5, 5)))) == list(range(5))
    assert sorted(alignment.hierarchical_order(np.zeros((5, 5)))) == list(range(5))


# errors


def test_what_cannot_be_aligned():
    with pytest.raises(ExperimentError, match="at least 2 parallel sentences"):
        retrieve(np.ones((1, 3)), np.ones((2, 1, 3)))
    with pytest.raises(ExperimentError, match="at least 2 parallel sentences"):
        all_pairs(np.ones((2, 1, 3)))
    with pytest.raises(ExperimentError, match="at least 2 parallel sentences"):
        list(matches(np.ones((1, 3)), np.ones((1, 3))))
    for wrong in (np.ones((2, 5, 3)), np.ones((2, 4, 4)), np.ones((4, 3)), [np.ones((4, 3)), np.ones((1, 3))]):
        with pytest.raises(ValueError, match=r"expected \[language, 4, 3\]"):
            retrieve(np.ones((4, 3)), wrong)
    with pytest.raises(ValueError, match=r"expected \[language, 4, 3\], got a language of \[1, 3\]"):
        all_pairs([np.ones((4, 3)), np.ones((1, 3))])
    for how in ("median", "", None):
        with pytest.raises(ExperimentError, match="mean or max"):
            alignment.pool_layers(np.ones((2, 3)), how)
    with pytest.raises(ExperimentError, match="mean or max, not by 'sum'"):
        bootstrap(np.ones((2, 3, 4), bool), "sum")
