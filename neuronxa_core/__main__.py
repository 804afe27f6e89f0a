"""The same work without a browser: python -m neuronxa_core score --help, correlate --help"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

import pandas as pd
from tqdm import tqdm

from neuronxa_core import correlation, downstream, pipeline, study
from neuronxa_core.downstream import TaskScores
from neuronxa_core.errors import NeuronXAError
from neuronxa_core.experiment import CHOICES, Experiment
from neuronxa_core.pipeline import ModelShelf, Plan
from neuronxa_core.store import Store

COLUMNS = [
    "model",
    "corpus",
    "state",
    "pooling",
    "neuron",
    "pivot",
    "language",
    "layer",
    "n_sentences",
    "score",
    "retrieval_forward",
    "retrieval_backward",
]


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line on stderr and exits with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    top = OneLineParser(prog="neuronxa_core", description="Cross-lingual alignment of a language model's neurons.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=OneLineParser)
    score = commands.add_parser(
        "score", help="alignment scores by language and layer, as CSV", description="Writes a long CSV of scores."
    )
    _add_options(score, states=["nas"])
    correlate = commands.add_parser(
        "correlate",
        help="correlation of alignment with task scores over languages, as CSV",
        description="Writes a CSV of the correlation of task scores with every method's alignment, layer by layer.",
    )
    _add_options(correlate, states=list(CHOICES["state"]))
    correlate.add_argument(
        "--scores", required=True, metavar="F", help="a table, lm-evaluation-harness results, or a folder of them"
    )
    correlate.add_argument("--task", metavar="T", help="one task only (default: all that the scores have)")
    correlate.add_argument("--metric", metavar="M", help="default: acc or accuracy where there is one, else the first")
    correlate.add_argument(
        "--scores-model", metavar="NAME", help="whose scores, where there are several models (default: this model's)"
    )
    return top


def _add_options(command: argparse.ArgumentParser, states: list[str]) -> None:
    """What both commands take."""
    command.add_argument("--model", required=True, help="a local folder, a hub id (optionally @revision), or demo")
    command.add_argument("--corpus", required=True, help="a folder, a CSV/TSV/Parquet file, or demo")
    command.add_argument("--pivot", required=True, help="the language that the others are compared with")
    command.add_argument("--languages", nargs="+", default=[], metavar="L", help="default: all of the corpus")
    command.add_argument("--sentences", type=int, metavar="N", help="the first N lines (default: all)")
    command.add_argument("--seed", type=int, help="with --sentences: a random sample with this seed, not the first N")
    command.add_argument(
        "--states", nargs="+", choices=CHOICES["state"], default=states, help=f"default: {' '.join(states)}"
    )
    for name in ("pooling", "neuron", "dtype", "device"):
        command.add_argument(f"--{name}", choices=CHOICES[name], default=getattr(Experiment, name))
    command.add_argument("--cache-dir", type=Path, help="default: NEURONXA_CACHE_DIR, else the project's cache folder")
    command.add_argument("--out", type=Path, metavar="F", help="the CSV file (default: stdout)")


def _experiment(options: argparse.Namespace) -> Experiment:
    """What the options ask for."""
    return Experiment(
        model=options.model,
        corpus=options.corpus,
        pivot=options.pivot,
        languages=tuple(dict.fromkeys(options.languages)),
        sentences=options.sentences,
        seed=options.seed,
        pooling=options.pooling,
        neuron=options.neuron,
        dtype=options.dtype,
        device=options.device,
    )


def _prepared(options: argparse.Namespace) -> tuple[Plan, Store, ModelShelf]:
    """The plan, with what was found in the corpus said on stderr."""
    if options.out is not None and not options.out.parent.is_dir():
        raise NeuronXAError(f"--out: there is no folder {options.out.parent}")
    store = Store(options.cache_dir)
    plan = pipeline.make_plan(_experiment(options), store)
    for finding in plan.corpus.findings:
        if finding.severity != "info":
            print(f"{finding.severity}: {finding.message}", file=sys.stderr)
    return plan, store, ModelShelf()


def score(options: argparse.Namespace) -> None:
    """Compute what is missing and write the table."""
    plan, store, shelf = _prepared(options)
    experiment = plan.experiment
    with _progress(plan, store) as on_progress:
        pipeline.compute_missing(plan, store, shelf, on_progress=on_progress)
        tables = {
            state: pipeline.healed(
                plan,
                store,
                shelf,
                lambda state=state: pipeline.align(plan, store, state, experiment.pooling),
                on_progress=on_progress,
            )
            for state in dict.fromkeys(options.states)
        }
    with _destination(options.out) as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS)
        for state, found in tables.items():
            columns = found.score, found.retrieval_forward, found.retrieval_backward
            for k, language in enumerate(found.languages):
                for layer in range(plan.info.layers):
                    writer.writerow(
                        [
                            plan.source.name,
                            plan.corpus.name,
                            state,
                            experiment.pooling,
                            experiment.neuron,
                            plan.pivot,
                            language,
                            layer,
                            found.n_sentences,
                            *(float(column[k, layer]) for column in columns),
                        ]
                    )


PREFERRED_METRICS = ("acc", "accuracy")


def correlate(options: argparse.Namespace) -> None:
    """Compute what is missing, match the task scores and write their correlations."""
    scores = downstream.read_scores_or_pairs(options.scores, options.pivot)
    plan, store, shelf = _prepared(options)
    groups = _chosen_groups(scores, plan, options)
    found = []
    for model, task, metric in groups:
        joined = downstream.join(scores.select(model=model, task=task, metric=metric), plan.everyone, pivot=plan.pivot)
        for note in joined.notes:
            print(f"{task}: {note}", file=sys.stderr)
        points = study.points(plan, joined.pairs["score"].to_dict())
        if len(points.languages) < correlation.FEWEST:
            raise NeuronXAError(
                f"{task} has scores of {len(points.languages)} of the corpus's languages besides the pivot; a "
                f"correlation needs at least {correlation.FEWEST}"
            )
        if len(points.languages) < correlation.FEW:
            print(f"{task}: only {len(points.languages)} languages; one can make the result", file=sys.stderr)
        found.append((task, points))
    with _progress(plan, store) as on_progress:
        pipeline.compute_missing(plan, store, shelf, on_progress=on_progress)
        tables = [
            pipeline.healed(
                plan,
                store,
                shelf,
                lambda task=task, points=points: study.correlation_table(
                    plan, store, task, points, tuple(dict.fromkeys(options.states)), (options.pooling,)
                ),
                on_progress=on_progress,
            )
            for task, points in found
        ]
    with _destination(options.out) as handle:
        pd.concat(tables, ignore_index=True).to_csv(handle, index=False, lineterminator="\n")


def _chosen_groups(scores: TaskScores, plan: Plan, options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """(model, task, metric) of the scores that are meant, one metric a task."""
    groups = scores.groups
    models = list(dict.fromkeys(groups["model"]))
    model = options.scores_model
    if model is None:
        model = models[0] if len(models) == 1 else study.same_model(plan, models)
    if model not in models:
        raise NeuronXAError(
            f"{options.scores} has scores of {', '.join(models[:8])}; say which with --scores-model"
            if model is None
            else f"{options.scores} has no scores of the model {model}; it has {', '.join(models[:8])}"
        )
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


@contextmanager
def _progress(plan: Plan, store: Store) -> Iterator:
    """A progress bar of sentences on stderr."""
    total = sum(len(plan.rows(language)) for language in pipeline.missing(plan, store))
    seen: dict[str, int] = {}
    with tqdm(total=total, unit=" sentences", file=sys.stderr, disable=total == 0) as bar:

        def on_progress(language: str, done: int, _all: int) -> None:
            bar.set_description(language)
            bar.update(done - seen.get(language, 0))
            seen[language] = done

        yield on_progress


@contextmanager
def _destination(out: Path | None) -> Iterator[IO[str]]:
    """stdout, or a file that appears only when it is whole."""
    if out is None:
        yield sys.stdout
        return
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with partial.open("w", newline="", encoding="utf-8") as handle:
            yield handle
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 for bad input, with one line on stderr."""
    options = parser().parse_args(arguments)
    try:
        {"score": score, "correlate": correlate}[options.command](options)
    except NeuronXAError as error:
        print(f"neuronxa_core: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("neuronxa_core: stopped; finished languages are kept in the cache", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"neuronxa_core: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
