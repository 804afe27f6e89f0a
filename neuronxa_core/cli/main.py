"""The commands: python -m neuronxa_core score --help, correlate --help, measure --list"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from neuronxa_core.cli.correlate import correlate
from neuronxa_core.cli.measure import measure
from neuronxa_core.cli.options import OneLineParser, add_options, complain
from neuronxa_core.cli.score import add_cluster_options, add_table_options, score
from neuronxa_core.errors import NeuronXAError
from neuronxa_core.experiment import STATES
from neuronxa_core.host import redaction
from neuronxa_core.measures import grid


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
    add_options(score, states=["nas"], several_models=True)
    add_table_options(score)
    add_cluster_options(score)
    correlate = commands.add_parser(
        "correlate",
        help="correlation of alignment with task scores over languages",
        description="Writes the correlation of task scores with every method's alignment, layer by layer as CSV; with "
        "several models a grid of models, tasks and methods (all token poolings unless --pooling says one).",
    )
    add_options(correlate, states=list(STATES), several_models=True)
    correlate.set_defaults(pooling=None)
    correlate.add_argument("--table", choices=("layers", "grid"), help="default: layers for one model, else grid")
    correlate.add_argument("--format", choices=grid.FORMATS, default="csv", help="of the grid (default: csv)")
    correlate.add_argument(
        "--scores", required=True, metavar="F", help="a table, lm-evaluation-harness results, or a folder of them"
    )
    correlate.add_argument("--task", metavar="T", help="one task only (default: all that the scores have)")
    correlate.add_argument("--metric", metavar="M", help="default: acc or accuracy where there is one, else the first")
    correlate.add_argument(
        "--scores-model", metavar="NAME", help="whose scores, where there are several models (default: this model's)"
    )
    commands.add_parser(
        "measure",
        help="any measure as a tidy CSV: measure --list names them, measure NAME --help says its options",
        add_help=False,
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 for bad input, with one line on stderr.

    Where some of several models fail, the rows of the others are written; the status is 2, with one line a failure.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    redaction.install()
    try:
        if arguments[:1] == ["measure"]:
            return measure(arguments[1:])
        options = parser().parse_args(arguments)
        return {"score": score, "correlate": correlate}[options.command](options)
    except NeuronXAError as error:
        complain(error)
        return 2
    except KeyboardInterrupt:
        print("neuronxa_core: stopped; finished languages are kept in the cache", file=sys.stderr)
        return 130
    except OSError as error:
        complain(error)
        return 2
