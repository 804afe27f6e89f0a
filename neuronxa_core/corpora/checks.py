"""TODO"""

import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from neuronxa_core.corpora import languages
from neuronxa_core.corpora.parallel import Corpus, Finding, RawCorpus, Severity

SHOWN_LINES = 10
LENGTH_FACTOR = 4.0
MIN_LETTERS = 4

LETTERS_OF_SCRIPT: dict[str, tuple[str, ...]] = {
    "Adlm": ("ADLAM",),
    "Arab": ("ARABIC",),
    "Aran": ("ARABIC",),
    "Armn": ("ARMENIAN",),
    "Beng": ("BENGALI",),
    "Cans": ("CANADIAN SYLLABICS",),
    "Cher": ("CHEROKEE",),
    "Cyrl": ("CYRILLIC",),
    "Deva": ("DEVANAGARI",),
    "Ethi": ("ETHIOPIC",),
    "Geor": ("GEORGIAN",),
    "Grek": ("GREEK",),
    "Gujr": ("GUJARATI",),
    "Guru": ("GURMUKHI",),
    "Hang": ("HANGUL", "CJK"),
    "Hans": ("CJK", "IDEOGRAPHIC", "BOPOMOFO"),
    "Hant": ("CJK", "IDEOGRAPHIC", "BOPOMOFO"),
    "Hebr": ("HEBREW",),
    "Jpan": ("HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "CJK", "IDEOGRAPHIC"),
    "Khmr": ("KHMER",),
    "Knda": ("KANNADA",),
    "Kore": ("HANGUL", "CJK"),
    "Laoo": ("LAO",),
    "Latn": ("LATIN", "FULLWIDTH LATIN"),
    "Mlym": ("MALAYALAM",),
    "Mong": ("MONGOLIAN",),
    "Mtei": ("MEETEI MAYEK",),
    "Mymr": ("MYANMAR",),
    "Nkoo": ("NKO",),
    "Olck": ("OL CHIKI",),
    "Orya": ("ORIYA",),
    "Sinh": ("SINHALA",),
    "Syrc": ("SYRIAC",),
    "Taml": ("TAMIL",),
    "Telu": ("TELUGU",),
    "Tfng": ("TIFINAGH",),
    "Thaa": ("THAANA",),
    "Thai": ("THAI",),
    "Tibt": ("TIBETAN",),
    "Yiii": ("YI ",),
}
LETTERS_OF_NO_SCRIPT = ("MODIFIER LETTER", "FEMININE ORDINAL", "MASCULINE ORDINAL", "MICRO SIGN", "MATHEMATICAL")


# Findings ---------------------------------------------------------------------------------------------------------


def _findings_of_source(raw: RawCorpus, corpus: Corpus, n_lines: int) -> list[Finding]:
    """What the source holds beside the chosen languages, and what reading it did."""
    findings = [Finding("", "note", "info", 0, (), note) for note in raw.notes]
    for code, problem in raw.problems.items():
        findings.append(Finding(code, "unreadable", "warning", 0, (), f"{languages.label(code)}: {problem}"))
    for code in raw.languages:
        count = len(raw.texts[code])
        if code not in corpus.texts and count != n_lines:
            message = f"{languages.label(code)}: {count} lines where the chosen languages have {n_lines}"
            findings.append(Finding(code, "count", "warning", count, (), f"{message}; it cannot be chosen with them."))
    for code in corpus.texts:
        if count := raw.changed.get(code, 0):
            message = (
                f"{languages.label(code)}: {_lines_were(count)} changed by NFC normalisation or trimming of spaces."
            )
            findings.append(Finding(code, "normalised", "info", count, (), message))
    if corpus.pivot in corpus.languages:
        message = f"{languages.label(corpus.pivot)} is both the pivot and a language: it aligns with itself by nature."
        findings.append(Finding(corpus.pivot, "pivot", "info", 0, (), message))
    return findings


def _lines_were(count: int) -> str:
    return "1 line was" if count == 1 else f"{count} lines were"


def _findings_of_rows(corpus: Corpus) -> list[Finding]:
    """What the chosen rows hold that would distort a score."""
    n_usable = corpus.n_sentences
    sentences = {code: corpus.sentences(code) for code in corpus.texts}
    pivot_sentences = sentences[corpus.pivot]
    findings = []

    def tell(code: str, kind: str, rows: Sequence[int], message: str, severity: Severity | None = None) -> None:
        """rows: indices into the chosen rows. message: a sentence that follows the language and the number of lines."""
        if len(rows):
            lines = tuple(corpus.lines[row] for row in rows[:SHOWN_LINES])
            severity = severity or ("error" if 2 * len(rows) > n_usable else "warning")
            subject = f"{languages.label(code)}: " if code else ""
            number = "1 line" if len(rows) == 1 else f"{len(rows)} lines"
            where = ", ".join(map(str, lines)) + (", ..." if len(rows) > SHOWN_LINES else "")
            findings.append(Finding(code, kind, severity, len(rows), lines, f"{subject}{number} ({where}) {message}"))

    usable = set(corpus.usable)
    dropped = [row for row in range(len(corpus.lines)) if row not in usable]
    tell("", "dropped", dropped, f"of {len(corpus.lines)} dropped from all languages: empty in one or more.", "warning")
    for code, texts in corpus.texts.items():
        empty = [row for row, text in enumerate(texts) if not text]
        tell(code, "empty", empty, "without text, dropped from all languages.", "warning")
        own = sentences[code]
        rows_of = np.asarray(corpus.usable)
        tell(code, "duplicate", rows_of[_duplicates(own)], "with the text of another: a tie, so never aligned.")
        expected = languages.script(code)
        if expected in LETTERS_OF_SCRIPT:
            written = languages.script_name(expected)
            tell(code, "script", rows_of[_in_another_script(own, expected)], f"mostly not in {written} script.")
        if code != corpus.pivot:
            tell(code, "identical", rows_of[_identical(own, pivot_sentences)], "identical to the pivot: untranslated?")
            odd = rows_of[_of_odd_length(own, pivot_sentences)]
            tell(code, "length", odd, "much longer or shorter than usual beside the pivot: misaligned?")
    return findings


def _duplicates(texts: Sequence[str]) -> list[int]:
    counts = Counter(texts)
    return [row for row, text in enumerate(texts) if counts[text] > 1] if len(counts) < len(texts) else []


def _identical(texts: Sequence[str], pivot_texts: Sequence[str]) -> list[int]:
    return [row for row, (text, pivot_text) in enumerate(zip(texts, pivot_texts, strict=True)) if text == pivot_text]


def _of_odd_length(texts: Sequence[str], pivot_texts: Sequence[str]) -> list[int]:
    log_ratios = np.log([len(text) for text in texts]) - np.log([len(text) for text in pivot_texts])
    return np.flatnonzero(np.abs(log_ratios - np.median(log_ratios)) > np.log(LENGTH_FACTOR)).tolist()


def _in_another_script(texts: Sequence[str], script: str) -> list[int]:
    letters = {c for c in set().union(*texts) if c.isalpha() and not _letter_name(c).startswith(LETTERS_OF_NO_SCRIPT)}
    expected = {c for c in letters if _letter_name(c).startswith(LETTERS_OF_SCRIPT[script])}
    foreign = letters - expected
    if not foreign:
        return []
    found = []
    for row, text in enumerate(texts):
        if not foreign.isdisjoint(text):
            n_foreign = sum(c in foreign for c in text)
            n_expected = sum(c in expected for c in text)
            if n_foreign + n_expected >= MIN_LETTERS and n_foreign > n_expected:
                found.append(row)
    return found


def _letter_name(letter: str) -> str:
    return unicodedata.name(letter, "")
