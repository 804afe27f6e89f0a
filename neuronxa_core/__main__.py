"""The same work without a browser: python -m neuronxa_core score --help, correlate --help"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NoReturn

import pandas as pd
from tqdm import tqdm

from neuronxa_core import exports
from neuronxa_core.corpora import reading
from neuronxa_core.errors import CorruptEntry, NeuronXAError
from neuronxa_core.experiment import CHOICES, Experiment
from neuronxa_core.host import redaction
from neuronxa_core.jobs import cluster
from neuronxa_core.measures import alignment, task_correlation
from neuronxa_core.measures.alignment import Alignment
from neuronxa_core.states import computing, planning
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.statistics import correlation
from neuronxa_core.store.cache import Store
from neuronxa_core.tasks import matching, score_files
from neuronxa_core.tasks.task_scores import TaskScores

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
        "score",
        help="alignment scores by language and layer, as CSV",
        description="Writes a long CSV of scores. With several models, one that fails costs no other its rows: each "
        "failure is one line on stderr, and the exit status is then 2.",
    )
    _add_options(score, states=["nas"], several_models=True)
    _add_cluster_options(score)
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


def _add_options(command: argparse.ArgumentParser, states: list[str], several_models: bool = False) -> None:
    """What both commands take."""
    source = "a local folder, a hub id (optionally @revision), or demo"
    if several_models:
        command.add_argument("--model", nargs="+", required=True, metavar="M", help=f"{source}; one or several")
    else:
        command.add_argument("--model", required=True, metavar="M", help=source)
    command.add_argument("--corpus", required=True, help="a folder, a CSV/TSV/Parquet file, or demo")
    command.add_argument("--pivot", required=True, help="the language that the others are compared with")
    command.add_argument("--languages", nargs="+", default=[], metavar="L", help="default: all of the corpus")
    command.add_argument("--sentences", type=int, metavar="N", help="the first N lines (default: all)")
    command.add_argument("--seed", type=int, help="with --sentences: a random sample with this seed, not the first N")
    command.add_argument(
        "--states", nargs="+", choices=CHOICES["state"], default=states, help=f"default: {' '.join(states)}"
    )
    for name in ("pooling", "neuron", "dtype", "device", "storage"):
        command.add_argument(f"--{name}", choices=CHOICES[name], default=getattr(Experiment, name))
    command.add_argument("--cache-dir", type=Path, help="default: NEURONXA_CACHE_DIR, else the project's cache folder")
    command.add_argument("--out", type=Path, metavar="F", help="the CSV file (default: stdout)")


def _add_cluster_options(command: argparse.ArgumentParser) -> None:
    """Where `score` computes, if not in this process."""
    group = command.add_argument_group(
        "several GPUs or machines",
        "Worth it where there are several and there is much to do: every task loads its model first.",
    )
    group.add_argument(
        "--ray",
        nargs="?",
        const=cluster.LOCAL,
        metavar="ADDRESS",
        help="compute as tasks of a Ray cluster: auto or host:port of one that this machine belongs to; without "
        "ADDRESS, this machine's own CPUs and GPUs",
    )
    group.add_argument(
        "--chunk",
        type=int,
        metavar="N",
        help="languages a task (default: as many as share the models out evenly over the cluster in the fewest tasks, "
        "since every task may have to load its model)",
    )
    group.add_argument(
        "--gpus-per-task", type=float, metavar="N", help="GPUs a task, or a part of one (default: 1; on cpu 0)"
    )
    group.add_argument(
        "--cpus-per-task",
        type=int,
        metavar="N",
        help="CPUs a task (default: 1; on cpu all of the smallest machine, so that models do not crowd its memory)",
    )


def _experiment(options: argparse.Namespace, model: str) -> Experiment:
    """What the options ask of a model."""
    return Experiment(
        model=model,
        corpus=options.corpus,
        pivot=options.pivot,
        languages=tuple(dict.fromkeys(options.languages)),
        sentences=options.sentences,
        seed=options.seed,
        pooling=options.pooling,
        neuron=options.neuron,
        dtype=options.dtype,
        device=options.device,
        storage=options.storage,
    )


def _prepared(options: argparse.Namespace) -> Store:
    """The store, when it is certain that there is somewhere for the table to go."""
    if options.out is not None and not options.out.parent.is_dir():
        raise NeuronXAError(f"--out: there is no folder {options.out.parent}")
    return Store(options.cache_dir)


def _plans(
    options: argparse.Namespace, models: Sequence[str], make_plan: Callable[..., Plan], store: Store
) -> dict[str, Plan]:
    """A plan a model, by the model's name in the table; what was found in the corpus is said on stderr.

    Where models share a name, as checkpoints in folders of one name do, they go by what the user called them.
    """
    raw = reading.read(options.corpus)
    plans = [make_plan(_experiment(options, model), store=store, raw=raw) for model in dict.fromkeys(models)]
    for plan in plans:
        planning.check_size(plan, store)
    for finding in plans[0].corpus.findings:
        if finding.severity != "info":
            print(f"{finding.severity}: {finding.message}", file=sys.stderr)
    named = Counter(plan.source.name for plan in plans)
    return {
        plan.source.name if named[plan.source.name] == 1 else plan.experiment.model: plan  # the user's word for it
        for plan in plans
    }


Compute = Callable[[dict[str, Plan]], Iterator[tuple[str, NeuronXAError | None]]]
"""Computes what plans lack, and gives the name of each when it lacks nothing, or with what went wrong."""


def score(options: argparse.Namespace) -> int:
    """Compute what is missing and write the table; 2 where a model failed."""
    _check_cluster_options(options)
    store = _prepared(options)
    if options.ray is None:
        plans = _plans(options, options.model, planning.make_plan, store)
        with _progress(plans, store) as on_progress:
            compute = partial(_one_after_another, store=store, pool=ModelPool(), on_progress=on_progress)
            tables, failures = _aligned(options, plans, store, compute)
    else:
        with cluster.connected(options.ray) as joined:
            device = joined.resolve_device(options.device)
            share = joined.share(device, options.cpus_per_task, options.gpus_per_task)
            plans = _plans(options, options.model, partial(planning.make_plan, device=device), store)
            with _progress(plans, store) as on_progress:
                compute = partial(
                    _on_cluster, store=store, joined=joined, share=share, size=options.chunk, on_progress=on_progress
                )
                tables, failures = _aligned(options, plans, store, compute)
    if tables:
        with _destination(options.out) as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(COLUMNS)
            for name in [name for name in plans if name in tables]:
                _write_rows(writer, name, plans[name], tables[name])
    for name, error in failures.items():
        _complain(error if len(plans) == 1 else f"{name}: {error}")
    return 2 if failures else 0


def _check_cluster_options(options: argparse.Namespace) -> None:
    """Raise NeuronXAError for those that make no sense."""
    for name in ("chunk", "gpus_per_task", "cpus_per_task"):
        if options.ray is None and getattr(options, name) is not None:
            raise NeuronXAError(f"--{name.replace('_', '-')} goes with --ray")
    if options.chunk is not None and options.chunk < 1:
        raise NeuronXAError(f"--chunk must be at least 1, not {options.chunk}")


def _one_after_another(
    plans: dict[str, Plan], store: Store, pool: ModelPool, on_progress: Callable[[str, str, int], None]
) -> Iterator[tuple[str, NeuronXAError | None]]:
    """Compute in this process."""
    for name, plan in plans.items():
        error = None
        try:
            computing.compute_missing(
                plan,
                store,
                pool,
                on_progress=lambda language, done, _all, name=name: on_progress(name, language, done),
            )
        except NeuronXAError as hindrance:
            error = hindrance
        yield name, error


def _on_cluster(
    plans: dict[str, Plan],
    store: Store,
    joined: cluster.Cluster,
    share: cluster.Share,
    size: int | None,
    on_progress: Callable[[str, str, int], None],
) -> Iterator[tuple[str, NeuronXAError | None]]:
    """Compute as tasks of a cluster."""
    names, numbered = list(plans), list(plans.values())

    def stored(number: int, language: str) -> None:
        on_progress(names[number], language, len(numbered[number].rows(language)))

    with closing(joined.compute(numbered, store, share, size=size, on_progress=stored)) as finished:
        for number, error in finished:
            yield names[number], error


def _aligned(
    options: argparse.Namespace, plans: dict[str, Plan], store: Store, compute: Compute
) -> tuple[dict[str, dict[str, Alignment]], dict[str, NeuronXAError]]:
    """({model: {state: its alignment}}, {model: what went wrong}).

    A model is aligned as soon as its states are there. Where they turn out damaged (the store has dropped them), they
    are computed again.
    """
    tables: dict[str, dict[str, Alignment]] = {}
    failures: dict[str, NeuronXAError] = {}
    todo = plans
    for rounds_left in reversed(range(1 + max(len(plan.all_languages) for plan in plans.values()))):
        damaged = {}
        with closing(compute(todo)) as finished:
            for name, error in finished:
                try:
                    if error is not None:
                        raise error
                    tables[name] = {
                        state: alignment.align(plans[name], store, state, options.pooling)
                        for state in dict.fromkeys(options.states)
                    }
                except NeuronXAError as hindrance:
                    if isinstance(hindrance, CorruptEntry) and rounds_left:
                        damaged[name] = plans[name]
                    else:
                        failures[name] = hindrance
        todo = damaged
        if not todo:
            break
    return tables, failures


def _write_rows(writer, name: str, plan: Plan, tables: dict[str, Alignment]) -> None:
    """A model's part of the table."""
    for state, found in tables.items():
        columns = found.score, found.retrieval_src2trg, found.retrieval_trg2src
        for k, language in enumerate(found.languages):
            for layer in range(plan.info.layers):
                writer.writerow(
                    [
                        exports.harmless(name),
                        exports.harmless(plan.corpus.name),
                        state,
                        plan.experiment.pooling,
                        plan.experiment.neuron,
                        plan.pivot,
                        language,
                        layer,
                        found.n_sentences,
                        *(float(column[k, layer]) for column in columns),
                    ]
                )


PREFERRED_METRICS = ("acc", "accuracy")


def correlate(options: argparse.Namespace) -> int:
    """Compute what is missing, match the task scores and write their correlations."""
    scores = score_files.read_scores_or_pairs(options.scores, options.pivot)
    store, pool = _prepared(options), ModelPool()
    plans = _plans(options, [options.model], planning.make_plan, store)
    (name, plan), *_ = plans.items()
    groups = _chosen_groups(scores, plan, options)
    found = []
    for model, task, metric in groups:
        joined = matching.join(
            scores.select(model=model, task=task, metric=metric), plan.all_languages, pivot=plan.pivot
        )
        for note in joined.notes:
            print(f"{task}: {note}", file=sys.stderr)
        points = task_correlation.points(plan, joined.pairs["score"].to_dict())
        if len(points.languages) < correlation.FEWEST:
            raise NeuronXAError(
                f"{task} has scores of {len(points.languages)} of the corpus's languages besides the pivot; a "
                f"correlation needs at least {correlation.FEWEST}"
            )
        if len(points.languages) < correlation.FEW:
            print(f"{task}: only {len(points.languages)} languages; one can make the result", file=sys.stderr)
        found.append((task, points))
    with _progress(plans, store) as of_model:

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
    with _destination(options.out) as handle:
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
def _progress(plans: dict[str, Plan], store: Store) -> Iterator[Callable[[str, str, int], None]]:
    """A progress bar of sentences on stderr: on_progress(model, language, sentences of it that are done)."""
    todo = {
        plan.keys[language]: len(plan.rows(language))
        for plan in plans.values()
        for language in planning.missing(plan, store)
    }
    seen: dict[tuple[str, str], int] = {}
    with tqdm(total=sum(todo.values()), unit=" sentences", file=sys.stderr, disable=not todo) as bar:

        def on_progress(name: str, language: str, done: int) -> None:
            bar.set_description(language if len(plans) == 1 else f"{name} {language}")
            bar.update(done - seen.get((name, language), 0))
            seen[name, language] = done

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


def _complain(error: object) -> None:
    """One line on stderr."""
    print(f"neuronxa_core: error: {redaction.redacted(' '.join(str(error).split()))}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 for bad input, with one line on stderr.

    Where some of several models fail, the rows of the others are written; the status is 2, with one line a failure.
    """
    options = parser().parse_args(arguments)
    redaction.install()
    try:
        return {"score": score, "correlate": correlate}[options.command](options)
    except NeuronXAError as error:
        _complain(error)
        return 2
    except KeyboardInterrupt:
        print("neuronxa_core: stopped; finished languages are kept in the cache", file=sys.stderr)
        return 130
    except OSError as error:
        _complain(error)
        return 2


if __name__ == "__main__":
    sys.exit(main())
