"""Tables of pairs of languages: how consistent a model's answers are between two, such as RankC on BMLAMA."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
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
    frame = frame.set_axis(range(2, len(frame) + 2))
    if matrix is not None:
        labels, columns = matrix
        cells = pd.concat(
            [pd.DataFrame({"language": frame[labels], "other": h, "heading": h, "score": frame[h]}) for h in columns]
        ).sort_index(kind="stable")
        heading, roles = "", {}
    elif pairs is not None:
        columns, heading = pairs
        said = frame[[*columns]].to_numpy().tolist()
        both = said if len(columns) == 2 else [_pair(cell) or ("", "") for (cell,) in said]
        cells = pd.DataFrame(both, frame.index, ["language", "other"]).assign(heading=heading, score=frame[heading])
        roles = {role: h for role, h in roles_of(frame).items() if h not in (*columns, heading)}
    else:
        raise ScoresError(
            f"{source} is no table of language pairs; it needs languages as headings and in a column, or two columns "
            "of languages and one of scores"
        )
    general = heading if heading and words_of(heading) not in GENERAL_SCORES else "consistency"
    given = {"model": model or stem_of(source), "task": task or stem_of(source), "metric": metric or general}
    for role, default in (given | {"source": source}).items():
        cells[role] = default.strip()
        if role in roles:
            cells[role] = frame[roles[role]].where(frame[roles[role]] != "", cells[role])
    parsed = [
        parse_cell(f"column {h}, row {n}", c)
        for h, n, c in zip(cells["heading"], cells.index, cells["score"], strict=True)
    ]
    codes = cells[["language", "other"]].map(code_of)
    named = (codes != "").all(axis=1)
    no_language = (cells["language"] + " - " + cells["other"])[~named].unique().tolist()
    cells[["language", "other"]] = codes
    is_filled = np.array([one is not None for one in parsed])
    cells = cells.assign(stderr=math.nan, score=[one[0] if one else math.nan for one in parsed], column=cells["metric"])
    cells["is percent"] = [one is not None and one[2] for one in parsed]
    cells = cells[named & is_filled].reset_index(drop=True)
    if cells.empty:
        raise ScoresError(f"{source} holds no value of a pair of languages; give a table with values")
    notes = [f"Left aside in {source}, since they name no language: {first_names(no_language)}."] if no_language else []
    return Consistency(_tidy_pairs(as_shares(cells, source, notes)), tuple(notes))


def _tidy_pairs(cells: pd.DataFrame) -> pd.DataFrame:
    """Each pair once. Raises ScoresError where two values of one differ."""
    named = [column for column in PAIR_COLUMNS if column != "score"]
    cells = cells[list(PAIR_COLUMNS)].assign(**{column: cells[column].map(one_line) for column in named})
    first = cells.groupby(named[:5], sort=False)["score"].transform("first")
    differing = cells[(first - cells["score"]).abs() > SAME]
    for row in differing.head(1).itertuples():
        raise ScoresError(
            f"{row.metric} of {row.model} between {row.language} and {row.other} is {first[row.Index]:g} and "
            f"{row.score:g}; leave one of them"
        )
    return cells.drop_duplicates(named[:5], ignore_index=True)


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
