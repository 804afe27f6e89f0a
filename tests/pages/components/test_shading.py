"""Shaded tokens: the HTML of shaded tokens, read back as a browser would."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers_made import TEXTS, ids_of, made

from neuronxa_core.corpora import languages
from neuronxa_core.models.token_text import Unit, align_tokens_to_text, token_strings
from pages.components import shading

# what the sanitiser of st.html (DOMPurify's html profile) lets through
ALLOWED = {"div", "span", "bdi", "wbr"}
ATTRIBUTES = {"style", "title", "dir", "lang"}
DROPPED = re.compile(r"((--!?|])>)|</(style|script|title|xmp|textarea|noscript|iframe|noembed|noframes)", re.IGNORECASE)


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""


class Reader(HTMLParser):
    """All elements with the text inside them, in order; and the sentence, which is what is no chip and no mark."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.sentence = ""
        self._open: list[Element] = []
        self.feed(document)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        assert tag in ALLOWED and {name for name, _ in attrs} <= ATTRIBUTES
        assert not any(DROPPED.search(value) for _, value in attrs)
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag != "wbr":
            self._open.append(element)

    def handle_endtag(self, tag):
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        assert self._open, "text outside of the sentence"
        for element in self._open:
            element.text += data
        if not any(e.tag == "bdi" or e.attributes.get("style") == "opacity:.5" for e in self._open):
            self.sentence += data


def titled(document: str) -> list[Element]:
    return [element for element in Reader(document).elements if "title" in element.attributes]


def plain(title: str) -> str:
    """A title without the characters that isolate a piece's writing direction."""
    return re.sub("[\u2066-\u2069\u2060]", "", title)


def shade(element: Element) -> tuple[str, float] | None:
    found = re.search(r"background:rgba\((\d+,\d+,\d+),([\d.]+)\)", element.attributes.get("style", ""))
    return (found[1], float(found[2])) if found else None


def show(units, values, names=None, code="eng_Latn", scale=1.0, **options):
    names = names or [f"piece{k}" for k in range(len(values))]
    return shading.shaded(units, values, names, code=code, scale=scale, **options)


@pytest.mark.parametrize("name", ["demo", "byt5", "wordpiece", "byte-level trimmed", "llama"])
@pytest.mark.parametrize("text", TEXTS)
def test_the_sentence_is_all_there_and_every_token_is_in_a_title(name, text):
    ids = ids_of(made(name), text)
    units, names = align_tokens_to_text(made(name), text, ids), token_strings(made(name), ids)
    values = np.random.default_rng(0).standard_normal(len(ids)).astype(np.float32)
    document = show(units, values, names, scale=2.0)
    assert Reader(document).sentence == re.sub("\r\n|\r", "\n", text).replace("\t", "")
    lines = [line for element in titled(document) for line in plain(element.attributes["title"]).split("\n")]
    numbers = [int(line.split(" · ")[0]) for line in lines if " · " in line]
    assert sorted(numbers) == list(range(1, len(ids) + 1))


def test_a_unit_has_the_shade_of_its_token_farthest_from_zero():
    document = show([Unit("ab", (0, 1, 2)), Unit("c", (3,)), Unit("d", (4,))], [0.2, -0.5, 0.4, 9.0, 0.0])
    ab, c, d = titled(document)
    assert shade(ab) == (shading.NEGATIVE, 0.425)
    assert shade(c) == (shading.POSITIVE, shading.STRONGEST)
    assert shade(d) is None


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_the_shade_grows_with_the_value_up_to_the_scale(value, scale):
    (unit,) = titled(show([Unit("a", (0,))], [value], scale=scale))
    wanted = min(1.0, abs(value) / scale) * shading.STRONGEST
    found = shade(unit)
    assert (found[1] if found else 0.0) == pytest.approx(wanted, abs=6e-4)
    if found:
        assert found[0] == (shading.POSITIVE if value > 0 else shading.NEGATIVE)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_shades_nothing(scale):
    assert shade(titled(show([Unit("a", (0,))], [3.0], scale=scale))[0]) is None


def test_the_title_tells_position_piece_and_value_of_each_token():
    (unit,) = titled(show([Unit("नि", (1, 2))], [0.0, 0.123456789, np.float32(-1234567.0)], ["<s>", "à¤", "Ġ\"'<&"]))
    assert plain(unit.attributes["title"]) == "2 · à¤ · 0.123457\n3 · Ġ\"'<& · -1.23457e+06"


def test_everything_is_escaped():
    text = "<b title=\"x\" onclick='y'>&amp;</b>"
    document = show([Unit(text, (0,))], [1.0], ["\"><script>alert('1')</script>"], code='x"><b>')
    assert "<b" not in document and "<script" not in document
    sentence, unit = Reader(document).elements[0], titled(document)[0]
    assert sentence.text == text and sentence.attributes["lang"] == "und"
    assert plain(unit.attributes["title"]) == "1 · \"><script>alert('1')</script> · 1"


@pytest.mark.parametrize("piece", ["-->", "--!>", "]>", "]]>", "</style>", "</ScRiPt", "</textarea>", "</title"])
def test_no_piece_makes_the_sanitiser_drop_its_title(piece):
    (unit,) = titled(show([Unit("a", (0,))], [1.0], [piece]))  # the reader looks for what is dropped
    assert plain(unit.attributes["title"]) == f"1 · {piece} · 1"


def test_spaces_line_ends_and_tabs_in_a_unit_are_marked_and_stay():
    document = show([Unit(" a b", (0,)), Unit(" \t\r\n", ())], [1.0])
    assert document.count(shading._SPACE) == 2, "a gap's spaces belong to no token and have no mark"
    assert Reader(document).elements[0].text == " a b →↵\n"
    assert "<wbr>" in document and "white-space:pre-wrap" in document
    assert "←" in show([Unit("\t", (0,))], [1.0], code="arb_Arab")


def test_nothing_stands_between_the_letters_of_a_word():
    document = show([Unit("<s>", (0,), special=True), Unit("ال", (1,)), Unit("قطة", (2,))], [1, 1, -1], code="arb_Arab")
    assert document.endswith("</div>")
    first, second = (element for element in titled(document) if element.tag == "span")
    assert first.text + second.text == "القطة"
    assert re.search(r"ال</span><span[^>]*>قطة", document)
    for element in (first, second):
        assert not re.search("margin|padding|border|display|color:#", element.attributes["style"])


def test_the_sentence_has_its_own_direction_and_language():
    for code, direction in (("arb_Arab", "rtl"), ("heb_Hebr", "rtl"), ("jpn_Jpan", "ltr"), ("zho_Hans", "ltr")):
        sentence = Reader(show([Unit("a", (0,))], [1.0], code=code)).elements[0]
        assert (sentence.attributes["dir"], sentence.attributes["lang"]) == (direction, languages.tag(code))


def test_special_tokens_are_chips_that_do_not_move_the_text_around():
    chip = titled(show([Unit("<s>", (0,), special=True)], [0.5], ["<s>"], code="arb_Arab"))[0]
    assert (chip.tag, chip.text, chip.attributes["dir"]) == ("bdi", "<s>", "ltr")
    assert shade(chip) == (shading.POSITIVE, 0.425) and "border" in chip.attributes["style"]
    nothing = titled(show([Unit("", (0, 1))], [0.5, 0.1], ["▁", "x"]))[0]
    assert (nothing.tag, nothing.text) == ("bdi", "▁x")


def test_what_was_cut_is_struck_through_and_gaps_are_plain():
    document = show([Unit("a", (0,)), Unit(" ", ()), Unit("rest", (), cut=True)], [1.0])
    _, cut = titled(document)
    assert cut.attributes["title"] == "cut: beyond the longest length"
    assert "line-through" in cut.attributes["style"] and cut.text == "rest" and shade(cut) is None
    assert "</span> <span" in document


def test_compact_is_smaller():
    units = [Unit("a", (0,))]
    assert "font-size:.875em" in show(units, [1.0], compact=True)
    assert "font-size" not in show(units, [1.0])


def test_the_legend_names_both_ends():
    document = shading.legend(0.123456)
    assert [element.text for element in Reader(document).elements[1:]] == ["negative −0.123", "0", "0.123 positive"]
    assert f"rgba({shading.NEGATIVE},{shading.STRONGEST})" in document
    assert document.index(shading.NEGATIVE) < document.index(shading.POSITIVE)


def _luminance(colour: np.ndarray) -> float:
    linear = np.where(colour <= 0.04045 * 255, colour / 255 / 12.92, ((colour / 255 + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", [((255, 255, 255), (0x31, 0x33, 0x3F)), ((0x0E, 0x11, 0x17), (0xFA, 0xFA, 0xFA))])
@pytest.mark.parametrize("colour", [shading.POSITIVE, shading.NEGATIVE])
def test_text_can_be_read_on_every_shade_in_both_themes(theme, colour):
    page, text = (np.array(rgb, dtype=float) for rgb in theme)
    for alpha in np.linspace(0, shading.STRONGEST, 30):
        behind = alpha * np.array([int(part) for part in colour.split(",")]) + (1 - alpha) * page
        light, dark = sorted((_luminance(behind), _luminance(text)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.3
