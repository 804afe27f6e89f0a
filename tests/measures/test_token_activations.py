"""One neuron at every token of sentences: what is read, kept and shared between sessions."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace

import numpy as np
import pytest

from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import token_activations
from neuronxa_core.measures.token_activations import TokenActivationsMeasure, activations_of
from neuronxa_core.models import fingerprint, token_text
from neuronxa_core.states import per_token, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

TEXTS = [f"sentence {k}" for k in range(9)]


@pytest.fixture(scope="module")
def pool():
    return ModelPool()


@pytest.fixture
def plan(store, tiny):
    return planning.make_plan(Experiment(model=str(tiny("llama")), languages=("spa_Latn",), sentences=8), store)


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


def test_only_what_was_not_asked_before_is_read_and_the_rest_needs_no_model(plan, store, pool, read):
    first = activations_of(plan, store, pool, "spa_Latn", TEXTS[:5], 1, 3)
    assert read == TEXTS[:5]
    read.clear()
    asked = [TEXTS[k] for k in (6, 4, 2, 0, 5, 2)]
    again = activations_of(plan, store, pool, "eng_Latn", asked, 1, 3)
    assert read == [TEXTS[6], TEXTS[5]]
    assert [one.text for one in again] == asked
    other = Store(store.folder)
    assert all(map(same, activations_of(plan, other, None, "eng_Latn", TEXTS[:5], 1, 3), first))
    other.close()


def test_values_come_back_to_the_last_bit(plan, store, pool, monkeypatch):
    values = np.array([-0.0, 1e-45, 3.4028235e38, 0.1, -1 / 3, 16777217.0, np.nextafter(np.float32(1), 2)], np.float32)
    values = np.concatenate([values, np.random.default_rng(0).standard_normal(500).astype(np.float32)])
    made_up = per_token.TokenActivations("a", tuple(range(len(values))), values, True)
    monkeypatch.setattr(per_token, "token_activations", lambda *_choices, **_options: [made_up])
    activations_of(plan, store, pool, "eng_Latn", ["a"], 0, 0)
    (back,) = activations_of(plan, store, None, "eng_Latn", ["a"], 0, 0)
    assert back.values.dtype == np.float32 and same(back, made_up)


def test_another_layer_neuron_definition_model_or_dtype_is_read_anew(plan, store, pool, read, tiny, monkeypatch):
    def ask(plan, layer=1, neuron=3):
        read.clear()
        activations_of(plan, store, pool, "eng_Latn", TEXTS[:1], layer, neuron)
        return len(read)

    assert ask(plan) == 1 and ask(plan) == 0
    assert ask(plan, layer=2) == 1 and ask(plan, neuron=4) == 1
    for changes in ({"neuron": "gate"}, {"dtype": "bfloat16"}, {"model": str(tiny("llama", seed=1))}):
        assert ask(planning.make_plan(replace(plan.experiment, **changes), store)) == 1
    same_model = replace(plan.experiment, languages=("deu_Latn", "spa_Latn"), sentences=10, state="nav")
    assert ask(planning.make_plan(same_model, store)) == 0
    monkeypatch.setattr(fingerprint, "check_unchanged", lambda *_: None)  # as if the model's files were others
    assert ask(replace(plan, identity="")) == 1


def test_sessions_at_once_never_give_wrong_values(plan, store, pool):
    wanted = activations_of(plan, store, pool, "eng_Latn", TEXTS, 1, 3)
    store.drop(token_activations._key(plan, 1, 3))
    wrong: list[object] = []

    def session(seed: int) -> None:
        own = Store(store.folder)
        order = np.random.default_rng(seed)
        for _ in range(6):
            rows = order.choice(8, 3, replace=False).tolist()
            found = activations_of(plan, own, pool, "eng_Latn", [TEXTS[row] for row in rows], 1, 3)
            for row, got in zip(rows, found, strict=True):
                if got.ids != wanted[row].ids or not np.allclose(got.values, wanted[row].values, 1e-4, 1e-5):
                    wrong.append((seed, row))
        own.close()

    threads = [threading.Thread(target=session, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_another_session_adds_meanwhile_is_kept(plan, store, pool, monkeypatch):
    real = per_token.token_activations

    class Lent(ModelPool):
        def acquire(self, _plan, patience=None):
            return contextlib.nullcontext(lent)

    def slow(loaded, texts, *choices, **options):
        nonlocal lent
        lent = loaded
        found = real(loaded, texts, *choices, **options)
        monkeypatch.setattr(per_token, "token_activations", real)
        activations_of(plan, store, Lent(), "eng_Latn", TEXTS[1:2], 1, 3)
        return found

    lent = None
    monkeypatch.setattr(per_token, "token_activations", slow)
    activations_of(plan, store, pool, "eng_Latn", TEXTS[:1], 1, 3)
    assert len(activations_of(plan, store, None, "eng_Latn", TEXTS[:2], 1, 3)) == 2


def test_the_document_of_a_neuron_does_not_grow_for_ever(plan, store, pool, monkeypatch, read):
    monkeypatch.setattr(token_activations, "KEPT_SENTENCES", 4)
    activations_of(plan, store, pool, "eng_Latn", TEXTS[:3], 1, 3)
    activations_of(plan, store, pool, "eng_Latn", TEXTS[3:5], 1, 3)
    read.clear()
    activations_of(plan, store, pool, "eng_Latn", TEXTS[1:5], 1, 3)
    assert read == []
    assert len(activations_of(plan, store, pool, "eng_Latn", TEXTS, 1, 3)) == 9


def test_a_neuron_that_there_is_not_is_refused_without_a_model(plan, store):
    with pytest.raises(ExperimentError, match="has no neuron 99999"):
        activations_of(plan, store, None, "eng_Latn", TEXTS, 0, 99999)
    with pytest.raises(ExperimentError, match="has no layer 3"):
        TokenActivationsMeasure(plan, 3, 0)


def test_the_table_has_a_row_per_token(plan, store, pool):
    measure = TokenActivationsMeasure(plan, 1, 3)
    measure.run(store, pool)
    table = measure.table(store)
    tokenizer = token_text.tokenizer_of(plan.source, plan.identity)
    assert token_text.token_strings(tokenizer, [10**6]) == ("",)
    for code in plan.all_languages:
        texts = [plan.corpus.texts[code][row] for row in plan.corpus.usable]
        read = activations_of(plan, store, pool, code, texts, 1, 3)
        for number, one in enumerate(read, start=1):
            rows = table[(table["language"] == code) & (table["sentence"] == number)]
            assert rows["position"].tolist() == list(range(1, len(one.ids) + 1))
            assert rows["token_id"].tolist() == list(one.ids)
            assert tuple(rows["token"]) == token_text.token_strings(tokenizer, one.ids)
            np.testing.assert_allclose(rows["activation"], one.values, rtol=1e-4, atol=1e-5)
