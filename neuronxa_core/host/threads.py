"""Work on several threads, each of which multiplies matrices alone."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")


class _Blas:
    """The libraries that numpy multiplies with. How many threads a product takes is one number for the process."""

    def __init__(self) -> None:
        self._libraries = ThreadpoolController().select(user_api="blas")
        self._lock = threading.Lock()
        self._users = 0

    def threads(self) -> int:
        """How many threads a product takes outside `one_thread`; 1 where that is not known."""
        with self._lock:
            return self._usual if self._users else self._now()

    def _now(self) -> int:
        return max((library["num_threads"] for library in self._libraries.info()), default=1)

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """A product takes one thread while anyone is in here."""
        with self._lock:
            if not self._users:
                self._usual = self._now()
                self._limit = self._libraries.limit(limits=1)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._limit.restore_original_limits()


@functools.cache
def _blas() -> _Blas:
    return _Blas()


def side_by_side(work: Callable[[int], T], count: int, most: int) -> list[T]:
    """[work(0), work(1), ..., work(count - 1)], as many at a time as BLAS has threads, but at most `most`.

    Each then multiplies with one thread: the products of some hundred sentences are too small to be shared well, and
    what comes between two products would leave all cores but one idle.
    """
    blas = _blas()
    threads = min(blas.threads(), most, count)
    if threads < 2:
        return [work(number) for number in range(count)]
    with blas.one_thread(), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(count)))
