"""Sentences to token ids, to batches, to forward passes that shrink when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from neuronxa_core.errors import Cancelled, ExtractionError, NeuronXAError
from neuronxa_core.host.process_memory import ran_out, trim
from neuronxa_core.models.description import LoadedModel

T = TypeVar("T")

# tokens in a batch, padding included, by device
TOKEN_BUDGET = {"cpu": 1024, "cuda": 16384}
# what a pass costs beside its tokens, in tokens
PASS_TOKENS = {"cpu": 128, "cuda": 4096}


@dataclass(frozen=True)
class Tokenized:
    """Token ids of each sentence. cut: the numbers of the sentences that were cut at the longest length."""

    ids: list[list[int]]
    cut: frozenset[int]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sentence."""
        return list(map(len, self.ids))


def tokenize(loaded: LoadedModel, sentences: Sequence[str], max_length: int, special: bool = True) -> Tokenized:
    """Token ids, cut at `max_length`, with the special tokens that the tokenizer adds unless `special` is off.

    Raises ExtractionError for a sentence without tokens and for ids that the model does not have.
    """
    options = {"add_special_tokens": special, "verbose": False}
    ids = loaded.tokenizer(list(sentences), truncation=False, **options)["input_ids"]
    cut = [k for k, row in enumerate(ids) if len(row) > max_length]
    if cut:
        long = [sentences[k] for k in cut]
        again = loaded.tokenizer(long, truncation=True, max_length=max_length, **options)["input_ids"]
        for k, row in zip(cut, again, strict=True):
            ids[k] = row
    for sentence, row in zip(sentences, ids, strict=True):
        if not row:
            raise ExtractionError(
                f"the tokenizer of {loaded.info.name} makes no token of the sentence {sentence[:60]!r}"
            )
        if max(row) >= loaded.vocabulary:
            raise ExtractionError(
                f"the tokenizer of {loaded.info.name} gives token {max(row)}, but the model knows only "
                f"{loaded.vocabulary}: the tokenizer belongs to another model"
            )
    return Tokenized(ids, frozenset(cut))


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


def forward_passes(
    loaded: LoadedModel,
    language: str,
    lengths: Sequence[int],
    budget: int,
    forward: Callable[[list[int]], T],
    *,
    release: Callable[[], None] = lambda: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[list[int], T]]:
    """Sentences by number in batches of at most `budget` tokens, longest first, each with what forward(batch) returns.

    Where memory runs out the budget is halved, and release() drops what the failed pass left. Raises ExtractionError
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
        if fits:
            yield batch, result
            done += len(batch)
            continue
        # here, not in the handler: until that ends, the error holds the tensors of the failed pass
        budget = max(budget // 2, 1)
        remaining = [*batch, *(k for later in todo for k in later)]
        todo = [
            [remaining[k] for k in part]
            for part in batches_by_length([lengths[k] for k in remaining], budget, pass_tokens)
        ]
        release()
        gc.collect()
        trim()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def right_padded(loaded: LoadedModel, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids [row, position], real tokens [row] and attention mask [row, position], on the model's device."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), loaded.padding_id, dtype=torch.long)
    for k, row in enumerate(rows):
        ids[k, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(width)[None, :] < lengths[:, None]
    return ids.to(loaded.device), lengths.to(loaded.device), mask.long().to(loaded.device)
