"""Single sentences against the alignment score and plain loops; what is said of misses on planted data and on noise."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from plain_statistics import slow_pearson, slow_ranks

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import alignment, sentences
from neuronxa_core.measures.sentences import Sentences
from neuronxa_core.states import planning
from neuronxa_core.states.stored import StatesReader

TEXTS = pd.Series(["The cat sat.", "I met Ada in 1843.", "Yes, I'm here, too.", "Wait: 3 of them!"])


def cosine(a, b):
    return float(sum(p * q for p, q in zip(a, b, strict=True)) / np.sqrt(sum(a * a) * sum(b * b)))


@pytest.mark.parametrize("state", ["nas", "emb"])
def test_counts_are_those_of_the_alignment_and_margins_those_of_plain_loops(three_languages, state):
    plan, store = three_languages
    measure = Sentences(plan, state)
    results = measure.run(store)
    table = measure.frame(results).set_index(["layer", "sentence"])
    found = alignment.align(plan, store, state, "weighted")
    counted = {"found_src2trg": found.src2trg, "found_trg2src": found.trg2src, "aligned": found.aligned}
    for column, array in counted.items():
        np.testing.assert_array_equal(table[column].to_numpy().reshape(-1, 7), array.sum(axis=0))
    np.testing.assert_array_equal(~sentences.missed_at(results, 2), found.aligned[:, 2])
    with StatesReader(plan, store) as reader:
        assert table.loc[3, "tokens"].tolist() == reader.tokens("eng_Latn").tolist()
        margins = np.zeros(7)
        for code in ("deu_Latn", "tha_Thai"):
            x, y = (reader.vectors(one, state, "weighted", 3).astype(float) for one in ("eng_Latn", code))
            for i in range(7):
                rivals = [max(cosine(x[i], y[j]), cosine(x[j], y[i])) for j in range(7) if j != i]
                margins[i] += (cosine(x[i], y[i]) - max(rivals)) / 2
    np.testing.assert_allclose(table.loc[3, "margin"], margins, atol=1e-6)
    assert table.loc[3, "line"].tolist() == [1, 2, 3, 5, 6, 7, 8]
    assert table.loc[0, "text"].tolist() == list(plan.corpus.sentences("eng_Latn"))
    assert measure.instant
    assert not Sentences(replace(plan, info=replace(plan.info, neurons=10**9))).instant
    with pytest.raises(ExperimentError, match="besides the pivot eng_Latn"):
        Sentences(planning.restrict(plan, ["eng_Latn"]))


def test_what_a_sentence_has():
    found = sentences.properties_of(TEXTS, pd.Series([4, 6, 8, 7]))
    assert {name: values.tolist() for name, values in found.items()} == {
        "tokens": [4, 6, 8, 7],
        "digits": [False, True, False, True],
        "capitalised words": [False, True, False, False],
        "punctuation": [False, False, True, True],
    }


def test_rho_is_the_mean_over_languages_and_p_counts_permutations_of_sentences():
    missed = np.array([[0, 0, 1, 1], [1, 0, 1, 0], [1, 1, 1, 1]], dtype=bool)
    properties = {"tokens": np.array([3, 5, 8, 8]), "digits": np.array([False, True, True, True])}
    table = sentences.what_goes_with(missed, properties, permutations=300, seed=1)
    assert table["languages"].tolist() == [2, 2]  # the third misses all
    generator = np.random.default_rng(1)
    orders = [generator.permutation(4) for _ in range(300)]
    ps = []
    for row, values in zip(table.itertuples(), properties.values(), strict=True):

        def rho(order, values=values):
            return np.mean([slow_pearson(slow_ranks(values), slow_ranks(one[order])) for one in missed[:2]])

        assert row.rho == pytest.approx(rho(np.arange(4)))
        ps.append((1 + sum(abs(rho(order)) >= abs(row.rho) - 1e-9 for order in orders)) / 301)
    assert table["p"].tolist() == pytest.approx(ps)
    small, large = sorted(ps)
    assert sorted(table["p_holm"]) == pytest.approx([min(1, 2 * small), min(1, max(2 * small, large))])
    assert table["missed_with"][1] == pytest.approx((1 + 3 + 2) / 3 / 3)
    assert table["missed_without"][1] == pytest.approx(2 / 3)


def planted(seed, strength):
    """Misses [language, sentence] that follow the length of 80 sentences with a strength, and their properties."""
    random = np.random.default_rng(seed)
    tokens = random.integers(5, 40, 80)
    shared = strength * (tokens - 22) / 10 + random.normal(size=80)
    missed = shared + random.normal(size=(12, 80)) > 0
    return missed, {"tokens": tokens, "digits": random.random(80) < 0.3, "punctuation": np.zeros(80, dtype=bool)}


def test_what_is_planted_is_said_and_of_noise_nothing():
    text = sentences.conclusion(sentences.what_goes_with(*planted(0, 1.0)), 4)
    assert text.startswith("At layer 4 sentences that have more tokens are missed more often (")
    assert "Not shown to go with being missed: digits." in text
    assert "the same in all sentences: punctuation." in text
    assert "within 12 languages" in text
    less = sentences.conclusion(sentences.what_goes_with(*planted(0, -1.0)), 4)
    assert "are missed less often" in less
    said = 0
    for seed in range(25):
        # languages share the sentences, so that 12 of them are no more evidence than one
        noise = sentences.conclusion(sentences.what_goes_with(*planted(seed, 0), permutations=199), 2)
        said += not noise.startswith("Not shown to go with being missed at layer 2: tokens, digits.")
    assert said <= 4
    missed, properties = planted(0, 0)
    for still in (np.zeros_like(missed), np.ones_like(missed)):
        text = sentences.conclusion(sentences.what_goes_with(still, properties, permutations=9), 1)
        assert text == "At layer 1 every language finds all sentences or none, so that nothing tells them apart."
