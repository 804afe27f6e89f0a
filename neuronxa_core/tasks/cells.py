"""TODO"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.errors import ScoresError
from neuronxa_core.host import limits
from neuronxa_core.tasks.matching import AGGREGATES, code_of
from neuronxa_core.tasks.task_scores import _check_size, _number_or_nan, _printable, _some

TABLE_SUFFIXES = ("csv", "tsv", "tab", "txt")

# what a heading says in lower case, in order of preference where a table has several
HEADINGS: dict[str, tuple[str, ...]] = {
    "language": ("language code", "lang code", "iso code", "iso", "code", "language", "lang", "languages", "locale"),
    "model": ("model", "model name", "model id", "models", "checkpoint", "system"),
    "task": ("task", "task name", "tasks", "benchmark", "dataset", "benchmark name", "dataset name"),
    "metric": ("metric", "metric name", "metrics", "measure"),
    "score": ("score", "value", "accuracy", "acc", "scores", "result", "performance", "acc norm", "exact match", "f1"),
    "stderr": ("stderr", "std err", "standard error", "se", "sem", "std error", "acc stderr", "score stderr"),
    "n": ("n", "n samples", "samples", "num samples", "examples", "n examples", "count", "size"),
    "source": ("source", "url", "reference"),
}
GENERAL_SCORES = ("score", "value", "scores", "result", "performance")
SCORES_OF_PAIRS = ("rankc", "consistency", *HEADINGS["score"])
NOT_SHARES = re.compile(
    r"perplexity|ppl|bits|loss|likelihood|logprob|bleu|chrf|\bter\b|rouge|comet|mcc|matthews|brier|elo", re.IGNORECASE
)
ACCURACY = re.compile(r"acc|exact.?match|\bem\b", re.IGNORECASE)
MODEL_NAME = re.compile(
    r"/|\d[bm]\b|llama|qwen|mistral|gemma|bloom|glm|olmo|gpt|bert|xlm|mt[05]-|opt-|falcon|deepseek", re.IGNORECASE
)
MISSING = frozenset({"", "-", "--", "–", "—", ".", "na", "n/a", "nan", "none", "null", "?"})

_NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[+-]?\d{1,4})?"
_CELL = re.compile(rf"({_NUMBER})\s*(%?)(?:\s*(?:±|\+/-|\+-)\s*({_NUMBER})\s*%?)?", re.IGNORECASE | re.ASCII)
_THOUSANDS = re.compile(r"\d{1,3}(?:[ ,.]\d{3})+", re.ASCII)


# Tables -----------------------------------------------------------------------------------------------------------


def read_frame(name: str, data: bytes) -> pd.DataFrame:
    """A CSV, TSV or semicolon table as text cells, "" for an empty one; its first row are the headings.

    Text is UTF-8 or, with a byte order mark, UTF-16, as spreadsheets export it; the separator is the one of tab,
    semicolon and comma that splits the headings most. Empty rows and columns are dropped, a column without a heading
    is called "column <number>".

    Raises ScoresError for a workbook, for what is too large, no text, or no table, and for a heading given twice.
    """
    name = _printable(name)
    _check_size(name, len(data))
    text = _decoded(name, data)
    separator = re.match(r"sep=([,;\t])\r?\n", text)
    if separator:
        text = text[separator.end() :]
    first = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    try:
        delimiter = (
            separator[1] if separator else max("\t;,", key=lambda d: len(next(csv.reader([first], delimiter=d), [])))
        )
        rows = _rows(name, text, delimiter)
    except csv.Error as error:
        raise ScoresError(f"{name} cannot be read as a table: {error}; export it as CSV once more") from error
    if not rows:
        raise ScoresError(f"{name} is empty; give a table with headings and scores")
    headings = [heading or f"column {number}" for number, heading in enumerate(rows[0], 1)]
    used = [any(row[i] for row in rows) for i in range(len(headings))]
    rows = [[cell for cell, is_used in zip(row, used, strict=True) if is_used] for row in rows[1:]]
    headings = [heading for heading, is_used in zip(headings, used, strict=True) if is_used]
    doubled = [heading for heading, count in Counter(headings).items() if count > 1]
    if doubled:
        raise ScoresError(f"{name} has more than one column {_some(doubled)}; name each column once")
    if not rows:
        raise ScoresError(f"{name} has headings but no rows; give a table with scores")
    return pd.DataFrame(rows, columns=headings, dtype=object)


def _decoded(name: str, data: bytes) -> str:
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ScoresError(f"{name} is a workbook, which is not read; in the spreadsheet, save the sheet as CSV (UTF-8)")
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ScoresError(f"{name}, line {line}: not UTF-8; save the file as CSV (UTF-8)") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ScoresError(f"{name}, line {line}: a NUL byte, so this is no text; save the file as CSV (UTF-8)")
    return text


def _rows(name: str, text: str, delimiter: str) -> list[list[str]]:
    """The rows that are not empty, their cells stripped and as many as there are headings. Raises csv.Error."""
    rows: list[list[str]] = []
    width, reader = 0, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    for cells in reader:
        row = [" ".join(cell.split()) for cell in cells]
        while row and not row[-1]:
            row.pop()
        if not row:
            continue
        width = width or len(row)
        if len(row) > width:
            raise ScoresError(f"{name}, line {reader.line_num}: {len(row)} cells where there are {width} headings")
        if width > limits.CORPUS_COLUMNS or len(rows) * width > limits.SCORES_CELLS:
            raise ScoresError(
                f"{name} is too large; at most {limits.CORPUS_COLUMNS} columns and {limits.SCORES_CELLS} cells are read"
            )
        rows.append(row + [""] * (width - len(row)))
    return rows


def _roles(frame: pd.DataFrame) -> dict[str, str]:
    """{role: heading} by the headings, checked against the cells; the column of languages also by its cells alone."""
    checks = {
        "language": lambda heading: "lang" in heading.lower() or _share(frame[heading], code_of) > 0.5,
        "score": lambda heading: _holds_scores(frame, heading),
        "stderr": lambda heading: _share(frame[heading], _is_number) > 0.5,
        "n": lambda heading: _share(frame[heading], _is_number) > 0.5,
    }
    words = {_words(heading): heading for heading in reversed(list(frame))}
    roles: dict[str, str] = {}
    for role, known in HEADINGS.items():
        heading = next((words[w] for w in known if w in words and checks.get(role, bool)(words[w])), None)
        if heading is not None:
            roles[role] = heading
    if "language" not in roles:
        free = [heading for heading in frame if heading not in roles.values()]
        found = next((heading for heading in free if _share(frame[heading], code_of) > 0.5), None)
        if found is not None:
            roles["language"] = found
    return roles


def _words(heading: str) -> str:
    bare = re.sub(r"\([^()]*\)|%", "", str(heading).lower())
    return " ".join(re.split(r"[\s_-]+", bare.strip()))


def _share(cells: Iterable[Any], is_one: Any) -> float:
    """Share of the first thousand cells with something in them for which `is_one` holds; 0 where there are none."""
    filled = (str(cell) for cell in cells if str(cell).strip().lower() not in MISSING)
    sample = list(itertools.islice(filled, 1000))
    return sum(bool(is_one(cell)) for cell in sample) / len(sample) if sample else 0.0


def _is_number(cell: str) -> bool:
    return _CELL.fullmatch(_plain(cell)) is not None


def _holds_scores(frame: pd.DataFrame, heading: str) -> bool:
    is_spread = re.search(r"std|err|\bci\b", heading, re.IGNORECASE) is not None
    is_average = not AGGREGATES.isdisjoint(re.split(r"\W+", heading.lower()))
    return not is_spread and not is_average and _share(frame[heading], _is_number) > 0.5


# Numbers ----------------------------------------------------------------------------------------------------------


def _plain(cell: str) -> str:
    return cell.replace("\u00a0", " ").replace("\u202f", " ").replace("−", "-").strip()


def _parsed(where: str, cell: str) -> tuple[float, float | None, bool] | None:
    """(score, standard error if the cell gives one, whether it says %); None for an empty cell. Raises ScoresError."""
    cell = _plain(cell)
    if cell.lower() in MISSING:
        return None
    match = _CELL.fullmatch(cell)
    if match is None:
        raise ScoresError(f"{where}: {cell!r:.40} is no number; mend the cell or leave the column out")
    score, percent, stderr = match.groups()
    return _float(where, score), None if stderr is None else _float(where, stderr), bool(percent)


def _float(where: str, text: str) -> float:
    value = float(text.replace(",", "."))
    if not math.isfinite(value):
        raise ScoresError(f"{where}: {text:.40} is too large to be a score; mend the cell")
    return value


def _stderr(heading: str | None, cell: str) -> float:
    parsed = _parsed(f"column {heading}", cell)
    return math.nan if parsed is None else parsed[0]


def _n(heading: str | None, cell: str) -> float:
    cell = _plain(cell)
    if _THOUSANDS.fullmatch(cell):
        cell = re.sub("[ ,.]", "", cell)
    parsed = _parsed(f"column {heading}", cell)
    return math.nan if parsed is None else parsed[0]


def _shares(rows: list[dict[str, Any]], source: str, notes: list[str]) -> list[dict[str, Any]]:
    """The rows with percentages divided by 100, column by column ("column", "is percent"); adds to the notes.

    A column is one of percentages where a cell says so, or where all lie in [0, 100] and one is above 1. Raises
    ScoresError for an accuracy outside [0, 100].
    """
    columns: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        columns.setdefault(row["column"], []).append(row)
    divided: list[str] = []
    for column, group in columns.items():
        if NOT_SHARES.search(group[0]["metric"]) or NOT_SHARES.search(column):
            continue
        low, high = min(row["score"] for row in group), max(row["score"] for row in group)
        if low < 0 or high > 100:
            if ACCURACY.search(group[0]["metric"]):
                odd = next(row for row in group if not 0 <= row["score"] <= 100)
                raise ScoresError(
                    f"{source}: {odd['metric']} of {odd['task']} in {languages.label(odd['language'])} is "
                    f"{odd['score']:g}, outside 0 to 100; mend it, or name another metric"
                )
            notes.append(f"{column} in {source} is kept in its own unit, from {low:g} to {high:g}.")
        elif high > 1 or any(row["is percent"] for row in group):
            divided.append(column)
            _note_suspicious(group, column, source, notes)
            for row in group:
                row["score"] /= 100
                row["stderr"] = _number_or_nan(row["stderr"]) / 100
    if divided:
        notes.append(f"Percentages in {source}, divided by 100: {_some(divided)}.")
    return rows


def _note_suspicious(group: list[dict[str, Any]], column: str, source: str, notes: list[str]) -> None:
    largest: dict[tuple[str, str], list[float]] = {}
    for row in group:
        largest.setdefault((row["model"], row["task"]), []).append(row["score"])
    small = [f"{model}, {task}" for (model, task), scores in largest.items() if len(scores) > 1 and max(scores) <= 1]
    if small:
        notes.append(
            f"{column} in {source} is read as percentages, and no score of these is above 1 %: {_some(small)}; if they "
            "are shares, give them in a table of their own."
        )
