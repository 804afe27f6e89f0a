"""Ablation against models whose last projections lack the columns and against hooks by hand; sets of neurons."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_models import COLUMNS, FAMILIES, LAYERS, MOE_FAMILIES, byte_tokenizer

from neuronxa_core.errors import ExperimentError, ExtractionError, ModelError
from neuronxa_core.models import description, loading, moe, sources
from neuronxa_core.states import interventions
from neuronxa_core.states.extraction import extract
from neuronxa_core.states.hooks import StateHooks
from neuronxa_core.states.interventions import Neurons, ablated, random_like
from neuronxa_core.states.likelihood import negative_log_likelihood
from neuronxa_core.states.mean_activations import mean_activations
from neuronxa_core.states.per_token import text_activations

SENTENCES = ["a dog runs in the rain", "猫は昼に", "a", "кошка спит", "the cat sat on the mat"]
SOME = Neurons(((0, (0, 5, 17)), (2, (1, 2, 47))))
INFO = description.ModelInfo("m", "M", 3, 20, 8, 1000, True, True, "float32", 99)
# of an ordinary network with a gate, of transposed weights, of rows and positions on one axis, of a fused gate
ALWAYS = ("llama", "gpt2", "opt", "phi3", "mixtral", "gpt_oss")


def each(families, always=ALWAYS):
    """The families as parameters; some run with --full only."""
    return [pytest.param(name, marks=() if name in always else pytest.mark.full) for name in families]


CAUSAL = [name for name in FAMILIES if FAMILIES[name].causal]


def load_with_head(tiny, family: str) -> description.LoadedModel:
    return loading.load(sources.parse_source(str(tiny(family, head=True))), "float32", "cpu", head=True)


@torch.no_grad()
def without_columns(loaded: description.LoadedModel, family: str, neurons: Neurons) -> description.LoadedModel:
    """A copy of a model whose last projections have zeros for these neurons."""
    spoilt = copy.deepcopy(loaded)
    for layer, numbers in neurons.pairs:
        if family in MOE_FAMILIES:
            weight = spoilt.model.get_submodule(MOE_FAMILIES[family].experts.format(layer)).down_proj
            for number in numbers:
                column = weight[number // COLUMNS]
                (column if family == "gpt_oss" else column.T)[number % COLUMNS] = 0
        else:
            path = f"{FAMILIES[family].layer.format(layer)}.{FAMILIES[family].last}"
            weight = spoilt.model.get_submodule(path).weight
            (weight if FAMILIES[family].transposed else weight.T)[list(numbers)] = 0
    return spoilt


def hooks_of(loaded: description.LoadedModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules())


# sets of neurons


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)))
def test_a_mask_comes_back(mask):
    neurons = Neurons.from_mask(mask)
    back = np.zeros_like(mask)
    for layer, numbers in neurons.by_layer.items():
        assert numbers == tuple(sorted(numbers))
        back[layer, list(numbers)] = True
    assert np.array_equal(back, mask)
    assert neurons.count == mask.sum()
    assert neurons == Neurons.of({layer: numbers[::-1] for layer, numbers in reversed(neurons.pairs)})
    flipped = mask.copy()
    flipped[0, 0] ^= True
    assert Neurons.from_mask(flipped).digest != neurons.digest == Neurons.from_mask(mask).digest


def test_sets_by_hand():
    neurons = Neurons.from_mask(np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]], dtype=bool))
    assert neurons.pairs == ((0, (1, 2)), (2, (0,)))
    assert (neurons.count, Neurons().count, Neurons().by_layer) == (3, 0, {})
    assert Neurons.of({1: np.array([4, 3, 4]), 0: np.array([], dtype=int)}) == Neurons(((1, (3, 4)),))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        *((((0, some),), "neurons of layer 0 must be at least one, ascending") for some in ((), (1, 1), (2, 1), (-1,))),
        *((tuple((k, (0,)) for k in some), "layers of a set of neurons must be") for some in ((1, 0), (1, 1), (-1,))),
    ],
)
def test_layers_or_neurons_in_another_order_are_refused(pairs, message):
    with pytest.raises(ExperimentError, match=message):
        Neurons(pairs)


@pytest.mark.parametrize("mask", [np.zeros(3, dtype=bool), np.zeros((2, 2), dtype=int)])
def test_what_is_no_mask(mask):
    with pytest.raises(ValueError, match="expected bool"):
        Neurons.from_mask(mask)


def test_neurons_of_another_model(loaded):
    Neurons(((2, (19,)),)).check(INFO)
    for pair in ((3, (0,)), (2, (20,))):
        with pytest.raises(ExperimentError, match=rf"neuron {pair[1][0]} of layer {pair[0]} is not in model m"):
            random_like(Neurons((pair,)), INFO, 0)
    model = loaded("llama")
    before = hooks_of(model)
    with pytest.raises(ExperimentError, match="is not in model"), ablated(model, Neurons(((LAYERS, (0,)),))):
        raise AssertionError("nothing is to run here")
    assert hooks_of(model) == before


any_neurons = st.dictionaries(st.integers(0, 2), st.sets(st.integers(0, 19))).map(
    lambda layers: Neurons.of({layer: np.array(sorted(some), dtype=int) for layer, some in layers.items()})
)


@pytest.mark.parametrize("rate", [None, np.linspace(0, 1, 60).reshape(3, 20)])
@given(any_neurons, st.integers(0, 5))
def test_random_sets_have_the_same_sizes_and_stay_outside_while_they_can(rate, neurons, seed):
    found = random_like(neurons, INFO, seed, rate)
    found.check(INFO)
    assert found == random_like(neurons, INFO, seed, rate)
    assert {k: len(v) for k, v in found.pairs} == {k: len(v) for k, v in neurons.pairs}
    for layer, numbers in found.pairs:
        mine, got = set(neurons.by_layer[layer]), set(numbers)
        assert len(got - mine) == min(len(got), 20 - len(mine))


def test_matched_sets_are_as_active_as_theirs_and_others_are_not():
    info = dataclasses.replace(INFO, neurons=1000)
    rate = np.tile(np.random.default_rng(0).random(1000), (3, 1))
    often = Neurons.of({1: np.argsort(-rate[1])[:30]})
    for by, low, high in ((rate, 0.9, 1), (None, 0.4, 0.6)):
        drawn = [random_like(often, info, seed, by).by_layer[1] for seed in range(9)]
        assert low < np.mean([rate[1, list(numbers)].mean() for numbers in drawn]) < high


def test_random_sets_are_uniform_and_differ_by_seed_layer_and_set():
    neurons = Neurons(((1, (0, 1, 2, 3)),))
    counts = np.zeros(20)
    draws = [random_like(neurons, INFO, seed).by_layer[1] for seed in range(800)]
    for numbers in draws:
        counts[list(numbers)] += 1
    assert counts[:4].sum() == 0
    # 800 x 4 / 16 = 200 expected, standard deviation about 12
    assert (abs(counts[4:] - 200) < 60).all()
    assert len(set(draws)) > 500
    other = random_like(Neurons(((1, (0, 1, 2, 3)), (2, (0, 1, 2, 3)))), INFO, 0).by_layer
    assert len({other[1], other[2], draws[0]}) == 3
    with pytest.raises(ExperimentError, match="seed of random neurons must be 0 or more"):
        random_like(neurons, INFO, -1)


# ablation

IN_EXPERTS = Neurons(((0, (0, 5, COLUMNS, 5 * COLUMNS + 23)), (2, tuple(range(2 * COLUMNS, 3 * COLUMNS)))))


def some_of(family: str) -> Neurons:
    return IN_EXPERTS if family in MOE_FAMILIES else SOME


def definitions(family: str) -> tuple[str, ...]:
    """Those that can be read, of which a plain network has one."""
    if family in MOE_FAMILIES:
        return ("product",) if MOE_FAMILIES[family].product else ("product", "gate")
    return ("product", "gate") if FAMILIES[family].gated else ("gate",)


@pytest.mark.parametrize("family", each([*FAMILIES, *MOE_FAMILIES]))
def test_ablation_is_taking_the_columns_of_the_last_projection_away(family, loaded):
    """States are those of the model without the columns, and 0 for the neurons themselves under both definitions."""
    model, off = loaded(family), some_of(family)
    spoilt = without_columns(model, family, off)
    for neuron in definitions(family):
        before, wanted = (extract(one, "eng", SENTENCES, neuron) for one in (model, spoilt))
        for budget in (1, 1024):
            with ablated(model, off, neuron):
                got = extract(model, "eng", SENTENCES, neuron, token_budget=budget)
            for name, array in got.arrays.items():
                expected = wanted.arrays[name].copy()
                if name.startswith("na"):
                    for layer, numbers in off.pairs:
                        assert not array[layer][:, list(numbers)].any()
                        expected[layer][:, list(numbers)] = 0
                if name.startswith("nas"):
                    assert (array != expected).mean() < 1e-3
                else:
                    np.testing.assert_allclose(array, expected, rtol=1e-4, atol=4e-6 * np.abs(expected).max())
        assert not np.allclose(wanted.arrays["emb_last"][-1], before.arrays["emb_last"][-1], rtol=1e-2)
        for layer, numbers in off.pairs:
            assert before.arrays["nav_mean"][layer][:, list(numbers)].any()
        after = extract(model, "eng", SENTENCES, neuron)
        assert all(np.array_equal(after.arrays[name], before.arrays[name]) for name in before.arrays)


@pytest.mark.parametrize("family", each([*CAUSAL, *MOE_FAMILIES], ("llama", "mixtral")))
def test_likelihood_of_an_ablated_model_is_that_of_the_model_without_the_columns(family, tiny):
    model, off = load_with_head(tiny, family), some_of(family)
    spoilt = without_columns(model, family, off)
    before = negative_log_likelihood(model, SENTENCES).nats
    with ablated(model, off):
        got = negative_log_likelihood(model, SENTENCES).nats
    np.testing.assert_allclose(got, negative_log_likelihood(spoilt, SENTENCES).nats, rtol=2e-6)
    assert not np.allclose(got, before, rtol=1e-3)
    assert np.array_equal(negative_log_likelihood(model, SENTENCES).nats, before)


def test_all_neurons_ablated_leave_the_network_its_bias(loaded):
    model = loaded("llama")
    everything = Neurons.from_mask(np.ones((LAYERS, model.info.neurons), dtype=bool))
    outputs = []
    handle = model.model.layers[1].mlp.register_forward_hook(lambda _m, _i, output: outputs.append(output))
    try:
        with ablated(model, everything):
            extract(model, "eng", SENTENCES)
    finally:
        handle.remove()
    assert outputs
    assert not any(output.any() for output in outputs)


def test_what_others_hold_is_not_changed(loaded):
    """The activation's output is the very tensor that the last projection of a plain network reads."""
    model, held = loaded("opt"), []
    layer = model.model.decoder.layers[0]
    weights = layer.fc2.weight.clone()
    handle = layer.activation_fn.register_forward_hook(lambda _m, _i, output: held.append((output, output.clone())))
    try:
        with ablated(model, SOME):
            extract(model, "eng", SENTENCES)
    finally:
        handle.remove()
    assert held
    assert all(torch.equal(output, copy) for output, copy in held)
    assert any(output[..., list(SOME.by_layer[0])].any() for output, _ in held)
    assert torch.equal(layer.fc2.weight, weights)


@pytest.mark.parametrize("neuron", ["product", "gate"])
def test_hooks_that_were_there_before_see_the_zeros_too(neuron, loaded):
    model = loaded("llama")
    with ablated(model, SOME, neuron):
        wanted = extract(model, "eng", SENTENCES, neuron)
    ids = [model.tokenizer(sentence)["input_ids"] for sentence in SENTENCES]
    kept = {}
    keep = lambda state, layer, pooled: kept.update({(state, layer): pooled.copy()})  # noqa: E731
    with StateHooks(model, neuron, keep) as hooks, ablated(model, SOME, neuron):
        hooks.run(ids)
    for layer, counts in enumerate(wanted.arrays["nas_weighted"]):
        assert np.array_equal(kept["nas", layer][:, 0], counts)


def test_infinite_activations_become_zero_in_a_copy():
    values = torch.tensor([[1.0, 2.0, float("inf")], [4.0, 5.0, float("nan")]])
    assert interventions._Fixed((0, 2), np.zeros(2))(values).tolist() == [[0, 2, 0], [0, 5, 0]]
    assert values[0, 2] == float("inf")
    assert interventions._Fixed((0,), np.zeros(1))(values.half()[None]).dtype == torch.float16


def test_a_mixtures_neurons_are_zeroed_in_their_expert_alone():
    off = interventions._FixedInExperts(Neurons(((1, (3, 4, 8)),)), np.zeros((2, 12)), 4)
    activations = torch.ones(1, 4)
    assert off(1, 0, None, activations).tolist() == [[1, 1, 1, 0]]
    assert off(1, 1, None, activations).tolist() == off(1, 2, None, activations).tolist() == [[0, 1, 1, 1]]
    assert off(0, 0, None, activations) is off(1, 3, None, activations) is activations


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_two_sets_at_once_are_their_union(family, loaded):
    model, off = loaded(family), some_of(family)
    halves = [Neurons((pair,)) for pair in off.pairs]
    with ablated(model, off):
        wanted = extract(model, "eng", SENTENCES)
    with ablated(model, halves[1]), ablated(model, halves[0]), ablated(model, halves[1]):
        got = extract(model, "eng", SENTENCES)
    assert all(np.array_equal(got.arrays[name], wanted.arrays[name]) for name in got.arrays)


@pytest.mark.parametrize("neuron", ["product", "gate"])
def test_no_hook_stays_after_an_error(neuron, loaded):
    model = loaded("phi3")
    before = hooks_of(model)
    with pytest.raises(KeyboardInterrupt), ablated(model, SOME, neuron):
        assert hooks_of(model) == before + len(SOME.pairs) * (1 + (neuron == "gate"))
        raise KeyboardInterrupt
    assert hooks_of(model) == before


@torch.inference_mode()
def last_hidden(loaded: description.LoadedModel) -> list[np.ndarray]:
    """The model's output for every sentence, one at a time, [token, hidden]."""
    rows = [byte_tokenizer(True).encode(sentence).ids for sentence in SENTENCES]
    return [loaded.model(input_ids=torch.tensor([row])).last_hidden_state[0].numpy() for row in rows]


def test_sets_compared_in_a_mixture_are_all_computed_in_one_way(loaded):
    """The library's own way of running experts sums in another order: an empty set is to be no difference at all."""
    model = loaded("qwen3_moe")
    with moe.recording(model, lambda *_seen: None):
        wanted = last_hidden(model)
    with ablated(model, Neurons()):
        assert all(np.array_equal(a, b) for a, b in zip(last_hidden(model), wanted, strict=True))


def test_gate_is_refused_where_a_mixture_does_not_have_it(loaded):
    with pytest.raises(ModelError, match="choose 'product'"), ablated(loaded("gpt_oss"), IN_EXPERTS, "gate"):
        raise AssertionError("nothing is to run here")


# mean-ablation

TEXTS = {"eng": SENTENCES[:2], "rus": SENTENCES[3:4]}


@pytest.mark.parametrize(("neuron", "place"), [("product", "down_proj"), ("gate", "act_fn")])
def test_mean_ablation_is_what_a_hook_by_hand_does(neuron, place, loaded):
    """Sentence by sentence; a language's mean is over its tokens, whatever the batch and its padding."""
    model = loaded("llama")
    modules = {layer: model.model.get_submodule(f"layers.{layer}.mlp.{place}") for layer in range(LAYERS)}
    seen = {layer: [] for layer in modules}

    def hooked(module, change):
        if neuron == "product":
            return module.register_forward_pre_hook(lambda _m, inputs: change(inputs[0]))
        return module.register_forward_hook(lambda _m, _i, output: change(output))

    handles = [hooked(modules[k], lambda a, k=k: seen[k].append(a[0].clone())) for k in modules]
    last_hidden(model)
    for handle in handles:
        handle.remove()
    means = np.stack([
        np.mean([torch.cat([rows[0], rows[1]]).mean(0).numpy(), rows[3].mean(0).numpy()], axis=0)
        for rows in seen.values()
    ])  # fmt: skip
    np.testing.assert_allclose(mean_activations(model, TEXTS, neuron), means, rtol=1e-4, atol=1e-6)

    def setting(layer):
        def change(activations):
            for number in SOME.by_layer[layer]:
                activations[..., number] = float(means[layer, number])
            return activations

        return change

    handles = [hooked(modules[layer], setting(layer)) for layer in SOME.by_layer]
    wanted = last_hidden(model)
    for handle in handles:
        handle.remove()
    with ablated(model, SOME, neuron, means):
        got = last_hidden(model)
    with ablated(model, SOME, neuron):
        zeroed = last_hidden(model)
    for one, other, zero in zip(got, wanted, zeroed, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        assert not np.allclose(one, zero, atol=1e-5)
    assert not np.allclose(wanted[0], last_hidden(model)[0], atol=1e-5)


def test_a_neuron_set_to_its_own_constant_value_changes_nothing(tiny):
    model = loading.load(sources.parse_source(str(tiny("gpt2"))), "float32", "cpu")
    inner = model.model.get_submodule("h.1.mlp.c_fc")
    with torch.no_grad():
        inner.weight[:, 7], inner.bias[7] = 0, 0.7
    constant = Neurons(((1, (7,)),))
    means = mean_activations(model, TEXTS)
    assert means[1, 7] == pytest.approx(torch.nn.functional.gelu(torch.tensor(0.7)).item(), rel=1e-3)
    before = last_hidden(model)
    with ablated(model, constant, means=means):
        got = last_hidden(model)
    for a, b in zip(got, before, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    with ablated(model, constant):
        assert not np.allclose(last_hidden(model)[0], before[0], atol=1e-5)


@pytest.mark.parametrize("neuron", ["product", "gate"])
def test_a_mixtures_means_are_those_of_the_tokens_that_chose_the_expert(neuron, loaded):
    model = loaded("mixtral")
    tokens = [
        np.concatenate([one.values for one in text_activations(model, some, neuron)], axis=1) for some in TEXTS.values()
    ]
    # an activation of exactly 0 is one of an expert that was not chosen
    wanted = np.zeros(tokens[0][:, 0].shape)
    for layer, number in np.ndindex(wanted.shape):
        chose = [values[layer, :, number][values[layer, :, number] != 0] for values in tokens]
        wanted[layer, number] = np.mean([some.mean() for some in chose if len(some)] or 0)
    means = mean_activations(model, TEXTS, neuron)
    np.testing.assert_allclose(means, wanted, rtol=1e-4, atol=1e-6)
    with ablated(model, IN_EXPERTS, neuron, means):
        after = text_activations(model, SENTENCES, neuron)
    for layer, numbers in IN_EXPERTS.pairs:
        for number in numbers:
            values = np.concatenate([one.values[layer, :, number] for one in after])
            np.testing.assert_allclose(values[values != 0], means[layer, number], rtol=1e-6)


def test_a_mean_that_is_not_finite_is_named(loaded, monkeypatch):
    model = loaded("llama")
    weight = model.model.get_submodule("layers.0.mlp.up_proj").weight
    with torch.no_grad():
        monkeypatch.setattr(weight, "data", torch.full_like(weight, float("inf")))
    with pytest.raises(ExtractionError, match="eng: inf or NaN in the activations"):
        mean_activations(model, TEXTS)
