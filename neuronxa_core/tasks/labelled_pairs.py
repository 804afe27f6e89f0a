"""Labelled sentences or pairs of sentences in several languages, as XNLI's files have them: TSV or JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuronxa_core.corpora import parquet, reading
from neuronxa_core.corpora.parallel import normalise
from neuronxa_core.corpora.texts import json_of, lines_of, stem, suffix
from neuronxa_core.errors import CorpusError
from neuronxa_core.host import limits
from neuronxa_core.wording import some_of

SENTENCES = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("sentence",), ("text",))
LABELS = ("gold_label", "label")
IDS = ("pairID", "id")
NO_LABEL = ("", "-")
HINT = "name columns language, gold_label or label, and sentence1 and sentence2, or sentence"


@dataclass(frozen=True)
class LabelledTexts:
    """Items that are the same in every language, with one label each.

    texts: language -> the first sentence of every item and, of pairs, the second: [1 or 2][item]. labels: [item].
    notes: what was left aside, in sentences.
    """

    name: str
    texts: Mapping[str, tuple[tuple[str, ...], ...]]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Row:
    where: str
    id: str
    label: str
    texts: tuple[str, ...]


def read(path: Path, languages: Sequence[str] = ()) -> LabelledTexts:
    """The labelled sentences of a file, or of a folder's .tsv and .jsonl files; of some languages, or of all.

    hub:owner/name[:config[:split]] is a data set of the hub, of its split test unless given: its rows are those of such
    a file, or have the sentences of all languages, as the config all_languages of XNLI.

    A row's language is in its column `language`, or else the file's name says it: en.tsv and xnli.test.en.tsv are en.
    Rows of languages belong together by pairID or id, where every file has it, or else by their order. Items that not
    every language has, or that have no label ("" or XNLI's "-"), are left aside, which a note says.

    Raises CorpusError for what cannot be read, is no such file, or holds languages that do not fit each other.
    """
    if str(path).startswith("hub:"):
        rows_of = {str(path): _hub_rows(str(path))}
    else:
        rows_of = {name: _rows(name, data) for name, data in _contents(path.expanduser()).items()}
    found: dict[str, list[_Row]] = {}
    file_of: dict[str, str] = {}
    for name, rows in rows_of.items():
        for language, row in rows:
            if file_of.setdefault(language, name) != name:
                raise CorpusError(f"{language} is in both {file_of[language]} and {name}; give one of them alone")
            found.setdefault(language, []).append(row)
    missing = [code for code in languages if code not in found]
    if missing:
        raise CorpusError(f"{path.name} has no language {missing[0]}; there are {some_of(list(found), 30)}")
    return _joined(path.name, {code: found[code] for code in languages or found})


def _contents(path: Path) -> dict[str, bytes]:
    """The bytes of a file, or of each file of a folder, by name."""
    try:
        files = sorted(f for end in ("tsv", "jsonl") for f in path.glob(f"[!.]*.{end}")) if path.is_dir() else [path]
        contents = {file.name: limits.first_bytes(file, limits.CORPUS_FILE_BYTES) for file in files}
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror or error}") from error
    if not files:
        raise CorpusError(f"{path} holds no .tsv or .jsonl file; give a folder or file of labelled sentences")
    return contents


def _hub_rows(source: str) -> Iterator[tuple[str, _Row]]:
    """(language, row) of every row of a data set of the hub; its config names the language where no column does."""
    dataset, config, split = reading.parse_hub(source)

    def records(rows: Any) -> list[tuple[str, dict]]:
        parquet.check_cells(dataset, getattr(rows, "num_rows", 0), len(rows.column_names))
        names = getattr(rows.features.get("label"), "names", None)
        found = []
        for number, row in enumerate(rows, 1):
            if names:
                row = {**row, "label": names[row["label"]] if row["label"] >= 0 else ""}
            by_language = {column: _translations(cell) for column, cell in row.items() if isinstance(cell, dict)}
            parts = [
                {**row, "language": code, **{c: one.get(code, "") for c, one in by_language.items()}}
                for code in next(iter(by_language.values()), ())
            ] or [row]
            found += [(f"{dataset}, row {number}", part) for part in parts]
        return found

    return _checked(dataset, reading.from_hub(records, dataset, config, split or "test"), config or "")


def _translations(cell: Mapping[str, Any]) -> dict[str, str]:
    """A cell of the `datasets` library that has a text in several languages, by language."""
    if set(cell) == {"language", "translation"}:
        return dict(zip(cell["language"], cell["translation"], strict=True))
    return dict(cell)


def _rows(name: str, data: bytes) -> Iterator[tuple[str, _Row]]:
    """(language, row) of every row of a file."""
    if len(data) > limits.CORPUS_FILE_BYTES:
        raise CorpusError(f"{name} is larger than {limits.CORPUS_FILE_BYTES // limits.MIB} MiB; give fewer rows")
    lines = lines_of(name, data)
    records = _json_records(name, lines) if suffix(name) == "jsonl" else _tsv_records(name, lines)
    return _checked(name, records, stem(name).rpartition(".")[2])


def _checked(name: str, records: Iterable[tuple[str, dict]], language_of_all: str) -> Iterator[tuple[str, _Row]]:
    """(language, row) of records (where, cells by heading). language_of_all: where no column says it."""
    count, columns = 0, None
    for where, record in records:
        columns = columns or _columns(name, record)
        values = [_cell(where, column, record.get(column)) for column in columns]
        language, label, id_, *texts = values
        language = language or ("" if "language" in record else language_of_all)
        if not language:
            raise CorpusError(f"{where}: the language is empty; fill it in")
        empty = next((c for c, text in zip(columns[3:], texts, strict=True) if not text), None)
        if empty:
            raise CorpusError(f"{where}: {empty} is empty; fill it in or leave the item out in every language")
        count += 1
        yield language, _Row(where, id_, label, tuple(texts))
    if not count:
        raise CorpusError(f"{name} has headings but no rows; give a file with labelled sentences")


def _tsv_records(name: str, lines: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows by heading; quotation marks are text, as in XNLI's files."""
    headings = lines[0].split("\t")
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) != len(headings):
            one = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            raise CorpusError(
                f"{name}, line {number}: {one} where there are {len(headings)} headings; separate cells by one tab each"
            )
        yield f"{name}, line {number}", dict(zip(headings, cells, strict=True))


def _json_records(name: str, lines: list[str]) -> Iterator[tuple[str, dict]]:
    for number, line in enumerate(lines, 1):
        where = f"{name}, line {number}"
        try:
            record = json_of(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise CorpusError(f"{where} is no JSON object; give one object per line, as in XNLI's .jsonl files")
        yield where, record


def _columns(name: str, record: Mapping[str, object]) -> tuple[str, ...]:
    """Names of the columns of language, label, id and one or two sentences; the first and third may not be there."""
    label = next((column for column in LABELS if column in record), None)
    sentences = next((columns for columns in SENTENCES if all(column in record for column in columns)), None)
    if label is None or sentences is None:
        lacking = " and ".join(["labels"] * (label is None) + ["sentences"] * (sentences is None))
        raise CorpusError(f"{name} has no column of {lacking}; its columns are {some_of(list(record), 12)}; {HINT}")
    return "language", label, next((column for column in IDS if column in record), IDS[0]), *sentences


def _cell(where: str, column: str, value: object) -> str:
    if value is None:
        return ""
    is_word = isinstance(value, str) or (isinstance(value, int) and column in (*LABELS, *IDS))
    if not is_word:
        raise CorpusError(f"{where}: {column} is {json.dumps(value)[:40]}, which is no text; mend it")
    return normalise(str(value))


def _joined(name: str, found: Mapping[str, list[_Row]]) -> LabelledTexts:
    """The items that every language has, in the order of the first."""
    by_id = all(row.id for rows in found.values() for row in rows)
    first, *others = found
    items: dict[str, dict[str, _Row]] = {}
    for language, rows in found.items():
        if not by_id and len(rows) != len(found[first]):
            raise CorpusError(
                f"{language} has {len(rows)} rows and {first} {len(found[first])}; add a column pairID or id that says "
                "which belong together, or give the same items in the same order in every language"
            )
        items[language] = {row.id if by_id else str(number): row for number, row in enumerate(rows, 1)}
        if len(items[language]) < len(rows):
            seen: set[str] = set()
            twice = next(row for row in rows if row.id in seen or seen.add(row.id))
            raise CorpusError(f"{twice.where}: {language} has item {twice.id} twice; leave one of them")
    common = [key for key in items[first] if all(key in items[other] for other in others)]
    kept = [key for key in common if all(items[code][key].label not in NO_LABEL for code in items)]
    if not kept:
        raise CorpusError(f"{name} has no item with a label in every one of {some_of(list(found), 5)}; mend the files")
    for key in kept:
        own = items[first][key]
        for other in others:
            row = items[other][key]
            if row.label != own.label:
                raise CorpusError(
                    f"{row.where}: the label is {row.label!r:.40} where {own.where} of the same item has "
                    f"{own.label!r:.40}; mend one, or add a pairID that says which rows belong together"
                )
            if len(row.texts) != len(own.texts):
                raise CorpusError(f"{first} and {other} differ: one has pairs of sentences, one has single ones")
    every = {key for own in items.values() for key in own}
    left_aside = {
        "not every language has them": len(every) - len(common),
        "they have no label": len(common) - len(kept),
    }
    notes = [f"Items left aside, since {why}: {n} of {len(every)}." for why, n in left_aside.items() if n]
    texts = {code: tuple(zip(*(own[key].texts for key in kept), strict=True)) for code, own in items.items()}
    return LabelledTexts(name, texts, tuple(items[first][key].label for key in kept), tuple(notes))
