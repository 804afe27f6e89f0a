"""Signed activations at every token: of one neuron in some sentences, or of all neurons in a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuronxa_core.errors import ExperimentError, ExtractionError
from neuronxa_core.models.description import LoadedModel, ModelInfo, Neuron
from neuronxa_core.states.batches import TOKEN_BUDGET, Tokenized, forward_passes, tokenize
from neuronxa_core.states.hooks import TokenHooks

# part of the cache key: raise it whenever the numbers of `token_activations` could change
VERSION = 1
# all activations of one call of `text_activations`
TEXT_BYTES = 1 << 30


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
class TextStates(TokenActivations):
    """All neurons at every token of one text; values: signed activations, float32 [layer, token, neuron]."""


def check_neuron(info: ModelInfo, layer: int, neuron: int) -> None:
    """Raise ExperimentError for a layer or neuron, from 0, that the model does not have."""
    for name, number, count in (("layer", layer, info.layers), ("neuron", neuron, info.neurons)):
        if not 0 <= number < count:
            raise ExperimentError(
                f"{info.name} has no {name} {number}: its {name}s are 0 to {count - 1}; choose one of them"
            )


def token_activations(
    loaded: LoadedModel,
    sentences: Sequence[str],
    layer: int,
    neuron: int,
    definition: Neuron = "product",
    *,
    language: str = "",
) -> list[TokenActivations]:
    """One neuron at every real token of each sentence.

    layer, neuron: from 0. definition: see models.description. language: for messages only. The forward pass ends after
    the layer. Raises ExperimentError for a layer or neuron that the model does not have, and ExtractionError for inf
    or NaN and as `forward_passes` does.
    """
    check_neuron(loaded.info, layer, neuron)
    if not sentences:
        return []
    tokenized = tokenize(loaded, sentences, loaded.info.max_length)
    hooks = TokenHooks(loaded, definition, [layer], neuron)
    values = _read(hooks, tokenized, language or "the sentences", TOKEN_BUDGET[loaded.device.type])
    return [
        TokenActivations(text, tuple(tokenized.ids[k]), values[k][0], k in tokenized.cut)
        for k, text in enumerate(sentences)
    ]


def text_activations(loaded: LoadedModel, texts: Sequence[str], definition: Neuron = "product") -> list[TextStates]:
    """All neurons of all layers at every real token of each text, one forward pass per text.

    For one or two texts that someone typed. Raises ExtractionError where the activations would take more than
    TEXT_BYTES, for inf or NaN, and as `forward_passes` does.
    """
    if not texts:
        return []
    info = loaded.info
    tokenized = tokenize(loaded, texts, info.max_length)
    per_token = info.layers * info.neurons * 4
    tokens = sum(tokenized.lengths)
    if tokens * per_token > TEXT_BYTES:
        raise ExtractionError(
            f"all activations of {tokens} tokens in {info.name} would take {tokens * per_token / 2**30:.1f} GiB, more "
            f"than {TEXT_BYTES / 2**30:.1f} GiB; shorten the text to {TEXT_BYTES // per_token} tokens, or look at one "
            "neuron at a time"
        )
    hooks = TokenHooks(loaded, definition, range(info.layers), slice(None))
    values = _read(hooks, tokenized, "the text", budget=1)
    return [TextStates(text, tuple(tokenized.ids[k]), values[k], k in tokenized.cut) for k, text in enumerate(texts)]


def _read(hooks: TokenHooks, tokenized: Tokenized, language: str, budget: int) -> dict[int, np.ndarray]:
    """What the hooks keep of each sentence, by number: float32 [layer of the hooks, token] or [..., neuron]."""
    loaded, lengths = hooks.loaded, tokenized.lengths
    values: dict[int, np.ndarray] = {}

    def forward(batch: list[int]) -> None:
        hooks.run([tokenized.ids[k] for k in batch])

    with hooks:
        for batch, _ in forward_passes(loaded, language, lengths, budget, forward, release=hooks.release):
            for row, k in enumerate(batch):
                values[k] = np.stack([hooks.kept[layer][row, : lengths[k]].numpy() for layer in hooks.layers])
                bad = [layer for layer, one in zip(hooks.layers, values[k], strict=True) if not np.isfinite(one).all()]
                if bad:
                    raise ExtractionError(
                        f"{language}: inf or NaN in the activations of layer {bad[0]} of {loaded.info.name} at dtype "
                        f"{loaded.dtype}; choose bfloat16 or float32"
                    )
        hooks.release()
    return values
