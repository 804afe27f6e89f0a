"""What would distort the scores of a corpus: ties, untranslated or misaligned lines, languages in another script."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from neuronxa_core.corpora import languages, scripts
from neuronxa_core.corpora.parallel import Corpus, Finding, RawCorpus, Severity

SHOWN_LINES = 10
# sentences below which a run is warned of
ENOUGH = 50
LENGTH_FACTOR = 4.0
MIN_LETTERS = 4


def few_sentences(corpus: Corpus) -> str:
    """A warning where chance alone moves a score much: by 1.96 sqrt(1 / 4n) at .5; else nothing."""
    n = min(corpus.counts)
    if n >= ENOUGH:
        return ""
    moves, then = (f"{0.98 / np.sqrt(k):.2f}" for k in (n, 100))
    return (
        f"{n} sentences are few: chance alone moves a score of .5 by up to ± {moves} (95 %), and by ± {then} with 100."
    )


def findings(raw: RawCorpus, corpus: Corpus) -> tuple[Finding, ...]:
    """What a reader of the scores should know of the source and of the chosen rows; see `select`."""
    return (*_of_source(raw, corpus), *_of_rows(raw, corpus))


def findings_of_pairs(raw: RawCorpus, selected: Mapping[str, Corpus], sentences: int | None) -> tuple[Finding, ...]:
    """What a reader of scores of pairs should know: of each pair, and of different numbers of sentences.

    selected: the pairs by language, as corpora of two. sentences: how many of each were asked for.
    """
    found = list(_notes(raw))
    counts = {code: one.n_sentences for code, one in selected.items()}
    fewest, most = min(counts.values()), max(counts.values())
    if fewest < most:
        message = (
            f"The languages have from {fewest:,} to {most:,} sentences. Scores on different numbers are not "
            f"comparable, since chance is 1/(2n - 1): choose {fewest:,} sentences of each (--sentences, or in Run), or "
            "leave languages out."
        )
        found.append(Finding("", "count", "warning", 0, (), message))
    for code, one in selected.items():
        if sentences is not None and counts[code] < sentences:
            message = f"{languages.label(code)}: {counts[code]:,} sentences where {sentences:,} were asked for."
            found.append(Finding(code, "few", "warning", counts[code], (), message))
        for finding in one.findings:
            of_pair = len(selected) > 1 and finding.language != code
            where = f"In the pair of {languages.label(code)}: " if of_pair else ""
            found.append(replace(finding, language=code, message=where + finding.message) if of_pair else finding)
    return tuple(found)


def _notes(raw: RawCorpus) -> Iterator[Finding]:
    """What was left aside, and what could not be read."""
    for note in raw.notes:
        yield Finding("", "note", "info", 0, (), note)
    for code, problem in raw.problems.items():
        yield Finding(code, "unreadable", "warning", 0, (), f"{languages.label(code)}: {problem}")


def _of_source(raw: RawCorpus, corpus: Corpus) -> Iterator[Finding]:
    """What the source holds beside the chosen languages."""

    def told(code: str, kind: str, severity: Severity, count: int, message: str) -> Finding:
        return Finding(code, kind, severity, count, (), f"{languages.label(code)}{message}")

    n_lines = len(raw.texts[corpus.pivot])
    yield from _notes(raw)
    for code in raw.languages:
        count = len(raw.texts[code])
        if code not in corpus.texts and count != n_lines:
            message = f": {count} lines where the chosen languages have {n_lines}; it cannot be chosen with them."
            yield told(code, "count", "warning", count, message)
    if corpus.pivot in corpus.languages:
        message = " is both the pivot and a language: it aligns with itself by nature."
        yield told(corpus.pivot, "pivot", "info", 0, message)


def _of_rows(raw: RawCorpus, corpus: Corpus) -> list[Finding]:
    """What the chosen rows hold that would distort a score, and what reading changed in them."""
    found: list[Finding] = []
    sentences = {code: corpus.sentences(code) for code in corpus.texts}
    pivot_sentences = sentences[corpus.pivot]
    usable = np.asarray(corpus.usable)

    def tell(code: str, kind: str, rows: Sequence[int], message: str, severity: Severity | None = None) -> None:
        """rows: indices into the chosen rows. message: a sentence that follows the language and the number of lines."""
        if len(rows):
            lines = tuple(corpus.lines[row] for row in rows[:SHOWN_LINES])
            severity = severity or ("error" if 2 * len(rows) > corpus.n_sentences else "warning")
            subject = f"{languages.label(code)}: " if code else ""
            number = "1 line" if len(rows) == 1 else f"{len(rows)} lines"
            where = ", ".join(map(str, lines)) + (", ..." if len(rows) > SHOWN_LINES else "")
            found.append(Finding(code, kind, severity, len(rows), lines, f"{subject}{number} ({where}) {message}"))

    dropped = np.setdiff1d(np.arange(len(corpus.lines)), usable)
    tell("", "dropped", dropped, f"of {len(corpus.lines)} dropped from all languages: empty in one or more.", "warning")
    for code, texts in corpus.texts.items():
        own, script = sentences[code], languages.script(code)
        altered = set(raw.changed.get(code, ()))
        rows = [row for row, line in enumerate(corpus.lines) if line - 1 in altered]
        tell(code, "normalised", rows, "changed by NFC normalisation or trimming of spaces.", "info")
        empty = [row for row, text in enumerate(texts) if not text]
        tell(code, "empty", empty, "without text, dropped from all languages.", "warning")
        tell(code, "duplicate", usable[_duplicates(own)], "with the text of another: a tie, so never aligned.")
        if script is not None:
            foreign = usable[_in_another_script(own, script)]
            name = languages.script_name(script)
            if languages.names_script(code):
                tell(code, "script", foreign, f"mostly not in {name} script.")
            else:
                usual = (
                    f"mostly not in {name} script, the usual one of {code}; {code}_{script} would say it for certain."
                )
                tell(code, "script", foreign, usual, "warning")
        if code != corpus.pivot:
            same = [text == other for text, other in zip(own, pivot_sentences, strict=True)]
            tell(code, "identical", usable[same], "identical to the pivot: untranslated?")
            odd = usable[_of_odd_length(own, pivot_sentences)]
            tell(code, "length", odd, "much longer or shorter than usual beside the pivot: misaligned?")
    return found


def _duplicates(texts: Sequence[str]) -> list[bool]:
    counts = Counter(texts)
    return [counts[text] > 1 for text in texts]


def _of_odd_length(texts: Sequence[str], pivot_texts: Sequence[str]) -> np.ndarray:
    log_ratios = np.log([len(text) for text in texts]) - np.log([len(text) for text in pivot_texts])
    return np.abs(log_ratios - np.median(log_ratios)) > np.log(LENGTH_FACTOR)


def _in_another_script(texts: Sequence[str], script: str) -> np.ndarray:
    """Whether most letters of a text, of at least MIN_LETTERS, are in another script than the expected one."""
    found = np.zeros(len(texts), bool)
    patterns = scripts.letters(script)
    if patterns is None:
        return found
    characters = "".join(set().union(*texts))
    expected, foreign = (set(pattern.findall(characters)) for pattern in patterns)
    for row, text in enumerate(texts):
        if not foreign.isdisjoint(text):
            n_foreign = sum(c in foreign for c in text)
            n_expected = sum(c in expected for c in text)
            found[row] = n_foreign + n_expected >= MIN_LETTERS and n_foreign > n_expected
    return found
