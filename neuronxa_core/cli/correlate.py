"""`correlate`: alignment against task scores over languages, as CSV."""

from __future__ import annotations

import argparse
import sys

import pandas as pd

from neuronxa_core import exports
from neuronxa_core.cli.options import destination, plans_of, prepared, progress
from neuronxa_core.errors import NeuronXAError
from neuronxa_core.measures import task_correlation
from neuronxa_core.states import computing, planning
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.statistics import correlation
from neuronxa_core.tasks import matching, score_files
from neuronxa_core.tasks.task_scores import TaskScores

PREFERRED_METRICS = ("acc", "accuracy")


def correlate(options: argparse.Namespace) -> int:
    """Compute what is missing, match the task scores and write their correlations."""
    scores = score_files.read_scores_or_pairs(options.scores, options.pivot)
    for note in scores.notes:
        print(f"note: {note}", file=sys.stderr)
    store, pool = prepared(options), ModelPool()
    plans = plans_of(options, [options.model], planning.make_plan, store)
    (name, plan), *_ = plans.items()
    groups = _chosen_groups(scores, plan, options)
    found = []
    for model, task, metric in groups:
        joined = matching.join(
            scores.select(model=model, task=task, metric=metric), plan.all_languages, pivot=plan.pivot
        )
        for note in joined.notes:
            print(f"{task}: {note}", file=sys.stderr)
        if not scores.higher_is_better(task, metric):
            print(f"{task}: less {metric} is better, so a good method has a negative correlation", file=sys.stderr)
        points = task_correlation.points(plan, joined.pairs["score"].to_dict())
        if len(points.languages) < correlation.FEWEST:
            raise NeuronXAError(
                f"{task} has scores of {len(points.languages)} of the corpus's languages besides the pivot; a "
                f"correlation needs at least {correlation.FEWEST}"
            )
        if len(points.languages) < correlation.FEW:
            print(f"{task}: only {len(points.languages)} languages; one can make the result", file=sys.stderr)
        found.append((task, points))
    with progress(plans, store) as of_model:

        def on_progress(language: str, done: int, _all: int) -> None:
            of_model(name, language, done)

        computing.compute_missing(plan, store, pool, on_progress=on_progress)
        tables = [
            computing.recompute_if_corrupt(
                plan,
                store,
                pool,
                lambda task=task, points=points: task_correlation.correlation_table(
                    plan, store, task, points, tuple(dict.fromkeys(options.states)), (options.pooling,)
                ),
                on_progress=on_progress,
            )
            for task, points in found
        ]
    with destination(options.out) as handle:
        handle.write(exports.csv_text(pd.concat(tables, ignore_index=True)))
    return 0


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
