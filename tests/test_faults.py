"""What happens to an app sooner or later: killed processes, strange and full disks, spoilt models, raising threads.

Each fault is caused, not described: a process is killed, a disk is full, a file is cut. test_store, test_models and
test_extraction hold the faults that one of those modules meets alone.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash
from tiny_models import byte_tokenizer

from neuronxa_core.errors import CorruptEntry, ExtractionError, ModelError, StoreError
from neuronxa_core.experiment import Experiment
from neuronxa_core.host import process_memory
from neuronxa_core.jobs.job_queue import JobQueue
from neuronxa_core.measures import activation_counts, alignment
from neuronxa_core.models import description, loading, sources, structure
from neuronxa_core.states import computing, extraction, planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.hooks import StateHooks
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store import cache as store_module
from neuronxa_core.store.cache import Store
from pages.components import cached, controls, session
from pages.components.process import services

ROOT = Path(__file__).parents[1]
PATIENCE_S = 120
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
LANGUAGES = ("deu_Latn", "spa_Latn", "rus_Cyrl")
CHOSEN = Experiment(languages=LANGUAGES, sentences=6)
STATES = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)


def refused(act, kind: type[Exception] = ModelError) -> str:
    """The one sentence with which something is refused."""
    with pytest.raises(kind) as caught:
        act()
    message = str(caught.value)
    assert message and "\n" not in message
    return message


def keys(store: Store) -> set[str]:
    return {info.key for info in store.entries()}


def rows_of(folder: Path) -> dict[str, int]:
    """{file name: bytes} as the database has it."""
    with contextlib.closing(sqlite3.connect(folder / "cache.db")) as connection:
        return dict(connection.execute("SELECT filename, size FROM Cache"))


def files_of(folder: Path) -> dict[str, int]:
    """{file name: bytes} of the values that are on the disk."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*.val")}


def age(folder: Path) -> None:
    """Make every value's file as old as if it had been left behind the day before."""
    yesterday = time.time() - 86400
    for name in files_of(folder):
        os.utime(folder / name, (yesterday, yesterday))


def damage(folder: Path, start: int = 1 << 14) -> None:
    """Flip bytes of every large file of the cache."""
    for name, size in files_of(folder).items():
        if size > 2 * start:
            content = bytearray((folder / name).read_bytes())
            for at in range(start, size, 97):
                content[at] ^= 0xFF
            (folder / name).write_bytes(content)


def scores_of(plan: planning.Plan, store: Store) -> list:
    return alignment.align(plan, store, "nas", "weighted").score.tolist()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A store in which nothing ever went wrong: CHOSEN's states are there."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    computing.compute_missing(planning.make_plan(CHOSEN, store), store, ModelPool())
    yield store
    store.close()


@pytest.fixture(scope="module")
def right_scores(undisturbed):
    return scores_of(planning.make_plan(CHOSEN, undisturbed), undisturbed)


def assert_whole(store: Store, undisturbed: Store) -> None:
    """Every entry's states are those of the undisturbed store, to the last bit."""
    found = [info.key for info in store.entries() if info.key.startswith("states-")]
    assert found
    for key in found:
        mine, other = store.read(key), undisturbed.read(key)
        assert mine.keys() == other.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], other[name])


def kill_at(program: str, *arguments: object) -> None:
    """Run a program until it says that it is there, and kill it as `kill -9` does."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "there\n"
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


# ------------------------------------------------------------------------------------------------------ kill -9

REST = """
import sys, time
def rest(*_arguments, **_options):
    print("there", flush=True)
    time.sleep(600)
"""

A_RUN = (
    REST
    + """
from neuronxa_core import extraction, pipeline
from neuronxa_core.experiment import Experiment
from neuronxa_core.states.planning import ModelShelf
from neuronxa_core.store.cache import Store

folder, language, *languages = sys.argv[1:]
extraction.HELD_BYTES = 0  # states go to the disk as they come
real = extraction.extract
def extract(loaded, code, *arguments, **options):
    if code == language:
        options["on_progress"] = rest
    return real(loaded, code, *arguments, **options)
extraction.extract = extract
store = Store(folder)
plan = pipeline.make_plan(Experiment(languages=tuple(languages), sentences=6), store)
pipeline.compute_missing(plan, store, ModelShelf())
"""
)


def test_a_run_that_is_killed_keeps_whole_languages_and_goes_on_with_the_rest(
    tmp_path, undisturbed, right_scores, counted
):
    kill_at(A_RUN, tmp_path, "spa_Latn", *LANGUAGES)
    with contextlib.closing(Store(tmp_path)) as store:
        plan = planning.make_plan(CHOSEN, store)
        assert planning.missing(plan, store) == ["spa_Latn", "rus_Cyrl"]
        assert_whole(store, undisturbed)
        assert files_of(tmp_path) == rows_of(tmp_path)
        others = {path.name.partition("-")[0] for path in tmp_path.iterdir() if path.is_file()}
        assert others <= {"cache.db", "cache.lock"}
        read = counted()
        computing.compute_missing(plan, store, ModelPool())
        assert read == ["spa_Latn", "rus_Cyrl"]
        assert scores_of(plan, store) == right_scores


A_STORE = (
    REST
    + """
import diskcache, numpy
from neuronxa_core import store as module
from neuronxa_core.store.cache import Store

store = Store(sys.argv[1], size_limit=int(sys.argv[2]))
"""
)
A_WRITE = "store.put('new', {'states': numpy.ones((4, 5, 6), 'float32')}, {})"
A_REPLACEMENT = "store.put('old', {'states': numpy.ones((4, 5, 6), 'float32')}, {})"


@pytest.mark.parametrize(
    ("limit", "program", "left"),
    [
        (1 << 30, f"diskcache.Cache._row_insert = rest; {A_WRITE}", {"old", "older"}),
        (1 << 30, f"module.PlainDisk.remove = rest; {A_REPLACEMENT}", {"old", "older"}),
        (1, f"module._in_use = rest; {A_WRITE}", {"old", "older", "new"}),
        (1, f"module.PlainDisk.remove = rest; {A_WRITE}", {"new"}),
    ],
    ids=[
        "between a file and its row",
        "between a new row and the old file's end",
        "in the middle of an eviction",
        "between an eviction and the files' end",
    ],
)
def test_a_writer_that_is_killed_leaves_whole_entries_right_sizes_and_nothing_for_ever(tmp_path, limit, program, left):
    with contextlib.closing(Store(tmp_path)) as store:
        for key in ("older", "old"):
            store.put(key, {"states": STATES}, {})
    kill_at(A_STORE + program, tmp_path, limit)

    with contextlib.closing(Store(tmp_path)) as store:
        assert keys(store) == left
        for key in left:
            states = store.read(key)["states"]
            assert any(np.array_equal(states, whole) for whole in (STATES, np.ones_like(STATES)))
        rows = rows_of(tmp_path)
        assert store.size() == sum(rows.values())
        assert rows.items() <= files_of(tmp_path).items()
        # whoever is alive may still be writing a file that is young; later it is known that nobody is
        age(tmp_path)
        store._swept -= 2 * store_module.ORPHAN_AGE_S
        store.put("next", {"states": STATES}, {})
        assert files_of(tmp_path) == rows_of(tmp_path)
        assert keys(store) == left | {"next"}


def test_a_store_that_is_opened_again_sweeps_what_a_killed_one_left(tmp_path):
    Store(tmp_path).close()
    kill_at(A_STORE + f"diskcache.Cache._row_insert = rest; {A_WRITE}", tmp_path, 1 << 30)
    assert len(files_of(tmp_path)) == 1
    age(tmp_path)
    Store(tmp_path).close()
    assert files_of(tmp_path) == {}


def test_damage_is_counted_once_a_file_however_many_find_it(tmp_path):
    with contextlib.closing(Store(tmp_path)) as store:
        large = np.arange(1 << 15, dtype=np.float64).reshape(8, -1)
        for count in (1, 2):
            store.put("key", {"large": large}, {})
            entries = [store.get("key") for _ in range(3)]
            damage(tmp_path)
            for entry in entries:
                with entry, pytest.raises(CorruptEntry, match="key was damaged"):
                    entry.layer("large", 5)
            assert store.get("key") is None
            assert store.damage == {"key": count}


# ------------------------------------------------------------------------------------- databases of other versions


def change(folder: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


ANOTHER_COLUMN = "ALTER TABLE Cache ADD COLUMN version INTEGER DEFAULT 0"


def test_a_database_with_a_column_more_is_used_as_it_is(tmp_path):
    with contextlib.closing(Store(tmp_path)) as store:
        store.put("key", {"states": STATES}, {})
    change(tmp_path, ANOTHER_COLUMN)
    with contextlib.closing(Store(tmp_path)) as store:
        store.put("other", {"states": STATES}, {})
        assert keys(store) == {"key", "other"}
    assert not list(tmp_path.glob("*.damaged-*"))


@pytest.mark.parametrize(
    "statements",
    [
        ("ALTER TABLE Cache DROP COLUMN mode",),
        ("ALTER TABLE Cache RENAME COLUMN access_time TO used",),
        ("CREATE TABLE New AS SELECT * FROM Cache", "DROP TABLE Cache", "ALTER TABLE New RENAME TO Cache"),
        ("CREATE TRIGGER strict BEFORE INSERT ON Cache BEGIN SELECT RAISE(ABORT, 'a newer version'); END",),
        ("INSERT INTO Settings VALUES ('transact', 1), ('_row_insert', 2)",),
        ("INSERT INTO Settings VALUES ('sqlite_no such pragma', 1)",),
        ("UPDATE Settings SET value = x'00ff' WHERE key = 'count'",),
        ("DROP TABLE Settings", "CREATE TABLE Settings (name TEXT)"),
        ("DROP TABLE Cache", "CREATE VIEW Cache AS SELECT 1 AS key"),
    ],
    ids=lambda statements: statements[0][:40],
)
def test_a_database_of_another_version_costs_no_more_than_what_it_held(tmp_path, statements):
    with contextlib.closing(Store(tmp_path)) as store:
        store.put("key", {"states": STATES}, {})
    change(tmp_path, *statements)
    with contextlib.closing(Store(tmp_path)) as store:
        found = store.read("key")
        assert found is None or np.array_equal(found["states"], STATES)
        store.put("other", {"states": STATES}, {})
        assert keys(store) in ({"other"}, {"key", "other"})
        np.testing.assert_array_equal(store.read("other")["states"], STATES)
        assert store.size() == sum(info.size_bytes for info in store.entries())
        store.drop("other")
        assert "other" not in store
    assert len([path for path in tmp_path.glob("cache.db.damaged-*") if not path.name.endswith(("-wal", "-shm"))]) <= 1


# --------------------------------------------------------------------------------------------------- disks, as they are


@pytest.fixture
def small_disk(tmp_path):
    """small_disk(bytes): a file system of that size, mounted; the test is skipped where that is not allowed."""
    mounted = []

    def mount(size: int, *options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            pytest.skip("only root can mount a small disk")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, *options: str) -> None:
    subprocess.run(["mount", "-o", ",".join(["remount", *options]), str(folder)], check=True)


def test_a_disk_that_is_full_is_said_and_what_is_there_is_read(small_disk):
    folder = small_disk(1 << 20)
    with contextlib.closing(Store(folder)) as store:
        large = np.arange(1 << 15, dtype=np.float64)
        store.put("first", {"large": large}, {})
        with pytest.raises(
            StoreError, match=f"^the disk of the cache folder {folder} is full; free some space"
        ) as full:
            for number in range(20):
                store.put(f"entry {number}", {"large": large}, {})
        assert store.last_write_error == str(full.value)
        assert not store.try_put("offered", {"large": large}, {})
        assert files_of(folder) == rows_of(folder)
        before = keys(store)
        np.testing.assert_array_equal(store.read("first")["large"], large)
        # to the last byte
        with (folder / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        assert store.free() == 0
        np.testing.assert_array_equal(store.read("first")["large"], large)
        assert "first" in store and keys(store) == before
        assert store.size() == sum(rows_of(folder).values())
        with contextlib.closing(Store(folder)) as another:
            np.testing.assert_array_equal(another.read("first")["large"], large)
        (folder / "ballast").unlink()
        store.drop("first")
        store.put("last", {"large": large}, {})
        assert store.last_write_error == ""
        np.testing.assert_array_equal(store.read("last")["large"], large)
    assert not [name for name in store_module._pins if name.startswith(str(folder))]  # nothing is held in use for ever


def test_a_run_on_a_full_disk_says_so_and_the_next_one_finishes(small_disk, right_scores, monkeypatch):
    folder = small_disk(24 << 20)
    with contextlib.closing(Store(folder)) as store:
        plan = planning.make_plan(CHOSEN, store)
        ballast = folder / "ballast"
        room = int(1.5 * planning.bytes_per_language(plan))
        ballast.write_bytes(bytes(store.free() - room))
        monkeypatch.setattr(planning, "check_size", lambda *_arguments: None)  # others fill the disk meanwhile
        queue = JobQueue(store, ModelPool())
        job = queue.submit(Extraction(plan))
        assert queue.wait(job, PATIENCE_S)
        assert job.status == "failed"
        assert job.error.startswith(f"the disk of the cache folder {folder} is full")
        assert len(planning.missing(plan, store)) == 3
        monkeypatch.setattr(extraction, "HELD_BYTES", 0)
        ballast.write_bytes(bytes(ballast.stat().st_size + max(0, store.free() - (16 << 10))))
        job = queue.submit(Extraction(plan))
        assert queue.wait(job, PATIENCE_S)
        assert "cannot be written to" in job.error and "No space left" in job.error
        ballast.unlink()
        job = queue.submit(Extraction(plan))
        assert queue.wait(job, PATIENCE_S)
        assert (job.status, job.error) == ("done", "")
        assert files_of(folder) == rows_of(folder)
        assert scores_of(plan, store) == right_scores
        queue.close()


@pytest.fixture
def computed(tmp_path, undisturbed, right_scores):
    """A cache folder of the test's own in which CHOSEN's states and scores are."""
    folder = tmp_path / "computed"
    undisturbed.close()
    shutil.copytree(undisturbed.folder, folder)
    return folder


def without_scores(folder: Path) -> None:
    """Leave nothing but states."""
    with contextlib.closing(Store(folder)) as store:
        for info in store.entries():
            if not info.key.startswith("states-"):
                store.drop(info.key)


def read_only_copy(store, small_disk) -> Path:
    """A whole cache without scores, on a disk that can only be read."""
    folder = small_disk(64 << 20)
    store.close()
    shutil.copytree(store.folder, folder, dirs_exist_ok=True)
    without_scores(folder)
    remount(folder, "ro")
    return folder


def test_scores_are_right_where_nothing_can_be_written(small_disk, undisturbed, right_scores):
    folder = read_only_copy(undisturbed, small_disk)
    try:
        with contextlib.closing(Store(folder)) as store:
            assert "cannot be written" in store.last_write_error
            plan = planning.make_plan(CHOSEN, store)
            assert planning.missing(plan, store) == []
            assert scores_of(plan, store) == right_scores
            counts = activation_counts.activation_counts(plan, store).counts
            assert counts.any()
    finally:
        remount(folder, "rw")
    with contextlib.closing(Store(folder)) as store:
        np.testing.assert_array_equal(activation_counts.activation_counts(plan, store).counts, counts)
        assert store.last_write_error == ""


# ------------------------------------------------------------------------------------------- several at once

A_SERVER = """
import json, sys
from neuronxa_core import pipeline
from neuronxa_core.experiment import Experiment
from neuronxa_core.jobs.job_queue import JobQueue
from neuronxa_core.states.planning import Extraction, ModelShelf
from neuronxa_core.store.cache import Store

folder, *languages = sys.argv[1:]
store = Store(folder)
queue = JobQueue(store, ModelShelf())
print("ready", flush=True)
sys.stdin.readline()
found = []
for chosen in (tuple(languages), tuple(languages[:2])):
    plan = pipeline.make_plan(Experiment(languages=chosen, sentences=6), store)
    job = queue.submit(Extraction(plan))
    assert job is None or queue.wait(job, 120) and job.status == "done", job
    found.append(pipeline.align(plan, store, "nas", "weighted").score.tolist())
print(json.dumps(found))
"""


def test_two_servers_and_a_command_line_on_one_cache_agree_with_one_process(tmp_path, undisturbed, right_scores):
    folder = tmp_path / "cache"
    turned = LANGUAGES[::-1]
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", A_SERVER, str(folder), *languages],
            cwd=ROOT,
            env=ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for languages in (LANGUAGES, turned)
    ]
    asked = ["--model", "demo", "--corpus", "demo", "--pivot", "eng_Latn", "--languages", *LANGUAGES[1:]]
    command = subprocess.Popen(
        [sys.executable, "-m", "neuronxa_core", "score", *asked, "--sentences", "6", "--cache-dir", str(folder)],
        cwd=ROOT,
        env=ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for server in servers:
        assert server.stdout.readline() == "ready\n", server.stderr.read()
    said = [server.communicate("go\n", timeout=PATIENCE_S) for server in servers]
    table, complaints = command.communicate(timeout=PATIENCE_S)
    assert [server.returncode for server in servers] == [0, 0], [errors for _, errors in said]
    assert command.returncode == 0, complaints
    for (found, _), languages in zip(said, (LANGUAGES, turned), strict=True):
        for scores, chosen in zip(json.loads(found), (languages, languages[:2]), strict=True):
            assert scores == [right_scores[LANGUAGES.index(code)] for code in chosen]
    rows = [line.split(",") for line in table.splitlines()]
    heading = rows[0]
    by_language: dict[str, list[float]] = {}
    for row in rows[1:]:
        by_language.setdefault(row[heading.index("language")], []).append(float(row[heading.index("score")]))
    assert by_language == {code: pytest.approx(right_scores[LANGUAGES.index(code)]) for code in LANGUAGES[1:]}
    with contextlib.closing(Store(folder)) as store:
        assert planning.missing(planning.make_plan(CHOSEN, store), store) == []
        assert_whole(store, undisturbed)
        assert files_of(folder) == rows_of(folder)


# ------------------------------------------------------------------------------------------------------------- models


@pytest.fixture
def spoilt(tiny, tmp_path):
    """A tiny LLaMA that a test may spoil."""
    folder = tmp_path / "spoilt"
    shutil.copytree(tiny("llama"), folder)
    return folder


def settings(folder: Path, **changes: object) -> None:
    """Change a model's configuration."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **changes}), "utf-8")


def load(folder: Path) -> description.LoadedModel:
    return loading.load(sources.parse_source(str(folder)), device="cpu")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", 1001),
        ("hidden_size", 10**12),
        ("intermediate_size", 10**9),
        ("vocab_size", 10**10),
        ("max_position_embeddings", 10**9),
        ("vision_config", {"num_hidden_layers": 10**9}),
        ("text_config", {"sizes": [{"num_local_experts": 10**6}]}),
        ("num_hidden_layers", 1e300),
    ],
)
def test_a_configuration_of_absurd_size_is_refused_before_anything_is_built(name, value, spoilt, monkeypatch):
    settings(spoilt, **{name: value})

    def built(*_arguments, **_options):
        pytest.fail("it was built")

    monkeypatch.setattr(sources.AutoConfig, "from_pretrained", built)
    message = refused(lambda: structure.describe(sources.parse_source(str(spoilt))))
    assert "no model has more than" in message and "spoilt" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_hidden_layers", 0),
        ("num_hidden_layers", -3),
        ("num_hidden_layers", "three"),
        ("num_hidden_layers", None),
        ("num_hidden_layers", 1.5),
        ("num_hidden_layers", [3]),
        ("hidden_size", 0),
        ("hidden_size", -32),
        ("hidden_size", "x"),
        ("intermediate_size", 0),
        ("intermediate_size", None),
        ("num_attention_heads", 0),
        ("num_attention_heads", 7),
        ("vocab_size", 0),
        ("vocab_size", -1),
        ("hidden_act", "no such function"),
        ("rope_parameters", []),
        ("model_type", {"a": 1}),
        ("architectures", 7),
        ("torch_dtype", "float1"),
        ("dtype", 3),
        ("pad_token_id", 10**6),
        ("max_position_embeddings", 0),
        ("max_position_embeddings", "many"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_one_sentence_or_a_model_that_works(name, value, spoilt):
    settings(spoilt, **{name: value})
    try:
        loaded = load(spoilt)
        states = extraction.extract(loaded, "eng", ["the cat sat"])
    except (ModelError, ExtractionError) as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
    else:
        assert states.tokens.tolist() == [len(byte_tokenizer(True).encode("the cat sat").ids)]


@pytest.mark.parametrize("content", ["[]", "[1, 2]", '"llama"', "7", "null"])
def test_a_configuration_that_is_no_table_of_settings(content, spoilt):
    (spoilt / "config.json").write_text(content, "utf-8")
    message = refused(lambda: structure.describe(sources.parse_source(str(spoilt))))
    assert "config.json holds no settings of a model" in message


def test_a_configuration_that_is_nested_without_end_or_huge(spoilt):
    file = spoilt / "config.json"
    file.write_text("[" * 100_000, "utf-8")
    assert "is not readable JSON" in refused(lambda: structure.describe(sources.parse_source(str(spoilt))))
    file.write_text('{"a":' * 900 + "1" + "}" * 900, "utf-8")
    refused(lambda: structure.describe(sources.parse_source(str(spoilt))))
    with file.open("wb") as handle:
        handle.truncate(sources.MOST_CONFIG_BYTES + 1)
    assert "is larger than any such file" in refused(lambda: structure.describe(sources.parse_source(str(spoilt))))


@pytest.mark.parametrize("name", ["tokenizer_config.json", "tokenizer.json", "generation_config.json"])
@pytest.mark.parametrize("content", ["[]", "{", "[" * 5000, "7", '{"model_max_length": "x", "added_tokens": 3}'])
def test_other_files_of_a_model_that_make_no_sense(name, content, spoilt):
    (spoilt / name).write_text(content, "utf-8")
    try:
        loaded = load(spoilt)
    except ModelError as error:
        assert "spoilt" in str(error) and "\n" not in str(error)
    else:
        assert extraction.extract(loaded, "eng", ["the cat sat"]).tokens[0] > 2


def in_shards(folder: Path, **index: object) -> list[str]:
    """Take a model's weights apart into two files with an index, and change the index."""
    weights = load_file(folder / "model.safetensors")
    names, shards = sorted(weights), ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    weight_map = {}
    for number, shard in enumerate(shards):
        part = {name: weights[name] for name in names[number::2]}
        save_file(part, folder / shard, {"format": "pt"})
        weight_map.update(dict.fromkeys(part, shard))
    (folder / "model.safetensors").unlink()
    whole = {"metadata": {}, "weight_map": weight_map, **index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(whole), "utf-8")
    return shards


def test_a_shard_that_is_missing_is_named(spoilt):
    _, second = in_shards(spoilt)
    assert load(spoilt).info.layers == 3
    (spoilt / second).unlink()
    message = refused(lambda: load(spoilt))
    assert f"lacks 1 of the 2 files of weights that its model.safetensors.index.json names ({second})" in message


def test_a_shard_that_is_cut_off(spoilt):
    _, second = in_shards(spoilt)
    content = (spoilt / second).read_bytes()
    (spoilt / second).write_bytes(content[: len(content) // 2])
    assert "damaged or cut off" in refused(lambda: load(spoilt))


@pytest.mark.parametrize(
    "content", ["[]", "{", "{}", '{"weight_map": {}}', '{"weight_map": [], "metadata": {}}', "[" * 9999]
)
def test_an_index_of_weights_that_is_none(content, spoilt):
    in_shards(spoilt)
    (spoilt / "model.safetensors.index.json").write_text(content, "utf-8")
    message = refused(lambda: load(spoilt))
    assert "model.safetensors.index.json" in message


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/etc/passwd", "weights.bin", "sub/x.safetensors", 7, ""])
def test_an_index_leads_to_no_file_elsewhere_and_to_no_pickle(name, spoilt):
    """transformers itself would follow it, and load a pickled file."""
    shutil.copy(spoilt / "model.safetensors", spoilt.parent / "elsewhere.safetensors")
    weights = load_file(spoilt / "model.safetensors")
    torch.save(weights, spoilt / "weights.bin")
    in_shards(spoilt, weight_map=dict.fromkeys(weights, name))
    assert "names what is no .safetensors file beside it" in refused(lambda: load(spoilt))


@pytest.mark.parametrize("name", ["adapter_model.bin", "other.safetensors", "../elsewhere.safetensors"])
def test_a_configuration_leads_to_no_weights_of_another_name(name, spoilt):
    """transformers itself would load them, adapter_model.bin as a pickle."""
    torch.save(load_file(spoilt / "model.safetensors"), spoilt / "adapter_model.bin")
    settings(spoilt, transformers_weights=name)
    assert "transformers_weights" in refused(lambda: load(spoilt))


def test_an_adapter_is_no_model(spoilt):
    (spoilt / "adapter_config.json").write_text('{"base_model_name_or_path": "/etc"}', "utf-8")
    assert "is an adapter of another model" in refused(lambda: load(spoilt))


def test_tensors_that_are_missing_are_named(spoilt):
    file = spoilt / "model.safetensors"
    weights = load_file(file)
    for layer in range(3):
        del weights[f"layers.{layer}.input_layernorm.weight"], weights[f"layers.{layer}.mlp.up_proj.weight"]
    save_file(weights, file, {"format": "pt"})
    message = refused(lambda: load(spoilt))
    assert "lack 6 of the tensors" in message
    assert "layers.0.input_layernorm.weight, layers.0.mlp.up_proj.weight" in message and "and 2 more" in message


def test_weights_that_are_far_too_few_are_refused_before_the_rest_is_made_up(spoilt, monkeypatch):
    """Without it, transformers makes up a hundred million rows of random numbers."""
    settings(spoilt, vocab_size=10**8)

    def loads(*_arguments, **_options):
        pytest.fail("it was loaded")

    monkeypatch.setattr(loading.AutoModel, "from_pretrained", loads)
    message = refused(lambda: load(spoilt))
    size = (spoilt / "model.safetensors").stat().st_size
    assert f"are {size:,} bytes in all" in message and "belong to another model" in message


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    ),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    OSError(12, "Cannot allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_a_model_that_does_not_fit_leaves_the_shelf_empty_and_the_next_job_works(error, store, spoilt, monkeypatch):
    real = loading.AutoModel.from_pretrained

    def full(source, *arguments, **options):
        if "spoilt" in source:
            raise error
        return real(source, *arguments, **options)

    monkeypatch.setattr(loading.AutoModel, "from_pretrained", full)
    pool = ModelPool()
    queue = JobQueue(store, pool)
    too_large = planning.make_plan(Experiment(model=str(spoilt), languages=("deu_Latn",), sentences=3), store)
    small = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=3), store)
    first, second = queue.submit(Extraction(too_large)), queue.submit(Extraction(small))
    assert queue.wait(second, PATIENCE_S)
    assert first.status == "failed"
    assert "model spoilt does not fit into memory" in first.error
    assert second.status == "done"
    assert not pool.holds(too_large)
    assert pool.holds(small)
    queue.close()


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_memory_that_runs_out_is_known_by_all_its_names(error):
    assert process_memory.ran_out(error)
    assert not process_memory.ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_memory_that_runs_out_in_a_batch_halves_it_and_costs_no_number(store, undisturbed, monkeypatch):
    plan = planning.make_plan(replace(CHOSEN, languages=("rus_Cyrl",)), store)
    sizes = []
    real = StateHooks.run

    def run(hooks, rows):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        real(hooks, rows)

    monkeypatch.setattr(StateHooks, "run", run)
    queue = JobQueue(store, ModelPool())
    job = queue.submit(Extraction(plan))
    assert queue.wait(job, PATIENCE_S)
    assert (job.status, job.error) == ("done", "")
    assert max(sizes) > 2
    key = plan.keys["rus_Cyrl"]
    mine, other = store.read(key), undisturbed.read(key)
    for name in mine:
        if name.startswith("nas"):
            np.testing.assert_array_equal(mine[name], other[name])
        else:
            np.testing.assert_allclose(mine[name], other[name], rtol=1e-4, atol=1e-5 * np.abs(other[name]).max())
    queue.close()


def test_a_sentence_that_never_fits_fails_its_job_alone(store, monkeypatch):
    plan = planning.make_plan(CHOSEN, store)
    real = StateHooks.run

    def full(*_arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(StateHooks, "run", full)
    queue = JobQueue(store, ModelPool())
    job = queue.submit(Extraction(plan))
    assert queue.wait(job, PATIENCE_S)
    assert job.status == "failed"
    assert "memory ran out on a single sentence" in job.error
    monkeypatch.setattr(StateHooks, "run", real)
    again = queue.submit(Extraction(plan))
    assert queue.wait(again, PATIENCE_S)
    assert again.status == "done"
    queue.close()


def test_a_tokenizer_of_another_model_fails_the_job_with_one_sentence(store, spoilt):
    settings(spoilt, vocab_size=50, bos_token_id=0, eos_token_id=2)
    weights = load_file(spoilt / "model.safetensors")
    weights["embed_tokens.weight"] = weights["embed_tokens.weight"][:50].clone()
    save_file(weights, spoilt / "model.safetensors", {"format": "pt"})
    plan = planning.make_plan(Experiment(model=str(spoilt), languages=("deu_Latn",), sentences=3), store)
    queue = JobQueue(store, ModelPool())
    job = queue.submit(Extraction(plan))
    assert queue.wait(job, PATIENCE_S)
    assert job.status == "failed"
    assert "the model knows only 50: the tokenizer belongs to another model" in job.error
    assert planning.missing(plan, store) == ["eng_Latn", "deu_Latn"]
    queue.close()


@pytest.mark.parametrize(
    "error", [SystemExit(3), MemoryError(), KeyboardInterrupt(), GeneratorExit(), RecursionError("deep")], ids=repr
)
def test_whatever_a_job_raises_the_queue_goes_on(error, store, failing):
    plan = planning.make_plan(CHOSEN, store)
    failing("deu_Latn", error)
    queue = JobQueue(store, ModelPool())
    first = queue.submit(Extraction(plan))
    second = queue.submit(Extraction(planning.restrict(plan, ["rus_Cyrl"])))
    assert queue.wait(second, PATIENCE_S)
    assert first.status == "failed"
    assert type(error).__name__ in first.error
    assert second.status == "done"
    queue.close()


# -------------------------------------------------------------------------------------------------------------- pages

PAGES = ("alignment", "overlap", "microscope", "downstream", "run")
MOST_RUNS = 12
"""Runs of the app's script by themselves, after one visit or click, that are no crash loop."""


@pytest.fixture(autouse=True)
def own_main_module(monkeypatch):
    """Running the app makes its script `__main__`, which processes that other tests start would run again."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def visit(monkeypatch):
    """visit(page, cache, **query): the whole app at one of its pages, as a visitor meets it; runs are counted."""
    runs: list[str] = []
    queues: list[JobQueue] = []
    real = session.enter

    def enter(page):
        runs.append(page)
        assert len(runs) <= MOST_RUNS, "the page runs again and again"
        return real(page)

    def queue(*arguments, **options):
        queues.append(JobQueue(*arguments, **options))
        return queues[-1]

    begin = PagesManager.__init__

    def begin_later(*arguments, **options):
        """As in a server that has shown a page before: Streamlit knows the app's navigation."""
        begin(*arguments, **options)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", begin_later)
    # of a server that has one cache; here every test has another
    for kept in (cached._plan, cached._alignment, cached._activity):
        kept.clear()
    monkeypatch.setattr(session, "enter", enter)
    monkeypatch.setattr(controls, "JobQueue", queue)

    def open_page(name: str, cache: Path, **query: str) -> AppTest:
        runs.clear()
        monkeypatch.setenv("NEURONXA_CACHE_DIR", str(cache))
        test = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=PATIENCE_S)
        if name != "alignment":
            test._page_hash = calc_hash(name)  # how Streamlit names a page of st.navigation
        for key, value in {**CHOSEN.to_query(), **query}.items():
            test.query_params[key] = value
        return again(test)

    def again(test: AppTest) -> AppTest:
        runs.clear()
        return test.run()

    open_page.again = again
    yield open_page
    for queue in queues:
        queue.close()


def said(test: AppTest) -> list[str]:
    return [element.value.replace("\\", "") for kind in ("error", "warning") for element in test.get(kind)]


@pytest.fixture
def means(right_scores):
    """{language: its score over all layers}, as a page shows it."""
    return pytest.approx(dict(zip(LANGUAGES, np.mean(right_scores, axis=1).tolist(), strict=True)))


def shown_scores(test: AppTest) -> dict[str, float]:
    return test.dataframe[0].value.set_index("language")["score"].to_dict()


def assert_one_sentence(test: AppTest, *words: str) -> None:
    """An error that a person can read, and no box that hides one."""
    assert [element.value for element in test.exception] == []
    errors = [element.value.replace("\\", "") for element in test.error]
    assert len(errors) == 1, errors
    assert all(word in errors[0] for word in words), errors
    assert "\n" not in errors[0]


@pytest.mark.parametrize("page", PAGES)
def test_a_cache_that_cannot_be_opened_is_one_sentence_on_every_page(page, visit, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("precious")
    assert_one_sentence(visit(page, file), "is a file; move it, or set NEURONXA_CACHE_DIR")
    monkeypatch.setenv("NEURONXA_CACHE_GIB", "nonsense")
    assert_one_sentence(visit(page, tmp_path / "cache"), "NEURONXA_CACHE_GIB is a number of GiB above 0")
    monkeypatch.delenv("NEURONXA_CACHE_GIB")
    assert file.read_text() == "precious"


@pytest.mark.parametrize("page", PAGES)
def test_a_cache_that_vanishes_is_one_sentence_and_the_app_goes_on_when_it_is_back(page, visit, computed, tmp_path):
    test = visit(page, computed)
    assert not test.exception
    before = said(test)
    assert not any("cache" in words for words in before)
    away = tmp_path / "away"
    computed.rename(away)
    assert_one_sentence(visit.again(test), f"the cache folder {computed} has vanished; make it again")
    assert_one_sentence(visit(page, computed), f"the cache folder {computed} has vanished; make it again")
    assert not computed.exists()
    away.rename(computed)
    test = visit.again(test)
    assert not test.exception
    assert said(test) == before


@pytest.mark.parametrize("page", PAGES)
def test_a_page_on_a_cache_that_cannot_be_written_shows_its_scores_and_says_so(
    page, visit, small_disk, undisturbed, means
):
    folder = read_only_copy(undisturbed, small_disk)
    try:
        test = visit(page, folder)
        assert [element.value for element in test.exception] == []
        assert not any("cache" in element.value for element in test.error)
        assert any("cannot be written" in words for words in said(test))
        if page == "alignment":
            assert shown_scores(test) == means
    finally:
        remount(folder, "rw")


def test_damage_is_computed_again_and_the_scores_are_right(visit, computed, means):
    without_scores(computed)
    damage(computed)
    test = visit("alignment", computed)
    queue = services().queue
    jobs = -1
    while jobs < len(queue.jobs()):  # one a damaged entry, at the most
        jobs = len(queue.jobs())
        assert jobs <= len(LANGUAGES) + 1
        assert all(queue.wait(job, PATIENCE_S) for job in queue.jobs())
        test = visit.again(test)
        assert not test.exception
        # damage that is found while a run goes on is not part of that run
        offered = [button for button in test.button if button.label == "Compute them"]
        if offered and not any(job.active for job in queue.jobs()):
            test = offered[0].click().run()
    assert said(test) == []
    assert shown_scores(test) == means


def test_a_disk_that_damages_all_that_is_written_is_an_error_and_no_endless_loop(visit, computed, monkeypatch):
    without_scores(computed)

    def damaged(entry, *_arguments):
        entry._give_up("bits that flip")

    monkeypatch.setattr(store_module.Entry, "_verify", damaged)
    test = visit("alignment", computed)
    queue = services().queue
    for _ in range(3 * len(LANGUAGES) + 6):
        assert all(queue.wait(job, PATIENCE_S) for job in queue.jobs())
        test = visit.again(test)
        assert not test.exception
        if test.error:
            break
    assert_one_sentence(test, "damaged")
    jobs = len(queue.jobs())
    for _ in range(3):
        test = visit.again(test)
        assert all(queue.wait(job, PATIENCE_S) for job in queue.jobs())
    assert len(queue.jobs()) == jobs, "it is computed again and again"


def test_a_corpus_whose_folder_of_a_split_changes_is_read_again(tmp_path, monkeypatch):
    root = tmp_path / "flores"
    (root / "devtest").mkdir(parents=True)
    for code in ("eng_Latn", "deu_Latn"):
        (root / "devtest" / f"{code}.devtest").write_text("one\ntwo\nthree\n", "utf-8")
    before = cached._fingerprint(str(root))
    assert before == cached._fingerprint(str(root))
    (root / "devtest" / "deu_Latn.devtest").write_text("eins\nzwei\ndrei\n", "utf-8")
    assert cached._fingerprint(str(root)) != before
