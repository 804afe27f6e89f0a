"""Results files of EleutherAI's lm-evaluation-harness (results_*.json), old and new."""

from __future__ import annotations

import itertools
import math
import re
from collections import abc
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from neuronxa_core.corpora.texts import json_of
from neuronxa_core.errors import ScoresError
from neuronxa_core.tasks.cells import as_shares, decode_table, stem_of
from neuronxa_core.tasks.task_names import TaskName, split, task_languages
from neuronxa_core.tasks.task_scores import TaskScores, first_names, make_scores, number_or_nan, one_line

# arguments of a model that name it, in the order in which the harness looks for its name
NAMING = ("peft", "delta", "pretrained", "model", "path", "engine")
# arguments that change no score beyond rounding, and secrets
IDLE = re.compile(
    r".*(?:device|batch|parallel|memory|trust|safetensors|accelerate|cache|key|url|offload|retries|concurrent|timeout)"
    r".*|token|\w*(?:hf|auth)_token"
)


def harness_scores(files: Iterable[tuple[str, bytes]], *, model: str = "") -> TaskScores:
    """The scores of results files of the lm-evaluation-harness, (name, content) each, every metric a row.

    Metrics are "acc,none" with "acc_stderr,none" of current versions, or "acc" with "acc_stderr" of old ones; a filter
    other than none is named: "exact_match (strict-match)". The model's name is model_name, else that of model_args
    (an adapter before what it adapts); `model` where the file gives neither, then the file's name. n is the effective
    one of n-samples. Whether more is better is what the file says of a metric.

    Runs of one task whose settings differ (examples, limit, arguments of the model and of generation, chat template,
    system instruction) are tasks of their own: "xnli (5-shot)". A task's language is the end of its name
    (`task_languages`). Left aside with a note: groups over languages, tasks that name no language or two, subjects of a
    task that also has a total, and a task that heads a family (hellaswag beside hellaswag_de), for it is other data
    than the translations.

    Raises ScoresError where no file holds a score of a language; a file that cannot be read among others is a note.
    """
    contents: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for name, data in files:
        try:
            contents[name] = _content(name, data)
        except ScoresError as error:
            problems.append(str(error))
    subtasks = {name: _subtasks(content.get("group_subtasks")) for name, content in contents.items()}
    every = itertools.chain(
        *(content["results"] for content in contents.values()),
        *(part for groups in subtasks.values() for part in groups.values()),
    )
    accepted = task_languages(every)
    rows, notes = [], []
    for name, content in contents.items():
        found = list(_rows(name, content, accepted, subtasks[name], model, notes))
        if not found:
            tasks = first_names(content["results"])
            problems.append(f"{name} holds no score of a task in a language; its tasks are {tasks}")
        rows += found
    if not rows:
        raise ScoresError("; ".join(problems[:3]) or "There are no results; give files of the lm-evaluation-harness")
    table = _runs_apart(pd.DataFrame(rows), notes)
    source = first_names(dict.fromkeys(table["source"]), 3)
    told = table.dropna(subset=["higher is better"]).drop_duplicates(["task", "metric"])
    directions = told.set_index(["task", "metric"])["higher is better"].astype(bool).to_dict()
    shares = as_shares(table, source, notes)
    return make_scores(shares.to_dict("records"), [*notes, *(f"Not read: {one}." for one in problems)], directions)


def _content(name: str, data: bytes) -> dict[str, Any]:
    """A file's content, its results those of tasks alone. Raises ScoresError for what is no results file."""
    try:
        content = json_of(decode_table(name, data))
    except (ValueError, RecursionError) as error:
        raise ScoresError(f"{name} is no JSON: {f'{error}':.100}; give the file that lm_eval wrote") from error
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict) or not results:
        raise ScoresError(f'{name} has no "results" by task; give a results file of the lm-evaluation-harness')
    return content | {"results": {task: entry for task, entry in results.items() if isinstance(entry, dict)}}


def _rows(
    name: str,
    content: dict[str, Any],
    accepted: abc.Mapping[str, TaskName],
    subtasks: abc.Mapping[str, Sequence[str]],
    model: str,
    notes: list[str],
) -> Iterable[dict[str, Any]]:
    """A row per metric of the tasks in one language; adds to the notes."""
    arguments = _arguments(content)
    named, adapted = one_line(_model_of(content, arguments)), arguments.get("pretrained", "")
    if arguments.get("peft") and adapted:
        notes.append(f"{arguments['peft']} in {name} is an adapter of {adapted}, a model of its own.")
    members = _members(list(content["results"]), accepted, subtasks, name, notes)
    for full_name, found in members.items():
        metrics = _metrics(content["results"][full_name])
        if not metrics:
            notes.append(f"{full_name} in {name} has no score.")
        for metric, (key, score, stderr) in metrics.items():
            higher = _dict(_dict(content.get("higher_is_better")).get(full_name)).get(key)
            yield {
                "model": named or model.strip() or stem_of(name),
                "task": found.task,
                "metric": metric,
                "language": found.code,
                "score": score,
                "stderr": stderr,
                "n": _n_of(content.get("n-samples"), full_name),
                "source": name,
                "is percent": False,
                "column": metric,
                "higher is better": higher if isinstance(higher, bool) else None,
                "settings": _settings(content, arguments, full_name),
            }


def _runs_apart(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The table with what differs between runs of a model's task in the task's name; adds to the notes."""
    settings = pd.DataFrame(table.pop("settings").tolist(), index=table.index).fillna("")
    apart: list[str] = []
    for (_, task), rows in table.groupby(["model", "task"], sort=False).groups.items():
        own = settings.loc[rows]
        differing = own.loc[:, own.nunique() > 1]
        if differing.shape[1]:
            said = differing.apply(lambda row: ", ".join(filter(None, row)), axis=1)
            table.loc[rows, "task"] = said.map(lambda text, task=task: f"{task} ({text})" if text else task)
            apart += table.loc[rows, "task"].unique().tolist()
    if apart:
        notes.append(f"Runs with different settings are tasks of their own: {first_names(dict.fromkeys(apart))}.")
    return table


def _settings(content: abc.Mapping[str, Any], arguments: abc.Mapping[str, str], task: str) -> dict[str, str]:
    """{kind of setting: its value in words} of a task's run; what is as usual, or not told, is left out."""
    config = _dict(content.get("config"))
    shots = number_or_nan(_dict(content.get("n-shot")).get(task))
    limit = number_or_nan(config.get("limit"))
    told = {
        "examples": "" if math.isnan(shots) else f"{shots:g}-shot",
        "limit": "" if math.isnan(limit) else f"first {f'{limit:g} documents' if limit >= 1 else f'{limit:.0%}'}",
        "generation": one_line(config.get("gen_kwargs") or ""),
    }
    for what in ("chat_template", "system_instruction"):
        if content.get(what):
            told[what] = f"{what.replace('_', ' ')} {one_line(content.get(f'{what}_sha') or '')[:6]}".strip()
    if content.get("chat_template") and content.get("fewshot_as_multiturn"):
        told["turns"] = "multi-turn examples"
    given = {key: f"{key}={value}" for key, value in arguments.items() if key not in NAMING and not IDLE.fullmatch(key)}
    return told | given


def _members(
    names: Sequence[str],
    accepted: abc.Mapping[str, TaskName],
    subtasks: abc.Mapping[str, Sequence[str]],
    source: str,
    notes: list[str],
) -> dict[str, TaskName]:
    """The tasks in one language; adds notes on the others."""
    present = [accepted[name] for name in names if name in accepted]
    totals = {(one.task, one.code) for one in present if not one.subject}
    stems = {one.task for one in present}
    members: dict[str, TaskName] = {}
    aside: dict[str, list[str]] = {}
    for name in names:
        found, other = accepted.get(name), split(name) if len(name) <= 200 else None
        inner = {accepted[part].code for part in subtasks.get(name, ()) if part in accepted}
        if inner - ({found.code} if found else set()):
            aside.setdefault("groups over languages", []).append(name)
        elif name in stems:
            aside.setdefault("English members of a family, or its averages, in other data", []).append(name)
        elif found is None:
            is_pair = other is not None and other.kind == "pair"
            aside.setdefault("tasks in two languages" if is_pair else "tasks that name no language", []).append(name)
        elif found.subject:
            has_total = (found.task, found.code) in totals
            reason = "subjects of a task whose total is there" if has_total else "subjects without their task's total"
            aside.setdefault(reason, []).append(name)
        else:
            members[name] = found
    notes += [f"Left aside in {source}, {reason}: {first_names(names)}." for reason, names in aside.items()]
    return members


def _dict(content: Any) -> dict[str, Any]:
    return content if isinstance(content, dict) else {}


def _subtasks(content: Any) -> dict[str, list[str]]:
    """{group: its tasks}; in the harness's files a task of no group has an empty list."""
    lists = {group: parts for group, parts in _dict(content).items() if isinstance(parts, list)}
    return {group: [part for part in parts if isinstance(part, str)] for group, parts in lists.items() if parts}


def _metrics(entry: abc.Mapping[str, Any]) -> dict[str, tuple[str, float, float]]:
    """{metric and filter: (metric, score, standard error or NaN)} of a task's entry, of finite numbers alone."""
    metrics: dict[str, tuple[str, float, float]] = {}
    for key, value in entry.items():
        metric, _, filtered = key.partition(",")
        if metric.endswith("_stderr") or metric in ("alias", "name", "sample_len", "sample_count", "samples"):
            continue
        score = number_or_nan(value)
        if metric.strip() and not math.isnan(score):
            stderr = number_or_nan(entry.get(f"{metric}_stderr" + (f",{filtered}" if filtered else "")))
            label = metric if filtered in ("", "none") else f"{metric} ({filtered})"
            metrics[label] = metric, score, stderr if stderr >= 0 else math.nan
    return metrics


def _arguments(content: abc.Mapping[str, Any]) -> dict[str, str]:
    """The arguments of the model, {name: value in one line}."""
    given = _dict(content.get("config")).get("model_args")
    if isinstance(given, str):
        given = dict(part.partition("=")[::2] for part in given.split(",") if "=" in part)
    return {one_line(name): one_line(value) for name, value in _dict(given).items() if value not in (None, "")}


def _model_of(content: abc.Mapping[str, Any], arguments: abc.Mapping[str, str]) -> str:
    """What the results say of the model; "" where they name none."""
    of_arguments = next((arguments[key] for key in NAMING if key in arguments), "")
    others = (_dict(content.get(key)).get("model_name") for key in ("config", "config_general"))
    candidates = (content.get("model_name"), of_arguments, *others)
    return next((name for name in candidates if isinstance(name, str) and name.strip()), "")


def _n_of(samples: Any, task: str) -> float:
    entry = _dict(samples).get(task)
    n = number_or_nan(entry.get("effective", entry.get("original")) if isinstance(entry, dict) else entry)
    return n if n >= 1 else math.nan
