"""Agreement of definitions against Python's own sets, and what is said of it: on planted sets and on noise."""

import numpy as np
import pytest

from neuronxa_core.measures import neuron_agreement
from neuronxa_core.measures.neuron_agreement import NeuronAgreement, agreement_sentence, drawn, summary
from neuronxa_core.measures.neuron_sets import NeuronSets
from neuronxa_core.states import planning
from neuronxa_core.states.pools import ModelPool


def slow_jaccard(x, y):
    x, y = set(x) - {-1}, set(y) - {-1}
    return len(x & y) / len(x | y) if x | y else np.nan


def random_results(planted, k=40):
    """Sets at random; real ones of every definition and half are one set per language where planted."""
    random = np.random.default_rng(0)
    results = {}
    for name in ("lape", "ap_top", "impact"):
        numbers = np.argsort(random.random((3, 2, 3, 2000)), axis=-1)[..., :k]
        scores = random.random((2, 3, k))
        if planted:
            numbers[:, 0] = np.argsort(np.random.default_rng(1).random((3, 2000)), axis=-1)[:, :k]
            scores[0] += 1
        results[name] = {"numbers": numbers, "scores": -np.sort(-scores, axis=-1)}
    return results


def test_the_table_against_python_sets(three_languages):
    plan, _ = three_languages
    results = random_results(planted=False, k=300)
    results["lape"]["numbers"][:, :, 1, 100:] = -1
    table = NeuronAgreement(plan).frame(results)
    assert len(table) == 6 * 3
    for row in table.to_dict("records"):
        k = plan.all_languages.index(row["language"])
        one, other = (0, 0) if row["x"] != row["y"] else (1, 2)
        x, y = results[row["x"]]["numbers"], results[row["y"]]["numbers"]
        assert row["jaccard"] == pytest.approx(slow_jaccard(x[one, 0, k], y[other, 0, k]))
        assert row["shuffled"] == pytest.approx(slow_jaccard(x[one, 1, k], y[other, 1, k]))
        assert row["neurons"] == (100 if k == 1 and "lape" in (row["x"], row["y"]) else 300)
        if row["x"] == row["y"]:
            scores = results[row["x"]]["scores"]
            assert row["null"] == pytest.approx((scores[1, k] >= scores[0, k].min()).mean())
            others = [slow_jaccard(x[0, 0, k], x[0, 0, j]) for j in range(3) if j != k]
            assert row["other_languages"] == pytest.approx(np.mean(others))


def test_what_is_said_of_planted_sets_and_of_noise(three_languages):
    plan, _ = three_languages
    planted, noise = (agreement_sentence(NeuronAgreement(plan).frame(random_results(one))) for one in (True, False))
    assert "Jaccard index of 1.00" in planted
    assert "3 of 3 pairs of definitions agree more" in planted
    assert "LAPE is most stable (1.00; in made-up languages 0.0" in planted
    assert "made-up languages have at least half" not in planted
    assert noise.startswith("No two definitions share more neurons")
    assert "LAPE, Highest AP, Impact: made-up languages have at least half" in noise


def test_the_heat_maps_have_both_halves_and_two_panels(three_languages):
    plan, _ = three_languages
    means = summary(NeuronAgreement(plan).frame(random_results(planted=True)))
    cells = drawn(means)
    assert len(cells) == 2 * 9
    values = cells.set_index(["group", "x", "y"])["value"]
    assert values["the languages", "Impact", "LAPE"] == values["the languages", "LAPE", "Impact"] == 1
    assert list(cells["x"].unique()) == ["LAPE", "Highest AP", "Impact"]


def test_it_runs_what_each_definition_needs(three_languages):
    plan, store = three_languages
    measure = NeuronAgreement(plan, 0.006)
    seen = []
    measure.run(store, ModelPool(), lambda _group, done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (5 * 3 * plan.info.layers,) * 2
    assert not measure.missing(store)
    table = measure.table(store)
    names = ["lape", "lape_gate", "lambda_entropy", "ap_top", "ap_bottom", "impact"]
    assert list(dict.fromkeys(table["x"])) == names == list(neuron_agreement.LABELS)
    gate = NeuronSets(planning.with_neuron(plan, "gate"), "lape", 0.006).results(store)["lape"]["numbers"]
    product = NeuronSets(plan, "lape", 0.006).results(store)["lape"]["numbers"]
    row = table[(table["x"] == "lape") & (table["y"] == "lape_gate")].iloc[0]
    assert row["jaccard"] == pytest.approx(slow_jaccard(product[0, 0, 0], gate[0, 0, 0]))
    assert "lape_gate" not in NeuronAgreement(plan, 0.006, gate=False).parts()
