"""`score`: alignment by language and layer, as CSV."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import pandas as pd
from tqdm import tqdm

from neuronxa_core import exports
from neuronxa_core.cli.options import complain, destination, plans_of, prepared, progress
from neuronxa_core.errors import CorruptEntry, NeuronXAError
from neuronxa_core.experiment import CHOICES
from neuronxa_core.jobs import cluster
from neuronxa_core.measures import alignment
from neuronxa_core.measures.alignment import AlignmentScores, pool_layers
from neuronxa_core.measures.base import Run
from neuronxa_core.states import computing, planning
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

COLUMNS = {
    "model": "model",
    "corpus": "corpus",
    "state": "state",
    "pooling": "pooling",
    "neuron": "neuron",
    "pivot": "pivot",
    "language": "language",
    "layer": "layer",
    "n_sentences": "n_sentences",
    "n_truncated": "n_truncated",
    "score": "score",
    "retrieval_src2trg": "retrieval_forward",
    "retrieval_trg2src": "retrieval_backward",
}
"""Columns of the measure's table, and as they are called in the CSV."""


# what is pooled over layers, by the measure's names
POOLED = ["score", "retrieval_src2trg", "retrieval_trg2src"]


def add_table_options(command: argparse.ArgumentParser) -> None:
    """Which rows the table has, and whether states stay in the cache."""
    command.add_argument(
        "--pairs",
        choices=("pivot", "all"),
        default="pivot",
        help="all: every pair of languages once; the column pivot has the first of the two (default: pivot)",
    )
    command.add_argument(
        "--layers",
        choices=("all", *CHOICES["layers"]),
        default="all",
        help="every layer, or the mean or maximum over layers, of each column by itself (default: all)",
    )
    command.add_argument(
        "--no-keep",
        action="store_true",
        help="keep the scores but no states: while it runs, those of the pivot and of one language are on disk",
    )


def add_cluster_options(command: argparse.ArgumentParser) -> None:
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
        help="languages per task (default: as many as share the models out evenly over the cluster in the fewest "
        "tasks, since every task may have to load its model)",
    )
    group.add_argument(
        "--gpus-per-task", type=float, metavar="N", help="GPUs per task, or a part of one (default: 1; on cpu 0)"
    )
    group.add_argument(
        "--cpus-per-task",
        type=int,
        metavar="N",
        help="CPUs per task (default: 1; on cpu all of the smallest machine, so that models do not crowd its memory)",
    )


Compute = Callable[[dict[str, Plan]], Iterator[tuple[str, NeuronXAError | None]]]
"""Computes what plans lack, and gives the name of each when it lacks nothing, or with what went wrong."""


def score(options: argparse.Namespace) -> int:
    """Compute what is missing and write the table; 2 where a model failed."""
    _check_options(options)
    store = prepared(options)
    if options.ray is None:
        plans = plans_of(options, options.model, planning.make_plan, store, kept=not options.no_keep)
        with progress(plans, store, kept=not options.no_keep) as on_progress:
            compute = partial(_one_after_another, options, store=store, pool=ModelPool(), on_progress=on_progress)
            tables, failures = _aligned(options, plans, store, compute)
    else:
        with cluster.connected(options.ray) as joined:
            device = joined.resolve_device(options.device)
            share = joined.share(device, options.cpus_per_task, options.gpus_per_task)
            plans = plans_of(options, options.model, partial(planning.make_plan, device=device), store)
            with progress(plans, store) as on_progress:
                compute = partial(
                    _on_cluster, store=store, joined=joined, share=share, size=options.chunk, on_progress=on_progress
                )
                tables, failures = _aligned(options, plans, store, compute)
    if tables:
        with destination(options.out) as handle:
            handle.write(exports.csv_text(pd.concat([tables[name] for name in plans if name in tables])))
    for name, error in failures.items():
        complain(error if len(plans) == 1 else f"{name}: {error}")
    return 2 if failures else 0


def _check_options(options: argparse.Namespace) -> None:
    """Raise NeuronXAError for those that make no sense."""
    for name in ("chunk", "gpus_per_task", "cpus_per_task"):
        if options.ray is None and getattr(options, name) is not None:
            raise NeuronXAError(f"--{name.replace('_', '-')} goes with --ray")
    if options.chunk is not None and options.chunk < 1:
        raise NeuronXAError(f"--chunk must be at least 1, not {options.chunk}")
    if options.pairs == "all" and options.no_keep:
        raise NeuronXAError("--no-keep does not go with --pairs all, which compares the states of all languages")
    if options.ray is not None and options.no_keep:
        raise NeuronXAError("--no-keep does not go with --ray, whose tasks hand their states over through the cache")


def _one_after_another(
    options: argparse.Namespace,
    plans: dict[str, Plan],
    store: Store,
    pool: ModelPool,
    on_progress: Callable[[str, str, int], None],
) -> Iterator[tuple[str, NeuronXAError | None]]:
    """Compute in this process."""
    for name, plan in plans.items():

        def of_language(language: str, done: int, _all: int, name: str = name) -> None:
            on_progress(name, language, done)

        error = None
        try:
            if options.no_keep:
                alignment.align_without_keeping(plan, store, pool, options.states, options.pooling, of_language)
            else:
                computing.compute_missing(plan, store, pool, on_progress=of_language)
        except NeuronXAError as failure:
            error = failure
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
) -> tuple[dict[str, pd.DataFrame], dict[str, NeuronXAError]]:
    """({model: its rows}, {model: what went wrong}).

    A model is aligned as soon as its states are there. Where they turn out damaged (the store has dropped them), they
    are computed again.
    """
    for plan in plans.values() if options.pairs == "all" else ():
        planning.check_shared(plan, "--pairs all")
    tables: dict[str, pd.DataFrame] = {}
    failures: dict[str, NeuronXAError] = {}
    todo = plans
    for rounds_left in reversed(range(1 + max(len(plan.all_languages) for plan in plans.values()))):
        damaged = {}
        with closing(compute(todo)) as finished:
            for name, error in finished:
                try:
                    if error is not None:
                        raise error
                    tables[name] = _rows(name, plans[name], store, options)
                except NeuronXAError as failure:
                    if isinstance(failure, CorruptEntry) and rounds_left:
                        damaged[name] = plans[name]
                    else:
                        failures[name] = failure
        todo = damaged
        if not todo:
            break
    return tables, failures


def _rows(name: str, plan: Plan, store: Store, options: argparse.Namespace) -> pd.DataFrame:
    """A model's part of the table; sentences that were cut are said on stderr."""
    parts, truncated = [], {}
    whole = options.pairs == "all"
    plans = planning.pair_by_pair(plan) if whole else [plan]
    measures = [
        AlignmentScores(one, state, options.pooling) for state in dict.fromkeys(options.states) for one in plans
    ]
    total = sum(len(measure.parts() if whole else measure.missing(store)) for measure in measures)
    # what is done at once needs no bar
    with tqdm(total=total, unit=" language pairs", file=sys.stderr, delay=2) as bar:
        for measure in measures:
            results = {}
            if whole:  # of so many pairs nothing is kept
                for part, arrays in measure.compute_all(measure.parts(), Run(measure.plan, store, lambda: False)):
                    results[part] = arrays
                    bar.update()
            else:
                results = measure.run(store, on_progress=lambda _group, _done, _all: bar.update())
            pivot = measure.plan.pivot
            parts.append(measure.frame(results).assign(pivot=pivot))
            truncated |= {code: int(arrays["truncated"][0]) for code, arrays in results.items()}
            truncated[pivot] = int(next(iter(results.values()))["truncated"][1])
    cut = [f"{count} of {code}" for code, count in truncated.items() if count]
    if cut:
        print(
            f"warning: {name} reads at most {plan.info.max_length} tokens; sentences that were cut: {', '.join(cut)}",
            file=sys.stderr,
        )
    table = pd.concat(parts)
    if options.layers != "all":
        by_language = table.groupby(["state", "pivot", "language"], sort=False)
        pooled = by_language[POOLED].agg(lambda column: pool_layers(column.to_numpy(), options.layers))
        table = by_language.first().assign(layer=options.layers, **pooled).reset_index()
    about = {"model": name, "corpus": plan.corpus.name, "neuron": plan.experiment.neuron}
    return table.assign(**about)[list(COLUMNS)].rename(columns=COLUMNS)
