"""Rival measures against plain loops in float64, by hand, and on what was planted."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import alignment, geometry, rivals
from neuronxa_core.measures.cka import cka, gram
from neuronxa_core.measures.rivals import Rivals
from neuronxa_core.states import planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.stored import StatesReader

METHODS = list(rivals.names("nas"))
RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(14, 9)) + 0.5
Y = X + RANDOM.normal(size=X.shape)


def cosine(a, b):
    lengths = np.sqrt(sum(a * a)) * np.sqrt(sum(b * b))
    return float(sum(p * q for p, q in zip(a, b, strict=True)) / lengths) if lengths else 0.0


def strict(table):
    """The share of i with table[i][i] above all others of row and column."""
    n = len(table)
    return np.mean(
        [all(table[i][i] - max(table[i][j], table[j][i]) > 1e-12 for j in range(n) if j != i) for i in range(n)]
    )


def plainly(x, y, k=10):
    """All scores, one pair of sentences or one neuron at a time."""
    n = len(x)
    index = range(n)
    table = [[cosine(a, b) for b in y] for a in x]
    of_x = [np.mean(sorted(row)[-k:]) for row in table]
    of_y = [np.mean(sorted(row[j] for row in table)[-k:]) for j in index]
    centred = [one - one.mean(axis=0) for one in (x, y)]
    axes = [np.linalg.svd(one, full_matrices=False) for one in centred]
    left = [one - np.outer(one @ rest[2][0], rest[2][0]) for one, rest in zip(centred, axes, strict=True)]
    kept = [
        u[:, : 1 + next(c for c in index if (s[: c + 1] ** 2).sum() >= 0.99 * (s**2).sum())] * 1.0 for u, s, _ in axes
    ]
    among = [[cosine(one[i], one[j]) for i in index for j in range(i)] for one in (x, y)]
    neurons = [j for j in range(x.shape[1]) if np.ptp(x[:, j]) > 0 and np.ptp(y[:, j]) > 0]
    return [
        strict(table),
        strict([[2 * table[i][j] - of_x[i] - of_y[j] for j in index] for i in index]),
        strict([[table[i][j] / mean if (mean := (of_x[i] + of_y[j]) / 2) > 0 else 0 for j in index] for i in index]),
        *(strict([[cosine(a, b) for b in two] for a in one]) for one, two in (centred, left)),
        cka(gram(x), gram(y)),
        np.cos(subspace_angles(*kept)).mean(),
        stats.spearmanr(*among).statistic,
        np.mean([stats.pearsonr(x[:, j], y[:, j]).statistic for j in neurons]),
    ]


def subspace_angles(u, v):
    """Canonical angles by the definition: the largest correlations of orthogonal directions, from QR and SVD."""
    return np.arccos(np.clip(np.linalg.svd(np.linalg.qr(u)[0].T @ np.linalg.qr(v)[0])[1], -1, 1))


def scored(x, y, k=10):
    return dict(zip(METHODS, rivals.scores(rivals.prepare(x), rivals.prepare(y), k), strict=True))


@pytest.mark.parametrize("k", [1, 3, 10, 14])
def test_every_method_is_its_definition(k):
    hub = Y.copy()
    hub[4] = X.mean(axis=0)
    dead = Y.copy()
    dead[:, 2] = 0.1  # its mean over 14 sentences is not 0.1 in floating point
    for y in (Y, hub, dead, np.exp(Y)):
        for one, wanted in zip(scored(X, y, k).values(), plainly(X, y, k), strict=True):
            assert one == pytest.approx(wanted, abs=1e-9)


def test_by_hand():
    # r(x) = 0.9, 0.7 and r(y) = 0.9, 0.8 with the one nearest
    table = np.array([[0.9, 0.8], [0.7, 0.6]])
    np.testing.assert_allclose(rivals.csls(table, 1), [[0, -0.1], [-0.2, -0.3]], atol=1e-15)
    np.testing.assert_allclose(rivals.margin(table, 1), [[1, 1.6 / 1.7], [1.4 / 1.6, 0.8]])
    assert rivals.margin(np.array([[0.0, 0.0], [0.0, -1.0]]), 1).tolist() == [[0, 0], [0, 0]]
    assert rivals.strict_score(np.array([[0.9, 0.8], [0.7, 0.6]])) == 0.5
    assert rivals.strict_score(np.array([[0.9, 0.9], [0.7, 1.0]])) == 0.5  # a tie is not aligned


def test_a_language_with_itself_and_what_rotation_scale_and_shift_leave():
    same = scored(X, X)
    assert all(value == pytest.approx(1) for value in same.values())
    rotation = np.linalg.qr(RANDOM.normal(size=(9, 9)))[0]
    moved = scored(X, 3 * X @ rotation)
    assert {name: moved[name] for name in ("cka", "svcca", "rsa")} == pytest.approx(
        {name: same[name] for name in ("cka", "svcca", "rsa")}
    )
    shifted = scored(X, X + 1000)
    for name in ("centred", "top_pc_removed", "cka", "svcca", "anc"):
        assert shifted[name] == pytest.approx(1), name


def test_csls_undoes_a_planted_hub_that_geometry_names():
    x = np.hstack([np.eye(12), np.full((12, 1), 3.0)])
    y = np.hstack([np.eye(12), np.full((12, 1), 1.0)])
    y[7, :12] = 0.2
    y[7, 12] = 3.0
    similarities = geometry.unit(x) @ geometry.unit(y).T
    counts = geometry.k_occurrences(similarities, 1)
    assert (counts.argmax(), counts.max()) == (7, 12)
    found = scored(x, y, 10)
    assert found["cosine"] == 0
    assert found["csls"] == 1


def test_what_does_not_vary_has_no_score_and_finds_nothing():
    for still in (np.full(X.shape, 0.1), np.zeros(X.shape)):
        for found in (scored(still, Y), scored(Y, still)):
            assert [found[name] for name in METHODS[:5]] == [0] * 5
            assert all(np.isnan(found[name]) for name in METHODS[5:])
    with pytest.raises(ExperimentError, match="at least 4 parallel sentences, not 3"):
        scored(X[:3], Y[:3], 2)


@pytest.mark.parametrize("state", ["nas", "emb"])
def test_the_table_is_that_of_the_states_and_cosine_is_the_alignment_score(store, state):
    plan = planning.make_plan(Experiment(languages=("deu_Latn", "tha_Thai"), sentences=9), store)
    measure = Rivals(plan, state, "weighted")
    table = measure.frame(measure.run(store, ModelPool()))
    assert list(table.columns) == ["language", "layer", "state", "method", "score"]
    with StatesReader(plan, store) as reader:
        for layer, code in ((3, "deu_Latn"), (0, "tha_Thai")):
            x, y = (reader.sentence_vectors(one, state, "weighted", layer) for one in (plan.pivot, code))
            row = table[(table["language"] == code) & (table["layer"] == layer)]
            assert row["score"].tolist() == pytest.approx(plainly(x, y, 8), abs=1e-7)
    found = rivals.by_method(measure, measure.results(store))
    of_csls = table[table["method"] == "csls"].pivot(index="language", columns="layer", values="score")
    np.testing.assert_array_equal(found[f"CSLS ({state.upper()})"], of_csls.loc[list(plan.languages)])
    assert len(found) == 8
    plain = table[table["method"] == "cosine"].pivot(index="language", columns="layer", values="score")
    aligned = alignment.align(plan, store, state, "weighted")
    np.testing.assert_array_equal(plain.loc[list(aligned.languages)], aligned.score)
    with pytest.raises(ExperimentError, match="at least 1, not 0"):
        Rivals(plan, k=0)


def planted(**methods):
    """A table of one layer with scores by method of languages a, b, c, ..."""
    rows = [(chr(97 + k), 2, "nas", name, one) for name, values in methods.items() for k, one in enumerate(values)]
    return pd.DataFrame(rows, columns=["language", "layer", "state", "method", "score"])


def test_the_sentence_says_which_rank_alike_and_nothing_of_few_or_constant():
    table = planted(cosine=[1, 2, 3, 4, 5], csls=[1, 2, 3, 5, 4], cka=[2, 4, 6, 8, 10], anc=[5, 4, 3, 1, 2])
    wide = rivals.at_layer(table, 2)
    assert (list(wide.index), list(wide.columns)) == (list("abcde"), ["cosine", "csls", "cka", "anc"])
    taus = rivals.agreement(wide)
    assert taus.loc["cosine", "csls"] == pytest.approx(0.8)  # one of ten pairs turned
    assert rivals.conclusion(taus, 5, 2, rivals.names("nas").__getitem__) == (
        "At layer 2, NASCA and CKA rank the 5 languages most alike (Kendall's tau 1.00), CSLS and ANC least (-1.00); "
        "CKA comes nearest to NASCA (1.00)."
    )
    still = rivals.agreement(rivals.at_layer(planted(cosine=[0] * 5, csls=[1] * 5), 2))
    assert rivals.conclusion(still, 5, 2, str) == "At layer 2 no two measures tell the languages apart."
    assert "there are 4" in rivals.conclusion(taus, 4, 2, str)
