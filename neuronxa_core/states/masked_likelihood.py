"""How probable an encoder finds texts: pseudo-log-likelihood, each token masked in turn (Salazar et al., ACL 2020)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch

from neuronxa_core.errors import ExtractionError, ModelError
from neuronxa_core.models.description import LoadedModel
from neuronxa_core.states import batches, likelihood

# part of the cache key: raise it whenever the numbers below could change
VERSION = 1


def masked_likelihood(
    loaded: LoadedModel,
    groups: Sequence[Sequence[str]],
    *,
    language: str,
    cancelled: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> tuple[np.ndarray, np.ndarray]:
    """(sum of -ln p, float64 [text]; how many tokens that is, int64 [text]) of all tokens of a text, group after group.

    A token's p is the model's where it alone is masked. The special tokens that a tokenizer adds are read, not
    predicted; equal texts are read once. on_progress(groups done, all). Raises ModelError without a mask token, and as
    `likelihood.text_likelihood`.
    """
    tokenizer, info = loaded.tokenizer, loaded.info
    if tokenizer.mask_token_id is None:
        raise ModelError(f"the tokenizer of {info.name} has no mask token; choose an encoder that was trained with one")
    places = {text: k for k, text in enumerate(dict.fromkeys(text for group in groups for text in group))}
    rows = batches.tokenize(loaded, list(places), sys.maxsize).ids
    special = tokenizer(list(places), return_special_tokens_mask=True, verbose=False)["special_tokens_mask"]
    at = [[p for p, is_special in enumerate(own) if not is_special] for own in special]
    for text, row, own in zip(places, rows, at, strict=True):
        if not own or len(row) > info.max_length:
            raise ExtractionError(
                f"{language}: {text[:60]!r} has {len(row)} tokens, {len(own)} of its own; at most {info.max_length} "
                "and at least 1 of its own can be scored"
            )
    masked = [(k, position) for k, own in enumerate(at) for position in own]

    @torch.inference_mode()
    def forward(batch: list[int]) -> torch.Tensor:
        chosen = [masked[one] for one in batch]
        ids, _, attention = batches.right_padded(loaded, [rows[k] for k, _ in chosen])
        where = torch.arange(len(chosen), device=ids.device), torch.tensor([p for _, p in chosen], device=ids.device)
        wanted = ids[where].clone()
        ids[where] = tokenizer.mask_token_id
        logits = loaded.head(input_ids=ids, attention_mask=attention).logits[where].float()
        return (logits.logsumexp(1) - logits.gather(1, wanted[:, None].to(logits.device))[:, 0]).double().cpu()

    budget = min(batches.TOKEN_BUDGET[loaded.device.type], likelihood.tokens_of_logits(loaded))
    nats, done = np.zeros(len(rows)), 0
    lengths = [len(rows[k]) for k, _ in masked]
    for batch, found in batches.forward_passes(loaded, language, lengths, budget, forward, cancelled=cancelled):
        likelihood.check_finite(loaded, language, found)
        np.add.at(nats, [masked[one][0] for one in batch], found.numpy())
        done += len(batch)
        on_progress(len(groups) * done // len(masked), len(groups))
    order = [places[text] for group in groups for text in group]
    return nats[order], np.array([len(at[k]) for k in order], dtype=np.int64)
