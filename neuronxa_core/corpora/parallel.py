"""What reading a corpus and choosing from it give: RawCorpus, Corpus and their findings."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from neuronxa_core.wording import counted

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class RawCorpus:
    """All that a source holds.

    texts: language code -> its lines, NFC and stripped, "" for an empty line; a file that is named by no code gives its
    name for one. changed: code -> the lines that normalisation changed, from 0. problems: code -> one sentence on why
    it could not be read; such a language has no texts.
    labels: one per line, if the source has any. notes: what was left aside while reading.
    pairs: language -> its pair as a corpus of two, where each pair has its own sentences of the language that all
    share; empty for parallel sentences. `texts` then holds every language's own lines, and all of the shared language.
    """

    name: str
    source: str
    texts: Mapping[str, tuple[str, ...]]
    changed: Mapping[str, tuple[int, ...]]
    problems: Mapping[str, str]
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    pairs: Mapping[str, "RawCorpus"] = field(default_factory=dict)

    @property
    def pivots(self) -> tuple[str, ...]:
        """Languages that the others can be compared with: all, or where pairs have their own sentences, the shared."""
        return tuple(code for code in self.languages if code not in self.pairs)

    @property
    def longest(self) -> int:
        """Lines of the language, or of the pair, that has most."""
        return max(len(self.texts[code]) for code in (self.pairs or self.texts))

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that could be read, sorted."""
        return tuple(sorted(self.texts, key=lambda code: (code.lower(), code)))


@dataclass(frozen=True)
class Finding:
    """Something about a corpus that a reader of its scores should know.

    language: a code, or "" for the whole corpus. kind: note, unreadable, count, few, dropped, empty, duplicate,
    identical, length, script, normalised or pivot. count: how many lines. lines: the first ten, original line numbers
    from 1.
    """

    language: str
    kind: str
    severity: Severity
    count: int
    lines: tuple[int, ...]
    message: str


@dataclass(frozen=True)
class Corpus:
    """The rows an experiment uses.

    texts: code -> one text per chosen row, for the pivot and every language. lines: original line number of each chosen
    row, from 1. usable: indices into the chosen rows, from 0, ascending, of rows with text in the pivot and every
    language. labels: one per chosen row, or None. languages holds the pivot only where it was asked for by name.

    pairs: where each pair has its own pivot sentences, language -> {its rows, in the order of its file: line there}.
    The rows are the pivot sentences of all pairs, each once; usable is empty, unless there is one pair: then its rows.
    """

    name: str
    pivot: str
    languages: tuple[str, ...]
    texts: Mapping[str, tuple[str, ...]]
    lines: tuple[int, ...]
    usable: tuple[int, ...]
    labels: tuple[str, ...] | None
    findings: tuple[Finding, ...]
    pairs: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    @property
    def own_sentences(self) -> bool:
        """Whether languages have their own sentences of the pivot, so that only each with the pivot can be compared."""
        return len(self.pairs) > 1

    @property
    def n_sentences(self) -> int:
        """How many sentences are compared: those with text in every language."""
        return len(self.usable)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many sentences of each language are compared with the pivot, [language]."""
        return tuple(len(self.pairs.get(code, self.usable)) for code in self.languages)

    @property
    def size(self) -> str:
        """How many sentences are compared, in words."""
        fewest, most = min(self.counts), max(self.counts)
        if self.own_sentences:
            return f"{fewest:,} sentences per pair" if fewest == most else f"{fewest:,} to {most:,} sentences per pair"
        return counted(most, "sentence")

    def rows(self, code: str) -> list[int]:
        """The rows that have text in a language."""
        return list(self.pairs.get(code) or (row for row, text in enumerate(self.texts[code]) if text))

    def line(self, sentence: int) -> int:
        """The line that a compared sentence is in, from 1; of a pair, the line of its file."""
        row = self.usable[sentence]
        return next(iter(self.pairs.values()))[row] if self.pairs else self.lines[row]

    def restricted(self, languages: Sequence[str]) -> "Corpus":
        """The same rows with fewer languages."""
        pairs = {code: self.pairs[code] for code in languages if code in self.pairs}
        usable = tuple(pairs[languages[0]]) if len(pairs) == 1 else self.usable
        return replace(self, languages=tuple(languages), usable=usable, pairs=pairs)

    def sentences(self, code: str) -> tuple[str, ...]:
        """The usable sentences of a language, `n_sentences` of them."""
        return tuple(self.texts[code][row] for row in self.usable)


@dataclass(frozen=True)
class Columns:
    """What a file or folder gave, before normalisation."""

    texts: dict[str, Sequence[str]]
    problems: dict[str, str] = field(default_factory=dict)
    labels: Sequence[str] | None = None
    notes: tuple[str, ...] = ()
    pairs: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    """Language -> the two columns of its pair, where each has its own lines of the shared language."""


def normalise(text: str) -> str:
    """Text as every corpus is read: Unicode NFC, without white space at its ends."""
    return unicodedata.normalize("NFC", text).strip()
