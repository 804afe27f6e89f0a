"""Hooks that see neurons and hidden states while a model's forward pass runs, and pool or keep them layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Self

import numpy as np
import torch
from torch.utils.hooks import RemovableHandle

from neuronxa_core.errors import ExtractionError
from neuronxa_core.experiment import CHOICES
from neuronxa_core.models import moe
from neuronxa_core.models.description import LoadedModel, Neuron
from neuronxa_core.states.batches import right_padded

POOLINGS = CHOICES["pooling"]
# pooled states of a batch that may be on their way from a GPU at a time
ON_ITS_WAY_BYTES = 1 << 30


class _Enough(Exception):
    """No later layer is needed: the rest of the forward pass is left out."""


class LayerHooks:
    """A context in which `run` calls on_neurons, on_expert and on_hidden for some layers of a model.

    neuron: which definition of a neuron is read. layers: by number, from 0.
    """

    def __init__(self, loaded: LoadedModel, neuron: Neuron, layers: Sequence[int]) -> None:
        self.loaded = loaded
        self._neuron = neuron
        self.layers = layers

    def on_neurons(self, layer: int, activations: torch.Tensor) -> None:
        """The activations [row, position, neuron] of a dense layer, padding among them."""
        raise NotImplementedError

    def on_expert(self, layer: int, expert: int, tokens: torch.Tensor, activations: torch.Tensor) -> None:
        """One expert's activations [token, column] at the tokens that chose it; see moe.Record."""
        raise NotImplementedError

    def on_hidden(self, layer: int, hidden: torch.Tensor) -> None:
        """The hidden states after a layer, once its neurons were seen."""
        raise NotImplementedError

    def on_end(self, layer: int, hidden: torch.Tensor) -> None:
        """The first and the last layer of HID: what enters the model's first layer, and what the model hands out."""

    def release(self) -> None:
        """Give back what is held of a batch, also of one that failed."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.callback(self._hook_embeddings().remove)
            for layer in self.layers:
                opened.callback(self._hook_layer(layer).remove)
                if not self.loaded.info.experts:
                    opened.callback(self._hook_neurons(layer).remove)
            if self.loaded.info.experts:
                opened.enter_context(moe.recording(self.loaded, self._see_expert, self._neuron, self.layers))
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._opened.close()

    @torch.inference_mode()
    def run(self, rows: list[list[int]]) -> None:
        """One forward pass over rows of token ids, padded on the right.

        Raises ExtractionError where the network of a layer does not run as a module, or more than once.
        """
        ids, lengths, mask = right_padded(self.loaded, rows)
        self.begin(lengths, ids.shape[1])
        options = {"use_cache": False} if self.loaded.info.causal else {}
        with suppress(_Enough):
            handed_out = self.loaded.model(input_ids=ids, attention_mask=mask, **options)
            self.on_end(self.loaded.info.layers, handed_out[0])
        self.finish()

    def begin(self, lengths: torch.Tensor, width: int) -> None:
        """Prepare for a batch of right-padded rows: `lengths` [row], `width` positions."""
        self._shape = (len(lengths), width)
        self._seen: set[tuple[int, int]] = set()

    def finish(self) -> None:
        """After the pass: raises ExtractionError for layers whose network was not seen."""
        seen = {layer for layer, _ in self._seen}
        silent = [layer for layer in self.layers if layer not in seen]
        if silent:
            raise ExtractionError(
                f"{self.loaded.info.class_name} did not run the feed-forward network of layers {silent} as a module; "
                "its neurons cannot be read"
            )

    def _hook_embeddings(self) -> RemovableHandle:
        module = self.loaded.model.get_submodule(self.loaded.feed_forwards[0].layer)
        return module.register_forward_pre_hook(
            lambda _module, inputs, named: self.on_end(0, inputs[0] if inputs else named["hidden_states"]),
            with_kwargs=True,
        )

    def _hook_layer(self, layer: int) -> RemovableHandle:
        module = self.loaded.model.get_submodule(self.loaded.feed_forwards[layer].layer)
        return module.register_forward_hook(
            lambda _module, _inputs, output: self.on_hidden(
                layer, output[0] if isinstance(output, tuple | list) else output
            )
        )

    def _hook_neurons(self, layer: int) -> RemovableHandle:
        path, side = self.loaded.feed_forwards[layer].module_for(self._neuron)
        module = self.loaded.model.get_submodule(path)
        see = partial(self._see_neurons, layer)
        if side == "input":
            return module.register_forward_pre_hook(lambda _module, inputs: see(inputs[0]))
        return module.register_forward_hook(lambda _module, _inputs, output: see(output))

    def _see_neurons(self, layer: int, activations: torch.Tensor) -> None:
        activations = self._by_row(layer, activations)
        self._check_unseen(layer, 0)
        self.on_neurons(layer, activations)

    def _see_expert(self, layer: int, expert: int, tokens: torch.Tensor, activations: torch.Tensor) -> None:
        self._check_unseen(layer, expert)
        self.on_expert(layer, expert, tokens, activations)

    def _check_unseen(self, layer: int, expert: int) -> None:
        """Note that an expert of a layer, 0 in a dense one, has run; raise ExtractionError if it had."""
        if (layer, expert) in self._seen:
            raise ExtractionError(
                f"{self.loaded.info.class_name} runs layer {layer}'s feed-forward network more than once per pass; "
                "its neurons cannot be told apart"
            )
        self._seen.add((layer, expert))

    def _by_row(self, layer: int, states: torch.Tensor) -> torch.Tensor:
        """States as [row, position, width]; some models flatten rows and positions into one axis."""
        rows, positions = self._shape
        if states.shape[:-1] not in ((rows, positions), (rows * positions,)):
            raise ExtractionError(
                f"{self.loaded.info.class_name} works in layer {layer} on states of shape {list(states.shape)} for a "
                f"batch of {rows} sentences of {positions} tokens; which token is which cannot be told"
            )
        return states.detach().reshape(rows, positions, -1)


class TokenHooks(LayerHooks):
    """Keep the activations of some layers at every token, on the host; the forward pass ends after the last of them.

    columns: one neuron, or slice(None) for all. kept: layer -> float32 [row, position] or [row, position, neuron].
    """

    def __init__(self, loaded: LoadedModel, neuron: Neuron, layers: Sequence[int], columns: int | slice) -> None:
        super().__init__(loaded, neuron, layers)
        self.kept: dict[int, torch.Tensor] = {}
        self._columns = columns

    def begin(self, lengths: torch.Tensor, width: int) -> None:
        super().begin(lengths, width)
        self.release()

    def release(self) -> None:
        self.kept = {}

    def on_neurons(self, layer: int, activations: torch.Tensor) -> None:
        self.kept[layer] = activations[:, :, self._columns].float().cpu()

    def on_expert(self, layer: int, expert: int, tokens: torch.Tensor, activations: torch.Tensor) -> None:
        everything = isinstance(self._columns, slice)
        if layer not in self.kept:  # 0 at the tokens that did not choose the expert
            self.kept[layer] = torch.zeros(*self._shape, *([self.loaded.info.neurons] if everything else []))
        flat, width = self.kept[layer].flatten(0, 1), activations.shape[1]
        if everything:
            flat[tokens.cpu(), expert * width : (expert + 1) * width] = activations.float().cpu()
        elif expert == self._columns // width:
            flat[tokens.cpu()] = activations[:, self._columns % width].float().cpu()

    def on_hidden(self, layer: int, _hidden: torch.Tensor) -> None:
        # only where the whole layer ends: by then accelerate has taken back what it moved for the layer's modules
        if layer == max(self.layers):
            raise _Enough


class StateHooks(LayerHooks):
    """Pool the states of all layers on their device.

    No token-level activation leaves the hooks, and none is held longer than its layer runs. A product with the tokens'
    weights pools the three ways at once, in one pass over a layer's states. keep(state, layer, pooled) gets the sums
    of a batch as float32 [row, pooling, width] on the host, the poolings in the order of POOLINGS; what it wants of
    them it must copy. It is called while the pass runs, and for what a GPU still sends when the pass is over.
    """

    def __init__(
        self, loaded: LoadedModel, neuron: Neuron, keep: Callable[[str, int, np.ndarray], None], *, hid: bool = False
    ) -> None:
        """hid: whether the first and the last layer of HID are pooled, too."""
        super().__init__(loaded, neuron, range(len(loaded.feed_forwards)))
        self._keep, self._hid = keep, hid
        self.release()

    def begin(self, lengths: torch.Tensor, width: int) -> None:
        super().begin(lengths, width)
        position = torch.arange(1, width + 1, device=lengths.device)
        real = position <= lengths[:, None]
        # the last token's weight is 1 on it and 0 elsewhere, so that its sum is the state itself
        by_pooling = {"weighted": position * real, "last": position == lengths[:, None], "mean": real}
        # [row, pooling, position], 0 on padding
        weights = torch.stack([by_pooling[pooling].to(torch.float32) for pooling in POOLINGS], dim=1)
        self._weights = {lengths.device: weights}
        self._gathered = {}
        self._views = {}
        self._on_its_way = []

    def release(self) -> None:
        self._memory: dict[tuple[str, torch.device], torch.Tensor] = {}
        self._views: dict[tuple[str, torch.device, Sequence[int]], torch.Tensor] = {}
        self._gathered: dict[tuple[str, int], torch.Tensor] = {}
        self._on_its_way: list[tuple[str, int, torch.Tensor]] = []

    def finish(self) -> None:
        super().finish()
        self._receive()

    def on_neurons(self, layer: int, activations: torch.Tensor) -> None:
        states = self._reused("states", activations.device, activations.shape)
        for state in ("nas", "nav"):
            self._hand_over(state, layer, self._pooled(_states_of(state, activations, states)))

    def on_expert(self, layer: int, expert: int, tokens: torch.Tensor, activations: torch.Tensor) -> None:
        weights = self._weights_on(activations.device)
        rows, poolings, positions = weights.shape
        row = tokens // positions
        # [row, pooling, token of the expert's]: a token has its weights in its own row, and 0 in the others
        spread = weights.new_zeros(rows, poolings, len(tokens))
        spread[row, :, torch.arange(len(tokens), device=row.device)] = weights[row, :, tokens % positions]
        states = self._reused("states", activations.device, activations.shape)
        columns = slice(expert * activations.shape[1], (expert + 1) * activations.shape[1])
        for state in ("nas", "nav"):
            if (state, layer) not in self._gathered:  # 0 at the tokens that did not choose the expert
                shape = (rows, poolings, self.loaded.info.neurons)
                self._gathered[state, layer] = self._reused(f"experts' {state}", weights.device, shape).zero_()
            self._gathered[state, layer][..., columns] = spread @ _states_of(state, activations, states)

    def on_hidden(self, layer: int, hidden: torch.Tensor) -> None:
        for state in ("nas", "nav"):
            if (state, layer) in self._gathered:
                self._hand_over(state, layer, self._gathered[state, layer])
        self._hand_over_hidden("emb", layer, hidden)

    def on_end(self, layer: int, hidden: torch.Tensor) -> None:
        if not self._hid:
            return
        # some OPT hand out less than the hidden width; zeros change no cosine
        hidden = torch.nn.functional.pad(hidden, (0, self.loaded.info.hidden - hidden.shape[-1]))
        self._hand_over_hidden("hid", layer, hidden)

    def _hand_over_hidden(self, state: str, layer: int, hidden: torch.Tensor) -> None:
        hidden = self._by_row(layer, hidden)
        if hidden.dtype != torch.float32:
            hidden = self._reused("states", hidden.device, hidden.shape).copy_(hidden)
        self._hand_over(state, layer, self._pooled(hidden))

    def _pooled(self, states: torch.Tensor) -> torch.Tensor:
        """Sums [row, pooling, width] of float32 [row, position, width], in one product."""
        weights = self._weights_on(states.device)
        pooled = self._reused("pooled", states.device, (*weights.shape[:2], states.shape[2]))
        return torch.bmm(weights, states, out=pooled)

    def _weights_on(self, device: torch.device) -> torch.Tensor:
        if device not in self._weights:
            self._weights[device] = next(iter(self._weights.values())).to(device)
        return self._weights[device]

    def _hand_over(self, state: str, layer: int, pooled: torch.Tensor) -> None:
        """Sums [row, pooling, width] to keep(), or on their way to the host."""
        if pooled.device.type == "cpu":
            self._keep(state, layer, pooled.numpy())
            return
        host = torch.empty(pooled.shape, dtype=pooled.dtype, pin_memory=True)
        self._on_its_way.append((state, layer, host.copy_(pooled, non_blocking=True)))
        if sum(waiting.nbytes for _, _, waiting in self._on_its_way) > ON_ITS_WAY_BYTES:
            self._receive()

    def _receive(self) -> None:
        """Wait for what is on its way to the host, and keep it."""
        for device in {device for _, device in self._memory if device.type == "cuda"}:
            torch.cuda.synchronize(device)
        for state, layer, pooled in self._on_its_way:
            self._keep(state, layer, pooled.numpy())
        self._on_its_way = []

    def _reused(self, name: str, device: torch.device, shape: Sequence[int]) -> torch.Tensor:
        """Float32 memory by name, the same every time: new memory costs more than the sums. What it held is gone."""
        view = self._views.get((name, device, shape))
        if view is None:
            held = self._memory.get((name, device))
            size = math.prod(shape)
            if held is None or held.numel() < size:
                held = self._memory[name, device] = torch.empty(size, dtype=torch.float32, device=device)
            view = self._views[name, device, shape] = held[:size].view(shape)
        return view


def _states_of(state: str, activations: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """NAS or NAV of activations, in float32 memory of their shape."""
    if state == "nas":
        return torch.gt(activations, 0, out=out)
    return torch.abs(activations, out=out) if activations.dtype == out.dtype else out.copy_(activations).abs_()
