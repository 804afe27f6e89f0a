"""Overlap of translations and of mismatched sentences against loops, tokens and the plain bootstrap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_sets import slow_jaccard

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.overlap import jaccard
from neuronxa_core.measures.parallel_overlap import (
    ParallelOverlapMeasure,
    parallel_overlap,
    parallel_overlaps,
    same_length,
)


def slow_means(sets_x, sets_y):
    """Mean Jaccard of translations, and of all other pairs."""
    pairs = {(i, j): slow_jaccard(a, b) for i, a in enumerate(sets_x) for j, b in enumerate(sets_y)}
    return [np.mean([value for (i, j), value in pairs.items() if (i == j) is same]) for same in (True, False)]


@given(st.integers(0, 2**32 - 1), st.integers(2, 7), st.integers(1, 20))
def test_parallel_overlap_against_a_loop(seed, n, neurons):
    random = np.random.default_rng(seed)
    x, y = random.random((n, neurons)) < 0.4, random.random((n, neurons)) < 0.6
    parallel, others = slow_means(*([set(np.flatnonzero(row)) for row in rows] for rows in (x, y)))
    found = parallel_overlap(x, y, resamples=50)
    got = found.parallel[0], found.mismatched[0], found.difference[0]
    np.testing.assert_allclose(got, [parallel, others, parallel - others], atol=1e-12)


def test_the_interval_is_the_plain_bootstrap():
    random = np.random.default_rng(5)
    n, resamples = 6, 200
    x, y = random.random((n, 15)) < 0.4, random.random((n, 15)) < 0.4
    pairs = jaccard(x, y)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=resamples)
    parallel, mismatched = [], []
    for drawn in (np.repeat(np.arange(n), row) for row in draws):
        different = [pairs[i, j] for i in drawn for j in drawn if i != j]
        if different:
            parallel.append(np.mean([pairs[i, i] for i in drawn]))
            mismatched.append(np.mean(different))
    found = parallel_overlap(x, y, resamples=resamples, seed=0)
    for got, values in (
        (found.parallel, parallel),
        (found.mismatched, mismatched),
        (found.difference, np.subtract(parallel, mismatched)),
    ):
        np.testing.assert_allclose(got[1:], np.quantile(values, [0.025, 0.975]), atol=1e-6)


def test_translations_that_share_their_neurons_stand_out():
    random = np.random.default_rng(0)
    x = random.random((30, 200)) < 0.2
    found = parallel_overlap(x, x)
    assert found.parallel == (1, 1, 1)
    assert found.difference[1] > 0.7
    unrelated = parallel_overlap(x, random.random((30, 200)) < 0.2)
    assert unrelated.difference[1] < 0 < unrelated.difference[2]


def test_the_table_against_every_token(three_languages, tokenwise):
    plan, store = three_languages
    measure = ParallelOverlapMeasure(plan, 0.4, match_length=False)
    measure.run(store)
    table = measure.table(store).set_index(["language", "layer", "kind"])
    assert len(table) == 2 * plan.info.layers * 3
    for language in plan.languages:
        direct = parallel_overlaps(plan, store, plan.pivot, language, 0.4, False)
        for layer, one in enumerate(direct):
            sets = [
                [set(np.flatnonzero((v[layer] > 0).mean(axis=0) > 0.4)) for v in tokenwise(code)]
                for code in (plan.pivot, language)
            ]
            rows = table.loc[(language, layer)]
            np.testing.assert_allclose(rows.loc[["parallel", "mismatched"], "value"], slow_means(*sets), atol=1e-12)
            for kind in ("parallel", "mismatched", "difference"):
                assert tuple(rows.loc[kind]) == (*getattr(one, kind), 7)


@given(st.integers(0, 2**32 - 1), st.integers(2, 7))
def test_length_matched_overlap_against_a_loop(seed, n):
    random = np.random.default_rng(seed)
    lengths = random.integers(8, 14, (2, n)).astype(float)
    x, y = random.random((n, 20)) < 0.4, random.random((n, 20)) < 0.6
    found, sets = parallel_overlap(x, y, same_length(*lengths)), [[set(np.flatnonzero(r)) for r in s] for s in (x, y)]
    own, others = [], []
    for i in range(n):
        alike = [j for j in range(n) if all(abs(t[i] - t[j]) <= 0.1 * max(t[i], t[j]) for t in lengths) and j != i]
        if alike:
            own.append(slow_jaccard(sets[0][i], sets[1][i]))
            others.append(np.mean([slow_jaccard(sets[0][i], sets[1][j]) for j in alike]))
    assert found.sentences == len(own)
    if own:
        got = found.parallel[0], found.mismatched[0], found.difference[0]
        np.testing.assert_allclose(got, [np.mean(own), np.mean(others), np.mean(own) - np.mean(others)], atol=1e-12)
    else:
        assert np.isnan(found.difference).all()


def test_overlap_that_is_length_alone_is_no_meaning_once_lengths_match():
    # a sentence's active neurons are the first of 100, as many as it has tokens
    lengths = np.repeat(np.arange(10.0, 100, 15), 8)
    x = np.arange(100) < lengths[:, None]
    plain, matched = parallel_overlap(x, x), parallel_overlap(x, x, same_length(lengths))
    assert plain.difference[1] > 0.3
    assert matched.difference == (0, 0, 0)
    assert matched.sentences == 48


def test_what_cannot_be_compared_is_refused(three_languages):
    with pytest.raises(ExperimentError, match="at least 2"):
        parallel_overlap(np.ones((1, 3), bool), np.ones((1, 3), bool))
    with pytest.raises(ExperimentError, match="threshold is a share of tokens"):
        ParallelOverlapMeasure(three_languages[0], 1.0)
