"""Time and memory of neuron overlap and LAPE at the size of a large model: python benchmarks/overlap.py

Random activation counts of 200 languages x 32 layers x 14,336 neurons. Memory is the process's peak, the counts
themselves and Python included.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from neuronxa_core.measures import lape, neuron_rankings, overlap
from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion


def random_counts(languages: int, layers: int, neurons: int, tokens: int) -> ActivationCounts:
    """Counts around a probability of a half, each language leaning its own way."""
    random = np.random.default_rng(0)
    counts = np.empty((languages, layers, neurons), np.uint32)
    for language in range(languages):
        leaning = random.beta(2, 2, (layers, neurons)).astype(np.float32)
        noise = random.standard_normal((layers, neurons), dtype=np.float32) * 0.05
        counts[language] = np.clip(leaning + noise, 0, 1) * tokens
    return ActivationCounts(tuple(f"l{k:03}" for k in range(languages)), counts, np.full(languages, tokens))


def timed(rows: list[tuple[str, float, float]], name: str, work: Callable[[], object]) -> None:
    start = time.perf_counter()
    work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rows.append((name, time.perf_counter() - start, peak))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", type=int, default=200)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--neurons", type=int, default=14336)
    parser.add_argument("--tokens", type=int, default=3000)
    options = parser.parse_args()
    activity = random_counts(options.languages, options.layers, options.neurons, options.tokens)
    rows: list[tuple[str, float, float]] = []
    timed(rows, "overlap, top 10 %, all layers", lambda: overlap.overlap_by_layer(activity, ActivationCriterion()))
    threshold = ActivationCriterion("threshold", 0.5)
    timed(rows, "overlap, threshold, all layers", lambda: overlap.overlap_by_layer(activity, threshold))
    timed(
        rows,
        "overlap, top 10 %, one layer",
        lambda: overlap.jaccard(ActivationCriterion().sets(activity.probability(0))),
    )
    timed(rows, "LAPE", lambda: lape.lape(activity))
    specific = lape.lape(activity)
    timed(rows, "summary", lambda: neuron_rankings.summary(activity, ActivationCriterion(), "l000", specific))
    timed(rows, "most shared neurons", lambda: neuron_rankings.rank_neurons(activity, "shared"))
    print(f"{options.languages} languages x {options.layers} layers x {options.neurons:,} neurons; counts take "
          f"{activity.counts.nbytes / 2**30:.2f} GiB")  # fmt: skip
    print("| | seconds | peak memory so far, GiB |\n| --- | ---: | ---: |")
    for name, seconds, peak in rows:
        print(f"| {name} | {seconds:.2f} | {peak / 2**30:.2f} |")


if __name__ == "__main__":
    main()
