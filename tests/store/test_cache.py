"""The store: what it keeps, evicts, counts and sweeps; threads and processes on one folder; folders it cannot use."""

import contextlib
import errno
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from neuronxa_core.errors import Cancelled, CorruptEntry, StoreError
from neuronxa_core.store import cache as store_module
from neuronxa_core.store.cache import Store, default_folder, default_limit

STATES = np.arange(5 * 6 * 7, dtype=np.float32).reshape(5, 6, 7)
ROOT = Path(__file__).parents[2]


def keys(store: Store) -> list[str]:
    """Last used first."""
    return [info.key for info in store.entries()]


def files(store: Store) -> list[Path]:
    return list(store.folder.rglob("*.*"))


def put(store: Store, *names: str) -> None:
    """Each later than the one before, by more than the clock of a file system ticks."""
    for name in names:
        store.put(name, {"states": STATES}, {"name": name})
        time.sleep(0.02)


def damage(path: Path, content: np.ndarray = STATES[3]) -> None:
    whole = bytearray(path.read_bytes())
    whole[whole.index(content.tobytes())] ^= 1
    with path.open("r+b") as file:
        file.write(whole)


def refuse(number: int):
    def refused(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    return refused


# ------------------------------------------------------------------------------------------------ keeping and reading


def test_entries_and_documents_of_one_key_are_apart_and_dropped_together(store):
    assert store.get("key") is None and store.read("key") is None and store.get_json("key") is None
    assert "key" not in store
    store.drop("key")
    store.put_json("key", {"score": float("inf")})
    assert "key" not in store and store.get("key") is None
    store.put("key", {"states": STATES}, {"kind": "entry"})
    assert "key" in store
    assert store.get_json("key") == {"score": float("inf")}
    np.testing.assert_array_equal(store.read("key")["states"], STATES)
    assert (keys(store), store.count()) == (["key"], 1)
    store.drop("key")
    assert store.get_json("key") is None and "key" not in store and store.size() == 0


@pytest.mark.parametrize("value", [None, 0, "", [], {"a": [1, 2.5, None]}])
def test_a_document_comes_back(store, value):
    store.put_json("key", value)
    assert store.get_json("key") == value


def test_what_is_no_json_is_refused_and_leaves_nothing(store):
    with pytest.raises(TypeError, match="not JSON serializable"):
        store.put("key", {"states": STATES}, {"score": np.float32(1)})
    with pytest.raises(TypeError, match="not JSON serializable"):
        store.put_json("key", {1, 2})
    assert store.count() == 0 and store.get_json("key") is None
    assert not list((store.folder / "entries").glob("*"))


def test_an_open_entry_keeps_its_numbers_when_it_is_replaced_or_dropped(store):
    store.put("key", {"states": STATES}, {"run": 1})
    with store.get("key") as old:
        store.put("key", {"states": STATES + 1}, {"run": 2})
        with store.get("key") as new:
            store.drop("key")
            np.testing.assert_array_equal(old.array("states"), STATES)
            np.testing.assert_array_equal(new.array("states"), STATES + 1)
            assert (old.meta, new.meta) == ({"run": 1}, {"run": 2})
    with pytest.raises(ValueError, match="closed"):
        old.layer("states", 0)
    assert files(store) == []


def test_entries_tell_size_and_times_last_used_first(store):
    before = datetime.now(UTC)
    put(store, "a", "b", "c")
    store.get("b").close()
    infos = store.entries()
    assert [(info.key, info.meta) for info in infos] == [(key, {"name": key}) for key in "bca"]
    assert before <= infos[0].stored < infos[1].stored < infos[0].used <= datetime.now(UTC)
    assert store.size() == sum(path.stat().st_size for path in files(store))
    assert sum(info.size_bytes for info in infos) == store.size()
    assert not [info for info in Store(store.folder).entries() if info not in infos]


def test_reads_are_counted_by_kind(store):
    store.put("states-1", {"states": STATES}, {})
    store.put_json("hash-1", 1)
    assert store.read("states-1") and store.read("states-2") is None
    assert store.get_json("hash-1") and store.get_json("effect-1") is None
    assert "states-1" in store
    assert store.reads() == {"states": (1, 1), "hash": (1, 0), "effect": (0, 1)}


def test_the_version_tells_apart_what_is_kept_and_does_not_change_with_a_read(store):
    seen = [store.version()]
    for work in (lambda: put(store, "a"), lambda: put(store, "b"), lambda: store.drop("b"), lambda: put(store, "a")):
        work()
        seen.append(store.version())
    assert seen[3] == seen[1]  # what is kept is the same again
    assert len(set(seen)) == 4
    assert store.read("a")
    assert store.version() == seen[-1]


# ------------------------------------------------------------------------------------------------------------- damage


def test_damage_is_counted_once_and_the_entry_dropped_however_many_find_it(store, caplog):
    for count in (1, 2):
        store.put("key", {"states": STATES}, {})
        entries = [store.get("key") for _ in range(3)]
        damage(Path(entries[0].file.name))
        assert "key" in store
        for entry in entries:
            with entry, pytest.raises(CorruptEntry, match="key was damaged"):
                entry.layer("states", 3)
        assert "key" not in store and store.get("key") is None and files(store) == []
        assert store.damage == {"key": count}
    assert caplog.text.count("cache entry key is dropped") == 2


def test_damage_drops_nothing_that_was_put_since(store):
    store.put("key", {"states": STATES}, {})
    with store.get("key") as old:
        damage(Path(old.file.name))
        store.put("key", {"states": STATES + 1}, {})
        with pytest.raises(CorruptEntry):
            old.array("states")
    np.testing.assert_array_equal(store.read("key")["states"], STATES + 1)


@pytest.mark.parametrize("look", [lambda s: s.get("key"), lambda s: s.read("key"), lambda s: "key" in s, keys])
def test_a_file_that_is_cut_short_is_dropped_by_any_look(store, look):
    store.put("key", {"states": STATES}, {})
    for path in files(store):
        if path.is_file():
            os.truncate(path, path.stat().st_size - 1)
    before = store.count()
    assert not look(store)
    assert store.count() < before


def test_verification_reads_every_byte_and_leaves_the_order_of_use_alone(store):
    put(store, "a", "b", "c")
    before = keys(store)
    reports = []
    assert store.verify(lambda done, whole: reports.append((done, whole))) == (3, [])
    assert keys(store) == before
    assert reports[-1] == (store.size(), store.size())
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    with pytest.raises(Cancelled, match="stopped after 0 of"):
        store.verify(cancelled=lambda: True)
    with store.get("b") as entry:
        damage(Path(entry.file.name))
    assert store.verify() == (3, ["b"])
    assert sorted(keys(store)) == ["a", "c"]


def test_the_whole_folder_can_be_of_other_bytes(store):
    """Among them what a pickle would run."""
    put(store, "a", "b", "c")
    names = [path.stem for path in store.folder.rglob("*.safetensors")]
    for path, content in zip(store.folder.rglob("*.safetensors"), (b"", b"\x80\x04N.", b"\xff" * 5000), strict=True):
        path.write_bytes(content)
    assert sorted(store.verify()[1]) == sorted(names)
    assert store.count() == 0


# ----------------------------------------------------------------------------------------------------------- eviction


@pytest.fixture
def room(tmp_path):
    """room(count, ...): a store that holds so many entries of STATES under one letter."""
    with contextlib.closing(Store(tmp_path / "sized")) as sized:
        sized.put("k", {"states": STATES}, {"name": "k"})
        size = sized.size()
    return lambda count: Store(tmp_path / "room", size_limit=count * size)


def test_what_was_used_longest_ago_goes_first_and_looking_is_no_use(room):
    store = room(3)
    put(store, "a", "b", "c")
    store.get("a").close()
    assert "b" in store and store.entries()
    put(store, "d")
    assert keys(store) == ["d", "a", "c"]
    put(store, "e")
    assert keys(store) == ["e", "d", "a"]


def test_a_clock_that_is_set_back_evicts_nothing_new(room):
    put(room(9), "a", "b", "c")
    for path in room(9).folder.glob("entries/*"):
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 3600 * 10**9))
    store = room(3)
    store.get("a").close()
    for new in "de":
        store.put(new, {"states": STATES}, {})
    assert keys(store) == ["e", "d", "a"]


def test_what_was_used_lately_is_kept_where_visitors_write_and_what_finds_no_room_is_refused(room):
    store = room(3)
    put(store, "a", "b", "c")
    store.kept_days = 2
    with pytest.raises(StoreError, match=r"cache is full, since nothing is removed .* within the last 2 days; ask"):
        put(store, "d")
    assert not store.try_put("d", {"states": STATES}, {})
    assert "within the last 2 days" in store.last_write_error
    assert (keys(store), store.room(), len(files(store))) == (["c", "b", "a"], 0, 3)
    old = time.time() - 3 * 86400
    os.utime(store._path("b"), (old, old))
    put(store, "d")
    assert keys(store) == ["d", "c", "a"]
    assert store.last_write_error == ""


def test_an_entry_larger_than_the_limit_is_kept_alone_and_an_open_one_stays_readable(room):
    store = room(2)
    put(store, "a", "b")
    with store.get("a") as entry:
        store.put("c", {"states": np.ones((9, 1000))}, {})
        assert keys(store) == ["c"]
        np.testing.assert_array_equal(entry.array("states"), STATES)
    put(store, "d")
    assert keys(store) == ["d"]


def test_two_stores_with_room_to_spare_do_not_grow_beyond_the_limit(room):
    stores = [room(20), room(20)]
    for number in range(60):
        stores[number % 2].put(f"{number:02}", {"states": STATES}, {})
        assert stores[0].size() <= stores[0].size_limit * 1.15
    assert stores[0].count() > 10


def test_a_put_succeeds_though_nothing_can_be_evicted(room, monkeypatch, caplog):
    store = room(1)
    put(store, "a")
    monkeypatch.setattr(Path, "unlink", refuse(errno.EIO))
    put(store, "b")
    assert "nothing could be evicted" in caplog.text
    monkeypatch.undo()
    put(store, "c")
    assert keys(store) == ["c"]


def test_only_unfinished_files_of_the_store_that_are_old_are_swept(store):
    put(store, "key")
    folder = store.folder / "entries"
    young, old = (folder / f"{'0' * 32}.safetensors.{digit * 16}.part" for digit in "ab")
    foreign = folder / "model.safetensors"
    for path in (young, old, foreign):
        path.write_bytes(b"stray")
    for path in (old, foreign):
        os.utime(path, (0, 0))
    assert Store(store.folder, size_limit=1).count() == 1
    assert young.exists() and foreign.exists() and not old.exists()


def test_a_cache_of_the_earlier_format_is_dropped_and_what_is_not_of_it_stays(tmp_path, caplog):
    (tmp_path / "ab/cd").mkdir(parents=True)
    (tmp_path / "ab/ef").mkdir()
    old, foreign = tmp_path / "ab/cd" / f"{'0' * 28}.val", tmp_path / "ab/ef" / f"{'1' * 28}.val"
    foreign.write_bytes(b"another program's")
    (tmp_path / "cache.db").write_bytes(b"SQLite format 3")
    Store(tmp_path)
    assert (tmp_path / "cache.db").exists() and caplog.text == ""
    old.write_bytes(b"NXASTORE" + bytes(100))
    store = Store(tmp_path)
    assert not (tmp_path / "cache.db").exists() and not old.parent.exists() and foreign.exists()
    assert "was of an earlier format: its 1 entries are dropped" in caplog.text
    assert store.count() == 0
    put(store, "key")
    assert "key" in Store(tmp_path)
    assert len(caplog.records) == 1


# ------------------------------------------------------------------------------------------------ threads, processes


def values_of(key: str) -> np.ndarray:
    return np.full((3, 50, 40), ord(key), np.float32)


def use_store(folder: Path, seed: int, rounds: int, size_limit: int) -> None:
    """Put, get and drop at random; every number read must be the one of its key."""
    random = np.random.default_rng(seed)
    store = Store(folder, size_limit=size_limit)
    for _ in range(rounds):
        key = "abcdef"[random.integers(6)]
        match random.integers(5):
            case 0 | 1:
                store.put(key, {"states": values_of(key)}, {"key": key})
            case 2:
                store.drop(key)
            case _:
                found = store.read(key)
                if found is not None:
                    np.testing.assert_array_equal(found["states"], values_of(key))
    assert store.damage == {}


def test_processes_share_a_folder_from_its_making_on(tmp_path):
    size_limit = 4 * values_of("a").nbytes
    spawn = multiprocessing.get_context("spawn")
    users = [spawn.Process(target=use_store, args=(tmp_path / "cache", seed, 100, size_limit)) for seed in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert [user.exitcode for user in users] == [0, 0, 0]
    store = Store(tmp_path / "cache")
    assert store.size() <= size_limit * 1.15
    assert store.verify()[1] == []
    assert all(path.suffix == ".safetensors" for path in (store.folder / "entries").iterdir())


def test_threads_share_a_store_and_an_entry(store):
    failures = []
    store.put("key", {"states": STATES}, {})
    entry = store.get("key")

    def use(seed: int) -> None:
        try:
            use_store(store.folder, seed, 60, 1 << 30)
            for layer in range(5):
                np.testing.assert_array_equal(entry.layer("states", layer), STATES[layer])
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entry.close()
    assert failures == []


# ------------------------------------------------------------------------------------------------- folders and disks


def test_the_environment_names_folder_and_limit(monkeypatch, tmp_path):
    monkeypatch.delenv("NEURONXA_CACHE_DIR", raising=False)
    monkeypatch.delenv("NEURONXA_CACHE_GIB", raising=False)
    assert default_folder() == ROOT / "cache"
    with monkeypatch.context() as installed:  # by pip, there is no checkout around the package
        installed.setattr("neuronxa_core.store.cache.__file__", str(tmp_path / "neuronxa_core" / "store" / "cache.py"))
        installed.delenv("XDG_CACHE_HOME", raising=False)
        assert default_folder() == Path.home() / ".cache" / "neuronxa"
        installed.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert default_folder() == tmp_path / "neuronxa"
    assert default_limit() == 50 * 2**30
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(tmp_path / "named"))
    monkeypatch.setenv("NEURONXA_CACHE_GIB", "1.5")
    store = Store()
    assert (store.folder, store.size_limit) == (tmp_path / "named", 3 * 2**29)
    for nonsense in ("nonsense", "0", "-1", "nan", "inf"):
        monkeypatch.setenv("NEURONXA_CACHE_GIB", nonsense)
        with pytest.raises(StoreError, match="NEURONXA_CACHE_GIB is a number of GiB above 0"):
            default_limit()


@pytest.mark.parametrize("moment", [1e300, float("nan"), -1e300])
def test_a_moment_that_no_calendar_has_does_not_keep_the_rest_from_being_listed(store, monkeypatch, moment):
    put(store, "right")
    with monkeypatch.context() as wrong:
        wrong.setattr("neuronxa_core.store.cache.time.time", lambda: moment)
        put(store, "wrong")
    assert {entry.key for entry in store.entries()} == {"right", "wrong"}


def test_a_full_disk_is_an_error_that_leaves_nothing(store, monkeypatch):
    put(store, "old")
    real = store_module.write_entry

    def write(file, *entry):
        real(file, *entry)
        assert len(list((store.folder / "entries").iterdir())) == 2
        refuse(errno.ENOSPC)()

    monkeypatch.setattr(store_module, "write_entry", write)
    with pytest.raises(StoreError, match=r"disk of the cache folder .* is full; free some space") as full:
        store.put("new", {"states": STATES}, {})
    assert store.last_write_error == str(full.value)
    assert not store.try_put("new", {"states": STATES}, {})
    assert len(list((store.folder / "entries").iterdir())) == 1
    assert keys(store) == ["old"]
    monkeypatch.undo()
    put(store, "new")
    assert "new" in store and store.last_write_error == ""


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
assert "cannot be written" in store.last_write_error
assert "key" in store and "other" not in store
assert [info.key for info in store.entries()] == ["key"]
assert store.get_json("key") is None  # its database cannot be opened to be read only; it holds what can be made again
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
def test_a_read_only_folder_is_read_and_not_written(tmp_path):
    folder = tmp_path / "cache"
    store = Store(folder)
    store.put("key", {"states": STATES}, {})
    store.put_json("key", [1, 2])
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in folder.parents[: len(folder.parents) - 2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    command = [sys.executable, "-c", READ_IN_A_READ_ONLY_FOLDER, str(folder)]
    try:
        reader = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        for path in (folder, folder / "entries"):
            path.chmod(0o755)
    assert reader.returncode == 0, reader.stderr
    assert float(reader.stdout) == STATES[2].sum()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "mkdir", refuse(errno.EACCES))
    with pytest.raises(StoreError, match="cannot be written; mend its permissions"):
        Store(tmp_path / "cache")


@pytest.mark.parametrize("below", [False, True], ids=["the folder", "its parent"])
def test_a_path_that_is_a_file_is_an_error(tmp_path, below):
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(StoreError, match=f"{file} is a file; move it, or set NEURONXA_CACHE_DIR"):
        Store(file / "cache" if below else file)
    assert file.read_text() == "precious"


def test_an_entry_that_cannot_be_opened_is_an_error_and_kept(store):
    put(store, "key")
    (path,) = store.folder.rglob("*.safetensors")
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match=r"cannot be read \(Is a directory\)"):
        store.get("key")
    assert store.count() == 1


def test_a_folder_that_vanishes_is_an_error_until_it_is_back(store):
    put(store, "key")
    entry = store.get("key")
    shutil.rmtree(store.folder)
    uses = [
        lambda: store.put("key", {"states": STATES}, {}),
        lambda: store.get("key"),
        lambda: "key" in store,
        lambda: store.drop("key"),
        store.entries,
        store.size,
        store.free,
    ]
    for use in uses:
        with pytest.raises(StoreError, match=f"the cache folder {store.folder} has vanished; make it again"):
            use()
    assert not store.folder.exists()
    np.testing.assert_array_equal(entry.array("states"), STATES)
    entry.close()
    store.folder.mkdir()
    assert store.get("key") is None and store.entries() == []
    put(store, "key")
    assert keys(store) == ["key"]
