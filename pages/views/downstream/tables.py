"""Task scores from tables: published ones, and files of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from neuronxa_core import exports
from neuronxa_core.measures import task, task_correlation
from neuronxa_core.measures.task import Task
from neuronxa_core.tasks import cells, consistency, score_files, score_tables
from neuronxa_core.tasks.task_scores import TaskScores
from pages.access import host
from pages.components import wording
from pages.components.selection import Selection


def published(opened: Selection, _row: DeltaGenerator) -> Task | None:
    """Published scores, at first those of most languages."""
    start = task.best_covered(opened.plan.all_languages, opened.plan.pivot)
    return task_choice(opened, task.published(), "published", start)


def task_choice(opened: Selection, scores: TaskScores, key: str, start: Sequence[str] = ()) -> Task | None:
    """One model, task and metric of a table of scores, from widgets; at first the model's own, or `start`."""
    groups, columns = scores.groups, st.columns(3)
    models = list(dict.fromkeys(groups["model"]))
    own = task_correlation.same_model(opened.plan, models)
    at = next((models.index(name) for name in (own, *start[:1]) if name in models), 0)
    model = columns[0].selectbox("Scores of the model", models, at, key=f"{key}_model")
    groups = groups[groups["model"] == model]
    tasks = list(dict.fromkeys(groups["task"]))
    at = tasks.index(start[1]) if model in start[:1] else 0
    name = columns[1].selectbox("Task", tasks, at, key=f"{key}_task")
    metric = columns[2].selectbox("Metric", groups.loc[groups["task"] == name, "metric"].tolist(), key=f"{key}_metric")
    for note in scores.notes if key != "published" else ():
        st.caption(wording.safe(note))
    return task.matched(opened.plan, scores, model, name, metric)


def from_file(opened: Selection, _row: DeltaGenerator) -> Task | None:
    """A table or harness results, by path or upload; None while there is neither."""
    scores = _scores_of_file(opened)
    return None if scores is None else task_choice(opened, scores, "file")


def _scores_of_file(opened: Selection) -> TaskScores | None:
    allowed = host.host_settings()
    may_type = allowed.scores.folders != ()
    left, right = st.columns(2)
    path = ""
    if may_type:
        path = left.text_input(
            "File or folder",
            key="scores_path",
            placeholder="/results/lm-eval or scores.csv",
            help="A CSV or TSV table, long or wide; results_*.json of lm-evaluation-harness, or a folder of them.",
        ).strip()
    upload = right.file_uploader(
        "or upload" if may_type else "A table, or results_*.json of lm-evaluation-harness",
        type=["csv", "tsv", "tab", "txt", "json"],
        key="scores_upload",
        max_upload_size=max(1, allowed.uploads.file_mib),
        disabled=not allowed.uploads.file_mib,
    )
    if upload is not None:
        name, data = upload.name, upload.getvalue()
    elif path:
        where = allowed.score_source(path)
        if where.suffix.lower() == ".json" or not score_files.is_file(where):
            return score_files.read_scores(where)
        name, data = where.name, score_files.read_content(where)
    else:
        st.caption("Give a path or upload a file to go on." if may_type else "Upload a file to go on.")
        return None
    if name.lower().endswith(".json"):
        return score_files.read_file(name, data)
    frame = cells.read_frame(name, data)
    if consistency.is_consistency(frame):
        pivot = opened.plan.pivot
        st.caption(f"A table of language pairs: each language's value with {wording.label(pivot)} is taken.")
        return consistency.consistency(frame, source=name).consistency_with(pivot)
    return _mapped(name, frame)


def _mapped(name: str, frame: pd.DataFrame) -> TaskScores:
    """A table's scores, its columns as guessed or as corrected."""
    guess = score_tables.guess_mapping(frame)
    with st.expander(f"Columns · {guess.layout}", icon=":material/table_edit:"):
        st.dataframe(exports.harmless_table(frame.head(8)), hide_index=True)
        layouts = list(get_args(score_tables.Layout))
        layout = st.selectbox("Layout", layouts, layouts.index(guess.layout), key=f"map_layout_{name}")
        if layout != guess.layout:
            guess = score_tables.Mapping(layout, heads=guess.heads)
        offered = [None, *frame.columns]
        columns, roles = st.columns(4), {}
        for k, role in enumerate(score_tables.ROLES):
            roles[role] = columns[k % 4].selectbox(
                role.capitalize(),
                offered,
                offered.index(getattr(guess, role)),
                format_func=lambda column: "—" if column is None else str(column),
                key=f"map_{role}_{layout}_{name}",
            )
        wide = list(guess.columns)
        if layout != "long":
            wide = st.multiselect("Columns of scores", list(frame.columns), wide, key=f"map_columns_{layout}_{name}")
        columns = st.columns(3)
        named = {
            role: columns[k].text_input(f"{role.capitalize()}, if no column says", key=f"map_says_{role}_{name}")
            for k, role in enumerate(("model", "task", "metric"))
        }
        mapping = replace(guess, columns=tuple(wide), **roles)
        scores = score_tables.apply_mapping(frame, mapping, source=name, **named)
        st.caption(f"Read as {len(scores)} scores:")
        st.dataframe(exports.harmless_table(scores.table.head(8)), hide_index=True)
    return scores
