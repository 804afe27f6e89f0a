"""The file of an entry: what was written comes back bit by bit, any library reads it, and no damage goes unnoticed."""

import io
import json
import os
import re
import tracemalloc

import hypothesis.extra.numpy as numpy_strategies
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

from neuronxa_core.errors import CorruptEntry
from neuronxa_core.store import entry_file
from neuronxa_core.store.entry_file import DTYPES, Entry, file_name, write_entry

STATES = np.arange(5 * 6 * 7, dtype=np.float32).reshape(5, 6, 7)
SMALL = {"counts": np.arange(6, dtype=np.uint16).reshape(2, 3), "states": STATES}

arrays = numpy_strategies.arrays(
    dtype=st.sampled_from(list(DTYPES.values())),
    shape=numpy_strategies.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def written(tmp_path):
    """written(arrays, meta, key): the file of an entry."""

    def write(arrays=SMALL, meta=None, key="states-1"):
        path = tmp_path / file_name(key)
        with path.open("wb") as file:
            write_entry(file, key, arrays, meta, 1.5)
        return path

    return write


def opened(path) -> Entry:
    return Entry(path.open("rb", buffering=0), "unknown", lambda *_damage: None)


def flip(path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrays=st.dictionaries(st.text().filter(lambda name: name != "__metadata__"), arrays, max_size=3),
    meta=json_values,
    key=st.text(),
)
def test_an_entry_comes_back_bit_by_bit(written, arrays, meta, key):
    path = written(arrays, meta, key)
    with opened(path) as entry:
        assert (entry.key, entry.meta, entry.stored) == (key, meta, 1.5)
        assert entry.arrays == {name: (array.shape, array.dtype) for name, array in arrays.items()}
        for name, array in arrays.items():
            assert entry.array(name).shape == array.shape
            assert entry.array(name).tobytes() == array.tobytes()
            for layer in range(array.shape[0] if array.ndim else 0):
                assert entry.layer(name, layer).shape == array.shape[1:]
                assert entry.layer(name, layer).tobytes() == array[layer, ...].tobytes()
        entry.verify()


def test_the_safetensors_library_reads_it_whole_and_by_layer(written):
    path = written()
    found = load_file(path)
    for name, array in SMALL.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    with safe_open(path, "numpy") as file:
        np.testing.assert_array_equal(file.get_slice("states")[3], STATES[3])
        assert file.metadata()["key"] == "states-1"


@pytest.mark.parametrize(
    "array",
    [STATES.transpose(2, 0, 1), STATES[:, ::2, ::-1], np.asfortranarray(STATES), np.broadcast_to(STATES[0], (3, 6, 7))],
    ids=["transposed", "strided", "fortran", "broadcast"],
)
def test_any_memory_order_comes_back_in_c_order(written, array):
    with opened(written({"states": array})) as entry:
        np.testing.assert_array_equal(entry.array("states"), array)
        assert entry.array("states").flags.c_contiguous


@pytest.mark.parametrize(
    "array",
    [np.array([{}]), np.array(["text"]), np.array(["2024-01-01"], "M8[D]"), np.zeros(1, [("a", "f4")]), [1, 2]],
    ids=["object", "text", "date", "record", "list"],
)
def test_only_plain_numbers_are_taken(written, array):
    with pytest.raises(TypeError, match="'states' must be a numpy array of numbers or booleans"):
        written({"states": array})


def test_no_whole_array_is_copied():
    array = np.ones((16, 2, 2**17))
    with open(os.devnull, "wb") as file:  # noqa: PTH123
        tracemalloc.start()
        try:
            write_entry(file, "key", {"plain": array, "strided": array[:, :, ::2]}, None, 0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert array.nbytes == 2**25
    assert peak < 2**23


def test_a_layer_is_read_into_the_buffer_where_it_fits(written):
    buffer = np.zeros(STATES[0].nbytes + 3, np.uint8)
    with opened(written()) as entry:
        found = entry.layer("states", 1, buffer)
        np.testing.assert_array_equal(found, STATES[1])
        assert np.shares_memory(found, buffer)
        own = entry.layer("states", -1, buffer[: STATES[0].nbytes - 1])
        np.testing.assert_array_equal(own, STATES[4])
        assert not np.shares_memory(own, buffer)
        for index in (5, -6):
            with pytest.raises(IndexError):
                entry.layer("states", index)
        with pytest.raises(KeyError):
            entry.array("scores")


@pytest.mark.parametrize("at_a_time", [1, 7, None], ids=["bytes", "pieces", "no preadv"])
def test_a_layer_is_read_whole_however_little_the_system_gives_at_a_time(written, monkeypatch, at_a_time):
    if at_a_time is None:
        monkeypatch.delattr(os, "preadv")
    else:
        real = os.preadv
        monkeypatch.setattr(os, "preadv", lambda file, buffers, at: real(file, [buffers[0][:at_a_time]], at))
    with opened(written()) as entry:
        for layer in range(5):
            np.testing.assert_array_equal(entry.layer("states", layer), STATES[layer])


def test_damage_of_one_layer_spares_the_others(written):
    path = written()
    for layer in (0, 1, 3, 4):
        flip(path, path.read_bytes().index(STATES[layer].tobytes()))
    seen = []
    with Entry(path.open("rb", buffering=0), "", lambda _file, *damage: seen.append(damage)) as entry:
        np.testing.assert_array_equal(entry.layer("states", 2), STATES[2])
        np.testing.assert_array_equal(entry.array("counts"), SMALL["counts"])
        for look in (lambda: entry.layer("states", 3), lambda: entry.array("states"), entry.verify):
            with pytest.raises(CorruptEntry, match=r"states-1 was damaged \(layer \d of array states does not match"):
                look()
    assert seen[0] == ("states-1", "layer 3 of array states does not match its checksum")


def test_any_flipped_bit_of_the_header_is_found(written):
    whole = written(meta={"model": "demo"}).read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for position in [*range(64), *range(64, start, 13)]:
        path = written(meta={"model": "demo"})
        flip(path, position)
        with pytest.raises(CorruptEntry, match="unknown was damaged"):
            opened(path)


@pytest.mark.parametrize(
    ("written_so", "planted"),
    [
        (b'"stored": "1.5"', b'"stored": "one"'),
        (b'"shape": [5, 6, 7]', b'"shape": "5, 6, 7"'),
        (b'"shape": [5, 6, 7]', b'"shape": [5, 6, 8]'),
        (b'"data_offsets": [0,', b'"data_offsets": {0,'),
        (b'"data_offsets": [0,', b'"data_offset_": [0,'),
        (b'"key": "states-1"', b'"key": 1234567890'),
    ],
)  # fmt: skip
def test_a_sealed_header_that_this_program_did_not_write_is_found(written, written_so, planted):
    path = written()
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    seal = slice(8 + entry_file.SEAL_START, 8 + entry_file.SEAL_START + 16)
    assert written_so in content[:start]
    header = bytearray(content[:start].replace(written_so, planted.ljust(len(written_so))))
    header[seal] = entry_file.UNSEALED
    header[seal] = entry_file._checksum(bytes(header[8:])).encode()
    path.write_bytes(bytes(header) + content[start:])
    with pytest.raises(CorruptEntry, match=r"is none that this program writes \(\w+Error\)"):
        opened(path)


@pytest.mark.parametrize("length", [0, 5, 100, -1, 1], ids=lambda length: f"{length} bytes")
def test_a_file_of_another_length_is_found(written, length):
    path = written()
    content = path.read_bytes()
    path.write_bytes(content + b"\0" if length == 1 else content[:length])
    with pytest.raises(CorruptEntry):
        opened(path)


def test_a_file_that_is_cut_short_while_it_is_open_is_found(written):
    path = written()
    with opened(path) as entry:
        os.truncate(path, path.stat().st_size - 100)
        with pytest.raises(CorruptEntry, match="cut short"):
            entry.layer("states", 4)


def test_a_file_of_another_key_or_format_is_not_taken(written, monkeypatch):
    other = written(key="states-2")
    other.replace(written(key="states-1"))
    with pytest.raises(CorruptEntry, match="belongs to another key"):
        opened(other.with_name(file_name("states-1")))
    monkeypatch.setattr("neuronxa_core.store.entry_file.FORMAT", "neuronxa 9")
    newer = written(key="states-3")
    monkeypatch.undo()
    with pytest.raises(CorruptEntry, match="has the format neuronxa 9"):
        opened(newer)


def test_the_header_by_hand():
    file = io.BytesIO()
    write_entry(file, "a-1", {"x": np.array([[[1, 2]], [[3, 4]]], np.uint8), "y": np.array(0.5)}, [1], 2.0)
    content = file.getvalue()
    size = int.from_bytes(content[:8], "little")
    assert (8 + size) % 64 == 0
    header = json.loads(content[8 : 8 + size])
    metadata = header.pop("__metadata__")
    assert header == {
        "y": {"dtype": "F64", "shape": [], "data_offsets": [0, 8]},
        "x": {"dtype": "U8", "shape": [2, 1, 2], "data_offsets": [8, 12]},
    }
    assert content[8 + size :] == np.array(0.5).tobytes() + bytes([1, 2, 3, 4])
    assert re.fullmatch("[0-9a-f]{16}", metadata.pop("checksum"))
    assert {name: len(text) for name, text in json.loads(metadata.pop("checksums")).items()} == {"y": 16, "x": 32}
    assert metadata == {"format": "neuronxa 2", "key": "a-1", "meta": "[1]", "stored": "2.0"}
