"""Scores of subsets of the sentences against retrieval on each subset."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_statistics import CLOSE, nan, slow_pearson

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import cosine_retrieval, sentence_subsets

pytestmark = pytest.mark.filterwarnings("error")


def vectors(seed, n, width=6, ties=False):
    """Parallel sentences in two languages, [n, width] each; with ties, some are equal and some zero."""
    random = np.random.default_rng(seed)
    x = random.integers(0, 3, (n, width)).astype(np.float32) if ties else random.normal(size=(n, width))
    y = x + (0 if ties else 1) * random.normal(size=(n, width))
    if ties:
        y[:, 0] = 0
        x[random.integers(n)] = 0
    return x.astype(np.float32), y.astype(np.float32)


@given(st.integers(0, 10_000), st.integers(3, 12), st.booleans(), st.data())
def test_subsets_score_as_retrieval_on_the_subset_does(seed, n, ties, data):
    x, y = vectors(seed, n, ties=ties)
    k = data.draw(st.integers(2, n))
    random = np.random.default_rng(seed)
    subsets = np.array([random.permutation(n)[:k] for _ in range(5)])
    found = sentence_subsets.alignment_in_subsets(sentence_subsets.competitor_mask(x, y), subsets)
    for score, subset in zip(found, subsets, strict=True):
        assert score == cosine_retrieval.retrieve(x[subset], y[None, subset]).aligned.mean()


def test_subsets_by_hand():
    # 0 loses to 1 only, 1 to nobody, 2 to 0 and 1
    beaten = np.array([[0, 1, 0], [0, 0, 0], [1, 1, 0]], dtype=bool)
    found = sentence_subsets.alignment_in_subsets(beaten, np.array([[0, 1], [1, 0], [0, 2], [2, 1]]))
    assert found.tolist() == [0.5, 0.5, 0.5, 0.5]
    assert sentence_subsets.alignment_in_subsets(beaten, np.array([[2, 0, 1]])).tolist() == [1 / 3]
    # what counts on the diagonal counts for nothing
    np.testing.assert_array_equal(
        sentence_subsets.alignment_in_subsets(beaten | np.eye(3, dtype=bool), np.array([[2, 0, 1]])), [1 / 3]
    )


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_the_curve_against_retrieval_on_each_subset(pooling):
    n, languages, layers = 16, ["a", "b", "c", "lacking", "d", "e", "f"], [1, 3]
    random = np.random.default_rng(6)
    y = np.array([0.9, 0.7, 0.5, nan, 0.6, 0.3, 0.2])
    x = random.normal(size=(n, 8))
    others = {
        (code, layer): x + (1.2 - (0.5 if math.isnan(score) else score)) * random.normal(size=(n, 8))
        for code, score in zip(languages, y, strict=True)
        for layer in layers
    }
    asked = []

    def mask_of(code, layer):
        asked.append((code, layer))
        return sentence_subsets.competitor_mask(x, others[code, layer])

    table = sentence_subsets.sentence_curve(
        mask_of, languages, layers, y, [n, 5, 10], layer_pooling=pooling, resamples=12, seed=3
    )
    known = [code for code in languages if code != "lacking"]
    assert asked == [(code, layer) for code in known for layer in layers]
    assert table["sentences"].tolist() == [5, 10, n]
    assert table["subsets"].tolist() == [12, 12, 1]
    orders = np.random.default_rng(3).permuted(np.tile(np.arange(n), (12, 1)), axis=1)
    for row in table.itertuples():
        rs, scores = [], []
        for order in orders[: row.subsets]:
            subset = order[: row.sentences]
            by_layer = [
                [
                    cosine_retrieval.retrieve(x[subset], others[code, layer][None, subset]).aligned.mean()
                    for layer in layers
                ]
                for code in known
            ]
            pooled = [max(s) if pooling == "max" else sum(s) / 2 for s in by_layer]
            scores.append(np.mean(pooled))
            rs.append(slow_pearson(pooled, y[~np.isnan(y)]))
        assert row.undefined == np.isnan(rs).sum()
        assert row.r == pytest.approx(np.nanmean(rs), abs=CLOSE)
        assert (row.low, row.high) == pytest.approx(tuple(np.nanquantile(rs, [0.05, 0.95])), abs=CLOSE)
        assert row.alignment == pytest.approx(np.mean(scores), abs=CLOSE)


def test_a_curve_where_all_languages_score_the_same():
    nobody = np.zeros((5, 5), dtype=bool)
    table = sentence_subsets.sentence_curve(lambda _, __: nobody, range(5), [0], range(5), [2, 5], resamples=3)
    assert table["alignment"].tolist() == [1, 1]
    assert table["undefined"].tolist() == [3, 1]
    assert table[["r", "low", "high"]].isna().all(axis=None)


def test_curves_that_cannot_be_drawn():
    nobody = np.zeros((5, 5), dtype=bool)

    def curve(sizes=(2,), layers=(0,), y=range(5), languages=range(5), mask_of=lambda _, __: nobody, **options):
        return sentence_subsets.sentence_curve(mask_of, languages, layers, y, sizes, **options)

    for sizes in ([1], [2, 6]):
        with pytest.raises(ExperimentError, match=r"of 5 sentences.*from 2 to 5"):
            curve(sizes)
    for nothing in ({"sizes": []}, {"layers": []}, {"resamples": 0}):
        with pytest.raises(ExperimentError, match="at least one"):
            curve(**nothing)
    with pytest.raises(ExperimentError, match="mean or max"):
        curve(layer_pooling="median")
    with pytest.raises(ExperimentError, match="at least 5"):
        curve(y=[1, 2, 3, 4, nan])
    with pytest.raises(ValueError, match="4 languages, but 5"):
        curve(languages=range(4))
    with pytest.raises(ValueError, match="for 1 at layer 0"):
        curve(mask_of=lambda k, _: nobody if k == 0 else nobody[:4, :4])
