"""Sentences to states, in one forward pass: neuron activation states, values and hidden states of every layer.

Of a sentence with T real tokens and activations a_t (method: NeuronXA, Huang et al., ACL 2025), per neuron:

- NAS, neuron activation state, n_t = 1 if a_t > 0 else 0
- NAV, neuron activation value, n_t = |a_t|
- EMB, the hidden state after the layer (MEXA's representation, Kargaran et al., 2025), n_t = h_t
- HID, the hidden states as MEXA's authors read them: the embeddings, EMB of all layers but the last, and what the model
  hands out, that of the last layer after the final norm

are pooled over the tokens in three ways: `weighted`, sum_t t n_t / sum_t t; `last`, n_T; `mean`, sum_t n_t / T.

What is kept is the sums, before the division. A sum of NAS is a whole number (sum_t t n_t, n_T, sum_t n_t), so NAS is
exact, whatever the batch; and since a cosine does not change with a vector's length, scores need no division at all.
The `mean` sums of NAS, added up over sentences, are the activation counts that overlap needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from neuronxa_core.errors import ExtractionError
from neuronxa_core.experiment import ENTRIES
from neuronxa_core.host.process_memory import madvise, on_disk
from neuronxa_core.models.description import LoadedModel, Neuron
from neuronxa_core.states import precision
from neuronxa_core.states.batches import TOKEN_BUDGET, forward_passes, tokenize
from neuronxa_core.states.hooks import POOLINGS, StateHooks

# part of the cache key: raise it whenever the numbers below could change
VERSION = 5
# states of one language that are held in memory; larger ones are written to the disk as they come
HELD_BYTES = 64 << 20


@dataclass(frozen=True)
class LanguageStates:
    """Pooled states of one language's sentences.

    arrays: `<state>_<pooling>` -> pooled sums [layer, sentence, neuron or hidden]: NAS as smallest unsigned integers
    that hold those of the longest sentence (`mean` is uint8 up to 255 tokens, `weighted` uint16 up to 361), NAV and EMB
    as float32, or rounded as `precision` says, with `<state>_<pooling>_scale` [layer, sentence] beside them. Arrays of
    more than HELD_BYTES together lie in a file that is gone with them.
    counts: of all sentences' tokens how many have a > 0, unsigned integers [layer, neuron]. tokens: real tokens of each
    sentence, [sentence]. truncated: how many sentences were cut at `max_length` tokens.
    """

    arrays: dict[str, np.ndarray]
    counts: np.ndarray
    tokens: np.ndarray
    truncated: int
    max_length: int


def extract(
    loaded: LoadedModel,
    language: str,
    sentences: Sequence[str],
    neuron: Neuron = "product",
    *,
    storage: str = "exact",
    names: Sequence[str] = ENTRIES,
    folder: Path | None = None,
    max_length: int | None = None,
    token_budget: int | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> LanguageStates:
    """States of one language's sentences, NAS, NAV and EMB, from one forward pass per sentence.

    language: for messages only. storage: see precision. names: the arrays that are kept; their numbers are the same,
    whichever others are. folder: where states that are too large for memory are written, the system's folder for
    temporary files if not given. token_budget: tokens in a batch, padding included; halved when
    memory runs out. on_progress(done, all) is called after every batch. Sentences of equal tokens pass through the
    model once, so that their states are equal to the last bit and their similarities tie. Raises ExtractionError (inf
    or NaN, with layer and language; a single sentence that does not fit into memory; a full disk; a forward pass that
    fails) and Cancelled, between batches.
    """
    max_length = min(max_length or loaded.info.max_length, loaded.info.max_length)
    tokenized = tokenize(loaded, sentences, max_length)
    lengths = tokenized.lengths
    arrays = _empty_arrays(loaded, language, lengths, storage, names, folder)
    counts = np.zeros((loaded.info.layers, loaded.info.neurons), np.min_scalar_type(sum(lengths)))
    counts_of_batch = np.empty_like(counts)
    numbers_of: dict[tuple[int, ...], list[int]] = {}
    for k, ids in enumerate(tokenized.ids):
        numbers_of.setdefault(tuple(ids), []).append(k)
    distinct, equal = list(numbers_of), list(numbers_of.values())
    batch = np.empty(0, dtype=np.int64)
    rows: np.ndarray | slice = slice(None)
    done = 0

    def keep(state: str, layer: int, pooled: np.ndarray) -> None:
        # whatever token is inf or NaN, the weighted sum over all of them is
        if state != "nas" and not np.isfinite(pooled[:, 0]).all():
            raise ExtractionError(
                f"{language}: inf or NaN in the {state.upper()} of layer {layer} of {loaded.info.name} at dtype "
                f"{loaded.dtype}; choose bfloat16 or float32 (nothing of this language was kept)"
            )
        if state == "nas":
            counts_of_batch[layer] = pooled[rows, POOLINGS.index("mean")].sum(axis=0, dtype=np.float64)
        places = [(state, layer)]
        if state == "emb" and layer + 1 < loaded.info.layers:
            places.append(("hid", layer + 1))
        for (kept, place), (number, pooling) in product(places, enumerate(POOLINGS)):
            if (name := f"{kept}_{pooling}") not in names:
                continue
            sums = pooled[rows, number]
            if precision.is_rounded(name, storage):
                sums, arrays[precision.scale_name(name)][place, batch] = precision.to_half(sums)
            arrays[name][place, batch] = sums

    with StateHooks(loaded, neuron, keep, hid=any(name.startswith("hid") for name in names)) as hooks:

        def forward(numbers: list[int]) -> None:
            nonlocal batch, rows
            batch = np.concatenate([equal[k] for k in numbers])
            rows = slice(None)
            if len(batch) > len(numbers):
                rows = np.repeat(np.arange(len(numbers)), [len(equal[k]) for k in numbers])
            hooks.run([list(distinct[k]) for k in numbers])

        budget = token_budget or TOKEN_BUDGET[loaded.device.type]
        passes = forward_passes(
            loaded, language, list(map(len, distinct)), budget, forward, release=hooks.release, cancelled=cancelled
        )
        for _ in passes:
            counts += counts_of_batch
            done += len(batch)
            for array in arrays.values():
                madvise(array)
            on_progress(done, len(sentences))
    return LanguageStates(arrays, counts, np.array(lengths, dtype=np.int64), len(tokenized.cut), max_length)


def _empty_arrays(
    loaded: LoadedModel,
    language: str,
    lengths: Sequence[int],
    storage: str,
    names: Sequence[str],
    folder: Path | None,
) -> dict[str, np.ndarray]:
    longest = max(lengths)
    whole = {
        "nas_weighted": np.min_scalar_type(longest * (longest + 1) // 2),
        "nas_last": np.uint8,
        "nas_mean": np.min_scalar_type(longest),
    }
    wanted: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
    for name in names:
        state = name.partition("_")[0]
        shape = (loaded.info.layers_of(state), len(lengths), loaded.info.width_of(state))
        rounded = precision.is_rounded(name, storage)
        wanted[name] = shape, np.dtype(np.float16 if rounded else whole.get(name, np.float32))
        if rounded:
            wanted[precision.scale_name(name)] = shape[:2], np.dtype(np.float32)
    size = sum(math.prod(shape) * dtype.itemsize for shape, dtype in wanted.values())
    if size <= HELD_BYTES:
        return {name: np.empty(shape, dtype) for name, (shape, dtype) in wanted.items()}
    try:
        return {name: on_disk(shape, dtype, folder) for name, (shape, dtype) in wanted.items()}
    except OSError as error:
        raise ExtractionError(
            f"{language}: its states take {size / (1 << 30):.1f} GiB and cannot be written to {folder or 'the disk'} "
            f"({error.strerror or error}); make room there, or choose fewer sentences"
        ) from error
