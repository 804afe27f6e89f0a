"""The same work without a browser: python -m neuronxa_core score --help"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

from tqdm import tqdm

from neuronxa_core import pipeline
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
    score.add_argument("--model", required=True, help="a local folder, a hub id (optionally @revision), or demo")
    score.add_argument("--corpus", required=True, help="a folder, a CSV/TSV/Parquet file, or demo")
    score.add_argument("--pivot", required=True, help="the language that the others are compared with")
    score.add_argument("--languages", nargs="+", default=[], metavar="L", help="default: all of the corpus")
    score.add_argument("--sentences", type=int, metavar="N", help="the first N lines (default: all)")
    score.add_argument("--seed", type=int, help="with --sentences: a random sample with this seed, not the first N")
    score.add_argument("--states", nargs="+", choices=CHOICES["state"], default=["nas"], help="default: nas")
    for name in ("pooling", "neuron", "dtype", "device"):
        score.add_argument(f"--{name}", choices=CHOICES[name], default=getattr(Experiment, name))
    score.add_argument("--cache-dir", type=Path, help="default: NEURONXA_CACHE_DIR, else the project's cache folder")
    score.add_argument("--out", type=Path, metavar="F", help="the CSV file (default: stdout)")
    return top


def score(options: argparse.Namespace) -> None:
    """Compute what is missing and write the table."""
    experiment = Experiment(
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
    if options.out is not None and not options.out.parent.is_dir():
        raise NeuronXAError(f"--out: there is no folder {options.out.parent}")
    store, shelf = Store(options.cache_dir), ModelShelf()
    plan = pipeline.make_plan(experiment, store)
    for finding in plan.corpus.findings:
        if finding.severity != "info":
            print(f"{finding.severity}: {finding.message}", file=sys.stderr)
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
        score(options)
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
