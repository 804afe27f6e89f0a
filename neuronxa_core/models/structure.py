"""Where a model's neurons are, found from its modules alone, and what can be said of it without its weights.

Both places of a neuron's activation are found by structure, not by a list of architectures: in every layer, the one
projection from the inner width to the hidden width that has a projection from the hidden to the inner width before it
and is no part of attention.
"""

from __future__ import annotations

import copy
import threading

import torch
import transformers
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from neuronxa_core.errors import ModelError
from neuronxa_core.models import moe
from neuronxa_core.models.description import FeedForward, ModelInfo, ModelSource
from neuronxa_core.models.sources import explained, read_config

# a sentence longer than this is cut even where the model could read more, so that memory stays bounded
LONGEST_SENTENCE = 2048

# while transformers builds a model it changes torch's default dtype for the whole process, and two builds at once can
# leave it changed for good; models are loaded while no other is at work, see ModelPool
BUILDING = threading.RLock()


def projection_shape(module: torch.nn.Module) -> tuple[int, int] | None:
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
    mixtures = {name: found for name, module in modules.items() if (found := moe.sizes(module)) is not None}
    if mixtures:
        return _locate_mixture(modules, mixtures, path, hidden, model_class)
    if any("expert" in name.lower() or "router" in name.lower() for name in modules):
        raise ModelError(f"{looked_for}, but found a mixture of experts of a form that is not supported")
    if any(isinstance(module, torch.nn.Conv1d) for module in modules.values()):
        raise ModelError(f"{looked_for}, but found a state-space or convolution layer, which has no such neurons")
    shapes = {name: shape for name, module in modules.items() if (shape := projection_shape(module)) is not None}
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
    modules: dict[str, torch.nn.Module], mixtures: dict[str, moe.Sizes], path: str, hidden: int, model_class: str
) -> FeedForward:
    """The routed experts of a layer, given its modules outside attention and those that hold routed experts."""
    found_in = f"{model_class}, {path}: found routed experts in {', '.join(mixtures)}"
    (name, sizes), *more = mixtures.items()
    if more or sizes.hidden != hidden:
        raise ModelError(f"{found_in}, where one module that reads the hidden width ({hidden}) is supported")
    outside = {other: module for other, module in modules.items() if not f"{other}.".startswith(f"{name}.")}
    shapes = {other: shape for other, module in outside.items() if (shape := projection_shape(module)) is not None}
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
    shapes = {name: projection_shape(module) for name, module in text.named_modules()}
    projections = {name: shape for name, shape in shapes.items() if shape is not None}
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
        max_length=_longest(config),
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
    return describe_config(source, read_config(source))


def without_weights(kind: type, config: PretrainedConfig) -> PreTrainedModel:
    """A model's modules without their numbers.

    Built in float32, torch's default, whatever the model's own dtype is: a forward pass in another thread would
    otherwise make its tensors in that dtype meanwhile.
    """
    with BUILDING, torch.device("meta"):
        return kind.from_config(copy.deepcopy(config), dtype=torch.float32, trust_remote_code=False)


def describe_config(source: ModelSource, config: PretrainedConfig) -> ModelInfo:
    try:
        model = without_weights(AutoModel, config)
    except Exception as error:
        raise explained(source, error) from error
    try:
        return _describe(source, config, model)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"model {source.name} ({type(model).__name__}) is built in a way in which no neurons can be looked for: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
