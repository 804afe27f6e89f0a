"""The cache on disk: what takes long to compute, kept between runs and shared by threads and processes.

An entry is one file, and the folder is the table: a file appears under its name when it is whole, its time of change is
its last use, and what was not used for longest goes first. Where the clock was set back, a use is written down as later
than all that were seen. So no database that is damaged, busy or of another version
can cost an entry. Small JSON documents lie beside the entries in diskcache, see documents.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import xxhash

from neuronxa_core.errors import Cancelled, CorruptEntry, StoreError
from neuronxa_core.store.documents import ERRORS, Documents
from neuronxa_core.store.entry_file import Entry, file_name, write_entry
from neuronxa_core.wording import counted

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "NEURONXA_CACHE_DIR"
LIMIT_VARIABLE = "NEURONXA_CACHE_GIB"
SIZE_LIMIT = 50 * 2**30
UNFINISHED = ".part"
DAY_S = 24 * 3600.0
ORPHAN_AGE_S = 3600.0
"""An unfinished file that was not written to for so long has no writer any more."""

_NAME = re.compile(r"[0-9a-f]{32}\.safetensors(\.[0-9a-f]{16}\.part)?")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_AS_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EACCES,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
}


def kind_of(key: str) -> str:
    """What an entry is, as the first word of its key says: states, scores, ..."""
    return key.partition("-")[0]


def default_folder() -> Path:
    """The folder that NEURONXA_CACHE_DIR names, else `cache/` in the repository, else ~/.cache/neuronxa."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named).expanduser()
    root = Path(__file__).resolve().parents[2]
    if (root / "streamlit_app.py").is_file():
        return root / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "neuronxa"


def default_limit() -> int:
    """The bytes that NEURONXA_CACHE_GIB allows, else SIZE_LIMIT. Raises StoreError where it is no positive number."""
    named = os.environ.get(LIMIT_VARIABLE)
    if not named:
        return SIZE_LIMIT
    try:
        limit = int(float(named) * 2**30)
    except (ValueError, OverflowError):
        limit = 0
    if limit <= 0:
        raise StoreError(f"{LIMIT_VARIABLE} is a number of GiB above 0, such as 200, not {named[:40]!r}")
    return limit


class _Unwritable(StoreError):
    """Nothing can be written now, but what is there may still be read."""


@dataclass(frozen=True)
class EntryInfo:
    """One entry as `Store.entries` lists it; times are in UTC."""

    key: str
    meta: Any
    size_bytes: int
    stored: datetime
    used: datetime


class Store:
    """A folder of entries, each a few named arrays and a JSON `meta` under a key, and of small JSON documents.

    An entry is seen only when whole. One that was damaged since is dropped, and never read. Threads may share a store,
    and processes may share its folder. A folder that can only be read is read; writing raises StoreError.

    folder: made if missing; default_folder() if not given
    size_limit: bytes of all entries together. After a write, those not used for longest are evicted until the rest
        fits; the one just written is spared, so an entry larger than the limit is kept too. An open entry stays
        readable where the system lets an open file be removed, as all but Windows do.
    kept_days: what was used within so many days is not evicted; writing raises StoreError where there is no other room.

    Every method raises StoreError if the folder cannot be used.
    """

    def __init__(self, folder: Path | str | None = None, size_limit: int | None = None, kept_days: int = 0) -> None:
        named = default_folder() if folder is None else Path(folder)
        self.folder = Path(os.path.expandvars(named)).expanduser().absolute()
        self.size_limit = default_limit() if size_limit is None else size_limit
        self.kept_days = kept_days
        self._entries = self.folder / "entries"
        self._documents = Documents(self.folder / "documents", self.size_limit // 16)
        self._lock = threading.Lock()
        self._reads: Counter[tuple[str, bool]] = Counter()
        self._last_use = 0  # ns since 1970, the latest that was seen in the folder
        self._unlooked_bytes = 0  # that may be written before `_evict` looks again what there is
        self._write_error, self._was_gone = "", False
        self.damage: Counter[str] = Counter()
        """How often an entry was found damaged, by key: more than once speaks of a failing disk."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            _drop_earlier_format(self.folder)
            self._files()
        except OSError as error:
            explained = self._explained(error)
            if not isinstance(explained, _Unwritable) or not os.access(self.folder, os.R_OK | os.X_OK):
                raise explained from error
            self._write_error, self._was_gone = str(explained), not self.folder.is_dir()
            logger.warning("%s; until then it is only read", explained)

    @property
    def last_write_error(self) -> str:
        """What kept the last write from being done; "" where it was done, or where a vanished folder is back."""
        return "" if self._was_gone and self.folder.is_dir() else self._write_error

    def put(self, key: str, arrays: Mapping[str, np.ndarray], meta: JSON) -> None:
        """Keep `arrays` and `meta` under `key`, in place of what was there; readers of the old entry keep it.

        Each array is read twice (for its checksums, then to write it) and never copied as a whole. `meta` comes back
        as JSON gives it: tuples as lists, dictionary keys as text.

        Raises TypeError if an array is not of numbers or booleans or `meta` is not JSON; StoreError if the entry
        cannot be written, for instance because disk or cache are full: nothing of it is left then.
        """
        path = self._path(key)
        unfinished = Path(f"{path}.{secrets.token_hex(8)}{UNFINISHED}")
        try:
            self._entries.mkdir(exist_ok=True)
            try:
                with unfinished.open("xb") as file:
                    write_entry(file, key, arrays, meta, time.time())
                    self._unlooked_bytes -= file.tell()
                    self._check_room(file.tell())
                self._note_use(unfinished)
                unfinished.replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    unfinished.unlink()
                raise
        except OSError as error:
            explained = self._explained(error)
            self._write_error, self._was_gone = str(explained), not self.folder.is_dir()
            raise explained from error
        self._write_error = ""
        if self._unlooked_bytes < 0:
            self._evict(path)

    def try_put(self, key: str, arrays: Mapping[str, np.ndarray], meta: JSON) -> bool:
        """`put` of what can do without: False, and a `last_write_error`, where nothing can be written."""
        try:
            self.put(key, arrays, meta)
        except _Unwritable as unwritable:
            logger.warning("%s is not kept: %s", key, unwritable)
            return False
        return True

    def get(self, key: str) -> Entry | None:
        """The entry under `key`, to be closed after use; None if there is none, or none that is whole."""
        entry = self._open(self._path(key), key)
        with self._lock:
            self._reads[kind_of(key), entry is not None] += 1
        if entry is not None:
            with contextlib.suppress(OSError):  # removed meanwhile, or in a folder that is only read
                self._note_use(entry.file.name)
        return entry

    def read(self, key: str) -> dict[str, np.ndarray] | None:
        """All arrays of the entry under `key`; None if there is none, or none that is whole."""
        entry = self.get(key)
        if entry is None:
            return None
        with entry:
            try:
                return {name: entry.array(name) for name in entry.arrays}
            except CorruptEntry:
                return None

    def put_json(self, key: str, value: JSON) -> None:
        """Keep a small document; its keys are apart from those of `put`. Raises TypeError if it is not JSON."""
        try:
            self._documents.put(key, value)
        except ERRORS as error:
            explained = self._of_documents(error)
            self._write_error, self._was_gone = str(explained), not self.folder.is_dir()
            raise explained from error

    def try_put_json(self, key: str, value: JSON) -> bool:
        """`put_json` of what can do without: False, and a `last_write_error`, where it cannot be written."""
        try:
            self.put_json(key, value)
        except StoreError as error:
            logger.warning("%s is not kept: %s", key, error)
            return False
        return True

    def get_json(self, key: str) -> Any:
        """The document under `key`; None if there is none, or none that can be read."""
        document = self._documents.get(key)
        with self._lock:
            self._reads[kind_of(key), document is not None] += 1
        return document

    def __contains__(self, key: str) -> bool:
        """Whether `put` stored an entry under `key` and its file still has its size; no array is read."""
        entry = self._open(self._path(key), key)
        if entry is not None:
            entry.close()
        return entry is not None

    def drop(self, key: str) -> None:
        """Forget the entry and the document under `key`, if there are any."""
        self._check_folder()
        try:
            self._path(key).unlink(missing_ok=True)
            self._documents.drop(key)
        except ERRORS as error:
            raise self._of_documents(error) from error

    def entries(self) -> list[EntryInfo]:
        """What `put` stored, last used first."""
        infos = []
        for path, status in reversed(self._files()):
            if entry := self._open(path, path.stem):
                entry.close()
                # whatever a file of others says, within what a date can be
                moments = (min(2.0**37, max(0.0, at)) for at in (entry.stored, status.st_mtime))
                stored, used = (datetime.fromtimestamp(at, UTC) for at in moments)
                infos.append(EntryInfo(entry.key, entry.meta, status.st_size, stored, used))
        return infos

    def count(self) -> int:
        """How many entries there are."""
        return len(self._files())

    def size(self) -> int:
        """Bytes of all entries."""
        return sum(status.st_size for _, status in self._files())

    def room(self) -> int:
        """Bytes that entries may still take: the limit, without what was used within `kept_days`."""
        return self.size_limit - sum(status.st_size for _, status in self._files() if self._is_kept(status))

    @property
    def spared(self) -> str:
        """The end of a sentence that says why there is no more room: what is not evicted, and what to do."""
        if not self.kept_days:
            return ""
        return (
            f", since nothing is removed that was used within the last {counted(self.kept_days, 'day')}; ask somebody "
            "who manages this app to delete what is not needed"
        )

    def version(self) -> str:
        """A text that is another where what is kept is another: written since, dropped or evicted."""
        files = sorted((path.name, status.st_ino, status.st_size) for path, status in self._files())
        return xxhash.xxh3_128_hexdigest(f"{self.folder} {files}".encode())

    def free(self) -> int:
        """Bytes that are free on the folder's disk."""
        try:
            return shutil.disk_usage(self.folder).free
        except OSError as error:
            raise self._explained(error) from error

    def reads(self) -> dict[str, tuple[int, int]]:
        """{kind: (found, not found)} of all that was asked for since this store was opened; see `kind_of`."""
        with self._lock:
            return {kind: (self._reads[kind, True], self._reads[kind, False]) for kind, _ in self._reads}

    def verify(
        self,
        on_progress: Callable[[int, int], None] = lambda _done, _all: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[int, list[str]]:
        """Read every byte that is kept, and compare it with its checksum; what is damaged is dropped.

        Returns how many entries there were and the keys of those that were damaged, or the name of the
        file where the key is not legible. on_progress(bytes done, bytes of all). Raises Cancelled where that is asked
        for.
        """
        files = self._files()
        whole, done, damaged = sum(status.st_size for _, status in files), 0, []
        for path, status in files:
            if cancelled():
                raise Cancelled(f"stopped after {done:,} of {whole:,} bytes; {len(damaged)} entries were damaged")
            try:
                if (entry := self._opened(path, path.stem)) is not None:
                    with entry:
                        entry.verify()
            except CorruptEntry as damage:
                damaged.append(damage.key)
            done += status.st_size
            on_progress(done, whole)
        return len(files), damaged

    def close(self) -> None:
        """Close what is kept open between two calls; it is opened again where it is needed."""
        self._documents.close()

    # ----------------------------------------------------------------------------------------------------------- files

    def _path(self, key: str) -> Path:
        return self._entries / file_name(key)

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        """All entries, used longest ago first; unfinished files without a writer are removed."""
        found = []
        try:
            with os.scandir(self._entries) as inside:
                for file in inside:
                    with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                        if not _NAME.fullmatch(file.name):
                            continue
                        if not file.name.endswith(UNFINISHED):
                            found.append((Path(file.path), file.stat()))
                        elif file.stat().st_mtime < time.time() - ORPHAN_AGE_S:
                            Path(file.path).unlink()
        except FileNotFoundError:
            self._check_folder()
        except OSError as error:
            raise self._explained(error) from error
        found.sort(key=lambda one: (one[1].st_mtime_ns, one[0]))
        with self._lock:
            self._last_use = max([self._last_use, *(status.st_mtime_ns for _, status in found[-1:])])
        return found

    def _is_kept(self, status: os.stat_result) -> bool:
        return self.kept_days > 0 and status.st_mtime > time.time() - self.kept_days * DAY_S

    def _check_room(self, needed: int) -> None:
        if self.kept_days and self._unlooked_bytes < 0 and needed > self.room():
            self._write_error, self._was_gone = f"the cache is full{self.spared}", False
            raise _Unwritable(self._write_error)

    def _note_use(self, path: Path | str) -> None:
        """Set the last use of a file to now, or just after the latest that was seen where the clock says less."""
        with self._lock:
            self._last_use = used = max(time.time_ns(), self._last_use + 1)
        try:
            os.utime(path, ns=(used, used))
        except PermissionError:  # somebody else's, whose time can be set to now alone
            os.utime(path)

    def _open(self, path: Path, key: str) -> Entry | None:
        """The entry in a file; None where there is none, or none that is whole."""
        try:
            return self._opened(path, key)
        except CorruptEntry:
            return None

    def _opened(self, path: Path, key: str) -> Entry | None:
        """The same, but raises CorruptEntry where the file is damaged."""
        with contextlib.ExitStack() as stack:
            try:
                entry = Entry(stack.enter_context(path.open("rb", buffering=0)), key, self._remove_damaged)
            except FileNotFoundError:
                self._check_folder()
                return None
            except OSError as error:
                reason = error.strerror or error
                raise StoreError(f"the cache file {path} cannot be read ({reason}); mend that or delete it") from error
            stack.pop_all()
            return entry

    def _evict(self, written: Path) -> None:
        """Remove what was used longest ago until the rest fits, but not what was just written.

        Other processes write as well: an eighth of the room that is left may be filled before the next look.
        """
        try:
            files = self._files()
            whole = sum(status.st_size for _, status in files)
            for path, status in files:
                if whole <= self.size_limit:
                    break
                if path != written and not self._is_kept(status):
                    path.unlink(missing_ok=True)
                    whole -= status.st_size
            self._unlooked_bytes = (self.size_limit - whole) // 8
        except (OSError, StoreError) as error:
            logger.warning("nothing could be evicted from the cache; the next entry tries again: %s", error)

    def _remove_damaged(self, file: BinaryIO, key: str, reason: str) -> None:
        """Remove a damaged file, unless another has taken its place since; counted once, however many find it."""
        path = Path(file.name)
        try:
            with self._lock:
                if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                    self.damage[key] += 1
                    logger.warning("cache entry %s is dropped: %s", key, reason)
                    path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            logger.warning("cache entry %s could not be dropped: %s", key, self._explained(error))

    # ---------------------------------------------------------------------------------------------------------- errors

    def _check_folder(self) -> None:
        if not self.folder.is_dir():
            raise self._explained(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))

    def _of_documents(self, cause: Exception) -> StoreError:
        """What went wrong with the documents' database, in the words for files where it means the same."""
        code = _AS_ERRNO.get(getattr(cause, "sqlite_errorcode", None))
        if code or isinstance(cause, OSError):
            return self._explained(OSError(code, os.strerror(code)) if code else cause)
        return StoreError(
            f"the documents in {self._documents.folder} cannot be written ({cause}); mend that, or delete that folder"
        )

    def _explained(self, cause: OSError) -> StoreError:
        elsewhere = f"or set {FOLDER_VARIABLE} to another folder"
        if cause.errno in _FULL:
            return _Unwritable(f"the disk of the cache folder {self.folder} is full; free some space, {elsewhere}")
        if cause.errno in _FORBIDDEN:
            return _Unwritable(f"the cache folder {self.folder} cannot be written; mend its permissions, {elsewhere}")
        file = next((path for path in (self.folder, *self.folder.parents) if path.is_file()), None)
        if file is not None:
            return StoreError(f"the cache folder {self.folder} cannot be made: {file} is a file; move it, {elsewhere}")
        if not self.folder.is_dir():
            return StoreError(f"the cache folder {self.folder} has vanished; make it again, {elsewhere}")
        return StoreError(f"the cache folder {self.folder} cannot be used ({cause}); mend that, {elsewhere}")


def _drop_earlier_format(folder: Path) -> None:
    """Remove a cache as earlier versions kept it: a database, and values in two levels of folders.

    Files of other programs begin with other bytes, and stay.
    """
    values = [path for path in folder.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*.val") if _is_earlier_value(path)]
    if not values:
        return
    for path in (*values, *folder.glob("cache.db*"), folder / "cache.lock"):
        path.unlink(missing_ok=True)
    for path in values:
        with contextlib.suppress(OSError):
            path.parent.rmdir()
            path.parent.parent.rmdir()
    logger.warning("the cache in %s was of an earlier format: its %d entries are dropped", folder, len(values))


def _is_earlier_value(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8) == b"NXASTORE"
