"""The mean of every neuron's signed activation over some sentences: what mean-ablation sets neurons to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from neuronxa_core.errors import ExtractionError
from neuronxa_core.models.description import LoadedModel, Neuron
from neuronxa_core.states.batches import TOKEN_BUDGET, forward_passes, tokenize
from neuronxa_core.states.hooks import LayerHooks

# part of the cache key: raise it whenever the numbers below could change
VERSION = 1


class _SumHooks(LayerHooks):
    """Add up one batch. sums: of the activations at real tokens, and how many tokens, float64 [2, layer, neuron]."""

    def begin(self, lengths: torch.Tensor, width: int) -> None:
        super().begin(lengths, width)
        self._real = torch.arange(width, device=lengths.device) < lengths[:, None]
        self.release()

    def release(self) -> None:
        self.sums = np.zeros((2, self.loaded.info.layers, self.loaded.info.neurons))

    def on_neurons(self, layer: int, activations: torch.Tensor) -> None:
        self._add(layer, slice(None), activations[self._real.to(activations.device)])

    def on_expert(self, layer: int, expert: int, tokens: torch.Tensor, activations: torch.Tensor) -> None:
        width = activations.shape[1]
        real = self._real.to(activations.device).flatten()[tokens]
        self._add(layer, slice(expert * width, (expert + 1) * width), activations[real])

    def on_hidden(self, layer: int, hidden: torch.Tensor) -> None:
        """Not wanted."""

    def _add(self, layer: int, columns: slice, activations: torch.Tensor) -> None:
        """Activations [real token, column] of one layer."""
        self.sums[0, layer, columns] = activations.sum(dim=0, dtype=torch.float32).cpu().numpy()
        self.sums[1, layer, columns] = len(activations)


def mean_activations(
    loaded: LoadedModel,
    texts: Mapping[str, Sequence[str]],
    neuron: Neuron = "product",
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """Mean signed activation of every neuron, float32 [layer, neuron].

    texts: sentences by language. The mean is over the real tokens of a language, in a mixture of experts over those
    that chose the neuron's expert, and then over the languages that have such tokens, which weigh the same however many
    tokens the tokenizer makes of them; 0 where none has any. Raises ExtractionError, for inf and NaN too, and
    Cancelled.
    """
    means, languages = np.zeros((2, loaded.info.layers, loaded.info.neurons))
    for language, sentences in texts.items():
        sums, tokens = _sums(loaded, language, sentences, neuron, cancelled)
        if not np.isfinite(sums).all():
            raise ExtractionError(
                f"{language}: inf or NaN in the activations of {loaded.info.name} at dtype {loaded.dtype}; choose "
                "bfloat16 or float32"
            )
        means += sums / np.maximum(tokens, 1)
        languages += tokens > 0
    return (means / np.maximum(languages, 1)).astype(np.float32)


def _sums(
    loaded: LoadedModel, language: str, sentences: Sequence[str], neuron: Neuron, cancelled: Callable[[], bool]
) -> np.ndarray:
    """What _SumHooks adds up, over all of a language's sentences."""
    tokenized = tokenize(loaded, sentences, loaded.info.max_length)
    with _SumHooks(loaded, neuron, range(loaded.info.layers)) as hooks:

        def forward(numbers: list[int]) -> np.ndarray:
            hooks.run([tokenized.ids[k] for k in numbers])
            return hooks.sums

        budget = TOKEN_BUDGET[loaded.device.type]
        passes = forward_passes(
            loaded, language, tokenized.lengths, budget, forward, release=hooks.release, cancelled=cancelled
        )
        return sum(sums for _, sums in passes)
