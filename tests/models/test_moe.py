"""Mixtures of experts against each token's experts computed by hand, and the library's own ways of running them."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from accelerate import cpu_offload
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_models import (
    CHOSEN,
    COLUMNS,
    EXPERTS,
    HIDDEN,
    LAYERS,
    MOE_FAMILIES,
    PlainExperts,
    byte_tokenizer,
    tiny_config,
    tiny_model,
    without_weights,
)
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts
from transformers.models.mixtral.modeling_mixtral import MixtralExperts
from transformers.models.nemotron_h.modeling_nemotron_h import NemotronHExperts

from neuronxa_core.errors import ModelError
from neuronxa_core.models import description, loading, moe, sources, structure

SENTENCES = ["the cat sat on the mat", "a", "猫は昼に眠る", "кошка спит днём"]
SEPARABLE = [name for name in MOE_FAMILIES if MOE_FAMILIES[name].product is None]
DEFINITIONS = [(name, "product") for name in MOE_FAMILIES] + [(name, "gate") for name in SEPARABLE]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask [row, position] of SENTENCES, padded on the right."""
    rows = [byte_tokenizer(True).encode(sentence).ids for sentence in SENTENCES]
    width = max(map(len, rows))
    ids = torch.tensor([row + [1] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


@torch.inference_mode()
def run(model: description.LoadedModel) -> torch.Tensor:
    ids, mask = batch()
    return model.model(input_ids=ids, attention_mask=mask).last_hidden_state


def implementation(model: description.LoadedModel) -> str:
    (one,) = {
        model.model.get_submodule(network.last_projection).config._experts_implementation
        for network in model.feed_forwards
    }
    return one


def listened_to() -> int:
    return sum(map(len, moe._listeners.values()))


# where the neurons are


@pytest.mark.parametrize("name", MOE_FAMILIES)
def test_the_experts_of_every_layer_are_found_and_counted_without_weights(name, tiny, loaded, tmp_path):
    folder, paths = tiny(name), [MOE_FAMILIES[name].experts.format(k) for k in range(LAYERS)]
    assert loaded(name).feed_forwards == tuple(
        description.FeedForward(
            layer=f"layers.{k}",
            last_projection=path,
            activation=f"{path}.act_fn" if name in SEPARABLE else None,
            neurons=EXPERTS * COLUMNS,
            gated=True,
            experts=EXPERTS,
        )
        for k, path in enumerate(paths)
    )
    network = loaded(name).feed_forwards[1]
    assert network.width == COLUMNS
    with pytest.raises(ModelError, match=r"the neurons of layers.1, a mixture of experts, are those of no single"):
        network.module_for("product")
    weights = load_file(folder / "model.safetensors")
    attention = [tensor for key, tensor in weights.items() if "_proj.weight" in key and "self_attn" in key]
    info = structure.describe(sources.parse_source(str(without_weights(folder, tmp_path))))
    assert info == loaded(name).info
    assert info == description.ModelInfo(
        name=folder.name,
        class_name=MOE_FAMILIES[name].class_name,
        layers=LAYERS,
        neurons=EXPERTS * COLUMNS,
        hidden=HIDDEN,
        parameters=sum(tensor.numel() for tensor in weights.values()),
        gated=True,
        causal=True,
        stored_dtype="float32",
        max_length=2048,
        experts=EXPERTS,
        chosen=CHOSEN,
        # stacked experts and routers are no linear projections
        projected=sum(tensor.numel() for tensor in attention),
        attention=HIDDEN,
        scored=4 if name == "gpt_oss" else 0,
    )


def test_what_every_token_passes_through_beside_the_experts_is_refused(tmp_path):
    def message(family: str, **changes: object) -> str:
        folder = tmp_path / f"{family}{len(changes)}"
        tiny_config(family, **changes).save_pretrained(folder)
        with pytest.raises(ModelError) as caught:
            structure.describe(sources.parse_source(str(folder)))
        return str(caught.value)

    sizes = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    shared = message("qwen2_moe", **sizes, shared_expert_intermediate_size=40)
    assert "Qwen2MoeModel, layers.0: found routed experts in mlp.experts, and beside them" in shared
    assert "(mlp.shared_expert, mlp.shared_expert_gate)" in shared
    local = {"num_local_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 2}
    shared = message("granitemoeshared", **local, shared_intermediate_size=40)
    assert "GraniteMoeSharedModel, layers.0" in shared
    assert "(shared_mlp.output_linear)" in shared
    deepseek = {"n_routed_experts": 4, "moe_intermediate_size": 24, "first_k_dense_replace": 1, "n_shared_experts": 1}
    assert "DeepseekV2Model, layers.1" in message("deepseek_v2", **deepseek, num_key_value_heads=4)


def test_dense_layers_among_mixtures_are_refused(tmp_path):
    # as wide as all experts together, so that the width alone would not tell
    tiny_config("qwen3_moe", mlp_only_layers=[0, 2], intermediate_size=EXPERTS * COLUMNS).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"\(Qwen3MoeModel\) has dense layers \(0, 2\) among mixtures of experts"):
        structure.describe(sources.parse_source(str(tmp_path)))


@pytest.mark.parametrize(
    ("family", "changes", "class_name"),
    [
        ("jetmoe", {"num_key_value_heads": 2, "kv_channels": 8, "num_local_experts": 4}, "JetMoeModel"),
        ("llama4_text", {"num_local_experts": 4, "head_dim": 8, "num_key_value_heads": 2}, "Llama4TextModel"),
    ],
)
def test_experts_of_another_form_are_refused(family, changes, class_name, tmp_path):
    tiny_config(family, **changes).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=f"{class_name}, layers.0: .* mixture of experts of a form that is not"):
        structure.describe(sources.parse_source(str(tmp_path)))


def tiny_experts(kind: type = MixtralExperts, **changes: object) -> torch.nn.Module:
    """Three experts of five columns that read four numbers, with random weights."""
    names = {
        "num_local_experts": 3,
        "hidden_size": 4,
        "intermediate_size": 5,
        "n_routed_experts": 3,
        "moe_intermediate_size": 5,
        "moe_latent_size": None,
        "mlp_hidden_act": "relu2",
        "hidden_act": "silu",
        "swiglu_limit": 7.0,
        "swiglu_alpha": 1.702,
    }
    config = transformers.PreTrainedConfig(**{**names, **changes})
    config._experts_implementation = "eager"
    module = kind(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def test_sizes_of_modules_of_the_form_and_of_no_others():
    assert moe.sizes(tiny_experts()) == moe.Sizes(3, 5, 4, gated=True, separable=True)
    assert moe.sizes(tiny_experts(GptOssExperts)) == moe.Sizes(3, 5, 4, gated=True, separable=False)
    assert moe.sizes(tiny_experts(NemotronHExperts)) == moe.Sizes(3, 5, 4, gated=False, separable=False)
    assert moe.sizes(torch.nn.Linear(4, 5)) is None

    def changed(edit) -> torch.nn.Module:
        module = tiny_experts()
        edit(module)
        return module

    def resized(name: str, *shape: int):
        return lambda module: setattr(module, name, torch.nn.Parameter(torch.zeros(*shape)))

    edits = [
        lambda module: setattr(module, "_is_expert_parallel", True),
        lambda module: setattr(module, "has_bias", True),
        lambda module: setattr(module, "has_gate", False),
        lambda module: setattr(module, "is_transposed", True),
        lambda module: delattr(module, "has_post_expert_norm"),
        resized("down_proj_scale_inv", 3, 1, 1),
        resized("down_proj", 3, 4, 6),
        resized("down_proj", 2, 4, 5),
        resized("gate_up_proj", 3, 10, 3),
        resized("gate_up_proj", 3, 10),
    ]
    for edit in edits:
        assert moe.sizes(changed(edit)) is None


def test_two_mixtures_in_a_layer_and_another_hidden_width_are_refused():
    model = transformers.AutoModel.from_config(tiny_config("mixtral"))
    model.layers[1].more = copy.deepcopy(model.layers[1].mlp.experts)
    with pytest.raises(
        ModelError, match=r"MixtralModel, layers.1: found routed experts in mlp.experts, more, where one"
    ):
        structure.locate(model)
    model = transformers.AutoModel.from_config(tiny_config("mixtral"))
    model.config.hidden_size = 31
    with pytest.raises(ModelError, match=r"where one module that reads the hidden width \(31\) is supported"):
        structure.locate(model)


def test_experts_that_run_in_a_way_of_their_own_are_refused(tiny, monkeypatch):
    real, source = MixtralExperts.forward, sources.parse_source(str(tiny("mixtral")))

    def scaled(self, *inputs):
        return real(self, *inputs) * (1.0 if self.config._experts_implementation == "neuronxa" else 1.5)

    for odd in (scaled, real.__wrapped__):  # the latter never asks which function it is to run
        monkeypatch.setattr(MixtralExperts, "forward", odd)
        with pytest.raises(ModelError, match=r"MixtralModel runs the experts of layers.0 \(MixtralExperts\) in a way"):
            loading.load(source, device="cpu")
    monkeypatch.setattr(MixtralExperts, "forward", lambda _self, *_inputs: torch.zeros(2) + torch.zeros(3))
    with pytest.raises(
        ModelError, match=r"could not run the experts of layers.0 \(MixtralExperts\) on 16 tokens: Runtime"
    ):
        loading.load(source, device="cpu")
    assert listened_to() == 0


# what is seen


@pytest.mark.parametrize(("name", "neuron"), DEFINITIONS)
def test_activations_are_those_of_the_weights_and_0_where_an_expert_was_not_chosen(name, neuron, tiny, loaded):
    model, plain = loaded(name), PlainExperts(name, tiny(name))
    inputs: dict[int, torch.Tensor] = {}
    seen = {k: torch.zeros(batch()[0].numel(), EXPERTS * COLUMNS, dtype=torch.float64) for k in range(LAYERS)}
    times = {k: torch.zeros(batch()[0].numel(), dtype=torch.long) for k in range(LAYERS)}
    order: list[tuple[int, int]] = []

    def record(layer: int, expert: int, tokens: torch.Tensor, activations: torch.Tensor) -> None:
        order.append((layer, expert))
        assert (activations.shape, activations.dtype) == ((len(tokens), COLUMNS), torch.float32)
        assert tokens.tolist() == sorted(set(tokens.tolist()))
        times[layer][tokens] += 1
        seen[layer][tokens, expert * COLUMNS : (expert + 1) * COLUMNS] = activations.double()

    handles = [
        model.model.get_submodule(MOE_FAMILIES[name].experts.format(k)).register_forward_pre_hook(
            lambda _module, args, k=k: inputs.update({k: args[0]})
        )
        for k in range(LAYERS)
    ]
    with moe.recording(model, record, neuron):
        run(model)
    for handle in handles:
        handle.remove()
    assert order == sorted(set(order))
    for layer in range(LAYERS):
        wanted = plain.activations(layer, inputs[layer], neuron)
        torch.testing.assert_close(seen[layer], wanted, rtol=1e-5, atol=2e-5)
        assert times[layer].eq(CHOSEN).all()
        off = wanted.view(-1, EXPERTS, COLUMNS).eq(0).all(dim=2)
        assert off.sum(dim=1).eq(EXPERTS - CHOSEN).all()
        assert torch.equal(seen[layer].view(-1, EXPERTS, COLUMNS).eq(0).all(dim=2), off)
        assert len({tuple(row) for row in off.tolist()}) > 3, "the routers choose too much alike to tell anything"


@pytest.mark.parametrize("name", MOE_FAMILIES)
def test_the_models_output_is_that_of_its_own_experts(name, loaded):
    model = loaded(name)
    own = run(model)
    before = implementation(model)
    for neuron in ("product", "gate") if name in SEPARABLE else ("product",):
        with moe.recording(model, lambda *_seen: None, neuron):
            torch.testing.assert_close(run(model), own, rtol=1e-4, atol=2e-5)
    model.model.set_experts_implementation("eager")
    eager = run(model)
    with moe.recording(model, lambda *_seen: None):
        torch.testing.assert_close(run(model), eager, rtol=1e-4, atol=2e-5)
    assert implementation(model) == "eager"
    model.model.set_experts_implementation(before)
    assert torch.equal(run(model), own)


def test_a_hand_worked_mixture(tmp_path):
    """Of e_0, expert 1 makes silu(2) * 3 in column 4 and expert 0 makes silu(-1) * 2 in column 2."""

    def plant(model):
        module = model.layers[0].mlp.experts
        module.gate_up_proj.zero_()
        module.down_proj.zero_()
        module.gate_up_proj[1, 4, 0], module.gate_up_proj[1, COLUMNS + 4, 0] = 2, 3
        module.gate_up_proj[0, 2, 0], module.gate_up_proj[0, COLUMNS + 2, 0] = -1, 2
        module.down_proj[1, 7, 4] = 10
        module.down_proj[0, 7, 2] = 100

    folder = tiny_model("mixtral", tmp_path, edit=plant, num_hidden_layers=1, num_local_experts=2)
    model = loading.load(sources.parse_source(str(folder)), device="cpu")
    seen = {}
    unit = torch.eye(HIDDEN)[[0, 1, 0]]
    index = torch.tensor([[0, 1], [0, 1], [1, 0]])
    weights = torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.125, 0.875]])

    def record(layer, expert, tokens, activations):
        seen[layer, expert] = (tokens.tolist(), activations[:, [2, 4]].tolist())

    with moe.recording(model, record):
        output = model.model.layers[0].mlp.experts(unit, index, weights)
    silu = {x: x / (1 + 2.718281828459045**-x) for x in (2, -1)}
    low, high = pytest.approx(2 * silu[-1], rel=1e-6), pytest.approx(3 * silu[2], rel=1e-6)
    assert seen == {
        (0, 0): ([0, 1, 2], [[low, 0], [0, 0], [low, 0]]),
        (0, 1): ([0, 1, 2], [[0, high], [0, 0], [0, high]]),
    }
    # the router's weights scale what comes out, and no activation
    assert output[:, 7].tolist() == pytest.approx(
        [100 * 0.25 * 2 * silu[-1] + 10 * 0.75 * 3 * silu[2], 0, 100 * 0.875 * 2 * silu[-1] + 10 * 0.125 * 3 * silu[2]],
        rel=1e-6,
    )


@given(st.data())
def test_any_choice_of_experts_is_computed_token_by_token(data):
    """Also where experts have no token, a choice is that of no expert, and there are no tokens at all."""
    kind = data.draw(st.sampled_from([MixtralExperts, GptOssExperts, NemotronHExperts]))
    module = tiny_experts(kind)
    tokens, choices = data.draw(st.integers(0, 6)), data.draw(st.integers(1, 3))
    index = [data.draw(st.permutations(range(4)).map(lambda order: order[:choices])) for _ in range(tokens)]
    index = torch.tensor(index, dtype=torch.long).reshape(tokens, choices)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 5)))
    hidden = torch.randn(tokens, 4, generator=generator)
    weights = torch.rand(tokens, choices, generator=generator)
    with torch.inference_mode():
        ours = moe._forward(module, hidden, index, weights)
        wanted = sum_over_choices(module, hidden, index, weights)
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4)
        if kind is MixtralExperts:  # the others' own way does not know a choice that is no expert's
            torch.testing.assert_close(ours, module(hidden, index, weights), rtol=1e-4, atol=1e-4)


def sum_over_choices(
    module: torch.nn.Module, hidden: torch.Tensor, index: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """A mixture's output, one token and one choice at a time, in float64."""
    output = torch.zeros(hidden.shape, dtype=torch.float64)
    for token in range(len(hidden)):
        for choice, k in enumerate(index[token].tolist()):
            if k == 3:
                continue
            x = hidden[token].double()
            if isinstance(module, GptOssExperts):
                both = x @ module.gate_up_proj[k].double() + module.gate_up_proj_bias[k]
                gate, up = both[::2].clamp(max=7), both[1::2].clamp(-7, 7)
                inner = (up + 1) * gate / (1 + torch.exp(-1.702 * gate))
                result = inner @ module.down_proj[k].double() + module.down_proj_bias[k]
            elif isinstance(module, NemotronHExperts):
                result = module.down_proj[k].double() @ (module.up_proj[k].double() @ x).clamp(min=0) ** 2
            else:
                gate, up = (module.gate_up_proj[k].double() @ x).split(5)
                result = module.down_proj[k].double() @ (gate / (1 + torch.exp(-gate)) * up)
            output[token] += weights[token, choice] * result
    return output.float()


def test_gate_is_refused_where_it_cannot_be_told_from_the_product(loaded):
    model = loaded("gpt_oss")
    before = implementation(model)
    for context in (moe.recording, moe.replacing):
        with (
            pytest.raises(ModelError, match="definition 'gate' cannot be read there; choose 'product'"),
            context(model, lambda *_seen: None, "gate"),
        ):
            raise AssertionError("nothing is to run here")
    assert (implementation(model), listened_to()) == (before, 0)


# replacing


@pytest.mark.parametrize("replaced_first", [True, False])
def test_recorders_see_what_was_replaced_whichever_was_opened_first(replaced_first, loaded):
    model, seen = loaded("qwen3_moe"), {}

    def record(layer, expert, tokens, activations):
        seen[layer, expert] = activations.clone()

    def halve(_layer, _expert, _tokens, activations):
        return activations / 2

    with moe.recording(model, record, layers=[0]):
        run(model)
    whole = dict(seen)
    contexts = [moe.replacing(model, halve, layers=[0]), moe.recording(model, record, layers=[0])]
    first, second = contexts if replaced_first else contexts[::-1]
    with first, second:
        run(model)
    assert seen.keys() == whole.keys()
    for key, activations in seen.items():
        torch.testing.assert_close(activations, whole[key] / 2)


@pytest.mark.parametrize("neuron", ["product", "gate"])
def test_the_model_goes_on_with_what_was_replaced(neuron, tiny, loaded):
    """Doubled activations are a doubled down projection, under both definitions; the model stays as it was."""

    def double(model):
        for layer in model.layers:
            layer.mlp.experts.down_proj.mul_(2)

    model, before = loaded("mixtral"), run(loaded("mixtral"))
    doubled = loading.load(sources.parse_source(str(tiny("mixtral", edit=double))), device="cpu")
    with moe.replacing(model, lambda _layer, _expert, _tokens, activations: 2 * activations, neuron):
        got = run(model)
    torch.testing.assert_close(got, run(doubled), rtol=1e-4, atol=2e-5)
    assert not torch.allclose(got, before, atol=0.1)
    assert torch.equal(run(model), before)


# contexts


def test_the_own_way_comes_back_after_an_error_and_nested_contexts(loaded):
    model = loaded("mixtral")
    before, own = run(model), implementation(model)
    assert own != "neuronxa"

    def fail(*_seen):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), moe.recording(model, fail):
        run(model)
    assert (implementation(model), listened_to()) == (own, 0)
    outer, inner = [], []
    with moe.recording(model, lambda *seen: outer.append(seen[:2])):
        run(model)
        with moe.recording(model, lambda *seen: inner.append(seen[:2])):
            assert implementation(model) == "neuronxa"
            run(model)
        assert implementation(model) == "neuronxa"
        run(model)
    assert outer == 3 * inner
    assert inner
    assert (implementation(model), listened_to()) == (own, 0)
    assert torch.equal(run(model), before)


def test_a_model_that_accelerate_moves_about_gives_the_same(tiny):
    model = loading.load(sources.parse_source(str(tiny("mixtral"))), device="cpu")

    def read() -> list[torch.Tensor]:
        seen = []
        with moe.recording(model, lambda _layer, _expert, _tokens, activations: seen.append(activations)):
            run(model)
        return seen

    wanted = read()
    cpu_offload(model.model, execution_device=torch.device("cpu"))
    got = read()
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    assert {p.device.type for p in model.model.parameters()} == {"meta"}, "weights were left behind"
    moe.check_experts(model)


def test_the_device_is_waited_for_once_a_layer(loaded, monkeypatch):
    """On a GPU, every number that Python reads stops the queue of work."""
    model, waits = loaded("qwen3_moe"), []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: waits.append("tolist") or tolist(self))

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "bincount", "masked_select"):
                waits.append(function.overloadpacket.__name__)
            return function(*args, **(kwargs or {}))

    module = model.model.layers[0].mlp.experts
    index = torch.arange(20).reshape(10, 2) % EXPERTS
    with (
        torch.inference_mode(),
        moe.recording(model, lambda *_seen: None, layers=[0]),
        Watch(),
    ):
        module(torch.randn(10, HIDDEN), index, torch.rand(10, 2))
    assert waits == ["tolist"]
