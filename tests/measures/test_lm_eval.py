"""lm_eval.py with a stand-in for lm_eval that a test steers, and with the real one where it is installed."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from neuronxa_core.corpora import reading
from neuronxa_core.errors import Cancelled, ExperimentError, HarnessError, ModelError
from neuronxa_core.experiment import Experiment
from neuronxa_core.jobs.job_queue import JobQueue
from neuronxa_core.measures import lm_eval
from neuronxa_core.measures.lm_eval import HarnessRun
from neuronxa_core.states import planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

LONG = 60

# what it does is the content of the file `mode` beside it; it leaves what it was called with in `called.json`
FAKE_MAIN = """
import json, os, pathlib, subprocess, sys, time

here = pathlib.Path(__file__).parent
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
mode = (here / "mode").read_text()
(here / "called.json").write_text(json.dumps([arguments, os.getcwd(), dict(os.environ), sys.path]))


def bar(name, done, all, end="\\r"):
    print(f"{name}: {100 * done // all:3d}%|{'#' * 9} | {done}/{all} [00:01<00:03, 9.9it/s]", end=end, file=sys.stderr)


def wait_for(name):
    while not (here / name).exists():
        time.sleep(0.02)


print("starting", file=sys.stderr)
bar("Loading weights", 74, 74, "\\n")
if mode == "fail":
    for k in range(40):
        print("line", k, file=sys.stderr)
    bar("Running loglikelihood requests", 1, 4, "\\n")
    sys.exit("ValueError: Tasks not found: nonsense")
if mode == "killed":
    os.kill(os.getpid(), 9)
if mode in ("hang", "stubborn"):
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if mode == "stubborn" else ""
    program = stubborn + "print('up', flush=True); import time; time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    child.stdout.readline()
    (here / "pids.new").write_text(json.dumps([os.getpid(), child.pid]))
    (here / "pids.new").rename(here / "pids")
    time.sleep(600)
bar("Running loglikelihood requests", 0, 8)
bar("Running loglikelihood requests", 2, 8)
if mode == "steps":
    wait_for("go")
bar("Running loglikelihood requests", 6, 8)
print()
bar("Running generate_until requests", 1, 2)
bar("Running generate_until requests", 2, 2, "\\n")
out = pathlib.Path(arguments["--output_path"]) / "model"
out.mkdir(parents=True)
results = {name: {"alias": name, "acc,none": 0.5} for name in arguments["--tasks"].split(",")}
if mode == "damaged":
    (out / "results_1.json").write_text('{"results": ')
elif mode != "nothing":
    (out / "results_1.json").write_text(json.dumps({"results": results}))
print("done")
"""
FAKE_TASKS = """
class TaskManager:
    def __init__(self, include_path=None):
        self.all_tasks = ["b_task", "a_task"] + ([f"at {include_path}"] if include_path else [])
"""


class Fake:
    """A folder with a stand-in for lm_eval."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.package = folder, folder / "lm_eval"
        self.package.mkdir(parents=True)
        (self.package / "__init__.py").write_text("")
        (self.package / "__main__.py").write_text(FAKE_MAIN)
        (self.package / "tasks.py").write_text(FAKE_TASKS)
        information = folder / "lm_eval-9.9.9.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: lm_eval\nVersion: 9.9.9\n")
        self.mode("steps")
        (self.package / "go").touch()

    def mode(self, name: str) -> None:
        (self.package / "mode").write_text(name)

    @property
    def called(self) -> tuple[dict[str, str], str, dict[str, str], list[str]]:
        """Arguments, working folder, environment and module path of the last call."""
        return tuple(json.loads((self.package / "called.json").read_text()))

    def forget(self) -> None:
        (self.package / "called.json").unlink()

    @property
    def was_called(self) -> bool:
        return (self.package / "called.json").exists()


@pytest.fixture
def fake(tmp_path, monkeypatch):
    monkeypatch.delenv(lm_eval.PYTHON_VARIABLE, raising=False)
    fake = Fake(tmp_path / "fake")
    monkeypatch.syspath_prepend(str(fake.folder))
    monkeypatch.setenv("PYTHONPATH", str(fake.folder))
    return fake


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("plan"))
    plan = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=4, device="cpu"), store)
    store.close()
    return plan


def leftovers(store) -> list[str]:
    """What lies in the folder of runs besides results and logs."""
    return [path.name for path in (store.folder / lm_eval.FOLDER).iterdir() if path.name.startswith(".")]


def test_a_run_leaves_results_that_are_remembered(fake, plan, store):
    work, progress = HarnessRun(plan, ("xnli_fr", "xnli_de"), limit=5, num_fewshot=0, batch_size=3), []
    assert work.unit == "percent of the requests"
    assert work.title == "tasks xnli_fr, xnli_de on demo"
    assert work.totals(store) == {"requests": 100}
    work.run(store, ModelPool(), lambda *done: progress.append(done))
    assert progress[-1] == ("requests", 100, 100)
    assert [done for _, done, _ in progress] == sorted(done for _, done, _ in progress)
    table = work.table(store)
    assert table[["model", "task", "language", "metric", "score"]].to_numpy().tolist() == [
        ["demo", "xnli", language, "acc", 0.5] for language in ("de", "fr")
    ]
    assert work.log_file(store).read_text() == "starting\ndone\n"
    assert leftovers(store) == []
    arguments, where, environment, modules = fake.called
    assert json.loads(arguments.pop("--model_args")) == {
        "pretrained": plan.source.location,
        "dtype": "float32",
        "trust_remote_code": False,
        "use_safetensors": True,
    }
    output = Path(arguments.pop("--output_path"))
    assert output.parent.parent == store.folder / lm_eval.FOLDER
    assert arguments == {
        "--model": "hf",
        "--tasks": "xnli_de,xnli_fr",
        "--device": "cpu",
        "--batch_size": "3",
        "--limit": "5",
        "--num_fewshot": "0",
    }
    assert Path(where) == output.parent
    assert where not in modules
    assert environment["HF_HUB_OFFLINE"] == os.environ["HF_HUB_OFFLINE"]
    assert environment["HF_DATASETS_TRUST_REMOTE_CODE"] == "0"
    assert Path(environment["HF_MODULES_CACHE"]).is_relative_to(output.parent)
    # the same tasks in another order, batch size or on another device: nothing to do
    fake.forget()
    same = HarnessRun(dataclasses.replace(plan, device="cuda"), ("xnli_de", "xnli_fr"), None, 5, 0)
    assert same.key == work.key
    assert same.totals(store) == {}
    same.run(store, ModelPool())
    assert not fake.was_called


@pytest.mark.full
def test_code_that_comes_with_a_model_cannot_be_run(fake, plan, store, tmp_path):
    """Some of the harness's own tasks load a tokenizer with trust_remote_code."""
    (fake.package / "__main__.py").write_text(
        "from transformers.dynamic_module_utils import get_class_from_dynamic_module as get\n"
        f"get('own.Tokenizer', {str(tmp_path)!r})\n"
    )
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Tokenizer: pass\n")
    with pytest.raises(HarnessError, match=r"failed(.*\n)*NotADirectoryError"):
        HarnessRun(plan, ("a",)).run(store, ModelPool())
    assert not (tmp_path / "ran").exists()
    # it would run otherwise
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")}
    subprocess.run([sys.executable, "-m", "lm_eval"], env=environment, check=True, timeout=LONG)
    assert (tmp_path / "ran").exists()


def test_progress_comes_while_it_runs(fake, plan, store):
    (fake.package / "go").unlink()
    queue = JobQueue(store, ModelPool())
    job = queue.submit(HarnessRun(plan, ("a",)))
    for _ in range(LONG * 50):
        if job.units_done or not job.active:
            break
        time.sleep(0.02)
    assert job.status == "running"
    assert job.done == {"requests": 25}
    assert job.units == 100
    (fake.package / "go").touch()
    assert queue.wait(job, LONG)
    assert job.status == "done"
    assert job.fraction == 1.0
    assert queue.submit(HarnessRun(plan, ("a",))) is None
    queue.close()


def test_a_failed_run_tells_the_last_lines_and_keeps_nothing(fake, plan, store):
    fake.mode("fail")
    work = HarnessRun(plan, ("nonsense",))
    with pytest.raises(HarnessError) as raised:
        work.run(store, ModelPool())
    text = str(raised.value)
    assert text.startswith("lm_eval 9.9.9 failed (exit status 1); its log is ")
    assert text.endswith("line 38\nline 39\nValueError: Tasks not found: nonsense")
    assert "line 20" not in text
    assert "|" not in text
    assert "line 20" in work.log_file(store).read_text()
    assert work.results(store) == {}
    assert leftovers(store) == []
    fake.mode("steps")
    work.run(store, ModelPool())
    assert work.results(store)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("killed", r"failed \(signal 9, out of memory perhaps\)"),
        ("nothing", "left no results; its log is"),
        ("damaged", "left no results"),
    ],
)
def test_other_ways_to_fail(mode, message, fake, plan, store):
    fake.mode(mode)
    with pytest.raises(HarnessError, match=message):
        HarnessRun(plan, ("a",)).run(store, ModelPool())
    assert leftovers(store) == []


def assert_ended(pids: Path) -> None:
    """Within LONG, the processes are gone whose numbers are in a file."""
    deadline = time.monotonic() + LONG
    for pid in json.loads(pids.read_text()):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.02)


PARENT = """
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures.lm_eval import HarnessRun
from neuronxa_core.states import planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
store = Store()
plan = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=4, device="cpu"), store)
HarnessRun(plan, ("a",)).run(store, ModelPool())
"""


@pytest.mark.full
def test_the_harness_ends_with_a_parent_that_is_killed_and_the_next_run_sweeps_its_folder(fake, plan, store):
    fake.mode("stubborn")
    pids = fake.package / "pids"
    environment = os.environ | {"PYTHONPATH": f"{fake.folder}:{Path(__file__).parents[2]}"}
    environment["NEURONXA_CACHE_DIR"] = str(store.folder)
    parent = subprocess.Popen([sys.executable, "-c", PARENT], env=environment)
    deadline = time.monotonic() + 2 * LONG
    while not pids.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.wait(LONG)
    assert_ended(pids)
    assert len(leftovers(store)) == 1
    fake.mode("results")
    HarnessRun(plan, ("a",)).run(store, ModelPool())
    assert leftovers(store) == []


@pytest.mark.parametrize("mode", ["hang", "stubborn"])
def test_cancelling_ends_the_harness_and_what_it_started(mode, fake, plan, store, monkeypatch):
    monkeypatch.setattr(lm_eval, "END_S", 2.0)
    fake.mode(mode)
    work, pids = HarnessRun(plan, ("a", "b")), fake.package / "pids"
    with pytest.raises(Cancelled, match="stopped the evaluation of a, b"):
        work.run(store, ModelPool(), cancelled=pids.exists)
    assert_ended(pids)
    assert work.results(store) == {}
    assert leftovers(store) == []
    assert "neuronxa-harness" not in [thread.name for thread in threading.enumerate()]


def test_a_run_that_is_cancelled_before_starts_nothing(fake, plan, store):
    with pytest.raises(Cancelled, match="before it began"):
        HarnessRun(plan, ("a",)).run(store, ModelPool(), cancelled=lambda: True)
    assert not fake.was_called


def test_task_definitions_are_part_of_the_key_and_the_working_folder(fake, plan, store, tmp_path):
    folder = tmp_path / "my tasks; $(x), y"
    folder.mkdir()
    (folder / "one.yaml").write_text("task: one")
    (folder / "utils.py").write_text("")
    work = HarnessRun(plan, ("one",), str(folder))
    work.run(store, ModelPool())
    arguments, where, _, modules = fake.called
    assert arguments["--include_path"] == where == str(folder)
    assert str(folder) not in modules
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("")
    assert HarnessRun(plan, ("one",), str(folder)).totals(store) == {}
    for change in (lambda: (folder / "one.yaml").write_text("task: 1"), lambda: (folder / "data.jsonl").touch()):
        before = HarnessRun(plan, ("one",), str(folder)).key
        change()
        assert HarnessRun(plan, ("one",), str(folder)).key != before


def test_too_large_a_folder_is_refused(fake, plan, tmp_path, monkeypatch):
    monkeypatch.setattr(lm_eval, "MOST_FILES", 2)
    for k in range(3):
        (tmp_path / f"{k}.yaml").touch()
    with pytest.raises(ExperimentError, match="holds more than 2 files"):
        _ = HarnessRun(plan, ("a",), str(tmp_path)).key


def test_what_decides_a_run(fake, plan, monkeypatch):
    base = HarnessRun(plan, ("a",))
    others = [
        HarnessRun(plan, ("a", "b")),
        HarnessRun(plan, ("a",), limit=3),
        HarnessRun(plan, ("a",), num_fewshot=0),
        HarnessRun(dataclasses.replace(plan, identity="other"), ("a",)),
        HarnessRun(dataclasses.replace(plan, dtype="bfloat16"), ("a",)),
    ]
    monkeypatch.setattr(lm_eval, "available", lambda: "10.0")
    others.append(HarnessRun(plan, ("a",)))
    assert len({work.key for work in (base, *others)}) == len(others) + 1
    assert HarnessRun(plan, tuple("abcde")).title == "tasks a, b, c and 2 more on demo"


def test_a_hub_model_is_asked_for_at_its_commit(fake, plan, tmp_path):
    source = dataclasses.replace(plan.source, kind="hub", location="owner/name", revision="12e4")
    command = HarnessRun(dataclasses.replace(plan, source=source), ("a",)).command(tmp_path)
    assert command[:2] + command[3:4] == [sys.executable, "-c", "--model"]
    model = json.loads(command[command.index("--model_args") + 1])
    assert (model["pretrained"], model["revision"]) == ("owner/name", "12e4")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"tasks": ()}, "no task is named"),
        ({"tasks": ("a b",)}, "'a b' is no name of a task"),
        ({"tasks": ("a", "--model")}, "'--model' is no name of a task"),
        ({"tasks": ("../x",)}, "is no name of a task"),
        ({"tasks": ("a\n",)}, "is no name of a task"),
        ({"limit": 0}, "limit is a whole number from 1 on, not 0"),
        ({"limit": 0.5}, "limit is a whole number"),
        ({"num_fewshot": -1}, "num_fewshot is a whole number from 0 on"),
        ({"batch_size": 0}, "batch_size is a whole number from 1 on"),
        ({"include_path": "/no/such/folder"}, "there is no folder /no/such/folder of task definitions"),
    ],
)
def test_runs_that_do_not_fit_are_refused(choices, message, fake, plan):
    with pytest.raises(ExperimentError, match=message):
        HarnessRun(**{"plan": plan, "tasks": ("a",), **choices})


def test_an_encoder_is_refused(fake, plan):
    encoder = dataclasses.replace(plan, info=dataclasses.replace(plan.info, causal=False))
    with pytest.raises(ModelError, match="is an encoder; the evaluation harness needs a causal language model"):
        HarnessRun(encoder, ("a",))


def test_task_names_from_a_text():
    assert lm_eval.parse_tasks(" a_b, c-d,,e f,\na_b ") == ("a_b", "c-d", "e", "f")
    for text in ("", " , "):
        with pytest.raises(ExperimentError, match="no task is named"):
            lm_eval.parse_tasks(text)
    with pytest.raises(ExperimentError, match=r"'x\.yaml' is no name"):
        lm_eval.parse_tasks("a x.yaml")


def test_what_the_harness_knows(fake, tmp_path):
    assert lm_eval.available() == "9.9.9"
    assert lm_eval.list_tasks() == ("a_task", "b_task")
    assert lm_eval.list_tasks(str(tmp_path)) == ("a_task", f"at {tmp_path}", "b_task")
    with pytest.raises(ExperimentError, match="there is no folder"):
        lm_eval.list_tasks("/no/such/folder")
    (fake.package / "tasks.py").write_text("raise RuntimeError('broken')")
    with pytest.raises(HarnessError, match=r"could not list its tasks:\n(.*\n)*RuntimeError: broken"):
        lm_eval.list_tasks()


def test_the_python_of_another_environment(fake, plan, store, tmp_path, monkeypatch):
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    monkeypatch.setenv(lm_eval.PYTHON_VARIABLE, str(other))
    assert lm_eval.available() == "9.9.9"
    work = HarnessRun(plan, ("a",))
    assert work.command(tmp_path)[0] == str(other)
    work.run(store, ModelPool())
    assert work.results(store)
    monkeypatch.setenv(lm_eval.PYTHON_VARIABLE, str(tmp_path / "none"))
    assert lm_eval.available() is None
    with pytest.raises(HarnessError, match=r"is not installed in .*none; install it with pip install lm_eval"):
        HarnessRun(plan, ("a",))
    with pytest.raises(HarnessError, match="is not installed"):
        lm_eval.list_tasks()
    # one that vanished in between
    monkeypatch.setattr(lm_eval, "available", lambda: "1")
    with pytest.raises(HarnessError, match="could not be started with"):
        HarnessRun(plan, ("b",)).run(store, ModelPool())
    with pytest.raises(HarnessError, match="could not list its tasks"):
        lm_eval.list_tasks()


def test_a_python_without_the_harness(plan, tmp_path, monkeypatch):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setenv(lm_eval.PYTHON_VARIABLE, str(bare))
    assert lm_eval.available() is None


def write_tasks(folder: Path, documents: int) -> list[dict]:
    """A multiple-choice task a language: which topic is this sentence of the bundled corpus about?"""
    raw = reading.read("demo")
    topics = sorted(set(raw.labels))
    rows = range(0, len(raw.labels), len(raw.labels) // documents)[:documents]
    folder.mkdir()
    asked = []
    for code in ("deu_Latn", "fra_Latn"):
        lines = [{"sentence": raw.texts[code][row], "topic": topics.index(raw.labels[row])} for row in rows]
        (folder / f"{code}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        definition = {
            "task": f"topic_{code}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": f"{code}.jsonl"}},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "{{sentence}} :",
            "doc_to_choice": topics,
            "doc_to_target": "topic",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": 1},
        }
        # YAML reads JSON
        (folder / f"topic_{code}.yaml").write_text(json.dumps(definition))
        asked += [{"code": code, "topics": topics, **line} for line in lines]
    return asked


@pytest.mark.skipif(
    lm_eval.available() is None,
    reason="lm_eval is not installed; pip install lm_eval, or set NEURONXA_HARNESS_PYTHON",
)
def test_the_real_harness_on_the_bundled_model(plan, store, tmp_path):
    asked = write_tasks(tmp_path / "tasks", 6)
    tasks = ("topic_deu_Latn", "topic_fra_Latn")
    assert set(tasks) < set(lm_eval.list_tasks(str(tmp_path / "tasks")))
    work, progress = HarnessRun(plan, tasks, str(tmp_path / "tasks")), []
    work.run(store, ModelPool(), lambda *done: progress.append(done))
    assert progress[-1] == ("requests", 100, 100)
    assert work.totals(store) == {}
    (results,) = work.results(store).values()
    (file,) = results.values()
    found = json.loads(file.tobytes())
    # the answers that a plain computation gives: the topic whose tokens are the likeliest after the question
    with ModelPool().acquire(plan, head=True) as loaded:
        for code in ("deu_Latn", "fra_Latn"):
            mine = [document for document in asked if document["code"] == code]
            right = [plain_answer(loaded, document) == document["topic"] for document in mine]
            assert found["results"][f"topic_{code}"]["acc,none"] == pytest.approx(sum(right) / len(right))
            assert found["n-samples"][f"topic_{code}"]["effective"] == 6
    with pytest.raises(HarnessError, match=r"(?s)failed.*no_such_task"):
        HarnessRun(plan, ("no_such_task",), str(tmp_path / "tasks")).run(store, ModelPool())


def plain_answer(loaded, document: dict) -> int:
    question = f"{document['sentence']} :"
    sums = []
    for topic in document["topics"]:
        whole = loaded.tokenizer(f"{question} {topic}")["input_ids"]
        start = len(loaded.tokenizer(question)["input_ids"])
        with torch.no_grad():
            log_p = loaded.head(torch.tensor([whole])).logits[0].log_softmax(-1)
        sums.append(sum(float(log_p[at - 1, whole[at]]) for at in range(start, len(whole))))
    return max(range(len(sums)), key=sums.__getitem__)
