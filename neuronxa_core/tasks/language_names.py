"""Which language a cell, a heading or a name means: its code, from a code or an English name."""

from __future__ import annotations

import csv
import itertools
import re
import string
from functools import lru_cache
from pathlib import Path

import langcodes

from neuronxa_core.corpora import languages

AGGREGATES = frozenset(
    {"all", "avg", "average", "macro", "max", "mean", "median", "micro", "min", "overall", "std", "sum", "total"}
)

# names in use beside those of `languages.name`
OTHER_NAMES = {
    "brazilian portuguese": "pt_BR",
    "castilian": "es",
    "european portuguese": "pt_PT",
    "farsi": "fa",
    "haitian": "ht",
    "kurmanji": "kmr_Latn",
    "mandarin": "zh",
    "mandarin chinese": "zh",
    "modern greek": "el",
    "north macedonian": "mk",
    "norwegian bokmal": "nb",
    "oriya": "or",
    "simplified chinese": "zh_Hans",
    "slovene": "sl",
    "sorani": "ckb",
    "traditional chinese": "zh_Hant",
    "western persian": "pes_Arab",
}


def code_of(text: str) -> str:
    """The code in a cell or heading: itself where it is one, else that of an English name, "" where it is neither.

    "deu_Latn", "German", "German (deu_Latn)", "Chinese (Simplified)" -> "zh_Hans", "Portuguese (Brazil)" -> "pt_BR".
    Words for averages are none, though "all" is the code of Allar.
    """
    text = text.strip()
    return _code_of(text) if len(text) <= 80 else ""


@lru_cache(maxsize=8192)
def _code_of(text: str) -> str:
    if not re.search(r"[^\W\d_]", text) or not AGGREGATES.isdisjoint(re.split(r"\W+", text.lower())):
        return ""
    if languages.is_language_code(text):
        return text
    named, _, remark = (part.strip() for part in text.removesuffix(")").partition(" ("))
    code = _codes_of_names().get(named.lower(), "")
    for given in (remark.rpartition(" (")[2], named) if remark else ():
        # "Serbian (Lat)" gives no code, though lat is Latin
        if len(given) > 2 and languages.is_language_code(given) and (not code or _are_alike(given, code)):
            return given
    for part in ("script", "territory") if code and remark else ():
        try:
            return f"{code}_{getattr(langcodes.Language.find_name(part, remark, 'en'), part)}"
        except (ValueError, LookupError):
            continue
    return code


def _are_alike(code: str, other: str) -> bool:
    return bool(languages.matches(code, [other]) or languages.matches(other, [code]))


@lru_cache(maxsize=1)
def _codes_of_names() -> dict[str, str]:
    """{English name in lower case: the shortest code}, of two-letter codes and those of `languages.csv`."""
    with Path(languages.__file__).with_name("languages.csv").open(encoding="utf-8", newline="") as table:
        threes = [row["code3"] for row in csv.DictReader(table)]
    twos = ["".join(letters) for letters in itertools.product(string.ascii_lowercase, repeat=2)]
    known = [code for code in (*twos, *threes) if languages.is_language_code(code)]
    return {languages.name(code).lower(): code for code in reversed(known)} | OTHER_NAMES
