"""Freed memory that is kept, and arrays on the disk."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from neuronxa_core.host import process_memory
from neuronxa_core.host.process_memory import madvise, on_disk

GLIBC = sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


def printed(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# pages that 50 rounds of 20 x 2 MiB, freed in between, get from the system on another thread than the first; then the
# MiB that are given back of 100
FAULTS = """
import resource, sys, threading
from neuronxa_core.host import process_memory
import torch
if sys.argv[1] == "kept":
    process_memory.keep_what_is_freed()
def rounds():
    for number in range(60):
        if number == 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        parts = [torch.empty(1 << 19).fill_(1) for _ in range(20)]
        del parts
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=rounds)
thread.start()
thread.join()
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
parts = [torch.ones(1 << 18) for _ in range(100)]
del parts
before = resident()
process_memory.trim()
print(before - resident())
"""


@pytest.mark.full
@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
def test_freed_memory_is_kept_on_every_thread_until_it_is_given_back():
    kept, usual = (list(map(int, printed(FAULTS, how).split())) for how in ("kept", "as it is"))
    # 40 MiB are 10,240 pages, 50 times; not all of them are given back each time
    assert usual[0] > 10_000
    assert kept[0] < usual[0] / 20
    assert kept[1] > 90


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(process_memory, "_glibc", lambda: None)
    process_memory.keep_what_is_freed.__wrapped__()
    process_memory.trim()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(12, "Cannot allocate memory"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_memory_that_runs_out_is_known_by_all_its_names(error):
    assert process_memory.ran_out(error)
    assert not process_memory.ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_an_array_on_the_disk_is_an_array(tmp_path):
    array = on_disk((3, 4, 5), np.dtype(np.uint16), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert (array.shape, array.dtype) == ((3, 4, 5), np.uint16)
    array[:] = np.arange(60).reshape(3, 4, 5)
    madvise(array)
    array[1, [0, 2]] += 1000
    madvise(array)
    wanted = np.arange(60).reshape(3, 4, 5)
    wanted[1, [0, 2]] += 1000
    assert np.array_equal(array, wanted)


def test_other_arrays_are_left_alone():
    array = np.arange(6)
    madvise(array)
    madvise(array[2:])
    assert array.tolist() == [0, 1, 2, 3, 4, 5]


def test_room_is_reserved_at_once(tmp_path):
    """So that a disk that is too full is an error here, and not the end of the process later."""
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from neuronxa_core.host.process_memory import on_disk\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    on_disk((1 << 22,), np.dtype(np.uint8), Path(sys.argv[1]))\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    assert printed(script, tmp_path) == os.strerror(errno.EFBIG)
