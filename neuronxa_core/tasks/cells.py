"""Tables of scores as text cells, the numbers in cells, and percentages."""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections import Counter
from pathlib import PurePosixPath

import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.corpora.texts import base_name, decode, stem
from neuronxa_core.errors import ScoresError
from neuronxa_core.host import limits
from neuronxa_core.tasks.task_scores import first_names

NOT_SHARES = re.compile(
    r"perplexity|ppl|bits|loss|likelihood|logprob|bleu|chrf|\bter\b|rouge|comet|mcc|matthews|brier|elo", re.IGNORECASE
)
ACCURACY = re.compile(r"acc|exact.?match|\bem\b", re.IGNORECASE)
MISSING = frozenset({"", "-", "--", "–", "—", ".", "na", "n/a", "nan", "none", "null", "?"})

_NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[+-]?\d{1,4})?"
_CELL = re.compile(rf"({_NUMBER})\s*(%?)(?:\s*(?:±|\+/-|\+-)\s*({_NUMBER})\s*%?)?", re.IGNORECASE | re.ASCII)
_THOUSANDS = re.compile(r"\d{1,3}(?:[ ,.]\d{3})+", re.ASCII)


def read_frame(name: str, data: bytes) -> pd.DataFrame:
    """A CSV, TSV or semicolon table as text cells, "" for an empty one; its first row are the headings.

    Text is UTF-8 or, with a byte order mark, UTF-16, as spreadsheets export it; the separator is the one of tab,
    semicolon and comma that splits the headings most. Empty rows and columns are dropped, a column without a heading
    is called "column <number>".

    Raises ScoresError for a workbook, for what is too large, no text, or no table, and for a heading given twice.
    """
    name = base_name(name) or "the file"
    check_size(name, len(data))
    text = decode_table(name, data)
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
        raise ScoresError(f"{name} has more than one column {first_names(doubled)}; name each column once")
    if not rows:
        raise ScoresError(f"{name} has headings but no rows; give a table with scores")
    return pd.DataFrame(rows, columns=headings, dtype=object)


def decode_table(name: str, data: bytes) -> str:
    """A file's text. Raises ScoresError for a workbook, and for what is neither UTF-8 nor marked UTF-16."""
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ScoresError(f"{name} is a workbook, which is not read; in the spreadsheet, save the sheet as CSV (UTF-8)")
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return decode(name, data, "utf-16" if is_utf16 else "utf-8", ScoresError)


def stem_of(source: str) -> str:
    """What rows that name no model or task are called: the file's name without folders and suffix."""
    return stem(PurePosixPath(source).name)


def check_size(name: str, size: int) -> None:
    """Raise ScoresError for more bytes than are read of a file."""
    if size > limits.SCORES_FILE_BYTES:
        most = limits.SCORES_FILE_BYTES // limits.MIB
        raise ScoresError(f"{name} has {size / limits.MIB:.0f} MiB; at most {most} MiB are read")


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


def is_number(cell: str) -> bool:
    """Whether a cell holds a score, perhaps with % or a standard error."""
    return _CELL.fullmatch(_plain(cell)) is not None


def _plain(cell: str) -> str:
    return cell.replace("\u00a0", " ").replace("\u202f", " ").replace("−", "-").strip()


def parse_cell(where: str, cell: str) -> tuple[float, float | None, bool] | None:
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


def parse_stderr(heading: str | None, cell: str) -> float:
    """The number of a cell, NaN for an empty one. Raises ScoresError."""
    parsed = parse_cell(f"column {heading}", cell)
    return math.nan if parsed is None else parsed[0]


def parse_n(heading: str | None, cell: str) -> float:
    """A number of items, perhaps with marks between thousands; NaN for an empty cell. Raises ScoresError."""
    cell = _plain(cell)
    if _THOUSANDS.fullmatch(cell):
        cell = re.sub("[ ,.]", "", cell)
    return parse_stderr(heading, cell)


def as_shares(table: pd.DataFrame, source: str, notes: list[str]) -> pd.DataFrame:
    """The table with percentages divided by 100, task by task and metric by metric of a "column"; adds to the notes.

    They are percentages where "is percent" says so, or where all lie in [0, 100] and one is above 1. Raises
    ScoresError for an accuracy outside [0, 100].
    """
    percent: dict[str, list[str]] = {}
    shares: dict[str, list[str]] = {}
    own: dict[str, list[float]] = {}
    small: dict[str, list[str]] = {}
    table = table.astype({"score": float, "stderr": float})
    for (column, task, metric), rows in table.groupby(["column", "task", "metric"], sort=False):
        if NOT_SHARES.search(metric) or NOT_SHARES.search(column):
            continue
        low, high = rows["score"].min(), rows["score"].max()
        if low < 0 or high > 100:
            if ACCURACY.search(metric):
                odd = rows[~rows["score"].between(0, 100)].iloc[0]
                raise ScoresError(
                    f"{source}: {metric} of {task} in {languages.label(odd['language'])} is {odd['score']:g}, outside "
                    "0 to 100; mend it, or name another metric"
                )
            own.setdefault(column, []).extend((low, high))
        elif high > 1 or rows["is percent"].any():
            percent.setdefault(column, []).append(task)
            scores = rows.groupby("model", sort=False)["score"]
            few = scores.size()[(scores.size() > 1) & (scores.max() <= 1)].index
            small.setdefault(column, []).extend(f"{model}, {task}" for model in few)
            table.loc[rows.index, ["score", "stderr"]] /= 100
        else:
            shares.setdefault(column, []).append(task)
    notes += [
        f"{column} in {source} is kept in its own unit, from {min(ends):g} to {max(ends):g}."
        for column, ends in own.items()
    ]
    for column, tasks in percent.items():
        if small[column]:
            notes.append(
                f"{column} in {source} is read as percentages, and no score of these is above 1 %: "
                f"{first_names(small[column])}; if they are shares, give them in a table of their own."
            )
        if column in shares:
            notes.append(
                f"{column} in {source} is read as percentages of {first_names(dict.fromkeys(tasks))}, and as shares of "
                f"{first_names(dict.fromkeys(shares[column]))}, where no score is above 1."
            )
    if percent:
        notes.append(f"Percentages in {source}, divided by 100: {first_names(percent)}.")
    return table
