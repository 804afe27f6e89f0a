"""Find, describe and load language models, and tell where their neurons are.

A neuron is one column of the feed-forward network's inner layer. Its activation is read at one of two places:

- `product`: the input of the network's last projection (`down_proj`, `c_proj`, `dense_4h_to_h`, `fc2`, ...);
- `gate`: the output of the activation function, act(W_gate x), LAPE's definition (Tang et al., ACL 2024). In a plain,
  ungated network the two are one.

Both are found by structure, not by a list of architectures: in every layer, the one projection from the inner width
to the hidden width that has a projection from the hidden to the inner width before it and is no part of attention.
In a mixture of experts, a layer's neurons are the columns of all its routed experts; see experts.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil
import torch
import transformers
import xxhash
from huggingface_hub import constants as hub_constants
from huggingface_hub import errors as hub_errors
from huggingface_hub import scan_cache_dir
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D
from transformers.utils import is_bitsandbytes_available
from transformers.utils.hub import cached_file, extract_commit_hash

from neuronxa_core import experts
from neuronxa_core.errors import ModelError
from neuronxa_core.memory import ran_out
from neuronxa_core.wording import some_of

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

log = logging.getLogger(__name__)

DEMO_FOLDER = Path(__file__).parent / "demo" / "model"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# bytes of a weight of a linear projection: nf4 keeps a float32 scale for every 64 weights of half a byte
QUANTIZED = {"int8": 1.0, "nf4": 0.5 + 4 / 64}
# a sentence longer than this is cut even where the model could read more, so that memory stays bounded
LONGEST_SENTENCE = 2048
# tokens of sentences as they usually are, for estimates of memory
SHORT, LONG = 16, 512
# beyond these no model was ever made, and one that asks for them would be built for hours; [the end of a setting's
# name, the most that it may say]
_MOST = [
    (("layers", "layer", "blocks", "depth"), 1_000),
    (("experts",), 10_000),
    (("size", "dim", "heads", "positions", "embeddings", "inner", "embd", "ctx", "hidden", "width", "channels"), 10**8),
]
MOST_CONFIG_BYTES = 16 << 20
WEIGHTS_INDEX = "model.safetensors.index.json"

Neuron = Literal["product", "gate"]

# while transformers builds a model it changes torch's default dtype for the whole process, and two builds at once can
# leave it changed for good; models are loaded while no other is at work, see ModelShelf
_BUILDING = threading.RLock()


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from: `demo`, a local `folder`, or the `hub`."""

    name: str
    location: str
    kind: Literal["demo", "folder", "hub"]
    revision: str | None = None

    @property
    def hub_options(self) -> dict:
        """What every `from_pretrained` gets: never remote code."""
        options: dict = {"trust_remote_code": False}
        if self.kind == "hub":
            options["revision"] = self.revision
        else:
            options["local_files_only"] = True
        return options


@dataclass(frozen=True)
class FeedForward:
    """The feed-forward network of one layer: module paths from the text model on, and its width in neurons.

    experts: how many routed experts it has, 0 where it is dense. Of a mixture, last_projection is the module that holds
    all experts, and neuron number = expert x width + column.
    """

    layer: str
    last_projection: str
    activation: str | None
    neurons: int
    gated: bool
    experts: int = 0

    @property
    def width(self) -> int:
        """Columns of the network, or of one expert."""
        return self.neurons // (self.experts or 1)

    def module_for(self, neuron: Neuron) -> tuple[str, Literal["input", "output"]]:
        """The module to hook for a neuron definition, and which side of it to read.

        Raises ModelError where the definition cannot be read, and for a mixture: see experts.recording.
        """
        if self.experts:
            raise ModelError(f"the neurons of {self.layer}, a mixture of experts, are those of no single module")
        self.refuse_what_cannot_be_read(neuron)
        if neuron == "product" or not self.gated:
            return self.last_projection, "input"
        return self.activation, "output"

    def refuse_what_cannot_be_read(self, neuron: Neuron) -> None:
        """Raise ModelError where a neuron definition has no place in the network."""
        if neuron == "gate" and self.gated and self.activation is None:
            raise ModelError(
                f"the output of the activation function of {self.layer} does not stand by itself, so the neuron "
                "definition 'gate' cannot be read there; choose 'product'"
            )


@dataclass(frozen=True)
class ModelInfo:
    """What can be said of a model without its weights.

    neurons: of a layer; of a mixture, of all its routed experts. experts: of a layer, 0 where it is dense. chosen:
    experts that a token is sent to. projected: weights of linear projections, which int8 and nf4 shrink. attention:
    width of the queries. scored: heads whose attention scores are held in memory, 0 where a fused kernel holds none.
    """

    name: str
    class_name: str
    layers: int
    neurons: int
    hidden: int
    parameters: int
    gated: bool
    causal: bool
    stored_dtype: str
    longest: int
    """Tokens of a sentence that the model can read; longer ones are cut and counted."""
    experts: int = 0
    chosen: int = 0
    projected: int = 0
    attention: int = 0
    scored: int = 0


@dataclass
class LoadedModel:
    """A model ready for extraction, and with its head for likelihood.

    model: the text model, whose modules the feed_forwards name. head: the whole language model around it, sharing its
    weights; None where it was loaded without.
    """

    info: ModelInfo
    model: PreTrainedModel
    tokenizer: transformers.PreTrainedTokenizerBase
    feed_forwards: tuple[FeedForward, ...]
    device: torch.device
    dtype: str
    head: PreTrainedModel | None = None

    @property
    def vocabulary(self) -> int:
        """How many token ids the model has a vector for."""
        return self.model.get_input_embeddings().weight.shape[0]

    @property
    def padding_id(self) -> int:
        """What fills rows up: the model's padding token, or 0 where it has none that has a vector."""
        padding = self.model.config.get_text_config().pad_token_id
        return padding if padding is not None and 0 <= padding < self.vocabulary else 0


def parse_source(text: str) -> ModelSource:
    """`demo`, a folder, or a hub id with an optional `@revision`.

    Raises ModelError for a path that is no folder and for what can be no hub id.
    """
    text = text.strip()
    if text == "demo":
        return ModelSource("demo", str(DEMO_FOLDER), "demo")
    if not text:
        raise ModelError("no model is named; give a local folder, a hub id such as Qwen/Qwen3-8B, or demo")
    try:
        path = Path(text).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:  # a name that is too long, a folder that may not be read, ~nobody
        raise ModelError(f"{text[:100]!r} is no folder that can be read: {error}") from error
    if is_folder:
        return ModelSource(path.resolve().name, str(path.resolve()), "folder")
    if is_file:
        raise ModelError(f"{text} is a file; give the folder that holds config.json and the .safetensors weights")
    identity = text.partition("@")[0]
    if text.startswith(("/", ".", "~")) or "\\" in text or identity.count("/") > 1 or text.endswith("/"):
        raise ModelError(f"there is no folder {text}; give a local folder, a hub id such as Qwen/Qwen3-8B, or demo")
    source = hub_source(text)
    if source is None:
        raise ModelError(f"{text!r} is neither a folder nor a hub id such as Qwen/Qwen3-8B (optionally with @revision)")
    return source


def hub_source(text: str) -> ModelSource | None:
    """The hub's model that a text names, whatever lies on this disk; None for what can be no hub id."""
    identity, _, revision = text.strip().partition("@")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", identity):
        return None
    return ModelSource(identity, identity, "hub", revision or None)


def _explained(source: ModelSource, error: Exception) -> ModelError:
    """One clear sentence for what the libraries raise while a model is read."""
    where = f"model {source.name}"
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(c, kinds) for c in causes)

    text = " ".join(str(error).split())
    if has(hub_errors.GatedRepoError) or "gated repo" in text:
        return ModelError(f"{where} is gated: accept its terms on its hub page and log in with `hf auth login`")
    if has(hub_errors.RevisionNotFoundError):
        return ModelError(f"{where} has no revision {source.revision!r} on the hub; check the name after the @")
    if has(hub_errors.RepositoryNotFoundError):
        return ModelError(f"{where} is not on the hub, or is private: check its spelling, or run `hf auth login`")
    if "trust_remote_code" in text or "custom code" in text:
        return ModelError(
            f"{where} asks for its own code to be run, which this app never does; use a model that transformers "
            f"{transformers.__version__} knows"
        )
    if any(map(ran_out, causes)):
        return ModelError(f"{where} does not fit into memory; choose a smaller dtype, another device or another model")
    no_network = (hub_errors.LocalEntryNotFoundError, hub_errors.OfflineModeIsEnabled, ConnectionError)
    if source.kind == "hub" and (has(*no_network) or "couldn't connect" in text.lower() or "offline" in text.lower()):
        return ModelError(
            f"{where} is not in the local hub cache and the hub cannot be reached; check the network, or give a folder"
        )
    if "safetensors" in text and ("no file named" in text or "does not appear to have" in text):
        return ModelError(f"{where} has no .safetensors weights; convert them first (pickled weights are never loaded)")
    if has(SafetensorError):
        return ModelError(f"{where} has a .safetensors file that is damaged or cut off ({text}); copy it again")
    if "model type" in text.lower() or "Unrecognized" in text:
        return ModelError(f"transformers {transformers.__version__} does not know the kind of {where}: {text[:300]}")
    return ModelError(f"{where} could not be read: {type(error).__name__}: {text[:300]}")


def read_config(source: ModelSource) -> PretrainedConfig:
    """The model's configuration, from a folder, the hub cache or the hub.

    Raises ModelError for one that cannot be read, that no model could have, or that leads away from the model's files.
    """
    if source.kind != "hub":
        folder = Path(source.location)
        if not (folder / "config.json").is_file():
            raise ModelError(f"the folder {source.location} has no config.json; give a folder in transformers' format")
        settings = _read_json(folder / "config.json")
        if not isinstance(settings, dict):
            raise ModelError(f"{folder / 'config.json'} holds no settings of a model; copy it again")
        _refuse_what_no_model_has(source, settings)
        if (folder / "adapter_config.json").is_file():
            raise ModelError(
                f"model {source.name} is an adapter of another model (adapter_config.json); merge the two, and give "
                "the folder of the whole"
            )
    try:
        if source.kind == "hub":
            # looked at before it is built: a list of a thousand million layers would be made there
            settings, _ = PretrainedConfig.get_config_dict(source.location, revision=source.revision)
            _refuse_what_no_model_has(source, settings)
        config = AutoConfig.from_pretrained(source.location, **source.hub_options)
    except ModelError:
        raise
    except Exception as error:
        raise _explained(source, error) from error
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"model {source.name} ({type(config).__name__}) is an encoder-decoder; decoders and encoders are supported"
        )
    return config


def _read_json(file: Path) -> object:
    """What a JSON file holds. Raises ModelError."""
    try:
        if file.stat().st_size > MOST_CONFIG_BYTES:
            raise ModelError(f"{file} is larger than any such file ({MOST_CONFIG_BYTES >> 20} MiB); copy it again")
        return json.loads(file.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{file} is not readable JSON: {error}") from error


def _refuse_what_no_model_has(source: ModelSource, settings: dict) -> None:
    """Raise ModelError for sizes that no model has, and for a file of weights that is not where they always are.

    transformers would load the latter even where it is pickled.
    """
    if settings.get("transformers_weights") is not None:
        raise ModelError(
            f"the configuration of model {source.name} names a file of weights of its own (transformers_weights); only "
            f"model.safetensors and {WEIGHTS_INDEX} are read: take that setting out, and name the file so"
        )
    for name, value in _settings_in(settings):
        most = next((most for endings, most in _MOST if name.endswith(endings)), None)
        if most is not None and isinstance(value, int | float) and value > most:
            raise ModelError(
                f"the configuration of model {source.name} says {name} = {value:,}, and no model has more than "
                f"{most:,}; the file is damaged"
            )


def _settings_in(settings: dict) -> Iterator[tuple[str, object]]:
    """Name and value of every setting, of those within others too."""
    todo: list[tuple[str, object]] = [("", settings)]
    while todo:
        name, value = todo.pop()
        if isinstance(value, dict):
            todo += [(str(inner), below) for inner, below in value.items()]
        elif isinstance(value, list):
            todo += [(name, below) for below in value]
        else:
            yield name, value


def _shape(module: torch.nn.Module) -> tuple[int, int] | None:
    """(inputs, outputs) of a projection, None for any other module."""
    if isinstance(module, Conv1D):
        return module.nx, module.nf
    if isinstance(getattr(module, "in_features", None), int) and isinstance(getattr(module, "out_features", None), int):
        return module.in_features, module.out_features
    return None


def _number(config: PretrainedConfig, *names: str) -> int | None:
    """The first of the named settings that is a whole number; None where there is none, or one for each layer."""
    for name in names:
        try:
            value = getattr(config, name, None)
        except RuntimeError:  # transformers: the layers differ in it
            continue
        if isinstance(value, int):
            return value
    return None


def _width_in_config(config: PretrainedConfig) -> int | None:
    return _number(config, "intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "inner_size", "d_ff")


def _layer_stack(model: torch.nn.Module, config: PretrainedConfig) -> tuple[str, torch.nn.ModuleList]:
    """The list of the model's layers: of the lists that are as long as the configuration says, the largest."""
    wanted = config.num_hidden_layers
    stacks = [
        (sum(p.numel() for p in module.parameters()), name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == wanted
    ]
    if not stacks:
        raise ModelError(f"{type(model).__name__} keeps its layers in no list of {wanted} modules; it is not supported")
    _, name, stack = max(stacks, key=lambda s: s[0])
    parent = name.rpartition(".")[0]
    parts = sorted(other for size, other, _ in stacks if size and other.rpartition(".")[0] == parent)
    if len(parts) > 1:
        raise ModelError(
            f"{type(model).__name__} spreads a layer over several lists ({', '.join(parts)}), so that the hidden state "
            "after a layer cannot be read; it is not supported"
        )
    return name, stack


def _locate_in_layer(
    layer: torch.nn.Module, path: str, hidden: int, width: int | None, model_class: str
) -> FeedForward:
    modules = {name: module for name, module in layer.named_modules() if name and not _is_attention(name)}
    looked_for = (
        f"{model_class}, {path}: looked for one projection from the inner width"
        f"{f' ({width})' if width else ''} to the hidden width ({hidden}) outside attention"
    )
    mixtures = {name: found for name, module in modules.items() if (found := experts.sizes(module)) is not None}
    if mixtures:
        return _locate_mixture(modules, mixtures, path, hidden, model_class)
    if any("expert" in name.lower() or "router" in name.lower() for name in modules):
        raise ModelError(f"{looked_for}, but found a mixture of experts of a form that is not supported")
    if any(isinstance(module, torch.nn.Conv1d) for module in modules.values()):
        raise ModelError(f"{looked_for}, but found a state-space or convolution layer, which has no such neurons")
    shapes = {name: shape for name, module in modules.items() if (shape := _shape(module)) is not None}
    candidates = _last_projections(shapes, hidden)
    if any(inputs == width for inputs, _ in shapes.values()):
        candidates = [name for name in candidates if shapes[name][0] == width]
    if not candidates:
        raise ModelError(f"{looked_for}, but found none among {sorted(shapes) or 'no projections'}")
    if len({shapes[name][0] for name in candidates}) > 1:
        raise ModelError(f"{looked_for}, but found several: {sorted(candidates)}")
    last = candidates[-1]
    neurons = shapes[last][0]
    before = [s for name, s in shapes.items() if name != last and s[0] == hidden]
    if len(candidates) > 1 and neurons != hidden:
        raise ModelError(f"{looked_for}, but found several: {sorted(candidates)}")
    gated = any(s[1] == 2 * neurons for s in before) or sum(s[1] == neurons for s in before) > 1
    activations = [
        name
        for name, module in modules.items()
        if "act" in name.rsplit(".", 1)[-1].lower()
        and not list(module.children())
        and not list(module.parameters())
        and not isinstance(module, torch.nn.Dropout | torch.nn.Identity)
    ]
    activation = f"{path}.{activations[0]}" if len(activations) == 1 else None
    return FeedForward(path, f"{path}.{last}", activation, neurons, gated)


def _last_projections(shapes: dict[str, tuple[int, int]], hidden: int) -> list[str]:
    """Projections to the hidden width from a width to which another projection leads from the hidden width."""
    return [
        name
        for name, (inputs, outputs) in shapes.items()
        if outputs == hidden
        and any(other != name and s[0] == hidden and s[1] in (inputs, 2 * inputs) for other, s in shapes.items())
    ]


def _locate_mixture(
    modules: dict[str, torch.nn.Module], mixtures: dict[str, experts.Sizes], path: str, hidden: int, model_class: str
) -> FeedForward:
    """The routed experts of a layer, given its modules outside attention and those that hold routed experts."""
    found_in = f"{model_class}, {path}: found routed experts in {', '.join(mixtures)}"
    (name, sizes), *more = mixtures.items()
    if more or sizes.hidden != hidden:
        raise ModelError(f"{found_in}, where one module that reads the hidden width ({hidden}) is supported")
    outside = {other: module for other, module in modules.items() if not f"{other}.".startswith(f"{name}.")}
    shapes = {other: shape for other, module in outside.items() if (shape := _shape(module)) is not None}
    beside = [other for other in outside if "expert" in other.rpartition(".")[2].lower()]
    beside = beside or _last_projections(shapes, hidden)
    if beside:
        raise ModelError(
            f"{found_in}, and beside them what every token passes through ({', '.join(beside)}); routed experts alone "
            "would be only a part of the layer's neurons, so it is not supported"
        )
    activation = f"{path}.{name}.act_fn" if sizes.separable else None
    return FeedForward(path, f"{path}.{name}", activation, sizes.experts * sizes.width, sizes.gated, sizes.experts)


def text_model(model: PreTrainedModel) -> PreTrainedModel:
    """The part of a model that reads text: the model itself, or the language model inside a multimodal one."""
    if model.config.get_text_config() is not model.config:
        inner = model.get_decoder()
        return inner if isinstance(inner, PreTrainedModel) else model
    return model


def locate(model: PreTrainedModel) -> tuple[FeedForward, ...]:
    """The feed-forward network of every layer of a text model, in order.

    Raises ModelError, naming the class and what was looked for, where it cannot be told: better none than wrong ones.
    """
    config = model.config.get_text_config()
    stack_name, stack = _layer_stack(model, config)
    return tuple(
        _locate_in_layer(layer, f"{stack_name}.{k}", config.hidden_size, _width_in_config(config), type(model).__name__)
        for k, layer in enumerate(stack)
    )


def _longest(config: PretrainedConfig) -> int:
    """Tokens that fit into the model's positions, at most LONGEST_SENTENCE."""
    text = config.get_text_config()
    positions = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    if not isinstance(positions, int) or positions <= 0:
        return LONGEST_SENTENCE
    offset = ("camembert", "xmod", "esm", "longformer", "mpnet", "data2vec-text", "luke", "ibert")
    if "roberta" in text.model_type or text.model_type in offset:
        positions -= (text.pad_token_id or 0) + 1  # their first position comes after the padding index
    return min(positions, LONGEST_SENTENCE)


def _stored_dtype(config: PretrainedConfig) -> str:
    """The dtype that the weights are stored in, by name."""
    stored = getattr(config, "dtype", None)
    if stored is None:
        stored = getattr(config.get_text_config(), "dtype", None)
    return str(stored or torch.float32).removeprefix("torch.")


def _describe(source: ModelSource, config: PretrainedConfig, model: PreTrainedModel) -> ModelInfo:
    text = text_model(model)
    found = locate(text)
    if len({f.experts for f in found}) > 1:
        dense = [k for k, f in enumerate(found) if not f.experts]
        raise ModelError(
            f"model {source.name} ({type(text).__name__}) has dense layers ({', '.join(map(str, dense))}) among "
            "mixtures of experts, or mixtures of several sizes; it is not supported"
        )
    widths = {f.neurons for f in found}
    if len(widths) > 1:
        raise ModelError(f"model {source.name} has layers of different widths {sorted(widths)}; it is not supported")
    inner = text.config.get_text_config()
    chosen = _number(inner, "num_experts_per_tok", "top_k_experts", "moe_topk", "moe_k") or found[0].experts
    projections = {name: shape for name, module in text.named_modules() if (shape := _shape(module)) is not None}
    return ModelInfo(
        name=source.name,
        class_name=type(text).__name__,
        layers=len(found),
        neurons=found[0].neurons,
        hidden=inner.hidden_size,
        parameters=sum(p.numel() for p in text.parameters()),
        gated=found[0].gated,
        causal=_is_causal(config),
        stored_dtype=_stored_dtype(config),
        longest=_longest(config),
        experts=found[0].experts,
        chosen=min(chosen, found[0].experts),
        projected=sum(inputs * outputs for inputs, outputs in projections.values()),
        attention=max((inputs for name, (inputs, _) in projections.items() if _is_attention(name)), default=0),
        scored=(_number(inner, "num_attention_heads") or 0) if inner._attn_implementation == "eager" else 0,
    )


def _is_attention(name: str) -> bool:
    """Whether a module's path leads through attention."""
    return any("attn" in part or "attention" in part for part in name.lower().split("."))


def _is_causal(config: PretrainedConfig) -> bool:
    """Whether the model reads from left to right only, and so is a language model."""
    masked = transformers.models.auto.modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    text = config.get_text_config()
    return text.model_type not in masked or bool(getattr(text, "is_decoder", False))


def describe(source: ModelSource) -> ModelInfo:
    """Layers, neurons and size of a model from its configuration alone, without its weights."""
    return _describe_unloaded(source, read_config(source))


def _without_weights(kind: type, config: PretrainedConfig) -> PreTrainedModel:
    """A model's modules without their numbers.

    Built in float32, torch's default, whatever the model's own dtype is: a forward pass in another thread would
    otherwise make its tensors in that dtype meanwhile.
    """
    with _BUILDING, torch.device("meta"):
        return kind.from_config(copy.deepcopy(config), dtype=torch.float32, trust_remote_code=False)


def _describe_unloaded(source: ModelSource, config: PretrainedConfig) -> ModelInfo:
    try:
        model = _without_weights(AutoModel, config)
    except Exception as error:
        raise _explained(source, error) from error
    try:
        return _describe(source, config, model)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"model {source.name} ({type(model).__name__}) is built in a way in which no neurons can be looked for: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error


def resolve_dtype(dtype: str, info: ModelInfo, device: str) -> str:
    """`auto` is the dtype that the weights are stored in on a GPU, and float32 on a CPU.

    Raises ModelError where 8-bit or 4-bit weights are asked for and there is no GPU to use them on.
    """
    if dtype in QUANTIZED and device != "cuda":
        raise ModelError(f"dtype {dtype} needs a CUDA GPU; choose float32 or bfloat16 for device {device}")
    if dtype != "auto":
        return dtype
    if device == "cpu" or info.stored_dtype not in DTYPES:
        return "float32"
    return info.stored_dtype


def computing_dtype(dtype: str, info: ModelInfo) -> str:
    """The dtype of activations: of 8-bit and 4-bit weights the stored one where that is a half, else bfloat16."""
    if dtype not in QUANTIZED:
        return dtype
    return info.stored_dtype if info.stored_dtype in ("float16", "bfloat16") else "bfloat16"


def resolve_device(device: str) -> str:
    """`auto` is a GPU where there is one. Raises ModelError where CUDA is asked for and there is none."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("device cuda was asked for, but this machine has no usable CUDA GPU; choose cpu or auto")
    return device


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a choice needs and that are free, on the device where the model would go."""

    weights: int
    working: int
    free: int

    @property
    def needed(self) -> int:
        return self.weights + self.working

    @property
    def fits(self) -> bool:
        return self.needed <= self.free


def estimate_memory(info: ModelInfo, dtype: str, device: str, token_budget: int) -> MemoryEstimate:
    """Weights, and what one batch of `token_budget` tokens takes at its peak, in one layer; nothing is kept of others.

    - A token takes, in the dtype of the activations, up to ten vectors of attention (residual, norm, queries, keys and
      values before and after rotation, output) and six of inner width (gate, up, what the activation function makes on
      its way). In a mixture, the inner width is that of all experts that the token is sent to, and each of these has
      four hidden vectors more (its input, its output, that weighted, and that put back in order).
    - Pooling holds, as float32, one inner vector a token, and three of all neurons a sentence (of a mixture, for NAS
      and for NAV); sentences are taken to have at least SHORT tokens.
    - The attention mask has one number a pair of tokens, as truth and in the activations' dtype. Eager attention has
      scores for each head besides: as float32 for the softmax, and four in the activations' dtype. Fused kernels hold
      none. Sentences are taken to have up to LONG tokens; longer ones may exceed the estimate, and then go in smaller
      batches.
    - No keys and values are kept. Logits exist for a likelihood alone, whose batches are smaller by about as much.

    Raises ModelError as `resolve_dtype` does.
    """
    resolved = resolve_dtype(dtype, info, device)
    size = torch.finfo(DTYPES[computing_dtype(resolved, info)]).bits // 8
    projected = info.projected if resolved in QUANTIZED else 0
    weights = (info.parameters - projected) * size + int(projected * QUANTIZED.get(resolved, 0))
    inner = info.neurons // info.experts * info.chosen if info.experts else info.neurons
    vectors = 10 * max(info.hidden, info.attention) + 6 * inner + 4 * info.chosen * info.hidden
    pairs = min(LONG, info.longest) * (1 + size + info.scored * (4 + 4 * size))
    pooled = 12 * info.neurons * (2 if info.experts else 1) // SHORT
    working = token_budget * (size * vectors + 4 * inner + pooled + pairs)
    free = sum(free_gpu_bytes()) if device == "cuda" else psutil.virtual_memory().available
    return MemoryEstimate(weights, working, free)


def free_gpu_bytes() -> list[int]:
    """Free memory of every visible GPU, in bytes."""
    return [torch.cuda.mem_get_info(k)[0] for k in range(torch.cuda.device_count())]


def load(
    source: ModelSource, dtype: str = "auto", device: str = "auto", token_budget: int = 0, head: bool = False
) -> LoadedModel:
    """Load a model, its tokenizer, and where its neurons are; its language-model head only where `head` asks for it.

    dtype: auto, float32, bfloat16 or float16, or, on a GPU with bitsandbytes, int8 (LLM.int8(), Dettmers et al., 2022)
    or nf4 (QLoRA, Dettmers et al., 2023) for the linear projections of the text model; stacked experts, embeddings,
    norms and the head stay as `computing_dtype` says. Under int8 a token's numbers depend a little on its batch, since
    LLM.int8() looks for outlying columns in all of it. device: auto, cpu or cuda; where one GPU is too small and there
    are several, the layers are spread over them. Weights come from safetensors only and remote code is never run.
    Raises ModelError; with `head` also for an encoder, for weights that hold no head, and for a model whose tokens see
    the ones after them.
    """
    device = resolve_device(device)
    config = read_config(source)
    info = _describe_unloaded(source, config)
    if head:
        _refuse_what_has_no_head(source, config, info)
    dtype = resolve_dtype(dtype, info, device)
    if dtype in QUANTIZED:
        _refuse_what_cannot_be_quantized(source, config, dtype)
    _refuse_incomplete_weights(source, config, info)
    tokenizer = load_tokenizer(source)
    device_map: str | dict | None = None
    if device == "cuda":
        free = free_gpu_bytes()
        whole = replace(info, parameters=info.parameters + _head_parameters(config)) if head else info
        needed = estimate_memory(whole, dtype, device, token_budget).needed
        device_map = "auto" if len(free) > 1 and needed > free[0] else {"": 0}
    try:
        with _BUILDING:
            model, report = (AutoModelForCausalLM if head else AutoModel).from_pretrained(
                source.location,
                config=config,
                dtype=DTYPES[computing_dtype(dtype, info)],
                use_safetensors=True,
                device_map=device_map,
                output_loading_info=True,
                **_quantization(config, info, dtype, head),
                **source.hub_options,
            )
    except Exception as error:
        raise _explained(source, error) from error
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing and head and not any(key.startswith(f"{model.base_model_prefix}.") for key in missing):
        raise ModelError(
            f"the weights of model {source.name} hold no language-model head (no {missing[-1]}): they were saved from "
            f"a {info.class_name} alone; give the folder of the whole language model, since a head made up at random "
            "would give wrong likelihoods"
        )
    if missing:
        raise ModelError(
            f"the weights of model {source.name} lack {len(missing)} of the tensors that its configuration asks for "
            f"({some_of(missing, 4)}); the files are incomplete or belong to another model"
        )
    model = model.eval().requires_grad_(False)
    text = text_model(model.base_model if head else model)
    if type(text).__name__ != info.class_name:
        raise ModelError(
            f"model {source.name} is a {info.class_name} without its language-model head but a {type(text).__name__} "
            "with it, so its neurons might be others; likelihood is not supported for it"
        )
    device_of_text = next(text.parameters()).device
    loaded = LoadedModel(info, text, tokenizer, locate(text), device_of_text, dtype, model if head else None)
    if info.experts:
        experts.refuse_what_differs(loaded)
    _refuse_what_sees_padding(loaded)
    if head:
        _refuse_what_reads_ahead(loaded)
    return loaded


def _refuse_incomplete_weights(source: ModelSource, config: PretrainedConfig, info: ModelInfo) -> None:
    """Raise ModelError where a file of weights is missing, is no safetensors file, or all are too small for the model.

    transformers would make up what is missing at random, however large, and load pickled files that an index names.
    """
    folder = Path(source.location)
    if source.kind == "hub":
        options = {"revision": source.revision, "_raise_exceptions_for_missing_entries": False}
        try:
            if cached_file(source.location, "model.safetensors", **options):
                return
            index = cached_file(source.location, WEIGHTS_INDEX, **options)
        except Exception as error:
            raise _explained(source, error) from error
        if index:
            _shards(Path(index))
        return
    single, index = folder / "model.safetensors", folder / WEIGHTS_INDEX
    if single.is_file():
        shards = [single.name]
    elif index.is_file():
        shards = _shards(index)
    else:
        return  # the library says what it looked for
    lacking = [name for name in shards if not (folder / name).is_file()]
    if lacking:
        raise ModelError(
            f"model {source.name} lacks {len(lacking)} of the {len(shards)} files of weights that its {WEIGHTS_INDEX} "
            f"names ({some_of(lacking, 4)}); copy them, too"
        )
    found = sum((folder / name).stat().st_size for name in shards)
    # the fewest bytes that a weight is known to take, and a tenth for parts that no state comes from
    least = info.parameters * (1 / 8 if _stored_quantized(config) else 1) * 0.9
    if 0 < found < least and _is_whole(single if single.is_file() else folder / shards[0]):
        raise ModelError(
            f"the weights of model {source.name} are {found:,} bytes in all and its configuration asks for "
            f"{info.parameters:,} weights; the files are incomplete or belong to another model"
        )


def _shards(index: Path) -> list[str]:
    """The files that an index of weights names, each once. Raises ModelError for no index, and for files elsewhere."""
    content = _read_json(index)
    named = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(named, dict) or not named or not isinstance(content.get("metadata"), dict):
        raise ModelError(f"{index} is no index of weights (a weight_map and metadata); copy it again")
    shards = {str(name) for name in named.values()}
    strange = sorted(name for name in shards if Path(name).name != name or not name.endswith(".safetensors"))
    if strange:
        raise ModelError(
            f"{index} names what is no .safetensors file beside it ({some_of(strange, 4)}); copy the model again "
            "(files elsewhere and pickled weights are never loaded)"
        )
    return sorted(shards)


def _is_whole(file: Path) -> bool:
    """Whether a safetensors file can be opened; where it cannot, the library says why."""
    try:
        with safe_open(file, framework="pt"):
            return True
    except (SafetensorError, OSError):
        return False


def _stored_quantized(config: PretrainedConfig) -> bool:
    """Whether the weights are stored in few bits."""
    return any(getattr(part, "quantization_config", None) for part in (config, config.get_text_config()))


def _refuse_what_cannot_be_quantized(source: ModelSource, config: PretrainedConfig, dtype: str) -> None:
    """Raise ModelError where bitsandbytes is missing, or the weights are stored in few bits already."""
    if not is_bitsandbytes_available():
        raise ModelError(
            f"dtype {dtype} needs a recent bitsandbytes; run `pip install -U bitsandbytes`, or choose bfloat16"
        )
    if _stored_quantized(config):
        raise ModelError(
            f"the weights of model {source.name} are stored quantized, so they cannot be loaded as {dtype}; choose auto"
        )


def _quantization(config: PretrainedConfig, info: ModelInfo, dtype: str, head: bool) -> dict:
    """What from_pretrained gets for 8-bit or 4-bit weights; nothing for other dtypes.

    The head is left out by name. What the library would leave out by itself depends on whether the model is loaded
    with its head; states must not.
    """
    if dtype not in QUANTIZED:
        return {}
    left_out = []
    if head:
        model = _without_weights(AutoModelForCausalLM, config)
        output = model.get_output_embeddings()
        left_out = [name for name, module in model.named_modules() if module is output]
    if dtype == "int8":
        # it warns at every product of every pass that it casts bfloat16 to float16
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=left_out)}
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=DTYPES[computing_dtype(dtype, info)],
            llm_int8_skip_modules=left_out,
        )
    }


def _refuse_what_has_no_head(source: ModelSource, config: PretrainedConfig, info: ModelInfo) -> None:
    """Raise ModelError where there is no causal language model of the configuration's kind."""
    if not info.causal:
        raise ModelError(
            f"model {source.name} ({info.class_name}) is an encoder; likelihood needs a causal language model, "
            "one that reads from left to right, such as demo or Qwen/Qwen3-8B"
        )
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise ModelError(
            f"transformers {transformers.__version__} has no causal language model for {type(config).__name__} of "
            f"model {source.name}; likelihood needs one, such as demo or Qwen/Qwen3-8B"
        )


def _head_parameters(config: PretrainedConfig) -> int:
    """Weights of the language-model head that are not the embedding's too."""
    text = config.get_text_config()
    return 0 if getattr(text, "tie_word_embeddings", False) else text.vocab_size * text.hidden_size


@torch.inference_mode()
def _refuse_what_sees_padding(loaded: LoadedModel) -> None:
    """Raise ModelError where a sentence's hidden states depend on the padding behind it.

    Some models mix positions without regard to the attention mask; their numbers would change with the batch.
    """
    if loaded.vocabulary < 8 or loaded.info.longest < 12:
        return
    tokens = torch.arange(12, device=loaded.device) % (loaded.vocabulary - 4) + 4
    batch = torch.stack([tokens, tokens])
    batch[0, 5:] = loaded.padding_id
    mask = torch.ones_like(batch)
    mask[0, 5:] = 0
    try:
        alone = loaded.model(input_ids=batch[:1, :5], attention_mask=mask[:1, :5]).last_hidden_state[0].float()
        padded = loaded.model(input_ids=batch, attention_mask=mask).last_hidden_state[0, :5].float()
    except Exception:
        log.warning("%s could not be probed for padding; its first batch will tell", loaded.info.name, exc_info=True)
        return
    if not torch.isfinite(alone).all() or not torch.isfinite(padded).all():
        return  # extraction names the layer and the language
    if (alone - padded).abs().max() > 0.1 * alone.abs().max():
        raise ModelError(
            f"{loaded.info.class_name} gives a sentence other states when padding stands behind it, so its numbers "
            "would depend on the batch; it is not supported"
        )


@torch.inference_mode()
def _refuse_what_reads_ahead(loaded: LoadedModel) -> None:
    """Raise ModelError where a token's hidden state depends on the tokens after it: no likelihood can be read there."""
    if loaded.vocabulary < 16 or loaded.info.longest < 12:
        return
    tokens = torch.arange(12, device=loaded.device) % (loaded.vocabulary - 4) + 4
    batch = torch.stack([tokens, tokens])
    batch[1, 6:] = 4
    try:
        one, other = loaded.model(input_ids=batch, attention_mask=torch.ones_like(batch)).last_hidden_state.float()
    except Exception:
        log.warning("%s could not be probed for reading ahead; its first batch will tell", loaded.info.name)
        return
    # written so that inf and NaN pass: extraction and likelihood name the language
    if (one[:6] - other[:6]).abs().max() > 0.02 * one[:6].abs().max():
        raise ModelError(
            f"{loaded.info.class_name} lets a token see the ones after it, so the probability of a token given those "
            "before it cannot be read; likelihood needs a causal language model, such as demo or Qwen/Qwen3-8B"
        )


def load_tokenizer(source: ModelSource) -> transformers.PreTrainedTokenizerBase:
    """A model's tokenizer, without the model; it reads special tokens that a text spells out, such as "<s>", as text.

    Otherwise a sentence could begin with two BOS tokens, or hold padding. (A Unigram vocabulary has them as words too,
    and there they stay what they are.) Raises ModelError.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.location, **source.hub_options)
        tokenizer(["a"])  # some settings that make no sense are met here first
    except Exception as error:
        explained = _explained(source, error)
        if "could not be read" not in str(explained):
            raise explained from error
        raise ModelError(
            f"the tokenizer of model {source.name} could not be read (tokenizer.json, or the files that its "
            f"tokenizer class wants): {' '.join(str(error).split())[:200]}"
        ) from error
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # some tokenizer classes ask for no file at all
        raise ModelError(
            f"the tokenizer of model {source.name} knows nothing but special tokens: its files are missing "
            "(tokenizer.json, or the vocabulary that its tokenizer class wants)"
        )
    # slow ones would take apart the words that were added to a vocabulary, too
    if tokenizer.is_fast or set(tokenizer.added_tokens_decoder) <= set(tokenizer.all_special_ids):
        tokenizer.split_special_tokens = True
    return tokenizer


def identity(source: ModelSource, remembered: Callable[[str, Callable[[], str]], str] | None = None) -> str:
    """What tells this model's numbers from any other's: the hub's commit, or the content of the folder's files.

    `remembered(key, compute)` may keep the hash of a file between calls; its key holds path, size and time of change.
    """
    if source.kind == "hub":
        return f"hub:{source.location}@{_commit(source)}"
    remembered = remembered or (lambda _key, compute: compute())
    digest = xxhash.xxh3_128()
    for file in _files_that_matter(Path(source.location)):
        digest.update(file.name.encode())
        digest.update(remembered(_file_state(file), lambda file=file: _hash_file(file)).encode())
    return f"files:{digest.hexdigest()}"


def pinned(source: ModelSource, identity_text: str) -> ModelSource:
    """A hub model at the commit that its identity names, so that its weights are those that the identity speaks of."""
    if source.kind != "hub":
        return source
    return replace(source, revision=identity_text.rpartition("@")[2])


def _commit(source: ModelSource) -> str:
    """The commit that a hub id and its revision stand for: the one that the cache keeps their config.json under."""
    try:
        file = cached_file(source.location, "config.json", revision=source.revision)
    except Exception as error:
        raise _explained(source, error) from error
    commit = extract_commit_hash(file, None)
    if not commit:
        raise ModelError(f"model {source.name} has no commit on the hub that could name its version")
    return commit


def _files_that_matter(folder: Path) -> list[Path]:
    """Configuration, weights and tokenizer files of a local model."""
    patterns = (
        "config.json",
        "*.safetensors",
        "*.safetensors.index.json",
        "tokenizer*",
        "*.model",
        "vocab*",
        "merges.txt",
    )
    extra = ("special_tokens_map.json", "added_tokens.json")
    return sorted({file for pattern in (*patterns, *extra) for file in folder.glob(pattern) if file.is_file()})


def _file_state(file: Path) -> str:
    status = file.stat()
    return f"{file}:{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"


def _hash_file(file: Path) -> str:
    digest = xxhash.xxh3_128()
    with file.open("rb") as handle:
        while block := handle.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def cached_models() -> list[str]:
    """Hub ids whose configuration and safetensors weights are in the local hub cache, by name."""
    if not os.path.isdir(hub_constants.HF_HUB_CACHE):  # noqa: PTH112
        return []
    return sorted(_complete_models())


def _complete_models() -> Iterator[str]:
    for repository in scan_cache_dir(hub_constants.HF_HUB_CACHE).repos:
        if repository.repo_type == "model":
            for revision in repository.revisions:
                names = {file.file_name for file in revision.files}
                if "config.json" in names and any(name.endswith(".safetensors") for name in names):
                    yield repository.repo_id
                    break
