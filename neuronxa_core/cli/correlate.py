"""`correlate`: alignment against task scores over languages: layer by layer, or as a grid of several models."""

from __future__ import annotations

import argparse
import sys
from functools import partial

import pandas as pd

from neuronxa_core import exports
from neuronxa_core.cli.options import destination, plans_of, prepared, progress
from neuronxa_core.errors import NeuronXAError
from neuronxa_core.experiment import CHOICES, Experiment
from neuronxa_core.measures import alignment, grid, task_correlation
from neuronxa_core.measures.task import Task, matched
from neuronxa_core.states import computing, planning
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.statistics import correlation
from neuronxa_core.tasks import score_files
from neuronxa_core.tasks.task_scores import TaskScores

PREFERRED_METRICS = ("acc", "accuracy")


def correlate(options: argparse.Namespace) -> int:
    """Compute what is missing, match the task scores and write their correlations."""
    scores = score_files.read_scores_or_pairs(options.scores, options.pivot)
    for note in scores.notes:
        print(f"note: {note}", file=sys.stderr)
    table = options.table or ("grid" if len(dict.fromkeys(options.model)) > 1 else "layers")
    if table == "layers" and options.format != "csv":
        raise NeuronXAError(f"--format {options.format} is of the grid; add --table grid")
    every = table == "grid" and options.pooling is None
    options.pooling = options.pooling or Experiment.pooling
    poolings = CHOICES["pooling"] if every else (options.pooling,)
    states = tuple(dict.fromkeys(options.states))
    store, pool = prepared(options), ModelPool()
    options.poolings = (*options.poolings, *poolings)
    plans = plans_of(options, options.model, planning.make_plan, store)
    tasks = {name: _tasks(scores, plan, options, name if len(plans) > 1 else "") for name, plan in plans.items()}

    def computed(name: str, plan: Plan) -> pd.DataFrame:
        if table == "grid":
            return grid.correlations(
                name, plan, tasks[name], lambda _task, *how: alignment.align(plan, store, *how), states, poolings
            )
        found = [(task.name, task_correlation.points(plan, task.scores)) for task in tasks[name]]
        parts = [
            task_correlation.correlation_table(plan, store, *one, states, (options.pooling,)).assign(model=name)
            for one in found
        ]
        return pd.concat(parts, ignore_index=True)

    tables = []
    with progress(plans, store) as of_model:
        for name, plan in plans.items():

            def on_progress(language: str, done: int, _all: int, name: str = name) -> None:
                of_model(name, language, done)

            computing.compute_missing(plan, store, pool, on_progress=on_progress)
            make = partial(computed, name, plan)
            tables.append(computing.recompute_if_corrupt(plan, store, pool, make, on_progress=on_progress))
    whole = pd.concat(tables, ignore_index=True)
    if table == "grid":
        print(grid.conclusion(whole), file=sys.stderr)
    with destination(options.out) as handle:
        handle.write(exports.csv_text(whole) if table == "layers" else grid.text(whole, options.format))
    return 0


def _tasks(scores: TaskScores, plan: Plan, options: argparse.Namespace, of: str) -> list[Task]:
    """The tasks that are meant, matched with the plan's languages. of: the model, where notes have to say it."""
    found = []
    for model, name, metric in _chosen_groups(scores, plan, options):
        task = matched(plan, scores, model, name, metric)
        where = f"{of}, {name}" if of else name
        for note in task.unmatched:
            print(f"{where}: {note}", file=sys.stderr)
        if not task.higher_is_better:
            print(f"{where}: less {metric} is better, so a good method has a negative correlation", file=sys.stderr)
        count = len(task_correlation.points(plan, task.scores).languages)
        if count < correlation.FEWEST:
            raise NeuronXAError(
                f"{where} has scores of {count} of the corpus's languages besides the pivot; a correlation needs at "
                f"least {correlation.FEWEST}"
            )
        if count < correlation.FEW:
            print(f"{where}: only {count} languages; one can make the result", file=sys.stderr)
        found.append(task)
    return found


def _chosen_groups(scores: TaskScores, plan: Plan, options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """(model, task, metric) of the scores that are meant, one metric a task."""
    groups = scores.groups
    models = list(dict.fromkeys(groups["model"]))
    model = options.scores_model
    if model is None:
        model = models[0] if len(models) == 1 else task_correlation.same_model(plan, models)
    if model not in models:
        raise NeuronXAError(
            f"{options.scores} has scores of {', '.join(models[:8])}; say which with --scores-model"
            if model is None
            else f"{options.scores} has no scores of the model {model}; it has {', '.join(models[:8])}"
        )
    if model and options.scores_model is None and model.lower() != plan.source.name.lower():
        print(f"scores of {model} are taken for {plan.source.name}", file=sys.stderr)
    groups = groups[groups["model"] == model]
    tasks = list(dict.fromkeys(groups["task"]))
    if options.task is not None:
        if options.task not in tasks:
            raise NeuronXAError(f"{options.scores} has no task {options.task}; it has {', '.join(tasks[:12])}")
        tasks = [options.task]
    chosen = []
    for task in tasks:
        metrics = groups.loc[groups["task"] == task, "metric"].tolist()
        if options.metric is not None and options.metric not in metrics:
            raise NeuronXAError(f"{task} has no metric {options.metric}; it has {', '.join(metrics)}")
        metric = options.metric or next((m for m in PREFERRED_METRICS if m in metrics), metrics[0])
        if len(metrics) > 1 and options.metric is None:
            print(f"{task}: {metric} is taken of {', '.join(metrics)}; --metric chooses another", file=sys.stderr)
        chosen.append((model, task, metric))
    return chosen
