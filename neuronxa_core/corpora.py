"""Parallel sentences: read, normalise, validate, choose.

Every text is normalised to Unicode NFC and stripped: the same Vietnamese text in decomposed form more than halved its
alignment. A corpus is read whole (`read`, `read_uploads`, `read_hub`); `select` takes the pivot, the languages and the
sentences of an experiment from it, and says what is wrong with them before any model runs.
"""

from __future__ import annotations

import csv
import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import xxhash

from neuronxa_core import languages as codes
from neuronxa_core.errors import CorpusError

DEMO_FOLDER = Path(__file__).parent / "demo" / "corpus"
TABLES = {".csv": ",", ".tsv": "\t", ".parquet": ""}
TEXTS = (".txt", ".dev", ".devtest")
LABELS = ("labels", "label")
MOST_COLUMNS = 1000
LINES_NAMED = 10
# a line is oddly long or short where its length, against the pivot's, is this many times off the language's median
ODD_RATIO = 4.0
FEWEST_LETTERS = 4
FULL_NAMES = {"Hans": "Han", "Hant": "Han", "Jpan": "Han Hira Kana", "Kore": "Hang Han", "Hang": "Hang Han"}
# how unicodedata's character names begin, by script
NAME_PREFIX = {
    "CJK": "Han", "HIRAGANA": "Hira", "KATAKANA": "Kana", "HALFWIDTH": "Kana", "HANGUL": "Hang", "LATIN": "Latn",
    "FULLWIDTH": "Latn", "CYRILLIC": "Cyrl", "GREEK": "Grek", "ARABIC": "Arab", "HEBREW": "Hebr", "THAI": "Thai",
    "DEVANAGARI": "Deva", "BENGALI": "Beng", "GURMUKHI": "Guru", "GUJARATI": "Gujr", "ORIYA": "Orya", "TAMIL": "Taml",
    "TELUGU": "Telu", "KANNADA": "Knda", "MALAYALAM": "Mlym", "SINHALA": "Sinh", "LAO": "Laoo", "TIBETAN": "Tibt",
    "MYANMAR": "Mymr", "GEORGIAN": "Geor", "ETHIOPIC": "Ethi", "KHMER": "Khmr", "ARMENIAN": "Armn", "OL": "Olck",
    "TIFINAGH": "Tfng", "MONGOLIAN": "Mong", "THAANA": "Thaa", "SYRIAC": "Syrc", "CHEROKEE": "Cher",
}  # fmt: skip


@dataclass(frozen=True)
class RawCorpus:
    """All that a source holds.

    texts: code -> lines, "" for an empty one. problems: code -> why the language could not be read.
    """

    name: str
    source: str
    texts: Mapping[str, tuple[str, ...]]
    changed: Mapping[str, int]
    """How many lines of a language NFC or stripping changed."""
    problems: Mapping[str, str]
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the readable languages, sorted."""
        return tuple(sorted(self.texts))


@dataclass(frozen=True)
class Finding:
    """Something about a corpus that a user should know. language: a code, "" for the whole corpus."""

    language: str
    kind: str
    severity: Literal["error", "warning", "info"]
    count: int
    lines: tuple[int, ...]
    """The first ten line numbers, from 1, in the source."""
    message: str


@dataclass(frozen=True)
class Corpus:
    """The sentences of an experiment. texts: code -> texts of the chosen rows, of pivot and languages."""

    name: str
    pivot: str
    languages: tuple[str, ...]
    texts: Mapping[str, tuple[str, ...]]
    lines: tuple[int, ...]
    """Line in the source, from 1, of each chosen row."""
    usable: tuple[int, ...]
    """The chosen rows, from 0, that are empty in no language."""
    labels: tuple[str, ...] | None
    findings: tuple[Finding, ...]


def normalise(text: str) -> str:
    """NFC, without white space at the ends."""
    return unicodedata.normalize("NFC", text).strip()


def split_lines(content: bytes, file: str) -> list[str]:
    """Lines of a UTF-8 file, ended by LF or CRLF alone; a byte-order mark and empty lines at the end are dropped.

    Raises CorpusError that names file and line for bytes that are not UTF-8 and for NUL.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise CorpusError(
            f"{file}, line {line}: not UTF-8 (byte {content[error.start]:#04x}); save the file as UTF-8"
        ) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise CorpusError(f"{file}, line {line}: a NUL character; this is not a text file")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _assemble(
    name: str,
    source: str,
    columns: Mapping[str, Sequence[str]],
    problems: Mapping[str, str],
    labels: Sequence[str] | None,
    notes: Sequence[str],
) -> RawCorpus:
    """Normalise every column; refuse a corpus with nothing to read."""
    if not columns and problems:
        raise CorpusError(f"no language of {source} could be read: {next(iter(problems.values()))}")
    texts, changed = {}, {}
    for code, lines in columns.items():
        texts[code] = tuple(normalise(line) for line in lines)
        changed[code] = sum(a != b for a, b in zip(lines, texts[code], strict=True))
    kept = None if labels is None else tuple(normalise(label) for label in labels)
    return RawCorpus(name, source, texts, changed, dict(problems), kept, tuple(notes))


def read(source: str | Path) -> RawCorpus:
    """`demo`, a folder, a table or pair file, or `hub:owner/name[:config[:split]]`. Raises CorpusError."""
    text = str(source)
    if text == "demo":
        return _read_folder(DEMO_FOLDER, "demo", "demo")
    if text.startswith("hub:"):
        dataset, *rest = text.removeprefix("hub:").split(":")
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", dataset) or len(rest) > 2:
            raise CorpusError(f"{text!r} names no hub data set; write hub:owner/name, hub:owner/name:config:split")
        config, split = [*rest, "", ""][:2]
        return read_hub(dataset, config=config or None, split=split or "devtest")
    path = Path(text).expanduser()
    try:
        if path.is_dir():
            return _read_folder(path, path.resolve().name, text)
        if path.is_file():
            return _read_files([(path.name, path.read_bytes())], path.stem, text)
    except OSError as error:
        raise CorpusError(f"{text} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise CorpusError(f"{text!r} is no path: {error}") from error
    raise CorpusError(f"there is no corpus at {text}; give a folder, a CSV, TSV or Parquet file, or demo")


def read_uploads(files: Sequence[tuple[str, bytes]]) -> RawCorpus:
    """Uploaded files of (name, content): one table or pair file, or one text file a language. Names are not trusted."""
    safe = [(_base_name(name), content) for name, content in files]
    name = PurePath(safe[0][0]).stem if len(safe) == 1 else "upload"
    return _read_files(safe, name, "the upload")


def keep_uploads(files: Sequence[tuple[str, bytes]], folder: Path) -> Path:
    """Keep uploaded files below `folder`, named by their content, so that a link can name them.

    Returns the path to `read`: the file where there is one table or pair file, else the folder of text files.
    """
    safe = sorted((_base_name(name), content) for name, content in files)
    digest = xxhash.xxh3_128()
    for name, content in safe:
        digest.update(name.encode() + b"\0" + len(content).to_bytes(8, "little") + content)
    kept = folder / digest.hexdigest()
    kept.mkdir(parents=True, exist_ok=True)
    for name, content in safe:
        if not (kept / name).is_file():
            (kept / f".{name}.part").write_bytes(content)
            (kept / f".{name}.part").replace(kept / name)
    return kept / safe[0][0] if len(safe) == 1 else kept


def _base_name(name: str) -> str:
    base = re.sub(r"[^\w.,+@ -]", "_", PurePath(name.replace("\\", "/")).name).lstrip(". ")[-120:]
    if not base:
        raise CorpusError(f"an uploaded file has no usable name ({name[:40]!r})")
    return base


def _read_folder(folder: Path, name: str, source: str) -> RawCorpus:
    subfolders = {child.name: child for child in folder.iterdir() if child.is_dir()}
    files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    if "devtest" in subfolders and not any(_language_of(f.name) for f in files):
        folder = subfolders["devtest"]
        files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    # what is neither a language nor the labels is not read, however large
    wanted = [f for f in files if _language_of(f.name) or _pair_of(f.name) or PurePath(f.name).stem in LABELS]
    read = _read_files([(f.name, f.read_bytes()) for f in wanted], name, source)
    ignored = [f.name for f in files if f not in wanted]
    note = (f"ignored, not named by a language code: {', '.join(ignored[:5])}{' …' if len(ignored) > 5 else ''}",)
    return RawCorpus(**{**read.__dict__, "notes": read.notes + (note if ignored else ())})


def _language_of(file: str) -> str | None:
    """The code that a text file is named by, None for any other file."""
    path = PurePath(file)
    return path.stem if path.suffix.lower() in TEXTS and codes.is_language_code(path.stem) else None


def _pair_of(file: str) -> tuple[str, str] | None:
    """(`eng`, `deu`) of eng-deu.tsv, tatoeba.eng-deu.txt and the like."""
    path = PurePath(file)
    if path.suffix.lower() not in (".txt", ".tsv"):
        return None
    found = re.fullmatch(r"(?:.*\.)?([A-Za-z_]+)-([A-Za-z_]+)", path.stem)
    if found is None or not all(codes.is_language_code(code) for code in found.groups()):
        return None
    return found.group(1), found.group(2)


def _read_files(files: Sequence[tuple[str, bytes]], name: str, source: str) -> RawCorpus:
    """Tables, pair files or one text file a language, from their contents."""
    if not files:
        raise CorpusError(
            f"{source} holds no file named by a language, such as eng_Latn.txt or eng_Latn.devtest, and no table"
        )
    tables = [(file, content) for file, content in files if PurePath(file).suffix.lower() in TABLES]
    pairs = [(file, content) for file, content in files if _pair_of(file)]
    if len(files) == 1 and tables and not pairs:
        return _read_table(*tables[0], name, source)
    if pairs:
        return _read_pairs(pairs, name, source)
    columns: dict[str, Sequence[str]] = {}
    problems: dict[str, str] = {}
    labels = None
    notes = []
    # FLORES' devtest is preferred where a folder holds both parts
    for file, content in sorted(files, key=lambda f: PurePath(f[0]).suffix.lower() != ".devtest"):
        if PurePath(file).stem in LABELS:
            labels = split_lines(content, file)
            continue
        code = _language_of(file)
        if code is None:
            notes.append(f"ignored, not named by a language code: {file}")
        elif code in columns or code in problems:
            notes.append(f"ignored, {code} was read from another file: {file}")
        else:
            try:
                lines = split_lines(content, file)
                if not lines:
                    raise CorpusError(f"{file} is empty")
                columns[code] = lines
            except CorpusError as error:
                problems[code] = str(error)
    if not columns and not problems:
        raise CorpusError(
            f"no file of {source} is named by a language code ({', '.join(f for f, _ in files[:5])}); "
            "name them like eng_Latn.txt"
        )
    if labels is not None and columns:
        counts = Counter(len(lines) for lines in columns.values())
        if len(labels) != counts.most_common(1)[0][0]:
            raise CorpusError(f"{source}: there are {len(labels)} labels for {counts.most_common(1)[0][0]} lines")
    return _assemble(name, source, columns, problems, labels, notes)


def _read_table(file: str, content: bytes, name: str, source: str) -> RawCorpus:
    """CSV, TSV or Parquet with one column a language; other columns are ignored."""
    if PurePath(file).suffix.lower() == ".parquet":
        table = _parquet_columns(file, content)
    else:
        table = _delimited_columns(file, content, TABLES[PurePath(file).suffix.lower()])
    languages = {column: cells for column, cells in table.items() if codes.is_language_code(column)}
    languages = {column: cells for column, cells in languages.items() if column not in LABELS and column != "id"}
    labels = next((table[column] for column in LABELS if column in table), None)
    if len(languages) < 2:
        raise CorpusError(
            f"{file} has {len(languages)} columns headed by a language code and needs two or more; its columns are "
            f"{', '.join(list(table)[:12])}"
        )
    ignored = [column for column in table if column not in languages and column not in LABELS]
    notes = [f"ignored, not headed by a language code: {', '.join(ignored[:8])}"] if ignored else []
    length = max((len(c) for c in languages.values()), default=0)
    while length and not any(cells[length - 1].strip() for cells in languages.values()):
        length -= 1
    if length == 0:
        raise CorpusError(f"{file} has no rows below its heading")
    columns = {column: cells[:length] for column, cells in languages.items()}
    return _assemble(name, source, columns, {}, None if labels is None else labels[:length], notes)


def _parquet_columns(file: str, content: bytes) -> dict[str, list[str]]:
    try:
        opened = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        names = opened.schema_arrow.names
        _check_headings(file, names)
        wanted = [n for n in names if codes.is_language_code(n) or n in LABELS]
        table = opened.read(columns=wanted)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise CorpusError(f"{file} is not a readable Parquet file: {' '.join(str(error).split())[:200]}") from error
    columns: dict[str, list[str]] = {n: [] for n in names}
    for n in wanted:
        cells = table.column(n).to_pylist()
        columns[n] = ["" if cell is None else str(cell) for cell in cells]
        if any("\0" in cell for cell in columns[n]):
            raise CorpusError(f"{file}, column {n}: a NUL character; this is not text")
    return columns


def _delimited_columns(file: str, content: bytes, delimiter: str) -> dict[str, list[str]]:
    text = "\n".join(split_lines(content, file))
    csv.field_size_limit(1 << 24)
    try:
        rows = list(csv.reader(text.split("\n") if delimiter == "\t" else _keepends(text), delimiter=delimiter,
                               quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL))  # fmt: skip
    except csv.Error as error:
        raise CorpusError(f"{file} is not readable as a table: {error}") from error
    if not rows or not any(rows[0]):
        raise CorpusError(f"{file} is empty")
    headings = [normalise(heading) for heading in rows[0]]
    _check_headings(file, headings)
    for number, row in enumerate(rows[1:], 2):
        if len(row) > len(headings):
            raise CorpusError(f"{file}, row {number}: {len(row)} cells under {len(headings)} headings; quote the texts")
    return {
        heading: [row[k] if k < len(row) else "" for row in rows[1:]] for k, heading in enumerate(headings) if heading
    }


def _keepends(text: str) -> list[str]:
    """Lines with their LF, as csv wants them for cells that run over several lines."""
    return [line + "\n" for line in text.split("\n")]


def _check_headings(file: str, headings: Sequence[str]) -> None:
    if len(headings) > MOST_COLUMNS:
        raise CorpusError(f"{file} has {len(headings):,} columns; at most {MOST_COLUMNS:,} are read")
    twice = [heading for heading, count in Counter(headings).items() if count > 1 and heading]
    if twice:
        raise CorpusError(f"{file} has more than one column headed {twice[0]!r}")


def _read_pairs(files: Sequence[tuple[str, bytes]], name: str, source: str) -> RawCorpus:
    """Tab-separated pair files; several of them need the same first or second side, line by line."""
    columns: dict[str, list[str]] = {}
    for file, content in files:
        pair = _pair_of(file)
        sides: tuple[list[str], list[str]] = ([], [])
        for number, line in enumerate(split_lines(content, file), 1):
            cells = line.split("\t")
            if len(cells) < 2:
                raise CorpusError(f"{file}, line {number}: one text, but a pair file has two, separated by a tab")
            for side, cell in zip(sides, cells[-2:] if len(cells) == 4 else cells[:2], strict=True):
                side.append(cell)
        if not sides[0]:
            raise CorpusError(f"{file} is empty")
        for code, side in zip(pair or (), sides, strict=True):
            if columns.setdefault(code, side) != side:
                raise CorpusError(
                    f"the pair files of {source} do not hold the same sentences of {code}; give one of them, "
                    f"such as {file}"
                )
    return _assemble(name, source, columns, {}, None, [])


def read_hub(
    dataset: str, *, config: str | None = None, split: str = "devtest", revision: str | None = None
) -> RawCorpus:
    """A data set of the hub, through the optional `datasets` library.

    Either rows of one sentence (FLORES+: iso_639_3, iso_15924, id, text), or one column a language, headed by its code
    or `sentence_<code>`. Raises CorpusError.
    """
    try:
        import datasets
    except ImportError as error:
        raise CorpusError("data sets of the hub need the datasets library: pip install datasets") from error
    try:
        table = datasets.load_dataset(dataset, config, split=split, revision=revision)
        names = list(table.column_names)
        frame = table.to_pandas()
    except Exception as error:
        cause = " ".join(str(error).split())[:200]
        raise CorpusError(f"the data set {dataset} could not be read from the hub: {cause}") from error
    if {"iso_639_3", "text", "id"} <= set(names):
        code = frame["iso_639_3"]
        if "iso_15924" in names:
            code = code + "_" + frame["iso_15924"]
        wide = (
            frame.assign(_code=code).drop_duplicates(["id", "_code"]).pivot(index="id", columns="_code", values="text")
        )
        columns = {str(c): wide[c].where(wide[c].notna(), "").astype(str).tolist() for c in wide.columns}
    else:
        headed = {n: n.removeprefix("sentence_") for n in names}
        columns = {
            code: ["" if pd.isna(cell) else str(cell) for cell in frame[n]]
            for n, code in headed.items()
            if codes.is_language_code(code) and n != "id"
        }
    if len(columns) < 2:
        raise CorpusError(
            f"the data set {dataset} has no two columns of languages; its columns are {', '.join(names[:12])}"
        )
    return _assemble(dataset.rsplit("/", 1)[-1], f"hub:{dataset}", columns, {}, None, [])


def _resolve(raw: RawCorpus, code: str, what: str) -> str:
    """The corpus's own code for a code in any form."""
    if code in raw.texts:
        return code
    if code in raw.problems:
        raise CorpusError(f"{what} {code} cannot be read: {raw.problems[code]}")
    same = codes.matches(code, raw.languages)
    if len(same) == 1:
        return same[0]
    if same:
        raise CorpusError(f"{what} {code} could be {' or '.join(same)}; write which")
    close = difflib.get_close_matches(code, raw.languages, 3, 0.6)
    shown = ", ".join(raw.languages[:12]) + (" …" if len(raw.languages) > 12 else "")
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {shown}"
    raise CorpusError(f"{what} {code!r} is not in the corpus {raw.name}; {hint}")


def select(
    raw: RawCorpus,
    pivot: str,
    languages: Sequence[str] | None = None,
    sentences: int | None = None,
    seed: int | None = None,
) -> Corpus:
    """The sentences of an experiment, checked.

    languages: codes in any form; None for all but the pivot. sentences: the first so many lines, or with a seed so
    many drawn without replacement and kept in the source's order; None for all. A row that is empty in one language is
    not `usable` in any. Raises CorpusError for what would make a score meaningless.
    """
    pivot = _resolve(raw, pivot, "the pivot")
    if languages is None:
        if raw.problems:
            raise CorpusError(f"{next(iter(raw.problems.values()))}; or choose the languages without it")
        chosen = tuple(code for code in raw.languages if code != pivot)
    else:
        chosen = tuple(dict.fromkeys(_resolve(raw, code, "the language") for code in languages))
    if not chosen:
        raise CorpusError(f"the corpus {raw.name} has no language beside the pivot {pivot}")
    length = len(raw.texts[pivot])
    for code in chosen:
        if len(raw.texts[code]) != length:
            raise CorpusError(
                f"{code} has {len(raw.texts[code])} lines, but {pivot} has {length}: a line that is missing shifts all "
                "after it, so they are not parallel"
            )
    if sentences is not None and not 2 <= sentences <= length:
        raise CorpusError(f"{sentences} sentences were asked for; the corpus {raw.name} has {length}, and 2 are needed")
    count = length if sentences is None else sentences
    rows = np.arange(count)
    if seed is not None and count < length:
        rows = np.sort(np.random.default_rng(seed).choice(length, count, replace=False))
    everyone = tuple(dict.fromkeys((pivot, *chosen)))
    texts = {code: tuple(raw.texts[code][row] for row in rows) for code in everyone}
    usable = tuple(k for k in range(count) if all(texts[code][k] for code in everyone))
    if len(usable) < 2:
        raise CorpusError(f"only {len(usable)} of {count} lines have a text in all of the {len(everyone)} languages")
    lines = tuple(int(row) + 1 for row in rows)
    fits = raw.labels is not None and len(raw.labels) == length
    labels = tuple(raw.labels[row] for row in rows) if fits else None
    findings = _findings(raw, pivot, everyone, texts, lines, usable)
    return Corpus(raw.name, pivot, chosen, texts, lines, usable, labels, tuple(findings))


def _findings(raw, pivot, everyone, texts, lines, usable) -> list[Finding]:
    """What a user should know before a model runs, the whole corpus first, then by language."""
    found: list[Finding] = []

    def note(language: str, kind: str, rows: Sequence[int], message: str, severity: str = "warning") -> None:
        if rows:
            where = tuple(lines[row] for row in rows[:LINES_NAMED])
            at = f" (line {', '.join(map(str, where[:5]))}{' …' if len(rows) > 5 else ''})"
            subject = f"{language}: " if language else ""
            found.append(Finding(language, kind, severity, len(rows), where, f"{subject}{message}{at}"))

    dropped = [row for row in range(len(lines)) if row not in set(usable)]
    note("", "dropped", dropped, f"{len(dropped)} of {len(lines)} rows are empty in some language and left out of all")
    for text in raw.notes:
        found.append(Finding("", "note", "info", 1, (), text))
    changed = sum(raw.changed.get(code, 0) for code in everyone)
    if changed:
        found.append(
            Finding(
                "", "normalised", "info", changed, (), f"{changed} lines were changed by NFC normalisation or stripping"
            )
        )
    for code, problem in raw.problems.items():
        found.append(
            Finding(code, "unreadable", "warning", 1, (), f"{code} was not chosen and cannot be read: {problem}")
        )
    for code in raw.languages:
        if code not in texts and len(raw.texts[code]) != len(raw.texts[pivot]):
            message = f"{code} was not chosen; it has {len(raw.texts[code])} lines, not {len(raw.texts[pivot])}"
            found.append(Finding(code, "line count", "warning", 1, (), message))
    for code in everyone:
        own, other = texts[code], texts[pivot]
        empty = [row for row, text in enumerate(own) if not text]
        note(code, "empty", empty, f"{len(empty)} empty lines")
        times = Counter(text for text in own if text)
        twice = [row for row, text in enumerate(own) if text and times[text] > 1]
        note(code, "duplicate", twice, f"{len(twice)} lines stand more than once: ties, which never count as aligned")
        if code != pivot:
            same = [row for row, text in enumerate(own) if text and text == other[row]]
            note(code, "untranslated", same, f"{len(same)} lines are the same as in {pivot}: untranslated?")
            odd = _odd_lengths(own, other)
            note(
                code, "length", odd, f"{len(odd)} lines are more than {ODD_RATIO:g} times longer or shorter than usual"
            )
        strange = _unexpected_script(code, own)
        note(code, "script", strange, f"{len(strange)} lines are mostly not in the script {codes.script(code)}")
    return found


def _odd_lengths(own: Sequence[str], other: Sequence[str]) -> list[int]:
    """Rows whose length ratio is more than ODD_RATIO times off the median ratio of the two languages."""
    both = [row for row in range(len(own)) if own[row] and other[row]]
    if len(both) < 5:
        return []
    ratio = np.log([len(own[row]) / len(other[row]) for row in both])
    return [both[k] for k in np.flatnonzero(np.abs(ratio - np.median(ratio)) > np.log(ODD_RATIO))]


def _unexpected_script(code: str, own: Sequence[str]) -> list[int]:
    """Rows of at least four letters, more than half of which are in another script than the code's."""
    script = codes.script(code)
    expected = set(FULL_NAMES.get(script or "", script or "").split())
    if not expected <= set(NAME_PREFIX.values()) or not expected:
        return []
    strange = []
    for row, text in enumerate(own):
        scripts = [_SCRIPT_OF.get(c) for c in text if c.isalpha()]
        if len(scripts) >= FEWEST_LETTERS and 2 * sum(s in expected for s in scripts) < len(scripts):
            strange.append(row)
    return strange


class _Scripts(dict):
    """Script of a character by its Unicode name, remembered."""

    def get(self, character: str) -> str | None:  # type: ignore[override]
        if character not in self:
            self[character] = NAME_PREFIX.get(unicodedata.name(character, "?").split()[0])
        return self[character]


_SCRIPT_OF = _Scripts()
