"""Answers item by item, right or wrong: sample logs of the lm-evaluation-harness, or a table."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuronxa_core.corpora.parallel import normalise
from neuronxa_core.corpora.texts import suffix
from neuronxa_core.errors import ScoresError
from neuronxa_core.host import limits
from neuronxa_core.tasks import cells
from neuronxa_core.tasks.score_files import is_file, read_content
from neuronxa_core.tasks.task_names import task_languages
from neuronxa_core.tasks.task_scores import first_names

# metrics that call an answer right or wrong, in the order in which they are taken
METRICS = ("acc", "exact_match", "acc_norm", "em")
COLUMNS = ("language", "line", "correct")
RIGHT = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
SAMPLES = re.compile(r"samples_(.+?)(?:_(\d{4}-\d\d-\d\dT[\d.-]+))?\.jsonl")


@dataclass(frozen=True)
class Items:
    """Items of one task.

    correct: language, as the source writes it -> {line of the corpus, from 1: whether the answer is right}. texts: of
    sample logs, what each item's document holds, alike. what: the task and metric, or the table's name. notes: what was
    left aside, in sentences.
    """

    correct: Mapping[str, Mapping[int, bool]]
    what: str
    texts: Mapping[str, Mapping[int, frozenset[str]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read(path: Path, metric: str = "") -> Items:
    """Items of a table, or of sample logs: one, or all in a folder and its folders.

    A table (CSV, TSV) has a row per item with the columns language, line and correct (1, 0, true or false). Sample logs
    are samples_<task>_<date>.jsonl, as `lm_eval --log_samples` writes them; their doc_id, from 0, is taken for a line,
    and the task's name says its language (`task_languages`). Of several logs of one task the latest is read. metric:
    such as acc, or exact_match,strict-match with a filter; the first of METRICS and the first filter if not given.

    Raises ScoresError for what cannot be read, is neither, is of several tasks, or neither right nor wrong.
    """
    path = path.expanduser()
    try:
        is_folder = path.is_dir()
        found = sorted(itertools.islice(path.rglob("samples_*.jsonl"), limits.SCORES_FILES + 1)) if is_folder else []
    except OSError as error:
        raise ScoresError(f"{path} cannot be read: {error}") from error
    if is_folder and not 0 < len(found) <= limits.SCORES_FILES:
        raise ScoresError(
            f"{path} holds {'more than ' + str(limits.SCORES_FILES) if found else 'no'} sample logs of the "
            "lm-evaluation-harness; give a folder of samples_*.jsonl of one task, or a CSV with language, line, correct"
        )
    if not is_folder and not is_file(path):
        raise ScoresError(f"There is no file or folder {path}; give sample logs or a CSV of items")
    if is_folder or suffix(path.name) == "jsonl":
        return _of_logs(found or [path], metric)
    return _of_table(path.name, read_content(path))


def _of_table(name: str, data: bytes) -> Items:
    table = cells.read_frame(name, data).rename(columns=str.lower)
    missing = [column for column in COLUMNS if list(table).count(column) != 1]
    if missing:
        raise ScoresError(
            f"{name} has no column {' and no column '.join(missing)}; items need {', '.join(COLUMNS)} once"
        )
    correct: dict[str, dict[int, bool]] = {}
    for row, (language, line, right) in enumerate(table[list(COLUMNS)].itertuples(index=False), 1):
        where = f"{name}, row {row}"
        if not (line.isdecimal() and len(line) < 10 and int(line)):
            raise ScoresError(f"{where}: line is {line!r:.40}; it is the line of the corpus, a whole number from 1 on")
        if right.lower() not in RIGHT:
            raise ScoresError(f"{where}: correct is {right!r:.40}; write 1 for a right answer and 0 for a wrong one")
        if not language:
            raise ScoresError(f"{where}: the language is empty; fill it in")
        own = correct.setdefault(language, {})
        if int(line) in own:
            raise ScoresError(f"{where}: {language} has line {line} twice; leave one of them")
        own[int(line)] = RIGHT[right.lower()]
    return Items(correct, name)


def _of_logs(files: list[Path], metric: str) -> Items:
    notes: list[str] = []
    logs: dict[str, tuple[str, Path]] = {}
    for file in files:
        named = SAMPLES.fullmatch(file.name)
        if named is None:
            raise ScoresError(
                f"{file.name} is not named as the lm-evaluation-harness does: samples_<task>_<date>.jsonl"
            )
        task, date = named[1], named[2] or ""
        if task in logs:
            notes.append(f"Of several logs of {task} the latest is read.")
        logs[task] = max(logs.get(task, ("", file)), (date, file))
    languages = {task: one for task, one in task_languages(logs).items() if not one.subject}
    if aside := [task for task in logs if task not in languages]:
        notes.append(f"Left aside, as their names tell no language, or a subject: {first_names(aside)}.")
    tasks = list(dict.fromkeys(one.task for one in languages.values()))
    if len(tasks) != 1:
        fault = f"are of several tasks, {first_names(tasks)}" if tasks else f"name no language: {first_names(logs)}"
        raise ScoresError(f"The sample logs {fault}; give those of one task in several languages")
    correct: dict[str, dict[int, bool]] = {}
    texts: dict[str, dict[int, frozenset[str]]] = {}
    for task, one in languages.items():
        if one.code in correct:
            raise ScoresError(f"{task} is the second log of {tasks[0]} in {one.code}; leave one of them")
        metric, correct[one.code], texts[one.code] = _log(logs[task][1], metric, notes)
    return Items(correct, f"{tasks[0]} ({metric})", texts, tuple(dict.fromkeys(notes)))


def _log(file: Path, metric: str, notes: list[str]) -> tuple[str, dict[int, bool], dict[int, frozenset[str]]]:
    """(metric with its filter, right answers by line, texts by line) of one log; adds to the notes."""
    name, (metric, _, wanted) = file.name, metric.partition(",")
    correct: dict[int, bool] = {}
    texts: dict[int, frozenset[str]] = {}
    others: set[str] = set()
    for number, line in enumerate(cells.decode_table(name, read_content(file)).split("\n"), 1):
        if not line.strip():
            continue
        where, record = f"{name}, line {number}", _record(line)
        doc_id = record.get("doc_id")
        if isinstance(doc_id, bool) or not isinstance(doc_id, int) or doc_id < 0:
            raise ScoresError(f"{where} has no doc_id; give a log that lm_eval wrote with --log_samples")
        metric = metric or next((one for one in METRICS if one in record), "")
        if metric not in record:
            given = first_names(str(one) for one in record.get("metrics") or ()) or "none"
            raise ScoresError(f"{where} has no metric {metric or ' or '.join(METRICS)}; its metrics are {given}")
        wanted = wanted or str(record.get("filter", "none"))
        if str(record.get("filter", "none")) != wanted:
            others.add(str(record["filter"]))
            continue
        if record[metric] not in (0, 1):
            raise ScoresError(f"{where}: {metric} is {record[metric]!r:.40}, neither 0 nor 1; name another metric")
        if doc_id + 1 in correct:
            raise ScoresError(f"{where}: doc_id {doc_id} is there twice; give a log of one run")
        correct[doc_id + 1] = bool(record[metric])
        doc = record.get("doc")
        strings = doc.values() if isinstance(doc, dict) else ()
        texts[doc_id + 1] = frozenset(normalise(text) for text in strings if isinstance(text, str))
    if not correct:
        raise ScoresError(f"{name} holds no item" + (f" with the filter {wanted}" if wanted else ""))
    if others:
        notes.append(f"Answers under the filter {wanted} are read, not those under {first_names(sorted(others))}.")
    return metric if wanted == "none" else f"{metric},{wanted}", correct, texts


def _record(line: str) -> dict[str, Any]:
    """A line's JSON object, empty where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
