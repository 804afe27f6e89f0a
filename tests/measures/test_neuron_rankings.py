"""Neurons that stand out against loops over the definition, and against every token."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_sets import any_counts, any_criterion, random_counts, slow_jaccard, slow_probability, slow_sets

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import neuron_rankings
from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion
from neuronxa_core.measures.lape import lape


@given(any_counts, any_criterion)
def test_the_summary_against_python_sets(counts, criterion):
    specific = lape(counts, 0.2, 50, 50)
    table = neuron_rankings.summary(counts, criterion, "l0", specific)
    pivot, *_ = every = slow_sets(counts, criterion)
    for language, tokens, sets, row in zip(
        counts.languages, counts.tokens, every, table.to_dict("records"), strict=True
    ):
        assert (row["language"], row["tokens"], row["active"]) == (language, tokens, sum(map(len, sets)))
        assert row["active_share"] == pytest.approx(row["active"] / (counts.layers * counts.neurons))
        assert row["shared_with_pivot"] == sum(len(s & p) for s, p in zip(sets, pivot, strict=True))
        jaccards = [slow_jaccard(s, p) for s, p in zip(sets, pivot, strict=True)]
        assert row["jaccard_with_pivot"] == pytest.approx(np.mean(jaccards))
        assert row["specific"] == len(specific.of(language)[0])


@given(any_counts, st.sampled_from(neuron_rankings.RANKINGS), st.booleans())
def test_rankings_against_a_loop(counts, by, one_layer):
    slow = slow_probability(counts)
    layers = [counts.layers - 1] if one_layer else range(counts.layers)
    values = {}
    for layer, j in itertools.product(layers, range(counts.neurons)):
        p = [of_language[layer][j] for of_language in slow]
        values[layer, j] = {"shared": min(p), "specific": p[1] - max(p[:1] + p[2:]), "discriminating": p[1] - p[0]}[by]
    found = neuron_rankings.rank_neurons(counts, by, x="l1", y="l0", layer=layers[0] if one_layer else None, top=7)
    size = abs if by == "discriminating" else (lambda v: v)
    best = sorted(values, key=lambda place: (-size(values[place]), place))[:7]
    np.testing.assert_allclose([size(v) for v in found["value"]], [float(size(values[p])) for p in best], atol=1e-12)
    for row in found.to_dict("records"):
        layer, j = row["layer"], row["neuron"]
        assert row["value"] == pytest.approx(float(values[layer, j]), abs=1e-12)
        concerned = {"shared": (), "specific": (1,), "discriminating": (0, 1)}[by]
        assert {k: row[f"l{k}"] for k in concerned} == {k: float(slow[k][layer][j]) for k in concerned}
    assert len(set(zip(found["layer"], found["neuron"], strict=True))) == len(best)


def test_neurons_that_two_languages_share():
    counts = ActivationCounts(("a", "b"), np.array([[[5, 9, 2, 8]], [[9, 6, 9, 0]]], np.uint16), np.array([10, 10]))
    table = neuron_rankings.pairs_shared(counts, "b", "a", ActivationCriterion("threshold", 0.1), 0)
    assert table.to_dict("list") == {
        "layer": [0, 0, 0],
        "neuron": [1, 0, 2],
        "b": [0.6, 0.9, 0.9],
        "a": [0.9, 0.5, 0.2],
    }


def test_an_unknown_ranking_is_refused():
    with pytest.raises(ExperimentError, match="ranked"):
        neuron_rankings.rank_neurons(random_counts(), "best")


def test_values_and_the_strongest_of_a_sentence_against_every_token(three_languages, tokenwise):
    plan, store = three_languages
    values = tokenwise("deu_Latn")
    mean_size = np.stack([np.abs(v).mean(axis=1, dtype=np.float64) for v in values], axis=1)
    got = neuron_rankings.neuron_values(plan, store, ["deu_Latn"], 5, 17)["deu_Latn"]
    np.testing.assert_allclose(got, mean_size[5, :, 17], rtol=1e-4)
    on = neuron_rankings.neuron_values(plan, store, ["deu_Latn"], 5, 17, "nas")["deu_Latn"]
    np.testing.assert_allclose(on, [(v[5, :, 17] > 0).mean() for v in values])

    deviations = (mean_size[:, 2] - mean_size.mean(axis=1)) / mean_size.std(axis=1)
    for layer, among in ((None, deviations), (3, deviations[3])):
        table = neuron_rankings.strongest_in_sentence(plan, store, "deu_Latn", 2, layer=layer, top=20)
        np.testing.assert_allclose(table["deviations"], np.sort(among.ravel())[::-1][:20], rtol=1e-3)
        for row in table.itertuples():
            assert layer in (None, row.layer)
            assert row.deviations == pytest.approx(deviations[row.layer, row.neuron], rel=1e-3)
            assert row.value == pytest.approx(mean_size[row.layer, 2, row.neuron], rel=1e-4)
