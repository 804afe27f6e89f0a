"""What the commands share: options, plans, progress on stderr, and where the table goes."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

from tqdm import tqdm

from neuronxa_core.corpora import reading
from neuronxa_core.errors import NeuronXAError
from neuronxa_core.experiment import CHOICES, STATES, Experiment
from neuronxa_core.host import redaction
from neuronxa_core.states import pace, planning
from neuronxa_core.states.planning import Plan
from neuronxa_core.store.cache import Store


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line on stderr and exits with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


class _States(argparse.Action):
    """States that are named are those that are kept, too."""

    def __call__(self, _parser: object, options: argparse.Namespace, values: list[str], *_option: object) -> None:
        options.states = options.kept_states = values


def add_options(
    command: argparse.ArgumentParser, states: list[str], several_models: bool = False, needs_corpus: bool = True
) -> None:
    """What all commands take. Where the corpus plays no part, it may be left out."""
    source = "a local folder, a hub id (optionally @revision), or demo"
    if several_models:
        command.add_argument("--model", nargs="+", required=True, metavar="M", help=f"{source}; one or several")
    else:
        command.add_argument("--model", required=True, metavar="M", help=source)
    default = {"required": True} if needs_corpus else {"default": None}
    command.add_argument("--corpus", help="a folder, a CSV/TSV/Parquet file, pairs, or demo", **default)
    command.add_argument("--pivot", help="the language that the others are compared with", **default)
    command.add_argument("--languages", nargs="+", default=[], metavar="L", help="default: all of the corpus")
    command.add_argument("--sentences", type=int, metavar="N", help="the first N lines, of each pair (default: all)")
    command.add_argument("--seed", type=int, help="with --sentences: a random sample with this seed, not the first N")
    command.add_argument(
        "--states",
        nargs="+",
        choices=CHOICES["state"],
        action=_States,
        default=states,
        help=f"which are written; these and NAS alone are kept (default: {' '.join(states)}, and all are kept)",
    )
    command.set_defaults(kept_states=STATES)
    for name in ("pooling", "neuron", "dtype", "device", "storage"):
        command.add_argument(f"--{name}", choices=CHOICES[name], default=getattr(Experiment, name))
    command.add_argument(
        "--poolings",
        nargs="+",
        choices=CHOICES["pooling"],
        default=[Experiment.pooling],
        help="keep the states under these at once; what is needed later takes one more pass (default: weighted)",
    )
    command.add_argument("--cache-dir", type=Path, help="default: NEURONXA_CACHE_DIR, else the project's cache folder")
    command.add_argument("--out", type=Path, metavar="F", help="the CSV file (default: stdout)")


def experiment(options: argparse.Namespace, model: str) -> Experiment:
    """What the options ask of a model. Without a corpus, pivot and languages are those of a measure's own data."""
    given = options.corpus is not None
    kept = [(state, pooling) for state in options.kept_states for pooling in options.poolings]
    kept += [(state, options.pooling) for state in options.states]
    return Experiment(
        model=model,
        corpus=options.corpus if given else Experiment.corpus,
        pivot=options.pivot or Experiment.pivot if given else Experiment.pivot,
        languages=tuple(dict.fromkeys(options.languages)) if given else (),
        sentences=options.sentences,
        seed=options.seed,
        state=options.states[0],
        pooling=options.pooling,
        neuron=options.neuron,
        dtype=options.dtype,
        device=options.device,
        storage=options.storage,
        kept=tuple(map("_".join, kept)),
    )


def prepared(options: argparse.Namespace) -> Store:
    """The store, when it is certain that there is somewhere for the table to go."""
    if options.out is not None and not options.out.parent.is_dir():
        raise NeuronXAError(f"--out: there is no folder {options.out.parent}")
    return Store(options.cache_dir)


def plans_of(
    options: argparse.Namespace, models: Sequence[str], make_plan: Callable[..., Plan], store: Store, kept: bool = True
) -> dict[str, Plan]:
    """A plan a model, by the model's name in the table; what was found in the corpus is said on stderr.

    Where models share a name, as checkpoints in folders of one name do, they go by what the user called them. kept:
    whether all states are to be in the cache at once.
    """
    raw = reading.read(options.corpus or Experiment.corpus)
    plans = [make_plan(experiment(options, model), store=store, raw=raw) for model in dict.fromkeys(models)]
    for plan in plans if kept else ():
        planning.check_size(plan, store)
    if options.corpus is not None:
        say_findings(plans[0])
    named = Counter(plan.source.name for plan in plans)
    return {
        plan.source.name if named[plan.source.name] == 1 else plan.experiment.model: plan  # the user's word for it
        for plan in plans
    }


def say_findings(plan: Plan) -> None:
    """What was found in a plan's corpus, on stderr."""
    for finding in plan.corpus.findings:
        print(f"{finding.severity.replace('info', 'note')}: {finding.message}", file=sys.stderr)


@contextmanager
def progress(plans: dict[str, Plan], store: Store, kept: bool = True) -> Iterator[Callable[[str, str, int], None]]:
    """A progress bar of sentences on stderr: on_progress(model, language, sentences of it that are done).

    Before it, a line per model that says what is to be computed, what that takes where states are kept, and how long.
    """
    for name, plan in plans.items():
        if planning.missing(plan, store):
            print(f"note: {name}: {pace.summary(plan, store, kept)}", file=sys.stderr)
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
def destination(out: Path | None) -> Iterator[IO[str]]:
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


def complain(error: object) -> None:
    """One line on stderr."""
    print(f"neuronxa_core: error: {redaction.redacted(' '.join(str(error).split()))}", file=sys.stderr)
