"""The journal: which jobs of a stopped server are listed, and which are not."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronxa_core.experiment import Experiment
from neuronxa_core.jobs.job_queue import JobQueue, Owner
from neuronxa_core.jobs.journal import Journal, Note
from neuronxa_core.states import extraction, planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

ROOT = Path(__file__).parents[2]
LONG = 60
CHOSEN = Experiment(languages=("deu_Latn", "spa_Latn"), sentences=4, seed=3)
NOTE = Note("k", "Extraction", "states", CHOSEN, "ada", "Ada", 12.5)
WRITTEN = asdict(NOTE)


def test_another_server_finds_what_one_that_is_gone_had_noted(tmp_path):
    gone, here = Journal(tmp_path), Journal(tmp_path)
    gone.write(1, NOTE)
    gone.write(2, replace(NOTE, key="l", asked=11.0))
    gone.write(3, NOTE)
    gone.strike(3)
    here.write(1, NOTE)
    assert here.interrupted() == []  # it lives
    gone.close()
    found = here.interrupted()
    assert [job.key for job in found] == ["l", "k"]
    assert {name: getattr(found[1], name) for name in vars(NOTE)} == vars(NOTE)
    assert here.take(found[0])
    assert not here.take(found[0])
    assert [job.key for job in here.interrupted()] == ["k"]
    assert here.take(found[1])
    left = {path.name.split(".")[0] for path in (tmp_path / "jobs").iterdir()}
    assert len(left) == 1  # nothing of the one that is gone


def test_a_folder_that_was_taken_away_is_made_again_and_the_lock_with_it(tmp_path, caplog):
    cache = tmp_path / "cache"
    cache.mkdir()
    here = Journal(cache)
    here.write(1, NOTE)
    cache.rename(tmp_path / "away")
    here.write(2, NOTE)
    assert "job 2 would not be listed" in caplog.text
    cache.mkdir()
    here.write(3, NOTE)
    other = Journal(cache)
    assert other.interrupted() == []  # the one that wrote it still lives
    here.close()
    assert [job.key for job in other.interrupted()] == ["k"]


def test_what_servers_without_jobs_left_is_cleared_away_after_a_day(tmp_path):
    gone, busy = Journal(tmp_path), Journal(tmp_path)
    left_open = Journal(tmp_path)
    gone.close()
    busy.write(1, NOTE)
    busy.close()
    (tmp_path / "jobs" / "gone.1.part").write_text("{")
    names = {path.name for path in (tmp_path / "jobs").iterdir()}
    Journal(tmp_path).close()
    assert names <= {path.name for path in (tmp_path / "jobs").iterdir()}  # all of it is young
    for path in (tmp_path / "jobs").iterdir():
        os.utime(path, (0, 0))
    last = Journal(tmp_path)
    kept = {path.name for path in (tmp_path / "jobs").iterdir()}
    assert kept == {f"{journal._name}.lock" for journal in (busy, left_open, last)} | {f"{busy._name}.1.json"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps({**WRITTEN, "asked": "soon"}).encode(),
        json.dumps({**WRITTEN, "asked": 1e300}).encode(),
        json.dumps({**WRITTEN, "asked": float("nan")}).encode(),
        json.dumps({**WRITTEN, "title": 3}).encode(),
        json.dumps({**WRITTEN, "experiment": {**WRITTEN["experiment"], "sentences": "4"}}).encode(),
        json.dumps({**WRITTEN, "experiment": {**WRITTEN["experiment"], "sentences": True}}).encode(),
        json.dumps({**WRITTEN, "experiment": {**WRITTEN["experiment"], "languages": [3]}}).encode(),
        json.dumps({**WRITTEN, "experiment": {**WRITTEN["experiment"], "model": None}}).encode(),
        json.dumps({**WRITTEN, "experiment": {**WRITTEN["experiment"], "state": "none"}}).encode(),
        b" " * (2 << 20),
    ],
)
def test_a_file_that_is_no_job_is_passed_over(tmp_path, caplog, content):
    here = Journal(tmp_path)
    (tmp_path / "jobs" / "gone.1.json").write_bytes(content)
    (tmp_path / "jobs" / "gone.2.json").write_text(json.dumps(WRITTEN))
    assert [job.key for job in here.interrupted()] == ["k"]
    assert "gone.1.json is no job" in caplog.text


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4))
def test_any_value_in_any_place_is_a_job_or_passed_over(tmp_path_factory, value):
    here = Journal(tmp_path_factory.mktemp("cache"))
    for name in WRITTEN:
        (here.folder / f"gone.{name}.json").write_text(json.dumps({**WRITTEN, name: value}))
    for name in WRITTEN["experiment"]:
        changed = {**WRITTEN, "experiment": {**WRITTEN["experiment"], name: value}}
        (here.folder / f"gone.e-{name}.json").write_text(json.dumps(changed))
    assert all(isinstance(job.experiment, Experiment) for job in here.interrupted())


def test_where_nothing_can_be_written_jobs_are_done_all_the_same(tmp_path, caplog):
    (tmp_path / "jobs").write_text("a file is in the way")
    store = Store(tmp_path)
    queue = JobQueue(store, ModelPool())
    job = queue.submit(Extraction(planning.make_plan(CHOSEN, store)))
    assert queue.wait(job, LONG)
    assert job.status == "done"
    assert queue.interrupted() == []
    assert "will not be listed" in caplog.text
    queue.close()


def test_a_job_that_is_over_leaves_nothing_and_one_that_a_stop_cuts_short_is_interrupted(tmp_path, monkeypatch):
    store = Store(tmp_path)
    queue = JobQueue(store, ModelPool())
    plan = planning.make_plan(CHOSEN, store)
    assert queue.wait(queue.submit(Extraction(planning.restrict(plan, ["deu_Latn"]))), LONG)
    real = extraction.extract

    def closes(loaded, code, *arguments, **options):
        queue._closed = True  # as close() does from another thread
        for job in queue.jobs():
            job.cancel()
        return real(loaded, code, *arguments, **options)

    monkeypatch.setattr(extraction, "extract", closes)
    job = queue.submit(Extraction(plan), Owner("ada", "Ada"))
    assert queue.wait(job, LONG)
    assert job.status == "cancelled"
    queue.close()
    following = JobQueue(store, ModelPool())
    (lost,) = following.interrupted()
    assert (lost.key, lost.by, lost.experiment) == (plan.key, "Ada", CHOSEN)
    assert following.interrupted(Extraction(plan)) == [lost]
    assert following.interrupted(Extraction(planning.restrict(plan, ["deu_Latn"]))) == []
    monkeypatch.setattr(extraction, "extract", real)
    again = following.submit(Extraction(plan))
    assert following.interrupted() == []
    assert following.wait(again, LONG)
    assert set(again.done) == {"spa_Latn"}
    following.close()


KILLED = """
import sys, threading, time
from neuronxa_core.experiment import Experiment
from neuronxa_core.jobs.job_queue import JobQueue, Owner
from neuronxa_core.states import extraction, planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

store = Store(sys.argv[1])
real = extraction.extract

def held(loaded, code, *arguments, **options):
    if code == "spa_Latn":
        while store.count() < 6:  # English and German are written beside this
            time.sleep(0.01)
        print("here", flush=True)
        threading.Event().wait()
    return real(loaded, code, *arguments, **options)

extraction.extract = held
queue = JobQueue(store, ModelPool())
for languages in (("deu_Latn", "spa_Latn"), ("fra_Latn",)):
    queue.submit(
        Extraction(planning.make_plan(Experiment(languages=languages, sentences=4, seed=3), store)), Owner("ada", "Ada")
    )
threading.Event().wait()
"""


@pytest.mark.full
def test_a_server_that_is_killed_leaves_its_jobs_listed_and_only_the_rest_is_computed(tmp_path):
    cache = tmp_path / "cache"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(cache)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "here\n"
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    store = Store(cache)
    queue = JobQueue(store, ModelPool())
    plan = planning.make_plan(CHOSEN, store)
    assert planning.missing(plan, store) == ["spa_Latn"]
    lost = queue.interrupted()
    assert [job.experiment for job in lost] == [CHOSEN, replace(CHOSEN, languages=("fra_Latn",))]
    assert all(job.by == "Ada" and time.time() - job.asked < 600 for job in lost)
    job = queue.submit(Extraction(planning.make_plan(lost[0].experiment, store)))
    assert queue.wait(job, LONG)
    assert (job.status, job.done) == ("done", {"spa_Latn": 4})
    assert [job.experiment.languages for job in queue.interrupted()] == [("fra_Latn",)]
    assert queue.forget(lost[1])
    assert queue.interrupted() == []
    queue.close()
