"""experiment.py: links that say everything, keys that change exactly when the numbers could."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronxa_core import experiment
from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import CHOICES, Experiment, digest, states_key

DEFAULT = Experiment()
named = st.text(min_size=1, max_size=30).filter(str.strip)
codes = st.from_regex(r"[a-z]{3}_[A-Z][a-z]{3}", fullmatch=True)
experiments = st.builds(
    Experiment,
    model=named,
    corpus=named,
    pivot=named,
    languages=st.lists(codes, max_size=5).map(tuple),
    sentences=st.none() | st.integers(2, 999_999_999),
    seed=st.none() | st.integers(0, 999_999_999),
    **{name: st.sampled_from(allowed) for name, allowed in CHOICES.items()},
)

# another value for every field
OTHER = {
    "model": "Qwen/Qwen3-8B",
    "corpus": "/data/flores",
    "pivot": "fra_Latn",
    "languages": ("swh_Latn", "deu_Latn"),
    "sentences": 100,
    "seed": 7,
    "state": "nav",
    "pooling": "last",
    "neuron": "gate",
    "dtype": "bfloat16",
    "device": "cpu",
    "layers": "max",
    "storage": "half",
}


def test_every_field_is_tried_below():
    assert set(OTHER) == {field.name for field in dataclasses.fields(Experiment)}
    assert all(getattr(DEFAULT, name) != value for name, value in OTHER.items())


# links


@given(experiments)
def test_a_link_names_the_experiment(chosen):
    query = chosen.to_query()
    assert Experiment.from_query(query) == chosen
    assert all(isinstance(key, str) and isinstance(value, str) and value for key, value in query.items())


@given(experiments)
def test_a_link_holds_only_what_is_not_the_default(chosen):
    different = {name for name in OTHER if getattr(chosen, name) != getattr(DEFAULT, name)}
    assert set(chosen.to_query()) == different


def test_links_by_hand():
    assert DEFAULT.to_query() == {}
    assert Experiment.from_query({}) == DEFAULT
    assert Experiment(**OTHER).to_query() == {
        "model": "Qwen/Qwen3-8B",
        "corpus": "/data/flores",
        "pivot": "fra_Latn",
        "languages": "swh_Latn,deu_Latn",
        "sentences": "100",
        "seed": "7",
        "state": "nav",
        "pooling": "last",
        "neuron": "gate",
        "dtype": "bfloat16",
        "device": "cpu",
        "layers": "max",
        "storage": "half",
    }
    assert Experiment.from_query({"seed": "0"}).seed == 0
    assert Experiment(seed=0).to_query() == {"seed": "0"}
    assert Experiment.from_query({"languages": ",a,,b,"}).languages == ("a", "b")
    assert Experiment.from_query({"unknown": "x", "layer": "3", "sentences": "", "model": ""}) == DEFAULT


@pytest.mark.parametrize("name", ["sentences", "seed"])
@pytest.mark.parametrize("text", ["x", "-1", "1.5", "1e3", " 5", "٣", "²", "0x10", "None", "1" * 10, "9" * 10_000])
def test_numbers_in_a_link(name, text):
    with pytest.raises(ExperimentError, match=f"^{name} in the link is a whole number, not ") as caught:
        Experiment.from_query({name: text})
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("name", CHOICES)
def test_values_in_a_link_that_are_none(name):
    with pytest.raises(ExperimentError, match=f"^{name} is one of {', '.join(CHOICES[name])}, not 'odd'$"):
        Experiment.from_query({name: "odd"})
    with pytest.raises(ExperimentError):
        Experiment.from_query({name: CHOICES[name][0].upper()})


@given(st.dictionaries(st.sampled_from(list(OTHER)), st.text(max_size=12)))
def test_any_link_is_an_experiment_or_a_clear_error(query):
    try:
        chosen = Experiment.from_query(query)
    except ExperimentError as error:
        assert str(error)
    else:
        assert Experiment.from_query(chosen.to_query()) == chosen


# what can be chosen


def test_the_defaults_are_those_of_the_method():
    assert (DEFAULT.state, DEFAULT.pooling, DEFAULT.neuron, DEFAULT.layers) == ("nas", "weighted", "product", "mean")
    assert (DEFAULT.model, DEFAULT.corpus, DEFAULT.sentences, DEFAULT.seed) == ("demo", "demo", None, None)


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name):
    for value in CHOICES[name]:
        assert getattr(Experiment(**{name: value}), name) == value
    for value in ("", "odd", None, 3):
        with pytest.raises(ExperimentError, match=f"^{name} is one of "):
            Experiment(**{name: value})


@pytest.mark.parametrize("name", ["model", "corpus", "pivot"])
def test_names_are_not_empty(name):
    for value in ("", " ", "\n\t"):
        with pytest.raises(ExperimentError, match=f"^{name} is empty$"):
            Experiment(**{name: value})


def test_bounds_of_numbers():
    assert Experiment(sentences=2).sentences == 2
    for value in (1, 0, -5):
        with pytest.raises(ExperimentError, match=f"^sentences must be at least 2, not {value}$"):
            Experiment(sentences=value)
    with pytest.raises(ExperimentError, match=r"^seed must be 0 or more, not -1$"):
        Experiment(seed=-1)


def test_an_experiment_is_frozen_and_hashable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT.model = "other"
    assert {Experiment(): 1}[Experiment()] == 1


# keys


@pytest.mark.parametrize("name", OTHER)
def test_the_key_changes_with_every_choice(name):
    changed = dataclasses.replace(DEFAULT, **{name: OTHER[name]})
    assert changed.key != DEFAULT.key
    assert dataclasses.replace(changed, **{name: getattr(DEFAULT, name)}).key == DEFAULT.key


@given(experiments, experiments)
def test_keys_are_equal_where_experiments_are(one, other):
    assert (one.key == other.key) == (one == other)
    assert dataclasses.replace(one).key == one.key


@pytest.mark.parametrize("name", OTHER)
def test_the_same_states_serve_experiments_that_only_read_them_differently(name):
    """State, pooling and layers come from one run; everything else asks for another."""
    changed = dataclasses.replace(DEFAULT, **{name: OTHER[name]})
    assert (changed.extraction == DEFAULT.extraction) == (name in ("state", "pooling", "layers"))


@given(experiments)
def test_what_is_extracted_for_an_extraction_is_itself(chosen):
    extraction = chosen.extraction
    assert extraction.extraction == extraction
    for name in set(OTHER) - {"state", "pooling", "layers"}:
        assert getattr(extraction, name) == getattr(chosen, name)


# the key of one language's states

PARTS = {
    "model_identity": "files:0123",
    "dtype": "float32",
    "neuron": "product",
    "storage": "exact",
    "max_length": 512,
    "version": 1,
    "sentences": ["a", "b", "ab"],
}
CHANGED = {
    "model_identity": ["files:0124", "hub:o/n@0123", ""],
    "dtype": ["bfloat16"],
    "neuron": ["gate"],
    "storage": ["half"],
    "max_length": [511, 5120],
    "version": [2],
    "sentences": [["b", "a", "ab"], ["a", "b"], ["a", "b", "ab", ""], ["a", "bab"], ["a", "b", "ab "], ["a", "b", "äb"],
                  ["a\nb", "ab"], ["a,b", "ab"], ['a","b', "ab"], [], ["A", "b", "ab"], ["a", "b", "\ud800"]],
}  # fmt: skip


def test_the_states_key_changes_with_every_part():
    keys = [states_key(**PARTS)]
    keys += [states_key(**{**PARTS, name: value}) for name, values in CHANGED.items() for value in values]
    assert set(CHANGED) == set(PARTS)
    assert len(set(keys)) == len(keys)


def test_parts_of_the_states_key_do_not_run_into_each_other():
    assert states_key(**{**PARTS, "max_length": 51, "version": 21}) != states_key(
        **{**PARTS, "max_length": 512, "version": 1}
    )
    swapped = {**PARTS, "dtype": PARTS["neuron"], "neuron": PARTS["dtype"]}
    assert states_key(**swapped) != states_key(**PARTS)
    # composed and decomposed characters are different sentences here: the corpus makes them one before
    assert states_key(**{**PARTS, "sentences": ["é"]}) != states_key(**{**PARTS, "sentences": ["e\u0301"]})


@given(st.lists(st.text(max_size=8), max_size=5), st.lists(st.text(max_size=8), max_size=5))
def test_the_states_key_is_equal_only_for_equal_sentences(one, other):
    keys = [states_key(**{**PARTS, "sentences": sentences}) for sentences in (one, other, tuple(one))]
    assert keys[0] == keys[2]
    assert (keys[0] == keys[1]) == (one == other)
    assert keys[0].startswith("states-")
    assert keys[0].removeprefix("states-").isalnum()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=6))
def test_a_digest_is_of_the_content(content):
    again = json.loads(json.dumps(content))
    assert digest(content) == digest(again)
    assert len(digest(content)) == 32
    assert digest([content]) != digest(content)


def test_a_digest_knows_no_order_of_keys():
    items = [(name, k) for k, name in enumerate("abcdef")]
    shuffled = items[:]
    random.Random(0).shuffle(shuffled)
    assert shuffled != items
    assert digest(dict(items)) == digest(dict(shuffled))


def test_keys_are_the_same_in_another_process():
    """The cache on disk outlives the process, and python's own hash does not."""
    program = (
        "from neuronxa_core.experiment import Experiment, states_key;"
        f"print(Experiment(**{OTHER!r}).key, states_key(**{PARTS!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(experiment.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [Experiment(**OTHER).key, states_key(**PARTS)]
