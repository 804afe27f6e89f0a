"""One neuron, one sentence: the tokens as a reader reads them, and signed activations token by token.

A token is what the tokenizer makes of a text, and often no unit that anyone can read: a byte of a character, a vowel
sign without its letter, a word with the space before it. `reading_units` joins tokens into slices of the text that
can be shown. `token_activations` reads one neuron at every token of a few sentences and `activations_of` keeps what it
read; `text_activations` reads all neurons at every token of a text that someone has just typed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import regex
import torch
from transformers import PreTrainedTokenizerBase

from neuronxa_core import experts, extraction, models, overlap
from neuronxa_core.errors import ExperimentError, ExtractionError
from neuronxa_core.experiment import digest
from neuronxa_core.extraction import StateHooks
from neuronxa_core.models import LoadedModel, ModelInfo, ModelSource, Neuron
from neuronxa_core.pipeline import ModelShelf, Plan
from neuronxa_core.store import Store

# part of the cache key: raise it whenever the numbers of `token_activations` could change
VERSION = 1
# sentences that the store keeps for one neuron; where there are more, those read first are forgotten
KEPT_SENTENCES = 2000
# all activations of one call of `text_activations`
TEXT_BYTES = 1 << 30

_CLUSTER = regex.compile(r"\X")
_UNDECODED = "\ufffd"


# ------------------------------------------------------------------------------------------------------------ tokens


@dataclass(frozen=True)
class Unit:
    """What a reader sees of one or several tokens that cannot be shown apart.

    text: a slice of the sentence; of a special token its name. tokens: positions of its tokens in the sentence's ids,
    from 0, ascending; none for a piece of the text that no token covers. special: a token that the tokenizer adds by
    itself, such as "<s>". cut: text beyond the longest length, which the model never reads. exact: False where the
    text is not the sentence's but the token's own, as the vocabulary writes it.
    """

    text: str
    tokens: tuple[int, ...]
    special: bool = False
    cut: bool = False
    exact: bool = True


@dataclass(frozen=True)
class _Placed:
    """Where each token lies in the text: spans[position] = (start, end); None for a special token.

    cut: which end of the text was cut off before the model read it, "left" or "right"; empty where none was.
    """

    spans: list[tuple[int, int] | None]
    cut: str = ""


@lru_cache(maxsize=4)
def _tokenizer(source: ModelSource, _identity: str) -> PreTrainedTokenizerBase:
    return models.load_tokenizer(source)


def tokenizer_of(plan: Plan) -> PreTrainedTokenizerBase:
    """The tokenizer of a plan's model, for `reading_units` and `pieces`; no weights are loaded.

    It is another one than the loaded model's, which an extraction may be using in its own thread: to cut long
    sentences changes a tokenizer's state. Raises ModelError.
    """
    return _tokenizer(plan.source, plan.identity)


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[str, ...]:
    """Each token as the vocabulary writes it; "" for an id that the vocabulary does not have."""
    found = tokenizer.convert_ids_to_tokens(list(ids))
    return tuple("" if piece is None else piece if isinstance(piece, str) else str(piece) for piece in found)


def reading_units(tokenizer: PreTrainedTokenizerBase, text: str, ids: Sequence[int]) -> tuple[Unit, ...]:
    """The text as units of one or more tokens, in reading order; `ids` are the text's, from `extraction.tokenize`.

    Every token is in exactly one unit. The texts of the units that are not special give the text back exactly, so
    what no token covers is in units without tokens, and no unit begins or ends inside a grapheme cluster. A space
    before a word belongs to the word's unit if it does to the token ("Ġthe", "▁the"). A tokenizer that normalises
    (case, accents, NFKC) gives units of the text as it was, and an unknown token covers what it stands for.

    Where the tokenizer tells no offsets, the tokens are placed by decoding them. Where that does not give the text
    back either (the tokenizer is slow and normalises, or does not know a word), every token is a unit of its own whose
    text is its piece, with `exact` False: those texts do not give the sentence back.
    """
    ids = list(ids)
    placed = _placed_by_offsets(tokenizer, text, ids) if tokenizer.is_fast else None
    placed = placed or _placed_by_decoding(tokenizer, text, ids)
    if placed:
        return _units(text, placed, pieces(tokenizer, ids))
    special = _special_positions(tokenizer, text, ids)
    return tuple(
        Unit(piece, (k,), special=k in special, exact=k in special) for k, piece in enumerate(pieces(tokenizer, ids))
    )


def _placed_by_offsets(tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int]) -> _Placed | None:
    """Spans from a fast tokenizer's offsets; None where it makes other tokens of the text than these."""
    # never truncation=True, which would change the tokenizer: what was cut is found by comparing
    encoded = tokenizer(
        text,
        add_special_tokens=True,
        truncation=False,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        verbose=False,
    )
    whole, special = encoded["input_ids"], encoded["special_tokens_mask"]
    body = [k for k, is_special in enumerate(special) if not is_special]
    added = [k for k, is_special in enumerate(special) if is_special]
    read = len(ids) - len(added)
    if not 0 <= read <= len(body):
        return None
    cut = tokenizer.truncation_side if len(ids) < len(whole) else ""
    kept = sorted(added + (body[len(body) - read :] if cut == "left" else body[:read]))
    if [whole[k] for k in kept] != ids:
        return None
    offsets = encoded["offset_mapping"]
    spans = [None if special[k] else _clipped(offsets[k], len(text)) for k in kept]
    _take_spaces(text, spans, pieces(tokenizer, ids), _space_marks(tokenizer))
    return _Placed(spans, cut)


def _clipped(span: tuple[int, int], length: int) -> tuple[int, int]:
    start = min(max(span[0], 0), length)
    return start, min(max(span[1], start), length)


def _space_marks(tokenizer: PreTrainedTokenizerBase) -> str:
    """The characters that stand for a space in the tokenizer's pieces."""
    backend = tokenizer.backend_tokenizer
    parts = f"{backend.pre_tokenizer!r} {backend.post_processor!r} {backend.decoder!r}"
    return "▁Ġ" if "ByteLevel" in parts else "▁"  # elsewhere Ġ is a letter, of Maltese


def _take_spaces(text: str, spans: list[tuple[int, int] | None], names: Sequence[str], marks: str) -> None:
    """Widen spans over the spaces that the pieces hold but the offsets leave out (trimmed, or split off before)."""
    order = sorted((k for k, span in enumerate(spans) if span), key=lambda k: (*spans[k], k))
    reached = [0]
    for k in order:
        reached.append(max(reached[-1], spans[k][1]))
    # from the right: a space that stands for none of the text, as some tokenizers put before it, is the first
    following = len(text)
    for k, limit in zip(reversed(order), reversed(reached[:-1]), strict=True):
        start, end = spans[k]
        inside, name = text[start:end], names[k]
        before = len(name) - len(name.lstrip(marks)) - (len(inside) - len(inside.lstrip()))
        after = len(name) - len(name.rstrip(marks)) - (len(inside) - len(inside.rstrip()))
        taken = start
        while before > 0 and start > limit and text[start - 1].isspace():
            start, before = start - 1, before - 1
        if not name.strip(marks):  # nothing but spaces, which were counted once already
            after = len(name) - (taken - start) if not inside else 0
        while after > 0 and end < following and text[end].isspace():
            end, after = end + 1, after - 1
        spans[k] = start, end
        following = start


def _special_positions(tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int]) -> set[int]:
    """Positions of the tokens that the tokenizer adds around a text, found by leaving them out."""
    whole = tokenizer(text, add_special_tokens=True, verbose=False)["input_ids"]
    plain = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    added = len(whole) - len(plain)
    for before in range(added + 1):
        if whole[before : before + len(plain)] == plain:
            return {*range(before), *range(len(ids) - (added - before), len(ids))}
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    return {k for k, token in enumerate(ids) if token in special}


def _placed_by_decoding(tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int]) -> _Placed | None:
    """Spans from decoding ever more of the tokens; None where that does not give the text back."""
    special = _special_positions(tokenizer, text, ids)
    body = [k for k in range(len(ids)) if k not in special]
    whole_length = len(tokenizer(text, add_special_tokens=True, verbose=False)["input_ids"])
    cut = tokenizer.truncation_side if len(ids) < whole_length else ""

    def decoded(count: int) -> str:
        return tokenizer.decode([ids[k] for k in body[:count]], clean_up_tokenization_spaces=False)

    whole = decoded(len(body))
    readable = whole.rstrip(_UNDECODED) if cut else whole
    starts = [len(text) - len(whole)] if cut == "left" else [0, len(text) - len(text.lstrip())]
    start = next((k for k in starts if k >= 0 and text.startswith(readable, k)), None)
    if start is None:
        return None
    spans: list[tuple[int, int] | None] = [None] * len(ids)
    reached, waiting = start, []
    for count, k in enumerate(body, start=1):
        waiting.append(k)
        is_last = count == len(body)
        shown = whole if is_last else decoded(count)
        end = start + len(shown)
        if (shown.endswith(_UNDECODED) and not is_last) or end <= reached or not text.startswith(shown, start):
            continue
        for j in waiting:
            spans[j] = (reached, end)
        reached, waiting = end, []
    for j in waiting:  # the first bytes of a character that was cut through, or tokens that decode to nothing
        spans[j] = (reached, min(reached + 1, len(text)) if cut == "right" else reached)
    if not cut and (text[:start].strip() or text[reached:].strip()):
        return None
    return _Placed(spans, cut)


def _units(text: str, placed: _Placed, names: Sequence[str]) -> tuple[Unit, ...]:
    """Units from spans that may overlap, be empty, lie in any order, and begin and end inside grapheme clusters."""
    edges = [0, *(found.end() for found in _CLUSTER.finditer(text))]
    spans = [(span, k) for k, span in enumerate(placed.spans) if span is not None]
    merged: list[tuple[int, int, list[int]]] = []
    for (start, end), k in sorted(spans):
        if start == end:
            continue
        start, end = edges[bisect_right(edges, start) - 1], edges[bisect_left(edges, end)]
        if merged and start < merged[-1][1]:
            start, reached, tokens = merged.pop()
            merged.append((start, max(end, reached), [*tokens, k]))
        else:
            merged.append((start, end, [k]))
    alone = []
    for (start, end), k in spans:
        if start == end:
            host = _host(start, k, merged)
            (alone if host is None else merged[host][2]).append(k)

    units: list[Unit] = [Unit("", tuple(alone))] if alone else []
    reached = 0
    for start, end, tokens in merged:
        if start > reached:
            units.append(Unit(text[reached:start], ()))
        units.append(Unit(text[start:end], tuple(sorted(tokens))))
        reached = end
    if reached < len(text):
        units.append(Unit(text[reached:], ()))

    never_read = {"left": 0, "right": len(units) - 1}.get(placed.cut)
    if never_read is None or not units or units[never_read].tokens:
        unread = []
    else:
        unread = [replace(units.pop(never_read), cut=True)]
    special = [Unit(names[k], (k,), special=True) for k, span in enumerate(placed.spans) if span is None]
    read = _with_special(units, special)
    return tuple(unread + read if placed.cut == "left" else read + unread)


def _host(place: int, token: int, merged: list[tuple[int, int, list[int]]]) -> int | None:
    """The unit that takes in a token without text: the one around its place, else that of a token beside it."""
    for number, (start, end, _) in enumerate(merged):
        if start <= place < end:
            return number
    nearest = [(abs(token - k), k > token, number) for number, (_, _, tokens) in enumerate(merged) for k in tokens]
    return min(nearest)[2] if nearest else None


def _with_special(units: list[Unit], special: list[Unit]) -> list[Unit]:
    """Units with the special ones among them, each before the token that follows it and the gap before that."""
    waiting, gaps, ordered = list(special), [], []
    for unit in units:
        if not unit.tokens:
            gaps.append(unit)
            continue
        while waiting and waiting[0].tokens < unit.tokens:
            ordered.append(waiting.pop(0))
        ordered += [*gaps, unit]
        gaps = []
    if not ordered:
        return waiting + gaps
    return ordered + gaps + waiting


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
                opened.enter_context(experts.recording(self.loaded, self._expert, self._neuron, self._layers))
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
    _refuse_unknown(loaded.info, layer, neuron)
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
                _refuse_what_is_no_number(loaded, values[k], layer, where)
    return [TokenActivations(text, tuple(tokenized[k]), values[k], cut[k]) for k, text in enumerate(sentences)]


def _tokenize(loaded: LoadedModel, sentences: Sequence[str]) -> tuple[list[list[int]], list[bool]]:
    """Token ids of each sentence, and whether it was cut at the longest length."""
    longest = loaded.info.longest
    tokenized = extraction.tokenize(loaded, sentences, longest)
    cut = [
        tokenized.truncated > 0
        and len(ids) == longest
        and len(loaded.tokenizer(text, add_special_tokens=True, truncation=False, verbose=False)["input_ids"]) > longest
        for text, ids in zip(sentences, tokenized.ids, strict=True)
    ]
    return tokenized.ids, cut


def _refuse_unknown(info: ModelInfo, layer: int, neuron: int) -> None:
    for name, number, count in (("layer", layer, info.layers), ("neuron", neuron, info.neurons)):
        if not 0 <= number < count:
            raise ExperimentError(
                f"{info.name} has no {name} {number}: its {name}s are 0 to {count - 1}; choose one of them"
            )


def _refuse_what_is_no_number(loaded: LoadedModel, values: np.ndarray, layer: int, where: str) -> None:
    if not np.isfinite(values).all():
        raise ExtractionError(
            f"{where}: inf or NaN in the activations of layer {layer} of {loaded.info.name} at dtype {loaded.dtype}; "
            "choose bfloat16 or float32"
        )


def activations_of(
    plan: Plan,
    store: Store,
    shelf: ModelShelf,
    language: str,
    rows_or_texts: Sequence[int | str],
    layer: int,
    neuron: int,
    *,
    patience: float | None = None,
) -> list[TokenActivations]:
    """One neuron at every token of some sentences, by the plan's definition; what was read before is in the store.

    rows_or_texts: rows of the language in the plan's corpus, from 0, or texts, in any order. layer, neuron: from 0.
    The model is borrowed, as ModelShelf.borrow says, only where some of the sentences are not in the store. Raises
    ExperimentError for a row, layer or neuron that there is not, and ModelBusy, ModelError, ExtractionError,
    StoreError.
    """
    _refuse_unknown(plan.info, layer, neuron)
    texts = [item if isinstance(item, str) else _text_of_row(plan, language, item) for item in rows_or_texts]
    key = _activations_key(plan, layer, neuron)
    known = _known(store, key)
    todo = [text for text in dict.fromkeys(texts) if digest(text) not in known]
    if todo:
        with shelf.borrow(plan, patience=patience) as loaded:
            fresh = _read(loaded, todo, layer, neuron, plan.experiment.neuron, language)
        added = {digest(read.text): _as_json(read) for read in fresh}
        known |= added
        # what another session has added meanwhile is taken in; what is lost between the two lines is read again
        kept = {name: value for name, value in _known(store, key).items() if name not in added} | added
        store.offer_json(key, dict(list(kept.items())[-KEPT_SENTENCES:]))
    return [_from_json(text, known[digest(text)]) for text in texts]


def _text_of_row(plan: Plan, language: str, row: int) -> str:
    if language not in plan.corpus.texts:
        raise ExperimentError(f"the corpus {plan.corpus.name} has no language {language}; choose another")
    texts = plan.corpus.texts[language]
    if not 0 <= row < len(texts):
        raise ExperimentError(f"{language} has no row {row}: its rows are 0 to {len(texts) - 1}; choose one of them")
    if not texts[row]:
        raise ExperimentError(f"row {row} is empty in {language}; choose another")
    return texts[row]


def _activations_key(plan: Plan, layer: int, neuron: int) -> str:
    """Names the store's document of one neuron, {digest of a text: [ids, values, whether it was cut]}."""
    # one document a neuron, not one a sentence: a file each would be thousands
    model = plan.identity or plan.key
    what = [model, plan.dtype, plan.experiment.neuron, plan.info.longest, extraction.VERSION, VERSION]
    return "tokens-" + digest([*what, int(layer), int(neuron)])


def _known(store: Store, key: str) -> dict[str, list]:
    document = store.get_json(key)
    return document if isinstance(document, dict) else {}


def _as_json(read: TokenActivations) -> list:
    # a float32 is exact as a float, and a float comes back from JSON to the last bit
    return [list(read.ids), read.values.tolist(), read.truncated]


def _from_json(text: str, kept: list) -> TokenActivations:
    ids, values, truncated = kept
    return TokenActivations(text, tuple(ids), np.array(values, dtype=np.float32), truncated)


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
                    _refuse_what_is_no_number(loaded, values[layer], layer, "the text")
                states.append(TextStates(text, tuple(ids), values, was_cut))
            hooks.kept = {}
    return states


# -------------------------------------------------------------------------------------------------- what stands out


def _mean_abs(states: TextStates) -> np.ndarray:
    """Mean of |a| over the tokens, float64 [layer, neuron]."""
    return np.stack([np.abs(layer).mean(axis=0, dtype=np.float64) for layer in states.values])


def _share_active(states: TextStates) -> np.ndarray:
    """Share of the tokens with a > 0, float64 [layer, neuron]."""
    return np.stack([(layer > 0).mean(axis=0) for layer in states.values])


def _highest(values: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Layers and neurons of the highest values [layer, neuron], best first; equal ones by layer, then neuron."""
    best = np.argsort(-values, axis=None, kind="stable")[:top]
    return np.unravel_index(best, values.shape)


def strongest(states: TextStates, top: int = 50) -> pd.DataFrame:
    """The neurons with the highest mean of |a| over a text's tokens, best first.

    Columns: layer, neuron (from 0), mean_abs, share_active (of the tokens, in [0, 1]), peak (the activation that is
    farthest from 0, with its sign), peak_token (its position, the first token being 1).
    """
    mean_abs, share = _mean_abs(states), _share_active(states)
    layer, neuron = _highest(mean_abs, top)
    columns = states.values[layer, :, neuron]
    at = np.abs(columns).argmax(axis=1)
    return pd.DataFrame(
        {
            "layer": layer,
            "neuron": neuron,
            "mean_abs": mean_abs[layer, neuron],
            "share_active": share[layer, neuron],
            "peak": columns[np.arange(len(at)), at],
            "peak_token": at + 1,
        }
    )


def shared_neurons(x: TextStates, y: TextStates, threshold: float = 0.0) -> pd.DataFrame:
    """How the active sets of two texts overlap, layer by layer.

    A neuron is active in a text where the share of its tokens with a > 0 is above `threshold`, in [0, 1). Columns:
    layer, active_x, active_y, both, jaccard (in [0, 1]; 0 where both sets are empty). Raises ExperimentError for texts
    of two models and a threshold outside its range.
    """
    sets_x, sets_y = _active(x, y, threshold)
    overlaps = [overlap.jaccard(a[None], b[None])[0, 0] for a, b in zip(sets_x, sets_y, strict=True)]
    return pd.DataFrame(
        {
            "layer": np.arange(len(sets_x)),
            "active_x": sets_x.sum(axis=1),
            "active_y": sets_y.sum(axis=1),
            "both": (sets_x & sets_y).sum(axis=1),
            "jaccard": overlaps,
        }
    )


def strongest_shared(x: TextStates, y: TextStates, top: int = 50, threshold: float = 0.0) -> pd.DataFrame:
    """The neurons active in both texts whose weaker mean of |a| is highest, best first.

    Active is what it is in `shared_neurons`. Columns: layer, neuron (from 0), weaker (the lower of the two means),
    mean_abs_x, mean_abs_y, share_active_x, share_active_y. Raises as `shared_neurons` does.
    """
    sets_x, sets_y = _active(x, y, threshold)
    means, shares = [_mean_abs(x), _mean_abs(y)], [_share_active(x), _share_active(y)]
    both = sets_x & sets_y
    weaker = np.where(both, np.minimum(*means), -1.0)
    layer, neuron = _highest(weaker, min(top, int(both.sum())))
    return pd.DataFrame(
        {
            "layer": layer,
            "neuron": neuron,
            "weaker": weaker[layer, neuron],
            "mean_abs_x": means[0][layer, neuron],
            "mean_abs_y": means[1][layer, neuron],
            "share_active_x": shares[0][layer, neuron],
            "share_active_y": shares[1][layer, neuron],
        }
    )


def _active(x: TextStates, y: TextStates, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Active sets of two texts, bool [layer, neuron]."""
    if not 0 <= threshold < 1:
        raise ExperimentError(f"the threshold of activity is a share from 0 to below 1, not {threshold}")
    if (x.values.shape[0], x.values.shape[2]) != (y.values.shape[0], y.values.shape[2]):
        raise ExperimentError("the two texts were read by different models; compare texts of one model")
    return _share_active(x) > threshold, _share_active(y) > threshold
