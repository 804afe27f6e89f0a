"""Words and text as pages write them."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Iterable

from neuronxa_core.corpora import languages
from neuronxa_core.experiment import Experiment

# pages say all their words from here
from neuronxa_core.wording import counted as counted
from neuronxa_core.wording import duration as duration
from neuronxa_core.wording import size as size

STATE_NAMES = {
    "nas": "NAS · activation state (NASCA)",
    "nav": "NAV · activation value (NAVCA)",
    "emb": "EMB · hidden state (MEXA)",
    "hid": "HID · hidden states as published (MEXA)",
}
POOLING_NAMES = {"weighted": "weighted by position", "last": "last token", "mean": "mean of tokens"}
NEURON_NAMES = {"product": "product · input of the last projection", "gate": "gate · output of the activation function"}


def label(code: str) -> str:
    """A language's English name and code."""
    return languages.label(code)


def command_line(chosen: Experiment) -> str:
    """The command line's options for an experiment."""
    words = ["--model", chosen.model, "--corpus", chosen.corpus, "--pivot", chosen.pivot]
    if chosen.languages:
        words += ["--languages", *chosen.languages]
    for name in ("sentences", "seed"):
        if getattr(chosen, name) is not None:
            words += [f"--{name}", str(getattr(chosen, name))]
    for name in ("pooling", "neuron", "dtype", "device", "storage"):
        if getattr(chosen, name) != getattr(Experiment, name):
            words += [f"--{name}", getattr(chosen, name)]
    return shlex.join(words)


def sentence(text: str, code: str) -> str:
    """HTML of a sentence in its own writing direction."""
    direction = "rtl" if languages.is_rtl(code) else "ltr"
    return f'<span dir="{direction}" lang="{html.escape(languages.tag(code))}">{html.escape(text)}</span>'


def passages(rows: Iterable[tuple[str, str, str]]) -> str:
    """HTML of sentences under each other: (what it is, the text, its language's code)."""
    return "".join(
        f"<p style='margin:0 0 .2rem;opacity:.8;font-size:.85rem'>{html.escape(title)}</p>"
        f"<p style='margin:0 0 .9rem'>{sentence(text, code)}</p>"
        for title, text, code in rows
    )


def safe(text: str) -> str:
    """Text as it is where Markdown is read."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-.!|~$:" else c for c in text)


def said(text: str) -> str:
    """An error's words where Markdown is read: they show as they are, but for `code`, whatever they repeat."""
    words = " ".join(text.split())
    parts = words.split("`") if words.count("`") % 2 == 0 else [words]
    return "".join(
        f"`{part}`" if k % 2 and part.strip() else _MEANT.sub(r"\\\g<0>", part) for k, part in enumerate(parts)
    )


# what Markdown would take for more than a sign: emphasis, links, pictures, formulas, Streamlit's colours and icons, and
# at the start headings, lists and quotations. A line in the middle of a word, as in eng_Latn, means nothing
_MEANT = re.compile(
    r"[\\`*\[\]<>~$|&]|(?<![^\W_])_|_(?![^\W_])|:(?=[\w/+-])|^[#=+-]|(?:(?<=^\d)|(?<=^\d\d)|(?<=^\d\d\d))[.)]"
)
