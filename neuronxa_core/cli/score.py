"""`score`: alignment by language and layer, as CSV."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

from neuronxa_core import exports
from neuronxa_core.cli.options import complain, destination, plans_of, prepared, progress
from neuronxa_core.errors import CorruptEntry, NeuronXAError
from neuronxa_core.jobs import cluster
from neuronxa_core.measures import alignment
from neuronxa_core.measures.alignment import Alignment
from neuronxa_core.states import computing, planning
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

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


Compute = Callable[[dict[str, Plan]], Iterator[tuple[str, NeuronXAError | None]]]
"""Computes what plans lack, and gives the name of each when it lacks nothing, or with what went wrong."""


def score(options: argparse.Namespace) -> int:
    """Compute what is missing and write the table; 2 where a model failed."""
    _check_cluster_options(options)
    store = prepared(options)
    if options.ray is None:
        plans = plans_of(options, options.model, planning.make_plan, store)
        with progress(plans, store) as on_progress:
            compute = partial(_one_after_another, store=store, pool=ModelPool(), on_progress=on_progress)
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
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(COLUMNS)
            for name in [name for name in plans if name in tables]:
                _write_rows(writer, name, plans[name], tables[name])
    for name, error in failures.items():
        complain(error if len(plans) == 1 else f"{name}: {error}")
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
