"""`measure NAME`: any measure as a tidy CSV; its options are the choices that its dataclass declares."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import Field
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from neuronxa_core import exports
from neuronxa_core.cli.options import (
    OneLineParser,
    add_options,
    destination,
    plans_of,
    prepared,
    progress,
    say_findings,
)
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import registry
from neuronxa_core.measures.base import Measure, options
from neuronxa_core.states import computing, planning
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

USAGE = "neuronxa_core measure (--list | NAME [options])"
# choices that are options of every command
SHARED = ("state", "pooling", "pivot")


def measure(arguments: Sequence[str]) -> int:
    """Compute what is missing of a measure and write its table. Raises NeuronXAError."""
    if list(arguments) == ["--list"]:
        for name in registry.MEASURES:
            print(f"{name}: {registry.sentence(registry.find(name))}")
        return 0
    if not arguments or arguments[0].startswith("-"):
        top = OneLineParser(prog="neuronxa_core measure", usage=USAGE, description=__doc__)
        top.add_argument("--list", action="store_true", help="the measures, with a sentence each")
        top.parse_args(arguments or ["-h"])
        top.error(f"name one measure: {', '.join(registry.MEASURES)}")
    kind = registry.find(arguments[0])
    chosen = parser(kind).parse_args(arguments[1:])
    store, pool = prepared(chosen), ModelPool()
    plans = plans_of(chosen, [chosen.model], planning.make_plan, store)
    ((name, plan),) = plans.items()
    made = [_made(kind, plan, store, pool, chosen, state) for state in dict.fromkeys(chosen.states)]
    if made[0].note:
        print(f"note: {made[0].note}", file=sys.stderr)
    if kind.needs == "states":
        needed = planning.with_states(made[0].needed, [one for each in made for one in each.needed.needed])
        _compute_states(name, needed, store, pool, announced=made[0].plan is plan)
    table = pd.concat([_table(one, store, pool) for one in made], ignore_index=True)
    columns = {"model": name, "corpus": plan.corpus.name} if kind.needs_corpus else {"model": name}
    for place, (column, value) in enumerate(columns.items()):
        if column not in table:
            table.insert(place, column, value)
    with destination(chosen.out) as handle:
        handle.write(exports.csv_text(table))
    return 0


def parser(kind: type[Measure]) -> argparse.ArgumentParser:
    """The options of a measure: those of `score`, and its own choices."""
    command = OneLineParser(prog=f"neuronxa_core measure {kind.name}", description=registry.sentence(kind))
    own_state = next((option.default for option in options(kind) if option.name == "state"), Experiment.state)
    add_options(command, states=[own_state], needs_corpus=kind.needs_corpus)
    own = command.add_argument_group(f"choices of {kind.name}")
    for option in options(kind):
        if option.name not in SHARED:
            _add(own, option)
    return command


def _add(group: argparse._ArgumentGroup, option: Field) -> None:
    """An option as its field declares it."""
    says, among, default = option.metadata["says"], option.metadata["among"], option.default
    kind = option.metadata["type"] or type(default)
    shown = "" if default is None or default == () else f" (default: {default})"
    settings: dict = {"help": says.replace("%", "%%") + shown, "dest": option.name}
    if option.name == "data":
        settings |= {"type": Path, "metavar": "PATH", "required": default is None and not option.metadata["optional"]}
    elif kind is bool:
        settings |= {"action": argparse.BooleanOptionalAction, "default": default, "help": says}
    elif kind is tuple:
        settings |= {"nargs": "+", "default": default, "choices": among or None}
    else:
        settings |= {"type": kind, "default": default, "choices": among or None}
    group.add_argument(f"--{option.name.replace('_', '-')}", **settings)


def _made(
    kind: type[Measure], plan: Plan, store: Store, pool: ModelPool, chosen: argparse.Namespace, state: str
) -> Measure:
    """The measure of one representation."""
    values = {**vars(chosen), "state": state}
    return kind.make(plan, store, pool, **{option.name: values[option.name] for option in options(kind)})


def _compute_states(name: str, plan: Plan, store: Store, pool: ModelPool, announced: bool) -> None:
    """Compute the states that are missing; announced: whether the plan's corpus was already checked and spoken of."""
    if not announced:
        planning.check_size(plan, store)
        say_findings(plan)
    with progress({name: plan}, store) as on_progress:
        computing.compute_missing(
            plan, store, pool, on_progress=lambda language, done, _all: on_progress(name, language, done)
        )


def _table(made: Measure, store: Store, pool: ModelPool) -> pd.DataFrame:
    """The measure's table; what is missing is computed under a progress bar."""
    totals = made.totals(store)
    seen = dict.fromkeys(totals, 0)
    with tqdm(total=sum(totals.values()), unit=f" {made.unit}", file=sys.stderr, disable=not totals) as bar:

        def on_progress(group: str, done: int, _all: int) -> None:
            bar.update(done - seen.get(group, 0))
            seen[group] = done

        return made.frame(made.run(store, pool, on_progress))
