"""Matching task scores with the languages of a corpus."""

from __future__ import annotations

import math
from collections import abc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.errors import ScoresError
from neuronxa_core.tasks.language_names import code_of
from neuronxa_core.tasks.task_scores import KEY, TaskScores, first_names

# what is meant by a language's bare code where a corpus has several members or spellings of it
USUAL_MEMBER = {"fas": "pes", "deu": "deu_1996"}


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


def join(scores: TaskScores | pd.DataFrame, corpus_codes: Iterable[str], *, pivot: str) -> Joined:
    """Match scores of one model, task and metric with the codes of a corpus.

    scores: or a table with columns language and score. corpus_codes: the pivot is added where it is not among them; it
    may be in another form ("en" for eng_Latn). A code of the corpus takes the score of the same code, else of the one
    code that means its language and script; see `languages.matches`. Where several are possible, a bare code is that of
    the usual script and member, which a note says: ar is arb_Arab rather than arb_Latn, fa is pes_Arab rather than
    prs_Arab, zh is zho_Hans rather than zho_Hant, de is deu_1996 rather than deu_1901. Ambiguous scores are listed and
    not used.

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
    which = (f"{one} ({' or '.join(found)})" for one, found in ambiguous.items())
    told = {
        "Read as the usual form of its language": inferred,
        "Ambiguous, so not used": which,
        "Scores without a language of the corpus": map(languages.label, unmatched_scores),
        "Languages of the corpus without a score": map(languages.label, unmatched_languages),
    }
    notes = [f"{what}: {names}." for what, found in told.items() if (names := first_names(found))]
    return Joined(pivot, matched, unmatched_scores, unmatched_languages, ambiguous, tuple(notes))


def _check_one_group(table: pd.DataFrame) -> None:
    if not {"language", "score"} <= set(table.columns):
        raise ScoresError(
            f"The scores have no columns language and score; they have {first_names(map(str, table.columns))}"
        )
    for column in KEY[:3]:
        if column in table.columns and table[column].nunique() > 1:
            values = first_names(map(str, dict.fromkeys(table[column])))
            raise ScoresError(f"The scores are of more than one {column} ({values}); choose one")
    doubled = table["language"][table["language"].duplicated()]
    if len(doubled):
        raise ScoresError(
            f"The scores name a language more than once: {first_names(dict.fromkeys(doubled))}; leave one of each"
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
    if expected is not None:
        usual = tuple(one for one in usual if languages.script(one) == expected) or usual
    if len(usual) > 1:
        member = next((USUAL_MEMBER[m] for m in USUAL_MEMBER if languages.matches(m, [code])), None)
        usual = (languages.matches(member, usual) if member else ()) or usual
    return (usual, True) if len(usual) == 1 else (found, False)
