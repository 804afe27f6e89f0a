"""Activations token by token, against the plain computation and against what extraction pools."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from tiny_models import (
    CHOSEN,
    COLUMNS,
    EXPERTS,
    HIDDEN,
    LAYERS,
    MOE_FAMILIES,
    PlainExperts,
    PlainNeurons,
    byte_tokenizer,
)

from neuronxa_core.errors import ExperimentError, ExtractionError, ModelError
from neuronxa_core.models import loading, sources
from neuronxa_core.states import extraction, per_token
from neuronxa_core.states.hooks import TokenHooks

SENTENCES = ["a dog runs in the rain", "猫は昼に", "a", "кошка спит", "the cat sat on the mat"]
# opt flattens rows and positions into one axis
SEVERAL = [("llama", "gate"), ("phi3", "product"), ("gpt2", "product"), ("opt", "product"), ("bert", "product")]


def values_of(*arguments, **options) -> list[np.ndarray]:
    return [one.values for one in per_token.token_activations(*arguments, **options)]


@pytest.mark.parametrize(("family", "definition"), SEVERAL)
def test_token_activations_sum_to_what_extraction_pools(loaded, family, definition):
    model = loaded(family)
    states = extraction.extract(model, "xx", SENTENCES, definition)
    whole = per_token.text_activations(model, SENTENCES, definition)
    for layer in range(LAYERS):
        for neuron in (0, 17, model.info.neurons - 1):
            read = values_of(model, SENTENCES, layer, neuron, definition)
            assert [len(values) for values in read] == states.tokens.tolist()
            assert all(values.dtype == np.float32 for values in read)
            for k, values in enumerate(read):
                np.testing.assert_allclose(whole[k].values[layer, :, neuron], values, rtol=1e-4, atol=1e-5)
                assert (values > 0).sum() == states.arrays["nas_mean"][layer, k, neuron]
                assert (values[-1] > 0) == states.arrays["nas_last"][layer, k, neuron]
                assert abs(values[-1]) == states.arrays["nav_last"][layer, k, neuron]
                np.testing.assert_allclose(np.abs(values).sum(), states.arrays["nav_mean"][layer, k, neuron], rtol=2e-6)


@pytest.mark.parametrize("definition", ["product", "gate"])
def test_values_are_those_of_the_formula(tiny, loaded, definition):
    model, plain = loaded("qwen2"), PlainNeurons("qwen2", tiny("qwen2"))
    ids = byte_tokenizer(True).encode(SENTENCES[0]).ids
    inputs = []
    first = model.model.get_submodule(plain.first_path(2))
    handle = first.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    with torch.inference_mode():
        model.model(input_ids=torch.tensor([ids]))
    handle.remove()
    wanted = plain.activations(2, inputs[0].reshape(len(ids), HIDDEN), definition).numpy()
    (read,) = values_of(model, SENTENCES[:1], 2, 7, definition)
    (states,) = per_token.text_activations(model, SENTENCES[:1], definition)
    np.testing.assert_allclose(read, wanted[:, 7], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(states.values[2], wanted, rtol=1e-4, atol=1e-5)
    assert (wanted < 0).any() and np.array_equal(np.sign(read), np.sign(wanted[:, 7]))
    assert states.ids == tuple(ids) and not states.truncated


@pytest.mark.parametrize(
    ("family", "definition"),
    [(name, "product") for name in MOE_FAMILIES]
    + [(name, "gate") for name in MOE_FAMILIES if MOE_FAMILIES[name].product is None],
)
def test_a_mixtures_values_are_those_of_the_formula_and_0_where_the_expert_was_not_chosen(
    tiny, loaded, family, definition
):
    model, plain = loaded(family), PlainExperts(family, tiny(family))
    inputs: dict[str, torch.Tensor] = {}
    module = model.model.get_submodule(MOE_FAMILIES[family].experts.format(1))
    for sentence in SENTENCES:
        handle = module.register_forward_pre_hook(
            lambda _m, args, sentence=sentence: inputs.update({sentence: args[0]})
        )
        with torch.inference_mode():
            model.model(input_ids=torch.tensor([byte_tokenizer(True).encode(sentence).ids]))
        handle.remove()
    wanted = {sentence: plain.activations(1, x, definition).numpy() for sentence, x in inputs.items()}
    together = per_token.text_activations(model, SENTENCES, definition)
    for sentence, states in zip(SENTENCES, together, strict=True):
        assert states.values.shape == (LAYERS, len(wanted[sentence]), EXPERTS * COLUMNS)
        np.testing.assert_allclose(states.values[1], wanted[sentence], rtol=1e-4, atol=2e-5)
        on = states.values.reshape(LAYERS, -1, EXPERTS, COLUMNS).any(axis=3)
        assert (on.sum(axis=2) == CHOSEN).all()
    for neuron in (0, COLUMNS - 1, COLUMNS, 3 * COLUMNS + 7, EXPERTS * COLUMNS - 1):
        read = values_of(model, SENTENCES, 1, neuron, definition)
        for sentence, values in zip(SENTENCES, read, strict=True):
            np.testing.assert_allclose(values, wanted[sentence][:, neuron], rtol=1e-4, atol=2e-5)
    assert any((values == 0).any() and (values != 0).any() for values in wanted.values())


def test_a_mixture_that_runs_twice_is_refused_and_its_own_way_comes_back(tiny):
    model = loading.load(sources.parse_source(str(tiny("mixtral"))), device="cpu")
    own = model.model.config._experts_implementation
    model.model.layers[1].mlp = model.model.layers[0].mlp
    for read in (
        lambda: per_token.text_activations(model, SENTENCES),
        lambda: values_of(model, SENTENCES, 1, 5),
    ):
        with pytest.raises(
            ExtractionError, match=r"^MixtralModel (runs layer \d's|did not run the) feed-forward network"
        ):
            read()
        assert model.model.config._experts_implementation == own


def test_gate_is_refused_where_a_mixture_does_not_have_it(loaded):
    model = loaded("gpt_oss")
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.model.modules()]
    with pytest.raises(ModelError, match="choose 'product'"):
        values_of(model, SENTENCES, 0, 0, "gate")
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.model.modules()] == hooks


def test_the_forward_pass_ends_after_the_layer_and_leaves_no_hook(loaded):
    model = loaded("llama")
    ran = []

    def hooks():  # transformers hangs its own into a model that was once asked for hidden states
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.model.modules())

    before = hooks()
    handles = [
        model.model.get_submodule(network.layer).register_forward_pre_hook(lambda *_args, k=k: ran.append(k))
        for k, network in enumerate(model.feed_forwards)
    ]
    values_of(model, SENTENCES[:1], 1, 0)
    for handle in handles:
        handle.remove()
    assert ran == [0, 1]
    assert hooks() == before


def test_a_model_that_accelerate_moves_about_gives_the_same(tiny):
    source = sources.parse_source(str(tiny("llama")))
    model = loading.load(source, device="cpu")
    wanted = [values_of(model, SENTENCES, layer, 3) for layer in range(LAYERS)]
    cpu_offload(model.model, execution_device=torch.device("cpu"))
    for _ in range(2):
        for layer in range(LAYERS):
            for got, value in zip(values_of(model, SENTENCES, layer, 3), wanted[layer], strict=True):
                np.testing.assert_array_equal(got, value)
            assert {p.device.type for p in model.model.parameters()} == {"meta"}, "weights were left behind"


@pytest.mark.parametrize(("layer", "neuron"), [(-1, 0), (LAYERS, 0), (0, -1), (0, 10**6)])
def test_a_layer_or_neuron_that_there_is_not_is_refused(loaded, layer, neuron):
    with pytest.raises(ExperimentError, match=r"llama.* has no (layer|neuron)"):
        values_of(loaded("llama"), SENTENCES, layer, neuron)


def test_nan_names_language_and_layer(tiny):
    def plant(model):
        model.layers[1].mlp.up_proj.weight[4] = float("nan")

    model = loading.load(sources.parse_source(str(tiny("llama", edit=plant))), device="cpu")
    assert np.isfinite(values_of(model, SENTENCES, 1, 5)[0]).all()
    with pytest.raises(ExtractionError, match=r"swh_Latn: inf or NaN in the activations of layer 1 .* choose"):
        values_of(model, SENTENCES, 1, 4, language="swh_Latn")
    with pytest.raises(ExtractionError, match="the text: inf or NaN in the activations of layer 1"):
        per_token.text_activations(model, SENTENCES[:1])


def test_when_memory_runs_out_the_batch_is_made_smaller(loaded, monkeypatch):
    model = loaded("llama")
    wanted = values_of(model, SENTENCES, 1, 3)
    sizes = []
    real = TokenHooks.run

    def run(hooks, rows):
        sizes.append(len(rows))
        if len(rows) > 1:
            raise torch.OutOfMemoryError("out of memory")
        real(hooks, rows)

    monkeypatch.setattr(TokenHooks, "run", run)
    got = values_of(model, SENTENCES, 1, 3)
    assert max(sizes) > 1
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_text_whose_activations_are_too_large_is_refused(loaded, monkeypatch):
    model = loaded("llama")
    bytes_per_token = model.info.layers * model.info.neurons * 4
    tokens = len(byte_tokenizer(True).encode(SENTENCES[0]).ids)
    monkeypatch.setattr(per_token, "TEXT_BYTES", tokens * bytes_per_token)
    assert len(per_token.text_activations(model, SENTENCES[:1])) == 1
    monkeypatch.setattr(per_token, "TEXT_BYTES", tokens * bytes_per_token - 1)
    with pytest.raises(ExtractionError, match=f"shorten the text to {tokens - 1} tokens"):
        per_token.text_activations(model, SENTENCES[:1])


def test_a_sentence_that_was_cut_says_so(tiny):
    model = loading.load(sources.parse_source(str(tiny("llama"))), device="cpu")
    model.info = replace(model.info, max_length=5)
    states = per_token.text_activations(model, ["the cat sat on the mat", "a"])
    assert [state.truncated for state in states] == [True, False]
    assert len(states[0].ids) == states[0].values.shape[1] == 5
    exact = byte_tokenizer(True).decode(states[0].ids[1:-1])
    (whole,) = per_token.text_activations(model, [exact])
    assert len(whole.ids) == 5 and not whole.truncated
    cut = per_token.token_activations(model, ["the cat sat on the mat", "a"], 0, 0)
    assert [(one.ids, one.truncated) for one in cut] == [(one.ids, one.truncated) for one in states]
