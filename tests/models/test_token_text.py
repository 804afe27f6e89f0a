"""Tokens as a reader reads them: every text comes back, no grapheme cluster is cut, every token is shown once."""

from __future__ import annotations

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers_made import EVERY, TEXTS, ids_of, made, words
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from neuronxa_core.models.sources import parse_source
from neuronxa_core.models.token_text import Unit, align_tokens_to_text, token_strings, tokenizer_of


def check(text: str, ids: list[int], units: tuple[Unit, ...]) -> None:
    """What holds of the units of any text under any tokenizer that does not lose it."""
    assert "".join(unit.text for unit in units if not unit.special) == text
    assert sorted(k for unit in units for k in unit.tokens) == list(range(len(ids)))
    assert all(unit.exact for unit in units)
    edges = {0, *(found.end() for found in regex.finditer(r"\X", text))}
    reached = 0
    for unit in units:
        assert unit.tokens == tuple(sorted(unit.tokens))
        assert unit.tokens or not unit.special
        if not unit.special:
            reached += len(unit.text)
            assert reached in edges


def shown(name: str, text: str) -> list[str]:
    """The units' texts, gaps in parentheses and special ones in angle brackets."""
    units = align_tokens_to_text(made(name), text, ids_of(made(name), text))
    check(text, ids_of(made(name), text), units)
    return [f"<{u.text.strip('<>')}>" if u.special else u.text if u.tokens else f"({u.text})" for u in units]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("text", TEXTS)
def test_units_give_every_text_back_and_hold_every_token_once(name, text):
    ids = ids_of(made(name), text)
    check(text, ids, align_tokens_to_text(made(name), text, ids))


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=40)
@given(
    text=st.one_of(
        st.text(max_size=30),
        st.text("ab \n\tÉéĠ▁\u0301\u200d\u093f\u0e33ก猫👩\u1100\u1161\ufffd", max_size=12),
    )
)
@example(text="\ufffd\ufffd")
def test_units_give_any_text_back(name, text):
    ids = ids_of(made(name), text)
    check(text, ids, align_tokens_to_text(made(name), text, ids))


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=20)
@given(text=st.sampled_from(TEXTS), max_length=st.integers(2, 20))
def test_what_was_cut_is_one_unit_at_the_end(name, text, max_length):
    tokenizer = made(name)
    ids = ids_of(tokenizer, text, max_length)
    units = align_tokens_to_text(tokenizer, text, ids)
    check(text, ids, units)
    was_cut = len(ids) < len(ids_of(tokenizer, text))
    cut = [k for k, unit in enumerate(units) if unit.cut]
    assert len(cut) <= was_cut
    assert all(k == len(units) - 1 and not units[k].tokens and units[k].text for k in cut)
    if was_cut and not cut:  # what was not read is the rest of a unit that was begun
        assert not text or units[-1].tokens


@pytest.mark.parametrize("trim", ["", " trimmed"])
def test_a_space_goes_with_the_word_whose_token_holds_it(trim):
    assert shown(f"byte-level{trim}", " the cat") == ["<s>", " the", " cat", "</s>"]
    assert shown(f"byte-level{trim} with a prefix", "the cat") == ["<s>", "the", " cat", "</s>"]
    assert shown(f"byte-level{trim} with a prefix", " the cat") == ["<s>", " the", " cat", "</s>"]
    # the last of several spaces is the word's
    assert shown(f"byte-level{trim}", " the   cat ") == ["<s>", " the", "  ", " cat", " ", "</s>"]
    assert shown(f"byte-level{trim} with a prefix", "  ")[1:-1] in ([" ", " "], ["  "])


def test_a_space_that_sentencepiece_marks_goes_with_the_word():
    assert made("sentencepiece split").tokenize("猫  猫")[0].startswith("▁")
    assert "".join(shown("sentencepiece split", "\n 猫  猫 ")) == "(\n) 猫( ) 猫( )"
    assert shown("llama", "cat é") == ["c", "a", "t", " ", "é"]


def test_a_space_that_no_token_holds_is_a_gap():
    assert shown("word-level", " 猫  猫\t") == ["<s>", "( )", "猫", "(  )", "猫", "(\t)", "</s>"]
    assert shown("wordpiece", " 猫  猫\t") == ["<s>", "( )", "猫", "(  )", "猫", "(\t)", "</s>"]


def test_bytes_of_a_character_and_marks_stay_with_their_letter():
    assert shown("byte-level", "é猫") == ["<s>", "é", "猫", "</s>"]
    assert shown("byte-level", "नि") == ["<s>", "नि", "</s>"]
    assert shown("byte-level", "e\u0301x") == ["<s>", "e\u0301", "x", "</s>"]
    assert shown("llama", "é猫") == ["é", "猫"]
    assert shown("byt5", "é猫") == ["é", "猫", "</s>"]
    assert shown("byte-level", "👨‍👩‍👧👍🏽") == ["<s>", "👨‍👩‍👧", "👍🏽", "</s>"]
    assert shown("byte-level", "น้ำ") == ["<s>", "น้ำ", "</s>"]


def test_normalised_and_unknown_words_keep_the_text_as_it_was():
    assert shown("wordpiece", "Qqqq ΩΩ") == ["<s>", "Qqqq", "( )", "ΩΩ", "</s>"]
    assert shown("word-level", "Qqqq ΩΩ") == ["<s>", "Qqqq", "( )", "ΩΩ", "</s>"]
    units = align_tokens_to_text(made("wordpiece"), "ÉÉ", ids_of(made("wordpiece"), "ÉÉ"))
    assert "".join(unit.text for unit in units if not unit.special) == "ÉÉ"


def test_a_special_token_that_stands_in_the_text_is_text():
    units = align_tokens_to_text(made("byte-level"), "a<s>b", ids_of(made("byte-level"), "a<s>b"))
    assert [(unit.text, unit.special) for unit in units] == [
        ("<s>", True),
        ("a", False),
        ("<s>", False),
        ("b", False),
        ("</s>", True),
    ]


def test_a_text_cut_on_the_left_has_its_unread_part_first():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words("word-level"), truncation_side="left")
    ids = tokenizer("猫 猫 a 猫", truncation=True, max_length=4)["input_ids"]
    units = align_tokens_to_text(tokenizer, "猫 猫 a 猫", ids)
    assert [unit.text for unit in units] == ["猫 猫 ", "<s>", "a", " ", "猫", "</s>"]
    assert [unit.cut for unit in units] == [True] + [False] * 5


class Lowercasing(ByT5Tokenizer):
    """A tokenizer without offsets that does not give its text back."""

    def _tokenize(self, text):
        return super()._tokenize(text.lower())


def test_where_decoding_does_not_give_the_text_back_the_pieces_are_shown():
    tokenizer = Lowercasing()
    ids = ids_of(tokenizer, "Ab")
    units = align_tokens_to_text(tokenizer, "Ab", ids)
    assert units == (
        Unit("a", (0,), exact=False),
        Unit("b", (1,), exact=False),
        Unit("</s>", (2,), special=True),
    )
    assert all(unit.exact for unit in align_tokens_to_text(tokenizer, "ab", ids))


def test_ids_that_are_not_the_tokenizers_own_are_placed_by_decoding():
    tokenizer = made("byte-level")
    ids = [0, *tokenizer.convert_tokens_to_ids(["Ã", "©", "Ġ", "t", "h", "e"]), 1]
    assert ids != ids_of(tokenizer, "é the")
    units = align_tokens_to_text(tokenizer, "é the", ids)
    check("é the", ids, units)
    assert [unit.text for unit in units] == ["<s>", "é", " ", "t", "h", "e", "</s>"]


def test_reading_units_leaves_the_tokenizer_as_it_is():
    tokenizer = made("byte-level")
    tokenizer(["the cat sat on the mat"], truncation=False)
    align_tokens_to_text(tokenizer, "the cat", ids_of(tokenizer, "the cat")[:2])
    assert tokenizer.backend_tokenizer.truncation is None
    assert not tokenizer.deprecation_warnings.get("sequence-length-is-longer-than-the-specified-maximum")


def test_the_tokenizer_of_a_model_is_loaded_once_and_names_its_tokens():
    tokenizer = tokenizer_of(parse_source("demo"), "identity")
    assert tokenizer is tokenizer_of(parse_source("demo"), "identity")
    ids = ids_of(tokenizer, "the cat")
    assert len(token_strings(tokenizer, ids)) == len(ids)
    assert token_strings(tokenizer, [10**6]) == ("",)
