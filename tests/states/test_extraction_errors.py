"""Extraction of values that are no numbers, of passes that fail, of models that work in another way, on a full disk."""

from __future__ import annotations

import dataclasses
import errno
import os

import numpy as np
import pytest
import torch
from tiny_models import (
    HIDDEN,
    INNER,
    LAYERS,
    byte_tokenizer,
)

from neuronxa_core.errors import ExtractionError
from neuronxa_core.host.process_memory import on_disk
from neuronxa_core.models import loading, sources
from neuronxa_core.states import extraction
from neuronxa_core.states.extraction import extract

SENTENCES = [
    "a dog runs in the rain",
    "猫は昼に",
    "a",
    "кошка спит",
    "the cat sat on the mat",
    "die Katze am Tag",
]
# what is no number


@pytest.mark.parametrize(("bad", "part"), [("inf", "up_proj"), ("nan", "up_proj"), ("inf", "down_proj")])
@pytest.mark.parametrize("layer", [1, LAYERS - 1])
def test_inf_and_nan_name_state_layer_and_language(bad, part, layer, tiny):
    def plant(model):
        model.layers[layer].mlp.get_submodule(part).weight[3, 4] = float(bad)

    folder = tiny("llama", edit=plant)
    model = loading.load(sources.parse_source(str(folder)), device="cpu")
    state = "NAV" if part == "up_proj" else "EMB"
    said = f"^Swahili: inf or NaN in the {state} of layer {layer} of {folder.name} at dtype float32"
    with pytest.raises(ExtractionError, match=said):
        extract(model, "Swahili", SENTENCES)


def test_nan_of_one_token_of_one_sentence(tiny):
    token = byte_tokenizer(True).encode("ш").ids[-2]

    def plant(model):
        model.embed_tokens.weight[token] = float("nan")

    model = loading.load(sources.parse_source(str(tiny("llama", edit=plant))), device="cpu")
    assert extract(model, "eng", ["a", "the cat"]).tokens.size == 2
    with pytest.raises(ExtractionError, match=r"^rus: inf or NaN in the HID of layer 0"):
        extract(model, "rus", ["a", "the cat", "ш"], token_budget=1)


def test_half_precision_that_overflows(tiny):
    """Beyond 65504 a float16 is inf; bfloat16 holds the same value."""

    def plant(model):
        model.layers[1].mlp.gate_proj.weight.mul_(300)
        model.layers[1].mlp.up_proj.weight.mul_(300)

    source = sources.parse_source(str(tiny("llama", edit=plant)))
    with pytest.raises(ExtractionError, match=r"inf or NaN in the NAV of layer 1 .* dtype float16; choose bfloat16"):
        extract(loading.load(source, "float16", "cpu"), "eng", SENTENCES)
    got = extract(loading.load(source, "bfloat16", "cpu"), "eng", SENTENCES)
    assert got.arrays["nav_last"][1].max() > 65504


# passes that fail


def test_a_pass_that_fails_names_model_language_and_cause(loaded):
    model = loaded("llama")
    for error in (ValueError("odd\n  shape"), IndexError("index 7 is out of range"), KeyError("x"), RuntimeError("no")):

        def fail(_module, _args, error=error):
            raise error

        handle = model.model.layers[1].register_forward_pre_hook(fail)
        try:
            with pytest.raises(ExtractionError) as caught:
                extract(model, "Swahili", SENTENCES)
        finally:
            handle.remove()
        message = str(caught.value)
        cause = " ".join(str(error).split())
        assert message == f"Swahili: the forward pass of {model.info.name} failed: {type(error).__name__}: {cause}"
        assert caught.value.__cause__ is error


def test_more_tokens_than_positions(tiny):
    loaded = loading.load(sources.parse_source(str(tiny("gpt2", n_positions=8))), device="cpu")
    assert extract(loaded, "eng", SENTENCES).tokens.max() == 8
    wrong = dataclasses.replace(loaded, info=dataclasses.replace(loaded.info, max_length=99))
    with pytest.raises(ExtractionError, match=f"^eng: the forward pass of {loaded.info.name} failed: IndexError: "):
        extract(wrong, "eng", SENTENCES)


# models that work in another way


def test_a_network_that_runs_more_than_once(tiny):
    model = loading.load(sources.parse_source(str(tiny("llama"))), device="cpu")
    model.model.layers[1].mlp = model.model.layers[0].mlp
    with pytest.raises(
        ExtractionError, match=r"^LlamaModel runs layer 0's feed-forward network more than once per pass"
    ):
        extract(model, "eng", SENTENCES)


def test_a_network_that_is_not_run_as_a_module(tiny):
    model = loading.load(sources.parse_source(str(tiny("llama"))), device="cpu")
    model.model.layers[1].mlp.forward = torch.nn.functional.relu
    with pytest.raises(ExtractionError, match=r"^LlamaModel did not run the feed-forward network of layers \[1\]"):
        extract(model, "eng", SENTENCES)


def test_states_whose_tokens_cannot_be_told(tiny):
    """XLNet works on [position, row]: to take that for [row, position] would mix sentences up silently."""
    folder = tiny("xlnet", d_head=HIDDEN // 4, d_inner=INNER)
    model = loading.load(sources.parse_source(str(folder)), device="cpu")
    with pytest.raises(
        ExtractionError, match=r"^XLNetModel works in layer 0 on states of shape \[\d+, 6, \d+\].*batch of 6"
    ):
        extract(model, "eng", SENTENCES)


def test_a_layer_that_returns_a_list(tiny):
    """The first GPT does; its last layer has no norm behind it."""
    model = loading.load(sources.parse_source(str(tiny("openai-gpt"))), device="cpu")
    got = extract(model, "eng", SENTENCES)
    for k, sentence in enumerate(SENTENCES):
        ids = torch.tensor([byte_tokenizer(True).encode(sentence).ids])
        with torch.inference_mode():
            hidden = model.model(input_ids=ids, output_hidden_states=True).hidden_states
        for layer in range(LAYERS):
            np.testing.assert_allclose(got.arrays["emb_last"][layer, k], hidden[layer + 1][0, -1], atol=1e-4)


# states on the disk


def test_large_states_lie_on_the_disk_and_are_the_same(loaded, tmp_path, monkeypatch):
    model = loaded("llama")
    held = extract(model, "eng", SENTENCES, storage="half")
    made = []
    monkeypatch.setattr(extraction, "HELD_BYTES", sum(array.nbytes for array in held.arrays.values()) - 1)
    monkeypatch.setattr(extraction, "on_disk", lambda *what: made.append(what) or on_disk(*what))
    written = extract(model, "eng", SENTENCES, storage="half", folder=tmp_path, token_budget=1)
    assert {folder for _shape, _dtype, folder in made} == {tmp_path}
    assert len(made) == len(written.arrays) == len(held.arrays)
    for name, array in held.arrays.items():
        assert (written.arrays[name].shape, written.arrays[name].dtype) == (array.shape, array.dtype)
        if name.startswith("nas"):
            assert np.array_equal(written.arrays[name], array)
    monkeypatch.setattr(extraction, "HELD_BYTES", 1 << 30)
    made.clear()
    extract(model, "eng", SENTENCES)
    assert made == []


def test_a_full_disk_is_said_with_the_language(loaded, tmp_path, monkeypatch):
    def full(*_what):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(extraction, "HELD_BYTES", 0)
    monkeypatch.setattr(extraction, "on_disk", full)
    with pytest.raises(ExtractionError, match=rf"^Swahili: its states take 0\.0 GiB.*{tmp_path}.*No space left"):
        extract(loaded("llama"), "Swahili", SENTENCES, folder=tmp_path)
