"""What reading a corpus and choosing from it give: RawCorpus, Corpus and their findings."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class RawCorpus:
    """All that a source holds.

    texts: language code -> its lines, NFC and stripped, "" for an empty line; a file that is named by no code gives its
    name for one. changed: code -> the lines that normalisation changed, from 0. problems: code -> one sentence on why
    it could not be read; such a language has no texts.
    labels: one per line, if the source has any. notes: what was left aside while reading.
    """

    name: str
    source: str
    texts: Mapping[str, tuple[str, ...]]
    changed: Mapping[str, tuple[int, ...]]
    problems: Mapping[str, str]
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that could be read, sorted."""
        return tuple(sorted(self.texts, key=lambda code: (code.lower(), code)))


@dataclass(frozen=True)
class Finding:
    """Something about a corpus that a reader of its scores should know.

    language: a code, or "" for the whole corpus. kind: note, unreadable, count, dropped, empty, duplicate, identical,
    length, script, normalised or pivot. count: how many lines. lines: the first ten, original line numbers from 1.
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
    """

    name: str
    pivot: str
    languages: tuple[str, ...]
    texts: Mapping[str, tuple[str, ...]]
    lines: tuple[int, ...]
    usable: tuple[int, ...]
    labels: tuple[str, ...] | None
    findings: tuple[Finding, ...]

    @property
    def n_sentences(self) -> int:
        """How many sentences are compared: those with text in every language."""
        return len(self.usable)

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


def normalise(text: str) -> str:
    """Text as every corpus is read: Unicode NFC, without white space at its ends."""
    return unicodedata.normalize("NFC", text).strip()
