"""Overlap against slow computations written from the definitions, hand-worked cases, and what one can rely on."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import intersections, lape, neuron_rankings, overlap, parallel_overlap, shared_core
from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion


def random_activity(seed=0, languages=5, layers=3, neurons=40, most_tokens=30):
    random = np.random.default_rng(seed)
    tokens = random.integers(1, most_tokens, languages)
    counts = random.binomial(tokens[:, None, None], random.random((languages, layers, neurons)))
    return ActivationCounts(tuple(f"l{k}" for k in range(languages)), counts.astype(np.uint32), tokens)


activities = st.builds(
    random_activity,
    st.integers(0, 2**32 - 1),
    st.integers(2, 6),
    st.integers(1, 3),
    st.integers(2, 30),
    st.sampled_from([2, 5, 40]),
)
rules = st.one_of(
    st.builds(ActivationCriterion, st.just("threshold"), st.floats(0, 0.99)),
    st.builds(ActivationCriterion, st.just("top"), st.floats(0.01, 1)),
)


def slow_probability(activity):
    return [
        [
            [Fraction(int(activity.counts[a, l, j]), int(activity.tokens[a])) for j in range(activity.neurons)]
            for l in range(activity.layers)  # noqa: E741
        ]
        for a in range(len(activity.languages))
    ]


def slow_set(probabilities, rule):
    """Active neurons of one layer of one language, a Python set."""
    if rule.kind == "threshold":
        return {j for j, p in enumerate(probabilities) if p > rule.value}
    k = max(1, round(rule.value * len(probabilities)))
    order = sorted(range(len(probabilities)), key=lambda j: (-probabilities[j], j))
    return {j for j in order[:k] if probabilities[j] > 0}


def slow_jaccard(a, b):
    return len(a & b) / len(a | b) if a | b else 0.0


# --------------------------------------------------------------------------------------------- active sets and overlap


@given(activities, rules)
def test_active_sets_are_those_of_the_definition(activity, rule):
    slow = slow_probability(activity)
    active = rule.all_sets(activity)
    for a, layer in itertools.product(range(len(activity.languages)), range(activity.layers)):
        assert set(np.flatnonzero(active[a, layer])) == slow_set(slow[a][layer], rule)


def test_probability_by_hand():
    activity = ActivationCounts(("a", "b"), np.array([[[1, 0, 4]], [[2, 1, 0]]], np.uint16), np.array([4, 3]))
    np.testing.assert_array_equal(activity.probability(0), [[0.25, 0, 1], [2 / 3, 1 / 3, 0]])
    assert ActivationCriterion("threshold", 0.25).sets(activity.probability(0)).tolist() == [
        [False, False, True],
        [True, True, False],
    ]
    assert ActivationCriterion("top", 0.34).sets(activity.probability(0)).tolist() == [
        [False, False, True],
        [True, False, False],
    ]


def test_a_tie_for_the_last_place_goes_to_the_lower_number_and_a_silent_neuron_never_counts():
    rule = ActivationCriterion("top", 0.5)
    assert rule.sets(np.array([0.2, 0.5, 0.2, 0.2])).tolist() == [True, True, False, False]
    assert rule.sets(np.array([0.0, 0.5, 0.0, 0.0])).tolist() == [False, True, False, False]


@given(activities, rules)
def test_jaccard_and_conditional_overlap_against_python_sets(activity, rule):
    slow = slow_probability(activity)
    by_layer = overlap.overlap_by_layer(activity, rule)
    conditional = overlap.overlap_by_layer(activity, rule, "conditional")
    for layer in range(activity.layers):
        sets = [slow_set(slow[a][layer], rule) for a in range(len(activity.languages))]
        for a, b in itertools.product(range(len(sets)), repeat=2):
            assert by_layer[layer, a, b] == slow_jaccard(sets[a], sets[b])
            assert conditional[layer, a, b] == (len(sets[a] & sets[b]) / len(sets[a]) if sets[a] else 0)


@given(activities, rules)
def test_what_one_can_rely_on_of_overlap(activity, rule):
    by_layer = overlap.overlap_by_layer(activity, rule)
    sizes = rule.all_sets(activity).sum(axis=2).T
    assert by_layer.min() >= 0
    assert by_layer.max() <= 1
    np.testing.assert_array_equal(by_layer, by_layer.swapaxes(1, 2))
    np.testing.assert_array_equal(np.diagonal(by_layer, axis1=1, axis2=2), (sizes > 0).astype(float))
    order = np.random.default_rng(1).permutation(activity.neurons)
    shuffled = ActivationCounts(activity.languages, activity.counts[:, :, order], activity.tokens)
    if rule.kind == "threshold":  # ties at the edge of a top share go by number
        np.testing.assert_array_equal(overlap.overlap_by_layer(shuffled, rule), by_layer)
    conditional = overlap.overlap_by_layer(activity, rule, "conditional")
    assert (conditional >= by_layer - 1e-12).all()


def test_chance_is_what_independent_sets_come_to():
    random = np.random.default_rng(3)
    neurons, a, b = 2000, 300, 500
    x, y = np.zeros((200, neurons), bool), np.zeros((200, neurons), bool)
    for k in range(200):
        x[k, random.choice(neurons, a, replace=False)] = True
        y[k, random.choice(neurons, b, replace=False)] = True
    assert overlap.chance_jaccard(a, b, neurons) == pytest.approx(75 / 725)
    assert overlap.jaccard(x, y).mean() == pytest.approx(75 / 725, rel=0.01)
    assert overlap.chance_jaccard(0, 0, 10) == 0


# ------------------------------------------------------------------------------------------ parallel against mismatched


@given(st.integers(0, 2**32 - 1), st.integers(2, 7), st.integers(1, 20))
def test_parallel_overlap_against_a_loop(seed, n, neurons):
    random = np.random.default_rng(seed)
    x, y = random.random((n, neurons)) < 0.4, random.random((n, neurons)) < 0.6
    sets_x = [set(np.flatnonzero(row)) for row in x]
    sets_y = [set(np.flatnonzero(row)) for row in y]
    parallel = sum(slow_jaccard(a, b) for a, b in zip(sets_x, sets_y, strict=True)) / n
    others = [slow_jaccard(sets_x[i], sets_y[j]) for i in range(n) for j in range(n) if i != j]
    found = parallel_overlap.parallel_overlap(x, y, resamples=50)
    assert found.parallel[0] == pytest.approx(parallel, abs=1e-12)
    assert found.mismatched[0] == pytest.approx(sum(others) / len(others), abs=1e-12)
    assert found.difference[0] == pytest.approx(parallel - sum(others) / len(others), abs=1e-12)


def test_the_interval_of_parallel_overlap_is_the_plain_bootstrap():
    random = np.random.default_rng(5)
    n, resamples = 6, 200
    x, y = random.random((n, 15)) < 0.4, random.random((n, 15)) < 0.4
    pairs = overlap.jaccard(x, y)
    draws = random_draws(n, resamples)
    parallel, mismatched = [], []
    for drawn in draws:
        different = [pairs[i, j] for i in drawn for j in drawn if i != j]
        if different:
            parallel.append(np.mean([pairs[i, i] for i in drawn]))
            mismatched.append(np.mean(different))
    found = parallel_overlap.parallel_overlap(x, y, resamples=resamples, seed=0)
    for got, values in (
        (found.parallel, parallel),
        (found.mismatched, mismatched),
        (found.difference, np.subtract(parallel, mismatched)),
    ):
        np.testing.assert_allclose(got[1:], np.quantile(values, [0.025, 0.975]), atol=1e-6)


def random_draws(n, resamples):
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=resamples)
    return [np.repeat(np.arange(n), row) for row in counts]


def test_translations_that_share_their_neurons_stand_out():
    random = np.random.default_rng(0)
    x = random.random((30, 200)) < 0.2
    found = parallel_overlap.parallel_overlap(x, x)
    assert found.parallel == (1, 1, 1)
    assert found.difference[1] > 0.7
    unrelated = parallel_overlap.parallel_overlap(x, random.random((30, 200)) < 0.2)
    assert unrelated.difference[1] < 0 < unrelated.difference[2]


def test_one_sentence_has_no_mismatch():
    with pytest.raises(ExperimentError, match="at least 2"):
        parallel_overlap.parallel_overlap(np.ones((1, 3), bool), np.ones((1, 3), bool))


# ------------------------------------------------------------------------------------------------------ set view, core


@given(activities, rules)
def test_exclusive_intersections_against_python_sets(activity, rule):
    active = rule.all_sets(activity)
    neurons = [set(zip(*np.nonzero(row), strict=True)) for row in active]
    found = intersections.exclusive_intersections(active, activity.languages)
    assert [i.size for i in found] == sorted((i.size for i in found), reverse=True)
    by_members = {i.languages: set(zip(i.layer, i.neuron, strict=True)) for i in found}
    for r in range(1, len(neurons) + 1):
        for chosen in itertools.combinations(range(len(neurons)), r):
            inside = set.intersection(*(neurons[k] for k in chosen))
            outside = set().union(*(neurons[k] for k in range(len(neurons)) if k not in chosen))
            members = tuple(activity.languages[k] for k in chosen)
            assert by_members.get(members, set()) == inside - outside
    assert sum(i.size for i in found) == len(set().union(*neurons))


def test_exact_intersections_of_too_many_languages_are_refused():
    with pytest.raises(ExperimentError, match="at most 16"):
        intersections.exclusive_intersections(np.ones((17, 1, 1), bool), [str(k) for k in range(17)])


def test_shared_core_by_hand_and_by_enumeration():
    # two languages, 4 neurons, sets of 2 and 3: the intersection is 1 or 2, each of the 24 draws equally likely
    active = np.array([[[1, 1, 0, 0]], [[1, 1, 1, 0]]], dtype=bool)
    sizes = [
        len(set(a) & set(b)) for a in itertools.combinations(range(4), 2) for b in itertools.combinations(range(4), 3)
    ]
    core = shared_core.shared_core(active)
    assert core.observed.tolist() == [2]
    assert core.expected[0] == pytest.approx(np.mean(sizes))
    assert core.deviation[0] == pytest.approx(np.std(sizes))
    assert core.z[0] == pytest.approx((2 - np.mean(sizes)) / np.std(sizes))


def test_shared_core_of_three_languages_by_enumeration():
    a, b, c = 3, 2, 4
    draws = itertools.product(*(itertools.combinations(range(5), size) for size in (a, b, c)))
    sizes = [len(set(x) & set(y) & set(z)) for x, y, z in draws]
    active = np.zeros((3, 1, 5), bool)
    for row, size in enumerate((a, b, c)):
        active[row, 0, :size] = True
    core = shared_core.shared_core(active)
    assert core.observed[0] == 2
    assert core.expected[0] == pytest.approx(np.mean(sizes))
    assert core.deviation[0] == pytest.approx(np.std(sizes))


def test_a_core_that_could_be_no_other_has_no_z():
    everything = shared_core.shared_core(np.ones((3, 2, 7), bool))
    assert everything.observed.tolist() == [7, 7]
    assert everything.expected.tolist() == [7, 7]
    assert np.isnan(everything.z).all()
    nothing = shared_core.shared_core(np.zeros((3, 2, 7), bool))
    assert nothing.expected.tolist() == [0, 0]
    assert np.isnan(nothing.z).all()


# ---------------------------------------------------------------------------------------------------------------- LAPE


def slow_lape(activity, share, drop, assign):
    """From the definition, in plain Python."""
    slow = slow_probability(activity)
    languages = range(len(activity.languages))
    places = list(itertools.product(range(activity.layers), range(activity.neurons)))
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


@given(activities, st.floats(0.01, 1), st.floats(0, 100), st.floats(0, 100))
def test_lape_against_its_definition(activity, share, drop, assign):
    found = lape.lape(activity, share, drop, assign)
    wanted = slow_lape(activity, share, drop, assign)
    assert list(zip(found.layer.tolist(), found.neuron.tolist(), strict=True)) == [place for place, _, _ in wanted]
    np.testing.assert_allclose(found.entropy, [h for _, h, _ in wanted], atol=1e-12)
    assert [set(np.flatnonzero(row)) for row in found.members] == [members for _, _, members in wanted]
    for k, (place, _, _) in enumerate(wanted):
        np.testing.assert_array_equal(found.probability[k], activity.probability(place[0])[:, place[1]])


def test_lape_with_its_own_figures_on_more_neurons():
    activity = random_activity(seed=9, languages=7, layers=4, neurons=500, most_tokens=3000)
    found = lape.lape(activity)
    wanted = slow_lape(activity, 0.01, 95, 95)
    assert len(wanted) == 20
    assert list(zip(found.layer.tolist(), found.neuron.tolist(), strict=True)) == [place for place, _, _ in wanted]
    assert [set(np.flatnonzero(row)) for row in found.members] == [members for _, _, members in wanted]


def test_lape_by_hand():
    # one layer of 4 neurons, 10 tokens a language; neuron 0 is German's alone, 1 is everyone's, 2 silent, 3 rare
    counts = np.array([[[9, 8, 0, 1]], [[0, 8, 0, 1]], [[0, 8, 0, 0]]], np.uint32)
    activity = ActivationCounts(("deu", "fra", "zho"), counts, np.array([10, 10, 10]))
    # the 12 probabilities sorted: seven 0, two .1, ... k = round(12 * 0.75) = 9 -> 0.8
    found = lape.lape(activity, share=0.25, drop_percentile=75, assign_percentile=75)
    assert (found.drop_below, found.assign_above) == (0.8, 0.8)
    assert (found.layer.tolist(), found.neuron.tolist(), found.entropy.tolist()) == ([0], [0], [0.0])
    assert found.masks() == {"deu": [[0]], "fra": [[]], "zho": [[]]}
    # with a lower bar neuron 1 is kept too, and its entropy is that of three equal probabilities
    wider = lape.lape(activity, share=1, drop_percentile=67, assign_percentile=67)
    assert wider.drop_below == 0.1
    assert wider.neuron.tolist() == [0, 1]
    assert wider.entropy[1] == pytest.approx(math.log(3))
    assert wider.counts().tolist() == [[2], [1], [1]]


@given(activities)
def test_the_order_of_languages_changes_no_lape_neuron(activity):
    turned = activity.of(activity.languages[::-1])
    one, other = lape.lape(activity, 0.3, 50, 50), lape.lape(turned, 0.3, 50, 50)
    assert one.layer.tolist() == other.layer.tolist()
    assert one.neuron.tolist() == other.neuron.tolist()
    np.testing.assert_array_equal(one.members, other.members[:, ::-1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"share": 0}, "share"),
        ({"share": 1.5}, "share"),
        ({"drop_percentile": -1}, "drop"),
        ({"assign_percentile": 101}, "assign"),
    ],
)
def test_wrong_parameters_are_named(options, said):
    with pytest.raises(ExperimentError, match=said):
        lape.lape(random_activity(), **options)


def test_one_language_has_no_specific_neurons():
    with pytest.raises(ExperimentError, match="at least 2 languages"):
        lape.lape(random_activity().of(["l0"]))


@pytest.mark.parametrize("rule", [("threshold", 1), ("threshold", -0.1), ("top", 0), ("top", 1.1), ("best", 0.5)])
def test_wrong_rules_are_refused(rule):
    with pytest.raises(ExperimentError, match=r"active|threshold|share"):
        ActivationCriterion(*rule)


def test_a_language_without_tokens_is_refused():
    with pytest.raises(ExperimentError, match="without tokens"):
        ActivationCounts(("a",), np.zeros((1, 1, 2), np.uint8), np.array([0]))


# -------------------------------------------------------------------------------------------------- summary, rankings


@given(activities, rules)
def test_the_summary_against_python_sets(activity, rule):
    specific = lape.lape(activity, 0.2, 50, 50)
    table = neuron_rankings.summary(activity, rule, "l0", specific).set_index("language")
    slow = slow_probability(activity)
    for a, language in enumerate(activity.languages):
        sets = [slow_set(slow[a][layer], rule) for layer in range(activity.layers)]
        pivot = [slow_set(slow[0][layer], rule) for layer in range(activity.layers)]
        row = table.loc[language]
        assert row["tokens"] == activity.tokens[a]
        assert row["active"] == sum(map(len, sets))
        assert row["active_share"] == pytest.approx(row["active"] / (activity.layers * activity.neurons))
        assert row["shared_with_pivot"] == sum(len(s & p) for s, p in zip(sets, pivot, strict=True))
        jaccards = [slow_jaccard(s, p) for s, p in zip(sets, pivot, strict=True)]
        assert row["jaccard_with_pivot"] == pytest.approx(np.mean(jaccards))
        assert row["specific"] == len(specific.of(language)[0])


@given(activities, st.sampled_from(neuron_rankings.RANKINGS), st.booleans())
def test_rankings_against_a_loop(activity, by, one_layer):
    slow = slow_probability(activity)
    languages = range(len(activity.languages))
    layers = [activity.layers - 1] if one_layer else range(activity.layers)
    values = {}
    for layer, j in itertools.product(layers, range(activity.neurons)):
        p = [slow[a][layer][j] for a in languages]
        values[layer, j] = {
            "shared": min(p),
            "specific": p[1] - max(p[a] for a in languages if a != 1),
            "discriminating": p[1] - p[0],
        }[by]
    found = neuron_rankings.rank_neurons(activity, by, x="l1", y="l0", layer=layers[0] if one_layer else None, top=7)
    size = abs if by == "discriminating" else (lambda v: v)
    best = sorted((size(v) for v in values.values()), reverse=True)[:7]
    np.testing.assert_allclose([size(v) for v in found["value"]], [float(v) for v in best], atol=1e-12)
    for row in found.itertuples():
        assert row.value == pytest.approx(float(values[row.layer, row.neuron]), abs=1e-12)
    assert len(set(zip(found["layer"], found["neuron"], strict=True))) == min(7, len(values))


def test_neurons_that_two_languages_share():
    activity = ActivationCounts(("a", "b"), np.array([[[5, 9, 2, 8]], [[9, 6, 9, 0]]], np.uint16), np.array([10, 10]))
    table = neuron_rankings.pairs_shared(activity, "b", "a", ActivationCriterion("threshold", 0.1), 0)
    assert table.to_dict("list") == {
        "layer": [0, 0, 0],
        "neuron": [1, 0, 2],
        "b": [0.6, 0.9, 0.9],
        "a": [0.9, 0.5, 0.2],
    }


def test_unknown_measures_and_rankings_are_refused():
    with pytest.raises(ExperimentError, match="jaccard"):
        overlap.overlap_by_layer(random_activity(), ActivationCriterion(), "dice")
    with pytest.raises(ExperimentError, match="ranked"):
        neuron_rankings.rank_neurons(random_activity(), "best")
