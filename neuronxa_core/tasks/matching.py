"""TODO"""

from __future__ import annotations

import csv
import itertools
import math
import re
import string
from collections import abc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import langcodes
import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.errors import ScoresError
from neuronxa_core.tasks.task_scores import KEY, TaskScores, _some

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
# the member meant by a macrolanguage's code where a corpus has several
USUAL_MEMBER = {"fas": "pes"}
_SCRIPT_FORM = re.compile(r"[a-z]{2,3}[-_][a-z]{4}(?:[-_](?:[a-z0-9]{5,8}|\d[a-z0-9]{3}))?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, eq=False)
class Joined:
    """Scores of one model, task and metric, matched with the languages of a corpus.

    pairs: the rows of the scores that could be matched, indexed by the corpus's code, in the corpus's order; the pivot
    is among them where it has a score. unmatched_scores: languages of the scores without a counterpart.
    unmatched_languages: codes of the corpus without a score. ambiguous: a score's language -> the codes of the corpus
    it may mean; such scores are not used. notes: the same in sentences, and matches that had to be inferred.
    """

    pivot: str
    pairs: pd.DataFrame
    unmatched_scores: tuple[str, ...]
    unmatched_languages: tuple[str, ...]
    ambiguous: abc.Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]

    @property
    def pivot_score(self) -> float:
        """The pivot's own score, NaN where there is none."""
        return float(self.pairs["score"].get(self.pivot, math.nan))


# Languages --------------------------------------------------------------------------------------------------------


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


# Matching with a corpus -------------------------------------------------------------------------------------------


def join(scores: TaskScores | pd.DataFrame, corpus_codes: Iterable[str], *, pivot: str) -> Joined:
    """Match scores of one model, task and metric with the codes of a corpus.

    scores: or a table with columns language and score. corpus_codes: the pivot is added where it is not among them; it
    may be in another form ("en" for eng_Latn). A code of the corpus takes the score of the same code, else of the one
    code that means its language and script; see `languages.matches`. Where several are possible, a bare code is that of
    the usual script and member, which a note says: ar is arb_Arab rather than arb_Latn, fa is pes_Arab rather than
    prs_Arab. zho beside zho_Hans and zho_Hant is ambiguous. Ambiguous scores are listed and not used.

    Raises ScoresError for scores of several models, tasks or metrics, a language given twice, and a pivot that may be
    several of the codes.
    """
    table = scores.table if isinstance(scores, TaskScores) else scores
    _check_one_group(table)
    codes, pivot = _with_pivot(list(dict.fromkeys(corpus_codes)), pivot)
    given = list(table["language"])
    # what each of the scores may mean, then of each code's claimants the closest
    meant = {language: _closest(code_of(language) or language, codes) for language in given}
    ambiguous = {language: found for language, (found, _) in meant.items() if len(found) > 1}
    pairs: dict[str, str] = {}
    inferred: list[str] = []
    for code in codes:
        claimants = [language for language, (found, _) in meant.items() if found == (code,)]
        if not claimants:
            continue
        found, was_inferred = _closest(code, claimants)
        if len(found) == 1:
            pairs[code] = found[0]
            if was_inferred or meant[found[0]][1]:
                inferred.append(f"{found[0]} as {languages.label(code)}")
        else:
            ambiguous |= dict.fromkeys(found or claimants, (code,))
    positions = [given.index(language) for language in pairs.values()]
    matched = table.iloc[positions].set_axis(pd.Index(list(pairs), name="code", dtype=object), axis=0)
    concerned = {code for found in ambiguous.values() for code in found}
    unmatched_scores = tuple(one for one in given if one not in pairs.values() and one not in ambiguous)
    unmatched_languages = tuple(code for code in codes if code not in pairs and code not in concerned)
    notes = []
    if inferred:
        notes.append(f"Read as the usual form of its language: {_some(inferred)}.")
    if ambiguous:
        which = (f"{one} ({' or '.join(found)})" for one, found in ambiguous.items())
        notes.append(f"Ambiguous, so not used: {_some(which)}.")
    if unmatched_scores:
        notes.append(f"Scores without a language of the corpus: {_some(map(languages.label, unmatched_scores))}.")
    if unmatched_languages:
        notes.append(f"Languages of the corpus without a score: {_some(map(languages.label, unmatched_languages))}.")
    return Joined(pivot, matched, unmatched_scores, unmatched_languages, ambiguous, tuple(notes))


def _check_one_group(table: pd.DataFrame) -> None:
    if not {"language", "score"} <= set(table.columns):
        raise ScoresError(f"The scores have no columns language and score; they have {_some(map(str, table.columns))}")
    for column in KEY[:3]:
        if column in table.columns and table[column].nunique() > 1:
            values = _some(map(str, dict.fromkeys(table[column])))
            raise ScoresError(f"The scores are of more than one {column} ({values}); choose one")
    doubled = table["language"][table["language"].duplicated()]
    if len(doubled):
        raise ScoresError(
            f"The scores name a language more than once: {_some(dict.fromkeys(doubled))}; leave one of each"
        )


def _with_pivot(codes: list[str], pivot: str) -> tuple[list[str], str]:
    pivot = code_of(pivot) or pivot
    found = languages.matches(pivot, codes)
    if len(found) > 1:
        raise ScoresError(f"The pivot {pivot} may be {' or '.join(found)}; write one of them")
    return (codes, found[0]) if found else ([pivot, *codes], pivot)


def _closest(code: str, candidates: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """(those of `candidates` that `code` means, whether the choice was inferred from what is usual)."""
    found = tuple(dict.fromkeys(languages.matches(code, candidates)))
    if not found:
        by_code = {code_of(candidate): candidate for candidate in candidates}
        found = tuple(by_code[one] for one in dict.fromkeys(languages.matches(code, [c for c in by_code if c])))
    if len(found) < 2:
        return found, False
    usual = found
    expected = languages.script(code)
    if expected not in (None, "Hans", "Hant"):
        usual = tuple(one for one in usual if languages.script(one) == expected) or usual
    if len(usual) > 1:
        member = next((USUAL_MEMBER[m] for m in USUAL_MEMBER if languages.matches(m, [code])), None)
        usual = tuple(one for one in usual if member and languages.matches(member, [one])) or usual
    return (usual, True) if len(usual) == 1 else (found, False)
