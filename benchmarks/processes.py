"""What processes on one machine cost each other: python benchmarks/processes.py [--times N] [--active]

Each process extracts states of the bundled model: one alone, then three at once, which begin together. --active: also
with threads that spin while they wait, as OpenMP's do unless the package says otherwise; this takes many times longer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = """
import sys, time
from neuronxa_core.corpora import reading
from neuronxa_core.models import loading, sources
from neuronxa_core.states import extraction
loaded = loading.load(sources.parse_source("demo"), device="cpu")
texts = reading.read("demo").texts
print("ready", flush=True)
sys.stdin.readline()
start = time.perf_counter()
for code in list(texts)[:6]:
    extraction.extract(loaded, code, texts[code])
print(time.perf_counter() - start)
"""


def slowest(count: int, policy: str) -> float:
    """Seconds of the slowest of so many processes at once."""
    environment = {**os.environ, "OMP_WAIT_POLICY": policy}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-c", WORK], cwd=ROOT, env=environment, **pipes) for _ in range(count)]
    for process in started:
        process.stdout.readline()
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    return max(float(process.communicate()[0]) for process in started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--active", action="store_true", help="also with threads that spin")
    options = parser.parse_args()
    print(f"| waiting | one process, s | {options.processes} at once, s | against one |\n| --- | ---: | ---: | ---: |")
    for policy in ("PASSIVE", "ACTIVE") if options.active else ("PASSIVE",):
        rounds = [(slowest(1, policy), slowest(options.processes, policy)) for _ in range(options.times)]
        alone, together = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(many / one for one, many in rounds)
        print(f"| {policy.lower()} | {alone:.1f} | {together:.1f} | {ratio:.1f} times |", flush=True)


if __name__ == "__main__":
    main()
