"""How probable a causal language model finds sentences: the negative log-likelihood of their own tokens.

nats = sum over the sentence's tokens of -ln p(token | prefix and the tokens before)

by the convention of lm-evaluation-harness (Gao et al., 2024): the tokens are the sentence's own, without the special
tokens that a tokenizer adds, and each is predicted, the first after a prefix token: the beginning of a text, or where
the model knows none, the end of one. Divided by UTF-8 bytes, the figure can be compared between tokenizers; between
languages it cannot, since scripts need from one to three bytes per letter.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import pairwise

import numpy as np
import torch
from transformers import DynamicCache

from neuronxa_core.errors import ExtractionError, ModelError
from neuronxa_core.models.description import LoadedModel
from neuronxa_core.states import batches

log = logging.getLogger(__name__)

# part of the cache key: raise it whenever the numbers below could change
VERSION = 2
# a pass's logits as float32; only a single sentence may take more, as it cannot be split
LOGITS_BYTES = {"cpu": 256 << 20, "cuda": 1 << 30}
# tokens that sharing what texts begin with must save, to make up for smaller passes
SHARED_TOKENS = {"cpu": 32, "cuda": 4096}
# logits that are turned into log-probabilities at a time, as float32
CHUNK_BYTES = 32 << 20


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihood of sentences, in the order they were given.

    nats: float64 [sentence], sum of -ln p over the predicted tokens. tokens: int64 [sentence], how many those are.
    bytes: int64 [sentence], UTF-8 bytes of the sentence, or of the part that was read where it was cut. truncated: how
    many sentences were cut at the model's longest. prefixed: whether the first token was predicted too, after a prefix
    token; where False, the model has no such token, and every sentence's first token is given rather than predicted.
    """

    nats: np.ndarray
    tokens: np.ndarray
    bytes: np.ndarray
    truncated: int
    prefixed: bool

    @property
    def nats_per_byte(self) -> float:
        """Of all sentences together: sum of nats / sum of bytes."""
        return float(self.nats.sum() / self.bytes.sum())


def prefix_token(loaded: LoadedModel) -> int | None:
    """The token that stands before a sentence: BOS, else EOS, of the tokenizer, else of the model's configuration."""
    config = loaded.model.config.get_text_config()
    for named in (loaded.tokenizer, config):
        for name in ("bos_token_id", "eos_token_id"):
            token = getattr(named, name, None)
            token = token[0] if isinstance(token, list | tuple) and token else token
            if isinstance(token, int) and 0 <= token < loaded.vocabulary:
                return token
    return None


def negative_log_likelihood(
    loaded: LoadedModel,
    sentences: Sequence[str],
    *,
    language: str = "",
    token_budget: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Likelihood:
    """-ln p of each sentence's own tokens, from one forward pass per sentence.

    Sentences are cut at the model's longest and counted. Where the model has neither a BOS nor an EOS token, a
    sentence's first token is not predicted (`prefixed` is False) but only read.

    language: for messages only. token_budget: tokens in a batch, padding included, fewer where their logits would take
    more than LOGITS_BYTES; halved when memory runs out. on_progress(done, all) is called after every batch. Raises
    ModelError for a model that was loaded without its head, ExtractionError (inf or NaN, with the language; a single
    sentence that does not fit into memory; a forward pass that fails) and Cancelled, between batches.
    """
    language = language or "the sentences"
    rows = batches.tokenize(loaded, sentences, sys.maxsize, special=False).ids
    sizes = np.array([len(sentence.encode()) for sentence in sentences], dtype=np.int64)
    cut = [k for k, row in enumerate(rows) if len(row) > loaded.info.max_length]
    for k in cut:
        rows[k] = rows[k][: loaded.info.max_length]
        sizes[k] = _bytes_read(loaded, sentences[k], rows[k])
    prefix = prefix_token(loaded)
    before = [] if prefix is None else [prefix]
    read = [[*before, *row[:-1]] for row in rows]
    predicted = [row[1 - len(before) :] for row in rows]
    nats = _nats(loaded, language, read, predicted, token_budget, cancelled, on_progress)
    tokens = np.array([len(row) for row in predicted], dtype=np.int64)
    return Likelihood(nats, tokens, sizes, len(cut), prefix is not None)


def text_likelihood(
    loaded: LoadedModel,
    groups: Sequence[Sequence[str]],
    *,
    language: str,
    cancelled: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[np.ndarray, np.ndarray]:
    """(sum of -ln p, float64 [text]; how many tokens that is, int64 [text]) of all tokens of a text but the first.

    groups: texts that begin alike, one after another in the result; what a group's texts share is computed once where
    that saves more than another pass costs. A text is tokenised as the tokenizer does it by itself, special tokens
    included, and equal texts of a group are read once. on_progress(groups done, all). Raises as
    `negative_log_likelihood`, and ExtractionError for a text of one token or more than the model reads.
    """
    unique = [list(dict.fromkeys(group)) for group in groups]
    ends = np.cumsum([0, *map(len, unique)]).tolist()
    texts = [text for group in unique for text in group]
    rows = batches.tokenize(loaded, texts, sys.maxsize).ids
    for text, row in zip(texts, rows, strict=True):
        if not 1 < len(row) <= loaded.info.max_length:
            raise ExtractionError(
                f"{language}: {text[:60]!r} has {len(row)} {'token' if len(row) == 1 else 'tokens'}; from 2 to "
                f"{loaded.info.max_length} can be scored"
            )
    nats = np.zeros(len(rows))
    of_groups, least = [range(*pair) for pair in pairwise(ends)], SHARED_TOKENS[loaded.device.type]
    sharing = [own for own in of_groups if _shared_tokens([rows[k] for k in own]) * (len(own) - 1) > least]
    if sharing and not _shares(loaded, [rows[k] for k in sharing[0]]):
        sharing = []
    alone = sorted({*range(len(rows))} - {k for own in sharing for k in own})

    def told(rows_done: int) -> None:
        on_progress(len(groups) * rows_done // len(rows), len(groups))

    read, predicted = [rows[k][:-1] for k in alone], [rows[k][1:] for k in alone]
    nats[alone] = _nats(loaded, language, read, predicted, None, cancelled, lambda done, _all: told(done))
    done, lengths = len(alone), [sum(len(rows[k]) for k in own) for own in sharing]

    def forward(batch: list[int]) -> torch.Tensor:
        return _run_group(loaded, [rows[k] for k in sharing[batch[0]]])

    # a budget of one token: each group is a pass of its own
    for batch, sums in batches.forward_passes(loaded, language, lengths, 1, forward, cancelled=cancelled):
        check_finite(loaded, language, sums)
        own = sharing[batch[0]]
        nats[own] = sums.numpy()
        done += len(own)
        told(done)
    places = [{text: start + k for k, text in enumerate(group)} for group, start in zip(unique, ends, strict=False)]
    at = [place[text] for place, group in zip(places, groups, strict=True) for text in group]
    return nats[at], np.array([len(rows[k]) - 1 for k in at], dtype=np.int64)


def _shared_tokens(rows: list[list[int]]) -> int:
    """How many tokens that rows begin with alike are read to predict others that are alike, too."""
    same = [len(set(column)) == 1 for column in zip(*rows, strict=False)]
    return [*same, False].index(False) - 1


def _run_group(loaded: LoadedModel, rows: list[list[int]]) -> torch.Tensor:
    """Nats of rows that begin alike, float64 [row], what they share computed once."""
    shared = _shared_tokens(rows)
    cache = DynamicCache(config=loaded.model.config.get_text_config())
    before = _run_batch(loaded, [rows[0][:shared]], [rows[0][1 : shared + 1]], cache)
    cache.batch_repeat_interleave(len(rows))
    return before + _run_batch(loaded, [row[shared:-1] for row in rows], [row[shared + 1 :] for row in rows], cache)


def _shares(loaded: LoadedModel, rows: list[list[int]]) -> bool:
    """Whether the model gives rows that begin alike the same nats from a cache as without one, rounding aside."""
    plain = _run_batch(loaded, [row[:-1] for row in rows], [row[1:] for row in rows])
    try:
        found = _run_group(loaded, rows)
    except Exception:
        log.warning("%s cannot share what texts begin with; each is read by itself", loaded.info.name, exc_info=True)
        return False
    return bool(torch.allclose(found, plain, rtol=1e-3 if loaded.dtype == "float32" else 0.03, equal_nan=True))


def _nats(
    loaded: LoadedModel,
    language: str,
    read: Sequence[list[int]],
    predicted: Sequence[list[int]],
    token_budget: int | None,
    cancelled: Callable[[], bool],
    on_progress: Callable[[int, int], None],
) -> np.ndarray:
    """Nats of each row, float64 [row]: predicted[row][k] is what should follow read[row][k]."""
    if loaded.head is None:
        raise ModelError(f"model {loaded.info.name} was loaded without its language-model head; load it with head=True")
    # one token without a prefix: there is nothing to predict and nothing to run
    run = [k for k, row in enumerate(read) if row]
    nats = np.zeros(len(read))
    done = len(read) - len(run)

    def forward(batch: list[int]) -> torch.Tensor:
        return _run_batch(loaded, [read[run[k]] for k in batch], [predicted[run[k]] for k in batch])

    lengths = [len(read[k]) for k in run]
    budget = min(token_budget or batches.TOKEN_BUDGET[loaded.device.type], tokens_of_logits(loaded))
    for batch, sums in batches.forward_passes(loaded, language, lengths, budget, forward, cancelled=cancelled):
        check_finite(loaded, language, sums)
        nats[[run[k] for k in batch]] = sums.numpy()
        done += len(batch)
        on_progress(done, len(read))
    return nats


def check_finite(loaded: LoadedModel, language: str, sums: torch.Tensor) -> None:
    if not torch.isfinite(sums).all():
        raise ExtractionError(
            f"{language}: inf or NaN in the logits of {loaded.info.name} at dtype {loaded.dtype}; choose bfloat16 "
            "or float32 (nothing of this language was kept)"
        )


def tokens_of_logits(loaded: LoadedModel) -> int:
    """How many tokens' logits fit into LOGITS_BYTES."""
    return max(1, LOGITS_BYTES[loaded.device.type] // (4 * loaded.vocabulary))


def _bytes_read(loaded: LoadedModel, sentence: str, ids: list[int]) -> int:
    """UTF-8 bytes of the part of a sentence that its first tokens are."""
    if not loaded.tokenizer.is_fast:
        return len(loaded.tokenizer.decode(ids).encode())
    encoded = loaded.tokenizer(sentence, add_special_tokens=False, return_offsets_mapping=True)
    return len(sentence[: encoded["offset_mapping"][len(ids) - 1][1]].encode())


@torch.inference_mode()
def _run_batch(
    loaded: LoadedModel, read: list[list[int]], predicted: list[list[int]], cache: DynamicCache | None = None
) -> torch.Tensor:
    """Nats of each row, float64 [row] on the host: predicted[row][k] is what should follow read[row][k].

    cache: of what stands before every row, to which the rows are added.
    """
    ids, lengths, mask = batches.right_padded(loaded, read)
    rows, width = ids.shape
    wanted = torch.zeros((rows, width), dtype=torch.long)
    for k, row in enumerate(predicted):
        wanted[k, : len(row)] = torch.tensor(row)
    if cache is None:
        logits = loaded.head(input_ids=ids, attention_mask=mask, use_cache=False).logits
    else:
        mask = torch.cat([mask.new_ones(rows, cache.get_seq_length()), mask], dim=1)
        # transformers renames the argument, model by model
        name = "cache" if "cache" in signature(loaded.head.forward).parameters else "past_key_values"
        logits = loaded.head(input_ids=ids, attention_mask=mask, use_cache=True, **{name: cache}).logits
    if logits.shape[:2] != (rows, width):
        raise ExtractionError(
            f"{type(loaded.head).__name__} gives logits of shape {list(logits.shape)} for a batch of {rows} sentences "
            f"of {width} tokens; which token they are of cannot be told"
        )
    flat, wanted = logits.flatten(0, 1), wanted.to(logits.device).flatten()
    nats = torch.empty(rows * width, dtype=torch.float64, device=logits.device)
    step = max(1, CHUNK_BYTES // (4 * flat.shape[1]))
    for start in range(0, len(flat), step):
        chunk = flat[start : start + step].float()
        own = chunk.gather(1, wanted[start : start + step, None])[:, 0]
        nats[start : start + step] = chunk.logsumexp(1) - own
    real = torch.arange(width, device=logits.device) < lengths.to(logits.device)[:, None]
    # padding is left out rather than multiplied by 0: it may well be NaN
    return torch.where(real, nats.view(rows, width), 0.0).sum(dim=1).cpu()
