"""Parallel sentences: read them from wherever they lie, normalise them, choose among them, say what is wrong.

    raw = read("demo")                               every language of a source, line by line
    corpus = select(raw, "eng_Latn", ["fra_Latn"])   the rows that an experiment uses, and findings about them

Every text is NFC with no space around it: the same Vietnamese sentence in decomposed form is other tokens, and more
than halved its alignment. Line i of one language translates line i of every other, so nothing here drops a line of one
language alone: a row that is empty in one language is left out of `usable` for all.
"""

import codecs
import csv
import difflib
import io
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pandas as pd

from neuronxa_core import languages, limits, parquet
from neuronxa_core.errors import CorpusError
from neuronxa_core.wording import some_of

DEMO = Path(__file__).with_name("demo") / "corpus"
# FLORES-200's folders; the first that is there is read
SPLITS = ("devtest", "dev")
FLORES_PLUS = "openlanguagedata/flores_plus"
ARCHIVES = frozenset({"zip", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "tar"})
SHOWN_LINES = 10
LENGTH_FACTOR = 4.0
MIN_LETTERS = 4

FLORES_PLUS_COLUMNS = ("iso_639_3", "iso_15924", "text", "id")
LABEL_COLUMNS = frozenset({"label", "labels"})
CODES_THAT_OFTEN_HEAD_NO_TEXT = frozenset({"doc", "id", "idx", "key", "pid", "ref", "row", "set", "sid", "tag", "url"})
NAMES_OF_NO_DATA = ("readme", "license", "licence", "copying", "changelog", ".")

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

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class RawCorpus:
    """All that a source holds.

    texts: language code -> its lines, NFC and stripped, "" for an empty line. changed: code -> how many lines that
    normalisation changed. problems: code -> one sentence on why it could not be read; such a language has no texts.
    labels: one a line, if the source has any. notes: what was left aside while reading.
    """

    name: str
    source: str
    texts: Mapping[str, tuple[str, ...]]
    changed: Mapping[str, int]
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

    texts: code -> one text a chosen row, for the pivot and every language. lines: original line number of each chosen
    row, from 1. usable: indices into the chosen rows, from 0, ascending, of rows with text in the pivot and every
    language. labels: one a chosen row, or None. languages holds the pivot only where it was asked for by name.
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
class _Columns:
    """What a file or folder gave, before normalisation."""

    texts: dict[str, Sequence[str]]
    problems: dict[str, str] = field(default_factory=dict)
    labels: Sequence[str] | None = None
    notes: tuple[str, ...] = ()


def read(source: str | Path) -> RawCorpus:
    """Read every language of a source.

    - "demo": the bundled corpus.
    - "hub:owner/name[:config[:split]]": see `read_hub`.
    - a folder of one file a language, `<code>.txt`, `<code>.dev` or `<code>.devtest`, one sentence a line; `labels.txt`
      holds one label a line. Where both FLORES splits are present, as files or as folders, devtest is read.
    - a CSV or Parquet file, or a TSV with a header: one column a language (`eng_Latn` or `sentence_eng_Latn`),
      optionally `label`. In a TSV a quotation mark is text and a cell holds no tab, as IANA defines it.
    - a pair file `<source>-<target>.tsv` or `.txt`, tab-separated, no header, two columns of text (columns of ids,
      language codes or attributions are skipped); or a folder of them that share one language, identical line by line.

    Text is UTF-8; a line ends at LF or CRLF and nowhere else; empty lines at the end of a file do not count. Archives
    are not unpacked.

    Raises CorpusError, one sentence, for what is missing, empty, malformed, larger than `limits` says, or holds no
    readable language. A single unreadable language of several goes to `problems`.
    """
    text = str(source).strip()
    if text.startswith("hub:"):
        dataset, config, split = parse_hub(text)
        return read_hub(dataset, config=config, split=split)
    if not text:
        raise CorpusError("No corpus was named; give a path, demo, or hub:owner/name")
    try:
        path = DEMO if text == "demo" else Path(text).expanduser()
        if path.is_dir():
            return _read_folder(path, text, "demo" if text == "demo" else path.resolve().name)
        if path.is_file():
            _refuse_archives([path.name])
            return _read_files(_stem(path.name), text, _contents([path]), _kinds([path.name]), ())
    except (OSError, RuntimeError) as error:  # ~nobody is a RuntimeError
        raise CorpusError(f"{text:.200} cannot be read: {error}") from error
    raise CorpusError(f"There is no file or folder {text:.200}; give a path, demo, or hub:owner/name")


def within(folder: Path) -> list[Path]:
    """What `read` could read in a folder, by the names alone: the folder itself, or else its tables. Raises OSError."""
    entries = sorted(itertools.islice(folder.iterdir(), limits.CORPUS_FILES))
    kinds = {entry: _kind(entry.name) for entry in entries if entry.is_file()}
    if {"language", "pair"} & set(kinds.values()):
        return [folder]
    return [entry for entry, kind in kinds.items() if kind == "table"]


def parse_hub(text: str) -> tuple[str, str | None, str | None]:
    """(data set, config, split) of "hub:owner/name:config:split". Raises CorpusError for what is none."""
    dataset, *rest = text.removeprefix("hub:").split(":")
    if len(rest) > 2:
        raise CorpusError(f"{text:.200} has too many parts; write hub:owner/name:config:split")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", dataset):
        raise CorpusError(f"{dataset!r:.200} is no data set of the hub; write owner/name")
    config, split = (*rest, "", "")[:2]
    return dataset, config or None, split or None


def read_uploads(files: Sequence[tuple[str, bytes]]) -> RawCorpus:
    """Read uploaded files, (name, content) each, as `read` reads a folder; a name counts without its folders.

    Raises CorpusError as `read` does, and where two files have one name.
    """
    by_name: dict[str, bytes] = {}
    for untrusted_name, data in files:
        base_name = "".join(c for c in PurePosixPath(untrusted_name.replace("\\", "/")).name if c.isprintable())
        if base_name in by_name:
            raise CorpusError(f"Two uploaded files are called {base_name}; upload each language once")
        by_name[base_name] = data
    if not by_name:
        raise CorpusError("No file was uploaded")
    _refuse_large({name: len(data) for name, data in by_name.items()})
    wanted, notes = _sift(list(by_name))
    if not wanted:
        _refuse_archives(by_name)
    name = _stem(next(iter(by_name))) if len(by_name) == 1 else "upload"
    return _read_files(name, "upload", {name: by_name[name] for name in wanted}, wanted, notes)


def read_hub(
    dataset: str, *, config: str | None = None, split: str | None = None, revision: str | None = None
) -> RawCorpus:
    """Read a data set of the Hugging Face hub with the optional `datasets` library; code of a data set is never run.

    Either one column a language (`eng_Latn` or `sentence_eng_Latn`), or one row a sentence and language as in FLORES+
    (`iso_639_3`, `iso_15924`, `text`, `id`), where rows of one id are translations. split: devtest for FLORES+, test
    for others unless given. Raises CorpusError where `datasets` is not installed or the data set cannot be loaded.
    """
    parse_hub(f"hub:{dataset}")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise CorpusError("Reading from the hub needs the datasets library: pip install datasets") from error
    split = split or ("devtest" if dataset == FLORES_PLUS else "test")
    try:
        rows = load_dataset(dataset, name=config, split=split, revision=revision)
        headings = list(rows.column_names)
        _check_headings(dataset, headings)
        wanted = _headings_to_read(headings)
        parquet.refuse_many_cells(dataset, getattr(rows, "num_rows", 0), len(wanted))
        table = {heading: list(rows[heading]) for heading in wanted}
    except CorpusError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CorpusError(
            f"The data set {dataset} (split {split}) cannot be loaded: {reason}; if it is gated, accept its terms on "
            "the hub and log in with hf auth login"
        ) from error
    return _corpus(dataset, f"hub:{dataset}", _columns_of_table(dataset, table, headings))


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
        raise CorpusError(f"There are {len(raw.labels)} labels for {n_lines} lines; give one label a line")
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
    return replace(corpus, findings=(*_findings_of_source(raw, corpus, n_lines), *_findings_of_rows(corpus)))


# Reading files ----------------------------------------------------------------------------------------------------


def _read_folder(folder: Path, source: str, name: str) -> RawCorpus:
    entries = list(itertools.islice(folder.iterdir(), limits.CORPUS_FILES + 1))
    if len(entries) > limits.CORPUS_FILES:
        raise CorpusError(f"The folder {source} holds more than {limits.CORPUS_FILES} files, too many for a corpus")
    wanted, notes = _sift(sorted(entry.name for entry in entries if entry.is_file()))
    split = next((split for split in SPLITS if (folder / split).is_dir()), None)
    if split and not {"language", "pair"} & set(wanted.values()):
        inner = _read_folder(folder / split, source, name)
        return replace(inner, notes=(f"Read from its folder {split}.", *inner.notes))
    if not wanted:
        _refuse_archives(entry.name for entry in entries)
        raise CorpusError(
            f"The folder {source} holds no corpus; it needs files such as eng_Latn.txt and deu_Latn.txt, or one table"
        )
    return _read_files(name, source, _contents([folder / file_name for file_name in wanted]), wanted, notes)


def _contents(files: Sequence[Path]) -> dict[str, bytes]:
    """{name: content}. Raises CorpusError where they are too large, before they are read, and OSError."""
    _refuse_large({file.name: file.stat().st_size for file in files})
    contents = {file.name: limits.first_bytes(file, limits.CORPUS_FILE_BYTES) for file in files}
    _refuse_large({name: len(data) for name, data in contents.items()})
    return contents


def _refuse_archives(names: Iterable[str]) -> None:
    for name in names:
        if _suffix(name) in ARCHIVES:
            raise CorpusError(f"{name} is an archive, which is not read; unpack it, and give its files")


def _refuse_large(sizes: Mapping[str, int]) -> None:
    """Raise CorpusError where one of the files, or all, are too large for a corpus; sizes in bytes."""
    for name, size in sizes.items():
        if size > limits.CORPUS_FILE_BYTES:
            raise CorpusError(
                f"{name} has {size / limits.MIB:,.0f} MiB; at most {limits.CORPUS_FILE_BYTES // limits.MIB} MiB are "
                "read: leave out sentences"
            )
    if sum(sizes.values()) > limits.CORPUS_BYTES:
        raise CorpusError(
            f"The files have {sum(sizes.values()) / limits.MIB:,.0f} MiB together; at most "
            f"{limits.CORPUS_BYTES // limits.MIB} MiB are read: leave out languages or sentences"
        )


def _sift(names: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """({name: kind} of the files to read, notes on the others); one kind of data is read, the first that is there."""
    kinds = _kinds(names)
    data_kind = next((kind for kind in ("language", "pair", "table") if kind in kinds.values()), None)
    if data_kind is None:
        return {}, ()
    wanted = {name: kind for name, kind in kinds.items() if kind in (data_kind, "labels")}
    notes = []
    dev_files = [name for name in wanted if _suffix(name) == "dev"]
    if dev_files and any(_suffix(name) == "devtest" for name in wanted):
        notes.append(f"Both FLORES splits are there: devtest is read, {some_of(dev_files)} left aside.")
        wanted = {name: kind for name, kind in wanted.items() if name not in dev_files}
        kinds = _kinds([name for name in names if name not in dev_files])
    others = [name for name in kinds if name not in wanted and not name.startswith(".")]
    if others:
        notes.append(f"Left aside, since not part of the corpus: {some_of(others)}.")
    return wanted, tuple(notes)


def _kinds(names: Iterable[str]) -> dict[str, str]:
    """{file name: "language", "pair", "table", "labels" or "other"}, by the names alone."""
    return {name: _kind(name) for name in names}


def _kind(name: str) -> str:
    stem, suffix = _stem(name), _suffix(name)
    if name.lower().startswith(NAMES_OF_NO_DATA):
        return "other"
    if name.lower() == "labels.txt":
        return "labels"
    if suffix in ("csv", "parquet"):
        return "table"
    if suffix in ("tsv", "tab"):
        return "pair" if _pair_codes(stem) else "table"
    if suffix in ("txt", "dev", "devtest") and languages.is_language_code(stem):
        return "language"
    return "pair" if suffix == "txt" and _pair_codes(stem) else "other"


def _read_files(
    name: str, source: str, files: Mapping[str, bytes], kinds: Mapping[str, str], notes: tuple[str, ...]
) -> RawCorpus:
    def of_kind(kind: str) -> dict[str, bytes]:
        return {file_name: data for file_name, data in files.items() if kinds[file_name] == kind}

    language_files, pair_files, tables = of_kind("language"), of_kind("pair"), of_kind("table")
    if language_files and all(map(_is_pair_after_all, language_files, language_files.values())):
        language_files, pair_files = {}, language_files
    if language_files:
        columns = _columns_of_language_files(language_files)
    elif pair_files:
        columns = _columns_of_pairs(pair_files)
    elif len(tables) == 1:
        columns = _read_table(*next(iter(tables.items())))
    elif tables:
        raise CorpusError(f"{source} holds several tables ({some_of(tables)}); give one of them")
    else:
        raise CorpusError(
            f"{some_of(files) or source} is no corpus; name a text file by its language (eng_Latn.txt) or its pair "
            "(eng-deu.tsv), or give a .csv, .tsv or .parquet table"
        )
    for file_name, data in of_kind("labels").items():
        columns = replace(columns, labels=_labels(file_name, data, columns.texts))
    return _corpus(name, source, replace(columns, notes=(*notes, *columns.notes)))


def _columns_of_language_files(files: Mapping[str, bytes]) -> _Columns:
    texts: dict[str, Sequence[str]] = {}
    problems: dict[str, str] = {}
    file_of: dict[str, str] = {}
    for file_name, data in files.items():
        code = _stem(file_name)
        if code in file_of:
            raise CorpusError(f"{code} is there twice, as {file_of[code]} and {file_name}; leave one of them")
        file_of[code] = file_name
        try:
            texts[code] = _lines(file_name, data)
        except CorpusError as error:
            problems[code] = str(error)
    return _Columns(texts, problems)


def _labels(file_name: str, data: bytes, texts: Mapping[str, Sequence[str]]) -> list[str]:
    labels = _lines(file_name, data)
    line_counts = sorted({len(lines) for lines in texts.values()})
    if texts and len(labels) not in line_counts:
        counts = " or ".join(map(str, line_counts))
        raise CorpusError(
            f"{file_name} has {len(labels)} labels where the languages have {counts} lines; give one each"
        )
    return labels


def _columns_of_pairs(files: Mapping[str, bytes]) -> _Columns:
    codes_of = {file_name: _pair_codes(_stem(file_name)) for file_name in files}
    if not set.intersection(*(set(codes) for codes in codes_of.values())):
        raise CorpusError(f"The pair files ({some_of(files)}) have no language in common; give one of them")
    texts: dict[str, Sequence[str]] = {}
    file_of: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for file_name, data in files.items():
        try:
            pair = _read_pair(file_name, data)
        except CorpusError as error:
            unreadable[file_name] = str(error)
            continue
        for code, lines in pair.items():
            if code in texts and texts[code] != lines:
                differing = next((i for i, (a, b) in enumerate(zip(texts[code], lines, strict=False)) if a != b), None)
                line = min(len(texts[code]), len(lines)) + 1 if differing is None else differing + 1
                raise CorpusError(
                    f"{file_of[code]} and {file_name} are not parallel, their {code} differs at line {line}; "
                    "give one of them"
                )
            texts[code] = lines
            file_of[code] = file_name
    problems = {
        code: problem for file_name, problem in unreadable.items() for code in codes_of[file_name] if code not in texts
    }
    return _Columns(texts, problems)


def _pair_codes(stem: str) -> tuple[str, str] | tuple[()]:
    """The two codes of "eng-deu", "tatoeba.eng-deu" or "zh-Hans-en"; empty where the stem names no pair."""
    parts = stem.rpartition(".")[2].split("-")
    for cut in range(1, len(parts)):
        first, second = "-".join(parts[:cut]), "-".join(parts[cut:])
        if languages.is_language_code(first) and languages.is_language_code(second) and first != second:
            return first, second
    return ()


def _is_pair_after_all(file_name: str, data: bytes) -> bool:
    """pt-br.txt is Brazilian Portuguese or Portuguese and Breton: the latter where most lines hold a tab."""
    if not _pair_codes(_stem(file_name)):
        return False
    _refuse_long_lines(file_name, data)
    lines = [line for line in data.split(b"\n") if line.strip()]
    return 2 * sum(b"\t" in line for line in lines) > len(lines)


def _read_pair(file_name: str, data: bytes) -> dict[str, Sequence[str]]:
    pair = _pair_codes(_stem(file_name))
    if data.count(b"\t") > limits.CORPUS_CELLS:
        raise CorpusError(f"{file_name} has more than {limits.CORPUS_CELLS:,} cells; leave out sentences")
    rows = [line.split("\t") for line in _lines(file_name, data)]
    names_the_pair = [all(languages.matches(code, row) for code in pair) for row in rows[:2]]
    if names_the_pair in ([True], [True, False]):
        return _read_table(file_name, data).texts
    width = max(2, next(len(row) for row in rows if row != [""]))
    rows = [[""] * width if row == [""] else row for row in rows]
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise CorpusError(f"{file_name}, line {number}: {len(row)} columns where {width} are expected")
    cells_of_columns = list(zip(*rows, strict=True))
    of_text = [cells for cells in cells_of_columns if width == 2 or not _is_bookkeeping(cells, pair)]
    if len(of_text) != 2:
        raise CorpusError(f"{file_name} has {len(of_text)} columns of text; a pair file needs two, separated by a tab")
    return dict(zip(pair, of_text, strict=True))


def _is_bookkeeping(cells: Sequence[str], pair: Sequence[str]) -> bool:
    """A column of ids, of one language code repeated, or of licences."""
    values = {cell.strip() for cell in cells if cell.strip()}
    is_one_code = len(values) == 1 and bool(languages.matches(next(iter(values)), pair))
    return is_one_code or all(value.isdecimal() or value.startswith("CC-BY") for value in values)


def _lines(file_name: str, data: bytes) -> list[str]:
    """Lines of a text file, split at LF and CRLF alone, empty ones at the end dropped. Raises CorpusError if none."""
    lines = [line.removesuffix("\r") for line in _decode(file_name, data).split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise CorpusError(f"{file_name} is empty")
    return lines


def _decode(file_name: str, data: bytes) -> str:
    data = data.removeprefix(codecs.BOM_UTF8)
    _refuse_long_lines(file_name, data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"{file_name}, line {line}: not UTF-8; save the file as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CorpusError(f"{file_name}, line {line}: a NUL byte, so this is no text; save the file as UTF-8")
    return text


def _refuse_long_lines(file_name: str, data: bytes) -> None:
    """Raise CorpusError for too many lines, and for one that is too long to be a sentence."""
    if data.count(b"\n") > limits.CORPUS_LINES:
        raise CorpusError(f"{file_name} has more than {limits.CORPUS_LINES:,} lines; leave out sentences")
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    lengths = np.diff(ends, prepend=-1, append=len(data)) - 1
    longest = int(np.argmax(lengths))
    if lengths[longest] > limits.LINE_BYTES:
        raise CorpusError(
            f"{file_name}, line {longest + 1}: {lengths[longest] / limits.MIB:,.1f} MiB in one line; at most "
            f"{limits.LINE_BYTES / limits.MIB:g} MiB are read: give one sentence a line"
        )


def _stem(file_name: str) -> str:
    return file_name.rpartition(".")[0] or file_name


def _suffix(file_name: str) -> str:
    return file_name.rpartition(".")[2].lower()


# Reading tables ---------------------------------------------------------------------------------------------------


def _read_table(file_name: str, data: bytes) -> _Columns:
    if not data.strip():
        raise CorpusError(f"{file_name} is empty")
    headings, table = (_read_parquet if _suffix(file_name) == "parquet" else _read_csv)(file_name, data)
    return _columns_of_table(file_name, table, headings)


def _read_csv(file_name: str, data: bytes) -> tuple[list[str], dict[str, list[str]]]:
    is_tsv = _suffix(file_name) in ("tsv", "tab", "txt")
    text = _decode(file_name, data).replace("\r\n", "\n")
    separator, quoting = ("\t", csv.QUOTE_NONE) if is_tsv else (",", csv.QUOTE_MINIMAL)
    try:
        # counted before the table is made: a few letters a column are enough to fill a memory with columns
        first = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting), [])
    except csv.Error as error:
        raise CorpusError(f"{file_name} cannot be read as a table: {error}") from error
    _refuse_many_columns(file_name, len(first))
    parquet.refuse_many_cells(file_name, text.count("\n") + 1, len(first))
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            quoting=quoting,
            header=None,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            lineterminator="\n",
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise CorpusError(f"{file_name} cannot be read as a table: {str(error).strip()}") from error
    headings = [heading.strip() for heading in frame.iloc[0]]
    _check_headings(file_name, headings)
    return headings, {heading: frame[position].tolist()[1:] for position, heading in enumerate(headings)}


def _read_parquet(file_name: str, data: bytes) -> tuple[list[str], dict[str, list[Any]]]:
    """Headings, and the columns that are wanted."""

    def choose(headings: Sequence[str]) -> list[str]:
        _check_headings(file_name, headings)
        return _headings_to_read(headings)

    headings, table = parquet.read(file_name, data, choose)
    if set(FLORES_PLUS_COLUMNS) <= set(table):
        for heading, cells in table.items():
            if any(isinstance(cell, parquet.NoText) for cell in cells):
                raise CorpusError(f"{file_name}, column {heading}: {cells[0]} is no text")
    return headings, table


def _refuse_many_columns(where: str, count: int) -> None:
    if count > limits.CORPUS_COLUMNS:
        raise CorpusError(f"{where} has {count} columns; at most {limits.CORPUS_COLUMNS} are read")


def _check_headings(where: str, headings: Sequence[str]) -> None:
    _refuse_many_columns(where, len(headings))
    meanings = Counter(
        _code_of(heading) or heading.lower() for heading in headings if _code_of(heading) or _is_label(heading)
    )
    doubled = [meaning for meaning, count in meanings.items() if count > 1]
    if doubled:
        raise CorpusError(f"{where} has more than one column {some_of(doubled)}; name each column once")


def _headings_to_read(headings: Sequence[str]) -> list[str]:
    if set(FLORES_PLUS_COLUMNS) <= set(headings):
        return [heading for heading in headings if heading in (*FLORES_PLUS_COLUMNS, "variant", "glottocode")]
    return [heading for heading in headings if _code_of(heading) or _is_label(heading)]


def _code_of(heading: str) -> str:
    """The language code in a column's name, "eng_Latn" or "sentence_eng_Latn"; empty where it is none."""
    code = heading.strip().removeprefix("sentence_")
    return code if languages.is_language_code(code) else ""


def _is_label(heading: str) -> bool:
    return heading.strip().lower() in LABEL_COLUMNS


def _columns_of_table(where: str, table: Mapping[str, Sequence[Any]], headings: Sequence[str]) -> _Columns:
    if set(FLORES_PLUS_COLUMNS) <= set(table):
        table = _one_column_a_language(where, table)
        headings = list(table)
    texts: dict[str, list[str]] = {}
    problems: dict[str, str] = {}
    labels = None
    for heading, cells in table.items():
        code = _code_of(heading)
        if _is_label(heading):
            labels = [_text(cell) for cell in cells]
        elif code and not (code.lower() in CODES_THAT_OFTEN_HEAD_NO_TEXT and not _reads_as_text(cells)):
            odd_row = next((row for row, cell in enumerate(cells, 1) if not _is_text(cell)), None)
            if odd_row is None:
                texts[code] = [_text(cell) for cell in cells]
            else:
                odd_cell = repr(cells[odd_row - 1])
                problems[code] = f"{where}, column {heading}, row {odd_row}: {odd_cell:.40} is no text"
    if len(texts) + len(problems) < 2:
        raise CorpusError(
            f"{where} has {len(texts) + len(problems)} language columns, at least 2 are needed; its columns are "
            f"{some_of(headings)}; name a column by its language, such as eng_Latn"
        )
    n_rows = max((row for cells in texts.values() for row, cell in enumerate(cells, 1) if cell.strip()), default=0)
    if texts and not n_rows:
        raise CorpusError(f"{where} has headings but no text")
    ignored = [
        heading for heading in headings if not _is_label(heading) and _code_of(heading) not in {*texts, *problems}
    ]
    return _Columns(
        texts={code: cells[:n_rows] for code, cells in texts.items()},
        problems=problems,
        labels=labels[:n_rows] if labels is not None else None,
        notes=(f"Columns left aside, since they name no language: {some_of(ignored)}.",) if ignored else (),
    )


def _one_column_a_language(where: str, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    """FLORES+ form, one row a language and sentence, to one column a language by sentence id, "" where one is missing.

    Two varieties of a language in one script are told apart by their variant, or else by their glottocode.
    """
    bare = [f"{language}_{script}" for language, script in zip(rows["iso_639_3"], rows["iso_15924"], strict=True)]
    codes = [
        f"{code}_{variant}" if variant else code for code, variant in zip(bare, _or_empty(rows, "variant"), strict=True)
    ]
    occurrences = Counter(zip(codes, rows["id"], strict=True))
    doubled = {code for (code, _), count in occurrences.items() if count > 1}
    codes = [
        f"{code}_{glottocode}" if code in doubled and glottocode else code
        for code, glottocode in zip(codes, _or_empty(rows, "glottocode"), strict=True)
    ]
    position = {sentence_id: place for place, sentence_id in enumerate(dict.fromkeys(rows["id"]))}
    columns: dict[str, list[str]] = {code: [""] * len(position) for code in dict.fromkeys(codes)}
    seen: set[tuple[str, Any]] = set()
    for code, sentence_id, text in zip(codes, rows["id"], rows["text"], strict=True):
        if (code, sentence_id) in seen:
            raise CorpusError(f"{where} holds sentence {sentence_id} of {code} twice; choose a config with one variety")
        seen.add((code, sentence_id))
        columns[code][position[sentence_id]] = text
    return columns


def _or_empty(rows: Mapping[str, Sequence[Any]], heading: str) -> Sequence[Any]:
    return rows[heading] if heading in rows else [""] * len(rows["id"])


def _is_text(cell: Any) -> bool:
    return cell is None or cell != cell or (isinstance(cell, str) and "\0" not in cell)


def _text(cell: Any) -> str:
    return "" if cell is None or cell != cell else str(cell)


def _reads_as_text(cells: Sequence[Any]) -> bool:
    """A column headed "id" is Indonesian, not an identifier, where most cells are words with spaces between."""
    spoken = [bool(re.search(r"[^\W\d_]\s+[^\W\d_]", _text(cell))) for cell in cells if _text(cell).strip()]
    return 2 * sum(spoken) > len(spoken)


# A corpus of what was read ----------------------------------------------------------------------------------------


def _corpus(name: str, source: str, columns: _Columns) -> RawCorpus:
    if not columns.texts:
        reasons = list(dict.fromkeys(columns.problems.values()))
        raise CorpusError("; ".join(reasons[:3]) or f"{source} holds no language")
    texts = {code: tuple(map(normalise, lines)) for code, lines in columns.texts.items()}
    return RawCorpus(
        name=name,
        source=source,
        texts=texts,
        changed={code: sum(map(str.__ne__, columns.texts[code], lines)) for code, lines in texts.items()},
        problems=dict(columns.problems),
        labels=None if columns.labels is None else tuple(map(normalise, columns.labels)),
        notes=tuple(columns.notes),
    )


def normalise(text: str) -> str:
    """Text as every corpus is read: Unicode NFC, without white space at its ends."""
    return unicodedata.normalize("NFC", text).strip()


# Choosing ---------------------------------------------------------------------------------------------------------


def _resolve(raw: RawCorpus, code: str) -> str:
    known = (*raw.languages, *raw.problems)
    found = languages.matches(code.strip(), known)
    if len(found) == 1:
        return found[0]
    if found:
        raise CorpusError(f"{code} may mean {' or '.join(found)} in the corpus {raw.name}; write one of them")
    if len(code) > limits.NAME_LETTERS:
        raise CorpusError(f"The corpus {raw.name} has no language {code[:40]}...; {_what_there_is(raw)}")
    spellings = {spelling: other for other in known for spelling in (other.lower(), languages.name(other).lower())}
    alike = dict.fromkeys(spellings[s] for s in difflib.get_close_matches(code.strip().lower(), spellings, n=3))
    hint = f" Did you mean {' or '.join(alike)}?" if alike else ""
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
