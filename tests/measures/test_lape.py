"""LAPE against its definition in plain Python, and by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_sets import any_counts, random_counts, slow_probability

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.activation_counts import ActivationCounts, activation_counts
from neuronxa_core.measures.lape import LapeMeasure, lape
from neuronxa_core.states import planning
from neuronxa_core.states.interventions import Neurons


def slow_lape(counts, share, drop, assign):
    slow = slow_probability(counts)
    languages = range(len(counts.languages))
    places = list(itertools.product(range(counts.layers), range(counts.neurons)))
    everything = sorted(slow[a][layer][j] for a in languages for layer, j in places)

    def percentile(p):
        return everything[max(1, round(len(everything) * p / 100)) - 1]

    entropy = {}
    for layer, j in places:
        values = [slow[a][layer][j] for a in languages]
        if max(values) > percentile(drop):
            total = sum(values)
            entropy[layer, j] = -sum(float(v / total) * math.log(v / total) for v in values if v)
    lowest = sorted(entropy, key=lambda place: (round(entropy[place], 12), place))[: round(share * len(places))]
    return [
        (place, entropy[place], {a for a in languages if slow[a][place[0]][place[1]] > percentile(assign)})
        for place in lowest
    ]


def check_against_definition(counts, found, *parameters):
    wanted = slow_lape(counts, *parameters)
    assert list(zip(found.layer.tolist(), found.neuron.tolist(), strict=True)) == [place for place, _, _ in wanted]
    np.testing.assert_allclose(found.entropy, [h for _, h, _ in wanted], atol=1e-12)
    assert [set(np.flatnonzero(row)) for row in found.members] == [members for _, _, members in wanted]
    for k, (place, _, _) in enumerate(wanted):
        np.testing.assert_array_equal(found.probability[k], counts.probability(place[0])[:, place[1]])


@given(any_counts, st.floats(0.01, 1), st.floats(0, 100), st.floats(0, 100))
def test_lape_against_its_definition(counts, share, drop, assign):
    check_against_definition(counts, lape(counts, share, drop, assign), share, drop, assign)


def test_lape_with_its_own_figures_on_more_neurons():
    counts = random_counts(seed=9, languages=7, layers=4, neurons=500, most_tokens=3000)
    found = lape(counts)
    assert len(found.neuron) == 20
    check_against_definition(counts, found, 0.01, 95, 95)


def test_lape_by_hand():
    # one layer of 4 neurons, 10 tokens per language; neuron 0 is German's alone, 1 is everyone's, 2 silent, 3 rare
    counts = np.array([[[9, 8, 0, 1]], [[0, 8, 0, 1]], [[0, 8, 0, 0]]], np.uint32)
    counts = ActivationCounts(("deu", "fra", "zho"), counts, np.array([10, 10, 10]))
    # the 12 probabilities sorted: six 0, two .1, three .8, .9; k = round(12 * 0.75) = 9 -> 0.8
    found = lape(counts, share=0.25, drop_percentile=75, assign_percentile=75)
    assert (found.drop_below, found.assign_above) == (0.8, 0.8)
    assert (found.layer.tolist(), found.neuron.tolist(), found.entropy.tolist()) == ([0], [0], [0.0])
    assert found.masks() == {"deu": [[0]], "fra": [[]], "zho": [[]]}
    assert found.neurons_of("deu") == Neurons(((0, (0,)),))
    assert found.neurons_of("fra") == Neurons()
    # with a lower bar neuron 1 is kept too, and its entropy is that of three equal probabilities
    wider = lape(counts, share=1, drop_percentile=67, assign_percentile=67)
    assert wider.drop_below == 0.1
    assert wider.neuron.tolist() == [0, 1]
    assert wider.entropy[1] == pytest.approx(math.log(3))
    assert wider.counts().tolist() == [[2], [1], [1]]
    assert wider.table()[["layer", "neuron", "languages", "deu", "zho"]].values.tolist() == [
        [0, 0, "deu", 0.9, 0.0],
        [0, 1, "deu, fra, zho", 0.8, 0.8],
    ]


@given(any_counts)
def test_the_order_of_languages_changes_no_neuron(counts):
    one, other = lape(counts, 0.3, 50, 50), lape(counts.of(counts.languages[::-1]), 0.3, 50, 50)
    assert one.layer.tolist() == other.layer.tolist()
    assert one.neuron.tolist() == other.neuron.tolist()
    np.testing.assert_array_equal(one.members, other.members[:, ::-1])


def test_the_measure_comes_back_from_the_store_as_it_was_found(three_languages):
    plan, store = three_languages
    measure, direct = LapeMeasure(plan, 0.02, 90, 80), lape(activation_counts(plan, store), 0.02, 90, 80)
    measure.run(store)
    kept = measure.found(measure.results(store))
    for name in type(kept).__dataclass_fields__:
        np.testing.assert_array_equal(getattr(kept, name), getattr(direct, name))
    assert measure.table(store).equals(direct.table())
    assert measure.key == LapeMeasure(plan, 0.02, 90.0, 80.0).key
    assert len({LapeMeasure(plan, *some).key for some in ((0.02, 90, 80), (0.02, 80, 90), (0.01, 90, 80))}) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"share": 0}, "share"),
        ({"share": 1.5}, "share"),
        ({"drop_percentile": -1}, "drop"),
        ({"assign_percentile": 101}, "assign"),
    ],
)
def test_wrong_parameters_are_named(options, words, three_languages):
    with pytest.raises(ExperimentError, match=words):
        lape(random_counts(), **options)
    with pytest.raises(ExperimentError, match=words):
        LapeMeasure(three_languages[0], **options)


def test_one_language_has_no_specific_neurons(three_languages):
    with pytest.raises(ExperimentError, match="at least 2 languages"):
        LapeMeasure(planning.restrict(three_languages[0], []))
