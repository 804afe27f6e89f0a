"""Sets of neurons, and a model in which they are ablated: their activation is 0, or its mean, at every token."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch.utils.hooks import RemovableHandle

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
        if not _ascending(layers):
            raise ExperimentError(f"the layers of a set of neurons must be ascending and 0 or more, not {layers}")
        for layer, numbers in self.pairs:
            if not numbers or not _ascending(numbers):
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


def _ascending(numbers: Sequence[int]) -> bool:
    """Whether numbers are 0 or more, ascending, and each there once."""
    return all(a < b for a, b in pairwise((-1, *numbers)))


# so many neurons of the nearest rates are those that a matched one is drawn from
NEAREST = 20


def random_like(neurons: Neurons, info: ModelInfo, seed: int, rate: np.ndarray | None = None) -> Neurons:
    """A random set with as many neurons in every layer, the same for the same arguments.

    Drawn without replacement from the layer's neurons that are not in `neurons`; where those are too few, all of them
    and a random rest. rate: [layer, neuron]; each neuron's counterpart is then one of the 20 still free whose rate is
    nearest. Raises ExperimentError for neurons that the model lacks and for a negative seed.
    """
    neurons.check(info)
    if seed < 0:
        raise ExperimentError(f"the seed of random neurons must be 0 or more, not {seed}")
    drawn = {}
    for layer, numbers in neurons.pairs:
        # the sets of two languages get draws that have nothing to do with each other
        generator = np.random.default_rng([seed, layer, int(neurons.digest, 16)])
        inside = np.zeros(info.neurons)
        inside[list(numbers)] = 1
        order = np.lexsort([generator.random(info.neurons), inside])
        if rate is not None and 2 * len(numbers) <= info.neurons:
            free = order[: info.neurons - len(numbers)]
            free = list(free[np.argsort(rate[layer, free], kind="stable")])
            sorted_rate = list(rate[layer, free])
            chosen = []
            for wanted in generator.permutation(rate[layer, list(numbers)]):
                start = max(0, min(bisect_left(sorted_rate, wanted) - NEAREST // 2, len(free) - NEAREST))
                at = int(generator.integers(start, min(start + NEAREST, len(free))))
                chosen.append(free.pop(at))
                sorted_rate.pop(at)
            order = np.array(chosen)
        drawn[layer] = order[: len(numbers)]
    return Neurons.of(drawn)


@contextmanager
def ablated(
    loaded: LoadedModel, neurons: Neurons, neuron: Neuron = "product", means: np.ndarray | None = None
) -> Iterator[None]:
    """While it is open, the neurons' activation is 0, or its mean, at every token; the model's tensors stay.

    Without means it is set to 0 at the input of the network's last projection, whatever the definition of a neuron: of
    W_down( act(W_gate x) * (W_up x) ), setting act(W_gate x)_j (`gate`) or the whole product's entry j (`product`) to 0
    both take away column j of W_down and nothing else. Where extraction reads `gate` at the activation function's
    output, the neuron is set to 0 there too, so that its states are 0 under both definitions.

    means: [layer, neuron], what to set neurons to instead, under the definition they were read with. It is set where
    that definition is read, and there only: under `gate` the product goes on to vary with W_up x.

    In a mixture of experts neurons are set at the tokens that chose their expert; at all others they are 0 anyway. The
    router chooses as before in that layer. All experts run as `moe.replacing` runs them, also where no neuron is
    ablated, so that what is compared was computed in one way.

    Hooks see the activations as they are after ablation, wherever they were registered. Raises ExperimentError for
    neurons that the model lacks, ModelError where `gate` cannot be read.
    """
    neurons.check(loaded.info)
    values = np.zeros((loaded.info.layers, loaded.info.neurons), np.float32) if means is None else means
    everywhere = means is None
    with ExitStack() as stack:
        if loaded.info.experts:
            fixed = _FixedInExperts(neurons, values, loaded.info.neurons // loaded.info.experts)
            for definition in sorted({"product", neuron} if everywhere else {neuron}):
                stack.enter_context(moe.replacing(loaded, fixed, definition))
        else:
            for layer, numbers in neurons.pairs:
                fixed = _Fixed(numbers, values[layer, list(numbers)])
                for handle in _hooks(loaded, layer, fixed, neuron, everywhere):
                    stack.callback(handle.remove)
        yield


def _hooks(
    loaded: LoadedModel, layer: int, fixed: _Fixed, neuron: Neuron, everywhere: bool
) -> Iterator[RemovableHandle]:
    """Register what fixes a layer's neurons, before all hooks that are there: these are to see the values as well.

    everywhere: at the last projection too, where that is not where the definition is read.
    """
    feed_forward = loaded.feed_forwards[layer]
    path, side = feed_forward.module_for(neuron)
    if everywhere or side == "input":
        last = loaded.model.get_submodule(feed_forward.last_projection)
        yield last.register_forward_pre_hook(lambda _module, inputs: (fixed(inputs[0]), *inputs[1:]), prepend=True)
    if side == "output":
        activation = loaded.model.get_submodule(path)
        yield activation.register_forward_hook(lambda _module, _inputs, output: fixed(output), prepend=True)


class _Fixed:
    """Sets some neurons of [..., neuron] to their values, in a copy."""

    def __init__(self, numbers: Sequence[int], values: np.ndarray) -> None:
        self._index, self._values = torch.tensor(numbers), torch.tensor(values)

    def __call__(self, activations: torch.Tensor) -> torch.Tensor:
        self._index, self._values = self._index.to(activations.device), self._values.to(activations)
        # written rather than multiplied: inf times 0 is NaN
        copy = activations.clone()
        copy[..., self._index] = self._values
        return copy


class _FixedInExperts:
    """What `moe.replacing` calls to set some neurons of a mixture, whose experts have `width` columns each.

    values: [layer, neuron].
    """

    def __init__(self, neurons: Neurons, values: np.ndarray, width: int) -> None:
        columns: dict[tuple[int, int], list[int]] = {}
        for layer, numbers in neurons.pairs:
            for number in numbers:
                columns.setdefault((layer, number // width), []).append(number)
        self._fixed = {
            place: _Fixed([number % width for number in some], values[place[0], some])
            for place, some in columns.items()
        }

    def __call__(self, layer: int, expert: int, _tokens: torch.Tensor, activations: torch.Tensor) -> torch.Tensor:
        fixed = self._fixed.get((layer, expert))
        return activations if fixed is None else fixed(activations)
