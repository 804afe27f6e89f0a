"""Each promise of the on-disk cache, and each way in which a disk, a process or a stranger can break it."""

import contextlib
import errno
import logging
import mmap
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import diskcache
import hypothesis.extra.numpy as numpy_strategies
import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuronxa_core.errors import CorruptEntry, StoreError
from neuronxa_core.store import cache as store_module
from neuronxa_core.store.cache import ARRAYS_PREFIX, Entry, EntryInfo, Store, default_folder

STATES = np.arange(5 * 6 * 7, dtype=np.float32).reshape(5, 6, 7)
spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    opened = Store(folder)
    yield opened
    opened.close()


def change_database(folder: Path, statement: str, *parameters: object) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        return connection.execute(statement, parameters).fetchall()


def file_of(folder: Path, key: str) -> Path:
    [(filename,)] = change_database(folder, "SELECT filename FROM Cache WHERE key = ?", ARRAYS_PREFIX + key)
    return folder / filename


def value_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.val"))


def keys(store: Store) -> set[str]:
    return {info.key for info in store.entries()}


def flip_byte(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 0x01]))


def position_of_layer(path: Path, array: np.ndarray, layer: int) -> int:
    return path.read_bytes().index(array[layer].tobytes())


def memory_behind(array: np.ndarray) -> object:
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base


# ------------------------------------------------------------------------------------------------------ round trip

plain_arrays = numpy_strategies.arrays(
    dtype=st.one_of(
        numpy_strategies.boolean_dtypes(),
        numpy_strategies.integer_dtypes(endianness="?"),
        numpy_strategies.unsigned_integer_dtypes(endianness="?"),
        numpy_strategies.floating_dtypes(endianness="?"),
        numpy_strategies.complex_number_dtypes(endianness="?"),
    ),
    shape=numpy_strategies.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrays=st.dictionaries(st.text(), plain_arrays, max_size=3),
    meta=st.dictionaries(st.text(), json_values, max_size=3),
)
def test_entry_comes_back_bit_for_bit(store: Store, arrays: dict[str, np.ndarray], meta: dict) -> None:
    store.put("key", arrays, meta)
    with store.get("key") as entry:
        assert entry.key == "key"
        assert entry.meta == meta
        assert entry.arrays == {name: (array.shape, array.dtype) for name, array in arrays.items()}
        for name, array in arrays.items():
            found = entry.array(name)
            assert (found.shape, found.dtype) == (array.shape, array.dtype)
            assert found.tobytes() == array.tobytes()
            for layer in range(array.shape[0] if array.ndim else 0):
                assert entry.layer(name, layer).shape == array.shape[1:]
                assert entry.layer(name, layer).tobytes() == array[layer, ...].tobytes()
                read = entry.read_layer(name, layer)
                assert (read.shape, read.dtype) == (array.shape[1:], array.dtype)
                assert read.tobytes() == array[layer, ...].tobytes()


@pytest.mark.parametrize(
    "array",
    [STATES.transpose(2, 0, 1), STATES[:, ::2, ::-1], np.asfortranarray(STATES), np.broadcast_to(STATES[0], (3, 6, 7))],
    ids=["transposed", "strided", "fortran", "broadcast"],
)
def test_array_of_any_memory_order_comes_back_in_c_order(store: Store, array: np.ndarray) -> None:
    store.put("key", {"states": array}, {})
    with store.get("key") as entry:
        np.testing.assert_array_equal(entry.array("states"), array)
        assert entry.array("states").flags.c_contiguous


def test_array_of_more_layers_than_blocks_is_read_and_verified_in_groups(store: Store, folder: Path) -> None:
    array = np.arange(2500 * 3).reshape(2500, 3)
    store.put("key", {"ids": array}, {})
    flip_byte(file_of(folder, "key"), position_of_layer(file_of(folder, "key"), array, 2499))
    with store.get("key") as entry:
        assert len(entry._header.layouts["ids"].checksums) == 834
        for layer in (0, 1, 2, 3, 1023, 1024, 2496):
            np.testing.assert_array_equal(entry.layer("ids", layer), array[layer])
            np.testing.assert_array_equal(entry.read_layer("ids", layer), array[layer])
        with pytest.raises(CorruptEntry):
            entry.layer("ids", 2499)


def test_array_is_mapped_read_only_and_aligned(store: Store) -> None:
    store.put("key", {"odd": np.ones((1, 3), np.int8), "states": STATES}, {})
    with store.get("key") as entry:
        for found in (entry.array("states"), entry.layer("states", 2)):
            assert isinstance(memory_behind(found), mmap.mmap)
            assert not found.flags.writeable
        assert entry.array("states").ctypes.data % 64 == 0
        with pytest.raises(ValueError, match="read-only"):
            entry.layer("states", 0)[:] = 0


def test_layer_counts_from_the_end_and_knows_its_bounds(store: Store) -> None:
    store.put("key", {"states": STATES}, {})
    with store.get("key") as entry:
        np.testing.assert_array_equal(entry.layer("states", -1), STATES[-1])
        for index in (5, -6):
            with pytest.raises(IndexError):
                entry.layer("states", index)
        with pytest.raises(KeyError):
            entry.array("scores")


def test_layer_is_read_into_the_buffer_where_it_fits(store: Store) -> None:
    store.put("key", {"states": STATES, "small": STATES[:2, :1].astype(np.int8)}, {})
    buffer = np.zeros(STATES[0].nbytes + 3, np.uint8)
    with store.get("key") as entry:
        found = entry.read_layer("states", 1, buffer)
        np.testing.assert_array_equal(found, STATES[1])
        assert np.shares_memory(found, buffer)
        np.testing.assert_array_equal(entry.read_layer("small", -1, buffer), STATES[1, :1])
        assert not np.array_equal(found, STATES[1])
        own = entry.read_layer("states", 2, buffer[: STATES[0].nbytes - 1])
        np.testing.assert_array_equal(own, STATES[2])
        assert not np.shares_memory(own, buffer)
        assert not isinstance(memory_behind(own), mmap.mmap)
        with pytest.raises(IndexError):
            entry.read_layer("states", 5)
        with pytest.raises(KeyError):
            entry.read_layer("scores", 0)
    with pytest.raises(ValueError, match="closed"):
        entry.read_layer("states", 0)
    np.testing.assert_array_equal(own, STATES[2])


@pytest.mark.parametrize("at_a_time", [1, 7, None], ids=["bytes", "pieces", "no preadv"])
def test_layer_is_read_whole_however_little_the_system_gives_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch, at_a_time: int | None
) -> None:
    store.put("key", {"states": STATES}, {})
    if at_a_time is None:
        monkeypatch.delattr(os, "preadv")
    else:
        real = os.preadv
        monkeypatch.setattr(os, "preadv", lambda file, buffers, at: real(file, [buffers[0][:at_a_time]], at))
    with store.get("key") as entry:
        for layer in range(5):
            np.testing.assert_array_equal(entry.read_layer("states", layer), STATES[layer])


def test_arrays_outlive_their_entry_and_a_closed_entry_gives_none(store: Store) -> None:
    store.put("key", {"states": STATES}, {})
    with store.get("key") as entry:
        found = entry.array("states")
    store.drop("key")
    np.testing.assert_array_equal(found, STATES)
    with pytest.raises(ValueError, match="closed"):
        entry.array("states")


def test_put_copies_no_whole_array(store: Store) -> None:
    array = np.ones((16, 2**18))
    tracemalloc.start()
    try:
        store.put("key", {"plain": array, "strided": array[:, ::2]}, {})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert array.nbytes == 2**25
    assert peak < 2**23


def test_missing_key_is_none_and_not_contained(store: Store) -> None:
    assert store.get("key") is None
    assert store.get_json("key") is None
    assert "key" not in store
    store.drop("key")
    assert store.size() == 0


def test_put_replaces_and_leaves_the_open_entry_its_numbers(store: Store, folder: Path) -> None:
    store.put("key", {"states": STATES}, {"run": 1})
    with store.get("key") as old:
        store.put("key", {"states": STATES + 1}, {"run": 2})
        np.testing.assert_array_equal(old.array("states"), STATES)
        with store.get("key") as new:
            np.testing.assert_array_equal(new.array("states"), STATES + 1)
            assert new.meta == {"run": 2}
    assert len(value_files(folder)) == 1


def test_entry_is_there_for_the_next_store(store: Store, folder: Path) -> None:
    store.put("key", {"states": STATES}, {})
    store.close()
    with contextlib.closing(Store(folder)) as later:
        assert "key" in later
        with later.get("key") as entry:
            np.testing.assert_array_equal(entry.array("states"), STATES)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}], dtype=object),
        np.array(["text"]),
        np.array(["2024-01-01"], dtype="datetime64[D]"),
        np.zeros(1, dtype=[("a", "f4")]),
        [1, 2],
    ],
    ids=["object", "text", "date", "record", "list"],
)
def test_only_arrays_of_plain_numbers_are_taken(store: Store, folder: Path, array: object) -> None:
    with pytest.raises(TypeError, match="'states' must be a numpy array of numbers or booleans"):
        store.put("key", {"states": array}, {})
    assert "key" not in store
    assert value_files(folder) == []


def test_meta_that_is_no_json_is_refused(store: Store) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        store.put("key", {}, {"score": np.float32(1)})
    assert "key" not in store


@given(value=json_values)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_document_comes_back(store: Store, value: object) -> None:
    store.put_json("key", value)
    assert store.get_json("key") == value


def test_document_and_entry_of_one_key_are_apart_and_dropped_together(store: Store) -> None:
    store.put_json("key", {"score": float("inf")})
    assert "key" not in store
    assert store.get("key") is None
    store.put("key", {}, {"kind": "entry"})
    assert store.get_json("key") == {"score": float("inf")}
    store.drop("key")
    assert store.get_json("key") is None
    assert "key" not in store


def test_damaged_document_is_dropped(store: Store, folder: Path) -> None:
    store.put_json("key", {"score": 0.25})
    [path] = value_files(folder)
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.75"))
    assert store.get_json("key") is None
    assert value_files(folder) == []


def test_entries_tell_key_meta_size_and_times_last_used_first(store: Store, folder: Path) -> None:
    before = datetime.now(UTC)
    for key in ("a", "b", "c"):
        store.put(key, {"states": STATES}, {"name": key})
    store.put_json("d", "no entry")
    store.get("b").close()
    infos = store.entries()
    assert [info.key for info in infos] == ["b", "c", "a"]
    assert [info.meta for info in infos] == [{"name": "b"}, {"name": "c"}, {"name": "a"}]
    assert [info.size_bytes for info in infos] == [file_of(folder, key).stat().st_size for key in "bca"]
    assert before <= infos[0].stored < infos[0].used <= datetime.now(UTC)
    assert isinstance(infos[0], EntryInfo)
    assert store.size() == sum(path.stat().st_size for path in value_files(folder))


# ----------------------------------------------------------------------------------------------------- verification


@pytest.mark.parametrize("read", [Entry.layer, Entry.read_layer], ids=["mapped", "unmapped"])
def test_damage_of_one_layer_spares_the_others_until_it_is_read(
    read: Callable[[Entry, str, int], np.ndarray], store: Store, folder: Path
) -> None:
    store.put("key", {"states": STATES}, {})
    path = file_of(folder, "key")
    flip_byte(path, position_of_layer(path, STATES, 3))
    with store.get("key") as entry:
        np.testing.assert_array_equal(read(entry, "states", 2), STATES[2])
        assert "key" in store
        with pytest.raises(CorruptEntry, match=r"key was damaged \(block 3 of array states"):
            read(entry, "states", 3)
    assert "key" not in store
    assert store.get("key") is None
    assert not path.exists()


def test_layer_touches_no_other_layer(store: Store, folder: Path) -> None:
    store.put("key", {"states": STATES, "more": STATES + 1000}, {})
    path = file_of(folder, "key")
    for layer in (0, 1, 3, 4):
        flip_byte(path, position_of_layer(path, STATES, layer))
    flip_byte(path, position_of_layer(path, STATES + 1000, 0))
    with store.get("key") as entry:
        np.testing.assert_array_equal(entry.layer("states", 2), STATES[2])
        with pytest.raises(CorruptEntry):
            entry.array("states")


def test_blocks_are_verified_once_a_process_and_again_after_a_change(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("key", {"states": STATES}, {})
    hashed = []
    real = xxhash.xxh3_128_hexdigest
    monkeypatch.setattr(xxhash, "xxh3_128_hexdigest", lambda data: hashed.append(len(data)) or real(data))
    with store.get("key") as entry:
        entry.layer("states", 1)
        assert hashed == [STATES[1].nbytes]
        entry.layer("states", 1)
        entry.read_layer("states", 1)
        assert len(hashed) == 1
        entry.array("states")
        assert len(hashed) == 5
    with store.get("key") as entry:
        entry.array("states")
        assert len(hashed) == 5
        path = file_of(folder, "key")
        flip_byte(path, position_of_layer(path, STATES, 1))
        os.utime(path, (0, 0))
        with pytest.raises(CorruptEntry):
            entry.layer("states", 1)


def test_remembered_verifications_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "REMEMBERED_FILES", 3)
    for number in range(8):
        store.put(str(number), {"states": STATES}, {})
        with store.get(str(number)) as entry:
            entry.array("states")
    assert 1 <= len(store._verified) <= 3


def test_file_cut_short_is_dropped(store: Store, folder: Path) -> None:
    for cut in (1, 700, 2**20):
        store.put("key", {"states": STATES}, {})
        path = file_of(folder, "key")
        os.truncate(path, max(0, path.stat().st_size - cut))
        assert "key" not in store
        assert store.get("key") is None
        assert not path.exists()
        assert store.size() == 0


def test_file_that_grew_is_dropped(store: Store, folder: Path) -> None:
    store.put("key", {"states": STATES}, {})
    with file_of(folder, "key").open("ab") as file:
        file.write(b"\0")
    assert "key" not in store
    assert store.get("key") is None


def test_file_cut_short_while_open_is_noticed_before_it_is_read(store: Store, folder: Path) -> None:
    store.put("key", {"states": STATES}, {})
    with store.get("key") as entry:
        entry.array("states")
        os.truncate(file_of(folder, "key"), 100)
        with pytest.raises(CorruptEntry, match="another size"):
            entry.layer("states", 0)
    assert "key" not in store


def test_file_cut_short_while_open_is_noticed_as_it_is_read(store: Store, folder: Path) -> None:
    store.put("key", {"states": STATES}, {})
    with store.get("key") as entry:
        entry.read_layer("states", 0)
        os.truncate(file_of(folder, "key"), 100)
        with pytest.raises(CorruptEntry, match="cut short"):
            entry.read_layer("states", 0)
    assert "key" not in store


def test_any_flipped_byte_of_the_header_drops_the_entry(
    store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meta = {"model": "demo"}
    store.put("key", {"states": STATES}, meta)
    whole = file_of(folder, "key").read_bytes()
    header_bytes = 16 + int.from_bytes(whole[12:16], "little") + 16
    for position in [*range(32), *range(32, header_bytes - 16, 23), *range(header_bytes - 16, header_bytes)]:
        store.put("key", {"states": STATES}, meta)
        flip_byte(file_of(folder, "key"), position)
        caplog.clear()
        assert store.get("key") is None, position
        assert "key" not in store
        assert "cache entry 'arrays:key' is dropped" in caplog.text


def with_header(old: bytes, version: int = 1, text: bytes | None = None) -> bytes:
    """The file with another version or header, and a checksum that fits."""
    length = int.from_bytes(old[12:16], "little")
    text = old[16 : 16 + length] if text is None else text
    head = old[:8] + version.to_bytes(4, "little") + len(text).to_bytes(4, "little") + text
    head += xxhash.xxh3_128_digest(head)
    return head.ljust(len(head) + -len(head) % 64, b"\0") + old[len(old) - 896 :]


def test_entry_of_another_format_is_dropped(store: Store, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.put("key", {"states": STATES}, {})
    path = file_of(folder, "key")
    whole = path.read_bytes()
    assert with_header(whole) == whole
    for version in (0, 2):
        store.put("key", {"states": STATES}, {})
        file_of(folder, "key").write_bytes(with_header(whole, version))
        assert store.get("key") is None
        assert f"its file has format {version}" in caplog.text
        assert "key" not in store


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"<f4"', b'"|O"'),
        (b'"<f4"', b'"<f8"'),
        (b'"<f4"', b'"nonsense"'),
        (b'"offset": 0', b'"offset": -64'),
        (b'"shape"', b'"form"'),
        (b'"shape": [5, 6, 7]', b'"shape": [4, 6, 7]'),
        (b'"shape": [5, 6, 7]', b'"shape": [5, -6, 7]'),
        (b'"checksums": [', b'"checksums": [], "ignored": ['),
        (b'"arrays": {', b'"arrays": [], "ignored": {'),
    ],
)
def test_header_that_makes_no_sense_is_dropped(store: Store, folder: Path, old: bytes, new: bytes) -> None:
    store.put("key", {"states": STATES}, {})
    path = file_of(folder, "key")
    whole = path.read_bytes()
    text = whole[16 : 16 + int.from_bytes(whole[12:16], "little")]
    assert text.count(old) == 1
    path.write_bytes(with_header(whole, text=text.replace(old, new)))
    assert store.get("key") is None
    assert not path.exists()


def test_foreign_file_is_dropped(store: Store, folder: Path) -> None:
    store.put("key", {"states": STATES}, {})
    path = file_of(folder, "key")
    path.write_bytes(os.urandom(path.stat().st_size))
    assert store.get("key") is None
    assert not path.exists()


def test_whole_file_of_another_key_is_dropped(store: Store, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.put("one", {"states": STATES}, {})
    store.put("two", {"states": STATES + 1}, {})
    shutil.copyfile(file_of(folder, "two"), file_of(folder, "one"))
    assert "one" in store
    assert store.get("one") is None
    assert "belongs to another key" in caplog.text
    with store.get("two") as entry:
        np.testing.assert_array_equal(entry.array("states"), STATES + 1)


def test_missing_file_is_not_contained_and_dropped(store: Store, folder: Path) -> None:
    for look in (store.get, lambda key: store.entries()):
        store.put("key", {"states": STATES}, {})
        file_of(folder, "key").unlink()
        assert "key" not in store
        assert not look("key")
        assert store.size() == 0


def test_damage_drops_no_entry_that_was_put_since(store: Store, folder: Path) -> None:
    store.put("key", {"states": STATES}, {})
    with store.get("key") as old:
        path = file_of(folder, "key")
        flip_byte(path, position_of_layer(path, STATES, 0))
        store.put("key", {"states": STATES + 1}, {})
        with pytest.raises(CorruptEntry):
            old.array("states")
    with store.get("key") as new:
        np.testing.assert_array_equal(new.array("states"), STATES + 1)


# ----------------------------------------------------------------------------------------------------------- pickle


class MakesFolder:
    """What a stranger might plant: unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_planted_pickle_would_run_in_plain_diskcache(tmp_path: Path) -> None:
    proof = tmp_path / "unpickled"
    with diskcache.Cache(str(tmp_path / "plain")) as plain:
        plain.set("key", MakesFolder(proof))
        plain.get("key")
    assert proof.is_dir()


@pytest.mark.parametrize("min_file_size", [0, 2**20], ids=["file", "row"])
def test_planted_pickled_value_is_dropped_and_never_run(
    store: Store, folder: Path, tmp_path: Path, min_file_size: int
) -> None:
    proof = tmp_path / "unpickled"
    looks = [
        lambda: store.get("key"),
        lambda: store.get_json("key"),
        lambda: [info for info in store.entries() if info.key == "key"] or None,
    ]
    for look in looks:
        with diskcache.Cache(str(folder), disk_min_file_size=min_file_size) as plain:
            plain.set("arrays:key", MakesFolder(proof))
            plain.set("json:key", MakesFolder(proof))
        assert "key" not in store
        assert look() is None
    assert store.entries() == []
    assert change_database(folder, "SELECT COUNT(*) FROM Cache") == [(0,)]
    assert value_files(folder) == []
    assert not proof.exists()


def test_planted_pickled_key_is_dropped_and_never_run(store: Store, folder: Path, tmp_path: Path) -> None:
    proof = tmp_path / "unpickled"
    store.put("key", {"states": STATES}, {})
    with diskcache.Cache(str(folder)) as plain:
        plain.set(MakesFolder(proof), b"value")
    assert change_database(folder, "SELECT COUNT(*) FROM Cache WHERE raw = 0") == [(1,)]
    assert keys(store) == {"key"}
    assert change_database(folder, "SELECT COUNT(*) FROM Cache WHERE raw = 0") == [(0,)]
    assert not proof.exists()


def test_planted_pickles_do_not_run_in_eviction(folder: Path, tmp_path: Path) -> None:
    proof = tmp_path / "unpickled"
    with contextlib.closing(Store(folder, size_limit=100)) as store:
        with diskcache.Cache(str(folder), disk_min_file_size=0) as plain:
            plain.set(MakesFolder(proof), MakesFolder(proof))
        store.put("key", {"states": STATES}, {})
        assert change_database(folder, "SELECT key FROM Cache") == [("arrays:key",)]
        assert len(value_files(folder)) == 1
    assert not proof.exists()


@pytest.mark.parametrize("value", [b"bytes", "text", 7, 0.5], ids=["bytes", "text", "int", "float"])
def test_value_of_plain_diskcache_is_dropped(store: Store, folder: Path, value: object) -> None:
    with diskcache.Cache(str(folder)) as plain:
        plain.set("arrays:key", value)
    assert "key" not in store
    assert store.get("key") is None
    assert change_database(folder, "SELECT COUNT(*) FROM Cache") == [(0,)]


def test_row_that_names_a_file_outside_is_dropped_and_the_file_left_alone(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious.val"
    precious.write_bytes(b"precious")
    for look in (lambda: store.get("key"), lambda: store.entries(), lambda: store.drop("key")):
        store.put("key", {"states": STATES}, {})
        change_database(folder, "UPDATE Cache SET filename = '../precious.val', size = 8")
        assert "key" not in store
        assert not look()
        assert change_database(folder, "SELECT COUNT(*) FROM Cache") == [(0,)]
        assert precious.read_bytes() == b"precious"


def test_disk_takes_text_keys_and_streams_only(folder: Path, store: Store) -> None:
    disk = store_module.PlainDisk(str(folder))
    with pytest.raises(TypeError, match="must be text"):
        disk.put(("a", "tuple"))
    with pytest.raises(TypeError, match="only streams"):
        disk.store({"a": "dictionary"}, read=False)
    assert value_files(folder) == []


# -------------------------------------------------------------------------------------------------- killed writers


def write_slowly(folder: Path) -> None:
    read = store_module._Stream.read

    def read_and_rest(stream: store_module._Stream, size: int) -> memoryview | bytes:
        time.sleep(0.05)
        return read(stream, 2**16)

    store_module._Stream.read = read_and_rest
    Store(folder).put("key", {"states": np.ones((64, 2**15))}, {})


def test_writer_killed_in_the_middle_leaves_nothing_to_see_and_its_file_is_swept(store: Store, folder: Path) -> None:
    store.put("other", {"states": STATES}, {})
    [whole] = value_files(folder)
    writer = spawn.Process(target=write_slowly, args=(folder,))
    writer.start()
    deadline = time.monotonic() + 20
    while not (partial := [path for path in value_files(folder) if path != whole and path.stat().st_size]):
        assert time.monotonic() < deadline and writer.is_alive()
        time.sleep(0.01)
    writer.kill()
    writer.join()

    assert partial[0].stat().st_size < 64 * 2**18
    assert "key" not in store
    assert store.get("key") is None
    assert keys(store) == {"other"}
    Store(folder).close()
    assert partial[0].exists(), "a young file may be one that is being written"

    two_hours_ago = time.time() - 7200
    for path in (partial[0], whole):
        os.utime(path, (two_hours_ago, two_hours_ago))
    Store(folder).close()
    assert value_files(folder) == [whole]
    assert "other" in store


# --------------------------------------------------------------------------------------------------------- eviction


@pytest.fixture
def entry_bytes(folder: Path) -> int:
    """The size of an entry of STATES with a key of one letter."""
    with contextlib.closing(Store(folder)) as store:
        store.put("k", {"states": STATES}, {})
        size = store.size()
        store.drop("k")
    return size


def test_least_recently_used_goes_first_and_looking_is_no_use(folder: Path, entry_bytes: int) -> None:
    with contextlib.closing(Store(folder, size_limit=3 * entry_bytes)) as store:
        for key in "abc":
            store.put(key, {"states": STATES}, {})
        assert keys(store) == {"a", "b", "c"}
        store.get("a").close()
        assert "b" in store
        store.put("d", {"states": STATES}, {})
        assert keys(store) == {"a", "c", "d"}
        store.put("e", {"states": STATES}, {})
        assert keys(store) == {"a", "d", "e"}
        assert store.size() == 3 * entry_bytes
        assert len(value_files(folder)) == 3


def test_entry_larger_than_the_limit_is_kept_alone(folder: Path, entry_bytes: int) -> None:
    with contextlib.closing(Store(folder, size_limit=2 * entry_bytes)) as store:
        for key in "ab":
            store.put(key, {"states": STATES}, {})
        large = np.ones((9, 1000))
        store.put("c", {"states": large}, {})
        assert keys(store) == {"c"}
        with store.get("c") as entry:
            np.testing.assert_array_equal(entry.array("states"), large)
        store.put("d", {"states": STATES}, {})
        assert keys(store) == {"d"}


def test_put_succeeds_though_nothing_can_be_evicted(
    folder: Path, entry_bytes: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with contextlib.closing(Store(folder, size_limit=entry_bytes)) as store:
        store.put("a", {"states": STATES}, {})
        monkeypatch.setattr(store_module, "_in_use", refuse)
        store.put("b", {"states": STATES}, {})
        assert keys(store) == {"a", "b"}
        assert "nothing could be evicted" in caplog.text
        monkeypatch.undo()
        store.put("c", {"states": STATES}, {})
        assert keys(store) == {"c"}


def test_diskcache_itself_evicts_nothing(store: Store, folder: Path) -> None:
    store.close()
    change_database(folder, "UPDATE Settings SET value = 1 WHERE key = 'size_limit'")
    with contextlib.closing(Store(folder)) as later:
        for key in "abc":
            later.put(key, {"states": STATES}, {})
        assert keys(later) == {"a", "b", "c"}


def test_documents_count_and_are_evicted_too(folder: Path, entry_bytes: int) -> None:
    with contextlib.closing(Store(folder, size_limit=2 * entry_bytes)) as store:
        store.put_json("old", "x" * entry_bytes)
        store.put("a", {"states": STATES}, {})
        store.put("b", {"states": STATES}, {})
        assert store.get_json("old") is None
        assert keys(store) == {"a", "b"}


@pytest.mark.parametrize("has_flock", [True, False])
def test_open_entry_is_not_evicted_by_this_process(
    folder: Path, entry_bytes: int, monkeypatch: pytest.MonkeyPatch, has_flock: bool
) -> None:
    if not has_flock:
        monkeypatch.setattr(store_module, "fcntl", None)
    with (
        contextlib.closing(Store(folder, size_limit=entry_bytes)) as store,
        contextlib.closing(Store(folder, size_limit=entry_bytes)) as second_store,
    ):
        store.put("a", {"states": STATES}, {})
        with store.get("a"), second_store.get("a") as entry:
            second_store.put("b", {"states": STATES}, {})
            second_store.put("c", {"states": STATES}, {})
            assert keys(store) == {"a", "c"}
            np.testing.assert_array_equal(entry.array("states"), STATES)
        kept = entry.array
        store.put("d", {"states": STATES}, {})
        assert keys(store) == {"d"}
        with pytest.raises(ValueError, match="closed"):
            kept("states")
    assert not store_module._pins


def test_array_that_outlives_its_entry_keeps_nothing_in_use(folder: Path, entry_bytes: int) -> None:
    with contextlib.closing(Store(folder, size_limit=entry_bytes)) as store:
        store.put("a", {"states": STATES}, {})
        with store.get("a") as entry:
            found = entry.array("states")
        forgotten = store.get("a").layer("states", 0)
        store.put("b", {"states": STATES}, {})
        assert keys(store) == {"b"}
        np.testing.assert_array_equal(found, STATES)
        np.testing.assert_array_equal(forgotten, STATES[0])


def hold_entry(folder: Path, held, release) -> None:  # two multiprocessing events
    with contextlib.closing(Store(folder)) as store, store.get("a") as entry:
        held.set()
        assert release.wait(20)
        np.testing.assert_array_equal(entry.array("states"), STATES)


@pytest.mark.skipif(store_module.fcntl is None, reason="needs flock")
def test_open_entry_is_not_evicted_by_another_process(folder: Path, entry_bytes: int) -> None:
    with contextlib.closing(Store(folder, size_limit=entry_bytes)) as store:
        store.put("a", {"states": STATES}, {})
        held, release = spawn.Event(), spawn.Event()
        holder = spawn.Process(target=hold_entry, args=(folder, held, release))
        holder.start()
        try:
            assert held.wait(20)
            store.put("b", {"states": STATES}, {})
            store.put("c", {"states": STATES}, {})
            assert keys(store) == {"a", "c"}
        finally:
            release.set()
            holder.join()
        assert holder.exitcode == 0
        store.put("d", {"states": STATES}, {})
        assert keys(store) == {"d"}


# ------------------------------------------------------------------------------------- processes, threads, patience


def values_of(key: str) -> np.ndarray:
    return np.full((3, 50, 40), ord(key), np.float32)


def use_store(folder: Path, seed: int, rounds: int, size_limit: int) -> None:
    """Put, get and drop at random; every number read must be the one of its key."""
    random = np.random.default_rng(seed)
    with contextlib.closing(Store(folder, size_limit=size_limit)) as store:
        for _ in range(rounds):
            key = "abcdef"[random.integers(6)]
            match random.integers(5):
                case 0 | 1:
                    store.put(key, {"states": values_of(key)}, {"key": key})
                case 2:
                    store.drop(key)
                case _:
                    entry = store.get(key)
                    if entry is not None:
                        with entry:
                            assert entry.meta == {"key": key}
                            np.testing.assert_array_equal(entry.array("states"), values_of(key))


def test_a_folder_that_vanishes_while_orphans_are_looked_for_is_no_error(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    for part in ("aa/bb", "cc/dd"):
        (folder / part).mkdir(parents=True)
        (folder / part / f"{'0' * 28}.val").write_bytes(b"left behind")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("aa"):
            raise FileNotFoundError(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with contextlib.closing(Store(folder)) as store:
        assert store.entries() == []


def test_processes_share_a_folder_from_its_making_on(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    size_limit = 4 * values_of("a").nbytes
    users = [spawn.Process(target=use_store, args=(folder, seed, 60, size_limit)) for seed in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert [user.exitcode for user in users] == [0, 0, 0]
    with contextlib.closing(Store(folder)) as store:
        assert store.size() <= size_limit
        assert len(store.entries()) == len(value_files(folder)) > 0
        for info in store.entries():
            with store.get(info.key) as entry:
                np.testing.assert_array_equal(entry.array("states"), values_of(info.key))
    assert caplog.text == ""


def test_threads_share_a_store(store: Store) -> None:
    failures = []

    def use(seed: int) -> None:
        random = np.random.default_rng(seed)
        try:
            for _ in range(30):
                key = "abc"[random.integers(3)]
                store.put(key, {"states": values_of(key)}, {})
                with contextlib.suppress(TypeError), store.get("abc"[random.integers(3)]):
                    pass
                with store.get(key) as entry:
                    np.testing.assert_array_equal(entry.array("states"), values_of(key))
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(keys(store)) == 3


def test_threads_share_an_entry(store: Store) -> None:
    store.put("key", {"states": STATES}, {})
    found = {}
    with store.get("key") as entry:
        threads = [
            threading.Thread(target=lambda layer=layer, read=read: found.update({(layer, read): read("states", layer)}))
            for layer in range(5)
            for read in (entry.layer, entry.read_layer)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for read in (entry.layer, entry.read_layer):
            np.testing.assert_array_equal(np.stack([found[layer, read] for layer in range(5)]), STATES)


def lock_database(folder: Path, seconds: float) -> threading.Thread:
    """Keep other writers out for a while, as a slow process would."""
    locked = threading.Event()

    def hold() -> None:
        with contextlib.closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            locked.set()
            time.sleep(seconds)
            connection.execute("COMMIT")

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(5)
    return thread


def test_busy_database_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SQLITE_TIMEOUT_S", 0.02)
    with contextlib.closing(Store(folder)) as store:
        blocker = lock_database(folder, 0.4)
        store.put("key", {"states": STATES}, {})
        blocker.join()
        blocker = lock_database(folder, 0.4)
        with store.get("key") as entry:
            np.testing.assert_array_equal(entry.array("states"), STATES)
        blocker.join()
        assert len(value_files(folder)) == 1


def test_database_that_stays_busy_is_an_error_and_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SQLITE_TIMEOUT_S", 0.02)
    monkeypatch.setattr(store_module, "PATIENCE_S", 0.1)
    with contextlib.closing(Store(folder)) as store:
        blocker = lock_database(folder, 0.6)
        with pytest.raises(StoreError, match="kept busy by another process"):
            store.put("key", {"states": STATES}, {})
        assert value_files(folder) == []
        blocker.join()
        store.put("key", {"states": STATES}, {})
        assert "key" in store


# ------------------------------------------------------------------------------------------------- folders and disks


def test_default_folder_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(tmp_path / "named"))
    assert default_folder() == tmp_path / "named"
    with contextlib.closing(Store()) as store:
        assert store.folder == tmp_path / "named"
        assert store.size_limit == 50 * 2**30
    assert (tmp_path / "named" / "cache.db").is_file()
    monkeypatch.delenv("NEURONXA_CACHE_DIR")
    assert default_folder() == Path(__file__).resolve().parent.parent / "cache"


def test_full_disk_is_an_error_that_leaves_no_file(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("old", {"states": STATES}, {})
    written = []
    read = store_module._Stream.read

    def read_until_full(stream: store_module._Stream, size: int) -> memoryview | bytes:
        if written:
            assert len(value_files(folder)) == 2, "the new file has been begun"
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(read(stream, size))
        return written[0]

    monkeypatch.setattr(store_module._Stream, "read", read_until_full)
    with pytest.raises(StoreError, match=r"disk of the cache folder .* is full; free some space"):
        store.put("key", {"states": STATES}, {})
    assert len(value_files(folder)) == 1
    assert keys(store) == {"old"}
    monkeypatch.undo()
    store.put("key", {"states": STATES}, {})
    assert "key" in store


def test_full_database_is_an_error_that_leaves_no_file_and_still_reads(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("old", {"states": STATES}, {})
    store._opened()._sql("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="is full"):
        store.put("k" * 50_000, {"states": STATES}, {})
    assert len(value_files(folder)) == 1

    def refuse_use(cache: diskcache.Cache, *arguments: object, **options: object) -> None:
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise full

    monkeypatch.setattr(diskcache.Cache, "get", refuse_use)
    with store.get("old") as entry:
        np.testing.assert_array_equal(entry.array("states"), STATES)


READ_IN_A_READ_ONLY_FOLDER = """
import os, sys
from pathlib import Path
from neuronxa_core.errors import StoreError
from neuronxa_core.store.cache import Store

folder = Path(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    (folder / "probe").touch()
except PermissionError:
    pass
else:
    sys.exit("the folder can be written")
store = Store(folder, size_limit=1)
assert "key" in store and "other" not in store
assert [info.key for info in store.entries()] == ["key"]
assert store.size() > 0
assert store.get_json("key") == [1, 2]
assert store.get("other") is None
with store.get("key") as entry:
    print(entry.layer("states", 2).sum())
for write in (lambda: store.put("other", {}, {}), lambda: store.put_json("other", 1), lambda: store.drop("key")):
    try:
        write()
    except StoreError as error:
        assert "cannot be written; mend its permissions" in str(error), error
    else:
        sys.exit("written in a folder that is read-only")
"""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users")
@pytest.mark.parametrize("log_file", [False, True], ids=["database closed", "database open elsewhere"])
def test_read_only_folder_is_read_and_not_written(folder: Path, log_file: bool) -> None:
    store = Store(folder)
    store.put("key", {"states": STATES}, {})
    store.put_json("key", [1, 2])
    if not log_file:
        store.close()
    assert (folder / "cache.db-wal").exists() == log_file
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in folder.parents[: len(folder.parents) - 2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    try:
        reader = subprocess.run(
            [sys.executable, "-c", READ_IN_A_READ_ONLY_FOLDER, str(folder)],
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        folder.chmod(0o755)
    store.close()
    assert reader.returncode == 0, reader.stderr
    assert float(reader.stdout) == STATES[2].sum()


def test_folder_that_turns_read_only_is_read_and_not_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("key", {"states": STATES}, {})

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(diskcache.Cache, "set", refuse)
    monkeypatch.setattr(diskcache.Cache, "get", refuse)
    with pytest.raises(StoreError, match="cannot be written"):
        store.put("other", {"states": STATES}, {})
    with store.get("key") as entry:
        np.testing.assert_array_equal(entry.array("states"), STATES)
    assert store.get("other") is None


def test_folder_that_cannot_be_made_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match="can be neither written nor read; mend its permissions"):
        Store(folder)
    assert not folder.exists()


def test_value_file_that_cannot_be_read_is_an_error_and_kept(store: Store, folder: Path) -> None:
    store.put("key", {"states": STATES}, {})
    path = file_of(folder, "key")
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match=r"cannot be read \(Is a directory\)"):
        store.get("key")
    assert change_database(folder, "SELECT COUNT(*) FROM Cache") == [(1,)]


def test_entry_that_cannot_be_mapped_is_an_error_and_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("key", {"states": STATES}, {})

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(StoreError, match="Cannot allocate memory"):
        store.get("key")
    with pytest.raises(StoreError, match="Cannot allocate memory"):
        store.entries()
    monkeypatch.undo()
    assert "key" in store
    assert not store_module._pins


@pytest.mark.parametrize("below", [False, True], ids=["the folder", "its parent"])
def test_path_that_is_a_file_is_an_error(tmp_path: Path, below: bool) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(StoreError, match=f"{file} is a file; move it, or set NEURONXA_CACHE_DIR"):
        Store(file / "cache" if below else file)
    assert file.read_text() == "precious"


def test_folder_that_vanishes_is_an_error_until_it_is_made_again(store: Store, folder: Path) -> None:
    store.put("key", {"states": STATES}, {})
    entry = store.get("key")
    shutil.rmtree(folder)
    uses = [
        lambda: store.put("key", {"states": STATES}, {}),
        lambda: store.get("key"),
        lambda: "key" in store,
        lambda: store.drop("key"),
        store.entries,
        store.size,
    ]
    for use in uses:
        with pytest.raises(StoreError, match=f"the cache folder {folder} has vanished; make it again"):
            use()
    assert not folder.exists()
    np.testing.assert_array_equal(entry.array("states"), STATES)
    entry.close()

    folder.mkdir()
    assert store.get("key") is None
    store.put("key", {"states": STATES}, {})
    assert keys(store) == {"key"}


def test_folder_that_was_emptied_is_begun_anew(store: Store, folder: Path) -> None:
    store.put("key", {"states": STATES}, {})
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert store.get("key") is None
    store.put("other", {"states": STATES}, {})
    assert keys(store) == {"other"}
    assert len(value_files(folder)) == 1


def test_closed_store_opens_again(store: Store) -> None:
    store.put("key", {"states": STATES}, {})
    store.close()
    store.close()
    assert "key" in store


def set_aside(folder: Path) -> list[Path]:
    return [path for path in folder.glob("cache.db.damaged-*") if not path.name.endswith(("-wal", "-shm"))]


@pytest.mark.parametrize("content", [b"no database " * 1000, b"SQLite format 3\0" + bytes(range(256)) * 64])
def test_damaged_database_is_moved_aside_at_opening(
    folder: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(content)
    with caplog.at_level(logging.WARNING), contextlib.closing(Store(folder)) as store:
        assert store.entries() == []
        store.put("key", {"states": STATES}, {})
        assert "key" in store
    [damaged] = set_aside(folder)
    assert damaged.read_bytes() == content
    assert "was damaged" in caplog.text
    assert damaged.name in caplog.text


def test_database_of_another_program_is_moved_aside(folder: Path) -> None:
    folder.mkdir()
    change_database(folder, "CREATE TABLE Cache (recipe TEXT)")
    change_database(folder, "INSERT INTO Cache VALUES ('soup')")
    with contextlib.closing(Store(folder)) as store:
        store.put("key", {"states": STATES}, {})
        assert "key" in store
    [foreign] = set_aside(folder)
    with contextlib.closing(sqlite3.connect(foreign)) as connection:
        assert connection.execute("SELECT recipe FROM Cache").fetchall() == [("soup",)]


def damage_table(folder: Path) -> None:
    """Overwrite the page of the table of entries, and leave the settings, so that opening still succeeds."""
    [(page,)] = change_database(folder, "SELECT rootpage FROM sqlite_master WHERE name = 'Cache'")
    [(page_bytes,)] = change_database(folder, "PRAGMA page_size")
    with (folder / "cache.db").open("r+b") as file:
        file.seek((page - 1) * page_bytes)
        file.write(b"\xff" * page_bytes)


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.get("key") is None,
        lambda store: "key" not in store,
        lambda store: store.entries() == [],
        lambda store: store.size() == 0,
        lambda store: store.put("key", {"states": STATES}, {}) is None and "key" in store,
    ],
    ids=["get", "contains", "entries", "size", "put"],
)
def test_database_found_damaged_in_use_is_moved_aside(store: Store, folder: Path, use) -> None:
    store.put("key", {"states": STATES}, {})
    store.close()
    damage_table(folder)
    with contextlib.closing(Store(folder)) as later:
        assert use(later)
        assert len(set_aside(folder)) == 1
        later.put("key", {"states": STATES}, {})
        with later.get("key") as entry:
            np.testing.assert_array_equal(entry.array("states"), STATES)


def test_new_database_is_not_moved_aside_by_the_process_that_finds_the_damage_second(
    store: Store, folder: Path
) -> None:
    store.put("key", {"states": STATES}, {})
    damaged = store_module._file_identity(folder / "cache.db")
    store._set_aside(damaged, "a test")
    assert len(set_aside(folder)) == 1
    store.put("key", {"states": STATES}, {})
    store._set_aside(damaged, "a test")
    assert len(set_aside(folder)) == 1
    assert "key" in store


def test_damaged_database_in_a_folder_that_cannot_be_written_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"no database " * 1000)

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StoreError, match="can be neither written nor read"):
        Store(folder)
    assert set_aside(folder) == []


def test_young_stray_files_stay_and_old_ones_go(store: Store, folder: Path) -> None:
    store.put("key", {"states": STATES}, {})
    kept = file_of(folder, "key")
    young, old = folder / "ab/cd" / ("0" * 28 + ".val"), folder / "ab/cd" / ("1" * 28 + ".val")
    foreign = folder / "ab/cd/holiday.val"
    young.parent.mkdir(parents=True)
    for path in (young, old, foreign):
        path.write_bytes(b"stray")
    long_ago = (datetime.now(UTC) - timedelta(hours=2)).timestamp()
    for path in (old, foreign, kept):
        os.utime(path, (long_ago, long_ago))
    Store(folder).close()
    assert young.exists() and foreign.exists() and kept.exists()
    assert not old.exists()


def test_open_entry_at_exit_is_quiet(folder: Path) -> None:
    with contextlib.closing(Store(folder)) as store:
        store.put("key", {"states": STATES}, {})
    program = f"from neuronxa_core.store import Store; entry = Store({str(folder)!r}).get('key'); print(entry.arrays)"
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout == "{'states': ((5, 6, 7), dtype('float32'))}\n"
    assert finished.stderr == ""
