"""What the Admin page stands on: the cache's content, its verification, memory."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from neuronxa_core.errors import Cancelled, ModelBusy
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
    (scores,) = table.loc[table["kind"] == "scores"].to_dict("records")
    assert (scores["model"], scores["language"], scores["sentences"]) == ("demo", "", "")
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
    alignment.align(plan, filled, "emb", "mean")  # reads every block, so that this process takes them for verified
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


def test_verification_leaves_the_order_of_use_alone_and_can_be_stopped(filled):
    before = [entry.key for entry in filled.entries()]
    reports = []
    count, damaged = filled.verify(lambda done, whole: reports.append((done, whole)))
    assert (count, damaged) == (filled.count(), [])
    assert [entry.key for entry in filled.entries()] == before
    assert reports[-1] == (filled.size(), filled.size())
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    with pytest.raises(Cancelled, match="stopped after 0 of"):
        filled.verify(cancelled=lambda: True)


def test_nothing_is_to_verify_in_an_empty_cache(store):
    assert Verification().totals(store) == {}


def test_reads_are_counted_by_kind(filled):
    before = filled.reads()
    plan = planning.make_plan(replace(CHOSEN, languages=("spa_Latn",)), filled)
    assert filled.read(plan.keys["spa_Latn"]) is not None
    assert filled.read("states-none") is None
    assert filled.get_json("effect-none") is None
    after = filled.reads()
    found, sought = (np.subtract(after["states"], before["states"])).tolist()
    assert (found, sought) == (1, 1)
    assert after["effect"] == (0, 1)


def test_the_version_tells_apart_what_is_kept_and_does_not_change_with_a_read(store):
    seen = [store.version()]
    for work in (
        lambda: store.put_json("a", 1),
        lambda: store.put_json("b", 1),
        lambda: store.drop("b"),
        lambda: store.put_json("a", 2),
    ):
        work()
        seen.append(store.version())
    assert seen[3] == seen[1]  # what is kept is the same again
    assert len(set(seen)) == 4
    assert store.get_json("a") == 2
    assert store.version() == seen[-1]


def test_what_lies_beside_the_cache_is_the_bytes_of_its_files(store):
    (store.folder / "uploads" / "x").mkdir(parents=True)
    (store.folder / "uploads" / "x" / "deu.txt").write_bytes(b"1234")
    (store.folder / "uploads" / "y.csv").write_bytes(b"12")
    assert cache_report.beside(store) == {"uploads": 6, "harness": 0, "jobs": 0}


def test_memory_of_the_host_is_the_systems(monkeypatch):
    (host,) = cache_report.memory() if not torch.cuda.is_available() else cache_report.memory()[:1]
    assert host.whole == psutil.virtual_memory().total
    assert 0 < host.ours < host.whole
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda k: (10 + k, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda k: 5)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda k: "Card")
    assert cache_report.memory()[1:] == [
        cache_report.Memory("GPU 0, Card", 100, 10, 5),
        cache_report.Memory("GPU 1, Card", 100, 11, 5),
    ]


def test_loaded_models_and_their_end(store, tiny):
    pool = ModelPool(most=2)
    plans = [planning.make_plan(replace(CHOSEN, model=str(tiny("llama", seed=seed))), store) for seed in (1, 2, 3)]
    assert cache_report.loaded_models(pool).empty
    for plan in (*plans, plans[1]):
        with pool.acquire(plan) as loaded:
            assert pool.holds(plan)
            with pytest.raises(ModelBusy):
                pool.clear()
    assert [pool.holds(plan) for plan in plans] == [False, True, True]
    table = cache_report.loaded_models(pool)
    assert list(table["model"]) == [plans[1].source.name, plans[2].source.name]
    assert table["bytes"].iloc[0] == sum(p.numel() * 4 for p in loaded.model.parameters())
    pool.clear()
    assert pool.loaded() == []


@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_shelf_keeps_the_models_used_last(store, tiny, most):
    pool = ModelPool(most)
    plans = [planning.make_plan(replace(CHOSEN, model=str(tiny("llama", seed=seed))), store) for seed in (1, 2, 3, 4)]
    used = []
    for k in np.random.default_rng(most).integers(0, 4, 12).tolist():
        with pool.acquire(plans[k]):
            pass
        used = [k, *(other for other in used if other != k)][:most]
        assert [pool.holds(plan) for plan in plans] == [k in used for k in range(4)]
        assert [loaded.info.name for loaded in pool.loaded()] == [plans[k].source.name for k in used]
