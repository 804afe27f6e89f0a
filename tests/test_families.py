"""Model families at their published sizes, from their configuration alone: nothing here has weights.

The settings are those that the models' makers published with them; what follows from them is worked out here by hand.
"""

from __future__ import annotations

import json
import time
import weakref
from dataclasses import dataclass

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModel, masking_utils

from neuronxa_core.errors import ModelError
from neuronxa_core.models import description, estimates, loading, moe, sources, structure
from neuronxa_core.states import precision


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
        hidden = self.config["hidden_size"]
        return hidden * self.queries + 2 * hidden * self.keys + self.queries * hidden

    @property
    def layer(self) -> int:
        """Parameters of a layer, with a gated network, or experts and their router."""
        hidden = self.config["hidden_size"]
        router = self.experts * hidden if self.experts > 1 else 0
        networks = self.experts * 3 * hidden * self.columns
        return self.attention + self.biases + networks + router + self.norms

    @property
    def body(self) -> int:
        """Parameters without the head: embedding, layers, and the norm after them."""
        vocabulary, hidden = self.config["vocab_size"], self.config["hidden_size"]
        return vocabulary * hidden + self.config["num_hidden_layers"] * self.layer + hidden


def _config(kind: str, layers: int, hidden: int, inner: int, heads: int, keys: int, words: int, **more: object) -> dict:
    return {
        "model_type": kind,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "vocab_size": words,
        "torch_dtype": "bfloat16",
        **more,
    }


def _glm(kind: str, max_position_embeddings: int) -> dict:
    """Both forms of GLM-4 9B."""
    return _config(
        kind,
        40,
        4096,
        13696,
        32,
        2,
        151552,
        head_dim=128,
        attention_bias=True,
        max_position_embeddings=max_position_embeddings,
        partial_rotary_factor=0.5,
        pad_token_id=151329,
        eos_token_id=[151329, 151336, 151338],
    )


PUBLISHED = {
    "LLaMA 3.1 8B": Published(
        _config(
            "llama",
            32,
            4096,
            14336,
            32,
            8,
            128256,
            max_position_embeddings=131072,
            rms_norm_eps=1e-5,
            rope_theta=500000.0,
            rope_scaling={
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
                "rope_type": "llama3",
            },
            bos_token_id=128000,
            eos_token_id=128001,
        ),
        "LlamaModel",
        whole=8_030_261_248,
        queries=4096,
        keys=1024,
        norms=2 * 4096,
    ),
    "Qwen2.5 7B": Published(
        _config(
            "qwen2",
            28,
            3584,
            18944,
            28,
            4,
            152064,
            max_position_embeddings=131072,
            rope_theta=1000000.0,
            use_sliding_window=False,
            sliding_window=131072,
            max_window_layers=28,
            tie_word_embeddings=False,
        ),
        "Qwen2Model",
        whole=7_615_616_512,
        queries=3584,
        keys=512,
        norms=2 * 3584,
        biases=3584 + 2 * 512,
    ),
    "Qwen3 8B": Published(
        _config(
            "qwen3",
            36,
            4096,
            12288,
            32,
            8,
            151936,
            head_dim=128,
            max_position_embeddings=40960,
            rope_theta=1000000,
            tie_word_embeddings=False,
        ),
        "Qwen3Model",
        whole=8_190_735_360,
        queries=4096,
        keys=1024,
        norms=2 * 4096 + 2 * 128,
    ),
    "Mistral 7B v0.3": Published(
        _config(
            "mistral",
            32,
            4096,
            14336,
            32,
            8,
            32768,
            max_position_embeddings=32768,
            rope_theta=1000000.0,
            sliding_window=None,
        ),
        "MistralModel",
        whole=7_248_023_552,
        queries=4096,
        keys=1024,
        norms=2 * 4096,
    ),
    "GLM-4 9B": Published(
        _glm("glm", max_position_embeddings=8192),
        "GlmModel",
        whole=9_399_951_360,
        queries=4096,
        keys=256,
        norms=2 * 4096,
        biases=4096 + 2 * 256,
    ),
    "GLM-4 9B 0414": Published(
        _glm("glm4", max_position_embeddings=32768),
        "Glm4Model",
        whole=9_400_279_040,
        queries=4096,
        keys=256,
        norms=4 * 4096,
        biases=4096 + 2 * 256,
    ),
    "OLMo-2 7B": Published(
        _config(
            "olmo2",
            32,
            4096,
            11008,
            32,
            32,
            100352,
            max_position_embeddings=4096,
            rope_theta=500000,
            pad_token_id=100277,
            eos_token_id=100257,
            torch_dtype="float32",
        ),
        "Olmo2Model",
        whole=7_298_617_344,
        queries=4096,
        keys=4096,
        norms=4 * 4096,
    ),
    "Gemma-2 9B": Published(
        _config(
            "gemma2",
            42,
            3584,
            14336,
            16,
            8,
            256000,
            head_dim=256,
            max_position_embeddings=8192,
            sliding_window=4096,
            attn_logit_softcapping=50.0,
            final_logit_softcapping=30.0,
            query_pre_attn_scalar=256,
            hidden_activation="gelu_pytorch_tanh",
            torch_dtype="float32",
        ),
        "Gemma2Model",
        whole=9_241_705_984,
        queries=4096,
        keys=2048,
        norms=4 * 3584,
    ),
    "Mixtral 8x7B v0.1": Published(
        _config(
            "mixtral",
            32,
            4096,
            14336,
            32,
            8,
            32000,
            num_local_experts=8,
            num_experts_per_tok=2,
            max_position_embeddings=32768,
            rope_theta=1000000.0,
            sliding_window=None,
        ),
        "MixtralModel",
        whole=46_702_792_704,
        queries=4096,
        keys=1024,
        norms=2 * 4096,
        experts=8,
    ),
    "Qwen3 30B A3B": Published(
        _config(
            "qwen3_moe",
            48,
            2048,
            6144,
            32,
            4,
            151936,
            head_dim=128,
            moe_intermediate_size=768,
            num_experts=128,
            num_experts_per_tok=8,
            decoder_sparse_step=1,
            mlp_only_layers=[],
            norm_topk_prob=True,
            max_position_embeddings=40960,
            tie_word_embeddings=False,
        ),
        "Qwen3MoeModel",
        whole=30_532_122_624,
        queries=4096,
        keys=512,
        norms=2 * 2048 + 2 * 128,
        experts=128,
    ),
    "OLMoE 1B 7B 0924": Published(
        _config(
            "olmoe",
            16,
            2048,
            1024,
            16,
            16,
            50304,
            num_experts=64,
            num_experts_per_tok=8,
            norm_topk_prob=False,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
        ),
        "OlmoeModel",
        whole=6_919_161_856,
        queries=2048,
        keys=2048,
        norms=4 * 2048,
        experts=64,
    ),
}
TIED = ("Gemma-2 9B",)
MIXTURES = [name for name, model in PUBLISHED.items() if model.experts > 1]
BUDGET = 16384


@pytest.fixture
def described(tmp_path):
    """described(name): its description, from a folder that holds its config.json and nothing else."""

    def get(name: str) -> description.ModelInfo:
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(PUBLISHED[name].config))
        return structure.describe(sources.parse_source(str(folder)))

    return get


def empty(name: str, layers: int) -> torch.nn.Module:
    """The model with fewer layers, in bfloat16, without memory for its weights."""
    model = PUBLISHED[name]
    config = {**model.config, "num_hidden_layers": layers, "torch_dtype": "bfloat16"}
    folder_config = loading.AutoConfig.for_model(**config)
    with torch.device("meta"):
        return AutoModel.from_config(folder_config, dtype=torch.bfloat16).eval()


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_said_of_a_model_without_its_weights(name, described):
    model = PUBLISHED[name]
    config = model.config
    head = 0 if name in TIED else config["vocab_size"] * config["hidden_size"]
    assert model.body == model.whole - head
    begun = time.perf_counter()
    info = described(name)
    print(f"{name}: described in {time.perf_counter() - begun:.3f} s")
    assert info == description.ModelInfo(
        name="model",
        class_name=model.class_name,
        layers=config["num_hidden_layers"],
        neurons=model.experts * model.columns,
        hidden=config["hidden_size"],
        parameters=model.whole - head,
        gated=True,
        causal=True,
        stored_dtype=config["torch_dtype"],
        max_length=2048,
        experts=model.experts if name in MIXTURES else 0,
        chosen=config["num_experts_per_tok"] if name in MIXTURES else 0,
        projected=config["num_hidden_layers"]
        * (model.attention + (0 if name in MIXTURES else 3 * config["hidden_size"] * model.columns)),
        attention=max(model.queries, config["hidden_size"]),
        scored=16 if name == "Gemma-2 9B" else 0,
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_both_definitions_of_a_neuron_are_found_in_every_layer(name):
    model = empty(name, 3)
    for k, network in enumerate(structure.locate(model)):
        layer = model.get_submodule(network.layer)
        assert layer is model.layers[k]
        if name in MIXTURES:
            network.check_readable("gate")
            assert model.get_submodule(network.last_projection) is layer.mlp.experts
            sizes = moe.sizes(layer.mlp.experts)
            assert (sizes.experts, sizes.width) == (PUBLISHED[name].experts, PUBLISHED[name].columns)
            continue
        assert network.module_for("product") == (f"layers.{k}.mlp.down_proj", "input")
        path, side = network.module_for("gate")
        assert side == "output"
        assert model.get_submodule(path) in (
            getattr(layer.mlp, "act_fn", None),
            getattr(layer.mlp, "activation_fn", None),
        )


@pytest.mark.parametrize("name", PUBLISHED)
def test_bytes_of_a_sentence_in_the_cache(name, described):
    """NAS takes 2, 1 and 1 bytes a neuron in its three poolings, NAV and EMB three numbers of 4, or 2 in short."""
    config = PUBLISHED[name].config
    neurons, hidden = PUBLISHED[name].experts * PUBLISHED[name].columns, config["hidden_size"]
    layers = config["num_hidden_layers"]
    info = described(name)
    assert precision.bytes_a_sentence(info, "exact") == layers * (16 * neurons + 12 * hidden)
    assert precision.bytes_a_sentence(info, "half") == layers * (10 * neurons + 6 * hidden)


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_in_every_dtype(name, described, monkeypatch):
    monkeypatch.setattr(estimates, "free_gpu_bytes", lambda: [0])
    info, body = described(name), PUBLISHED[name].body
    projected = PUBLISHED[name].attention
    if name not in MIXTURES:
        projected += 3 * PUBLISHED[name].config["hidden_size"] * PUBLISHED[name].columns
    projected *= PUBLISHED[name].config["num_hidden_layers"]
    stored = 4 if PUBLISHED[name].config["torch_dtype"] == "float32" else 2
    for dtype, wanted in {
        "float32": 4 * body,
        "bfloat16": 2 * body,
        "float16": 2 * body,
        "auto": stored * body,
        "int8": 2 * (body - projected) + projected,
        "nf4": 2 * (body - projected) + projected // 2 + projected // 64 * 4,
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
def test_a_batch_fits_into_the_estimate_and_does_not_leave_most_of_it(name, described, monkeypatch):
    """A padded batch as on a GPU, in bfloat16: the tensors of a pass without memory are counted, layer after layer."""
    monkeypatch.setattr(estimates, "free_gpu_bytes", lambda: [0])
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", _fused_attention)
    # whether there is padding cannot be read from a mask without memory
    monkeypatch.setattr(masking_utils, "_ignore_causal_mask_sdpa", lambda *_args, **_options: False)
    info, model = described(name), empty(name, 2)
    estimate = estimates.estimate_memory(info, "bfloat16", "cuda", BUDGET).working
    peaks = []
    for length in (16, 128, 512):
        ids = torch.zeros(BUDGET // length, length, dtype=torch.long, device="meta")
        with torch.inference_mode(), Memory(model) as memory:
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        inner = info.neurons // (info.experts or 1) * max(info.chosen, 1)
        pooling = 4 * BUDGET * inner + (2 if info.experts else 1) * 3 * 4 * info.neurons * (BUDGET // length)
        peaks.append(memory.peak + pooling)
    print(f"{name}: peaks {[f'{peak / 2**30:.2f}' for peak in peaks]} GiB, estimate {estimate / 2**30:.2f} GiB")
    assert max(peaks) <= estimate <= 3 * max(peaks)


def test_a_model_that_is_built_in_another_way_is_refused_in_a_sentence(described, monkeypatch):
    def fail(_model):
        raise AttributeError("'OddConfig' object has\n no attribute 'hidden_size'")

    monkeypatch.setattr(structure, "locate", fail)
    with pytest.raises(ModelError) as caught:
        described("Qwen3 8B")
    assert str(caught.value) == (
        "model model (Qwen3Model) is built in a way in which no neurons can be looked for: "
        "'OddConfig' object has no attribute 'hidden_size'"
    )
