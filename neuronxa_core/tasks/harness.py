"""Results files of EleutherAI's lm-evaluation-harness (results_*.json), old and new."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter, abc
from collections.abc import Sequence
from typing import Any

from neuronxa_core.errors import ScoresError
from neuronxa_core.tasks.cells import as_shares, decode_table, stem_of
from neuronxa_core.tasks.task_names import split
from neuronxa_core.tasks.task_scores import TaskScores, first_names, make_scores, number_or_nan, one_line


def harness_scores(name: str, data: bytes, *, model: str = "") -> TaskScores:
    """The scores of a results file of the lm-evaluation-harness, every metric a row.

    Metrics are "acc,none" with "acc_stderr,none" of current versions, or "acc" with "acc_stderr" of old ones; a filter
    other than none is named: "exact_match (strict-match)". The model's name is model_name, else `pretrained` of
    model_args; `model` where the file gives neither, then the file's name. n is the effective one of n-samples.

    A task's language is the end of its name (`task_language`). Left aside with a note: groups over languages, tasks
    that name no language, subjects of a task that also has a total, and a task that heads a family (hellaswag beside
    hellaswag_de), for it is other data than the translations.

    Raises ScoresError for what is no such file or holds no score of a language.
    """
    try:
        content = json.loads(decode_table(name, data))
    except (ValueError, RecursionError) as error:
        raise ScoresError(f"{name} is no JSON: {f'{error}':.100}; give the file that lm_eval wrote") from error
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict) or not results:
        raise ScoresError(f'{name} has no "results" by task; give a results file of the lm-evaluation-harness')
    results = {task: entry for task, entry in results.items() if isinstance(entry, dict)}
    members, notes = _members(list(results), _subtasks(content.get("group_subtasks")), name)
    rows = []
    for full_name, (task, code) in members.items():
        metrics = _metrics(results[full_name])
        if not metrics:
            notes.append(f"{full_name} in {name} has no score.")
        for metric, (score, stderr) in metrics.items():
            rows.append(
                {
                    "model": one_line(_model_of(content)) or model.strip() or stem_of(name),
                    "task": task,
                    "metric": metric,
                    "language": code,
                    "score": score,
                    "stderr": stderr,
                    "n": _n_of(content.get("n-samples"), full_name),
                    "source": name,
                    "is percent": False,
                    "column": metric,
                }
            )
    if not rows:
        raise ScoresError(f"{name} holds no score of a task in a language; its tasks are {first_names(results)}")
    return make_scores(as_shares(rows, name, notes), notes)


def _members(
    names: Sequence[str], subtasks: abc.Mapping[str, Sequence[str]], source: str
) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """({name: (task, language)} of the tasks in one language, notes on the others)."""
    every = {*names, *itertools.chain.from_iterable(subtasks.values())}
    parts = {name: found for name in every if len(name) <= 200 and (found := split(name))}
    certain = Counter((s.task, len(s.code)) for s in parts.values() if s.is_certain and not s.subject)
    # an uncertain code beside two certain ones of its task is a language too: is beside de and fr
    accepted = {name: s for name, s in parts.items() if s.is_certain or certain[s.task, len(s.code)] > 1}
    present = [accepted[name] for name in names if name in accepted]
    totals = {(one.task, one.code) for one in present if not one.subject}
    stems = {one.task for one in present}
    members: dict[str, tuple[str, str]] = {}
    aside: dict[str, list[str]] = {}
    for name in names:
        found = accepted.get(name)
        inner = {accepted[part].code for part in subtasks.get(name, ()) if part in accepted}
        if inner - ({found.code} if found else set()):
            aside.setdefault("groups over languages", []).append(name)
        elif name in stems:
            aside.setdefault("English members of a family, or its averages, in other data", []).append(name)
        elif found is None:
            aside.setdefault("tasks that name no language", []).append(name)
        elif found.subject:
            has_total = (found.task, found.code) in totals
            reason = "subjects of a task whose total is there" if has_total else "subjects without their task's total"
            aside.setdefault(reason, []).append(name)
        else:
            members[name] = found.task, found.code
    return members, [f"Left aside in {source}, {reason}: {first_names(names)}." for reason, names in aside.items()]


def _subtasks(content: Any) -> dict[str, list[str]]:
    """{group: its tasks}; in the harness's files a task of no group has an empty list."""
    if not isinstance(content, dict):
        return {}
    lists = {group: parts for group, parts in content.items() if isinstance(parts, list)}
    return {group: [part for part in parts if isinstance(part, str)] for group, parts in lists.items() if parts}


def _metrics(entry: abc.Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """{metric: (score, standard error or NaN)} of a task's entry; what is no finite number is no score."""
    metrics: dict[str, tuple[float, float]] = {}
    for key, value in entry.items():
        metric, _, filtered = key.partition(",")
        if metric.endswith("_stderr") or metric in ("alias", "name", "sample_len", "sample_count", "samples"):
            continue
        score = number_or_nan(value)
        if metric.strip() and not math.isnan(score):
            stderr = number_or_nan(entry.get(f"{metric}_stderr" + (f",{filtered}" if filtered else "")))
            label = metric if filtered in ("", "none") else f"{metric} ({filtered})"
            metrics[label] = score, stderr if stderr >= 0 else math.nan
    return metrics


def _model_of(content: abc.Mapping[str, Any]) -> str:
    """What the results say of the model; "" where they name none."""
    config, general = (content.get(key) for key in ("config", "config_general"))
    config = config if isinstance(config, dict) else {}
    general = general if isinstance(general, dict) else {}
    arguments = config.get("model_args")
    if isinstance(arguments, str):
        found = re.search(r"(?:^|,)(?:pretrained|model)=([^,]+)", arguments)
        pretrained: Any = found[1] if found else None
    else:
        pretrained = arguments.get("pretrained") if isinstance(arguments, dict) else None
    candidates = (content.get("model_name"), pretrained, config.get("model_name"), general.get("model_name"))
    return next((name for name in candidates if isinstance(name, str) and name.strip()), "")


def _n_of(samples: Any, task: str) -> float:
    entry = samples.get(task) if isinstance(samples, dict) else None
    n = number_or_nan(entry.get("effective", entry.get("original")) if isinstance(entry, dict) else entry)
    return n if n >= 1 else math.nan
