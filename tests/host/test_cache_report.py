"""What the Admin page shows: what the cache holds, its verification, memory."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from neuronxa_core.experiment import Experiment
from neuronxa_core.host import cache_report
from neuronxa_core.host.cache_report import Verification
from neuronxa_core.jobs.job_queue import JobQueue
from neuronxa_core.measures import alignment
from neuronxa_core.states import computing, planning
from neuronxa_core.states.pools import ModelPool

LONG = 60
CHOSEN = Experiment(languages=("spa_Latn", "rus_Cyrl"), sentences=4)


@pytest.fixture
def filled(store):
    plan = planning.make_plan(CHOSEN, store)
    computing.compute_missing(plan, store, ModelPool())
    alignment.align(plan, store, "nas", "weighted")
    return store


def test_the_content_of_the_cache_is_every_entry_with_what_it_is_of(filled):
    table = cache_report.contents(filled)
    states = table[table["kind"] == "states"].set_index("language")
    assert set(states.index) == {"eng_Latn", "spa_Latn", "rus_Cyrl"}
    assert set(states["model"]) == set(states["corpus"]) == {"demo"}
    assert (states["sentences"] == 4).all()
    files = {path.stat().st_size for path in filled.folder.glob("entries/*.safetensors")}
    assert set(table["bytes"]) <= files
    scores = table[table["kind"] == "alignment"]
    assert set(scores["language"]) == {"spa_Latn", "rus_Cyrl"}
    assert set(scores["model"]) == {"demo"} and set(scores["sentences"]) == {""}
    assert set(table["key"]) == {entry.key for entry in filled.entries()}


def test_an_empty_cache_has_the_same_columns(store):
    table = cache_report.contents(store)
    assert table.empty
    assert list(table.columns) == [*cache_report.COLUMNS, "bytes", "stored", "used", "key"]
    assert cache_report.by_model(table).empty


def test_by_model_sums_up_what_a_loop_does():
    rng = np.random.default_rng(0)
    rows = [
        {
            "kind": str(rng.choice(["states", "scores"])),
            "model": str(rng.choice(["a", "b", ""])),
            "language": str(rng.choice(["", "deu", "fra", "spa"])),
            "bytes": int(rng.integers(1, 10**9)),
            "used": pd.Timestamp(int(rng.integers(10**9)), unit="s", tz="UTC"),
            "key": f"k{k}",
        }
        for k in range(200)
    ]
    found = cache_report.by_model(pd.DataFrame(rows)).to_dict("records")
    groups = {(row["model"], row["kind"]) for row in rows}
    assert len(found) == len(groups)
    assert [row["bytes"] for row in found] == sorted((row["bytes"] for row in found), reverse=True)
    for row in found:
        inside = [one for one in rows if (one["model"], one["kind"]) == (row["model"], row["kind"])]
        assert row["bytes"] == sum(one["bytes"] for one in inside)
        assert row["entries"] == len(inside)
        assert row["languages"] == len({one["language"] for one in inside} - {""})
        assert row["used"] == max(one["used"] for one in inside)


def test_verification_finds_what_was_damaged_since_it_was_read_and_drops_it(filled):
    queue = JobQueue(filled, ModelPool())
    assert cache_report.last_verified(filled) is None
    count = filled.count()
    whole = queue.submit(Verification())
    assert queue.wait(whole, LONG)
    first = cache_report.last_verified(filled)
    assert (whole.status, first.entries, first.damaged) == ("done", count, ())
    assert whole.units_done == whole.units

    plan = planning.make_plan(CHOSEN, filled)
    alignment.align(plan, filled, "emb", "weighted")  # reads every block, so that this process takes them for verified
    victim = plan.keys["rus_Cyrl"]
    with filled.get(victim) as entry:
        path = Path(entry.file.name)
    content = bytearray(path.read_bytes())
    status = path.stat()
    content[-100] ^= 1
    with path.open("r+b") as file:  # the same file, size and time: nothing but its bytes tells
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = queue.submit(Verification())
    assert queue.wait(again, LONG)
    second = cache_report.last_verified(filled)
    assert (again.status, second.damaged) == ("done", (victim,))
    assert second.when >= first.when
    assert planning.missing(plan, filled) == ["rus_Cyrl"]
    assert queue.interrupted() == []
    queue.close()


@pytest.mark.parametrize("planted", [3, "x", {"when": "soon", "entries": 1, "damaged": []}, {"when": "2026-01-01"}])
def test_what_is_no_record_of_a_verification_is_none(store, planted):
    store.put_json(cache_report.VERIFIED, planted)
    assert cache_report.last_verified(store) is None


def test_nothing_is_to_verify_in_an_empty_cache(store):
    assert Verification().totals(store) == {}


def test_what_lies_beside_the_cache_is_the_bytes_of_its_files(store):
    (store.folder / "uploads" / "x").mkdir(parents=True)
    (store.folder / "uploads" / "x" / "deu.txt").write_bytes(b"1234")
    (store.folder / "uploads" / "y.csv").write_bytes(b"12")
    assert cache_report.beside(store) == {"uploads": 6, "harness": 0, "jobs": 0}


def test_memory_of_the_host_is_the_systems(monkeypatch):
    (host,) = cache_report.memory() if not torch.cuda.is_available() else cache_report.memory()[:1]
    assert host.total == psutil.virtual_memory().total
    assert 0 < host.own < host.total
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda k: (10 + k, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda k: 5)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda k: "Card")
    assert cache_report.memory()[1:] == [
        cache_report.Memory("GPU 0, Card", 100, 10, 5),
        cache_report.Memory("GPU 1, Card", 100, 11, 5),
    ]
