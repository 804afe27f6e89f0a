"""Sentences to states, in one forward pass: neuron activation states, values and hidden states of every layer.

Of a sentence with T real tokens and activations a_t (method: NeuronXA, Huang et al., ACL 2025), per neuron:

- NAS, neuron activation state, n_t = 1 if a_t > 0 else 0
- NAV, neuron activation value, n_t = |a_t|
- EMB, the hidden state after the layer (MEXA's representation, Kargaran et al., 2025), n_t = h_t

are pooled over the tokens in three ways: `weighted`, sum_t t n_t / sum_t t; `last`, n_T; `mean`, sum_t n_t / T.

What is kept is the pooled_sums. A NAS numerator is a whole number (sum_t t n_t, n_T, sum_t n_t), so NAS is exact,
whatever the batch; and since a cosine does not change with a vector's length, scores need no division at all. The sum
of the `mean` pooled_sums over sentences is the activation count that overlap needs.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch.utils.hooks import RemovableHandle

from neuronxa_core.errors import Cancelled, ExtractionError, NeuronXAError
from neuronxa_core.host.process_memory import madvise, on_disk, ran_out, trim
from neuronxa_core.models import moe
from neuronxa_core.models.description import FeedForward, LoadedModel, Neuron
from neuronxa_core.states import precision

T = TypeVar("T")

# part of the cache key: raise it whenever the numbers below could change
VERSION = 2
STATES = ("nas", "nav", "emb")
POOLINGS = ("weighted", "last", "mean")
TOKEN_BUDGET = {"cpu": 1024, "cuda": 16384}
# what a pass costs beside its tokens, in tokens
PASS_TOKENS = {"cpu": 128, "cuda": 4096}
# states of one language that are held in memory; larger ones are written to the disk as they come
HELD_BYTES = 64 << 20
# pooled states of a batch that may be on their way from a GPU at a time
ON_ITS_WAY_BYTES = 1 << 30


@dataclass(frozen=True)
class LanguageStates:
    """Pooled states of one language's sentences.

    arrays: `<state>_<pooling>` -> pooled_sums [layer, sentence, neuron or hidden]: NAS as smallest unsigned integers
    that hold those of the longest sentence (`mean` is uint8 up to 255 tokens, `weighted` uint16 up to 361), NAV and EMB
    as float32; shorter where the form says so, with `<state>_<pooling>_scale` [layer, sentence] beside it. Arrays of
    more than HELD_BYTES together lie in a file that is gone with them.
    tokens: real tokens of each sentence, [sentence]. truncated: how many sentences were cut at `max_length` tokens.
    """

    arrays: dict[str, np.ndarray]
    tokens: np.ndarray
    truncated: int
    max_length: int


@dataclass(frozen=True)
class Tokenized:
    """Token ids of each sentence. truncated: how many were cut."""

    ids: list[list[int]]
    truncated: int


def tokenize(loaded: LoadedModel, sentences: Sequence[str], max_length: int, special: bool = True) -> Tokenized:
    """Token ids, cut at `max_length`, with the special tokens that the tokenizer adds unless `special` is off.

    Raises ExtractionError for ids that the model does not have.
    """
    with _quiet(loaded.tokenizer):
        ids = loaded.tokenizer(list(sentences), add_special_tokens=special, truncation=False)["input_ids"]
        cut = [k for k, row in enumerate(ids) if len(row) > max_length]
        if cut:
            again = loaded.tokenizer(
                [sentences[k] for k in cut], add_special_tokens=special, truncation=True, max_length=max_length
            )["input_ids"]
            for k, row in zip(cut, again, strict=True):
                ids[k] = row
    vocabulary = loaded.vocabulary
    for k, row in enumerate(ids):
        if not row:
            raise ExtractionError(
                f"the tokenizer of {loaded.info.name} makes no token of the sentence {sentences[k][:60]!r}"
            )
        if max(row) >= vocabulary:
            raise ExtractionError(
                f"the tokenizer of {loaded.info.name} gives token {max(row)}, but the model knows only {vocabulary}: "
                "the tokenizer belongs to another model"
            )
    return Tokenized(ids, len(cut))


@contextmanager
def _quiet(tokenizer) -> Iterator[None]:
    """Without the warning for long texts: they are cut and counted here."""
    given = tokenizer.deprecation_warnings
    before = dict(given)
    given["sequence-length-is-longer-than-the-specified-maximum"] = True
    try:
        yield
    finally:
        given.clear()
        given.update(before)


def batches_by_length(lengths: Sequence[int], budget: int, pass_tokens: int = 0) -> list[list[int]]:
    """Sentence numbers in batches of similar length, longest first; rows x longest row stays within `budget` tokens.

    Of all such batches, those that cost least in tokens: rows x longest row each, padding included, and `pass_tokens`
    for every pass. A sentence longer than the budget gets a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda k: (-lengths[k], k))
    longest = np.array([lengths[k] for k in order], dtype=np.int64)
    least = np.zeros(len(order) + 1, dtype=np.int64)
    starts = np.zeros(len(order) + 1, dtype=np.int64)
    first = 0
    for end in range(1, len(order) + 1):
        while first < end - 1 and (end - first) * longest[first] > budget:
            first += 1
        start = np.arange(first, end)
        costs = least[start] + (end - start) * longest[start] + pass_tokens
        best = int(costs.argmin())
        least[end], starts[end] = costs[best], first + best
    batches: list[list[int]] = []
    end = len(order)
    while end:
        batches.append(order[starts[end] : end])
        end = int(starts[end])
    return batches[::-1]


class StateHooks:
    """Hooks on every layer that pool activations on their device while the forward pass runs.

    No token-level activation leaves the hooks, and none is held longer than its layer runs. A product with the tokens'
    weights pools the three ways at once, one pass over a layer's states. keep(state, layer, pooled)
    gets the pooled_sums of a batch as float32 [row, pooling, width] on the host, the poolings in the order of POOLINGS;
    what it wants of them it must copy. It is called while the pass runs, and for what a GPU still sends by finish().
    """

    def __init__(self, loaded: LoadedModel, neuron: Neuron, keep: Callable[[str, int, np.ndarray], None]) -> None:
        self.loaded = loaded
        self._neuron: Neuron = neuron
        self._keep = keep
        self._memory: dict[tuple[str, torch.device], torch.Tensor] = {}
        self._on_its_way: list[tuple[str, int, torch.Tensor]] = []

    def __enter__(self) -> StateHooks:
        with ExitStack() as opened:
            for number, feed_forward in enumerate(self.loaded.feed_forwards):
                if not feed_forward.experts:
                    opened.callback(self._hook_neurons(number, feed_forward).remove)
                layer = self.loaded.model.get_submodule(feed_forward.layer)
                handle = layer.register_forward_hook(
                    lambda _module, _inputs, output, number=number: self._hidden(
                        number, output[0] if isinstance(output, tuple | list) else output
                    )
                )
                opened.callback(handle.remove)
            if self.loaded.info.experts:
                opened.enter_context(moe.recording(self.loaded, self._expert, self._neuron))
            self._opened = opened.pop_all()
        return self

    def _hook_neurons(self, number: int, feed_forward: FeedForward) -> RemovableHandle:
        path, side = feed_forward.module_for(self._neuron)
        module = self.loaded.model.get_submodule(path)
        if side == "input":
            return module.register_forward_pre_hook(lambda _module, inputs: self._neurons(number, inputs[0]))
        return module.register_forward_hook(lambda _module, _inputs, output: self._neurons(number, output))

    def __exit__(self, *_exception) -> None:
        self._opened.close()

    def begin(self, lengths: torch.Tensor, width: int) -> None:
        """Prepare for a batch of right-padded rows: `lengths` [row], `width` positions."""
        position = torch.arange(1, width + 1, device=lengths.device)
        real = position <= lengths[:, None]
        # the last token's weight is 1 on it and 0 elsewhere, so that its sum is the state itself
        by_pooling = {"weighted": position * real, "last": position == lengths[:, None], "mean": real}
        # [row, pooling, position], 0 on padding
        weights = torch.stack([by_pooling[pooling].to(torch.float32) for pooling in POOLINGS], dim=1)
        self._weights = {lengths.device: weights}
        self._shape = (len(lengths), width)
        self._seen: set[tuple[int, int]] = set()
        self._gathered: dict[tuple[str, int], torch.Tensor] = {}
        self._views: dict[tuple[str, torch.device, Sequence[int]], torch.Tensor] = {}
        self._on_its_way = []

    def release(self) -> None:
        """Give back what was held of a batch, also of one that failed."""
        self._memory, self._views, self._gathered = {}, {}, {}
        self._on_its_way = []

    def finish(self) -> None:
        """After the pass: what is still on its way to the host is kept. Raises ExtractionError for a silent layer."""
        silent = [k for k in range(len(self.loaded.feed_forwards)) if k not in {layer for layer, _ in self._seen}]
        if silent:
            raise ExtractionError(
                f"{self.loaded.info.class_name} did not run the feed-forward network of layers {silent} as a module; "
                "its neurons cannot be read"
            )
        self._receive()

    def _receive(self) -> None:
        """Wait for what is on its way to the host, and keep it."""
        for device in {device for _, device in self._memory if device.type == "cuda"}:
            torch.cuda.synchronize(device)
        for state, layer, pooled in self._on_its_way:
            self._keep(state, layer, pooled.numpy())
        self._on_its_way = []

    def _by_row(self, layer: int, states: torch.Tensor) -> torch.Tensor:
        """States as [row, position, width]; some models flatten rows and positions into one axis."""
        rows, positions = self._shape
        if states.shape[:-1] not in ((rows, positions), (rows * positions,)):
            raise ExtractionError(
                f"{self.loaded.info.class_name} works in layer {layer} on states of shape {list(states.shape)} for a "
                f"batch of {rows} sentences of {positions} tokens; which token is which cannot be told"
            )
        return states.detach().reshape(rows, positions, -1)

    def _neurons(self, layer: int, activations: torch.Tensor) -> None:
        activations = self._by_row(layer, activations)
        self._refuse_seen(layer, (layer, 0))
        states = self._reused("states", activations.device, activations.shape)
        for state in ("nas", "nav"):
            self._hand_over(state, layer, self._pooled(_states_of(state, activations, states)))

    def _expert(self, layer: int, expert: int, tokens: torch.Tensor, activations: torch.Tensor) -> None:
        """One expert's activations [token, column] at the tokens that chose it; at all others its states are 0."""
        self._refuse_seen(layer, (layer, expert))
        weights = self._weights_on(activations.device)
        rows, poolings, positions = weights.shape
        row = tokens // positions
        # [row, pooling, token of the expert's]: a token has its weights in its own row, and 0 in the others
        spread = weights.new_zeros(rows, poolings, len(tokens))
        spread[row, :, torch.arange(len(tokens), device=row.device)] = weights[row, :, tokens % positions]
        states = self._reused("states", activations.device, activations.shape)
        columns = slice(expert * activations.shape[1], (expert + 1) * activations.shape[1])
        for state in ("nas", "nav"):
            pooled = spread @ _states_of(state, activations, states)
            self._of_experts(state, layer, weights)[..., columns] = pooled

    def _of_experts(self, state: str, layer: int, weights: torch.Tensor) -> torch.Tensor:
        """Numerators [row, pooling, neuron] that a layer's experts add to: 0 until they do."""
        if (state, layer) not in self._gathered:
            shape = (*weights.shape[:2], self.loaded.info.neurons)
            self._gathered[state, layer] = self._reused(f"experts' {state}", weights.device, shape).zero_()
        return self._gathered[state, layer]

    def _refuse_seen(self, layer: int, place: tuple[int, int]) -> None:
        """Note that an expert of a layer, 0 where there are none, has run; raise ExtractionError if it had."""
        if place in self._seen:
            raise ExtractionError(
                f"{self.loaded.info.class_name} runs layer {layer}'s feed-forward network more than once a pass; "
                "its neurons cannot be told apart"
            )
        self._seen.add(place)

    def _hidden(self, layer: int, hidden: torch.Tensor) -> None:
        for state in ("nas", "nav"):
            if (state, layer) in self._gathered:
                self._hand_over(state, layer, self._gathered[state, layer])
        hidden = self._by_row(layer, hidden)
        if hidden.dtype != torch.float32:
            hidden = self._reused("states", hidden.device, hidden.shape).copy_(hidden)
        self._hand_over("emb", layer, self._pooled(hidden))

    def _pooled(self, states: torch.Tensor) -> torch.Tensor:
        """Numerators [row, pooling, width] of float32 [row, position, width], in one product."""
        weights = self._weights_on(states.device)
        pooled = self._reused("pooled", states.device, (*weights.shape[:2], states.shape[2]))
        return torch.bmm(weights, states, out=pooled)

    def _weights_on(self, device: torch.device) -> torch.Tensor:
        if device not in self._weights:
            self._weights[device] = next(iter(self._weights.values())).to(device)
        return self._weights[device]

    def _hand_over(self, state: str, layer: int, pooled: torch.Tensor) -> None:
        """Numerators [row, pooling, width] to whoever keeps them, or on their way to the host."""
        if pooled.device.type == "cpu":
            self._keep(state, layer, pooled.numpy())
        else:
            host = torch.empty(pooled.shape, dtype=pooled.dtype, pin_memory=True)
            self._on_its_way.append((state, layer, host.copy_(pooled, non_blocking=True)))
            if sum(waiting.nbytes for _, _, waiting in self._on_its_way) > ON_ITS_WAY_BYTES:
                self._receive()

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


def extract(
    loaded: LoadedModel,
    language: str,
    sentences: Sequence[str],
    neuron: Neuron = "product",
    *,
    form: str = "exact",
    folder: Path | None = None,
    max_length: int | None = None,
    token_budget: int | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> LanguageStates:
    """States of one language's sentences, NAS, NAV and EMB under all poolings, from one forward pass a sentence.

    language: for messages only. form: see forms. folder: where states that are too large for memory are written, the
    system's folder for temporary files if not given. token_budget: tokens in a batch, padding included; halved when
    memory runs out. on_progress(done, all) is called after every batch. Raises ExtractionError (inf or NaN, with layer
    and language; a single sentence that does not fit into memory; a full disk; a forward pass that fails) and
    Cancelled, between batches.
    """
    max_length = min(max_length or loaded.info.max_length, loaded.info.max_length)
    budget = token_budget or TOKEN_BUDGET[loaded.device.type]
    tokenized = tokenize(loaded, sentences, max_length)
    lengths = [len(row) for row in tokenized.ids]
    tokens = np.array(lengths, dtype=np.int64)
    arrays = _empty_arrays(loaded, language, lengths, form, folder)
    names = {state: [f"{state}_{pooling}" for pooling in POOLINGS] for state in STATES}
    short = {name: precision.shortened(name, form) for state in STATES for name in names[state]}
    batch = np.empty(0, dtype=np.int64)
    done = 0

    def keep(state: str, layer: int, pooled: np.ndarray) -> None:
        # whatever token is inf or NaN, the weighted sum over all of them is
        if state != "nas" and not np.isfinite(pooled[:, 0]).all():
            raise ExtractionError(
                f"{language}: inf or NaN in the {state.upper()} of layer {layer} of {loaded.info.name} at dtype "
                f"{loaded.dtype}; choose bfloat16 or float32 (nothing of this language was kept)"
            )
        for k, name in enumerate(names[state]):
            kept = pooled[:, k]
            if short[name] is not None:
                kept, arrays[precision.scale_name(name)][layer, batch] = precision.shorten(
                    kept, tokens[batch], short[name]
                )
            arrays[name][layer, batch] = kept

    with StateHooks(loaded, neuron, keep) as hooks:

        def forward(numbers: list[int]) -> None:
            nonlocal batch
            batch = np.array(numbers)
            _run_batch(loaded, hooks, [tokenized.ids[k] for k in numbers])

        passes = forward_passes(loaded, language, lengths, budget, forward, forget=hooks.release, cancelled=cancelled)
        for numbers, _ in passes:
            done += len(numbers)
            for array in arrays.values():
                madvise(array)
            on_progress(done, len(sentences))
    return LanguageStates(arrays, tokens, tokenized.truncated, max_length)


def forward_passes(
    loaded: LoadedModel,
    language: str,
    lengths: Sequence[int],
    budget: int,
    forward: Callable[[list[int]], T],
    *,
    forget: Callable[[], None] = lambda: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[list[int], T]]:
    """Sentences by number in batches of at most `budget` tokens, longest first, each with what forward(batch) gives.

    Where memory runs out the budget is halved, and forget() drops what the failed pass left. Raises ExtractionError
    (a single sentence that does not fit into memory; a pass that fails) and Cancelled, between batches.
    """
    pass_tokens = PASS_TOKENS[loaded.device.type]
    todo = batches_by_length(lengths, budget, pass_tokens)
    done = 0
    while todo:
        if cancelled():
            raise Cancelled(f"stopped in {language} after {done} of {len(lengths)} sentences")
        batch = todo.pop(0)
        fits = True
        try:
            result = forward(batch)
        except NeuronXAError:
            raise
        except Exception as error:
            if not ran_out(error):
                cause = " ".join(str(error).split())[:300]
                raise ExtractionError(
                    f"{language}: the forward pass of {loaded.info.name} failed: {type(error).__name__}: {cause}"
                ) from error
            if len(batch) == 1:
                raise ExtractionError(
                    f"memory ran out on a single sentence of {lengths[batch[0]]} tokens in {language}; choose a "
                    "smaller dtype, another device or a smaller model"
                ) from None
            fits = False
        if not fits:  # here, not in the handler: until that ends, the error holds the tensors of the failed pass
            budget = max(budget // 2, 1)
            remaining = [*batch, *(k for later in todo for k in later)]
            split = batches_by_length([lengths[k] for k in remaining], budget, pass_tokens)
            todo = [[remaining[k] for k in part] for part in split]
            forget()
            _free_memory()
            continue
        yield batch, result
        done += len(batch)


def _empty_arrays(
    loaded: LoadedModel, language: str, lengths: Sequence[int], form: str, folder: Path | None
) -> dict[str, np.ndarray]:
    longest = max(lengths)
    whole = {
        "nas_weighted": np.min_scalar_type(longest * (longest + 1) // 2),
        "nas_last": np.uint8,
        "nas_mean": np.min_scalar_type(longest),
    }
    width = {"nas": loaded.info.neurons, "nav": loaded.info.neurons, "emb": loaded.info.hidden}
    wanted: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
    for state in STATES:
        for pooling in POOLINGS:
            name = f"{state}_{pooling}"
            short = precision.shortened(name, form)
            shape = (loaded.info.layers, len(lengths), width[state])
            wanted[name] = shape, np.dtype(short or whole.get(name, np.float32))
            if short is not None:
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


@torch.inference_mode()
def _run_batch(loaded: LoadedModel, hooks: StateHooks, rows: list[list[int]]) -> None:
    """One forward pass over right-padded rows; the hooks pool what they see."""
    ids, lengths, mask = right_padded(loaded, rows)
    hooks.begin(lengths, ids.shape[1])
    options = {"use_cache": False} if loaded.info.causal else {}
    loaded.model(input_ids=ids, attention_mask=mask, **options)
    hooks.finish()


def right_padded(loaded: LoadedModel, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids [row, position], real tokens [row] and attention mask [row, position], on the model's device."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), loaded.padding_id, dtype=torch.long)
    for k, row in enumerate(rows):
        ids[k, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(width)[None, :] < lengths[:, None]
    return ids.to(loaded.device), lengths.to(loaded.device), mask.long().to(loaded.device)


def _free_memory() -> None:
    gc.collect()
    trim()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
