"""Task scores: read them from wherever they lie, tidy them, match them with the languages of a corpus.

    scores = read_scores("results/")                     lm-evaluation-harness results, or tables
    one = scores.select(model=model, task=task, metric=metric)
    joined = join(one, corpus.languages, pivot="eng_Latn")

One row is one score of one model in one task and language. Shares (accuracy, F1, exact match ...) are in [0, 1]: a
column of percentages is divided by 100, and a note says so. Other metrics (perplexity, BLEU ...) keep their unit.
Whatever is left aside is said in the notes. Nothing here computes a statistic.
"""

from __future__ import annotations

import itertools
import math
from collections import abc
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.errors import ScoresError
from neuronxa_core.host import limits
from neuronxa_core.wording import some_of

COLUMNS = ("model", "task", "metric", "language", "score", "stderr", "n", "source")
KEY = ("model", "task", "metric", "language")
SAME = 1e-9


@dataclass(frozen=True, eq=False)
class TaskScores:
    """Scores, one row each.

    table: columns `COLUMNS`. model, task, metric, language and source are text, score is finite, stderr (in the unit of
    score) and n (how many items) are NaN where unknown; no two rows agree in model, task, metric and language.
    notes: what was left aside, converted or merged, in sentences.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def groups(self) -> pd.DataFrame:
        """Every model, task and metric there is, in order; `languages` is how many of them have a score."""
        grouped = self.table.groupby(list(KEY[:3]), sort=False, as_index=False).size()
        return grouped.rename(columns={"size": "languages"})

    def select(self, *, model: str | None = None, task: str | None = None, metric: str | None = None) -> TaskScores:
        """The rows of a model, a task, a metric, any for None. Raises ScoresError where there is none."""
        table = self.table
        for column, value in (("model", model), ("task", task), ("metric", metric)):
            if value is not None:
                known = list(dict.fromkeys(table[column]))
                table = table[table[column] == value]
                if table.empty:
                    raise ScoresError(f"There are no scores of the {column} {value}; choose one of {_some(known)}")
        return replace(self, table=table.reset_index(drop=True))

    def to_csv(self) -> str:
        """The table as CSV, which `read_scores` reads back to the same values."""
        return self.table.to_csv(index=False, lineterminator="\n")


def merge(*scores: TaskScores) -> TaskScores:
    """All rows of all, equal ones once. Raises ScoresError where two of one model, task, metric and language differ."""
    if len(scores) == 1:
        return scores[0]
    rows = itertools.chain.from_iterable(one.table.to_dict("records") for one in scores)
    return _tidy(rows, dict.fromkeys(note for one in scores for note in one.notes))


def _path(source: str | Path) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError as error:  # ~nobody
        raise ScoresError(f"{source!s:.200} cannot be read: {error}") from error


def is_file(path: Path) -> bool:
    """Whether a path is that of a file; False where it may not be looked at."""
    try:
        return path.is_file()
    except OSError:
        return False


def read_content(path: Path) -> bytes:
    """A file's bytes. Raises ScoresError where it is too large or cannot be read."""
    try:
        _check_size(path.name, path.stat().st_size)
        data = limits.first_bytes(path, limits.SCORES_FILE_BYTES)
        _check_size(path.name, len(data))
        return data
    except OSError as error:
        raise ScoresError(f"{path} cannot be read: {error}") from error


def _check_size(name: str, size: int) -> None:
    if size > limits.SCORES_FILE_BYTES:
        most = limits.SCORES_FILE_BYTES // limits.MIB
        raise ScoresError(f"{name} has {size / limits.MIB:.0f} MiB; at most {most} MiB are read")


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _stem(name: str) -> str:
    last = PurePosixPath(name).name
    return last.rpartition(".")[0] or last


def _printable(name: str) -> str:
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(letter for letter in last if letter.isprintable()) or "the file"


def _some(names: Iterable[str], most: int = 8) -> str:
    return some_of((f"{name:.80}" for name in names), most)


def _number_or_nan(value: Any) -> float:
    """A finite number as float; NaN for anything else, True and False too."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return float(value) if is_number and math.isfinite(value) else math.nan
    except OverflowError:
        return math.nan


def _spread(values: Iterable[float]) -> float:
    values = list(values)
    return max(values) - min(values)


def _text(value: Any) -> str:
    """One line of printable text, at most 500 letters."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)[:2000]).split())[:500]


def _checked(row: abc.Mapping[str, Any]) -> dict[str, Any]:
    """The row with text as text and numbers as float. Raises ScoresError for empty names and impossible numbers."""
    checked: dict[str, Any] = {column: _text(row[column]) for column in (*KEY, "source")}
    for column, text in checked.items():
        if not text:
            raise ScoresError(f"A score has no {column}; name it ({checked})")
    where = f"{checked['metric']} of {checked['model']} on {checked['task']} in {languages.label(checked['language'])}"
    checked |= {column: _number_or_nan(row[column]) for column in ("score", "stderr", "n")}
    if math.isnan(checked["score"]):
        raise ScoresError(f"{where} is {row['score']!r:.40}, no number; mend it")
    if checked["stderr"] < 0:
        raise ScoresError(f"{where} has the standard error {checked['stderr']:g}; it cannot be negative")
    if checked["n"] < 1:
        raise ScoresError(f"{where} has n = {checked['n']:g}; it is a number of items, at least 1")
    return checked


def _tidy(rows: Iterable[abc.Mapping[str, Any]], notes: Iterable[str]) -> TaskScores:
    """Rows checked, equal ones merged. Raises ScoresError for two of one key that differ, and where there is none."""
    kept: dict[tuple[str, ...], dict[str, Any]] = {}
    merged: dict[str, None] = {}
    clashes: list[str] = []
    for row in map(_checked, rows):
        key = tuple(row[column] for column in KEY)
        first = kept.setdefault(key, row)
        if first is row:
            continue
        model, task, metric, code = key
        if abs(first["score"] - row["score"]) > SAME:
            sources = dict.fromkeys((first["source"], row["source"]))
            clashes.append(
                f"{metric} of {model} on {task} in {languages.label(code)} is {first['score']:g} and {row['score']:g} "
                f"({_some(sources)})"
            )
            continue
        merged[f"{model}, {task}, {metric}, {languages.label(code)}"] = None
        for column in ("stderr", "n"):
            first[column] = row[column] if math.isnan(first[column]) else first[column]
    if clashes:
        more = f"; {len(clashes) - 3} more" if len(clashes) > 3 else ""
        raise ScoresError(f"Scores contradict each other: {'; '.join(clashes[:3])}{more}. Leave one of each")
    if not kept:
        raise ScoresError("There are no scores; give at least one")
    if merged:
        notes = [*notes, f"The same score is there more than once and is kept once: {_some(merged)}."]
    table = pd.DataFrame(list(kept.values()), columns=list(COLUMNS))
    return TaskScores(table.astype(dict.fromkeys(("score", "stderr", "n"), "float64")), tuple(notes))
