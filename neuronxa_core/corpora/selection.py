"""Choosing a pivot, languages and sentences of a corpus."""

import difflib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from neuronxa_core.corpora import checks
from neuronxa_core.corpora import languages as language_codes
from neuronxa_core.corpora.parallel import Corpus, RawCorpus
from neuronxa_core.errors import CorpusError
from neuronxa_core.host import limits
from neuronxa_core.wording import some_of


def select(
    raw: RawCorpus,
    pivot: str,
    languages: Sequence[str] | None = None,
    sentences: int | None = None,
    seed: int | None = None,
) -> Corpus:
    """Choose a pivot, languages and rows of a corpus, and look for what would distort a score.

    languages: all but the pivot for None. A code may be in another form where it means exactly one language of the
    corpus ("en" for eng_Latn). sentences: all for None, else the first so many lines, or with a seed a random sample
    without replacement in file order.

    Raises CorpusError for an unknown or ambiguous code, a chosen language that could not be read, chosen languages
    with different line counts (a missing line shifts all that follow), a number of sentences below 2 or above what
    there is, and fewer than 2 rows with text in every language.

    Findings that concern lines are about usable rows (empty ones aside); an error rather than a warning where they
    concern more than half of them. Odd length: the log of the ratio of characters to the pivot's is further than
    log 4 from its median in that language. Unexpected script: at least 4 letters, fewer than half of them in the
    script of the code.
    """
    pivot = _resolve(raw, pivot)
    if languages is None:
        chosen = [code for code in (*raw.languages, *sorted(raw.problems)) if code != pivot]
    else:
        chosen = list(dict.fromkeys(_resolve(raw, code) for code in languages))
    if not chosen:
        raise CorpusError(f"No language is left to compare with {pivot}; {_what_there_is(raw)}")
    compared = tuple(dict.fromkeys((pivot, *chosen)))
    for code in compared:
        if code in raw.problems:
            raise CorpusError(raw.problems[code])
    n_lines = _common_line_count(raw, compared)
    rows = _choose_rows(n_lines, sentences, seed)
    texts = {code: tuple(raw.texts[code][row] for row in rows) for code in compared}
    usable = tuple(i for i in range(len(rows)) if all(texts[code][i] for code in compared))
    if len(usable) < 2:
        emptiest = max(compared, key=lambda code: texts[code].count(""))
        raise CorpusError(
            f"Only {len(usable)} of {len(rows)} rows have text in every language, at least 2 are needed; "
            f"{emptiest} is empty in {texts[emptiest].count('')} of them"
        )
    if raw.labels is not None and len(raw.labels) != n_lines:
        raise CorpusError(f"There are {len(raw.labels)} labels for {n_lines} lines; give one label per line")
    corpus = Corpus(
        name=raw.name,
        pivot=pivot,
        languages=tuple(chosen),
        texts=texts,
        lines=tuple(row + 1 for row in rows),
        usable=usable,
        labels=None if raw.labels is None else tuple(raw.labels[row] for row in rows),
        findings=(),
    )
    return replace(corpus, findings=checks.findings(raw, corpus))


def _resolve(raw: RawCorpus, code: str) -> str:
    known = (*raw.languages, *raw.problems)
    found = language_codes.matches(code.strip(), known)
    if len(found) == 1:
        return found[0]
    if found:
        raise CorpusError(f"{code} may mean {' or '.join(found)} in the corpus {raw.name}; write one of them")
    if len(code) > limits.NAME_LETTERS:
        raise CorpusError(f"The corpus {raw.name} has no language {code[:40]}...; {_what_there_is(raw)}")
    written = code.strip().lower()
    spellings = {spelling: other for other in known for spelling in (other.lower(), language_codes.name(other).lower())}
    longer = [other for other in known if written and other.lower().startswith(written)]
    alike = longer or dict.fromkeys(spellings[s] for s in difflib.get_close_matches(written, spellings, n=3))
    hint = f" Did you mean {some_of(alike, 5, ' or ')}?" if alike else ""
    raise CorpusError(f"The corpus {raw.name} has no language {code}.{hint} {_what_there_is(raw)}")


def _what_there_is(raw: RawCorpus) -> str:
    return f"It holds {some_of(raw.languages, 30)}"


def _common_line_count(raw: RawCorpus, codes: Sequence[str]) -> int:
    codes_of: dict[int, list[str]] = {}
    for code in codes:
        codes_of.setdefault(len(raw.texts[code]), []).append(code)
    if len(codes_of) > 1:
        commonest_first = sorted(codes_of.items(), key=lambda item: -len(item[1]))
        counts = "; ".join(f"{count} in {some_of(alike, 5)}" for count, alike in commonest_first)
        raise CorpusError(
            f"The languages differ in their number of lines: {counts}. A missing line shifts all that follow, so mend "
            "the files or leave the language out (empty lines at the end of a file do not count)"
        )
    return next(iter(codes_of))


def _choose_rows(n_lines: int, sentences: int | None, seed: int | None) -> list[int]:
    if sentences is None:
        return list(range(n_lines))
    if sentences < 2:
        raise CorpusError(f"{sentences} sentences cannot be compared; choose at least 2")
    if sentences > n_lines:
        raise CorpusError(f"{sentences} sentences were asked for, and the corpus has {n_lines}; choose at most that")
    if seed is None:
        return list(range(sentences))
    return sorted(np.random.default_rng(seed).choice(n_lines, size=sentences, replace=False).tolist())
