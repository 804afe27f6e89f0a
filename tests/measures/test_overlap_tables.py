"""Overlap as tables: against hand-worked cases."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from neuronxa_core.measures import overlap_tables
from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion
from neuronxa_core.measures.intersections import exclusive_intersections
from neuronxa_core.measures.lape import LanguageSpecific
from neuronxa_core.wording import PARALLEL_KINDS

CODES = ("eng_Latn", "deu_Latn", "tha_Thai")
# of 10 tokens, how many activate each of 4 neurons: [language, layer, neuron]
COUNTS = np.array([[[9, 9, 0, 0], [9, 9, 9, 9]], [[9, 0, 9, 0], [9, 9, 0, 0]], [[9, 0, 0, 0], [0, 0, 0, 9]]])
ACTIVITY = ActivationCounts(CODES, COUNTS, (10, 10, 10))
ABOVE_HALF = ActivationCriterion("threshold", 0.5)


def test_a_curve_has_the_overlap_and_what_independent_sets_would_have():
    whole = np.arange(18.0).reshape(2, 3, 3)
    table = overlap_tables.curve_table(whole, ACTIVITY, ABOVE_HALF, "eng_Latn", ["tha_Thai"], "jaccard")
    assert table["value"].tolist() == [whole[0, 0, 2], whole[1, 0, 2]]
    assert table[["active in x", "active in y"]].to_numpy().tolist() == [[2, 1], [4, 1]]
    assert table["chance"].tolist() == [0.5 / 2.5, 1 / 4]  # 2 and 1 of 4 neurons share 0.5, 4 and 1 share 1
    table = overlap_tables.curve_table(whole, ACTIVITY, ABOVE_HALF, "eng_Latn", ["tha_Thai"], "conditional")
    assert table["chance"].tolist() == [0.25, 0.25]
    assert table["label"][0] == "English (eng_Latn) – Thai (tha_Thai)"


def test_colours_span_the_tenths_around_all_overlaps_but_the_diagonal():
    whole = np.array([[[1, 0.31], [0.42, 1]], [[1, 0.55], [0.5, 1]]])
    assert overlap_tables.colour_range(whole) == (0.3, 0.6)
    assert overlap_tables.colour_range(np.ones((1, 2, 2))) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("compared", "low", "said"),
    [
        (9, 0.2, "at **layer 1**: 0.300 more (95 % interval 0.200 to 0.400, 9 sentences)."),
        (8, 0.2, "1 sentence that has no other of the same length, within 10 % in both languages, is left out."),
        (9, -0.1, "At no layer do translations clearly share more"),
        (0, np.nan, "nothing can be compared"),
    ],
)
def test_translations_share_more_only_where_the_interval_says_so(compared, low, said):
    values = [(PARALLEL_KINDS[0], 0, 0.9), (PARALLEL_KINDS[2], 0, 0.1), (PARALLEL_KINDS[2], 1, 0.3), ("NASCA", 1, 0.8)]
    table = pd.DataFrame(values, columns=["kind", "layer", "value"]).assign(low=low, high=0.4, sentences=compared)
    assert said in (text := overlap_tables.parallel_sentence(table, 9))
    assert ("left out" in text) == (compared == 8)
    assert ("share most" in text) == (low == 0.2)


def test_intersections_and_cores_name_their_neurons():
    active = ABOVE_HALF.all_sets(ACTIVITY)
    table = overlap_tables.intersections_table(exclusive_intersections(active, CODES), CODES)
    by_name = table.set_index("members")
    assert by_name["size"].to_dict() == {
        "eng_Latn + deu_Latn": 2, "eng_Latn": 2, "deu_Latn": 1, "eng_Latn + tha_Thai": 1,
        "eng_Latn + deu_Latn + tha_Thai": 1,
    }  # fmt: skip
    assert by_name.loc["eng_Latn + tha_Thai", ["0", "1", "2"]].tolist() == [True, False, True]
    neurons = overlap_tables.core_neurons(ACTIVITY, ABOVE_HALF)
    assert neurons.to_numpy().tolist() == [[0, 0, 0.9]]
    chosen = overlap_tables.neurons_table(ACTIVITY, 1, np.array([0, 3]), ["eng_Latn", "tha_Thai"])
    assert chosen.to_numpy().tolist() == [[1, 0, 0.9, 0], [1, 3, 0.9, 0.9]]


def test_specific_neurons_are_counted_by_language_and_layer_the_most_first():
    members = np.array([[0, 1, 0], [0, 1, 0], [1, 0, 0]], dtype=bool)
    at = np.array([1, 0, 1])
    found = LanguageSpecific(CODES, at, at, np.zeros(3), np.ones((3, 3)), members, 0.1, 0.2, 2)
    table = overlap_tables.specific_table(found)
    assert table[["language", "layer", "count"]].to_numpy().tolist() == [
        ["deu_Latn", 0, 1], ["deu_Latn", 1, 1], ["eng_Latn", 0, 0], ["eng_Latn", 1, 1],
    ]  # fmt: skip


def test_effects_are_set_beside_their_random_controls():
    rows = [("deu_Latn", [0.5, 0.1]), ("deu_Latn · random 1", [0.1, 0.0]), ("deu_Latn · random 2", [0.3, 0.2])]
    table = pd.DataFrame(
        [(name, code, value, 0.1) for name, values in rows for code, value in zip(CODES[1::-1], values, strict=True)],
        columns=["set", "language", "change_nats_per_byte", "change_score_nas"],
    )
    sets = {"deu_Latn": SimpleNamespace(count=7), "tha_Thai": SimpleNamespace(count=3)}
    (row,) = overlap_tables.effects_summary(table, sets, CODES[:2], "nats_per_byte", 2).to_dict("records")
    assert row == {
        "set": "German (deu_Latn)",
        "neurons": 7,
        "effect on itself": 0.5,
        "random: effect on it, mean": 0.2,
        "random: lowest": 0.1,
        "random: highest": 0.3,
        "random: as large": 0,
        "random: measured": 2,
        "p": 1 / 3,
        "effect on the others, mean": 0.1,
    }
    drawn, some = overlap_tables.effects_drawn(table, list(sets), CODES[:2], "nats_per_byte", "eng_Latn", 2, 9)
    assert drawn.groupby("group")["value"].sum().round(9).to_dict() == {
        "random neurons (mean)": 0.3,
        "the set itself": 0.6,
    }
    assert not some
    drawn, _ = overlap_tables.effects_drawn(table, list(sets), CODES[:2], "score_nas", "eng_Latn", 2, 9)
    assert set(drawn["label"]) == {"German (deu_Latn)"}, "the pivot's alignment with itself says nothing"
    drawn, some = overlap_tables.effects_drawn(table, list(sets), CODES[:2], "nats_per_byte", "eng_Latn", 2, 1)
    assert some
    assert set(drawn["label"]) == {"German (deu_Latn)"}


MORE = "costs the language more than random neurons as often active do (p = 0.050)"


@pytest.mark.parametrize(
    ("change", "own", "random", "controls", "said"),
    [
        ("nats_per_byte", 0.5, np.arange(19) / 40, 19, MORE),
        ("score_nas", -0.5, -np.arange(19) / 40, 19, MORE),
        ("nats_per_byte", 0.4, np.arange(19) / 40, 19, "no more than random neurons as often active: 3 of 19"),
        ("nats_per_byte", 0.5, np.arange(3) / 40, 3, "no more than random neurons as often active: 0 of 3"),
        ("nats_per_byte", -0.1, np.arange(-19, 0) / 40, 19, "ablation costs the language nothing"),
        ("nats_per_byte", 0.5, [0.6, 0.1], 19, "2 of 19 random sets are measured, of which 1 costs"),
        ("nats_per_byte", 0.5, [0.1], 19, "1 of 19 random sets are measured, none costs as much so far"),
    ],
)
def test_an_effect_is_said_only_beyond_all_controls(change, own, random, controls, said):
    """Planted effects; an unfinished control that exceeds its set is said, and gives no p."""
    effects = {"deu_Latn": own, **{f"deu_Latn · random {k}": value for k, value in enumerate(random, start=1)}}
    table = pd.DataFrame({"set": list(effects), "language": "deu_Latn", f"change_{change}": list(effects.values())})
    sets = {"deu_Latn": SimpleNamespace(count=7)}
    summary = overlap_tables.effects_summary(table, sets, ["deu_Latn"], change, controls)
    (text,) = overlap_tables.effects_sentences(summary, controls, change)
    assert said in text
    assert ("p = " in text) == (len(random) == controls)
    assert ("costs the language more than" in text) == (len(random) == 19 and abs(own) == 0.5)
