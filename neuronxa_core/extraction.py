"""Sentences to states, in one forward pass: neuron activation states, values and hidden states of every layer.

Of a sentence with T real tokens and activations a_t (method: NeuronXA, Huang et al., ACL 2025), per neuron:

- NAS, neuron activation state, n_t = 1 if a_t > 0 else 0
- NAV, neuron activation value, n_t = |a_t|
- EMB, the hidden state after the layer (MEXA's representation, Kargaran et al., 2025), n_t = h_t

are pooled over the tokens in three ways: `weighted`, sum_t t n_t / sum_t t; `last`, n_T; `mean`, sum_t n_t / T.

What is kept is the numerators. A NAS numerator is a whole number (sum_t t n_t, n_T, sum_t n_t), so NAS is exact,
whatever the batch; and since a cosine does not change with a vector's length, scores need no division at all. The sum
of the `mean` numerators over sentences is the activation count that overlap needs.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from neuronxa_core.errors import Cancelled, ExtractionError, NeuronXAError
from neuronxa_core.models import LoadedModel, Neuron

# part of the cache key: raise it whenever the numbers below could change
VERSION = 1
STATES = ("nas", "nav", "emb")
POOLINGS = ("weighted", "last", "mean")
TOKEN_BUDGET = {"cpu": 1024, "cuda": 16384}
T = TypeVar("T")


@dataclass(frozen=True)
class LanguageStates:
    """Pooled states of one language's sentences.

    arrays: `<state>_<pooling>` -> numerators [layer, sentence, neuron or hidden]: NAS as unsigned integers (`last` as
    uint8, the others as uint16 or, for sentences of more than 361 tokens, uint32), NAV and EMB as float32.
    tokens: real tokens of each sentence, [sentence]. truncated: how many sentences were cut at `longest` tokens.
    """

    arrays: dict[str, np.ndarray]
    tokens: np.ndarray
    truncated: int
    longest: int


@dataclass(frozen=True)
class Tokenized:
    """Token ids of each sentence. truncated: how many were cut."""

    ids: list[list[int]]
    truncated: int


def tokenize(loaded: LoadedModel, sentences: Sequence[str], longest: int, special: bool = True) -> Tokenized:
    """Token ids, cut at `longest`, with the special tokens that the tokenizer adds by itself unless `special` is off.

    Raises ExtractionError for ids that the model does not have.
    """
    with _quiet(loaded.tokenizer):
        ids = loaded.tokenizer(list(sentences), add_special_tokens=special, truncation=False)["input_ids"]
        cut = [k for k, row in enumerate(ids) if len(row) > longest]
        if cut:
            again = loaded.tokenizer(
                [sentences[k] for k in cut], add_special_tokens=special, truncation=True, max_length=longest
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


def batches_by_length(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Sentence numbers in batches of similar length, longest first; rows x longest row stays within `budget` tokens.

    A sentence longer than the budget gets a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda k: (-lengths[k], k))
    batches: list[list[int]] = []
    for k in order:
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(k)
        else:
            batches.append([k])
    return batches


class StateHooks:
    """Hooks on every layer that pool activations on their device while the forward pass runs.

    No token-level activation leaves the hooks: what they keep of a batch is `pooled[name][layer]` of [3, row, width],
    the three poolings in the order of POOLINGS.
    """

    def __init__(self, loaded: LoadedModel, neuron: Neuron) -> None:
        self.loaded = loaded
        self.pooled: dict[str, list[torch.Tensor | None]] = {}
        self._handles = []
        for number, feed_forward in enumerate(loaded.feed_forwards):
            path, side = feed_forward.module_for(neuron)
            module = loaded.model.get_submodule(path)
            if side == "input":
                hook = module.register_forward_pre_hook(
                    lambda _module, inputs, number=number: self._neurons(number, inputs[0])
                )
            else:
                hook = module.register_forward_hook(
                    lambda _module, _inputs, output, number=number: self._neurons(number, output)
                )
            self._handles.append(hook)
            layer = loaded.model.get_submodule(feed_forward.layer)
            self._handles.append(
                layer.register_forward_hook(
                    lambda _module, _inputs, output, number=number: self._hidden(
                        number, output[0] if isinstance(output, tuple | list) else output
                    )
                )
            )

    def __enter__(self) -> StateHooks:
        return self

    def __exit__(self, *_exception) -> None:
        for handle in self._handles:
            handle.remove()

    def begin(self, lengths: torch.Tensor, width: int) -> None:
        """Prepare for a batch of right-padded rows: `lengths` [row], `width` positions."""
        position = torch.arange(1, width + 1, device=lengths.device)
        real = position[None, :] <= lengths[:, None]
        # [row, 2, position]: the weights of `weighted` and `mean`, 0 on padding
        self._weights = torch.stack([position * real, real.long()], dim=1).to(torch.float32)
        self._last = lengths - 1
        self._shape = (len(lengths), width)
        self.pooled = {state: [None] * len(self.loaded.feed_forwards) for state in STATES}

    def _pool(self, states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """[row, position, width] -> numerators [row, 2, width] of `weighted` and `mean`."""
        return torch.bmm(weights, states)

    def _at_last(self, states: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(states.shape[0], device=states.device)
        return states[rows, self._last.to(states.device)]

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
        if self.pooled["nas"][layer] is not None:
            raise ExtractionError(
                f"{self.loaded.info.class_name} runs layer {layer}'s feed-forward network more than once a pass; "
                "its neurons cannot be told apart"
            )
        weights = self._weights.to(activations.device)
        last = self._at_last(activations).float()
        on = (activations > 0).to(torch.float32)
        nas = self._pool(on, weights)
        values = (
            torch.abs(activations.float(), out=on) if activations.dtype == torch.float32 else activations.float().abs_()
        )
        nav = self._pool(values, weights)
        self.pooled["nas"][layer] = torch.stack([nas[:, 0], (last > 0).float(), nas[:, 1]])
        self.pooled["nav"][layer] = torch.stack([nav[:, 0], last.abs(), nav[:, 1]])

    def _hidden(self, layer: int, hidden: torch.Tensor) -> None:
        hidden = self._by_row(layer, hidden).float()
        weights = self._weights.to(hidden.device)
        emb = self._pool(hidden, weights)
        self.pooled["emb"][layer] = torch.stack([emb[:, 0], self._at_last(hidden), emb[:, 1]])

    def collect(self, name: str) -> torch.Tensor:
        """[layer, pooling, row, width] of one state, on the host."""
        layers = self.pooled[name]
        silent = [k for k, pooled in enumerate(layers) if pooled is None]
        if silent:
            raise ExtractionError(
                f"{self.loaded.info.class_name} did not run the feed-forward network of layers {silent} as a module; "
                "its neurons cannot be read"
            )
        return torch.stack([pooled.cpu() for pooled in layers])


def _counting_dtype(longest: int) -> type[np.unsignedinteger]:
    """The smallest unsigned integer that holds sum_t t for a sentence of `longest` tokens."""
    return np.uint16 if longest * (longest + 1) // 2 <= np.iinfo(np.uint16).max else np.uint32


def extract(
    loaded: LoadedModel,
    language: str,
    sentences: Sequence[str],
    neuron: Neuron = "product",
    *,
    longest: int | None = None,
    token_budget: int | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> LanguageStates:
    """States of one language's sentences, NAS, NAV and EMB under all poolings, from one forward pass a sentence.

    language: for messages only. token_budget: tokens in a batch, padding included; halved when memory runs out.
    on_progress(done, all) is called after every batch. Raises ExtractionError (inf or NaN, with layer and language;
    a single sentence that does not fit into memory; a forward pass that fails) and Cancelled, between batches.
    """
    longest = min(longest or loaded.info.longest, loaded.info.longest)
    budget = token_budget or TOKEN_BUDGET[loaded.device.type]
    tokenized = tokenize(loaded, sentences, longest)
    lengths = [len(row) for row in tokenized.ids]
    arrays = _empty_arrays(loaded, lengths)
    done = 0
    with StateHooks(loaded, neuron) as hooks:

        def forward(batch: list[int]) -> None:
            _run_batch(loaded, hooks, [tokenized.ids[k] for k in batch])

        def forget() -> None:
            hooks.pooled = {}

        for batch, _ in forward_passes(loaded, language, lengths, budget, forward, forget=forget, cancelled=cancelled):
            _keep_batch(hooks, arrays, batch, language, loaded)
            done += len(batch)
            on_progress(done, len(sentences))
    return LanguageStates(arrays, np.array(lengths, dtype=np.int64), tokenized.truncated, longest)


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
    todo = batches_by_length(lengths, budget)
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
            if not _is_out_of_memory(error):
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
            split = batches_by_length([lengths[k] for k in remaining], budget)
            todo = [[remaining[k] for k in part] for part in split]
            forget()
            _free_memory()
            continue
        yield batch, result
        done += len(batch)


def _empty_arrays(loaded: LoadedModel, lengths: Sequence[int]) -> dict[str, np.ndarray]:
    whole = _counting_dtype(max(lengths))
    dtypes = {"nas_weighted": whole, "nas_last": np.uint8, "nas_mean": whole}
    width = {"nas": loaded.info.neurons, "nav": loaded.info.neurons, "emb": loaded.info.hidden}
    return {
        f"{state}_{pooling}": np.empty(
            (loaded.info.layers, len(lengths), width[state]), dtypes.get(f"{state}_{pooling}", np.float32)
        )
        for state in STATES
        for pooling in POOLINGS
    }


@torch.inference_mode()
def _run_batch(loaded: LoadedModel, hooks: StateHooks, rows: list[list[int]]) -> None:
    """One forward pass over right-padded rows; the hooks pool what they see."""
    ids, lengths, mask = right_padded(loaded, rows)
    hooks.begin(lengths, ids.shape[1])
    options = {"use_cache": False} if loaded.info.causal else {}
    loaded.model(input_ids=ids, attention_mask=mask, **options)


def right_padded(loaded: LoadedModel, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids [row, position], real tokens [row] and attention mask [row, position], on the model's device."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), loaded.padding_id, dtype=torch.long)
    for k, row in enumerate(rows):
        ids[k, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(width)[None, :] < lengths[:, None]
    return ids.to(loaded.device), lengths.to(loaded.device), mask.long().to(loaded.device)


def _keep_batch(
    hooks: StateHooks, arrays: dict[str, np.ndarray], batch: list[int], language: str, loaded: LoadedModel
) -> None:
    """Copy a batch's pooled states to their sentences' places; refuse inf and NaN."""
    for state in STATES:
        pooled = hooks.collect(state)
        if state != "nas":
            finite = torch.isfinite(pooled).all(dim=(1, 2, 3))
            if not finite.all():
                layer = int((~finite).nonzero()[0])
                raise ExtractionError(
                    f"{language}: inf or NaN in the {state.upper()} of layer {layer} of {loaded.info.name} at dtype "
                    f"{loaded.dtype}; choose bfloat16 or float32 (nothing of this language was kept)"
                )
        for k, pooling in enumerate(POOLINGS):
            target = arrays[f"{state}_{pooling}"]
            target[:, batch] = pooled[:, k].numpy().astype(target.dtype, copy=False)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "not enough memory" in text or "can't allocate memory" in text


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
