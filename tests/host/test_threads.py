"""Work side by side: in order, as many at a time as BLAS has threads, and each product on one thread."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from neuronxa_core.host import threads
from neuronxa_core.host.threads import side_by_side


def now() -> int:
    """Threads that a product takes."""
    np.ones((2, 2)) @ np.ones((2, 2))
    return max(library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info())


@pytest.fixture
def three_threads():
    with threadpool_limits(3, user_api="blas"):
        if now() != 3:
            pytest.skip("numpy multiplies with something whose threads cannot be set")
        yield


@pytest.mark.parametrize(
    ("count", "most", "together"), [(9, 9, 3), (9, 2, 2), (2, 9, 2), (1, 9, 1), (9, 1, 1), (0, 9, 0)]
)
def test_work_is_done_side_by_side_and_in_order(three_threads, count, most, together):
    running, seen, guard = [], [], threading.Lock()
    meeting = threading.Barrier(together, timeout=20) if together else None

    def work(number: int) -> int:
        with guard:
            running.append(number)
            seen.append((len(running), now()))
        if number < together:
            meeting.wait()
        with guard:
            running.remove(number)
        return number**2

    assert side_by_side(work, count, most) == [k**2 for k in range(count)]
    assert max((n for n, _ in seen), default=0) == together
    assert {n for _, n in seen} <= ({1} if together > 1 else {3})
    assert now() == 3


def test_the_threads_of_a_product_come_back_when_the_last_is_done(three_threads):
    blas = threads._blas()
    with blas.one_thread():
        assert (now(), blas.threads()) == (1, 3)
        with pytest.raises(ZeroDivisionError):
            side_by_side(lambda number: 1 // number, 4, 4)
        assert (now(), blas.threads()) == (1, 3)
    assert (now(), blas.threads()) == (3, 3)


def test_threads_that_wait_do_not_spin_unless_the_environment_says_so():
    """OpenMP reads it when it is loaded, so that it is set before; benchmarks/processes.py has what it is worth."""
    code = "import sys, os, neuronxa_core; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    root = Path(__file__).parents[2]
    for given, policy in ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"):
        clean = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
        said = subprocess.check_output([sys.executable, "-c", code], env=clean, cwd=root, text=True)
        assert said.split() == [policy, "False"]
