"""One neuron token by token: what is kept of it, and what stands out in a text."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace

import numpy as np
import pytest

from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import text_neurons, token_activations
from neuronxa_core.states import per_token, planning
from neuronxa_core.states.per_token import TextStates
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

SENTENCES = ["a dog runs in the rain", "猫は昼に", "a", "кошка спит", "the cat sat on the mat"]

# --------------------------------------------------------------------------------------------------------- the cache


@pytest.fixture(scope="module")
def pool():
    return ModelPool()


@pytest.fixture
def plan(store, tiny):
    return planning.make_plan(Experiment(model=str(tiny("llama")), languages=("spa_Latn",), sentences=20), store)


@pytest.fixture
def read(monkeypatch):
    """The sentences that the model reads, in order."""
    sentences: list[str] = []
    real = per_token.token_activations

    def spied(loaded, texts, *choices, **options):
        sentences.extend(texts)
        return real(loaded, texts, *choices, **options)

    monkeypatch.setattr(per_token, "token_activations", spied)
    return sentences


def same(x: per_token.TokenActivations, y: per_token.TokenActivations) -> bool:
    return (x.text, x.ids, x.truncated) == (y.text, y.ids, y.truncated) and x.values.tobytes() == y.values.tobytes()


def test_only_what_was_not_asked_before_is_read(plan, store, pool, read):
    first = token_activations.activations_of(plan, store, pool, "spa_Latn", [0, 1, 2, 3, 4], 1, 3)
    assert read == [plan.corpus.texts["spa_Latn"][k] for k in range(5)]
    read.clear()
    again = token_activations.activations_of(plan, store, pool, "spa_Latn", [6, 4, 2, 0, 5, 2], 1, 3)
    assert read == [plan.corpus.texts["spa_Latn"][k] for k in (6, 5)]
    assert [same(a, first[k]) for a, k in ((again[1], 4), (again[2], 2), (again[3], 0), (again[5], 2))] == [True] * 4
    assert [a.text for a in again] == [plan.corpus.texts["spa_Latn"][k] for k in (6, 4, 2, 0, 5, 2)]
    read.clear()
    texts = [plan.corpus.texts["spa_Latn"][0], "a text of my own"]
    token_activations.activations_of(plan, store, pool, "eng_Latn", texts, 1, 3)
    assert read == ["a text of my own"]


def test_what_is_known_needs_no_model(plan, store, pool):
    first = token_activations.activations_of(plan, store, pool, "eng_Latn", [0, 1], 1, 3)
    other = Store(store.folder)
    again = token_activations.activations_of(plan, other, None, "eng_Latn", [0, 1], 1, 3)
    other.close()
    assert all(same(a, b) for a, b in zip(first, again, strict=True))


def test_values_come_back_to_the_last_bit(plan, store, pool, monkeypatch):
    values = np.array([-0.0, 1e-45, 3.4028235e38, 0.1, -1 / 3, 16777217.0, np.nextafter(np.float32(1), 2)], np.float32)
    values = np.concatenate([values, np.random.default_rng(0).standard_normal(500).astype(np.float32)])
    made_up = per_token.TokenActivations("a", tuple(range(len(values))), values, True)
    monkeypatch.setattr(per_token, "token_activations", lambda *_choices, **_options: [made_up])
    token_activations.activations_of(plan, store, pool, "eng_Latn", ["a"], 0, 0)
    (back,) = token_activations.activations_of(plan, store, None, "eng_Latn", ["a"], 0, 0)
    assert back.values.dtype == np.float32 and same(back, made_up)


def test_another_layer_neuron_definition_model_or_dtype_is_read_anew(plan, store, pool, read, tiny):
    def ask(plan, layer=1, neuron=3):
        read.clear()
        token_activations.activations_of(plan, store, pool, "eng_Latn", [0], layer, neuron)
        return len(read)

    assert ask(plan) == 1 and ask(plan) == 0
    assert ask(plan, layer=2) == 1 and ask(plan, neuron=4) == 1
    model = str(tiny("llama"))
    for changes in ({"neuron": "gate"}, {"dtype": "bfloat16"}, {"model": str(tiny("llama", seed=1))}):
        experiment = Experiment(**{"model": model, "languages": ("spa_Latn",), "sentences": 20, **changes})
        assert ask(planning.make_plan(experiment, store)) == 1
    same_model = Experiment(model=model, languages=("deu_Latn", "spa_Latn"), sentences=10, state="nav")
    assert ask(planning.make_plan(same_model, store)) == 0
    assert ask(replace(plan, identity="")) == 1


def test_sessions_at_once_never_give_wrong_values(plan, store, pool):
    wanted = token_activations.activations_of(plan, Store(store.folder), pool, "eng_Latn", list(range(8)), 1, 3)
    store.drop(token_activations._activations_key(plan, 1, 3))
    wrong: list[object] = []

    def session(seed: int) -> None:
        own = Store(store.folder)
        order = np.random.default_rng(seed)
        for _ in range(6):
            rows = order.choice(8, 3, replace=False).tolist()
            for row, got in zip(
                rows, token_activations.activations_of(plan, own, pool, "eng_Latn", rows, 1, 3), strict=True
            ):
                if got.ids != wanted[row].ids or not np.allclose(got.values, wanted[row].values, 1e-4, 1e-5):
                    wrong.append((seed, row))
        own.close()

    threads = [threading.Thread(target=session, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_another_session_adds_meanwhile_is_kept(plan, store, pool, monkeypatch, read):
    real = per_token.token_activations

    def slow(loaded, texts, *choices, **options):
        found = real(loaded, texts, *choices, **options)
        monkeypatch.setattr(per_token, "token_activations", real)
        token_activations.activations_of(plan, store, _Lent(loaded), "eng_Latn", [1], 1, 3)
        return found

    monkeypatch.setattr(per_token, "token_activations", slow)
    token_activations.activations_of(plan, store, pool, "eng_Latn", [0], 1, 3)
    assert len(token_activations.activations_of(plan, store, None, "eng_Latn", [0, 1], 1, 3)) == 2


class _Lent(ModelPool):
    def __init__(self, loaded):
        super().__init__()
        self._model = loaded

    def acquire(self, _plan, patience=None):
        return contextlib.nullcontext(self._model)


def test_the_document_of_a_neuron_does_not_grow_for_ever(plan, store, pool, monkeypatch, read):
    monkeypatch.setattr(per_token, "KEPT_SENTENCES", 4)
    token_activations.activations_of(plan, store, pool, "eng_Latn", [0, 1, 2], 1, 3)
    token_activations.activations_of(plan, store, pool, "eng_Latn", [3, 4], 1, 3)
    read.clear()
    token_activations.activations_of(plan, store, pool, "eng_Latn", [1, 2, 3, 4], 1, 3)
    assert read == []
    assert len(token_activations.activations_of(plan, store, pool, "eng_Latn", list(range(9)), 1, 3)) == 9


@pytest.mark.parametrize(
    ("language", "row", "words"),
    [("eng_Latn", 10**6, "has no row"), ("eng_Latn", -1, "has no row"), ("xxx_Latn", 0, "no language xxx_Latn")],
)
def test_a_row_that_there_is_not_is_refused(plan, store, language, row, words):
    with pytest.raises(ExperimentError, match=words):
        token_activations.activations_of(plan, store, None, language, [row], 0, 0)


def test_an_empty_row_and_an_unknown_neuron_are_refused_without_a_model(plan, store):
    texts = {**plan.corpus.texts, "eng_Latn": ["", *plan.corpus.texts["eng_Latn"][1:]]}
    gappy = replace(plan, corpus=replace(plan.corpus, texts=texts))
    with pytest.raises(ExperimentError, match="row 0 is empty in eng_Latn"):
        token_activations.activations_of(gappy, store, None, "eng_Latn", [0], 0, 0)
    with pytest.raises(ExperimentError, match="has no neuron 99999"):
        token_activations.activations_of(plan, store, None, "eng_Latn", [0], 0, 99999)


# ----------------------------------------------------------------------------------------------------- what stands out


def states_of(values) -> TextStates:
    values = np.array(values, dtype=np.float32)
    return TextStates("x", tuple(range(values.shape[1])), values, False)


# [layer, token, neuron]
X = states_of([[[1, -4, 0], [3, 4, 0]], [[-1, 0.5, 2], [-1, 0.5, -2]]])
Y = states_of([[[2, -1, 1], [2, -1, 1], [2, -1, 1]], [[1, 1, 0], [0, 1, 0], [0, 1, 0]]])


def test_strongest_ranks_by_mean_size():
    table = text_neurons.strongest(X, top=4)
    assert table.values.tolist() == [
        [0, 1, 4.0, 0.5, -4.0, 1],
        [0, 0, 2.0, 1.0, 3.0, 2],
        [1, 2, 2.0, 0.5, 2.0, 1],
        [1, 0, 1.0, 0.0, -1.0, 1],
    ]
    assert list(table) == ["layer", "neuron", "mean_abs", "share_active", "peak", "peak_token"]
    assert len(text_neurons.strongest(X, top=1000)) == 6


def test_shared_neurons_counts_active_sets_by_layer():
    table = text_neurons.shared_neurons(X, Y)
    assert table.values.tolist() == [[0, 2, 2, 1, 1 / 3], [1, 2, 2, 1, 1 / 3]]
    half = text_neurons.shared_neurons(X, Y, threshold=0.5)
    assert half[["active_x", "active_y", "both"]].values.tolist() == [[1, 2, 1], [1, 1, 1]]
    nothing = states_of(-np.ones((2, 2, 3)))
    assert text_neurons.shared_neurons(nothing, nothing)["jaccard"].tolist() == [0.0, 0.0]


def test_strongest_shared_takes_the_weaker_of_the_two():
    table = text_neurons.strongest_shared(X, Y, top=5)
    assert table[["layer", "neuron", "weaker", "mean_abs_x", "mean_abs_y"]].values.tolist() == [
        [0, 0, 2.0, 2.0, 2.0],
        [1, 1, 0.5, 0.5, 1.0],
    ]
    assert table[["share_active_x", "share_active_y"]].values.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert len(text_neurons.strongest_shared(X, Y, top=1)) == 1
    assert len(text_neurons.strongest_shared(X, states_of(-np.ones((2, 1, 3))))) == 0


def test_texts_that_cannot_be_compared_are_refused():
    with pytest.raises(ExperimentError, match="different models"):
        text_neurons.shared_neurons(X, states_of(np.ones((2, 2, 4))))
    with pytest.raises(ExperimentError, match="threshold"):
        text_neurons.strongest_shared(X, Y, threshold=1.0)


def test_what_stands_out_agrees_with_a_plain_computation(loaded):
    x, y = per_token.text_activations(loaded("llama"), SENTENCES[:2])
    best = text_neurons.strongest(x, top=1).iloc[0]
    means = np.abs(x.values.astype(np.float64)).mean(axis=1)
    assert means[int(best.layer), int(best.neuron)] == pytest.approx(means.max())
    token = x.values[int(best.layer), int(best.peak_token) - 1, int(best.neuron)]
    assert token == best.peak and abs(token) == np.abs(x.values[int(best.layer), :, int(best.neuron)]).max()
    table = text_neurons.shared_neurons(x, y)
    for layer, row in table.iterrows():
        a, b = ((s.values[layer] > 0).any(axis=0) for s in (x, y))
        assert row.jaccard == pytest.approx((a & b).sum() / (a | b).sum())
