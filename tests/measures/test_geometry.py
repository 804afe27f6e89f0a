"""Anisotropy, hubs, reciprocity and dimension against plain loops, by hand, and on what was planted."""

import numpy as np
import pytest

from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import geometry
from neuronxa_core.measures.geometry import Geometry
from neuronxa_core.states import planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.stored import StatesReader

X, Y = (np.random.default_rng(seed).normal(size=(12, 7)) + 0.4 for seed in (1, 2))


def cosine(a, b):
    return float(sum(p * q for p, q in zip(a, b, strict=True)) / (np.sqrt(sum(a * a)) * np.sqrt(sum(b * b))))


def plainly(x, y, k):
    """(anisotropy of y, N_k of y, reciprocity, participation ratio of y), one sentence at a time."""
    n = len(x)
    same = [cosine(y[i], y[j]) for i in range(n) for j in range(n) if i != j]
    table = [[cosine(a, b) for b in y] for a in x]
    occurrences = [0] * n
    for row in table:
        for j in sorted(range(n), key=lambda j, row=row: -row[j])[:k]:
            occurrences[j] += 1
    nearest = [max(range(n), key=row.__getitem__) for row in table]
    back = [max(range(n), key=lambda i, j=j: table[i][j]) for j in range(n)]
    values = np.linalg.eigvalsh(np.cov(y.T))
    mutual = np.mean([back[nearest[i]] == i for i in range(n)])
    return np.mean(same), occurrences, mutual, values.sum() ** 2 / (values**2).sum()


def test_against_plain_loops():
    cosines = geometry.unit(X) @ geometry.unit(Y).T
    same, occurrences, mutual, ratio = plainly(X, Y, 3)
    assert geometry.anisotropy(Y) == pytest.approx(same)
    assert geometry.k_occurrences(cosines, 3).tolist() == occurrences
    assert geometry.reciprocity(cosines) == mutual
    assert geometry.participation_ratio(Y) == pytest.approx(ratio)


def test_by_hand():
    square = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert geometry.anisotropy(square) == pytest.approx(-1 / 3)  # of six pairs two are opposite, four at right angles
    assert geometry.participation_ratio(square) == pytest.approx(2)
    assert geometry.participation_ratio(square * [1, 0]) == pytest.approx(1)
    assert np.isnan(geometry.participation_ratio(np.ones((3, 2))))
    assert geometry.reciprocity(np.array([[0.9, 0.8], [0.7, 0.1]])) == 0.5


def test_a_planted_hub_is_named_and_a_shift_makes_a_cone():
    x, y = X + 3, Y - 0.4
    y[4] = x.mean(axis=0)
    counts = geometry.k_occurrences(geometry.unit(x) @ geometry.unit(y).T, 2)
    assert counts[4] == len(x)
    assert counts.argmax() == 4
    assert geometry.anisotropy(Y + 20) > 0.95


def test_the_table_is_that_of_the_states(store):
    plan = planning.make_plan(Experiment(languages=("deu_Latn", "tha_Thai"), sentences=8), store)
    measure = Geometry(plan, "nav", "weighted", k=2)
    table = measure.frame(measure.run(store, ModelPool())).set_index(["language", "layer"])
    with StatesReader(plan, store) as reader:
        for code, layer in (("deu_Latn", 3), ("tha_Thai", 0)):
            x, y = (reader.sentence_vectors(one, "nav", "weighted", layer) for one in (plan.pivot, code))
            same, occurrences, mutual, ratio = plainly(x, y, 2)
            row = table.loc[(code, layer)]
            assert row["anisotropy"] == pytest.approx(same)
            assert row["largest_hub"] == max(occurrences)
            assert row["hub_sentence"] == occurrences.index(max(occurrences)) + 1
            centred = np.array(occurrences) - np.mean(occurrences)
            assert row["hub_skewness"] == pytest.approx((centred**3).mean() / (centred**2).mean() ** 1.5)
            assert row["reciprocity"] == mutual
            assert row["participation_ratio"] == pytest.approx(ratio)
    assert Geometry(plan).neighbours == 7
    with pytest.raises(ExperimentError, match="at least 1, not 0"):
        Geometry(plan, k=0)
