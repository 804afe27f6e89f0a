"""Choosing a pivot, languages and sentences of a corpus."""

import difflib
from collections import Counter
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

    Where each pair of the corpus has its own sentences of the pivot, rows are chosen pair by pair, of those with text
    on both sides; a pair that has fewer gives all, which is a finding.

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
    if raw.pairs:
        return _of_pairs(raw, pivot, chosen, sentences, seed)
    n_lines = _common_line_count(raw, compared)
    return _of_rows(raw, pivot, chosen, _choose_rows(range(n_lines), sentences, seed))


def _of_rows(raw: RawCorpus, pivot: str, chosen: Sequence[str], rows: Sequence[int]) -> Corpus:
    compared = tuple(dict.fromkeys((pivot, *chosen)))
    texts = {code: tuple(raw.texts[code][row] for row in rows) for code in compared}
    usable = tuple(i for i in range(len(rows)) if all(texts[code][i] for code in compared))
    if len(usable) < 2:
        emptiest = max(compared, key=lambda code: texts[code].count(""))
        raise CorpusError(
            f"Only {len(usable)} of {len(rows)} rows have text in every language, at least 2 are needed; "
            f"{emptiest} is empty in {texts[emptiest].count('')} of them"
        )
    n_lines = len(raw.texts[pivot])
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


def _of_pairs(raw: RawCorpus, pivot: str, chosen: Sequence[str], sentences: int | None, seed: int | None) -> Corpus:
    """Pairs that each have their own sentences of the pivot, as one corpus of all pivot sentences, each once."""
    if (pivot, *set(chosen) - set(raw.pairs)) != raw.pivots:
        (shared,) = raw.pivots
        raise CorpusError(
            f"The corpus {raw.name} holds pairs of {shared}, each with its own sentences; give {shared} as the pivot "
            "and not as a language"
        )
    if sentences is not None:
        _choose_rows(range(raw.longest), sentences, seed)  # raises for a number that no pair has
    selected = {}
    for code in chosen:
        pair = raw.pairs[code]
        lines = list(zip(pair.texts[pivot], pair.texts[code], strict=True))
        whole = [row for row, both in enumerate(lines) if all(both)]
        enough = sentences is not None and sentences <= len(whole)
        rows = _choose_rows(whole, sentences, seed) if enough else range(len(lines))
        selected[code] = _of_rows(pair, pivot, [code], rows)
    found = checks.findings_of_pairs(raw, selected, sentences)
    if len(selected) == 1:
        return replace(selected[chosen[0]], findings=found)
    # a pivot sentence that a pair has twice is two rows, as it is two ties
    row_of: dict[tuple[str, int], int] = {}
    pairs: dict[str, dict[int, int]] = {}
    texts: dict[str, dict[int, str]] = {}
    for code, one in selected.items():
        before: Counter[str] = Counter()
        pairs[code], texts[code] = {}, {}
        for k in one.usable:
            sentence = one.texts[pivot][k]
            row = row_of.setdefault((sentence, before[sentence]), len(row_of))
            before[sentence] += 1
            pairs[code][row], texts[code][row] = one.lines[k], one.texts[code][k]
    rows = range(len(row_of))
    return Corpus(
        name=raw.name,
        pivot=pivot,
        languages=tuple(chosen),
        texts={
            pivot: tuple(sentence for sentence, _ in row_of),
            **{code: tuple(own.get(row, "") for row in rows) for code, own in texts.items()},
        },
        lines=tuple(row + 1 for row in rows),
        usable=(),
        labels=None,
        findings=found,
        pairs=pairs,
    )


def _resolve(raw: RawCorpus, code: str) -> str:
    known = (*raw.languages, *raw.problems)
    found = language_codes.matches(code.strip(), known)
    if len(found) == 1:
        return found[0]
    if not code.isprintable():
        code = repr(code)
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


def _choose_rows(rows: Sequence[int], sentences: int | None, seed: int | None) -> list[int]:
    n_lines = len(rows)
    if sentences is None:
        return list(rows)
    if sentences < 2:
        raise CorpusError(f"{sentences} sentences cannot be compared; choose at least 2")
    if sentences > n_lines:
        raise CorpusError(f"{sentences} sentences were asked for, and the corpus has {n_lines}; choose at most that")
    if seed is None:
        return list(rows[:sentences])
    return [
        rows[k] for k in sorted(np.random.default_rng(seed).choice(n_lines, size=sentences, replace=False).tolist())
    ]
