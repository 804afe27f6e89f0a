"""See the neurons of a mixture of experts while the model runs.

transformers keeps the routed experts of a layer as one module with stacked weights, whose forward pass is one function
from inputs, chosen experts and router weights to outputs; which function that is can be set. While `recording` or
`replacing` is open it is one that works expert by expert and shows each one's activations to whoever listens.

A neuron is one column of one expert, numbered expert x width + column. Its activation at a token is what enters the
expert's down projection, before the router's weight scales what comes out of it; that weight is no part of it. At a
token whose router did not choose the expert, the neuron is inactive: its activation is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from weakref import WeakKeyDictionary

import torch
from transformers.integrations import moe

from neuronxa_core.errors import ModelError
from neuronxa_core.models.description import GATE_POST, MLP_POST, LoadedModel, Neuron

Record = Callable[[int, int, torch.Tensor, torch.Tensor], None]
"""record(layer, expert, tokens, activations): tokens, int64 [token], are the flat numbers (row x width of the batch +
position) of the tokens that chose the expert, ascending, padding among them; activations are [token, column]. Called
once for every expert of a layer that some token chose, in ascending order."""
Replace = Callable[[int, int, torch.Tensor, torch.Tensor], torch.Tensor]
"""As Record, and gives back the activations that the model is to go on with."""

_IMPLEMENTATION = "neuronxa"


@dataclass(frozen=True)
class Sizes:
    """What the weights of a layer's routed experts say.

    experts: how many there are. width: columns of each. hidden: width of what they read and write. gated: whether
    there is a gate projection. separable: whether the activation is act(gate) * up and nothing else, so that the gate
    can be told from the product.
    """

    experts: int
    width: int
    hidden: int
    gated: bool
    separable: bool


def sizes(module: torch.nn.Module) -> Sizes | None:
    """The sizes of a module that holds a layer's routed experts in transformers' form; None for any other module.

    The form is that of `use_experts_implementation`. Its weights must be exactly those that the form names: a module
    with more (scales of 8-bit weights, say) computes something else.
    """
    flags = ("has_gate", "has_bias", "is_transposed", "has_post_expert_norm", "_is_expert_parallel")
    if not all(isinstance(getattr(module, flag, None), bool) for flag in flags) or module._is_expert_parallel:
        return None
    first = "gate_up_proj" if module.has_gate else "up_proj"
    weights = {first: 3, "down_proj": 3}
    if module.has_bias:
        weights |= {f"{first}_bias": 2, "down_proj_bias": 2}
    found = {
        name: parameter.dim()
        for name, parameter in module.named_parameters()
        if not (module.has_post_expert_norm and name.startswith("post_expert_norm."))
    }
    if found != weights:
        return None
    into, down = getattr(module, first), module.down_proj
    experts, width, hidden = down.shape if module.is_transposed else (down.shape[0], *down.shape[:0:-1])
    outputs = 2 * width if module.has_gate else width
    if tuple(into.shape) != ((experts, hidden, outputs) if module.is_transposed else (experts, outputs, hidden)):
        return None
    separable = module.has_gate and type(module)._apply_gate is moe._default_apply_gate
    return Sizes(experts, width, hidden, module.has_gate, separable)


@contextmanager
def recording(
    loaded: LoadedModel, record: Record, neuron: Neuron = MLP_POST, layers: Collection[int] | None = None
) -> Iterator[None]:
    """While it is open, record() sees the activations of the experts in some layers, all unless `layers` names them.

    It sees them as they are after every `replacing`, whichever was opened first, and must not change them. They are on
    the layer's device, in the model's dtype. Contexts close in the reverse order of their opening, after an exception
    too; then the model runs its experts as it did before. Raises ModelError where `gate` cannot be told from the
    product.
    """
    with _listening(loaded, record, neuron, layers, replaces=False):
        yield


@contextmanager
def replacing(
    loaded: LoadedModel, replace: Replace, neuron: Neuron = MLP_POST, layers: Collection[int] | None = None
) -> Iterator[None]:
    """While it is open, the model goes on with what replace() makes of the activations; else as `recording`."""
    with _listening(loaded, replace, neuron, layers, replaces=True):
        yield


@dataclass(frozen=True, eq=False)
class _Listener:
    layer: int
    call: Record | Replace
    neuron: Neuron
    replaces: bool

    def hear(self, expert: int, tokens: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        answer = self.call(self.layer, expert, tokens, activations)
        return answer if self.replaces else activations


_listeners: WeakKeyDictionary[torch.nn.Module, list[_Listener]] = WeakKeyDictionary()


@contextmanager
def _listening(
    loaded: LoadedModel, call: Record | Replace, neuron: Neuron, layers: Collection[int] | None, *, replaces: bool
) -> Iterator[None]:
    opened: list[tuple[torch.nn.Module, _Listener, str | None]] = []
    try:
        for layer in range(len(loaded.feed_forwards)) if layers is None else layers:
            feed_forward = loaded.feed_forwards[layer]
            feed_forward.check_readable(neuron)
            module = loaded.model.get_submodule(feed_forward.last_projection)
            listener = _Listener(layer, call, neuron if feed_forward.gated else MLP_POST, replaces)
            _listeners.setdefault(module, []).append(listener)
            opened.append((module, listener, module.config._experts_implementation_internal))
            module.config._experts_implementation_internal = _IMPLEMENTATION
        yield
    finally:
        for module, listener, before in reversed(opened):
            _listeners[module].remove(listener)
            module.config._experts_implementation_internal = before


def _forward(
    self: torch.nn.Module, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """A layer's routed experts on hidden_states [token, hidden], one product per expert that some token chose.

    top_k_index, top_k_weights: [token, choice]. It waits for the device once, for how many tokens each expert has. An
    index that is no expert's stands for no choice, as in the library's own implementations. Outputs of one token are
    summed in ascending order of experts, whatever else is in the batch.
    """
    listeners = sorted(_listeners.get(self, []), key=lambda listener: not listener.replaces)
    experts = self.down_proj.shape[0]
    chosen, order = top_k_index.reshape(-1).sort(stable=True)
    bounds = torch.searchsorted(chosen, torch.arange(experts + 1, device=chosen.device, dtype=chosen.dtype)).tolist()
    tokens = order // top_k_index.shape[-1]
    weights = top_k_weights.reshape(-1)[order]
    outputs = torch.zeros_like(hidden_states)
    for expert, (start, end) in enumerate(pairwise(bounds)):
        if start == end:
            continue
        mine = tokens[start:end]
        activations = _activations(self, expert, mine, hidden_states[mine], listeners)
        states = _project(self, "down_proj", expert, activations)
        if self.has_post_expert_norm:
            states = self.post_expert_norm(states)
        # no token chooses an expert twice, so the order within does not matter
        outputs.index_add_(0, mine, (states * weights[start:end, None]).to(outputs.dtype))
    return outputs


moe.ALL_EXPERTS_FUNCTIONS.register(_IMPLEMENTATION, _forward)


def _activations(
    module: torch.nn.Module, expert: int, tokens: torch.Tensor, states: torch.Tensor, listeners: list[_Listener]
) -> torch.Tensor:
    """What enters an expert's down projection for its input [token, hidden]: [token, column], as the listeners left it.

    The gate is kept apart only where someone listens to it; the two ways round give the same numbers.
    """
    into = _project(module, "gate_up_proj" if module.has_gate else "up_proj", expert, states)
    gates = [listener for listener in listeners if listener.neuron == GATE_POST]
    if gates:
        gate, up = into.chunk(2, dim=-1)
        gate = module.act_fn(gate)
        for listener in gates:
            gate = listener.hear(expert, tokens, gate)
        activations = gate * up
    else:
        activations = module._apply_gate(into) if module.has_gate else module.act_fn(into)
    for listener in listeners:
        if listener.neuron == MLP_POST:
            activations = listener.hear(expert, tokens, activations)
    return activations


def _project(module: torch.nn.Module, name: str, expert: int, states: torch.Tensor) -> torch.Tensor:
    weight = getattr(module, name)[expert]
    bias = getattr(module, f"{name}_bias")[expert] if module.has_bias else None
    return torch.nn.functional.linear(states.to(weight.dtype), weight.T if module.is_transposed else weight, bias)


@torch.inference_mode()
def check_experts(loaded: LoadedModel) -> None:
    """Raise ModelError where a model's own way of running its experts gives other outputs than the one used here.

    Tried on random inputs in the first layer; the layers are of one kind.
    """
    feed_forward = loaded.feed_forwards[0]
    module = loaded.model.get_submodule(feed_forward.last_projection)
    found = sizes(module)
    # weights that accelerate keeps elsewhere are on no device until they are used
    device = loaded.device if module.down_proj.is_meta else module.down_proj.device
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(16, found.hidden, generator=generator).to(device, module.down_proj.dtype)
    index = torch.rand(16, found.experts, generator=generator).argsort(dim=1)[:, : min(2, found.experts)]
    index, weights = index.to(device), torch.rand(index.shape, generator=generator).to(device)
    seen: set[int] = set()
    try:
        own = module(hidden, index, weights)
        with recording(loaded, lambda _layer, expert, _tokens, _activations: seen.add(expert), layers=[0]):
            ours = module(hidden, index, weights)
    except Exception as error:
        raise ModelError(
            f"{loaded.info.class_name} could not run the experts of {feed_forward.layer} ({type(module).__name__}) on "
            f"16 tokens: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    # written so that inf and NaN pass: extraction names the layer and the language
    if seen != set(index.flatten().tolist()) or (own - ours).abs().max() > 0.05 * own.abs().max():
        raise ModelError(
            f"{loaded.info.class_name} runs the experts of {feed_forward.layer} ({type(module).__name__}) in a way of "
            "its own that cannot be followed, so its neurons cannot be read; it is not supported"
        )
