"""The cache on disk: arrays that are dear to compute, kept between runs and shared by threads and processes.

diskcache keeps the table of entries (SQLite) and one file for each entry. What is added here: a plain format that is
read memory-mapped and never unpickled (CVE-2025-69872), checksums, eviction that spares what is in use, and errors
that say what to do.

The file of an entry, little-endian:

    magic (8 bytes), version (4), length of the header (4)
    header              JSON: key, meta, and for each array its shape, dtype, offset and the checksum of each block
    header checksum     XXH3-128 of all bytes before it (16)
    arrays              C order, each from a multiple of 64 bytes on; offsets count from the first one

A block is one layer, that is one index of an array's first axis (several, where there are more than MAX_BLOCKS), so
that one layer can be read and verified without touching the others.
"""

import contextlib
import errno
import functools
import json
import logging
import math
import mmap
import os
import re
import shutil
import sqlite3
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeAlias, TypeVar

import diskcache
import numpy as np
import xxhash

try:
    import fcntl
except ImportError:  # Windows: entries in use are known within a process only
    fcntl = None  # type: ignore[assignment]
from neuronxa_core.errors import Cancelled, CorruptEntry, StoreError
from neuronxa_core.host.process_memory import madvise

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"
T = TypeVar("T")

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "NEURONXA_CACHE_DIR"
LIMIT_VARIABLE = "NEURONXA_CACHE_GIB"
SIZE_LIMIT = 50 * 2**30
ORPHAN_AGE_S = 3600.0
SQLITE_TIMEOUT_S = 10.0
PATIENCE_S = 60.0
RETRY_PAUSE_S = 0.05

MAGIC = b"NXASTORE"
VERSION = 1
ALIGNMENT = 64
MAX_BLOCKS = 1024
PLAIN_KINDS = "biufc"
WRITE_BYTES = 4 * 2**20
REMEMBERED_FILES = 1024

ARRAYS_PREFIX = "arrays:"
DOCUMENT_PREFIX = "json:"

_PREFIX = struct.Struct("<8sII")
_CHECKSUM_BYTES = 16
_VALUE_FILE = re.compile(r"[0-9a-f]{2}[/\\][0-9a-f]{2}[/\\][0-9a-f]{28}\.val")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
# the last three: the tables are not as this version of diskcache makes them
_SQLITE_DAMAGED = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
}
_SQLITE_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


def kind_of(key: str) -> str:
    """What an entry is, as the first word of its key says: states, scores, ..."""
    return key.partition("-")[0]


def default_folder() -> Path:
    """The folder that NEURONXA_CACHE_DIR names, else `cache/` in the repository."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named).expanduser() if named else Path(__file__).resolve().parents[2] / "cache"


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


class _OtherDatabase(sqlite3.DatabaseError):
    """The database is whole, but diskcache of this version cannot open it."""

    sqlite_errorcode = sqlite3.SQLITE_NOTADB


class _Unusable(Exception):
    """A row or a file is no whole entry of this cache; `filename` is the row's file, or None."""

    def __init__(self, reason: str, filename: str | None) -> None:
        super().__init__(reason)
        self.filename = filename


# ---------------------------------------------------------------------------------------------------------- format


def _aligned(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT


def _rows_per_block(shape: tuple[int, ...]) -> int:
    return max(1, -(-shape[0] // MAX_BLOCKS)) if shape else 1


def _blocks(array: np.ndarray) -> Iterator[memoryview]:
    """The bytes of each block; an array that is not C-contiguous is copied block by block."""
    rows = array if array.ndim else array[np.newaxis]
    step = _rows_per_block(array.shape)
    for first in range(0, len(rows), step):
        yield memoryview(np.ascontiguousarray(rows[first : first + step]).reshape(-1).view(np.uint8))
        madvise(array)


def _header(name: str, arrays: Mapping[str, np.ndarray], meta: JSON) -> bytes:
    """All bytes of an entry's file that come before its first array."""
    described = {}
    offset = 0
    for array_name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in PLAIN_KINDS:
            raise TypeError(f"array {array_name!r} must be a numpy array of numbers or booleans")
        described[array_name] = {
            "shape": array.shape,
            "dtype": array.dtype.str,
            "offset": offset,
            "checksums": [xxhash.xxh3_128_hexdigest(block) for block in _blocks(array)],
        }
        offset += _aligned(array.nbytes)
    text = json.dumps({"key": name, "meta": meta, "arrays": described, "data_bytes": offset}).encode()
    head = _PREFIX.pack(MAGIC, VERSION, len(text)) + text
    head += xxhash.xxh3_128_digest(head)
    return head.ljust(_aligned(len(head)), b"\0")


def _pieces(header: bytes, arrays: Iterable[np.ndarray]) -> Iterator[memoryview]:
    yield memoryview(header)
    for array in arrays:
        yield from _blocks(array)
        yield memoryview(bytes(_aligned(array.nbytes) - array.nbytes))


class _Stream:
    """A file-like object that gives diskcache an entry piece by piece, without a copy of the whole."""

    def __init__(self, pieces: Iterator[memoryview]) -> None:
        self.filename: str | None = None
        self._pieces = pieces
        self._piece = memoryview(b"")

    def read(self, size: int) -> memoryview | bytes:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._piece = piece
        part, self._piece = self._piece[:size], self._piece[size:]
        return part


@dataclass(frozen=True)
class _Layout:
    """Where an array lies in the file of its entry."""

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    checksums: list[str]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def fits(self, data_start: int, file_bytes: int) -> bool:
        """Whether this is an array that `_header` could have described, and lies in the file."""
        blocks = -(-self.shape[0] // _rows_per_block(self.shape)) if self.shape else 1
        return (
            self.dtype.kind in PLAIN_KINDS
            and min(self.shape, default=0) >= 0
            and len(self.checksums) == blocks
            and data_start <= self.offset <= file_bytes - self.nbytes
        )

    def block_of(self, row: int) -> int:
        return row // _rows_per_block(self.shape)

    def block_range(self, block: int) -> tuple[int, int]:
        """First byte of a block in the file, and the first one after it."""
        block_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize * _rows_per_block(self.shape)
        start = block * block_bytes
        return self.offset + start, self.offset + min(start + block_bytes, self.nbytes)


@dataclass(frozen=True)
class _Header:
    meta: Any
    layouts: dict[str, _Layout]
    file_bytes: int


def _read_header(file: BinaryIO, name: str, filename: str) -> _Header:
    """The header of the open file of the entry `name`, verified against its checksum and the file's size.

    Raises _Unusable if this is not a whole file that `_header` began for this entry.
    """
    found_bytes = os.fstat(file.fileno()).st_size
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        raise _Unusable("its file is cut short", filename)
    magic, version, length = _PREFIX.unpack(prefix)
    if magic != MAGIC:
        raise _Unusable("its file is not one of this cache", filename)
    if version != VERSION:
        raise _Unusable(f"its file has format {version}, and this program reads format {VERSION}", filename)
    text = file.read(min(length, found_bytes))
    if xxhash.xxh3_128_digest(prefix + text) != file.read(_CHECKSUM_BYTES):
        raise _Unusable("its header does not match its checksum", filename)
    try:
        header = json.loads(text)
        if header["key"] != name:
            raise _Unusable("its file belongs to another key", filename)
        data_start = _aligned(_PREFIX.size + length + _CHECKSUM_BYTES)
        file_bytes = data_start + header["data_bytes"]
        if found_bytes != file_bytes:
            raise _Unusable(f"its file has {found_bytes} bytes and should have {file_bytes}", filename)
        layouts = {
            array_name: _Layout(
                tuple(array["shape"]), np.dtype(array["dtype"]), data_start + array["offset"], array["checksums"]
            )
            for array_name, array in header["arrays"].items()
        }
        if not all(layout.fits(data_start, file_bytes) for layout in layouts.values()):
            raise ValueError(layouts)
        return _Header(header["meta"], layouts, file_bytes)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _Unusable("its header makes no sense", filename) from error


# ---------------------------------------------------------------------------------------------------- files in use

_pins: Counter[str] = Counter()
_pins_lock = threading.RLock()


def _hold(file: BinaryIO) -> None:
    """Mark an open file as in use; other processes see it too where the system has `flock`."""
    with _pins_lock:
        _pins[file.name] += 1
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH)


def _release(file: BinaryIO) -> None:
    """Undo `_hold`: unlocked by hand, since a memory map keeps a duplicate of the file, and with it the lock."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
    with _pins_lock:
        _pins[file.name] -= 1
        if not _pins[file.name]:
            del _pins[file.name]


def _in_use(path: Path) -> bool:
    with _pins_lock:
        if str(path) in _pins:
            return True
    if fcntl is None:
        return False
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False
    return False


# ------------------------------------------------------------------------------------------------------- diskcache


class PlainDisk(diskcache.Disk):
    """How diskcache keeps keys and values here: text keys, and files of plain bytes. Nothing is ever (un)pickled."""

    def __init__(self, directory: str, **settings: object) -> None:
        super().__init__(directory)
        self._of_thread = threading.local()

    @contextlib.contextmanager
    def fetching(self) -> Iterator[None]:
        """Where the block ends in an error, nobody got the file that was fetched in it: close it."""
        self._of_thread.fetched = None
        try:
            yield
        except BaseException:
            if self._of_thread.fetched is not None:
                _release(self._of_thread.fetched)
                self._of_thread.fetched.close()
            raise

    def put(self, key: object) -> tuple[str, bool]:
        if not isinstance(key, str):
            raise TypeError(f"a key must be text, not {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: object) -> str:
        if not raw or not isinstance(key, str):
            raise _Unusable("its key is not text", None)
        return key

    def store(self, value: _Stream, read: bool, key: object = None) -> tuple[int, int, str, None]:
        if not read:
            raise TypeError("only streams are stored")
        value.filename, full_path = self.filename()
        size = self._write(full_path, iter(functools.partial(value.read, WRITE_BYTES), b""), "xb")
        return size, diskcache.core.MODE_BINARY, value.filename, None

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> BinaryIO:
        """The value's file, open for reading and held in use; it is the caller's to `_release` and close.

        Raises _Unusable if the value is anything but such a file, StoreError if the file cannot be opened.
        """
        if mode != diskcache.core.MODE_BINARY or not _is_value_file(filename):
            raise _Unusable("its value is not a file of plain bytes", filename)
        path = Path(self._directory, filename)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise _Unusable("its file is missing", filename) from None
        except OSError as error:
            reason = error.strerror or error
            raise StoreError(f"the cache file {path} cannot be read ({reason}); mend that or delete it") from error
        _hold(file)
        self._of_thread.fetched = file
        return file

    def remove(self, file_path: str | None) -> None:
        """Remove a value's file; a name that diskcache would not have given is left alone."""
        if _is_value_file(file_path):
            super().remove(file_path)


def _got(name: str, cache: diskcache.Cache) -> BinaryIO | None:
    """The open file of an entry. diskcache may fail to note its use after it has opened it, as on a full disk."""
    with cache.disk.fetching():
        return cache.get(name, read=True)


def _is_value_file(filename: object) -> bool:
    return isinstance(filename, str) and _VALUE_FILE.fullmatch(filename) is not None


def _shadows(setting: str) -> bool:
    """Whether diskcache, which makes every setting an attribute, would lose a method or a folder to this one."""
    owner, name = (PlainDisk, setting[5:]) if setting.startswith("disk_") else (diskcache.Cache, setting)
    return name.startswith("_") or hasattr(owner, name)


def _file_identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


# ----------------------------------------------------------------------------------------------------------- store


class Entry:
    """What `Store.get` found: it is in use, and not evicted, until closed. A context manager; threads may share it.

    key: as given to `put`
    meta: as given to `put`, after a round trip through JSON
    arrays: name -> (shape, dtype)

    Arrays that it gave stay valid after it is closed.
    """

    def __init__(self, store: "Store", name: str, file: BinaryIO) -> None:
        self._file = file
        self._store = store
        self._name = name
        self._filename = str(Path(file.name).relative_to(store.folder))
        try:
            self._header = _read_header(file, name, self._filename)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except BaseException:
            self.close()
            raise
        self.key = name.removeprefix(ARRAYS_PREFIX)
        self.meta = self._header.meta
        self.arrays = {name: (layout.shape, layout.dtype) for name, layout in self._header.layouts.items()}

    def array(self, name: str) -> np.ndarray:
        """The whole array `name`, read-only and memory-mapped.

        Raises CorruptEntry if any of its bytes is not what was written, KeyError if there is no such array.
        """
        layout = self._header.layouts[name]
        self._verify(name, range(len(layout.checksums)))
        return self._view(layout)

    def layer(self, name: str, index: int) -> np.ndarray:
        """`arrays[name][index]`, read-only and memory-mapped; no other layer is read.

        Raises CorruptEntry if any of its bytes is not what was written, KeyError if there is no such array, and
        IndexError if there is no such layer.
        """
        layout = self._header.layouts[name]
        row = range(layout.shape[0])[index]
        self._verify(name, [layout.block_of(row)])
        return self._view(layout)[row, ...]

    def read_layer(self, name: str, index: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """The same as `layer`, but read from the file, not mapped: faster where a layer is read once, and gone after.

        buffer: bytes to read into, [at least bytes of a layer] uint8; new ones where these are too few or not given.
        """
        layout = self._header.layouts[name]
        row = range(layout.shape[0])[index]
        block = layout.block_of(row)
        start, stop = layout.block_range(block)
        if buffer is None or len(buffer) < stop - start:
            buffer = np.empty(stop - start, np.uint8)
        content = buffer[: stop - start]
        self._read(content, start)
        self._verify(name, [block], content)
        first = block * _rows_per_block(layout.shape)
        count = min(_rows_per_block(layout.shape), layout.shape[0] - first)
        return content.view(layout.dtype).reshape(count, *layout.shape[1:])[row - first, ...]

    def close(self) -> None:
        """Let the entry be evicted again."""
        with _pins_lock:
            if not self._file.closed:
                _release(self._file)
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _view(self, layout: _Layout) -> np.ndarray:
        return np.ndarray(layout.shape, layout.dtype, buffer=self._map, offset=layout.offset)

    def _read(self, content: np.ndarray, start: int) -> None:
        """Fill `content`, of bytes, with the file's from `start` on; threads may do so at once."""
        if not hasattr(os, "preadv"):  # Windows
            content[:] = np.frombuffer(self._map, np.uint8, len(content), start)
            return
        done = 0
        while done < len(content):
            count = os.preadv(self._file.fileno(), [content[done:]], start + done)
            if not count:
                self._give_up("its file is cut short")
            done += count

    def _verify(self, name: str, blocks: Iterable[int], content: np.ndarray | None = None) -> None:
        """Raise CorruptEntry unless blocks are as written; content: the bytes of the only one, where they were read."""
        if self._file.closed:
            raise ValueError(f"entry {self.key} is closed")
        status = os.fstat(self._file.fileno())
        if status.st_size != self._header.file_bytes:
            self._give_up("its file has another size than before")
        verified = self._store._verified_blocks(self._filename, (status.st_ino, status.st_mtime_ns))
        layout = self._header.layouts[name]
        for block in blocks:
            if (name, block) not in verified:
                start, stop = layout.block_range(block)
                with memoryview(self._map) as whole, whole[start:stop] as part:
                    checksum = xxhash.xxh3_128_hexdigest(part if content is None else content)
                if checksum != layout.checksums[block]:
                    self._give_up(f"block {block} of array {name} does not match its checksum")
                verified.add((name, block))

    def _verify_all(self) -> None:
        """Raise CorruptEntry unless every block is as written, however often it was compared."""
        with self._store._lock:
            self._store._verified.pop(self._filename, None)
        for name, layout in self._header.layouts.items():
            self._verify(name, range(len(layout.checksums)))

    def _give_up(self, reason: str) -> None:
        self._store._discard(self._name, self._filename, reason)
        self._store._note_damage(self.key, self._filename)
        raise CorruptEntry(self.key, reason)


@dataclass(frozen=True)
class EntryInfo:
    """One entry as `Store.entries` lists it; times are in UTC."""

    key: str
    meta: Any
    size_bytes: int
    stored: datetime
    used: datetime


class Store:
    """A folder of entries; each is a few named arrays and a JSON `meta`, under a key.

    An entry is seen only when whole. One that was damaged since is dropped, and never read. Threads may share a
    store, and processes may share its folder. A folder that can only be read is read; writing raises StoreError.

    folder: made if missing; default_folder() if not given
    size_limit: bytes of all entries together. After each write, the entries not used for longest are evicted until
        the rest fits; those in use (an open Entry in any process) and the one just written are spared, so an entry
        larger than the limit is kept too.

    Every method raises StoreError if the folder cannot be used. A database that SQLite finds damaged is moved aside
    with a warning in the log, and an empty one begun.
    """

    def __init__(self, folder: Path | str | None = None, size_limit: int | None = None) -> None:
        named = default_folder() if folder is None else Path(folder)
        self.folder = Path(os.path.expandvars(named)).expanduser().absolute()
        self.size_limit = default_limit() if size_limit is None else size_limit
        self._database = self.folder / diskcache.core.DBNAME
        self._lock = threading.RLock()
        self._cache: diskcache.Cache | None = None
        self._opened_database: tuple[int, int] | None = None
        self._verified: dict[str, tuple[tuple[int, int], set[tuple[str, int]]]] = {}
        self._reads: Counter[tuple[str, bool]] = Counter()
        self._swept = time.monotonic()
        self.last_write_error = ""
        """What kept the last write from being done, "" where it was done."""
        self.damage: Counter[str] = Counter()
        """How often an entry was found damaged as it was read, by key: more than once speaks of a failing disk."""
        self._damaged_files: set[str] = set()
        try:
            self._attempt(self._remove_orphans)
        except _Unwritable as unwritable:
            self.last_write_error = str(unwritable)
            logger.warning("%s; until then it is only read", unwritable)
            self._select("SELECT 1 FROM Cache LIMIT 1")

    def put(self, key: str, arrays: Mapping[str, np.ndarray], meta: dict[str, JSON]) -> None:
        """Keep `arrays` and `meta` under `key`, in place of what was there; readers of the old entry keep it.

        Each array is read twice (for its checksums, then to write it) and never copied as a whole. `meta` comes back
        as JSON gives it: tuples as lists, dictionary keys as text.

        Raises TypeError if an array is not of numbers or booleans or `meta` is not JSON; StoreError if the entry
        cannot be written, for instance because the disk is full: nothing of it is left then.
        """
        self._put(ARRAYS_PREFIX + key, arrays, meta)

    def try_put(self, key: str, arrays: Mapping[str, np.ndarray], meta: dict[str, JSON]) -> bool:
        """`put` of what can do without: False, and a `hindrance`, where nothing can be written."""
        return self._try_put(ARRAYS_PREFIX + key, arrays, meta)

    def get(self, key: str) -> Entry | None:
        """The entry under `key`, to be closed after use; None if there is none, or none that is whole."""
        return self._get(ARRAYS_PREFIX + key)

    def read(self, key: str) -> dict[str, np.ndarray] | None:
        """Copies of all arrays of the entry under `key`; None if there is none, or none that is whole."""
        entry = self.get(key)
        if entry is None:
            return None
        with entry:
            try:
                return {name: entry.array(name).copy() for name in entry.arrays}
            except CorruptEntry:
                return None

    def put_json(self, key: str, value: JSON) -> None:
        """Keep a small document; its keys are apart from those of `put`. Raises TypeError if it is not JSON."""
        self._put(DOCUMENT_PREFIX + key, {}, value)

    def try_put_json(self, key: str, value: JSON) -> bool:
        """`put_json` of what can do without: False, and a `hindrance`, where nothing can be written."""
        return self._try_put(DOCUMENT_PREFIX + key, {}, value)

    def get_json(self, key: str) -> Any:
        """The document under `key`; None if there is none, or none that is whole."""
        entry = self._get(DOCUMENT_PREFIX + key)
        if entry is None:
            return None
        with entry:
            return entry.meta

    def __contains__(self, key: str) -> bool:
        """Whether `put` stored an entry under `key` and its file still has its size; no array is read."""
        rows = self._select(
            "SELECT filename, size FROM Cache WHERE key = ? AND raw = 1 AND mode = ?",
            ARRAYS_PREFIX + key,
            diskcache.core.MODE_BINARY,
        )
        try:
            return any(
                _is_value_file(filename) and (self.folder / filename).stat().st_size == size for filename, size in rows
            )
        except OSError:
            return False

    def drop(self, key: str) -> None:
        """Forget the entry and the document under `key`, if there are any."""
        self._attempt(lambda cache: cache.delete(ARRAYS_PREFIX + key))
        self._attempt(lambda cache: cache.delete(DOCUMENT_PREFIX + key))

    def entries(self) -> list[EntryInfo]:
        """What `put` stored, last used first; whatever in the database is not of this cache is dropped."""
        disk = PlainDisk(str(self.folder))
        infos = []
        for key, raw, mode, filename, size, stored, used in self._select(
            "SELECT key, raw, mode, filename, size, store_time, access_time FROM Cache"
            " ORDER BY access_time DESC, rowid DESC"
        ):
            try:
                with self._entry_of_row(disk, key, raw, mode, filename) as entry:
                    if key.startswith(ARRAYS_PREFIX):
                        infos.append(EntryInfo(entry.key, entry.meta, size, _utc(stored), _utc(used)))
            except _Unusable as unusable:
                self._discard(key, filename, str(unusable))
        return infos

    def count(self) -> int:
        """How many entries and documents there are."""
        return self._select("SELECT COUNT(*) FROM Cache")[0][0]

    def version(self) -> str:
        """A text that is another where what is kept is another: written since, dropped or evicted."""
        columns = ("COUNT(*)", "SUM(size)", "MAX(rowid)", "MAX(store_time)")
        return " ".join(map(str, (self.folder, *self._select(f"SELECT {', '.join(columns)} FROM Cache")[0])))

    def reads(self) -> dict[str, tuple[int, int]]:
        """{kind: (found, not found)} of all that was asked for since this store was opened; see `kind_of`."""
        with self._lock:
            return {kind: (self._reads[kind, True], self._reads[kind, False]) for kind, _ in self._reads}

    def verify(
        self,
        on_progress: Callable[[int, int], None] = lambda _done, _all: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[int, list[str]]:
        """Read every byte that is kept, and compare it with its checksum, whenever that was done before.

        Returns how many entries and documents there were and the keys of those that were damaged, which are dropped.
        on_progress(bytes done, bytes of all). Raises Cancelled where that is asked for.
        """
        # not `get`, which would make everything look as used just now
        disk = PlainDisk(str(self.folder))
        rows = self._select("SELECT key, raw, mode, filename, size FROM Cache ORDER BY rowid")
        whole, done, damaged = sum(row[-1] for row in rows), 0, []
        for key, raw, mode, filename, size in rows:
            if cancelled():
                raise Cancelled(f"stopped after {done:,} of {whole:,} bytes; {len(damaged)} entries were damaged")
            try:
                with self._entry_of_row(disk, key, raw, mode, filename) as entry:
                    entry._verify_all()
            except _Unusable as unusable:
                if self._select("SELECT 1 FROM Cache WHERE key = ? AND filename IS ?", key, filename):
                    self._discard(key, filename, str(unusable))
                    damaged.append(str(key).partition(":")[2])
            except CorruptEntry as damage:
                damaged.append(damage.key)
            done += size
            on_progress(done, whole)
        return len(rows), damaged

    def size(self) -> int:
        """Bytes of all entries and documents."""
        return self._select("SELECT COALESCE(SUM(size), 0) FROM Cache")[0][0]

    def free(self) -> int:
        """Bytes that are free on the folder's disk."""
        try:
            return shutil.disk_usage(self.folder).free
        except OSError as error:
            raise self._explained(error) from error

    def close(self) -> None:
        """Close the database; open entries stay valid, and the next use opens it again."""
        with self._lock:
            if self._cache is not None:
                self._cache.close()
                self._cache = None

    # ------------------------------------------------------------------------------------- reading and writing

    def _put(self, name: str, arrays: Mapping[str, np.ndarray], meta: JSON) -> None:
        header = _header(name, arrays, meta)

        def write(cache: diskcache.Cache) -> None:
            stream = _Stream(_pieces(header, arrays.values()))
            try:
                cache.set(name, stream, read=True)
            except BaseException:
                cache.disk.remove(stream.filename)
                raise

        try:
            self._attempt(write)
        except _Unwritable as unwritable:
            self.last_write_error = str(unwritable)
            raise
        self.last_write_error = ""
        try:
            self._attempt(functools.partial(self._evict, name))
            if time.monotonic() - self._swept > ORPHAN_AGE_S:
                self._attempt(self._remove_orphans)
        except StoreError as error:
            logger.warning("nothing could be evicted from the cache; the next entry tries again: %s", error)

    def _try_put(self, name: str, arrays: Mapping[str, np.ndarray], meta: JSON) -> bool:
        try:
            self._put(name, arrays, meta)
        except _Unwritable as unwritable:
            logger.warning("%s is not kept: %s", name, unwritable)
            return False
        return True

    def _get(self, name: str) -> Entry | None:
        entry = None
        try:
            file = self._fetch(name)
            entry = None if file is None else self._entry(name, file)
        except _Unusable as unusable:
            self._discard(name, unusable.filename, str(unusable))
        with self._lock:
            self._reads[kind_of(name.partition(":")[2]), entry is not None] += 1
        return entry

    def _entry(self, name: str, file: BinaryIO) -> Entry:
        try:
            return Entry(self, name, file)
        except OSError as error:
            raise self._explained(error) from error

    def _entry_of_row(self, disk: PlainDisk, key: object, raw: object, mode: int, filename: str | None) -> Entry:
        """The entry of a row of the table, without noting that it was used. Raises _Unusable where it is none."""
        return self._entry(disk.get(key, raw), disk.fetch(mode, filename, None, read=True))

    def _fetch(self, name: str) -> BinaryIO | None:
        """The open file of the entry `name`, held in use. diskcache opens it and notes its use in one transaction,
        and `_evict` looks in one, so that none is evicted in between."""
        try:
            return self._attempt(functools.partial(_got, name))
        except _Unwritable:
            rows = self._select_read_only("SELECT mode, filename FROM Cache WHERE key = ? AND raw = 1", name)
            disk = PlainDisk(str(self.folder))
            return next((disk.fetch(mode, filename, None, read=True) for mode, filename in rows), None)

    def _discard(self, key: object, filename: str | None, reason: str) -> None:
        """Drop the row of `key`, unless it has got another file since, and remove the file."""
        logger.warning("cache entry %r is dropped: %s", key, reason)

        def delete(cache: diskcache.Cache) -> None:
            cache._sql("DELETE FROM Cache WHERE key = ? AND filename IS ?", (key, filename))
            cache.disk.remove(filename)

        try:
            self._attempt(delete)
        except StoreError as error:
            logger.warning("cache entry %r could not be dropped: %s", key, error)

    def _note_damage(self, key: str, filename: str) -> None:
        """Once a file, however many threads find it."""
        with self._lock:
            if filename not in self._damaged_files:
                self._damaged_files.add(filename)
                self.damage[key] += 1

    def _evict(self, spared: str, cache: diskcache.Cache) -> None:
        evicted = []
        with cache.transact():
            total = cache._sql("SELECT COALESCE(SUM(size), 0) FROM Cache").fetchone()[0]
            if total <= self.size_limit:
                return
            rows = cache._sql("SELECT rowid, key, filename, size FROM Cache ORDER BY access_time, rowid").fetchall()
            for rowid, key, filename, size in rows:
                if total <= self.size_limit:
                    break
                if key == spared or (_is_value_file(filename) and _in_use(self.folder / filename)):
                    continue
                cache._sql("DELETE FROM Cache WHERE rowid = ?", (rowid,))
                evicted.append(filename)
                total -= size
        for filename in evicted:
            cache.disk.remove(filename)

    def _remove_orphans(self, cache: diskcache.Cache) -> None:
        """Remove files that no row names, as a killed writer leaves them; one that is being written is younger.

        At the opening, and from then on with a write now and then: a store may stay open for weeks.
        """
        self._swept = time.monotonic()
        oldest_writer = time.time() - ORPHAN_AGE_S
        old_files = set()
        # not a glob: another process may remove a folder that has just become empty, and a walk passes over that
        for folder, _, names in os.walk(self.folder):
            for path in (Path(folder, name).relative_to(self.folder) for name in names):
                if len(path.parts) == 3 and path.match("??/??/*.val"):
                    with contextlib.suppress(FileNotFoundError):
                        if (self.folder / path).stat().st_mtime < oldest_writer:
                            old_files.add(str(path))
        if old_files:
            named = {filename for (filename,) in cache._sql("SELECT filename FROM Cache")}
            for filename in old_files - named:
                cache.disk.remove(filename)

    def _verified_blocks(self, filename: str, file_version: tuple[int, int]) -> set[tuple[str, int]]:
        """The (array, block) pairs of this version of the file whose checksums this process has compared."""
        with self._lock:
            known = self._verified.get(filename)
            if known is None or known[0] != file_version:
                if len(self._verified) >= REMEMBERED_FILES:
                    self._verified.clear()
                known = self._verified[filename] = (file_version, set())
            return known[1]

    # ------------------------------------------------------------------------------------------- the database

    def _attempt(self, operation: Callable[[diskcache.Cache], T]) -> T:
        """operation(cache), tried again while others keep the database busy, and once more if it was damaged.

        diskcache's own `retry=True` would try for ever, on a disk that is full or read-only too.
        """
        deadline = time.monotonic() + PATIENCE_S
        was_damaged = False
        while True:
            database = cache = None
            try:
                database = _file_identity(self._database)
                cache = self._opened()
                return operation(cache)
            except (diskcache.Timeout, sqlite3.Error, OSError) as error:
                if cache is not None:
                    cache.close()
                cause = error.__context__ if isinstance(error, diskcache.Timeout) else error
                code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
                if (cause is None or code in _SQLITE_BUSY) and time.monotonic() < deadline:
                    time.sleep(RETRY_PAUSE_S)
                elif code in _SQLITE_DAMAGED and not was_damaged:
                    was_damaged = True
                    try:
                        self._set_aside(database, str(cause))
                    except OSError as hindrance:
                        raise self._explained(hindrance) from error
                else:
                    raise self._explained(cause) from error

    def _opened(self) -> diskcache.Cache:
        """The open cache; opened anew if its database is no longer the one in the folder."""
        with self._lock:
            if self._cache is not None and self._opened_database != _file_identity(self._database):
                if not self.folder.is_dir():
                    raise FileNotFoundError(errno.ENOENT, "the folder has vanished", str(self.folder))
                logger.warning("the database of the cache in %s was replaced; opening the new one", self.folder)
                self._cache = None
            if self._cache is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                try:
                    cache = diskcache.Cache(
                        str(self.folder),
                        timeout=SQLITE_TIMEOUT_S,
                        disk=PlainDisk,
                        eviction_policy="least-recently-used",
                        cull_limit=0,
                        statistics=0,
                        sqlite_mmap_size=0,
                    )
                    strange = [name for (name,) in cache._sql("SELECT key FROM Settings") if _shadows(name)]
                except (AttributeError, KeyError, TypeError, ValueError) as error:  # from settings that it finds there
                    raise _OtherDatabase(f"{type(error).__name__}: {error}") from error
                if strange:
                    raise _OtherDatabase(f"its settings {', '.join(strange)[:100]} are none of a cache")
                self._cache = cache
                self._opened_database = _file_identity(self._database)
            return self._cache

    def _set_aside(self, damaged: tuple[int, int] | None, reason: str) -> None:
        """Rename the damaged database, unless another process has done so; its log files go first, as SQLite would
        replay them into the next database."""
        suffix = f".damaged-{time.strftime('%Y%m%dT%H%M%S')}"
        with self._lock, self._only_one_process():
            self._cache = None
            if damaged is None or _file_identity(self._database) != damaged:
                return
            for ending in ("-wal", "-shm", ""):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self._database}{ending}").replace(f"{self._database}{suffix}{ending}")
        logger.warning(
            "the database of the cache in %s was damaged (%s); it is now %s%s, and an empty cache begun",
            self.folder,
            reason,
            self._database.name,
            suffix,
        )

    @contextlib.contextmanager
    def _only_one_process(self) -> Iterator[None]:
        with (self.folder / "cache.lock").open("ab") as file:
            if fcntl is not None:
                with contextlib.suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _select(self, query: str, *parameters: object) -> list[tuple]:
        try:
            return self._attempt(lambda cache: cache._sql(query, parameters).fetchall())
        except _Unwritable:
            return self._select_read_only(query, *parameters)

    def _select_read_only(self, query: str, *parameters: object) -> list[tuple]:
        """The same without diskcache, which writes as it opens; the last resort ignores locks and the log file."""
        modes = ["mode=ro"]
        if not Path(f"{self._database}-wal").exists():
            modes.append("mode=ro&immutable=1")
        for mode in modes:
            with (
                contextlib.suppress(sqlite3.Error),
                contextlib.closing(sqlite3.connect(f"{self._database.as_uri()}?{mode}", uri=True)) as connection,
            ):
                return connection.execute(query, parameters).fetchall()
        raise StoreError(
            f"the cache folder {self.folder} can be neither written nor read; mend its permissions or free some"
            f" space on its disk, or set {FOLDER_VARIABLE} to another folder"
        )

    def _explained(self, cause: BaseException | None) -> StoreError:
        number = getattr(cause, "errno", None)
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        elsewhere = f"or set {FOLDER_VARIABLE} to another folder"
        if number in _FULL or code == sqlite3.SQLITE_FULL:
            return _Unwritable(f"the disk of the cache folder {self.folder} is full; free some space, {elsewhere}")
        if number in _FORBIDDEN:
            return _Unwritable(f"the cache folder {self.folder} cannot be written; mend its permissions, {elsewhere}")
        file = next((path for path in (self.folder, *self.folder.parents) if path.is_file()), None)
        if file is not None:
            return StoreError(f"the cache folder {self.folder} cannot be made: {file} is a file; move it, {elsewhere}")
        if not self.folder.is_dir():
            return StoreError(f"the cache folder {self.folder} has vanished; make it again, {elsewhere}")
        if code in _SQLITE_FORBIDDEN:
            return _Unwritable(f"the cache folder {self.folder} cannot be written; mend its permissions, {elsewhere}")
        if cause is None or code in _SQLITE_BUSY:
            return StoreError(
                f"the cache in {self.folder} was kept busy by another process for {PATIENCE_S:g} s;"
                f" wait for it or end it, {elsewhere}"
            )
        return StoreError(f"the cache folder {self.folder} cannot be used ({cause}); mend that, {elsewhere}")


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
