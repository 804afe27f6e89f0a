"""Small JSON documents beside the entries, in diskcache: shared by threads and processes, least used first out.

Values are JSON and never pickles: a row that claims to be one, as somebody who can write into the folder could plant it
(CVE-2025-69872), is not read.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diskcache

TIMEOUT_S = 10.0
ERRORS = (sqlite3.Error, OSError, diskcache.Timeout)

log = logging.getLogger(__name__)


class PlainDisk(diskcache.JSONDisk):
    """JSON values only."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if mode == diskcache.core.MODE_PICKLE:
            raise ValueError("the value is a pickle")
        return super().fetch(mode, filename, value, read)


class Documents:
    """JSON documents by key in a folder, which is made when the first is put; at most limit bytes of them."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._lock = threading.Lock()
        self._cache: diskcache.Cache | None = None

    def put(self, key: str, value: Any) -> None:
        """Keep a document. Raises TypeError if it is not JSON, and ERRORS where it cannot be written."""
        self._do(lambda cache: cache.set(key, value))

    def get(self, key: str) -> Any:
        """A document; None where there is none, or none that can be read."""
        if not self.folder.is_dir():
            return None
        try:
            return self._do(lambda cache: cache.get(key))
        except (*ERRORS, TypeError, ValueError, zlib.error) as error:  # also a row of other types than were written
            log.warning("the document %s cannot be read: %s", key, error)
            return None

    def drop(self, key: str) -> None:
        """Forget a document, if there is one. Raises ERRORS."""
        if self.folder.is_dir():
            self._do(lambda cache: cache.delete(key))

    def close(self) -> None:
        """Close the database; it is opened again where it is needed."""
        with self._lock:
            if self._cache is not None:
                self._cache.close()
                self._cache = None

    def _do(self, action: Callable[[diskcache.Cache], Any]) -> Any:
        """What an action on the database returns; a damaged database is begun anew."""
        try:
            return action(self._opened())
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            log.warning("the documents in %s are damaged (%s) and are begun anew", self.folder, error)
            self.close()
            shutil.rmtree(self.folder)
            return action(self._opened())

    def _opened(self) -> diskcache.Cache:
        with self._lock:
            if self._cache is None or not self.folder.is_dir():
                settings = {"size_limit": self.limit, "eviction_policy": "least-recently-used"}
                self._cache = diskcache.Cache(str(self.folder), timeout=TIMEOUT_S, disk=PlainDisk, **settings)
            return self._cache
