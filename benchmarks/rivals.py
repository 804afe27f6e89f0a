"""Time and memory of the rival measures beside NASCA's own: python benchmarks/rivals.py [--layers N]

The made-up states of benchmarks/alignment.py, NAS weighted: a pivot and 200 languages x 100 sentences x 4096 neurons,
for some layers, since time grows with them and memory does not. In every round either runs once on the same files with
a new store, so that checksums are verified, and nothing of it kept; the figures are medians over rounds, the ratio is
taken within a round. The page cache is warm. Peak memory is that of a process which does nothing but the rival
measures, Python and its libraries included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
from pathlib import Path

from alignment import align_anew, made_up_plan, peak_bytes, write_states
from timing import seconds

from neuronxa_core.measures.rivals import Rivals
from neuronxa_core.states.planning import Plan
from neuronxa_core.store.cache import Store


def rivals_anew(plan: Plan, folder: Path) -> None:
    """All rival measures with nothing remembered: no scores, no checksum."""
    store, measure = Store(folder), Rivals(plan)
    for part in measure.parts():
        store.drop(measure.key_of(part))
    measure.run(store)
    store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in {"languages": 200, "sentences": 100, "layers": 2, "neurons": 4096, "times": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    options = parser.parse_args()
    plan = made_up_plan(options)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        write_states(plan, store, "nas_weighted")
        store.close()
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            before = pool.apply(peak_bytes)
            pool.apply(rivals_anew, (plan, Path(folder)))
            after = pool.apply(peak_bytes)
        rounds = [
            (
                seconds(lambda: align_anew(plan, Path(folder), "nas", "weighted")),
                seconds(lambda: rivals_anew(plan, Path(folder))),
            )
            for _ in range(options.times)
        ]
    nasca, rivals, ratio = map(statistics.median, zip(*((a, b, b / a) for a, b in rounds), strict=True))
    print(f"{options.languages} languages x {options.sentences} sentences x {options.layers} layers x "
          f"{options.neurons:,} neurons: NASCA {nasca:.2f} s, rivals {rivals:.2f} s, {ratio:.1f} times as long; peak "
          f"memory {before / 2**30:.2f} GiB before, {after / 2**30:.2f} GiB after.")  # fmt: skip


if __name__ == "__main__":
    main()
