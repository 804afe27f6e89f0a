"""The cache when processes are killed, disks are full or read-only, and several use it: faults are caused for real."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from faults import (
    CHOSEN,
    LANGUAGES,
    ONE_THREAD,
    PATIENCE_S,
    ROOT,
    assert_whole,
    keys,
    kill_at,
    remount,
    scores_of,
)

from neuronxa_core.errors import StoreError
from neuronxa_core.experiment import Experiment
from neuronxa_core.jobs.job_queue import JobQueue
from neuronxa_core.measures import activation_counts
from neuronxa_core.states import computing, extraction, planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

STATES = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
REST = """
import sys, time
def rest(*_arguments, **_options):
    print("there", flush=True)
    time.sleep(600)
"""


def files_of(folder: Path) -> list[Path]:
    return list((folder / "entries").iterdir())


# ------------------------------------------------------------------------------------------------------ kill -9

A_WRITE = """
import numpy
from pathlib import Path
from neuronxa_core.store import cache
store = cache.Store(sys.argv[1], size_limit=int(sys.argv[2]))
{fault}
store.put(sys.argv[3], {{"states": numpy.ones((4, 5, 6), "float32")}}, {{}})
"""


@pytest.mark.parametrize(
    ("limit", "fault", "key", "left"),
    [
        (1 << 30, "cache.write_entry = lambda file, *_entry: rest(file.write(b'half'))", "new", {"old", "older"}),
        (1 << 30, "Path.replace = rest", "old", {"old", "older"}),
        (1, "Path.unlink = rest", "new", {"old", "older", "new"}),
    ],
    ids=["in the middle of a file", "before a file replaces another", "in the middle of an eviction"],
)
def test_a_writer_that_is_killed_leaves_whole_entries_and_nothing_for_ever(tmp_path, limit, fault, key, left):
    store = Store(tmp_path)
    for name in ("older", "old"):
        store.put(name, {"states": STATES}, {})
    kill_at(REST + A_WRITE.format(fault=fault), tmp_path, limit, key)
    for name in left - {"new"}:
        np.testing.assert_array_equal(store.read(name)["states"], STATES)
    assert store.verify() == (len(left), [])
    assert keys(store) == left
    # whoever is alive may still be writing a file that is young; later it is known that nobody is
    yesterday = time.time() - 86400
    for path in files_of(tmp_path):
        os.utime(path, (yesterday, yesterday))
    assert keys(Store(tmp_path)) == left
    assert len(files_of(tmp_path)) == len(left)


A_RUN = (
    REST
    + """
from neuronxa_core.experiment import Experiment
from neuronxa_core.states import computing, extraction, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

folder, language, before = sys.argv[1:]
extraction.HELD_BYTES = 0  # states go to the disk as they come
real = extraction.extract
def extract(loaded, code, *arguments, **options):
    if code == language:
        while store.count() < int(before):  # these are written beside this
            time.sleep(0.01)
        options["on_progress"] = rest
    return real(loaded, code, *arguments, **options)
extraction.extract = extract
store = Store(folder)
plan = planning.make_plan(Experiment(sentences=6), store)
computing.compute_missing(plan, store, ModelPool())
"""
)


@pytest.mark.full
def test_a_run_of_25_languages_that_is_killed_keeps_whole_ones_and_goes_on_with_the_rest(tmp_path, counted):
    folder, store, other = tmp_path / "killed", Store(tmp_path / "killed"), Store(tmp_path / "other")
    plan = planning.make_plan(Experiment(sentences=6), store)
    rest = list(plan.all_languages[20:])
    assert len(rest) == 5
    kill_at(A_RUN, folder, rest[0], 20 * len(plan.needed))
    assert planning.missing(plan, store) == rest
    assert {path.name for path in folder.iterdir()} == {"entries", "documents"}
    assert {path.suffix for path in files_of(folder)} == {".safetensors"}
    before = {one.key: one.stored for one in store.entries()}
    read = counted()
    computing.compute_missing(plan, store, ModelPool())
    assert read == rest
    assert before.items() <= {one.key: one.stored for one in store.entries()}.items()
    computing.compute_missing(plan, other, ModelPool())
    assert_whole(store, other)
    assert keys(store) == keys(other)


# --------------------------------------------------------------------------------------------------- disks, as they are


def test_a_disk_that_is_full_is_said_and_what_is_there_is_read(small_disk):
    folder = small_disk(1 << 20)
    store = Store(folder)
    large = np.arange(1 << 15, dtype=np.float64)
    store.put("first", {"large": large}, {})
    with pytest.raises(StoreError, match=f"^the disk of the cache folder {folder} is full; free some space") as full:
        for number in range(20):
            store.put(f"entry {number}", {"large": large}, {})
    assert store.last_write_error == str(full.value)
    assert not store.try_put("not kept", {"large": large}, {})
    assert {path.suffix for path in files_of(folder)} == {".safetensors"}
    before = keys(store)
    # to the last byte
    with (folder / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    assert store.free() == 0
    another = Store(folder)
    np.testing.assert_array_equal(another.read("first")["large"], large)
    assert "first" in another and keys(another) == before
    store.drop("first")
    store.put("last", {"large": large}, {})
    assert store.last_write_error == ""
    np.testing.assert_array_equal(store.read("last")["large"], large)


def test_a_run_on_a_full_disk_says_so_and_the_next_one_finishes(small_disk, right_scores, monkeypatch):
    folder = small_disk(24 << 20)
    store = Store(folder)
    plan = planning.make_plan(CHOSEN, store)
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(store.free() - int(1.5 * planning.bytes_per_language(plan))))
    monkeypatch.setattr(computing, "check_size", lambda *_arguments: None)  # others fill the disk meanwhile
    with contextlib.closing(JobQueue(store, ModelPool())) as queue:
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
        assert scores_of(plan, store) == right_scores


def test_scores_are_right_where_nothing_can_be_written(read_only_cache, right_scores):
    store = Store(read_only_cache)
    assert "cannot be written" in store.last_write_error
    plan = planning.make_plan(CHOSEN, store)
    assert planning.missing(plan, store) == []
    assert scores_of(plan, store) == right_scores
    counts = activation_counts.activation_counts(plan, store).counts
    assert counts.any()
    remount(read_only_cache, "rw")
    np.testing.assert_array_equal(activation_counts.activation_counts(plan, store).counts, counts)
    assert store.last_write_error == ""


# ------------------------------------------------------------------------------------------- several at once

A_SERVER = """
import json, sys
from neuronxa_core.experiment import Experiment
from neuronxa_core.jobs.job_queue import JobQueue
from neuronxa_core.measures import alignment
from neuronxa_core.states import planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

folder, *languages = sys.argv[1:]
store = Store(folder)
queue = JobQueue(store, ModelPool())
print("ready", flush=True)
sys.stdin.readline()
found = []
for chosen in (tuple(languages), tuple(languages[:2])):
    plan = planning.make_plan(Experiment(languages=chosen, sentences=6), store)
    job = queue.submit(Extraction(plan))
    assert job is None or queue.wait(job, 120) and job.status == "done", job
    found.append(alignment.align(plan, store, "nas", "weighted").score.tolist())
print(json.dumps(found))
"""


@pytest.mark.full
def test_two_servers_and_a_command_line_on_one_cache_agree_with_one_process(tmp_path, undisturbed, right_scores):
    folder = tmp_path / "cache"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT, "env": ONE_THREAD, "text": True}
    turned = LANGUAGES[::-1]
    servers = [
        subprocess.Popen([sys.executable, "-c", A_SERVER, str(folder), *order], stdin=subprocess.PIPE, **pipes)
        for order in (LANGUAGES, turned)
    ]
    asked = ["--model", "demo", "--corpus", "demo", "--pivot", "eng_Latn", "--languages", *LANGUAGES[1:]]
    asked += ["--sentences", "6", "--cache-dir", str(folder)]
    command = subprocess.Popen([sys.executable, "-m", "neuronxa_core", "score", *asked], **pipes)
    for server in servers:
        assert server.stdout.readline() == "ready\n", server.stderr.read()
    said = [server.communicate("go\n", timeout=PATIENCE_S) for server in servers]
    table, complaints = command.communicate(timeout=PATIENCE_S)
    assert [server.returncode for server in servers] == [0, 0], [errors for _, errors in said]
    assert command.returncode == 0, complaints
    for (found, _), order in zip(said, (LANGUAGES, turned), strict=True):
        for scores, chosen in zip(json.loads(found), (order, order[:2]), strict=True):
            assert scores == [right_scores[LANGUAGES.index(code)] for code in chosen]
    heading, *rows = [line.split(",") for line in table.splitlines()]
    by_language: dict[str, list[float]] = {}
    for row in rows:
        by_language.setdefault(row[heading.index("language")], []).append(float(row[heading.index("score")]))
    assert by_language == {code: pytest.approx(right_scores[LANGUAGES.index(code)]) for code in LANGUAGES[1:]}
    store = Store(folder)
    assert planning.missing(planning.make_plan(CHOSEN, store), store) == []
    assert_whole(store, undisturbed)
    assert {path.suffix for path in files_of(folder)} == {".safetensors"}
