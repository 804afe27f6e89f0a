"""Tiny models with random weights, of every family that the tests name, and a plain computation of their neurons.

Nothing here computes with neuronxa_core: what the package finds by structure is written down here by hand, family for
family.
"""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast

from neuronxa_core.errors import ModelError

SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>"]
VOCABULARY = 300
LAYERS = 3
HIDDEN = 32
INNER = 48

TRAINING_TEXT = [
    "the cat sat on the mat",
    "a dog runs in the rain",
    "die Katze schläft am Tag",
    "el perro corre bajo la lluvia",
    "кошка спит днём",
    "猫は昼に眠る",
]


@dataclass(frozen=True)
class Family:
    """A model family: its configuration, its class, and where and how its feed-forward network computes.

    layer: path of layer k. first: the projections that read the network's input: (gate, up), one fused (gate up), or
    the only one of a plain network. last: the projection whose input the neurons are.
    """

    config: dict
    class_name: str
    layer: str
    first: tuple[str, ...]
    last: str
    activation_module: str | None
    activation: str
    gated: bool = False
    causal: bool = True
    neurons: int = INNER
    transposed: bool = False


def _llama_like(class_name: str, activation: str = "silu", **config: object) -> Family:
    first = ("mlp.gate_proj", "mlp.up_proj")
    return Family(config, class_name, "layers.{}", first, "mlp.down_proj", "mlp.act_fn", activation, gated=True)


def _fused(class_name: str, **config: object) -> Family:
    first = ("mlp.gate_up_proj",)
    return Family(config, class_name, "layers.{}", first, "mlp.down_proj", "mlp.activation_fn", "silu", gated=True)


def _bert_like(class_name: str) -> Family:
    return Family(
        {},
        class_name,
        "encoder.layer.{}",
        ("intermediate.dense",),
        "output.dense",
        "intermediate.intermediate_act_fn",
        "gelu",
        causal=False,
    )


_GROUPED = {"head_dim": 8, "num_key_value_heads": 2}

FAMILIES = {
    "llama": _llama_like("LlamaModel", num_key_value_heads=2),
    "qwen2": _llama_like("Qwen2Model", num_key_value_heads=4),
    "qwen3": _llama_like("Qwen3Model", num_key_value_heads=4, head_dim=8),
    "mistral": _llama_like("MistralModel", num_key_value_heads=4, sliding_window=4),
    "glm": _fused("GlmModel", pad_token_id=1, **_GROUPED),
    "glm4": _fused("Glm4Model", pad_token_id=1, **_GROUPED),
    "olmo": _llama_like("OlmoModel"),
    "olmo2": _llama_like("Olmo2Model"),
    "gemma2": _llama_like("Gemma2Model", "gelu_tanh", sliding_window=4, **_GROUPED),
    "gemma3_text": _llama_like("Gemma3TextModel", "gelu_tanh", sliding_window=4, **_GROUPED),
    "phi3": _fused("Phi3Model", pad_token_id=1),
    "gpt2": Family(
        {},
        "GPT2Model",
        "h.{}",
        ("mlp.c_fc",),
        "mlp.c_proj",
        "mlp.act",
        "gelu_tanh",
        neurons=4 * HIDDEN,
        transposed=True,
    ),
    "gpt_neox": Family({}, "GPTNeoXModel", "layers.{}", ("mlp.dense_h_to_4h",), "mlp.dense_4h_to_h", "mlp.act", "gelu"),
    "bloom": Family(
        {},
        "BloomModel",
        "h.{}",
        ("mlp.dense_h_to_4h",),
        "mlp.dense_4h_to_h",
        None,  # its module gelu_impl is not needed: a plain network has one definition only
        "gelu_tanh",
        neurons=4 * HIDDEN,
    ),
    "opt": Family(
        {"ffn_dim": INNER, "word_embed_proj_dim": HIDDEN},
        "OPTModel",
        "decoder.layers.{}",
        ("fc1",),
        "fc2",
        "activation_fn",
        "relu",
    ),
    "falcon": Family(
        {}, "FalconModel", "h.{}", ("mlp.dense_h_to_4h",), "mlp.dense_4h_to_h", "mlp.act", "gelu", neurons=4 * HIDDEN
    ),
    "bert": _bert_like("BertModel"),
    "xlm-roberta": _bert_like("XLMRobertaModel"),
    "modernbert": Family(
        {"pad_token_id": 1}, "ModernBertModel", "layers.{}", ("mlp.Wi",), "mlp.Wo", "mlp.act", "gelu", True, False
    ),
    "gptj": Family(
        {"rotary_dim": 4}, "GPTJModel", "h.{}", ("mlp.fc_in",), "mlp.fc_out", "mlp.act", "gelu_tanh", neurons=4 * HIDDEN
    ),
    "distilbert": Family(
        {"hidden_dim": INNER},
        "DistilBertModel",
        "transformer.layer.{}",
        ("ffn.lin1",),
        "ffn.lin2",
        "ffn.activation",
        "gelu",
        causal=False,
    ),
}


EXPERTS, CHOSEN, COLUMNS = 6, 2, 24


@dataclass(frozen=True)
class Mixture:
    """A family of mixtures of experts: its configuration, its class, and how one expert's weights are stored.

    experts: path of the module of layer k that holds all routed experts. router: weight (and bias) of layer k's router
    in the weights file; the experts with the highest logits are chosen. expert: (gate weight, up weight, gate bias, up
    bias) of one expert, each [column, hidden] or [column], from the weights file, a layer and a number. product: what
    gate and up become, where that is not silu(gate) * up.
    """

    config: dict
    class_name: str
    experts: str
    router: str
    expert: Callable[[dict[str, torch.Tensor], int, int], tuple[torch.Tensor | float, ...]]
    product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None


def _each_by_itself(gate: str, up: str):
    """Every expert has tensors of its own, named with the layer and the expert."""
    return lambda weights, layer, k: (weights[gate.format(layer, k)], weights[up.format(layer, k)], 0.0, 0.0)


def _granite_expert(weights: dict[str, torch.Tensor], layer: int, k: int):
    both = weights[f"layers.{layer}.block_sparse_moe.input_linear.weight"][k]
    return both[:COLUMNS], both[COLUMNS:], 0.0, 0.0


def _gpt_oss_expert(weights: dict[str, torch.Tensor], layer: int, k: int):
    """[hidden, 2 x column], gate and up in turn."""
    both = weights[f"layers.{layer}.mlp.experts.gate_up_proj"][k].T
    bias = weights[f"layers.{layer}.mlp.experts.gate_up_proj_bias"][k]
    return both[::2], both[1::2], bias[::2], bias[1::2]


def _gpt_oss_product(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    gate = gate.clamp(max=7)
    return (up.clamp(-7, 7) + 1) * gate / (1 + torch.exp(-1.702 * gate))


_QWEN_LIKE = _each_by_itself("layers.{}.mlp.experts.{}.gate_proj.weight", "layers.{}.mlp.experts.{}.up_proj.weight")
_LOCAL = {"num_local_experts": EXPERTS, "num_experts_per_tok": CHOSEN, "intermediate_size": COLUMNS}

# apart from FAMILIES, whose networks are dense
MOE_FAMILIES = {
    "mixtral": Mixture(
        {**_LOCAL, "num_key_value_heads": 2},
        "MixtralModel",
        "layers.{}.mlp.experts",
        "layers.{}.block_sparse_moe.gate",
        _each_by_itself(
            "layers.{}.block_sparse_moe.experts.{}.w1.weight", "layers.{}.block_sparse_moe.experts.{}.w3.weight"
        ),
    ),
    "qwen3_moe": Mixture(
        {"num_experts": EXPERTS, "num_experts_per_tok": CHOSEN, "moe_intermediate_size": COLUMNS, **_GROUPED},
        "Qwen3MoeModel",
        "layers.{}.mlp.experts",
        "layers.{}.mlp.gate",
        _QWEN_LIKE,
    ),
    "olmoe": Mixture(
        {"num_experts": EXPERTS, "num_experts_per_tok": CHOSEN, "intermediate_size": COLUMNS},
        "OlmoeModel",
        "layers.{}.mlp.experts",
        "layers.{}.mlp.gate",
        _QWEN_LIKE,
    ),
    "granitemoe": Mixture(
        {**_LOCAL, "num_key_value_heads": 2},
        "GraniteMoeModel",
        "layers.{}.block_sparse_moe.experts",
        "layers.{}.block_sparse_moe.router.layer",
        _granite_expert,
    ),
    "gpt_oss": Mixture(
        {**_LOCAL, **_GROUPED},
        "GptOssModel",
        "layers.{}.mlp.experts",
        "layers.{}.mlp.router",
        _gpt_oss_expert,
        _gpt_oss_product,
    ),
}


@functools.cache
def byte_tokenizer(with_special_tokens: bool) -> Tokenizer:
    """A byte-level BPE tokenizer of VOCABULARY tokens that knows every text; `with_special_tokens`: <s> text </s>."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING_TEXT * 4, trainer)
    if with_special_tokens:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    return tokenizer


def save_tokenizer(folder: Path, with_special_tokens: bool = True) -> None:
    """Write the byte-level tokenizer in transformers' format."""
    bos, pad, eos, unk = SPECIAL_TOKENS
    PreTrainedTokenizerFast(
        tokenizer_object=byte_tokenizer(with_special_tokens), bos_token=bos, pad_token=pad, eos_token=eos, unk_token=unk
    ).save_pretrained(folder)


def tiny_config(family: str, **changes: object):
    """The configuration of a tiny model: `LAYERS` layers, `HIDDEN` wide."""
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
    }
    known = {**FAMILIES, **MOE_FAMILIES}
    special = known[family].config if family in known else {}
    kind = CONFIG_MAPPING[family]
    names = {**kind.attribute_map}
    return kind(**{names.get(name, name): value for name, value in {**sizes, **special, **changes}.items()})


@torch.no_grad()
def randomize(model: torch.nn.Module, seed: int) -> None:
    """Weights that give activations of both signs and of size 1 or so, biases and norms that are not trivial."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if id(parameter) in embeddings:
            parameter.copy_(noise)
        elif parameter.dim() > 1:
            parameter.copy_(1.5 * noise / math.sqrt(HIDDEN))
        else:
            parameter.add_((0.3 if name.endswith("bias") else 0.1) * noise)


def tiny_model(
    family: str,
    folder: Path,
    *,
    seed: int = 0,
    with_special_tokens: bool = True,
    edit: Callable[[torch.nn.Module], None] = lambda _model: None,
    dtype: torch.dtype = torch.float32,
    head: bool = False,
    **config: object,
) -> Path:
    """Save a random model of a family and a tokenizer to `folder`; `edit` may plant weights before.

    head: save the causal language model rather than its base model.
    """
    model = (AutoModelForCausalLM if head else AutoModel).from_config(tiny_config(family, **config))
    randomize(model, seed)
    with torch.no_grad():
        edit(model)
    model.to(dtype).save_pretrained(folder)
    save_tokenizer(folder, with_special_tokens)
    return folder


def _gelu(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def _gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
}


class PlainNeurons:
    """The neurons of a saved model, computed in float64 from its weights file by the formulas."""

    def __init__(self, family: str, folder: Path) -> None:
        self.family = FAMILIES[family]
        self.weights = {name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()}

    def _project(self, path: str, x: torch.Tensor) -> torch.Tensor:
        weight = self.weights[f"{path}.weight"]
        y = x @ (weight if self.family.transposed else weight.T)
        bias = self.weights.get(f"{path}.bias")
        return y if bias is None else y + bias

    def first_path(self, layer: int) -> str:
        """The first projection of a layer's network, whose input is the network's."""
        return f"{self.family.layer.format(layer)}.{self.family.first[0]}"

    def activations(self, layer: int, x: torch.Tensor, neuron: str) -> torch.Tensor:
        """Activations [..., neuron] of a layer's network for its input x [..., hidden]."""
        path = self.family.layer.format(layer)
        into = [self._project(f"{path}.{name}", x.double()) for name in self.family.first]
        act = ACTIVATIONS[self.family.activation]
        if not self.family.gated:
            return act(into[0])
        gate, up = into if len(into) == 2 else into[0].chunk(2, dim=-1)
        return act(gate) * up if neuron == "product" else act(gate)


class PlainExperts:
    """The neurons of a saved mixture of experts, computed in float64 from its weights file, token by token."""

    def __init__(self, family: str, folder: Path) -> None:
        self.family = MOE_FAMILIES[family]
        self.weights = {name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()}

    def chosen(self, layer: int, x: torch.Tensor) -> list[int]:
        """The experts that a layer's router chooses for one token's input [hidden], ascending."""
        router = self.family.router.format(layer)
        logits = self.weights[f"{router}.weight"] @ x.double() + self.weights.get(f"{router}.bias", 0.0)
        return sorted(logits.argsort(descending=True)[:CHOSEN].tolist())

    def activations(self, layer: int, x: torch.Tensor, neuron: str) -> torch.Tensor:
        """Activations [token, expert x column] for the inputs x [token, hidden] of a layer's experts."""
        result = torch.zeros(len(x), EXPERTS * COLUMNS, dtype=torch.float64)
        for token, state in enumerate(x.double()):
            for k in self.chosen(layer, state):
                gate_weight, up_weight, gate_bias, up_bias = self.family.expert(self.weights, layer, k)
                gate, up = gate_weight @ state + gate_bias, up_weight @ state + up_bias
                activated = ACTIVATIONS["silu"](gate)
                value = activated if neuron == "gate" else activated * up
                if self.family.product:
                    value = self.family.product(gate, up)
                result[token, k * COLUMNS : (k + 1) * COLUMNS] = value
        return result


def without_weights(folder: Path, parent: Path) -> Path:
    """A folder of the same name in `parent` with the model's configuration alone."""
    bare = parent / folder.name
    bare.mkdir()
    shutil.copy(folder / "config.json", bare)
    return bare


def core(names: Iterable, *kept) -> list:
    """Parameters for a test: those kept run always, the others with --full only."""
    rare = ((name if isinstance(name, tuple) else (name,)) for name in names if name not in kept)
    return [*kept, *(pytest.param(*name, marks=pytest.mark.full) for name in rare)]


def refused(call: Callable[[], object]) -> str:
    """The message of the ModelError that a call raises: one line."""
    with pytest.raises(ModelError) as caught:
        call()
    assert str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)
