"""Task scores: read them from wherever they lie, tidy them, match them with the languages of a corpus.

    scores = read_scores("results/")                     lm-evaluation-harness results, or tables
    one = scores.select(model=model, task=task, metric=metric)
    joined = join(one, corpus.languages, pivot="eng_Latn")

One row is one score of one model in one task and language. Shares (accuracy, F1, exact match ...) are in [0, 1]: a
column of percentages is divided by 100, and a note says so. Other metrics (perplexity, BLEU ...) keep their unit.
The notes say what was left out, converted or merged.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import abc
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.errors import ScoresError
from neuronxa_core.wording import some_of

COLUMNS = ("model", "task", "metric", "language", "score", "stderr", "n", "source")
KEY = ("model", "task", "metric", "language")
SAME = 1e-9
# metrics of which less is better, by words in their names
LOWER_IS_BETTER = re.compile(r"perplexity|ppl|bits|nats|loss|error|brier|\bter\b|\bwer\b|\bcer\b", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class TaskScores:
    """Scores, one row each.

    table: columns `COLUMNS`. model, task, metric, language and source are text, score is finite, stderr (in the unit of
    score) and n (how many items) are NaN where unknown; no two rows agree in model, task, metric and language.
    notes: what was left aside, converted or merged, in sentences. directions: (task, metric) -> whether more is better,
    where the source says so.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()
    directions: abc.Mapping[tuple[str, str], bool] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def groups(self) -> pd.DataFrame:
        """Every model, task and metric there is, in order; `languages` is how many of them have a score."""
        grouped = self.table.groupby(list(KEY[:3]), sort=False, as_index=False).size()
        return grouped.rename(columns={"size": "languages"})

    def higher_is_better(self, task: str, metric: str) -> bool:
        """Whether more of a task's metric is better: what its source says, else by the metric's name."""
        return self.directions.get((task, metric), LOWER_IS_BETTER.search(metric) is None)

    def select(self, *, model: str | None = None, task: str | None = None, metric: str | None = None) -> TaskScores:
        """The rows of a model, a task, a metric, any for None. Raises ScoresError where there is none."""
        table = self.table
        for column, value in (("model", model), ("task", task), ("metric", metric)):
            if value is not None:
                known = list(dict.fromkeys(table[column]))
                table = table[table[column] == value]
                if table.empty:
                    raise ScoresError(
                        f"There are no scores of the {column} {value}; choose one of {first_names(known)}"
                    )
        return replace(self, table=table.reset_index(drop=True))

    def to_csv(self) -> str:
        """The table as CSV, which `read_scores` reads back to the same values."""
        return self.table.to_csv(index=False, lineterminator="\n")


def merge(*scores: TaskScores) -> TaskScores:
    """All rows of all, equal ones once. Raises ScoresError where two of one model, task, metric and language differ."""
    if len(scores) == 1:
        return scores[0]
    rows = itertools.chain.from_iterable(one.table.to_dict("records") for one in scores)
    directions = {key: more for one in scores for key, more in one.directions.items()}
    return make_scores(rows, dict.fromkeys(note for one in scores for note in one.notes), directions)


def first_names(names: Iterable[str], most: int = 8) -> str:
    """The first names, each cut to 80 letters, and how many more there are."""
    return some_of((f"{name:.80}" for name in names), most)


def number_or_nan(value: Any) -> float:
    """A finite number as float; NaN for anything else, True and False too."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return float(value) if is_number and math.isfinite(value) else math.nan
    except OverflowError:
        return math.nan


def one_line(value: Any) -> str:
    """One line of printable text, at most 500 letters."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)[:2000]).split())[:500]


def _checked(row: abc.Mapping[str, Any]) -> dict[str, Any]:
    """The row with text as text and numbers as float. Raises ScoresError for empty names and impossible numbers."""
    checked: dict[str, Any] = {column: one_line(row[column]) for column in (*KEY, "source")}
    for column, text in checked.items():
        if not text:
            raise ScoresError(f"A score has no {column}; name it ({checked})")
    where = f"{checked['metric']} of {checked['model']} on {checked['task']} in {languages.label(checked['language'])}"
    checked |= {column: number_or_nan(row[column]) for column in ("score", "stderr", "n")}
    if math.isnan(checked["score"]):
        raise ScoresError(f"{where} is {row['score']!r:.40}, no number; mend it")
    if checked["stderr"] < 0:
        raise ScoresError(f"{where} has the standard error {checked['stderr']:g}; it cannot be negative")
    if checked["n"] < 1:
        raise ScoresError(f"{where} has n = {checked['n']:g}; it is a number of items, at least 1")
    return checked


def make_scores(
    rows: Iterable[abc.Mapping[str, Any]],
    notes: Iterable[str] = (),
    directions: abc.Mapping[tuple[str, str], bool] | None = None,
) -> TaskScores:
    """Scores of rows that are checked; equal ones are merged.

    Raises ScoresError for an empty name, an impossible number, two scores of one key that differ, and for no rows.
    """
    table = pd.DataFrame([_checked(row) for row in rows], columns=list(COLUMNS))
    if table.empty:
        raise ScoresError("There are no scores; give at least one")
    groups = table.groupby(list(KEY), sort=False)
    first = groups[["score", "source"]].transform("first")
    clashes = [
        f"{row.metric} of {row.model} on {row.task} in {languages.label(row.language)} is {score:g} and {row.score:g} "
        f"({first_names(dict.fromkeys((source, row.source)))})"
        for row, score, source in zip(table.itertuples(), first["score"], first["source"], strict=True)
        if abs(score - row.score) > SAME
    ]
    if clashes:
        more = f"; {len(clashes) - 3} more" if len(clashes) > 3 else ""
        raise ScoresError(f"Scores contradict each other: {'; '.join(clashes[:3])}{more}. Leave one of each")
    again = table[table.duplicated(list(KEY))]
    if len(again):
        keys = (f"{row.model}, {row.task}, {row.metric}, {languages.label(row.language)}" for row in again.itertuples())
        notes = [
            *notes,
            f"The same score is there more than once and is kept once: {first_names(dict.fromkeys(keys))}.",
        ]
    # the first of each column that is known
    return TaskScores(groups.first().reset_index()[list(COLUMNS)], tuple(notes), directions or {})
