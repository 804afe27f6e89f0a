"""What a Ray cluster costs before it gains anything: python benchmarks/cluster.py [--sentences N]

One machine, the bundled model and corpus, from the project's folder. How long the cluster takes to start and to end,
until a fresh worker has stored two languages (a process, torch and the model are loaded first), and for one more of a
worker that has the model; then the whole run in one process, and as tasks of one CPU each.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from neuronxa_core.experiment import Experiment
from neuronxa_core.jobs import cluster
from neuronxa_core.states import computing, planning
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store


class Stopwatch:
    def __init__(self) -> None:
        self._start = time.perf_counter()

    def row(self, what: str) -> None:
        """Print a row of the table and begin anew; sys.stdout is silent while a cluster is joined."""
        print(f"| {what} | {time.perf_counter() - self._start:.1f} |", file=sys.__stdout__, flush=True)
        self._start = time.perf_counter()


def run(joined: cluster.Cluster, plan: Plan, store: Store, share: cluster.Share) -> None:
    for _, error in joined.compute([plan], store, share):
        if error is not None:
            raise error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, help="of a language (default: all)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        everything, one, two = (Store(Path(folder, name)) for name in ("everything", "one", "two"))
        whole = planning.make_plan(Experiment(device="cpu", sentences=options.sentences), everything)
        print("| | seconds |\n| --- | ---: |")
        watch = Stopwatch()
        computing.compute_missing(whole, one, ModelPool())
        watch.row(f"one process, {len(whole.all_languages)} languages")
        with cluster.connected() as joined:
            watch.row("a cluster of this machine starts")
            alone = joined.share("cpu")
            run(joined, planning.restrict(whole, whole.languages[:1]), everything, alone)
            watch.row("the first two languages of a fresh worker")
            run(joined, planning.restrict(whole, whole.languages[:2]), everything, alone)
            watch.row("one more, of a worker that has the model")
            share = joined.share("cpu", cpus=1)
            run(joined, whole, two, share)
            watch.row(f"{len(whole.all_languages)} languages, {share.slots} tasks at a time, one worker fresh")
        watch.row("the cluster ends")


if __name__ == "__main__":
    main()
