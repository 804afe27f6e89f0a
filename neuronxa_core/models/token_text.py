"""A text as a reader sees it: tokens joined into slices of the text that can be shown.

A token is often no unit that anyone can read: a byte of a character, a vowel sign without its letter, a word with the
space before it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import regex
from transformers import PreTrainedTokenizerBase

from neuronxa_core.models import sources
from neuronxa_core.models.description import ModelSource

_CLUSTER = regex.compile(r"\X")
_UNDECODED = "\ufffd"


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
def tokenizer_of(source: ModelSource, _identity: str) -> PreTrainedTokenizerBase:
    """A model's tokenizer, for `align_tokens_to_text` and `token_strings`; no weights are loaded.

    It is another one than the loaded model's, which an extraction may be using in its own thread: to cut long
    sentences changes a tokenizer's state. Raises ModelError.
    """
    return sources.load_tokenizer(source)


def token_strings(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[str, ...]:
    """Each token as the vocabulary writes it; "" for an id that the vocabulary does not have."""
    found = tokenizer.convert_ids_to_tokens(list(ids))
    return tuple("" if piece is None else piece if isinstance(piece, str) else str(piece) for piece in found)


def align_tokens_to_text(tokenizer: PreTrainedTokenizerBase, text: str, ids: Sequence[int]) -> tuple[Unit, ...]:
    """The text as units of one or more tokens, in reading order; `ids` are the text's, from `states.batches.tokenize`.

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
        return _units(text, placed, token_strings(tokenizer, ids))
    special = _special_positions(tokenizer, text, ids)
    return tuple(
        Unit(piece, (k,), special=k in special, exact=k in special)
        for k, piece in enumerate(token_strings(tokenizer, ids))
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
    _take_spaces(text, spans, token_strings(tokenizer, ids), _space_marks(tokenizer))
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
