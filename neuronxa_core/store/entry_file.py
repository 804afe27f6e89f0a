"""The file of a cache entry: safetensors, whose metadata holds the key, `meta`, and a checksum of every layer.

A layer is one index of the first axis of an array of three axes or more, and is read and checked without the rest;
other arrays are read whole. Any reader of safetensors can open the files, layer by layer too:

    safe_open(path, "numpy").get_slice("nas_weighted")[3]

They are written and read here since the library's writer takes only contiguous arrays and hides whether a disk is full,
and its reader allocates new memory for every layer, which is slower than reading into a buffer.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NoReturn, Self

import numpy as np
import xxhash

from neuronxa_core.errors import CorruptEntry
from neuronxa_core.host.process_memory import madvise

FORMAT = "neuronxa 2"
ALIGNMENT = 64
UNSEALED = b"0" * 16
SEAL_START = len('{"__metadata__": {"checksum": "')
DTYPES = {
    "BOOL": "bool", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8", "U16": "uint16",
    "U32": "uint32", "U64": "uint64", "F16": "float16", "F32": "float32", "F64": "float64",
}  # fmt: skip
CODES = {np.dtype(name): code for code, name in DTYPES.items()}


def file_name(key: str) -> str:
    return f"{xxhash.xxh3_128_hexdigest(key.encode())}.safetensors"


def _checksum(content: bytes | memoryview | np.ndarray) -> str:
    return xxhash.xxh3_64_hexdigest(content)


def _layers(array: np.ndarray) -> Iterator[memoryview]:
    """The bytes of each layer; an array that is not C-contiguous is copied layer by layer."""
    for layer in array if array.ndim > 2 else [array]:
        yield memoryview(np.ascontiguousarray(layer).reshape(-1).view(np.uint8))
        madvise(array)


def write_entry(file: BinaryIO, key: str, arrays: Mapping[str, np.ndarray], meta: object, stored: float) -> None:
    """Write an entry, stored at `stored` (seconds since 1970), without a copy of a whole array.

    Raises TypeError if an array is not of numbers or booleans or `meta` is not JSON.
    """
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype not in CODES:
            raise TypeError(f"array {name!r} must be a numpy array of numbers or booleans")
    # wide numbers first, so that each array begins at a multiple of its own width
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))
    checksums = {name: "".join(map(_checksum, _layers(array))) for name, array in arrays.items()}
    metadata = {
        "checksum": UNSEALED.decode(),  # of the rest of the header
        "format": FORMAT,
        "key": key,
        "meta": json.dumps(meta),
        "stored": repr(stored),
        "checksums": json.dumps(checksums),
    }
    header: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for name, array in arrays.items():
        place = [offset, offset + array.nbytes]
        header[name] = {"dtype": CODES[array.dtype], "shape": array.shape, "data_offsets": place}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    file.write(len(text).to_bytes(8, "little") + text.replace(UNSEALED, _checksum(text).encode(), 1))
    for array in arrays.values():
        for layer in _layers(array):
            file.write(layer)


class Entry:
    """An entry that is open for reading: a context manager, which threads may share.

    key, meta: as given to `Store.put`, `meta` after a round trip through JSON
    arrays: name -> (shape, dtype)
    stored: when it was written, seconds since 1970

    It can be read until it is closed, also where it was replaced, dropped or evicted meanwhile.
    """

    def __init__(self, file: BinaryIO, key: str, on_damage: Callable[[BinaryIO, str, str], None]) -> None:
        """Read the header of an open file without a buffer, which `close` closes.

        key: for errors, where the header cannot be read. on_damage(file, key, reason): called before CorruptEntry is
        raised, here where it is not a whole file of `write_entry`.
        """
        self.file, self.key, self._on_damage = file, key, on_damage
        self._lock = threading.Lock()
        file_bytes = os.fstat(file.fileno()).st_size
        header_bytes = int.from_bytes(file.read(8), "little")
        text = file.read(min(header_bytes, file_bytes))
        seal = slice(SEAL_START, SEAL_START + len(UNSEALED))
        if _checksum(text[: seal.start] + UNSEALED + text[seal.stop :]).encode() != text[seal]:
            self._give_up("its header does not match its checksum")
        try:
            self._take(json.loads(text), 8 + header_bytes, file_bytes)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self._give_up(f"its header is none that this program writes ({type(error).__name__})")

    def _take(self, header: dict, start: int, file_bytes: int) -> None:
        """Take what a header says of the arrays, which begin at byte `start`; any error means that another wrote it."""
        metadata = header.pop("__metadata__")
        if metadata["format"] != FORMAT:
            self._give_up(f"its file has the format {metadata['format']}, and this program reads {FORMAT}")
        self.key = metadata["key"]
        if file_name(self.key) != Path(self.file.name).name:
            self._give_up("its file belongs to another key")
        whole = max((start + it["data_offsets"][1] for it in header.values()), default=start)
        if file_bytes != whole:
            self._give_up(f"its file has {file_bytes} bytes and should have {whole}")
        self.meta = json.loads(metadata["meta"])
        self.stored = float(metadata["stored"])
        self.arrays = {name: (tuple(it["shape"]), np.dtype(DTYPES[it["dtype"]])) for name, it in header.items()}
        for name, (shape, dtype) in self.arrays.items():
            first, end = header[name]["data_offsets"]
            if math.prod(shape) * dtype.itemsize != end - first:
                raise ValueError(name)
        self._checksums: dict[str, str] = json.loads(metadata["checksums"])
        self._starts = {name: start + it["data_offsets"][0] for name, it in header.items()}

    def array(self, name: str) -> np.ndarray:
        """The whole array `name`. Raises CorruptEntry if it is not as written, KeyError if there is none."""
        shape, dtype = self.arrays[name]
        content = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
        size = self._layer_bytes(name)
        for number in range(self._layers(name)):
            self._read(name, number, content[number * size : (number + 1) * size])
        return content.view(dtype).reshape(shape)

    def layer(self, name: str, index: int, buffer: np.ndarray | None = None) -> np.ndarray:
        """`array(name)[index]`; of an array of three axes or more, no other layer is read.

        buffer: bytes to read into, [at least bytes of a layer] uint8; new ones where these are too few or not given.
        Raises CorruptEntry, KeyError, and IndexError if there is no such layer.
        """
        shape, dtype = self.arrays[name]
        number = range(shape[0])[index]
        if len(shape) < 3:
            return self.array(name)[number, ...]
        size = self._layer_bytes(name)
        content = np.empty(size, np.uint8) if buffer is None or len(buffer) < size else buffer[:size]
        self._read(name, number, content)
        return content.view(dtype).reshape(shape[1:])

    def verify(self) -> None:
        """Read every byte. Raises CorruptEntry."""
        for name in self.arrays:
            buffer = np.empty(self._layer_bytes(name), np.uint8)
            for number in range(self._layers(name)):
                self._read(name, number, buffer)

    def _layers(self, name: str) -> int:
        shape, _ = self.arrays[name]
        return shape[0] if len(shape) > 2 else 1

    def _layer_bytes(self, name: str) -> int:
        shape, dtype = self.arrays[name]
        return math.prod(shape[1:] if len(shape) > 2 else shape) * dtype.itemsize

    def _read(self, name: str, number: int, content: np.ndarray) -> None:
        """Fill `content` with the bytes of a layer, and compare them with their checksum."""
        start = self._starts[name] + number * len(content)
        done = 0
        try:
            while done < len(content) and (count := self._read_some(content[done:], start + done)):
                done += count
        except OSError as error:
            self._give_up(f"its file cannot be read: {error.strerror}")
        if done < len(content):
            self._give_up("its file is cut short")
        if not self._checksums[name].startswith(_checksum(content), number * len(UNSEALED)):
            self._give_up(f"layer {number} of array {name} does not match its checksum")

    def _read_some(self, content: np.ndarray, start: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self.file.fileno(), [content], start)
        with self._lock:  # Windows
            self.file.seek(start)
            return self.file.readinto(content)

    def _give_up(self, reason: str) -> NoReturn:
        self._on_damage(self.file, self.key, reason)
        raise CorruptEntry(self.key, reason)

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
