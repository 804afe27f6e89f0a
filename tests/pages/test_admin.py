"""The Admin page: what runs and whose, what was interrupted, what the cache holds, and who may delete."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from neuronxa_core.experiment import Experiment
from neuronxa_core.host import cache_report
from neuronxa_core.jobs.job_queue import Owner
from neuronxa_core.jobs.journal import Journal, note_of
from neuronxa_core.states import computing, planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from pages.access import people
from pages.access.people import Person
from pages.components import cached, process

ROOT = Path(__file__).parents[2]
SMALL = Experiment(languages=("spa_Latn", "rus_Cyrl"), sentences=6)
ADA, ROOT_USER = Person("ada", "Ada", False), Person("root", "Root", True)
LONG = 60


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    """A cache of the test's own, and no job that outlives it."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(people, "person", lambda: ROOT_USER)
    yield
    queue = process.services().queue
    for job in queue.jobs():
        queue.cancel(job)
    assert all(queue.wait(job, LONG) for job in queue.jobs())


def opened():
    test = AppTest.from_file(str(ROOT / "pages" / "admin.py"), default_timeout=120)
    test.session_state["experiment"] = SMALL
    return test.run()


def said(test):
    kinds = ("caption", "info", "markdown", "warning", "error")
    return " ".join(element.value for kind in kinds for element in test.get(kind)).replace("\\", "")


def labels(test):
    return [button.label for button in test.button]


def compute(experiment=SMALL):
    store = Store()
    plan = planning.make_plan(experiment, store)
    computing.compute_missing(plan, store, ModelPool())
    store.close()
    return plan


def test_an_empty_cache_says_so():
    test = opened()
    assert not test.exception
    assert "No job is running or waiting." in said(test)
    assert "The cache is empty" in said(test)
    assert "No model is loaded." in said(test)
    assert [metric.label for metric in test.metric][:3] == ["Cache", "Disk", "Memory"]


def test_entries_are_listed_by_model_and_then_by_language_and_deleted(caplog):
    plan = compute()
    caplog.set_level("INFO", "pages")
    test = opened()
    assert not test.exception
    table = test.dataframe[0].value
    assert table[["model", "kind", "languages", "entries"]].to_numpy().tolist() == [["demo", "states", 3, 9]]
    assert not [label for label in labels(test) if label.startswith("Delete")]
    test.session_state["admin_models"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    test.run()
    inside = test.dataframe[1].value
    assert set(inside["language"]) == {"English (eng_Latn)", "Russian (rus_Cyrl)", "Spanish (spa_Latn)"}
    row = list(inside["language"]).index("Russian (rus_Cyrl)")
    test.session_state["admin_entries"] = {"selection": {"rows": [row], "columns": [], "cells": []}}
    test.run()
    (button,) = [button for button in test.button if button.label.startswith("Delete 1 entry")]
    button.click().run()
    assert not test.exception
    assert planning.missing(plan, process.services().store) == ["rus_Cyrl"]
    assert f"Root deleted {plan.keys['rus_Cyrl']}" in caplog.messages


def test_whoever_does_not_manage_sees_everything_and_deletes_nothing(monkeypatch):
    compute()
    monkeypatch.setattr(people, "person", lambda: ADA)
    pool = process.services().pool
    with pool.acquire(cached.plan_for(SMALL)):
        pass
    test = opened()
    test.session_state["admin_models"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    test.run()
    assert not test.exception
    assert "Only those whom the host names as managers may do this." in said(test)
    (free,) = [button for button in test.button if button.label == "Free the memory"]
    assert free.disabled
    assert test.dataframe[0].value["entries"].tolist() == [9]


def test_a_run_can_be_cancelled_by_its_owner_and_by_those_who_manage_and_by_nobody_else(monkeypatch, gate):
    queue = process.services().queue
    reached, go = gate("spa_Latn")
    first = queue.submit(Extraction(cached.plan_for(SMALL)), Owner("ada", "Ada"))
    second = queue.submit(Extraction(cached.plan_for(replace(SMALL, languages=("fra_Latn",)))), Owner("bob", "Bob"))
    assert reached.wait(LONG)

    monkeypatch.setattr(people, "person", lambda: Person("eve", "Eve", False))
    test = opened()
    assert not [label for label in labels(test) if label.startswith("Cancel")]
    text = said(test)
    assert "Started by Ada, who can stop it" in text
    assert "Started by Bob, who can stop it" in text
    assert "Now: states of 3 languages in demo, for Ada" in text

    monkeypatch.setattr(people, "person", lambda: ADA)
    assert [label for label in labels(opened()) if label.startswith("Cancel")] == ["Cancel"]

    monkeypatch.setattr(people, "person", lambda: ROOT_USER)
    test = opened()
    assert [x for x in labels(test) if x.startswith("Cancel")] == ["Cancel the run of Ada", "Cancel the run of Bob"]
    test.button(key=f"cancel-{second.number}").click().run()
    assert second.status == "cancelled"
    go.set()
    assert queue.wait(first, LONG)
    assert first.status == "done"
    test = opened()
    past = test.dataframe[0].value
    assert past["How"].tolist() == ["cancelled", "done"]
    assert past["Who"].tolist() == ["Bob", "Ada"]
    assert past["Computed"].tolist() == ["0 sentences", "18 sentences"]


def test_interrupted_jobs_are_resumed_or_forgotten(caplog):
    caplog.set_level("INFO", "pages")
    store = process.services().store
    plan = cached.plan_for(SMALL)
    computing.compute_missing(planning.restrict(plan, ["spa_Latn"]), store, ModelPool())
    gone = Journal(store.folder)
    gone.write(1, note_of(Extraction(plan), "ada", "Ada", 1_700_000_000.0))
    gone.write(2, replace(note_of(Extraction(plan), "bob", "Bob", 1_700_000_001.0), kind="Ablation", key="other"))
    gone.close()
    test = opened()
    assert "The server stopped before it was over" in said(test)
    assert "2023-11-14 22:13 UTC" in said(test)
    assert labels(test).count("Resume") == 1
    assert labels(test).count("Forget") == 2
    next(button for button in test.button if button.label == "Resume").click().run()
    queue = process.services().queue
    job = queue.find(Extraction(plan))
    assert queue.wait(job, LONG)
    assert job.totals == {"rus_Cyrl": 6}
    assert [lost.by for lost in queue.interrupted()] == ["Bob"]
    next(button for button in opened().button if button.label == "Forget").click().run()
    assert queue.interrupted() == []
    assert "Root deleted the interrupted job states of 3 languages in demo of Bob" in caplog.messages


def test_a_page_offers_to_resume_what_was_interrupted():
    plan = cached.plan_for(SMALL)
    gone = Journal(process.services().store.folder)
    gone.write(1, note_of(Extraction(replace(plan)), "ada", "Ada", 1_700_000_000.0))
    gone.close()
    other = replace(SMALL, sentences=5)
    for experiment, wanted in ((SMALL, "Resume"), (other, "Compute")):
        test = AppTest.from_file(str(ROOT / "pages" / "run.py"), default_timeout=120)
        test.session_state["experiment"] = experiment
        test.run()
        assert not test.exception
        assert (wanted in labels(test)) is True
        assert ("The server stopped before this run was over" in said(test)) is (wanted == "Resume")


def test_verification_is_started_and_its_outcome_told():
    compute()
    test = opened()
    next(button for button in test.button if button.label == "Verify all entries").click().run()
    services = process.services()
    job = next(job for job in services.queue.jobs() if isinstance(job.work, cache_report.Verification))
    assert services.queue.wait(job, LONG)
    test = opened()
    last = cache_report.last_verified(services.store)
    assert f"all {last.entries:,} entries are whole" in said(test)
    assert last.entries >= 3


def test_a_full_queue_is_told_on_the_page(monkeypatch):
    queue = process.services().queue
    monkeypatch.setattr(queue, "most_waiting", 0)
    test = AppTest.from_file(str(ROOT / "pages" / "run.py"), default_timeout=120)
    test.session_state["experiment"] = SMALL
    test.run()
    next(button for button in test.button if button.label == "Compute").click().run()
    assert not test.exception
    assert "0 runs wait already" in said(test)
    assert queue.jobs() == []
