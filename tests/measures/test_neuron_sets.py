"""Rival definitions of a language's neurons: against scikit-learn, loops over sentences, and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import neuron_sets
from neuronxa_core.measures.activation_counts import activation_counts
from neuronxa_core.measures.lape import halves, lape
from neuronxa_core.measures.lape_robustness import dealt, shuffled_counts
from neuronxa_core.measures.neuron_sets import NeuronSets, average_precision, merged, ranks_from_above, specificity
from neuronxa_core.states import output_norms, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.stored import StatesReader


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 5), st.sampled_from([2, 4, 1000]))
def test_average_precision_is_that_of_scikit_learn_with_ties_too(seed, n, languages, levels):
    values = np.random.default_rng(seed).integers(0, levels, (3, languages * n)).astype(np.float32)
    found = average_precision(ranks_from_above(values).reshape(3, languages, n))
    for language in range(languages):
        labels = np.repeat(np.arange(languages), n) == language
        wanted = [average_precision_score(labels, row) for row in values]
        np.testing.assert_allclose(found[:, language], wanted, atol=1e-11)


def test_average_precision_by_hand():
    # positives are first, third and fourth of five: (1/1 + 2/3 + 3/4) / 3; where all tie: 3 of 5
    values = np.array([[9, 7, 6, 8, 5], [1, 1, 1, 1, 1]], np.float32)
    ranks = ranks_from_above(values)
    assert ranks.tolist() == [[1, 3, 4, 2, 5], [5] * 5]
    assert average_precision(ranks[:, [0, 1, 2]]) == pytest.approx([(1 + 2 / 3 + 3 / 4) / 3, 3 / 5])


def test_specificity_by_hand():
    probability = np.array([[0.9, 0.4, 0.2], [0, 0.4, 0]])
    entropy = specificity(probability, above=0.3)
    assert entropy[:, 0].tolist() == [0, -np.inf]
    assert entropy[:, 1] == pytest.approx([-math.log(2)] * 2)
    assert entropy[:, 2].tolist() == [-np.inf] * 2
    # H_2 / 2 = 3/4: a sure neuron gains what it is often active; so an often active one comes first
    weighted = specificity(probability, above=0.1, weight=0.5)
    assert weighted[0] == pytest.approx([0.5 * 0.9 / 0.75, -1 + 0.5 * 0.4 / 0.75, 0.5 * 0.2 / 0.75])


def test_the_best_are_merged_layer_by_layer_with_ties_by_number():
    first = merged(None, np.array([[1.0, 3, 3], [-np.inf, -np.inf, 2]]), 0, 2)
    assert first[0].tolist() == [[1, 2], [2, -1]]
    numbers, scores = merged(first, np.array([[3.0, 4, 0], [1, 2, 0]]), 3, 2)
    assert (numbers.tolist(), scores.tolist()) == ([[4, 1], [2, 4]], [[4, 3], [2, 2]])


def slow_precision(own, everything):
    """Average precision of all neurons: the precision at each positive's value [positive, neuron], then the mean."""
    precision = [(own >= value).sum(axis=0) / (everything >= value).sum(axis=0) for value in own]
    return np.mean(precision, axis=0)


def slow_scores(definition, plan, store):
    """{set: [real or made-up][language][neuron of the model]}, sentence by sentence."""
    codes, n = plan.all_languages, len(plan.corpus.usable)
    with StatesReader(plan, store) as reader:
        values = np.stack(
            [
                [reader.sentence_vectors(code, "nav", "mean", layer).astype(np.float32) for code in codes]
                for layer in range(plan.info.layers)
            ]
        )
    values = np.moveaxis(values, 0, 2).reshape(len(codes), n, -1)  # [language, sentence, neuron of the model]
    order = dealt(plan)
    made_up = np.empty_like(values)
    for line in range(n):
        for k in range(len(codes)):
            made_up[order[line, k], line] = values[k, line]
    if definition == "impact":
        norms = output_norms.norms_of(plan, store).ravel()
        return {"impact": [(np.abs(one) * norms).min(axis=1) for one in (values, made_up)]}
    precision = [
        np.array([slow_precision(own, one.reshape(len(codes) * n, -1)) for own in one]) for one in (values, made_up)
    ]
    return {"ap_top": precision, "ap_bottom": [-one for one in precision]}


@pytest.mark.parametrize("definition", ["ap", "impact"])
def test_sets_from_states_against_a_loop(definition, three_languages, monkeypatch):
    monkeypatch.setattr(neuron_sets, "HELD", 7 * 3 * 100)
    monkeypatch.setattr(neuron_sets, "SORTED", 7 * 3 * 33)
    plan, store = three_languages
    measure = NeuronSets(plan, definition, 0.005)
    results = measure.run(store, ModelPool())
    for k, half in enumerate((plan, *halves(plan))):
        if k and definition == "ap":
            continue
        for name, both in slow_scores(definition, half, store).items():
            for made_up, scores in enumerate(both):
                for language, row in enumerate(np.round(scores, 12) if definition == "ap" else scores):
                    wanted = np.argsort(-row, kind="stable")[: measure.size]
                    found = results[name]["numbers"][k, made_up, language]
                    np.testing.assert_allclose(row[found], row[wanted], rtol=1e-6)
                    if definition == "ap":
                        assert found.tolist() == wanted.tolist()
                    if not k:
                        np.testing.assert_allclose(results[name]["scores"][made_up, language], row[wanted], rtol=1e-6)
    table = measure.table(store)
    one = table[(table["language"] == "tha_Thai") & (table["rank"] == 1)].iloc[-1]
    number = one["layer"] * plan.info.neurons + one["neuron"]
    assert number == results[one["definition"]]["numbers"][0, 0, plan.all_languages.index("tha_Thai"), 0]
    assert len(table) == 3 * measure.size * len(results)


def test_lape_of_one_size_begins_with_what_lape_finds(three_languages):
    plan, store = three_languages
    measure = NeuronSets(plan, "lape", 0.01)
    results = measure.run(store)
    for made_up, counts in enumerate((activation_counts(plan, store), shuffled_counts(plan, store))):
        found = lape(counts, share=1)
        for k in range(3):
            number = (found.layer * plan.info.neurons + found.neuron)[found.members[:, k]][: measure.size]
            kept = results["lape"]["numbers"][0, made_up, k]
            assert kept[kept >= 0].tolist() == number.tolist()
    thai = measure.neurons_of(results, "lape", "tha_Thai", 5)
    table = measure.table(store)
    first = table[table["language"] == "tha_Thai"].head(5)
    assert [(layer, j) for layer, some in thai.pairs for j in some] == sorted(
        zip(first["layer"], first["neuron"], strict=True)
    )


def test_what_cannot_be_is_refused(three_languages, store):
    plan, _ = three_languages
    with pytest.raises(ExperimentError, match="above 0 and at most 1, not 0"):
        NeuronSets(plan, share=0)
    with pytest.raises(ExperimentError, match="at least 2 languages"):
        NeuronSets(planning.restrict(plan, []))
    with pytest.raises(ExperimentError, match="choose product"):
        NeuronSets(planning.make_plan(Experiment(neuron="gate", languages=("deu_Latn",)), store), "impact")
    assert len({NeuronSets(plan, **some).key for some in ({}, {"share": 0.02}, {"definition": "impact"})}) == 3
    assert NeuronSets(plan, weight=0.3).key == NeuronSets(plan).key
