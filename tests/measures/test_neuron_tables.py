"""What is shown of one neuron, on activations by hand."""

import numpy as np

from neuronxa_core.corpora.parallel import Corpus
from neuronxa_core.measures import neuron_tables
from neuronxa_core.measures.activation_counts import ActivationCounts
from neuronxa_core.models.token_text import Unit
from neuronxa_core.states.per_token import TokenActivations

CODES = ("eng_Latn", "deu_Latn", "tha_Thai", "ell_Grek")
COUNTS = np.array([[[10, 5]], [[2, 5]], [[30, 5]], [[20, 5]]], dtype=np.uint32)
ACTIVITY = ActivationCounts(CODES, COUNTS, np.array([100, 100, 100, 50]))


def test_languages_come_by_probability_with_the_quartiles_of_their_sentences():
    values = {code: np.arange(5.0) + k for k, code in enumerate(CODES)}
    table = neuron_tables.by_language(ACTIVITY, values, 0, 0)
    assert table["language"].tolist() == ["ell_Grek", "tha_Thai", "eng_Latn", "deu_Latn"]
    assert table["probability"].tolist() == [0.4, 0.3, 0.1, 0.02]
    assert table.iloc[0][["low", "lower", "median", "upper", "high"]].tolist() == [3, 4, 5, 6, 7]


def test_languages_side_by_side_are_the_pivot_the_most_active_and_other_scripts():
    assert neuron_tables.contrasting_languages(ACTIVITY, "deu_Latn", 0, 0) == [
        "deu_Latn",
        "ell_Grek",
        "tha_Thai",
        "eng_Latn",
    ]
    assert neuron_tables.contrasting_languages(ACTIVITY, "eng_Latn", 0, 0, count=2) == ["eng_Latn", "ell_Grek"]


def test_one_language_has_no_specific_neuron():
    assert neuron_tables.most_specific(ACTIVITY.of(["eng_Latn"])) == (0, 0)


def test_top_sentences_are_those_of_any_language_and_shown_in_all():
    silent_first = {"eng_Latn": np.array([0.0, 0.1, 0.0]), "tha_Thai": np.array([0.2, 0.1, 0.9])}
    assert list(neuron_tables.top_sentences(silent_first, 1)) == [2, 1]
    values = {"eng_Latn": np.array([0.1, 0.9, 0.5]), "deu_Latn": np.array([0.2, 0.8, 0.9])}
    by_row = neuron_tables.top_sentences(values, 1)
    assert by_row == {1: ["eng_Latn"], 2: ["deu_Latn"]}
    corpus = Corpus("made", "eng_Latn", ("deu_Latn",), {}, (4, 5, 6, 9), (0, 2, 3), None, ())
    read = {
        code: [TokenActivations(f"{code} {row}", (1, 2), np.array([0.5, -2.0]), False) for row in by_row]
        for code in values
    }
    table = neuron_tables.sentence_table(corpus, by_row, values, read)
    assert table[["language", "sentence", "line", "value", "among the strongest"]].to_numpy().tolist() == [
        ["eng_Latn", 2, 6, 0.9, True],
        ["deu_Latn", 2, 6, 0.8, False],
        ["eng_Latn", 3, 9, 0.5, False],
        ["deu_Latn", 3, 9, 0.9, True],
    ]
    assert table["tokens"][0] == "0.5 -2"
    assert table["text"][3] == "deu_Latn 2"


def test_the_largest_activation_leaves_special_tokens_out():
    read = [TokenActivations("ab", (0, 1, 2), np.array([9.0, -2.0, 1.0]), False)]
    units = [(Unit("", (0,), special=True), Unit("ab", (1, 2)))]
    assert neuron_tables.largest_activation(read, units) == 2
    assert neuron_tables.largest_activation([], []) == 0
