"""causal.py against models whose last projections lack the neurons' columns, and what is measured, kept and resumed."""

from __future__ import annotations

import copy
import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_models import COLUMNS, FAMILIES, LAYERS, MOE_FAMILIES, byte_tokenizer

from neuronxa_core.errors import Cancelled, ExperimentError, ModelError
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import ablation, alignment, cosine_retrieval
from neuronxa_core.measures.ablation import Ablation, Effect
from neuronxa_core.models import description, loading, moe, sources
from neuronxa_core.states import computing, interventions, planning, stored
from neuronxa_core.states.extraction import POOLINGS, STATES, extract
from neuronxa_core.states.hooks import StateHooks
from neuronxa_core.states.interventions import Neurons, random_like, zero_ablated
from neuronxa_core.states.likelihood import negative_log_likelihood
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

SENTENCES = ["a dog runs in the rain", "猫は昼に", "a", "кошка спит", "the cat sat on the mat"]
SOME = Neurons(((0, (0, 5, 17)), (2, (1, 2, 47))))
INFO = description.ModelInfo("m", "M", 3, 20, 8, 1000, True, True, "float32", 99)
CAUSAL = [name for name in FAMILIES if FAMILIES[name].causal]


@pytest.fixture(scope="module")
def pool():
    return ModelPool()


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Two languages of the bundled corpus, and the bundled model."""
    store = Store(tmp_path_factory.mktemp("plan"))
    plan = planning.make_plan(Experiment(languages=("deu_Latn", "fra_Latn"), sentences=8), store)
    store.close()
    return plan


@pytest.fixture
def tiny_plan(store):
    """tiny_plan(folder, **choices): four sentences of two languages through a tiny model."""

    def get(folder, **choices):
        chosen = {"languages": ("deu_Latn", "spa_Latn"), "sentences": 4, **choices}
        return planning.make_plan(Experiment(model=str(folder), dtype="float32", **chosen), store)

    return get


def load(folder, head: bool = False) -> description.LoadedModel:
    return loading.load(sources.parse_source(str(folder)), "float32", "cpu", head=head)


@torch.no_grad()
def without_columns(loaded: description.LoadedModel, family: str, neurons: Neurons) -> description.LoadedModel:
    """A copy of a model whose last projections have zeros for these neurons."""
    spoilt = copy.deepcopy(loaded)
    for layer, numbers in neurons.pairs:
        path = f"{FAMILIES[family].layer.format(layer)}.{FAMILIES[family].last}"
        weight = spoilt.model.get_submodule(path).weight
        if FAMILIES[family].transposed:
            weight[list(numbers)] = 0
        else:
            weight[:, list(numbers)] = 0
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
    assert len({neurons, Neurons.from_mask(mask)}) == 1
    flipped = mask.copy()
    flipped[0, 0] ^= True
    assert Neurons.from_mask(flipped).digest != neurons.digest == Neurons.from_mask(mask).digest


def test_sets_by_hand():
    neurons = Neurons.from_mask(np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0]], dtype=bool))
    assert neurons.pairs == ((0, (1, 2)), (2, (0,)))
    assert neurons.by_layer == {0: (1, 2), 2: (0,)}
    assert (neurons.count, Neurons().count, Neurons().by_layer) == (3, 0, {})
    assert Neurons.of({1: np.array([4, 3, 4]), 0: np.array([], dtype=int)}) == Neurons(((1, (3, 4)),))


@pytest.mark.parametrize("pairs", [((0, ()),), ((0, (1, 1)),), ((0, (2, 1)),), ((0, (-1,)),)])
def test_neurons_in_another_order_are_refused(pairs):
    with pytest.raises(ExperimentError, match="neurons of layer 0 must be at least one, ascending"):
        Neurons(pairs)


@pytest.mark.parametrize("layers", [(1, 0), (1, 1), (-1,)])
def test_layers_in_another_order_are_refused(layers):
    with pytest.raises(ExperimentError, match="layers of a set of neurons must be ascending"):
        Neurons(tuple((layer, (0,)) for layer in layers))


@pytest.mark.parametrize("mask", [np.zeros(3, dtype=bool), np.zeros((2, 2), dtype=int)])
def test_what_is_no_mask(mask):
    with pytest.raises(ValueError, match="expected bool"):
        Neurons.from_mask(mask)


def test_neurons_of_another_model(loaded):
    Neurons(((2, (19,)),)).check(INFO)
    for pair in ((3, (0,)), (2, (20,))):
        with pytest.raises(ExperimentError, match=rf"neuron {pair[1][0]} of layer {pair[0]} is not in model m"):
            Neurons((pair,)).check(INFO)
        with pytest.raises(ExperimentError, match="is not in model m"):
            random_like(Neurons((pair,)), INFO, 0)
    model = loaded("llama")
    before = hooks_of(model)
    with pytest.raises(ExperimentError, match="is not in model"), zero_ablated(model, Neurons(((LAYERS, (0,)),))):
        raise AssertionError("nothing is to run here")
    assert hooks_of(model) == before


# random sets


def numbers_of(draw: st.DrawFn) -> Neurons:
    layers = st.dictionaries(st.integers(0, 2), st.sets(st.integers(0, 19)))
    return Neurons.of({layer: np.array(sorted(some), dtype=int) for layer, some in draw(layers).items()})


@given(st.data())
def test_random_sets_have_the_same_sizes_and_stay_outside_while_they_can(data):
    neurons, avoid = numbers_of(data.draw), numbers_of(data.draw)
    seed = data.draw(st.integers(0, 5))
    found = random_like(neurons, INFO, seed, avoid)
    found.check(INFO)
    assert found == random_like(neurons, INFO, seed, avoid)
    assert {k: len(v) for k, v in found.pairs} == {k: len(v) for k, v in neurons.pairs}
    for layer, numbers in found.pairs:
        mine, avoided, got = set(neurons.by_layer[layer]), set(avoid.by_layer.get(layer, ())), set(numbers)
        free = set(range(20)) - mine - avoided
        only_avoided = avoided - mine
        assert len(got & free) == min(len(got), len(free))
        assert len(got & only_avoided) == min(len(got) - len(got & free), len(only_avoided))


def test_random_sets_are_uniform_and_differ_by_seed():
    neurons = Neurons(((1, (0, 1, 2, 3)),))
    counts = np.zeros(20)
    draws = [random_like(neurons, INFO, seed).by_layer[1] for seed in range(800)]
    for numbers in draws:
        counts[list(numbers)] += 1
    assert counts[:4].sum() == 0
    # 800 x 4 / 16 = 200 expected, standard deviation about 12
    assert (abs(counts[4:] - 200) < 60).all()
    assert len(set(draws)) > 500
    # another layer and another set get other draws
    other = Neurons(((1, (0, 1, 2, 3)), (2, (0, 1, 2, 3))))
    assert random_like(other, INFO, 0).by_layer[1] != random_like(other, INFO, 0).by_layer[2]
    with pytest.raises(ExperimentError, match="seed of random neurons must be 0 or more"):
        random_like(neurons, INFO, -1)


# switching off


def assert_states_without(off, got, wanted, tolerance):
    """States are those of the model without the neurons' columns, and 0 for the neurons themselves."""
    for name, array in got.arrays.items():
        expected = wanted.arrays[name].copy()
        if not name.startswith("emb"):
            for layer, numbers in off.pairs:
                expected[layer][:, list(numbers)] = 0
        if name.startswith("nas"):
            assert (array != expected).mean() < 1e-3
        else:
            np.testing.assert_allclose(array, expected, rtol=1e-4, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_switching_off_is_taking_the_columns_of_the_last_projection_away(family, loaded):
    model = loaded(family)
    spoilt = without_columns(model, family, SOME)
    before, wanted = extract(model, "eng", SENTENCES), extract(spoilt, "eng", SENTENCES)
    for budget in (1, 1024):
        with zero_ablated(model, SOME):
            got = extract(model, "eng", SENTENCES, token_budget=budget)
        assert_states_without(SOME, got, wanted, 2e-6)
    assert not np.allclose(wanted.arrays["emb_last"][-1], before.arrays["emb_last"][-1], rtol=1e-2)
    after = extract(model, "eng", SENTENCES)
    assert all(np.array_equal(after.arrays[name], before.arrays[name]) for name in before.arrays)


@pytest.mark.parametrize("family", CAUSAL)
def test_likelihood_with_neurons_off_is_that_of_the_model_without_the_columns(family, tiny):
    model = load(tiny(family, head=True), head=True)
    spoilt = without_columns(model, family, SOME)
    wanted = negative_log_likelihood(spoilt, SENTENCES).nats
    before = negative_log_likelihood(model, SENTENCES).nats
    with zero_ablated(model, SOME):
        got = negative_log_likelihood(model, SENTENCES).nats
    np.testing.assert_allclose(got, wanted, rtol=2e-6)
    assert not np.allclose(got, before, rtol=1e-3)
    assert np.array_equal(negative_log_likelihood(model, SENTENCES).nats, before)


@pytest.mark.parametrize(
    ("family", "neuron"),
    [(name, neuron) for name in FAMILIES for neuron in (("product", "gate") if FAMILIES[name].gated else ("gate",))],
)
def test_states_of_neurons_that_are_off_are_zero_under_both_definitions(family, neuron, loaded):
    model = loaded(family)
    before = extract(model, "eng", SENTENCES, neuron)
    with zero_ablated(model, SOME, neuron):
        got = extract(model, "eng", SENTENCES, neuron)
    for layer, numbers in SOME.pairs:
        for pooling in POOLINGS:
            for state in ("nas", "nav"):
                off = got.arrays[f"{state}_{pooling}"][layer][:, list(numbers)]
                assert not off.any()
        assert before.arrays["nas_mean"][layer][:, list(numbers)].any()
    assert got.arrays["nas_mean"][1].any()
    with zero_ablated(model, SOME):
        assert np.array_equal(extract(model, "eng", SENTENCES).arrays["emb_mean"], got.arrays["emb_mean"])


def test_all_neurons_off_leaves_the_network_its_bias(loaded):
    model = loaded("llama")
    everything = Neurons.from_mask(np.ones((LAYERS, model.info.neurons), dtype=bool))
    outputs = []
    handle = model.model.layers[1].mlp.register_forward_hook(lambda _m, _i, output: outputs.append(output))
    try:
        with zero_ablated(model, everything):
            extract(model, "eng", SENTENCES)
    finally:
        handle.remove()
    assert not any(output.any() for output in outputs)


def test_what_others_hold_is_not_changed(loaded):
    """The activation's output is the very tensor that the last projection of a plain network reads."""
    model, held = loaded("opt"), []
    layer = model.model.decoder.layers[0]
    weights = layer.fc2.weight.clone()
    handle = layer.activation_fn.register_forward_hook(lambda _m, _i, output: held.append((output, output.clone())))
    try:
        with zero_ablated(model, SOME):
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
    with zero_ablated(model, SOME, neuron):
        wanted = extract(model, "eng", SENTENCES, neuron)
    ids = [model.tokenizer(sentence)["input_ids"] for sentence in SENTENCES]
    kept = {}
    keep = lambda state, layer, pooled: kept.update({(state, layer): pooled.copy()})  # noqa: E731
    with StateHooks(model, neuron, keep) as hooks, zero_ablated(model, SOME, neuron):
        hooks.run(ids)
    for layer, counts in enumerate(wanted.arrays["nas_weighted"]):
        assert np.array_equal(kept["nas", layer][:, 0], counts)


def test_rows_and_positions_on_one_axis_and_infinite_activations():
    off = interventions._Zero((0, 2))
    flat = torch.tensor([[1.0, 2.0, float("inf")], [4.0, 5.0, float("nan")]])
    zeroed, other = off.of_input(None, (flat, "more"))
    assert other == "more"
    assert zeroed.tolist() == [[0, 2, 0], [0, 5, 0]]
    assert flat[0, 2] == float("inf")
    assert off.of_output(None, (), flat.half()[None]).dtype == torch.float16


def test_two_sets_at_once_are_their_union(loaded):
    model = loaded("qwen2")
    halves = [Neurons((pair,)) for pair in SOME.pairs]
    with zero_ablated(model, SOME):
        wanted = extract(model, "eng", SENTENCES)
    with zero_ablated(model, halves[0]), zero_ablated(model, halves[1]), zero_ablated(model, halves[0]):
        got = extract(model, "eng", SENTENCES)
    assert all(np.array_equal(got.arrays[name], wanted.arrays[name]) for name in got.arrays)


@pytest.mark.parametrize("neuron", ["product", "gate"])
def test_no_hook_stays_after_an_error(neuron, loaded):
    model = loaded("phi3")
    before = hooks_of(model)
    with pytest.raises(KeyboardInterrupt), zero_ablated(model, SOME, neuron):
        assert hooks_of(model) == before + len(SOME.pairs) * (1 + (neuron == "gate"))
        raise KeyboardInterrupt
    assert hooks_of(model) == before
    with zero_ablated(model, Neurons()):
        assert hooks_of(model) == before


# switching off in mixtures of experts

IN_EXPERTS = Neurons(((0, (0, 5, COLUMNS, 5 * COLUMNS + 23)), (2, tuple(range(2 * COLUMNS, 3 * COLUMNS)))))
READABLE = [(name, "product") for name in MOE_FAMILIES] + [
    (name, "gate") for name in MOE_FAMILIES if MOE_FAMILIES[name].product is None
]


@torch.no_grad()
def without_experts_columns(loaded: description.LoadedModel, family: str, neurons: Neurons) -> description.LoadedModel:
    """A copy of a mixture whose experts' down projections have zeros for these neurons."""
    spoilt = copy.deepcopy(loaded)
    for layer, numbers in neurons.pairs:
        weight = spoilt.model.get_submodule(MOE_FAMILIES[family].experts.format(layer)).down_proj
        for number in numbers:
            column = weight[number // COLUMNS]
            (column if family == "gpt_oss" else column.T)[number % COLUMNS] = 0
    return spoilt


@torch.inference_mode()
def last_hidden(loaded: description.LoadedModel) -> list[np.ndarray]:
    """The model's output for every sentence, one at a time, [token, hidden]."""
    rows = [byte_tokenizer(True).encode(sentence).ids for sentence in SENTENCES]
    return [loaded.model(input_ids=torch.tensor([row])).last_hidden_state[0].numpy() for row in rows]


@pytest.mark.parametrize(("family", "neuron"), READABLE)
def test_switching_off_in_a_mixture_is_taking_the_columns_of_the_experts_away(family, neuron, loaded):
    model = loaded(family)
    spoilt, before = without_experts_columns(model, family, IN_EXPERTS), last_hidden(model)
    with zero_ablated(model, IN_EXPERTS, neuron):
        got = last_hidden(model)
    wanted = last_hidden(spoilt)
    for mine, expected in zip(got, wanted, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=2e-5)
    assert not all(np.allclose(mine, old, atol=0.05) for mine, old in zip(got, before, strict=True))
    assert all(np.array_equal(mine, old) for mine, old in zip(last_hidden(model), before, strict=True))


@pytest.mark.parametrize(("family", "neuron"), READABLE)
def test_the_activations_of_neurons_that_are_off_in_a_mixture_are_zero(family, neuron, loaded):
    model, seen = loaded(family), {}

    def record(layer, expert, _tokens, activations):
        seen.setdefault((layer, expert), []).append(activations.clone())

    def everything() -> dict[tuple[int, int], torch.Tensor]:
        last_hidden(model)
        whole = {place: torch.cat(some) for place, some in seen.items()}
        seen.clear()
        return whole

    with moe.recording(model, record, neuron):
        before = everything()
        with zero_ablated(model, IN_EXPERTS, neuron):
            got = everything()
    for layer, numbers in IN_EXPERTS.pairs:
        for expert in {number // COLUMNS for number in numbers}:
            columns = [number % COLUMNS for number in numbers if number // COLUMNS == expert]
            assert not got[layer, expert][:, columns].any()
            assert before[layer, expert][:, columns].any()
    # the first layer's other neurons are what they were, and nothing of the second is off
    others = [column for column in range(COLUMNS) if column not in (0, 5)]
    assert torch.equal(got[0, 0][:, others], before[0, 0][:, others])
    assert all(activations.any(dim=0).all() for (layer, _), activations in got.items() if layer == 1)


@pytest.mark.parametrize(("family", "neuron"), READABLE)
def test_states_of_a_mixture_with_neurons_off(family, neuron, loaded):
    model = loaded(family)
    wanted = extract(without_experts_columns(model, family, IN_EXPERTS), "eng", SENTENCES, neuron)
    before = extract(model, "eng", SENTENCES, neuron)
    for budget in (1, 1024):
        with zero_ablated(model, IN_EXPERTS, neuron):
            got = extract(model, "eng", SENTENCES, neuron, token_budget=budget)
        assert_states_without(IN_EXPERTS, got, wanted, 4e-6)
    for layer, numbers in IN_EXPERTS.pairs:
        assert before.arrays["nav_mean"][layer][:, list(numbers)].any()
    after = extract(model, "eng", SENTENCES, neuron)
    assert all(np.array_equal(after.arrays[name], before.arrays[name]) for name in before.arrays)


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_likelihood_of_a_mixture_with_neurons_off(family, tiny):
    model = load(tiny(family, head=True), head=True)
    spoilt = without_experts_columns(model, family, IN_EXPERTS)
    before = negative_log_likelihood(model, SENTENCES).nats
    with zero_ablated(model, IN_EXPERTS):
        got = negative_log_likelihood(model, SENTENCES).nats
    np.testing.assert_allclose(got, negative_log_likelihood(spoilt, SENTENCES).nats, rtol=2e-6)
    assert not np.allclose(got, before, rtol=1e-3)
    with zero_ablated(model, Neurons()):
        np.testing.assert_allclose(negative_log_likelihood(model, SENTENCES).nats, before, rtol=2e-6)
    assert np.array_equal(negative_log_likelihood(model, SENTENCES).nats, before)


def test_sets_compared_in_a_mixture_are_all_computed_in_one_way(loaded):
    """The library's own way of running experts sums in another order: nothing switched off is no difference at all."""
    model = loaded("qwen3_moe")
    with moe.recording(model, lambda *_seen: None):
        wanted = last_hidden(model)
    with zero_ablated(model, Neurons()):
        assert all(np.array_equal(a, b) for a, b in zip(last_hidden(model), wanted, strict=True))


def test_an_effect_in_a_mixture_is_measured_and_kept(tiny, tiny_plan, store):
    plan = tiny_plan(tiny("qwen3_moe", head=True))
    work = Ablation(plan, (("some", IN_EXPERTS),), ("deu_Latn",), sentences=4)
    work.run(store, ModelPool())
    effects = work.results(store)
    assert set(effects) == {("nothing", "deu_Latn"), ("some", "deu_Latn")}
    assert effects["some", "deu_Latn"].nats != effects["nothing", "deu_Latn"].nats
    assert effects["nothing", "deu_Latn"].tokens == effects["some", "deu_Latn"].tokens > 0


def test_two_sets_at_once_in_a_mixture_are_their_union(loaded):
    model = loaded("mixtral")
    with zero_ablated(model, IN_EXPERTS):
        wanted = last_hidden(model)
    halves = [Neurons((pair,)) for pair in IN_EXPERTS.pairs]
    with zero_ablated(model, halves[1]), zero_ablated(model, halves[0]), zero_ablated(model, halves[1]):
        got = last_hidden(model)
    assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_gate_is_refused_where_a_mixture_does_not_have_it_and_infinite_activations_become_zero(loaded):
    with pytest.raises(ModelError, match="choose 'product'"), zero_ablated(loaded("gpt_oss"), IN_EXPERTS, "gate"):
        raise AssertionError("nothing is to run here")
    off = interventions._ZeroInExperts(Neurons(((1, (3, 4, 8)),)), 4)
    activations = torch.tensor([[1.0, 2.0, float("nan"), float("inf")]])
    assert off(1, 0, None, activations)[0, 3] == 0
    assert off(1, 1, None, activations).tolist()[0][0] == 0
    assert off(1, 2, None, torch.ones(1, 4)).tolist() == [[0, 1, 1, 1]]
    assert off(0, 0, None, activations) is activations
    assert off(1, 3, None, activations) is activations
    assert activations[0, 3] == float("inf")


# one effect


def test_the_baseline_is_the_plans_own_alignment(plan, store, pool):
    computing.compute_missing(plan, store, pool)
    with pool.acquire(plan, head=True) as loaded:
        for pooling in POOLINGS:
            effect = ablation.measure(loaded, plan, Neurons(), "deu_Latn", pooling, 100, with_likelihood=False)
            assert (effect.nats, effect.tokens, effect.bytes, effect.sentences) == (None, None, None, 8)
            for state in STATES:
                found = alignment.align(plan, store, state, pooling)
                assert list(effect.scores[state]) == found.score[0].tolist()
        whole = ablation.measure(loaded, plan, Neurons(), "deu_Latn", "mean", 100)
        alone = negative_log_likelihood(loaded, plan.sentences("deu_Latn"))
    assert whole.nats == pytest.approx(alone.nats.sum(), rel=1e-12)
    assert (whole.tokens, whole.bytes) == (alone.tokens.sum(), alone.bytes.sum())
    assert whole.nats_per_byte == pytest.approx(alone.nats_per_byte)


@pytest.mark.parametrize("neuron", ["product", "gate"])
def test_an_effect_is_what_the_model_without_the_columns_has(neuron, tiny, tiny_plan):
    """By another way: hidden states and likelihood of a model whose weights lack the neurons, plain cosines."""
    folder = tiny("llama", head=True)
    plan = tiny_plan(folder, neuron=neuron)
    model = load(folder, head=True)
    effect = ablation.measure(model, plan, SOME, "deu_Latn", "last", 3)
    spoilt = without_columns(model, "llama", SOME)
    texts = {code: plan.sentences(code)[:3] for code in plan.all_languages}
    nll = negative_log_likelihood(spoilt, texts["deu_Latn"])
    assert effect.nats == pytest.approx(nll.nats.sum(), rel=1e-6)
    assert (effect.tokens, effect.bytes) == (nll.tokens.sum(), sum(len(t.encode()) for t in texts["deu_Latn"]))
    states = {code: extract(spoilt, code, texts[code], neuron).arrays for code in ("eng_Latn", "deu_Latn")}
    for state in STATES:
        for layer in range(LAYERS):
            x, y = (states[code][f"{state}_last"][layer].astype(float) for code in ("eng_Latn", "deu_Latn"))
            if state != "emb" and layer in SOME.by_layer:
                x[:, list(SOME.by_layer[layer])] = y[:, list(SOME.by_layer[layer])] = 0
            assert effect.scores[state][layer] == cosine_retrieval.retrieve(x, y[None]).aligned.mean()


@pytest.mark.parametrize("neuron", ["product", "gate"])
def test_a_layer_without_neurons_aligns_nothing(neuron, plan, pool):
    plan = dataclasses.replace(plan, experiment=dataclasses.replace(plan.experiment, neuron=neuron))
    layer = Neurons.of({2: np.arange(plan.info.neurons)})
    with pool.acquire(plan) as loaded:
        pivots = [ablation.pivot_states(loaded, plan, some, "weighted", 8) for some in (Neurons(), layer)]
        # against the pivot with and without these neurons: the language's own states are zero as well
        effects = [
            ablation.measure(loaded, plan, layer, "deu_Latn", "weighted", 8, pivot=pivot, with_likelihood=False)
            for pivot in pivots
        ]
    assert pivots[0]["nas"][2].any()
    assert not pivots[1]["nas"][2].any()
    for effect in effects:
        assert effect.scores["nas"][2] == effect.scores["nav"][2] == 0
        assert effect.scores["nas"][1] > 0
        assert effect.scores["emb"][2] > 0


def test_an_encoder_has_alignment_only(tiny, tiny_plan, store, pool):
    plan = tiny_plan(tiny("bert"))
    work = Ablation(plan, (("some", SOME),), ("deu_Latn",), sentences=3)
    assert not work.with_likelihood
    work.run(store, pool)
    effects = work.results(store)
    assert set(effects) == {("nothing", "deu_Latn"), ("some", "deu_Latn")}
    assert all(effect.nats is None and effect.nats_per_byte is None for effect in effects.values())
    table = ablation.effects_table(work, store)
    assert table["nats_per_byte"].isna().all()
    assert table["change_nats_per_byte"].isna().all()
    assert table["change_score_nas"].notna().all()


# effects as documents

EFFECT = Effect(12.5, 7, 20, {"nas": (0.25, 1.0), "nav": (0.0, 0.5), "emb": (0.125, 0.75)}, 8)


def test_an_effect_comes_back_from_its_document():
    for effect in (EFFECT, dataclasses.replace(EFFECT, nats=None, tokens=None, bytes=None)):
        document = json.loads(json.dumps(effect.to_json()))
        assert Effect.from_json(document, 2) == effect
        assert Effect.from_json(document, 3) is None
    assert EFFECT.nats_per_byte == 0.625
    assert EFFECT.score("nas") == 0.625


@pytest.mark.parametrize(
    "changes",
    [
        {"nats": None},
        {"nats": math.nan},
        {"nats": math.inf},
        {"nats": -1},
        {"nats": "12"},
        {"nats": True},
        {"tokens": 1.5},
        {"tokens": None},
        {"bytes": 0},
        {"sentences": 1},
        {"sentences": None},
        {"scores": None},
        {"scores": {"nas": [0, 1], "nav": [0, 1]}},
        {"scores": {"nas": [0, 1], "nav": [0, 1], "emb": [0, 1, 1]}},
        {"scores": {"nas": [0, 1], "nav": [0, 1], "emb": [0, 1.5]}},
        {"scores": {"nas": [0, 1], "nav": [0, 1], "emb": [0, None]}},
        {"scores": {"nas": [0, 1], "nav": [0, 1], "emb": "ab"}},
        {"more": 1},
    ],
)
def test_a_damaged_or_older_document_is_no_effect(changes):
    assert Effect.from_json({**EFFECT.to_json(), **changes}, 2) is None


@pytest.mark.parametrize("document", [None, [], "text", 3, {}])
def test_what_is_no_document(document):
    assert Effect.from_json(document, 2) is None


# work for the queue


@pytest.fixture(scope="module")
def sets(plan):
    mask = np.random.default_rng(0).random((plan.info.layers, plan.info.neurons)) < 0.1
    neurons = Neurons.from_mask(mask)
    return (("deu_Latn", neurons), ("deu_Latn · random 1", random_like(neurons, plan.info, 1)))


def work_on(plan, sets, languages=("deu_Latn", "eng_Latn"), **choices) -> Ablation:
    return Ablation(plan, sets, languages, **{"sentences": 4, **choices})


def test_a_run_measures_every_set_and_the_baseline_once(plan, sets, store, pool, monkeypatch):
    measured = []
    real = ablation.measure

    def measure(loaded, plan, neurons, language, *arguments, **options):
        measured.append((neurons, language))
        return real(loaded, plan, neurons, language, *arguments, **options)

    monkeypatch.setattr(ablation, "measure", measure)
    work, progress = work_on(plan, sets), []
    assert work.totals(store) == {"nothing": 2, "deu_Latn": 2, "deu_Latn · random 1": 2}
    assert work.results(store) == {}
    assert ablation.effects_table(work, store).empty
    work.run(store, pool, on_progress=lambda *done: progress.append(done))
    assert progress == [(name, k, 2) for name, _ in work.everything for k in (1, 2)]
    assert len(measured) == 6
    assert work.totals(store) == {}
    work.run(store, ModelPool())
    assert len(measured) == 6
    first = work.results(store)
    assert list(first) == [(name, code) for name, _ in work.everything for code in work.languages]
    # the same from the documents on disk
    again = Store(store.folder)
    assert work.results(again) == first
    again.close()
    # a language and a set more: only what they add is measured
    wider = work_on(plan, (*sets, ("empty", Neurons()), ("same", sets[0][1])), ("deu_Latn", "fra_Latn"))
    assert wider.totals(store) == {name: 1 for name, _ in wider.everything}
    measured.clear()
    wider.run(store, pool, on_progress=lambda *done: progress.append(done))
    assert [language for _, language in measured] == ["fra_Latn"] * 3
    found = wider.results(store)
    assert found["same", "deu_Latn"] == first["deu_Latn", "deu_Latn"]
    for code in wider.languages:
        assert found["empty", code] == found["nothing", code]
    # every effect is the one that a call for itself gives
    with pool.acquire(plan, head=True) as loaded:
        alone = real(loaded, plan, sets[0][1], "fra_Latn", "weighted", 4)
    assert alone == found["deu_Latn", "fra_Latn"]
    assert alone.scores != found["nothing", "fra_Latn"].scores
    assert found["nothing", "deu_Latn"].sentences == 4
    assert first["nothing", "eng_Latn"].scores["emb"] == (1.0,) * plan.info.layers


def test_the_table_is_long_and_tells_changes_from_the_baseline(plan, sets, store, pool):
    work = work_on(plan, sets)
    work.run(store, pool)
    table = ablation.effects_table(work, store)
    assert table.columns.tolist() == [
        "set",
        "language",
        "nats_per_byte",
        "score_nas",
        "score_nav",
        "score_emb",
        "change_nats_per_byte",
        "change_score_nas",
        "change_score_nav",
        "change_score_emb",
    ]
    effects = work.results(store)
    for row in table.to_dict("records"):
        effect, base = effects[row["set"], row["language"]], effects["nothing", row["language"]]
        assert row["nats_per_byte"] == effect.nats / effect.bytes
        assert row["change_nats_per_byte"] == pytest.approx(effect.nats / effect.bytes - base.nats / base.bytes)
        for state in STATES:
            assert row[f"score_{state}"] == pytest.approx(sum(effect.scores[state]) / plan.info.layers)
            change = sum(effect.scores[state]) / plan.info.layers - sum(base.scores[state]) / plan.info.layers
            assert row[f"change_score_{state}"] == pytest.approx(change, abs=1e-11)
    baseline = table[table["set"] == "nothing"]
    assert (baseline.filter(like="change_") == 0).all().all()
    assert table["change_nats_per_byte"].abs().max() > 0.001
    assert (table["nats_per_byte"] > 0.5).all()
    assert (table["nats_per_byte"] < 4).all()
    # without its baseline an effect has no change yet
    store.drop(work._effect_key(Neurons(), "deu_Latn"))
    table = ablation.effects_table(work, store).set_index(["set", "language"])
    assert pd.isna(table.loc[("deu_Latn", "deu_Latn"), "change_score_nas"])
    assert table.loc[("deu_Latn", "eng_Latn"), "change_score_nas"] == 0
    assert ("nothing", "deu_Latn") not in table.index


def test_a_stopped_run_keeps_what_it_finished_and_goes_on_from_there(plan, sets, store, pool):
    work, progress = work_on(plan, sets), []
    with pytest.raises(Cancelled, match="stopped"):
        work.run(store, pool, lambda *done: progress.append(done), lambda: len(progress) == 3)
    assert work.totals(store) == {"deu_Latn": 1, "deu_Latn · random 1": 2}
    kept = work.results(store)
    assert set(kept) == {("nothing", "deu_Latn"), ("nothing", "eng_Latn"), ("deu_Latn", "deu_Latn")}
    progress.clear()
    work.run(store, pool, lambda *done: progress.append(done))
    assert progress == [("deu_Latn", 1, 1), ("deu_Latn · random 1", 1, 2), ("deu_Latn · random 1", 2, 2)]
    assert kept.items() <= work.results(store).items()
    fresh = Store(store.folder.parent / "fresh")
    work.run(fresh, pool)
    assert work.results(fresh) == work.results(store)
    fresh.close()


def test_a_cancelled_run_loads_no_model(plan, sets, store, monkeypatch):
    monkeypatch.setattr(loading, "load", None)
    with pytest.raises(Cancelled, match="before it began"):
        work_on(plan, sets).run(store, ModelPool(), cancelled=lambda: True)


@pytest.mark.parametrize("calls", range(4))
def test_cancelling_reaches_extraction_and_likelihood(calls, plan, sets, store, pool):
    """Asked before the run, then in the pivot's states, the language's states and its likelihood."""
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) > calls

    work = work_on(plan, sets, ("deu_Latn",))
    with pytest.raises(Cancelled):
        work.run(store, pool, cancelled=cancelled)
    assert work.results(store) == {}
    assert len(asked) == calls + 1


def test_a_damaged_document_is_measured_again(plan, store, pool):
    work = work_on(plan, (), ("deu_Latn",))
    work.run(store, pool)
    (kept,) = work.results(store).values()
    for document in ({"nats": 1}, {**kept.to_json(), "nats": None, "tokens": None, "bytes": None}):
        store.put_json(work._effect_key(Neurons(), "deu_Latn"), document)
        assert work.totals(store) == {"nothing": 1}
    work.run(store, pool)
    assert work.results(store) == {("nothing", "deu_Latn"): kept}


def test_likelihood_wants_the_head_and_alignment_alone_does_not(tiny, tiny_plan, store):
    plan, pool = tiny_plan(tiny("llama")), ModelPool()
    with pytest.raises(ModelError, match="hold no language-model head"):
        Ablation(plan, (("some", SOME),), ("deu_Latn",), sentences=3).run(store, pool)
    work = Ablation(plan, (("some", SOME),), ("deu_Latn",), sentences=3, likelihood=False)
    work.run(store, pool)
    assert [effect.nats for effect in work.results(store).values()] == [None, None]


def test_a_key_follows_what_decides_the_results(plan, sets, tmp_path):
    base = work_on(plan, sets)
    assert base.key == work_on(plan, sets).key
    assert base.title == "switching off deu_Latn, deu_Latn · random 1 in demo, effect on deu_Latn, eng_Latn"
    assert base.unit == "languages"
    others = [
        work_on(plan, sets[:1]),
        work_on(plan, (("other name", sets[0][1]), sets[1])),
        work_on(plan, (("deu_Latn", sets[1][1]), sets[1])),
        work_on(plan, sets, ("deu_Latn",)),
        work_on(plan, sets, pooling="mean"),
        work_on(plan, sets, sentences=5),
        work_on(plan, sets, likelihood=False),
        work_on(dataclasses.replace(plan, keys={**plan.keys, "eng_Latn": "states-other"}), sets),
        work_on(dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, usable=(0, 2, 3, 4))), sets),
    ]
    assert len({work.key for work in (base, *others)}) == len(others) + 1
    # rows beyond those that are read decide nothing
    shorter = dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, usable=plan.corpus.usable[:5]))
    assert work_on(shorter, sets).key == base.key
    many = tuple((f"set {k}", Neurons()) for k in range(5))
    title = work_on(plan, many, ("deu_Latn",)).title
    assert title == "switching off set 0, set 1, set 2 and 2 more in demo, effect on deu_Latn"


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"sets": (("nothing", SOME),)}, "'nothing' occurs twice"),
        ({"sets": (("a", SOME), ("a", SOME))}, "'a' occurs twice"),
        ({"sets": (("a", Neurons(((99, (0,)),))),)}, "layer 99 is not in model demo"),
        ({"languages": ("deu_Latn", "xyz_Latn")}, "xyz_Latn is not a language of this experiment"),
        ({"languages": ()}, "at least one language"),
        ({"languages": ("deu_Latn", "deu_Latn")}, "each once"),
        ({"pooling": "median"}, "pooling is one of weighted, last, mean"),
        ({"sentences": 1}, "at least 2 sentences"),
    ],
)
def test_work_that_does_not_fit_is_refused(choices, message, plan):
    with pytest.raises(ExperimentError, match=message):
        Ablation(**{"plan": plan, "sets": (), "languages": ("deu_Latn",), **choices})


def test_neurons_that_matter_to_the_bundled_model(plan, store, pool):
    """The neurons that fire most are worth more than as many random ones, and all together worth most."""
    computing.compute_missing(plan, store, pool)
    with stored.StatesReader(plan, store) as reader:
        value = np.stack(
            [reader.vectors("eng_Latn", "nav", "mean", layer).sum(axis=0) for layer in range(plan.info.layers)]
        )
    strongest = Neurons.from_mask(value >= np.quantile(value, 0.98, axis=1, keepdims=True))
    everything = Neurons.from_mask(np.ones(value.shape, dtype=bool))
    sets = (("strongest", strongest), ("random", random_like(strongest, plan.info, 0)), ("all", everything))
    work = Ablation(plan, sets, ("eng_Latn",), sentences=2)
    work.run(store, pool)
    worth = ablation.effects_table(work, store).set_index("set")["change_nats_per_byte"]
    assert worth["all"] > worth["strongest"] > 2 * abs(worth["random"])
