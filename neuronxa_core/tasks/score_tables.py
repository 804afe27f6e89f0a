"""Tables of scores, long or wide: guessing what their columns are, and reading them under such a mapping."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import pandas as pd

from neuronxa_core.corpora.tables import CODES_THAT_OFTEN_HEAD_NO_TEXT
from neuronxa_core.errors import ScoresError
from neuronxa_core.host import limits
from neuronxa_core.tasks.cells import as_shares, is_number, parse_cell, parse_n, parse_stderr, stem_of
from neuronxa_core.tasks.consistency import is_consistency
from neuronxa_core.tasks.headings import (
    GENERAL_SCORES,
    HEADINGS,
    MODEL_NAME,
    holds_scores,
    roles_of,
    share_of,
    words_of,
)
from neuronxa_core.tasks.language_names import code_of
from neuronxa_core.tasks.task_names import task_languages
from neuronxa_core.tasks.task_scores import TaskScores, first_names, make_scores

Layout = Literal["long", "wide languages in columns", "wide tasks in columns"]
Heads = Literal["task", "model", "metric"]
ROLES = ("language", "model", "task", "metric", "score", "stderr", "n", "source")


@dataclass(frozen=True)
class Mapping:
    """Which column of a table plays which role, None for no column.

    "long": one row a score; score is needed, and language, or else a task whose name ends in one (xnli_de).
    "wide languages in columns": `columns` are headed by languages. "wide tasks in columns": one row a language;
    `columns` are headed by tasks, or by what `heads` says.
    """

    layout: Layout
    language: str | None = None
    model: str | None = None
    task: str | None = None
    metric: str | None = None
    score: str | None = None
    stderr: str | None = None
    n: str | None = None
    source: str | None = None
    columns: tuple[str, ...] = ()
    heads: Heads = "task"


def guess_mapping(frame: pd.DataFrame) -> Mapping:
    """The mapping that headings and cells suggest, for `apply_mapping`.

    Raises ScoresError where no language or no score can be found, and for a table of language pairs.
    """
    roles = roles_of(frame)
    if is_consistency(frame):
        raise ScoresError(
            "This table has a score for each pair of languages; read it as a consistency table and choose a pivot"
        )
    context = {role: roles.get(role) for role in ("model", "task", "metric", "source")}
    language, score, task = roles.get("language"), roles.get("score"), roles.get("task")
    if (
        language is None
        and task
        and score
        and share_of(frame[task], task_languages(map(str.strip, frame[task])).__contains__) > 0.5
    ):
        return Mapping("long", score=score, stderr=roles.get("stderr"), n=roles.get("n"), **context)
    if language is not None:
        taken = {language, *context.values(), roles.get("stderr"), roles.get("n")}
        numeric = [heading for heading in frame if heading not in taken and holds_scores(frame, heading)]
        named = [heading for heading in numeric if words_of(heading) in HEADINGS["score"]]
        if len(named) == 1:
            spread = {"stderr": roles.get("stderr"), "n": roles.get("n")}
            return Mapping("long", language=language, score=named[0], **spread, **context)
        columns = tuple(named or numeric)
        if not columns:
            raise ScoresError(
                f"No column of scores was found; the columns are {first_names(frame)}; head one with: score"
            )
        heads: Heads = "metric" if named else "task"
        if not named and 2 * sum(bool(MODEL_NAME.search(heading)) for heading in columns) > len(columns):
            heads = "model"
        return Mapping("wide tasks in columns", language=language, columns=columns, heads=heads, **context)
    columns = _columns_of_languages(frame, [heading for heading in frame if heading not in context.values()])
    if not columns:
        raise ScoresError(
            f"No languages were found, neither as headings nor in a column; the columns are {first_names(frame)}; head "
            "the column of codes with: language"
        )
    if context["model"] is None and context["task"] is None:
        labels = [h for h in frame if h not in (*columns, *context.values()) and share_of(frame[h], is_number) < 0.5]
        if labels:
            is_model = share_of(frame[labels[0]], lambda cell: bool(MODEL_NAME.search(cell))) > 0.5
            context["model" if is_model else "task"] = labels[0]
    return Mapping("wide languages in columns", columns=columns, **context)


def apply_mapping(
    frame: pd.DataFrame, mapping: Mapping, *, source: str, model: str = "", task: str = "", metric: str = ""
) -> TaskScores:
    """The scores of a table under a mapping.

    source: the file's name or an address, for rows that give none. model, task, metric: for rows that name none; by
    default the stem of source, and for the metric the heading of the scores unless that is a general word ("score").
    Rows whose language is none (Average), and empty cells, are left aside with a note.

    Raises ScoresError for a mapping that does not fit the table, a score that is no number, an accuracy outside
    [0, 100], contradicting scores, and where nothing is left.
    """
    _check_mapping(frame, mapping)
    source = source.strip() or "a table"
    defaults = {
        "model": model.strip() or stem_of(source),
        "task": task.strip() or stem_of(source),
        "metric": metric.strip() or _metric_of(mapping),
    }
    cells = _cells_of(frame, mapping)
    if len(cells) > limits.SCORES_CELLS:
        raise ScoresError(f"{source} is too large; at most {limits.SCORES_CELLS} cells are read")
    named = cells["language"] != ""
    no_language = dict.fromkeys(cells.loc[~named, "label"])
    cells = cells[named]
    parsed = [
        parse_cell(f"column {h}, row {n}", c)
        for h, n, c in zip(cells["heading"], cells.index, cells["score"], strict=True)
    ]
    is_empty = [one is None for one in parsed]
    cells = cells.loc[[not one for one in is_empty]].copy()
    if cells.empty:
        reason = f"it names no language: {first_names(no_language)}" if no_language else "all its cells are empty"
        raise ScoresError(f"{source} holds no scores; {reason}")
    scores = pd.DataFrame(filter(None, parsed), columns=["score", "stderr", "is percent"], index=cells.index)
    for role, default in (defaults | {"source": source}).items():
        cells[role] = cells[role].where(cells[role] != "", default)
    given = [parse_stderr(mapping.stderr, cell) for cell in cells["stderr"]]
    cells = cells.assign(
        score=scores["score"],
        stderr=scores["stderr"].astype(float).where(scores["stderr"].notna(), given),
        n=[parse_n(mapping.n, cell) for cell in cells["n"]],
        column=cells["heading" if mapping.layout == "wide tasks in columns" else "metric"],
    ).assign(**{"is percent": scores["is percent"] | ("%" in (mapping.score or ""))})
    notes = []
    if no_language:
        notes.append(f"Left aside in {source}, since they name no language: {first_names(no_language)}.")
    if any(is_empty):
        notes.append(f"Empty cells in {source}: {sum(is_empty)}.")
    unused = _unused(frame, mapping)
    if unused:
        notes.append(f"Columns of {source} left aside: {first_names(unused)}.")
    return make_scores(as_shares(cells.reset_index(drop=True), source, notes).to_dict("records"), notes)


def _columns_of_languages(frame: pd.DataFrame, headings: Sequence[str]) -> tuple[str, ...]:
    """Headings that are languages above numbers; one that is rather a word (id) only where two others are."""
    found = [h for h in headings if code_of(h) and share_of(frame[h], is_number) > 0.5]
    words = {*CODES_THAT_OFTEN_HEAD_NO_TEXT, *HEADINGS["score"], *HEADINGS["stderr"], "no"}
    certain = [heading for heading in found if heading.lower() not in words]
    if len(certain) < 2:
        return tuple(certain)
    return tuple(heading for heading in found if heading in certain or not is_numbering(frame[heading]))


def is_numbering(cells: Iterable[str]) -> bool:
    """0, 1, 2 ... or 1, 2, 3 ..."""
    cells = list(cells)
    return cells in ([str(i + start) for i in range(len(cells))] for start in (0, 1))


def _check_mapping(frame: pd.DataFrame, mapping: Mapping) -> None:
    named = [
        getattr(mapping, field.name) for field in fields(mapping) if field.name not in ("layout", "columns", "heads")
    ]
    missing = [column for column in (*named, *mapping.columns) if column is not None and column not in frame.columns]
    if missing:
        raise ScoresError(
            f"The table has no column {first_names(missing)}; its columns are {first_names(frame.columns)}"
        )
    if mapping.layout == "long":
        if mapping.score is None:
            raise ScoresError("No column of scores was chosen; choose one")
        if mapping.language is None and mapping.task is None:
            raise ScoresError("No column of languages was chosen; choose one, or one of tasks such as xnli_de")
    elif mapping.layout not in ("wide languages in columns", "wide tasks in columns"):
        raise ScoresError(f"There is no layout {mapping.layout!r:.40}")
    elif not mapping.columns:
        raise ScoresError("No columns of scores were chosen; choose at least one")
    elif mapping.layout == "wide tasks in columns" and mapping.language is None:
        raise ScoresError("No column of languages was chosen; choose one")
    elif mapping.layout == "wide tasks in columns" and mapping.heads not in ("task", "model", "metric"):
        raise ScoresError(f"Columns are headed by tasks, models or metrics, not by {mapping.heads!r:.40}")


def _cells_of(frame: pd.DataFrame, mapping: Mapping) -> pd.DataFrame:
    """A row per cell of a score, by the number of its row (the headings are row 1).

    Columns: the roles, "" where the table does not say; heading; label, what names the language.
    """
    cells = frame.map(lambda cell: str(cell).strip()).set_axis(range(2, len(frame) + 2))
    roles = {role: getattr(mapping, role) for role in ROLES}
    said = pd.DataFrame(
        {role: "" if heading is None else cells[heading] for role, heading in roles.items()}, cells.index
    )
    said["label"] = said["task" if mapping.language is None else "language"]
    parts = []
    for heading in mapping.columns or (mapping.score,):
        part = said.assign(heading=heading, score=cells[heading])
        if mapping.layout == "wide languages in columns":
            part["label"] = heading
        elif mapping.layout == "wide tasks in columns":
            part[mapping.heads] = heading
        parts.append(part)
    table = pd.concat(parts).sort_index(kind="stable")
    if mapping.layout == "long" and mapping.language is None:
        found = task_languages(table["task"])
        table["language"] = [found[name].code if name in found else "" for name in table["task"]]
        table["task"] = [found[name].task if name in found else name for name in table["task"]]
    else:
        table["language"] = table["label"].map(code_of)
    return table


def _unused(frame: pd.DataFrame, mapping: Mapping) -> list[str]:
    used = {getattr(mapping, field.name) for field in fields(mapping) if field.name != "columns"} | {*mapping.columns}
    filled = [heading for heading in frame.columns if any(str(cell).strip() for cell in frame[heading])]
    return [heading for heading in filled if heading not in used]


def _metric_of(mapping: Mapping) -> str:
    named = re.sub(r"\s*(?:\(%\)|%)\s*", "", mapping.score or "")
    return named if words_of(named) not in ("", *GENERAL_SCORES) else "score"
