"""Linear CKA against the published definitions, on a hand-worked case, and what it must not notice."""

import numpy as np
import pandas as pd
import pytest

from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures.cka import CKA, cka, conclusion, gram
from neuronxa_core.states import planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.stored import StatesReader

SEED = np.random.default_rng(5)
X, Y = SEED.normal(size=(9, 30)), SEED.normal(size=(9, 12))


def biased(x, y):
    """Kornblith et al., 2019, eq. 5, with its width x width products."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def hsic1(k, l):  # noqa: E741
    """Song et al., 2012, eq. 5, term by term."""
    n = len(k)
    k, l = k.copy(), l.copy()  # noqa: E741
    for i in range(n):
        k[i, i] = l[i, i] = 0
    one = np.ones(n)
    return (
        np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l @ one)
    ) / (n * (n - 3))


def debiased(x, y):
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return hsic1(k, l) / np.sqrt(hsic1(k, k) * hsic1(l, l))


def test_both_estimates_are_the_definitions():
    related = X[:, :12] + 0.3 * Y
    for other in (Y, related):
        assert cka(gram(X), gram(other), debiased=False) == pytest.approx(biased(X, other), rel=1e-12)
        assert cka(gram(X), gram(other)) == pytest.approx(debiased(X, other), rel=1e-12)


def test_by_hand():
    # one feature each, already centred: K = xx', L = yy', so that biased CKA is the squared correlation
    x, y = np.array([[-1.0], [0], [0], [1]]), np.array([[-1.0], [1], [-1], [1]])
    assert cka(gram(x), gram(y), debiased=False) == pytest.approx((2 / np.sqrt(2 * 4)) ** 2)


def test_rotation_scale_and_shift_change_nothing():
    rotation = np.linalg.qr(SEED.normal(size=(30, 30)))[0]
    for kind in (True, False):
        assert cka(gram(X), gram(3 * X @ rotation + 7), kind) == pytest.approx(1, abs=1e-12)


def test_unrelated_wide_states_are_near_zero_only_when_debiased():
    draws = [
        [cka(*(gram(np.random.default_rng([k, j]).normal(size=(10, 500))) for j in (0, 1)), kind) for k in range(40)]
        for kind in (True, False)
    ]
    assert abs(np.mean(draws[0])) < 0.1
    assert np.mean(draws[1]) > 0.9


def test_what_does_not_vary_has_none_and_too_few_are_refused():
    assert np.isnan(cka(gram(np.ones((5, 3))), gram(X[:5])))
    with pytest.raises(ExperimentError, match="at least 4 parallel sentences, not 3"):
        cka(gram(X[:3]), gram(Y[:3]))


def test_the_table_is_that_of_the_sentence_vectors(store):
    plan = planning.make_plan(Experiment(languages=("deu_Latn", "tha_Thai"), sentences=7), store)
    measure = CKA(plan, "emb", "mean")
    table = measure.frame(measure.run(store, ModelPool()))
    assert list(table.columns) == ["language", "layer", "state", "pooling", "cka"]
    assert len(table) == 2 * plan.info.layers
    with StatesReader(plan, store) as reader:
        for row in table.itertuples():
            x, y = (
                reader.pooled_sums(code, "emb", "mean", row.layer) / reader.tokens(code)[:, None]
                for code in (plan.pivot, row.language)
            )
            assert row.cka == pytest.approx(debiased(x.astype(float), y.astype(float)), rel=1e-6)


def test_the_sentence_says_what_was_planted_and_nothing_where_nothing_varies():
    planted = pd.DataFrame(
        {"language": ["a", "b", "c"] * 2, "layer": [0] * 3 + [1] * 3, "cka": [0.1, 0.2, np.nan, 0.9, 0.4, 0.6]}
    )
    said = conclusion(planted, "English", str.upper)
    assert said == (
        "CKA with English is highest at layer 1, over all languages; there A is arranged most like it (0.90), B "
        "least (0.40)."
    )
    alone = conclusion(planted[planted["language"] == "a"], "English")
    assert alone == "CKA of a with English is highest at layer 1 (0.90)."
    assert conclusion(planted.assign(cka=np.nan), "English").startswith("No language's states vary")
