"""Where the neurons are: families written down by hand in tiny_models, and models at their published sizes."""

from __future__ import annotations

import json
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tiny_models import FAMILIES, HIDDEN, INNER, LAYERS, tiny_config, tiny_model, without_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModel, masking_utils

from neuronxa_core.errors import ModelError
from neuronxa_core.experiment import ENTRIES
from neuronxa_core.models import estimates, loading, moe, sources, structure
from neuronxa_core.models.description import FeedForward, ModelInfo, ModelSource
from neuronxa_core.states import precision


def describe(folder: Path) -> ModelInfo:
    return structure.describe(sources.parse_source(str(folder)))


def described(folder: Path, family: str, **changes: object) -> ModelInfo:
    """The description of a tiny configuration, saved to a folder."""
    tiny_config(family, **changes).save_pretrained(folder)
    return describe(folder)


def tiny_llama() -> torch.nn.Module:
    return AutoModel.from_config(tiny_config("llama"))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_found_and_described_without_its_weights(name, tiny, loaded, tmp_path):
    family, folder = FAMILIES[name], tiny(name)
    assert loaded(name).feed_forwards == tuple(
        FeedForward(
            layer=layer,
            last_projection=f"{layer}.{family.last}",
            activation=family.activation_module and f"{layer}.{family.activation_module}",
            neurons=family.neurons,
            gated=family.gated,
        )
        for layer in map(family.layer.format, range(LAYERS))
    )
    weights = load_file(folder / "model.safetensors")
    info = describe(without_weights(folder, tmp_path))
    assert info == loaded(name).info
    assert info == ModelInfo(
        name=folder.name,
        class_name=family.class_name,
        layers=LAYERS,
        neurons=family.neurons,
        hidden=HIDDEN,
        parameters=sum(tensor.numel() for tensor in weights.values()),
        gated=family.gated,
        causal=family.causal,
        stored_dtype="float32",
        max_length={"gpt2": 1024, "bert": 512, "distilbert": 512, "xlm-roberta": 510}.get(name, 2048),
        projected=sum(
            tensor.numel()
            for key, tensor in weights.items()
            if tensor.dim() == 2 and "embed" not in key and not key.startswith(("wte", "wpe"))
        ),
        attention=HIDDEN,
        scored={"gemma2": 4, "bloom": 4}.get(name, 0),
    )


class Packed(torch.nn.Module):
    """A projection as bitsandbytes has them: its weight is packed, and only its sizes tell what it is."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        packed = torch.zeros(in_features * out_features // 2, 1, dtype=torch.uint8)
        self.weight = torch.nn.Parameter(packed, requires_grad=False)


@pytest.mark.parametrize("name", FAMILIES)
def test_neurons_are_found_among_projections_whose_weights_are_packed(name):
    with torch.device("meta"):
        model = AutoModel.from_config(tiny_config(name))
        wanted = structure.locate(model)
        for path, module in list(model.named_modules()):
            shape = structure.projection_shape(module)
            if shape is not None:
                model.set_submodule(path, Packed(*shape))
    assert structure.locate(model) == wanted


def test_a_hand_worked_gated_network(tmp_path):
    """W_gate x = 2, W_up x = 3 for x = e_0: mlp_post is silu(2) * 3, gate_post silu(2)."""

    def plant(model):
        mlp = model.layers[0].mlp
        for projection, first in ((mlp.gate_proj, 2.0), (mlp.up_proj, 3.0)):
            projection.weight.zero_()
            projection.weight[5, 0] = first

    folder = tiny_model("llama", tmp_path, edit=plant, num_hidden_layers=1)
    model = loading.load(sources.parse_source(str(folder)), device="cpu")
    seen = {}
    path, side = model.feed_forwards[0].module_for("product")
    assert side == "input"
    model.model.get_submodule(path).register_forward_pre_hook(lambda _m, args: seen.update(mlp_post=args[0]))
    path, side = model.feed_forwards[0].module_for("gate")
    assert side == "output"
    model.model.get_submodule(path).register_forward_hook(lambda _m, _args, output: seen.update(gate_post=output))
    model.model.layers[0].mlp(torch.eye(HIDDEN)[:1])
    silu_of_2 = 2 / (1 + 2.718281828459045**-2)
    assert seen["gate_post"][0, 5].item() == pytest.approx(silu_of_2, rel=1e-6)
    assert seen["mlp_post"][0, 5].item() == pytest.approx(3 * silu_of_2, rel=1e-6)
    assert seen["mlp_post"].count_nonzero() == 1


@pytest.mark.parametrize("name", ["llama", "phi3", "modernbert", "gpt2", "bert", "opt", "distilbert"])
def test_an_inner_width_that_equals_the_hidden_width(name):
    width = {"gpt2": "n_inner", "opt": "ffn_dim", "distilbert": "hidden_dim"}.get(name, "intermediate_size")
    family = FAMILIES[name]
    with torch.device("meta"):
        found = structure.locate(AutoModel.from_config(tiny_config(name, **{width: HIDDEN})))
    assert [f.last_projection for f in found] == [f"{family.layer.format(k)}.{family.last}" for k in range(LAYERS)]
    assert {(f.neurons, f.gated) for f in found} == {(HIDDEN, family.gated)}


def test_gate_needs_a_module_where_the_network_is_gated():
    fused = FeedForward("layers.0", "layers.0.mlp.down_proj", None, INNER, gated=True)
    assert fused.module_for("product") == ("layers.0.mlp.down_proj", "input")
    with pytest.raises(ModelError, match="choose 'product'"):
        fused.module_for("gate")
    plain = FeedForward("h.0", "h.0.mlp.c_proj", None, INNER, gated=False)
    assert plain.module_for("gate") == plain.module_for("product") == ("h.0.mlp.c_proj", "input")


def test_gpt2_small_and_bert_base_have_their_published_sizes(tmp_path):
    transformers.GPT2Config().save_pretrained(tmp_path)
    gpt2 = describe(tmp_path)
    assert (gpt2.layers, gpt2.neurons, gpt2.hidden, gpt2.gated, gpt2.parameters) == (12, 3072, 768, False, 124_439_808)
    transformers.BertConfig().save_pretrained(tmp_path)
    bert = describe(tmp_path)
    assert (bert.layers, bert.neurons, bert.hidden, bert.causal, bert.parameters) == (12, 3072, 768, False, 109_482_240)


def test_a_bound_on_the_longest_sentence(tmp_path):
    assert described(tmp_path, "llama", max_position_embeddings=77).max_length == 77
    assert described(tmp_path, "llama", max_position_embeddings=131072).max_length == 2048
    assert described(tmp_path, "bloom").max_length == 2048
    assert described(tmp_path, "xlm-roberta", max_position_embeddings=514, pad_token_id=0).max_length == 513


@pytest.mark.parametrize("name", ["xlm-roberta", "bert", "gpt2", "opt", "mpnet", "data2vec-text"])
def test_the_longest_sentence_runs_and_one_token_more_does_not(name, tmp_path):
    longest = described(tmp_path, name, max_position_embeddings=20).max_length
    assert 16 <= longest <= 20
    model = AutoModel.from_config(tiny_config(name, max_position_embeddings=20)).eval()
    with torch.inference_mode():
        model(input_ids=torch.full((1, longest), 5), attention_mask=torch.ones(1, longest, dtype=torch.long))
        with pytest.raises((IndexError, RuntimeError)):
            longer = torch.full((1, longest + 1), 5)
            model(input_ids=longer, attention_mask=torch.ones_like(longer))


@pytest.mark.parametrize(
    ("family", "class_name", "said"),
    [
        ("qwen2_moe", "Qwen2MoeModel", "found routed experts in mlp.experts, and beside them"),
        ("t5", "T5Config", "encoder-decoder"),
        ("mamba", "MambaModel", "state-space"),
        ("albert", "AlbertModel", "no list of 3 modules"),
        ("xlm", "XLMModel", "several lists"),
        ("mobilebert", "MobileBertModel", "found none among"),
    ],
)
def test_what_has_no_such_neurons_is_refused_by_class(family, class_name, said, tmp_path):
    with pytest.raises(ModelError) as caught:
        described(tmp_path, family)
    assert class_name in str(caught.value)
    assert said in str(caught.value)


def test_layers_of_different_widths_are_refused(tmp_path, monkeypatch):
    model = tiny_llama()
    model.layers[1].mlp.down_proj = torch.nn.Linear(64, HIDDEN)
    model.layers[1].mlp.gate_proj = model.layers[1].mlp.up_proj = torch.nn.Linear(HIDDEN, 64)
    monkeypatch.setattr(structure, "without_weights", lambda _kind, _config: model)
    with pytest.raises(ModelError, match=r"odd has layers of different widths \[48, 64\]"):
        structure.describe_config(ModelSource("odd", str(tmp_path), "folder"), model.config)


def test_a_network_that_fits_twice_is_refused():
    model = tiny_llama()
    model.layers[2].mlp.second_down_proj = torch.nn.Linear(INNER, HIDDEN)
    said = r"LlamaModel, layers\.2.*found several: \['mlp.down_proj', 'mlp.second_down_proj'\]"
    with pytest.raises(ModelError, match=said):
        structure.locate(model)


def test_the_layers_are_the_largest_list_of_their_length():
    model = tiny_llama()
    wanted = structure.locate(model)
    model.layers[0].small = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(LAYERS))
    model.first = torch.nn.Module()
    model.first.also_small = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(LAYERS))
    assert structure.locate(model) == wanted


def test_a_model_that_is_built_in_another_way_is_refused_in_a_sentence(tmp_path, monkeypatch):
    def fail(_model):
        raise AttributeError("'OddConfig' object has\n no attribute 'hidden_size'")

    monkeypatch.setattr(structure, "locate", fail)
    with pytest.raises(ModelError) as caught:
        described(tmp_path / "model", "qwen3")
    assert str(caught.value) == (
        "model model (Qwen3Model) is built in a way in which no neurons can be looked for: "
        "'OddConfig' object has no attribute 'hidden_size'"
    )


def test_describing_never_changes_the_dtype_that_other_threads_compute_in(monkeypatch, tiny):
    """A forward pass beside it would make its tensors in whatever the default dtype is just then."""
    changed = []
    real = torch.set_default_dtype
    for model in ("demo", str(tiny("gpt2", dtype=torch.float16))):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "set_default_dtype", lambda dtype: (changed.append(dtype), real(dtype)))
            assert structure.describe(sources.parse_source(model)).stored_dtype != "float32"
    assert set(changed) == {torch.float32}
    source = sources.parse_source("demo")
    threads = [threading.Thread(target=lambda: [structure.describe(source) for _ in range(4)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    loading.load(source, "bfloat16", "cpu")
    for thread in threads:
        thread.join()
    assert torch.get_default_dtype() == torch.float32


# ----------------------------------------------------------------------------- models as their makers published them


@dataclass(frozen=True)
class Published:
    """A model: its configuration, what its makers say it has, and how its layers add up.

    whole: parameters of the language model with its head. queries, keys: widths of the projections. biases: of one
    layer's attention. norms: weights of one layer's norms. experts: of a layer, 1 where it is dense.
    """

    config: dict
    class_name: str
    whole: int
    queries: int
    keys: int
    norms: int
    biases: int = 0
    experts: int = 1

    @property
    def columns(self) -> int:
        return self.config.get("moe_intermediate_size", self.config["intermediate_size"])

    @property
    def attention(self) -> int:
        """Projections of one layer's attention: queries, keys, values and output."""
        return self.config["hidden_size"] * 2 * (self.queries + self.keys)

    @property
    def body(self) -> int:
        """Parameters without the head: embedding, layers of gated networks or experts and router, the last norm."""
        hidden = self.config["hidden_size"]
        router = self.experts * hidden if self.experts > 1 else 0
        layer = self.attention + self.biases + self.experts * 3 * hidden * self.columns + router + self.norms
        return self.config["vocab_size"] * hidden + self.config["num_hidden_layers"] * layer + hidden

    @property
    def projected(self) -> int:
        """Weights of linear projections, which stacked experts are not."""
        network = 3 * self.config["hidden_size"] * self.columns if self.experts == 1 else 0
        return self.config["num_hidden_layers"] * (self.attention + network)


def config_of(kind: str, layers: int, hidden: int, inner: int, heads: int, keys: int, words: int, **more: object):
    return {
        "model_type": kind,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "vocab_size": words,
        "torch_dtype": "bfloat16",
        "max_position_embeddings": 8192,
        **more,
    }


GEMMA = {"sliding_window": 4096, "attn_logit_softcapping": 50.0, "hidden_activation": "gelu_pytorch_tanh"}
GLM = {"attention_bias": True, "partial_rotary_factor": 0.5, "pad_token_id": 151329}
QWEN_MOE = {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "norm_topk_prob": True}
PUBLISHED = {
    "LLaMA 3.1 8B": Published(
        config_of("llama", 32, 4096, 14336, 32, 8, 128256), "LlamaModel", 8_030_261_248, 4096, 1024, 2 * 4096
    ),
    "Qwen2.5 7B": Published(
        config_of("qwen2", 28, 3584, 18944, 28, 4, 152064, tie_word_embeddings=False),
        "Qwen2Model", 7_615_616_512, 3584, 512, 2 * 3584, biases=3584 + 2 * 512,
    ),
    "GLM-4 9B 0414": Published(
        config_of("glm4", 40, 4096, 13696, 32, 2, 151552, head_dim=128, **GLM),
        "Glm4Model", 9_400_279_040, 4096, 256, 4 * 4096, biases=4096 + 2 * 256,
    ),
    "OLMo-2 7B": Published(
        config_of("olmo2", 32, 4096, 11008, 32, 32, 100352, pad_token_id=100277, torch_dtype="float32"),
        "Olmo2Model", 7_298_617_344, 4096, 4096, 4 * 4096,
    ),
    "Gemma-2 9B": Published(
        config_of("gemma2", 42, 3584, 14336, 16, 8, 256000, head_dim=256, torch_dtype="float32", **GEMMA),
        "Gemma2Model", 9_241_705_984, 4096, 2048, 4 * 3584,
    ),
    "Mixtral 8x7B v0.1": Published(
        config_of("mixtral", 32, 4096, 14336, 32, 8, 32000, num_local_experts=8, num_experts_per_tok=2),
        "MixtralModel", 46_702_792_704, 4096, 1024, 2 * 4096, experts=8,
    ),
    "Qwen3 30B A3B": Published(
        config_of("qwen3_moe", 48, 2048, 6144, 32, 4, 151936, head_dim=128, tie_word_embeddings=False, **QWEN_MOE),
        "Qwen3MoeModel", 30_532_122_624, 4096, 512, 2 * 2048 + 2 * 128, experts=128,
    ),
}  # fmt: skip
BUDGET = 16384


@pytest.fixture
def published(tmp_path):
    """published(name): its description, from a folder that holds its config.json and nothing else."""

    def get(name: str) -> ModelInfo:
        (tmp_path / "config.json").write_text(json.dumps(PUBLISHED[name].config))
        return describe(tmp_path)

    return get


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_described_from_their_configuration(name, published, monkeypatch):
    """Sizes, bytes in the cache, and bytes of the weights in every dtype."""
    monkeypatch.setattr(estimates, "free_gpu_bytes", lambda: [0])
    model, config, info = PUBLISHED[name], PUBLISHED[name].config, published(name)
    head = 0 if name == "Gemma-2 9B" else config["vocab_size"] * config["hidden_size"]
    mixture, layers, hidden = model.experts > 1, config["num_hidden_layers"], config["hidden_size"]
    neurons = model.experts * model.columns
    assert model.body == model.whole - head
    assert info == ModelInfo(
        name=info.name,
        class_name=model.class_name,
        layers=layers,
        neurons=neurons,
        hidden=hidden,
        parameters=model.body,
        gated=True,
        causal=True,
        stored_dtype=config["torch_dtype"],
        max_length=2048,
        experts=model.experts if mixture else 0,
        chosen=config["num_experts_per_tok"] if mixture else 0,
        projected=model.projected,
        attention=max(model.queries, hidden),
        scored=16 if name == "Gemma-2 9B" else 0,
    )
    # NAS takes 2, 1 and 1 bytes per neuron in its three poolings, NAV and EMB three numbers of 4, or of 2 if rounded
    names = [name for name in ENTRIES if not name.startswith("hid")]
    assert precision.bytes_per_sentence(info, "exact", names) == layers * (16 * neurons + 12 * hidden)
    assert precision.bytes_per_sentence(info, "half", names) == layers * (10 * neurons + 6 * hidden)
    other = model.body - model.projected
    for dtype, wanted in {
        "float32": 4 * model.body,
        "bfloat16": 2 * model.body,
        "auto": (4 if config["torch_dtype"] == "float32" else 2) * model.body,
        "int8": 2 * other + model.projected,
        "nf4": 2 * other + model.projected // 2 + model.projected // 64 * 4,
    }.items():
        assert estimates.estimate_memory(info, dtype, "cuda", 0).weights == wanted


class Memory(TorchDispatchMode):
    """What the tensors that were made and are still there would take, at most, in bytes."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self._known:
                storage = tensor.untyped_storage()
                self._known.add(storage._cdata)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        return result

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _fused_attention(query, _key, _value, attn_mask=None, **_options) -> torch.Tensor:
    """A kernel that holds no scores: a bool mask becomes numbers, and there is the output."""
    _numbers = torch.zeros_like(attn_mask, dtype=query.dtype)
    return torch.empty_like(query)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_batch_fits_into_the_estimate_and_does_not_leave_most_of_it(name, published, monkeypatch):
    """A padded batch as on a GPU, in bfloat16: the tensors of a pass without memory are counted, layer after layer."""
    monkeypatch.setattr(estimates, "free_gpu_bytes", lambda: [0])
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", _fused_attention)
    # whether there is padding cannot be read from a mask without memory
    monkeypatch.setattr(masking_utils, "_ignore_causal_mask_sdpa", lambda *_args, **_options: False)
    info = published(name)
    config = AutoConfig.for_model(**{**PUBLISHED[name].config, "num_hidden_layers": 2, "torch_dtype": "bfloat16"})
    with torch.device("meta"):
        model = AutoModel.from_config(config, dtype=torch.bfloat16).eval()
    for k, network in enumerate(structure.locate(model)):
        network.check_readable("gate")
        mlp = model.get_submodule(network.layer).mlp
        assert model.get_submodule(network.last_projection) is (mlp.experts if info.experts else mlp.down_proj)
        if info.experts:
            sizes = moe.sizes(mlp.experts)
            assert (sizes.experts, sizes.width) == (PUBLISHED[name].experts, PUBLISHED[name].columns)
        else:
            assert network.module_for("gate")[0] in (f"layers.{k}.mlp.act_fn", f"layers.{k}.mlp.activation_fn")
    estimate = estimates.estimate_memory(info, "bfloat16", "cuda", BUDGET).working
    peaks = []
    for length in (16, 128, 512):
        ids = torch.zeros(BUDGET // length, length, dtype=torch.long, device="meta")
        with torch.inference_mode(), Memory(model) as memory:
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        inner = info.neurons // (info.experts or 1) * max(info.chosen, 1)
        pooling = 4 * BUDGET * inner + (2 if info.experts else 1) * 3 * 4 * info.neurons * (BUDGET // length)
        peaks.append(memory.peak + pooling)
    assert max(peaks) <= estimate <= 3 * max(peaks)
