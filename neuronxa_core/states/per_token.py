"""TODO"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import numpy as np
import torch

from neuronxa_core.errors import ExperimentError, ExtractionError
from neuronxa_core.models import moe
from neuronxa_core.models.description import LoadedModel, ModelInfo, Neuron
from neuronxa_core.states import extraction
from neuronxa_core.states.extraction import StateHooks

# part of the cache key: raise it whenever the numbers of `token_activations` could change
VERSION = 1
# sentences that the store keeps for one neuron; where there are more, those read first are forgotten
KEPT_SENTENCES = 2000
# all activations of one call of `text_activations`
TEXT_BYTES = 1 << 30


# ------------------------------------------------------------------------------------------------------- activations


@dataclass(frozen=True)
class TokenActivations:
    """One neuron at every token of one sentence.

    ids: the sentence's token ids, special tokens included. values: signed activations, float32 [token].
    truncated: whether the sentence was cut at the longest length.
    """

    text: str
    ids: tuple[int, ...]
    values: np.ndarray
    truncated: bool


@dataclass(frozen=True)
class TextStates:
    """All neurons at every token of one text.

    ids: the text's token ids, special tokens included. values: signed activations, float32 [layer, token, neuron].
    truncated: whether the text was cut at the longest length.
    """

    text: str
    ids: tuple[int, ...]
    values: np.ndarray
    truncated: bool


class _Enough(Exception):
    """The layer that was asked for is done, and the rest of the forward pass is not needed."""


class _TokenHooks(StateHooks):
    """Hooks that keep what StateHooks pools: the activations of some layers at every token, on the host.

    columns: one neuron, or slice(None) for all. kept: layer -> float32 [row, position] or [row, position, neuron].
    The forward pass ends with _Enough where the last of the layers does.
    """

    def __init__(self, loaded: LoadedModel, definition: Neuron, layers: Sequence[int], columns: int | slice) -> None:
        self.loaded = loaded
        self.kept: dict[int, torch.Tensor] = {}
        self._neuron: Neuron = definition
        self._layers = layers
        self._columns = columns

    def __enter__(self) -> _TokenHooks:
        networks = self.loaded.feed_forwards
        with ExitStack() as opened:
            if self.loaded.info.experts:
                opened.enter_context(moe.recording(self.loaded, self._expert, self._neuron, self._layers))
            else:
                for number in self._layers:
                    opened.callback(self._hook_neurons(number, networks[number]).remove)
            # only where the whole layer ends: by then accelerate has taken back what it moved for the layer's modules
            last = self.loaded.model.get_submodule(networks[max(self._layers)].layer)
            opened.callback(last.register_forward_hook(self._end).remove)
            self._opened = opened.pop_all()
        return self

    def begin(self, lengths: torch.Tensor, width: int) -> None:
        """Prepare for a batch of right-padded rows: `lengths` [row], `width` positions."""
        self._shape = (len(lengths), width)
        self._seen: set[tuple[int, int]] = set()
        self.kept = {}

    def _neurons(self, layer: int, activations: torch.Tensor) -> None:
        activations = self._by_row(layer, activations)
        self._refuse_seen(layer, (layer, 0))
        self.kept[layer] = activations[:, :, self._columns].float().cpu()

    def _expert(self, layer: int, expert: int, tokens: torch.Tensor, activations: torch.Tensor) -> None:
        """One expert's activations [token, column] at the tokens that chose it; at all others its neurons are 0."""
        self._refuse_seen(layer, (layer, expert))
        everything = isinstance(self._columns, slice)
        if layer not in self.kept:
            self.kept[layer] = torch.zeros(
                *self._shape, *([self.loaded.info.neurons] if everything else []), dtype=torch.float32
            )
        flat, width = self.kept[layer].flatten(0, 1), activations.shape[1]
        if everything:
            flat[tokens.cpu(), expert * width : (expert + 1) * width] = activations.float().cpu()
        elif expert == self._columns // width:
            flat[tokens.cpu()] = activations[:, self._columns % width].float().cpu()

    def _end(self, *_module_inputs_output: object) -> None:
        raise _Enough

    def of_layer(self, layer: int) -> torch.Tensor:
        """What was kept of a layer. Raises ExtractionError where its feed-forward network did not run."""
        if layer not in self.kept:
            raise ExtractionError(
                f"{self.loaded.info.class_name} did not run the feed-forward network of layer {layer} as a module; "
                "its neurons cannot be read"
            )
        return self.kept[layer]


@torch.inference_mode()
def _run_batch(loaded: LoadedModel, hooks: _TokenHooks, rows: list[list[int]]) -> None:
    """A forward pass over right-padded rows, as far as the hooks need it."""
    ids, lengths, mask = extraction.right_padded(loaded, rows)
    hooks.begin(lengths, ids.shape[1])
    options = {"use_cache": False} if loaded.info.causal else {}
    with suppress(_Enough):
        loaded.model(input_ids=ids, attention_mask=mask, **options)


def token_activations(
    loaded: LoadedModel,
    sentences: Sequence[str],
    layer: int,
    neuron: int,
    definition: Neuron = "product",
    *,
    language: str = "",
) -> list[np.ndarray]:
    """Signed activations of one neuron at every real token of each sentence, each float32 [token].

    layer, neuron: from 0. definition: see models. language: for messages only. The forward pass ends after the layer.
    Raises ExperimentError for a layer or neuron that the model does not have, and ExtractionError for inf or NaN and
    as `extraction.forward_passes` does.
    """
    return [read.values for read in _read(loaded, sentences, layer, neuron, definition, language)]


def _read(
    loaded: LoadedModel, sentences: Sequence[str], layer: int, neuron: int, definition: Neuron, language: str
) -> list[TokenActivations]:
    _check_neuron(loaded.info, layer, neuron)
    if not sentences:
        return []
    where = language or "the sentences"
    tokenized, cut = _tokenize(loaded, sentences)
    lengths = [len(row) for row in tokenized]
    budget = extraction.TOKEN_BUDGET[loaded.device.type]
    values: dict[int, np.ndarray] = {}
    with _TokenHooks(loaded, definition, [layer], neuron) as hooks:

        def forward(batch: list[int]) -> None:
            _run_batch(loaded, hooks, [tokenized[k] for k in batch])

        def forget() -> None:
            hooks.kept = {}

        for batch, _ in extraction.forward_passes(loaded, where, lengths, budget, forward, forget=forget):
            kept = hooks.of_layer(layer).numpy()
            for row, k in enumerate(batch):
                values[k] = kept[row, : lengths[k]].copy()
                _check_finite(loaded, values[k], layer, where)
    return [TokenActivations(text, tuple(tokenized[k]), values[k], cut[k]) for k, text in enumerate(sentences)]


def _tokenize(loaded: LoadedModel, sentences: Sequence[str]) -> tuple[list[list[int]], list[bool]]:
    """Token ids of each sentence, and whether it was cut at the longest length."""
    longest = loaded.info.max_length
    tokenized = extraction.tokenize(loaded, sentences, longest)
    cut = [
        tokenized.truncated > 0
        and len(ids) == longest
        and len(loaded.tokenizer(text, add_special_tokens=True, truncation=False, verbose=False)["input_ids"]) > longest
        for text, ids in zip(sentences, tokenized.ids, strict=True)
    ]
    return tokenized.ids, cut


def _check_neuron(info: ModelInfo, layer: int, neuron: int) -> None:
    for name, number, count in (("layer", layer, info.layers), ("neuron", neuron, info.neurons)):
        if not 0 <= number < count:
            raise ExperimentError(
                f"{info.name} has no {name} {number}: its {name}s are 0 to {count - 1}; choose one of them"
            )


def _check_finite(loaded: LoadedModel, values: np.ndarray, layer: int, where: str) -> None:
    if not np.isfinite(values).all():
        raise ExtractionError(
            f"{where}: inf or NaN in the activations of layer {layer} of {loaded.info.name} at dtype {loaded.dtype}; "
            "choose bfloat16 or float32"
        )


def text_activations(loaded: LoadedModel, texts: Sequence[str], definition: Neuron = "product") -> list[TextStates]:
    """All neurons of all layers at every real token of each text, one forward pass a text.

    For one or two texts that someone typed. Raises ExtractionError where the activations would take more than
    TEXT_BYTES, for inf or NaN, and as `extraction.forward_passes` does.
    """
    if not texts:
        return []
    info = loaded.info
    tokenized, cut = _tokenize(loaded, texts)
    a_token = info.layers * info.neurons * 4
    tokens = sum(map(len, tokenized))
    if tokens * a_token > TEXT_BYTES:
        raise ExtractionError(
            f"all activations of {tokens} tokens in {info.name} would take {tokens * a_token / 2**30:.1f} GiB, more "
            f"than {TEXT_BYTES / 2**30:.1f} GiB; shorten the text to {TEXT_BYTES // a_token} tokens, or look at one "
            "neuron at a time"
        )
    layers = range(info.layers)
    states = []
    with _TokenHooks(loaded, definition, layers, slice(None)) as hooks:
        for text, ids, was_cut in zip(texts, tokenized, cut, strict=True):

            def forward(_batch: list[int], ids: list[int] = ids) -> None:
                _run_batch(loaded, hooks, [ids])

            for _ in extraction.forward_passes(loaded, "the text", [len(ids)], len(ids), forward):
                values = np.empty((info.layers, len(ids), info.neurons), dtype=np.float32)
                for layer in layers:
                    values[layer] = hooks.of_layer(layer)[0].numpy()
                    _check_finite(loaded, values[layer], layer, "the text")
                states.append(TextStates(text, tuple(ids), values, was_cut))
            hooks.kept = {}
    return states
