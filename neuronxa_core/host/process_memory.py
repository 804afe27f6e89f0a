"""Memory: what happens to what was freed, and arrays that are too large to hold.

A forward pass frees and asks for the same few megabytes at every layer. glibc gives them back to the system each time
and gets them anew, page by page, which on a small model costs a fifth of the pass. While a model works, freed memory
is therefore kept; when it rests, it is given back.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import itertools
import math
import mmap
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

# of mallopt(3), glibc
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_RAN_OUT = ("outofmemory", "out of memory", "not enough memory", "allocate memory", "status_alloc_failed")
KEPT_BYTES = 512 << 20
"""So much freed memory stays with the process while a model works."""


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """The C library of this process where it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None


@functools.cache
def keep_what_is_freed() -> None:
    """From now on, keep up to KEPT_BYTES of freed memory. Without effect where the C library is not glibc."""
    if (library := _glibc()) is not None:
        library.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that glibc allows
        library.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        library.mallopt(_M_TOP_PAD, 64 << 20)
        library.mallopt(_M_ARENA_MAX, 1)  # threads beside the first have arenas of their own, which do not keep


def trim() -> None:
    """Give the memory that was freed back to the system."""
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, the host's or a GPU's; the libraries have many words for it."""
    said = f"{type(error).__name__}: {error}".lower()
    return isinstance(error, MemoryError) or any(words in said for words in _RAN_OUT)


def on_disk(shape: tuple[int, ...], dtype: np.dtype, folder: Path | None) -> np.ndarray:
    """An array in a nameless file in `folder`, which is gone when the array is. Raises OSError on a full disk."""
    size = math.prod(shape) * dtype.itemsize
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a disk that fills up later would end the process
        else:
            file.truncate(size)
        return np.ndarray(shape, dtype, buffer=mmap.mmap(file.fileno(), size))


def size_of(value: object) -> int:
    """Bytes of memory that a value takes: of arrays, tables, texts and what holds them; what is shared counts anew."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, pd.DataFrame):
        return int(value.memory_usage(deep=True).sum())
    if isinstance(value, Mapping):
        parts = itertools.chain(value.keys(), value.values())
    elif dataclasses.is_dataclass(value):
        parts = vars(value).values()
    else:
        parts = value if isinstance(value, tuple | list | set | frozenset) else ()
    return sys.getsizeof(value) + sum(sys.getsizeof(part) if type(part) is str else size_of(part) for part in parts)


def madvise(array: np.ndarray) -> None:
    """Take the pages of an array of `on_disk` out of the process's memory, its content stays; others are left alone."""
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)
