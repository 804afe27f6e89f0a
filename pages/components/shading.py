"""HTML of sentences whose tokens are shaded by a neuron's activation, for st.html, which lets inline styles through."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

from neuronxa_core.corpora import languages
from neuronxa_core.models.token_text import Unit

# orange above 0, blue below, which colour-blind readers tell apart. Of a middle lightness: a page's own text, dark on
# white or white on dark, has a contrast of 4.3 or more on the strongest, so that no letter need change its colour
POSITIVE, NEGATIVE = "210,110,0", "50,142,212"
STRONGEST = 0.85
CUT = "cut: beyond the longest length"

# what st.html's sanitiser takes for markup that hides in an attribute, which it then drops whole
_SUSPICIOUS = re.compile(r"(?<=[-!\]])(?=>)|(?<=<)(?=/[a-z]{3})", re.IGNORECASE)
_SPACE = '<span style="background:radial-gradient(circle,#888 1px,#0000 1.5px)"> </span>'
_MARK = '<span style="opacity:.5">{}</span>'


def shaded(
    units: Sequence[Unit], values: Sequence[float], pieces: Sequence[str], *, code: str, scale: float, compact=False
) -> str:
    """A sentence in its own writing direction, each unit shaded by its token that is farthest from 0.

    units, pieces: see microscope; values: signed activations of its tokens [token]. code: its language, empty
    where it is not known: its first letter then tells the direction. scale: the size of activation that gets the full
    colour, orange above 0 and blue below; at 0 nothing is shaded.
    Hovering tells each token's position (from 1), piece and value. Special tokens are small outlined chips, what the
    model did not read is struck through, and spaces, line ends and tabs inside a unit are marked. compact: smaller,
    for lists.
    """
    direction = ("rtl" if languages.is_rtl(code) else "ltr") if code else "auto"
    style = "white-space:pre-wrap;overflow-wrap:anywhere;"
    style += "font-size:.875em;line-height:1.6" if compact else "line-height:2"
    tab = "←" if direction == "rtl" else "→"
    parts = [_unit(unit, values, pieces, scale, tab) for unit in units]
    lang = f' lang="{html.escape(languages.tag(code))}"' if code else ""
    return f'<div dir="{direction}"{lang} style="{style}">{"".join(parts)}</div>'


def legend(scale: float) -> str:
    """What the colours mean: a bar from -scale over 0 to scale."""
    number = html.escape(f"{scale:.3g}")
    colours = f"rgba({NEGATIVE},{STRONGEST}),rgba({NEGATIVE},0) 50%,rgba({POSITIVE},0) 50%,rgba({POSITIVE},{STRONGEST})"
    bar = f"width:12em;border:1px solid #8888;text-align:center;background:linear-gradient(to right,{colours})"
    return (
        '<div dir="ltr" style="display:flex;flex-wrap:wrap;gap:.5em;font-size:.8em;line-height:1.3">'
        f'<span>negative −{number}</span><span style="{bar}">0</span><span>{number} positive</span></div>'
    )


def row(title: str, shaded_sentence: str) -> str:
    """A shaded sentence beside or, where there is no room, under its title."""
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:0 1rem;max-width:64rem;margin:0 0 .4rem">'
        f'<div style="flex:0 0 15rem;opacity:.8;font-size:.85rem;line-height:2.3">{html.escape(title)}</div>'
        f'<div style="flex:1 1 24rem">{shaded_sentence}</div></div>'
    )


def heading(title: str, more: str) -> str:
    """A bold title and what is said of it, above rows."""
    more = f'<span style="opacity:.8">{html.escape(more)}</span>'
    return f'<p style="margin:.6rem 0 .2rem"><b>{html.escape(title)}</b> {more}</p>'


def _unit(unit: Unit, values: Sequence[float], pieces: Sequence[str], scale: float, tab: str) -> str:
    if unit.cut:
        return f'<span title="{CUT}" style="opacity:.5;text-decoration:line-through">{_marked(unit.text, tab)}</span>'
    if not unit.tokens:
        return _marked(unit.text, tab)
    background = _background(max((float(values[k]) for k in unit.tokens), key=abs), scale)
    title = _title(unit, values, pieces)
    if unit.special or not unit.text:
        text = unit.text or "".join(pieces[k] for k in unit.tokens)
        chip = (
            "border:1px solid #888;border-radius:4px;margin:0 .15em;padding:0 .3em;font-size:.75em;white-space:nowrap;"
        )
        return f'<bdi dir="ltr" title="{title}" style="{chip}{background}">{html.escape(text)}</bdi>'
    # no margin, padding or border: Arabic letters of two units join only if nothing stands between them
    style = f' style="{background}"' if background else ""
    return f'<span title="{title}"{style}>{_marked(unit.text, tab, spaces=True)}</span>'


def _background(value: float, scale: float) -> str:
    """The style of a value's shade; empty where none can be seen."""
    if not 0 < scale < math.inf:
        return ""
    alpha = round(min(1.0, abs(value) / scale) * STRONGEST, 3)
    return f"background:rgba({POSITIVE if value > 0 else NEGATIVE},{alpha:g})" if alpha else ""


def _title(unit: Unit, values: Sequence[float], pieces: Sequence[str]) -> str:
    """The lines that hovering shows, one a token: position, piece, value."""
    # isolated, or a piece from right to left would carry the numbers with it
    lines = [f"\u2066{k + 1} · \u2068{pieces[k]}\u2069 · {float(values[k]):.6g}\u2069" for k in unit.tokens]
    lines = [_SUSPICIOUS.sub("\u2060", line).replace("\n", "↵").replace("\r", "↵") for line in lines]
    return "&#10;".join(html.escape(line) for line in lines)


def _marked(text: str, tab: str, spaces: bool = False) -> str:
    """Text with its line ends and tabs made visible, and its spaces where asked for.

    A space stays a space, with a dot drawn on it: lines still break there, and the sentence can be copied.
    """
    escaped = html.escape(text).replace("\t", _MARK.format(tab) + "<wbr>")
    escaped = re.sub("\r\n|\r|\n", _MARK.format("↵") + "\n", escaped)
    if not spaces:
        return escaped
    return "".join(
        part if part.startswith("<") else part.replace(" ", _SPACE) for part in re.split("(<[^>]*>)", escaped)
    )
