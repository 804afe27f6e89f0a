"""What the benchmarks share."""

import time
from collections.abc import Callable


def seconds(work: Callable[[], object]) -> float:
    """How long work() takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
