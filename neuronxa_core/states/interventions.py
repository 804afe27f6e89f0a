"""TODO"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import digest
from neuronxa_core.models import moe
from neuronxa_core.models.description import LoadedModel, ModelInfo, Neuron


@dataclass(frozen=True)
class Neurons:
    """A set of neurons. pairs: (layer, its neurons) for every layer that has some, all in ascending order."""

    pairs: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        layers = [layer for layer, _ in self.pairs]
        if any(a >= b for a, b in zip([-1, *layers], layers, strict=False)):
            raise ExperimentError(f"the layers of a set of neurons must be ascending and 0 or more, not {layers}")
        for layer, numbers in self.pairs:
            if not numbers or any(a >= b for a, b in zip((-1, *numbers), numbers, strict=False)):
                raise ExperimentError(
                    f"the neurons of layer {layer} must be at least one, ascending, each once and 0 or more"
                )

    @classmethod
    def from_mask(cls, mask: np.ndarray) -> Neurons:
        """The neurons at which a mask, bool [layer, neuron], is True."""
        mask = np.asarray(mask)
        if mask.ndim != 2 or mask.dtype != bool:
            raise ValueError(f"expected bool [layer, neuron], got {mask.dtype} {list(mask.shape)}")
        return cls.of({layer: np.flatnonzero(row) for layer, row in enumerate(mask)})

    @classmethod
    def of(cls, by_layer: Mapping[int, np.ndarray]) -> Neurons:
        """The neurons of a mapping from layers to neuron numbers, in any order."""
        numbers = {int(layer): tuple(sorted({int(j) for j in some})) for layer, some in by_layer.items()}
        return cls(tuple((layer, numbers[layer]) for layer in sorted(numbers) if numbers[layer]))

    @property
    def by_layer(self) -> dict[int, tuple[int, ...]]:
        """Layer to neurons, for the layers that have some."""
        return dict(self.pairs)

    @property
    def count(self) -> int:
        return sum(len(numbers) for _, numbers in self.pairs)

    @cached_property
    def digest(self) -> str:
        """A hash of the set."""
        return digest(self.pairs)

    def check(self, info: ModelInfo) -> None:
        """Raise ExperimentError where the model lacks one of the neurons."""
        for layer, numbers in self.pairs:
            if layer >= info.layers or numbers[-1] >= info.neurons:
                raise ExperimentError(
                    f"neuron {numbers[-1]} of layer {layer} is not in model {info.name}, which has {info.layers} "
                    f"layers of {info.neurons} neurons (both count from 0); the set was made for another model"
                )


def random_like(neurons: Neurons, info: ModelInfo, seed: int, avoid: Neurons | None = None) -> Neurons:
    """A random set with as many neurons in every layer, the same for the same arguments.

    Drawn without replacement from the layer's neurons that are neither in `neurons` nor in `avoid`; where those are too
    few, all of them and a random rest, first from `avoid` alone and only then from `neurons`. Raises ExperimentError
    for neurons that the model lacks and for a negative seed.
    """
    neurons.check(info)
    if seed < 0:
        raise ExperimentError(f"the seed of random neurons must be 0 or more, not {seed}")
    avoided = avoid.by_layer if avoid else {}
    drawn = {}
    for layer, numbers in neurons.pairs:
        # the sets of two languages get draws that have nothing to do with each other
        generator = np.random.default_rng([seed, layer, int(neurons.digest, 16)])
        rank = np.zeros(info.neurons)
        rank[[j for j in avoided.get(layer, ()) if j < info.neurons]] = 1
        rank[list(numbers)] = 2
        order = np.lexsort([generator.random(info.neurons), rank])
        drawn[layer] = order[: len(numbers)]
    return Neurons.of(drawn)


@contextmanager
def zero_ablated(loaded: LoadedModel, neurons: Neurons, neuron: Neuron = "product") -> Iterator[None]:
    """While it is open, the neurons' activation is 0 at every token; the model's own tensors stay as they are.

    It is set to 0 at the input of the network's last projection, whatever the definition of a neuron: of
    W_down( act(W_gate x) * (W_up x) ), setting act(W_gate x)_j (`gate`) or the whole product's entry j (`product`) to 0
    both take away column j of W_down and nothing else. Where extraction reads `gate` at the activation function's
    output, the neuron is set to 0 there too, so that its states are 0 under both definitions.

    In a mixture of experts the neurons are 0 at the tokens that chose their expert; at all others they are anyway. The
    router chooses as before in that layer. All experts run as `experts.replacing` runs them, also where no neuron is
    switched off, so that what is compared was computed in one way.

    StateHooks see the activations as they are after switching off, wherever they were registered. Raises
    ExperimentError for neurons that the model lacks, ModelError where `gate` cannot be read.
    """
    neurons.check(loaded.info)
    with ExitStack() as stack:
        if loaded.info.experts:
            off_in_experts = _ZeroInExperts(neurons, loaded.info.neurons // loaded.info.experts)
            for definition in sorted({"product", neuron}):
                stack.enter_context(moe.replacing(loaded, off_in_experts, definition))
        for layer, numbers in () if loaded.info.experts else neurons.pairs:
            feed_forward = loaded.feed_forwards[layer]
            off = _Zero(numbers)
            last = loaded.model.get_submodule(feed_forward.last_projection)
            # first of all: hooks that were there before are to see the zeros as well
            stack.callback(last.register_forward_pre_hook(off.of_input, prepend=True).remove)
            path, side = feed_forward.module_for(neuron)
            if side == "output":
                activation = loaded.model.get_submodule(path)
                stack.callback(activation.register_forward_hook(off.of_output, prepend=True).remove)
        yield


class _Zero:
    """Hooks of one layer that set some neurons of [..., neuron] to 0, in a copy."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._index = torch.tensor(list(numbers))

    def zeroed(self, activations: torch.Tensor) -> torch.Tensor:
        if self._index.device != activations.device:
            self._index = self._index.to(activations.device)
        # filled rather than multiplied: inf times 0 is NaN
        return activations.index_fill(-1, self._index, 0)

    def of_input(self, _module: torch.nn.Module, inputs: tuple) -> tuple:
        return (self.zeroed(inputs[0]), *inputs[1:])

    def of_output(self, _module: torch.nn.Module, _inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        return self.zeroed(output)


class _ZeroInExperts:
    """What `experts.replacing` calls to set some neurons of a mixture to 0, whose experts have `width` columns each."""

    def __init__(self, neurons: Neurons, width: int) -> None:
        columns: dict[tuple[int, int], list[int]] = {}
        for layer, numbers in neurons.pairs:
            for number in numbers:
                columns.setdefault((layer, number // width), []).append(number % width)
        self._off = {place: _Zero(some) for place, some in columns.items()}

    def __call__(self, layer: int, expert: int, _tokens: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        off = self._off.get((layer, expert))
        return activations if off is None else off.zeroed(activations)
