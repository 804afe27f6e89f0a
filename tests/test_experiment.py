"""experiment.py: links that say everything, keys that change exactly when the numbers could."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import CHOICES, ENTRIES, Experiment, digest

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
    kept=st.lists(st.sampled_from(ENTRIES), min_size=1).map(tuple),
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
    "kept": ("nas_mean", "emb_last"),
}


# links


@given(experiments)
def test_a_link_names_the_experiment(chosen):
    query = chosen.to_query()
    assert Experiment.from_query(query) == chosen
    assert set(query) == {name for name in OTHER if getattr(chosen, name) != getattr(DEFAULT, name)}
    assert all(isinstance(key, str) and isinstance(value, str) and value for key, value in query.items())


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
        "kept": "nas_mean,emb_last",
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


def test_activation_counts_and_what_is_read_are_always_kept():
    assert Experiment().needed == ("nas_weighted", "nav_weighted", "emb_weighted")
    assert Experiment(kept=("nas_weighted",)).needed == ("nas_weighted",)
    chosen = Experiment(state="nav", pooling="mean", kept=("emb_last",))
    assert chosen.needed == chosen.extraction.kept == ("nas_weighted", "emb_last", "nav_mean")
    for kept, said in ((("nas_odd",), "nas_odd"), ((), "")):
        with pytest.raises(ExperimentError, match=f"^kept are some of nas_weighted, .*, hid_mean, not '{said}'$"):
            Experiment(kept=kept)


def test_bounds_of_numbers():
    assert Experiment(sentences=2).sentences == 2
    for value in (1, 0, -5):
        with pytest.raises(ExperimentError, match=f"^sentences must be at least 2, not {value}$"):
            Experiment(sentences=value)
    with pytest.raises(ExperimentError, match=r"^seed must be 0 or more, not -1$"):
        Experiment(seed=-1)


# keys


@pytest.mark.parametrize("name", OTHER)
def test_the_key_changes_with_every_choice(name):
    assert set(OTHER) == {field.name for field in dataclasses.fields(Experiment)}
    changed = dataclasses.replace(DEFAULT, **{name: OTHER[name]})
    assert changed.key != DEFAULT.key
    assert dataclasses.replace(changed, **{name: getattr(DEFAULT, name)}).key == DEFAULT.key
    # state and layers come from one run of extraction; everything else asks for another
    assert (changed.extraction == DEFAULT.extraction) == (name in ("state", "layers"))


def test_a_digest_is_of_the_content_and_knows_no_order_of_names():
    contents = [None, True, 1, "1", [1], [[1]], {"a": 1, "b": [2]}, "é", "e\u0301"]
    assert len({digest(content) for content in contents}) == len(contents)
    assert digest({"b": [2], "a": 1}) == digest({"a": 1, "b": [2]})
    # the cache on disk outlives the process, and python's own hash does not
    assert digest(["a", 1]) == "484c670ce4753ed75a3cc908af49224a"
    assert Experiment(**OTHER).key == "abfc50f310f4d31bed018980bc7e8778"
