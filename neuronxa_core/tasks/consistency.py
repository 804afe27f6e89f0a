"""Tables of pairs of languages: how consistent a model's answers are between two, such as RankC on BMLAMA."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.errors import ScoresError
from neuronxa_core.tasks.cells import as_shares, is_number, parse_cell, stem_of
from neuronxa_core.tasks.headings import (
    GENERAL_SCORES,
    HEADINGS,
    SCORES_OF_PAIRS,
    holds_scores,
    roles_of,
    share_of,
    words_of,
)
from neuronxa_core.tasks.language_names import code_of
from neuronxa_core.tasks.task_scores import COLUMNS, KEY, SAME, TaskScores, first_names, make_scores, one_line

PAIR_COLUMNS = ("model", "task", "metric", "language", "other", "score", "source")


@dataclass(frozen=True, eq=False)
class Consistency:
    """How consistent a model's answers are between two languages, such as RankC on BMLAMA; one row per pair.

    table: columns `PAIR_COLUMNS`; language and other are the pair in the order of the source. notes: as in TaskScores.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def languages(self) -> tuple[str, ...]:
        """Every language of a pair, in order of appearance."""
        return tuple(dict.fromkeys([*self.table["language"], *self.table["other"]]))

    def consistency_with(self, pivot: str) -> TaskScores:
        """Each language's value with the pivot, as scores; the metric's name gets "with <pivot>".

        Where both directions are given and differ, their mean, and a note. The pivot with itself is left aside.
        Raises ScoresError where the pivot is unknown or may be several of the languages.
        """
        found = languages.matches(code_of(pivot) or pivot, self.languages)
        if len(found) != 1:
            reason = f"{pivot} may be {' or '.join(found)}" if found else f"{pivot} is none of the languages"
            raise ScoresError(f"{reason}; choose one of {first_names(self.languages)}")
        (pivot,) = found
        first, second = self.table["language"], self.table["other"]
        pairs = self.table[(first == pivot) != (second == pivot)]
        if pairs.empty:
            raise ScoresError(f"No other language has a value with {pivot}; give a table with more pairs")
        own = pairs.assign(
            language=first.where(first != pivot, second), metric=pairs["metric"] + f" with {pivot}", stderr=None, n=None
        )
        groups = own.groupby(list(KEY), sort=False)["score"]
        spread = groups.max() - groups.min()
        notes = list(self.notes)
        differing = spread[spread > SAME].index.get_level_values("language")
        if len(differing):
            names = first_names(differing)
            notes.append(f"The two directions differ, so their mean with {pivot} is taken: {names}.")
        means = own.assign(score=groups.transform("mean")).drop_duplicates(list(KEY))
        return make_scores(means.to_dict("records"), notes)


def is_consistency(frame: pd.DataFrame) -> bool:
    """Whether a table has a score for each pair of languages, so that it is for `consistency`."""
    return _matrix(frame) is not None or _pair_columns(frame) is not None


def consistency(frame: pd.DataFrame, *, source: str, model: str = "", task: str = "", metric: str = "") -> Consistency:
    """The pairs of languages of a table of `read_frame`: a matrix, or one row per pair.

    A matrix has languages as headings and in a column; one row per pair has two columns of languages, or one of pairs
    (en-fr), and a score. model, task, metric: for what the table does not say, as in `apply_mapping`.

    Raises ScoresError for what is no such table, and for pairs that contradict each other.
    """
    matrix, pairs = _matrix(frame), _pair_columns(frame)
    source = source.strip() or "a table"
    cells: list[tuple[str, str, str, str, dict[str, str]]] = []
    roles = {
        role: heading for role, heading in roles_of(frame).items() if role in ("model", "task", "metric", "source")
    }
    heading = ""
    if matrix is not None:
        labels, columns = matrix
        roles = {}
        for number, row in enumerate(frame.to_dict("records"), 2):
            cells += [(row[labels], h, f"column {h}, row {number}", row[h], {}) for h in columns]
    elif pairs is not None:
        columns, heading = pairs
        roles = {role: column for role, column in roles.items() if column not in (*columns, heading)}
        for number, row in enumerate(frame.to_dict("records"), 2):
            first, second = (
                (row[columns[0]], row[columns[1]]) if len(columns) == 2 else _pair(row[columns[0]]) or ("", "")
            )
            context = {role: row[column] for role, column in roles.items()}
            cells.append((first, second, f"column {heading}, row {number}", row[heading], context))
    else:
        raise ScoresError(
            f"{source} is no table of language pairs; it needs languages as headings and in a column, or two columns "
            "of languages and one of scores"
        )
    default = metric.strip() or (heading if heading and words_of(heading) not in GENERAL_SCORES else "consistency")
    rows, no_language = [], {}
    for first, second, where, cell, context in cells:
        codes = code_of(first), code_of(second)
        parsed = parse_cell(where, cell)
        if not all(codes):
            no_language[f"{first} - {second}"] = None
        elif parsed is not None:
            rows.append(
                {
                    "model": context.get("model") or model.strip() or stem_of(source),
                    "task": context.get("task") or task.strip() or stem_of(source),
                    "metric": context.get("metric") or default,
                    "language": codes[0],
                    "other": codes[1],
                    "score": parsed[0],
                    "stderr": None,
                    "source": context.get("source") or source,
                    "is percent": parsed[2],
                    "column": context.get("metric") or default,
                }
            )
    if not rows:
        raise ScoresError(f"{source} holds no value of a pair of languages; give a table with values")
    notes = [f"Left aside in {source}, since they name no language: {first_names(no_language)}."] if no_language else []
    return Consistency(_tidy_pairs(as_shares(rows, source, notes)), tuple(notes))


def _tidy_pairs(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    kept: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        row |= {column: one_line(row[column]) for column in PAIR_COLUMNS if column != "score"}
        first = kept.setdefault(tuple(row[column] for column in PAIR_COLUMNS[:5]), row)
        if abs(first["score"] - row["score"]) > SAME:
            raise ScoresError(
                f"{row['metric']} of {row['model']} between {row['language']} and {row['other']} is {first['score']:g} "
                f"and {row['score']:g}; leave one of them"
            )
    return pd.DataFrame(list(kept.values()), columns=list(PAIR_COLUMNS))


def _matrix(frame: pd.DataFrame) -> tuple[str, tuple[str, ...]] | None:
    """(the column of languages, the headings that are languages too) of a matrix of pairs."""
    labels = next((heading for heading in frame if share_of(frame[heading], code_of) > 0.5), None)
    if labels is None:
        return None
    columns = [h for h in frame if h != labels and code_of(h) and share_of(frame[h], is_number) > 0.5]
    of_rows = {code_of(cell) for cell in frame[labels]}
    return (labels, tuple(columns)) if len(columns) > 1 and len(of_rows & {*map(code_of, columns)}) > 1 else None


def _pair_columns(frame: pd.DataFrame) -> tuple[tuple[str, ...], str] | None:
    """(the two columns of languages, or the one of pairs, the column of scores)."""
    if {*COLUMNS} <= {*frame.columns}:
        return None
    named = [*HEADINGS["model"], *HEADINGS["task"], *HEADINGS["metric"]]
    free = [heading for heading in frame if words_of(heading) not in named]
    of_languages = [heading for heading in free if share_of(frame[heading], code_of) > 0.5]
    of_pairs = [heading for heading in free if share_of(frame[heading], _pair) > 0.5]
    columns = of_languages[:2] if len(of_languages) > 1 else of_pairs[:1]
    words = {words_of(heading): heading for heading in reversed(list(frame))}
    score = next((words[w] for w in SCORES_OF_PAIRS if w in words and holds_scores(frame, words[w])), None)
    if not columns or score is None or score in columns or _are_one_language(frame, columns):
        return None
    return tuple(columns), score


def _are_one_language(frame: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Whether two columns name each row's language twice, as code and name, rather than a pair."""
    if len(columns) < 2:
        return False
    rows = list(zip(*(frame[column] for column in columns), strict=True))
    same = [bool(languages.matches(code_of(a), [code_of(b)])) for a, b in rows if code_of(a) and code_of(b)]
    return bool(same) and 2 * sum(same) > len(same)


def _pair(cell: str) -> tuple[str, str] | None:
    """The two codes of "en-fr" or "zh-Hans-en"; None where the cell is no pair."""
    parts = re.split(r"[-–]", cell)
    for cut in range(1, min(len(parts), 8)):
        first, second = "-".join(parts[:cut]), "-".join(parts[cut:])
        if languages.is_language_code(first) and languages.is_language_code(second):
            return first, second
    return None
