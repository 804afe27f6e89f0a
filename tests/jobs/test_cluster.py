"""Runs on a Ray cluster: the same scores as one process, dead workers, what a task is given, and clear refusals.

The cluster is two machines of one CPU each, both on this one: what a task on the other machine finishes reaches the
cache as it would from afar.
"""

import ast
import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuronxa_core.cli.main import main
from neuronxa_core.errors import ExperimentError, ModelError, StoreError
from neuronxa_core.experiment import Experiment
from neuronxa_core.jobs import cluster
from neuronxa_core.jobs.cluster import Cluster, chunks
from neuronxa_core.models import sources
from neuronxa_core.states import computing, planning, pools
from neuronxa_core.store.cache import Store

ROOT = Path(__file__).parents[2]
LANGUAGES = ("eng", "deu", "fra", "spa", "ita", "nld")
WORDS = ("one", "two", "three", "red", "green", "blue", "cat", "dog", "house", "tree", "runs", "sleeps", "over")


@pytest.fixture
def corpus(tmp_path):
    """corpus(sentences, words): a folder of six languages, every sentence another."""

    def write(sentences: int, words: int) -> str:
        folder = tmp_path / "corpus"
        folder.mkdir()
        for code in LANGUAGES:
            texts = itertools.islice(itertools.product(WORDS, repeat=4), sentences)
            lines = [f"{code} {' '.join(itertools.islice(itertools.cycle(text), words))}" for text in texts]
            (folder / f"{code}.txt").write_text("\n".join(lines) + "\n", "utf-8")
        return str(folder)

    return write


@pytest.fixture(scope="module")
def two_machines():
    """A cluster of two machines of one CPU each."""
    pytest.importorskip("ray", reason="Ray is not installed; pip install -r requirements-dev.txt")
    from ray.cluster_utils import Cluster as Machines

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        size = {"num_cpus": 1, "object_store_memory": 80 << 20}
        machines = Machines(initialize_head=True, head_node_args={**size, "include_dashboard": False})
        try:
            machines.add_node(**size)
            yield machines
        finally:
            machines.shutdown()


def workers(raylet: int) -> list[psutil.Process]:
    """The processes that run a task on the machine of a raylet."""
    found = []
    for process in psutil.Process(raylet).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if process.cmdline()[:1] == ["ray::_compute_part"]:
                found.append(process)
    return found


def raylets(machines) -> tuple[int, int]:
    """Process numbers: of the machine where the run is started, of the other one."""
    (other,) = machines.worker_nodes
    return tuple(node.all_processes["raylet"][0].process.pid for node in (machines.head_node, other))


def waited_for(what, seconds: float = 240.0, pause: float = 0.002):
    """what(), as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(pause)
    return found


class Beside(threading.Thread):
    """Does something while the test's own thread is at work; `done()` waits for it and raises what it raised."""

    def __init__(self, work) -> None:
        super().__init__(daemon=True)
        self.work, self.error = work, None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.error = error

    def done(self) -> None:
        self.join(300)
        if self.error is not None:
            raise self.error


def stored_files(folder: Path) -> dict[str, datetime]:
    """{key: when it was stored} of all states."""
    return {entry.key: entry.stored for entry in Store(folder).entries() if entry.key.startswith("states-")}


def options(chosen, corpus_folder: str, cache: Path, *more: str) -> list[str]:
    names = [str(model) for model in chosen]
    base = ["score", "--corpus", corpus_folder, "--pivot", "eng", "--cache-dir", str(cache), "--device", "cpu"]
    base += ["--states", "nas"]
    return [*base, "--model", *names, *more]


# --------------------------------------------------------------------------------------------------- whole runs


@pytest.mark.full
def test_a_cluster_gives_the_bytes_of_one_process_and_a_bad_model_costs_no_other_its_rows(
    two_machines, tiny, corpus, tmp_path, capfd
):
    def with_infinity(model):
        model.layers[1].mlp.down_proj.weight[0, 0] = float("inf")

    chosen = [tiny("llama", seed=1), tiny("llama", edit=with_infinity), tiny("gpt2", seed=2)]
    folder = corpus(sentences=9, words=5)
    more = ("--states", "nas", "nav", "emb")
    alone = main(options(chosen, folder, tmp_path / "one", *more, "--out", str(tmp_path / "one.csv")))
    said_alone = capfd.readouterr().err
    on_two = ("--ray", two_machines.address, "--chunk", "2", "--cpus-per-task", "1")
    together = main(options(chosen, folder, tmp_path / "two", *more, *on_two, "--out", str(tmp_path / "two.csv")))
    said = capfd.readouterr().err
    assert (alone, together) == (2, 2)
    rows = (tmp_path / "one.csv").read_bytes()
    assert (tmp_path / "two.csv").read_bytes() == rows
    assert len(rows.splitlines()) == 1 + 2 * 3 * 5 * 3  # models x states x languages beside the pivot x layers
    assert stored_files(tmp_path / "two").keys() == stored_files(tmp_path / "one").keys()
    for text in (said_alone, said):
        last = text.splitlines()[-1]
        # whichever of its tasks ends first
        assert re.match(f"neuronxa_core: error: {chosen[1].name}: ({'|'.join(LANGUAGES)}): inf or NaN in the", last)
        assert text.count("error") == 1
        assert "Traceback" not in text
    assert "sentences" in said  # the progress


@pytest.mark.full
def test_a_worker_that_is_killed_midway_loses_nothing_and_costs_nothing_that_was_finished(
    two_machines, tiny, corpus, tmp_path, capfd
):
    model, folder, cache = tiny("llama", seed=3), corpus(sentences=300, words=60), tmp_path / "two"
    plan = planning.make_plan(Experiment(str(model), folder, "eng", device="cpu"), Store(tmp_path / "plan"))
    halves = [{plan.keys[code] for code in half} for half in chunks(plan.all_languages, 1, 2)]
    assert [len(half) for half in halves] == [3, 3]
    _, other = raylets(two_machines)
    at_kill: dict[str, str] = {}

    def kill() -> None:
        (victim,) = waited_for(lambda: workers(other))
        victim.suspend()  # until the half that goes on tells whose is whose; it may be finished before this one starts
        try:
            first = waited_for(lambda: set(stored_files(cache)))
            (lost,) = [half for half in halves if not half & first]
            victim.resume()
            waited_for(lambda: lost & set(stored_files(cache)))
        finally:
            victim.kill()
        victim.wait(30)
        at_kill.update(stored_files(cache))
        assert 0 < len(lost & set(at_kill)) < len(lost)

    killer = Beside(kill)
    killer.start()
    on_two = ("--ray", two_machines.address, "--cpus-per-task", "1")
    status = main(options([model], folder, cache, *on_two, "--out", str(tmp_path / "two.csv")))
    killer.done()
    out, err = capfd.readouterr()
    assert (status, out) == (0, ""), err
    assert "raylet" not in err  # Ray's notice of the dead worker
    finally_stored = stored_files(cache)
    assert set(finally_stored) == set(plan.keys.values())
    assert {key: finally_stored[key] for key in at_kill} == at_kill  # nothing was written again
    assert main(options([model], folder, tmp_path / "one", "--out", str(tmp_path / "one.csv"))) == 0
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


@pytest.mark.full
def test_a_task_that_is_lost_too_often_is_one_line_and_what_it_finished_is_kept(
    two_machines, tiny, corpus, tmp_path, capfd, monkeypatch
):
    monkeypatch.setattr(cluster, "MAX_RETRIES", 0)
    cache = tmp_path / "two"

    def kill() -> None:
        (victim,) = waited_for(lambda: workers(raylets(two_machines)[0]) + workers(raylets(two_machines)[1]))
        waited_for(lambda: stored_files(cache))
        victim.kill()

    killer = Beside(kill)
    killer.start()
    on_two = ("--ray", two_machines.address, "--cpus-per-task", "1", "--chunk", str(len(LANGUAGES)))
    status = main(options([tiny("llama", seed=4)], corpus(sentences=300, words=60), cache, *on_two))
    killer.done()
    out, err = capfd.readouterr()
    assert (status, out) == (2, "")
    assert "Ray stopped a task (WorkerCrashedError" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert 0 < len(stored_files(cache)) < len(LANGUAGES)


@pytest.mark.full
def test_ctrl_c_stops_a_cluster_of_this_machine_and_keeps_what_is_finished(tiny, corpus, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed; pip install -r requirements-dev.txt")
    cache = tmp_path / "cache"
    arguments = options([tiny("llama", seed=5)], corpus(sentences=700, words=60), cache, "--ray")
    command = [sys.executable, "-m", "neuronxa_core", *arguments]
    home = {**os.environ, "HOME": str(tmp_path)}  # where Ray keeps the token of a cluster that it starts
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        env=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background jobs, as these tests may be one, ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        waited_for(lambda: stored_files(cache), seconds=200)
        started = psutil.Process(running.pid).children(recursive=True)
        assert any("raylet" in process.name() for process in started)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert (running.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "neuronxa_core: stopped; finished languages are kept in the cache"
    assert "Traceback" not in err
    assert 0 < len(stored_files(cache)) < len(LANGUAGES)
    assert psutil.wait_procs(started, timeout=30)[1] == []


# ------------------------------------------------------------------------------------------------- without a cluster


def test_without_ray_one_line_says_how_to_get_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(options(["demo"], "demo", tmp_path, "--ray")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == 'neuronxa_core: error: --ray needs Ray, which is not installed here: pip install "ray>=2.60,<3"\n'


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("localhost:1", "no Ray cluster answers at localhost:1"),
        ("nowhere", "auto or host:port"),
        ("ray://localhost:10001", "auto or host:port"),
        ("localhost:99999999", "no Ray cluster answers"),
    ],
)
def test_an_address_where_nothing_answers_is_refused_at_once(capsys, tmp_path, address, said):
    pytest.importorskip("ray", reason="Ray is not installed; pip install -r requirements-dev.txt")
    assert main(options(["demo"], "demo", tmp_path, "--ray", address)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 12), st.none() | st.integers(1, 9))
def test_chunks_hold_every_language_once_in_order_and_share_the_models_out_evenly(count, at_work, slots, size):
    languages = [f"l{k}" for k in range(count)]
    parts = chunks(languages, at_work, slots, size)
    assert [code for part in parts for code in part] == languages
    if size is not None:
        assert all(len(part) == size for part in parts[:-1])
        return
    enough = next(p for p in range(1, slots + 1) if at_work * p % slots == 0)  # by trial: the fewest that come out even
    assert len(parts) <= enough
    assert max(map(len, parts), default=0) == -(-count // enough)


def test_chunks_by_hand():
    assert chunks("abcdef", 1, 2) == [("a", "b", "c"), ("d", "e", "f")]
    assert chunks("abcdef", 2, 2) == [tuple("abcdef")]
    assert chunks("abcdef", 3, 2) == [("a", "b", "c"), ("d", "e", "f")]
    assert chunks("abcde", 1, 1, 2) == [("a", "b"), ("c", "d"), ("e",)]


def cluster_of(*machines: dict[str, float]) -> Cluster:
    """A cluster of machines that are only said to be there."""
    nodes = [{"Alive": True, "Resources": dict(machine)} for machine in machines]
    nodes.append({"Alive": False, "Resources": {"CPU": 512.0, "GPU": 64.0}})
    return Cluster(SimpleNamespace(nodes=lambda: nodes), one_machine=False)


def test_what_a_task_is_given():
    cpus = cluster_of({"CPU": 8.0}, {"CPU": 16.0}, {"memory": 1.0})
    assert cpus.resolve_device("auto") == cpus.resolve_device("cpu") == "cpu"
    assert cpus.share("cpu") == cluster.Share(8, 0, 3)
    assert cpus.share("cpu", cpus=4) == cluster.Share(4, 0, 6)
    assert cpus.share("cpu", cpus=9) == cluster.Share(9, 0, 1)
    with pytest.raises(ModelError, match="no machine of the Ray cluster has a GPU"):
        cpus.resolve_device("cuda")
    gpus = cluster_of({"CPU": 64.0, "GPU": 8.0}, {"CPU": 3.0, "GPU": 4.0}, {"CPU": 64.0})
    assert gpus.resolve_device("auto") == "cuda"
    assert gpus.resolve_device("cpu") == "cpu"
    assert gpus.share("cuda") == cluster.Share(1, 1, 8 + 3)
    assert gpus.share("cuda", gpus=4) == cluster.Share(1, 4, 2 + 1)
    assert gpus.share("cuda", gpus=0.1) == cluster.Share(1, 0.1, 64 + 3)  # as many as there are CPUs
    assert gpus.share("cuda", cpus=16) == cluster.Share(16, 1, 4)


@pytest.mark.parametrize(
    ("device", "choice", "said"),
    [
        ("cpu", {"cpus": 0}, "at least 1"),
        ("cpu", {"cpus": 17}, "no machine of the Ray cluster has the 17 CPUs and 0 GPUs"),
        ("cpu", {"gpus": 1}, "0 where the device is cpu"),
        ("cuda", {"gpus": 0}, "a part of one GPU, or whole ones"),
        ("cuda", {"gpus": -1}, "a part of one GPU, or whole ones"),
        ("cuda", {"gpus": 1.5}, "a part of one GPU, or whole ones"),
        ("cuda", {"gpus": float("nan")}, "a part of one GPU, or whole ones"),
        ("cuda", {"gpus": float("inf")}, "a part of one GPU, or whole ones"),
        ("cuda", {"gpus": 3}, "16 and 2"),
    ],
)
def test_what_no_machine_has_is_refused_rather_than_waited_for(device, choice, said):
    with pytest.raises(ExperimentError, match=said):
        cluster_of({"CPU": 16.0, "GPU": 2.0}).share(device, **choice)


def test_a_cluster_without_cpus_is_refused():
    with pytest.raises(ExperimentError, match="has a CPU for tasks"):
        cluster_of({"CPU": 0.0}, {}).share("cpu")


@pytest.mark.parametrize("dtype", ["auto", "float32", "float16", "int8"])
def test_a_plan_for_the_clusters_gpus_is_the_one_that_a_machine_with_a_gpu_makes(tiny, tmp_path, monkeypatch, dtype):
    store = Store(tmp_path)
    model = str(tiny("llama", dtype=torch.bfloat16))
    chosen = Experiment(model, "demo", sentences=5, neuron="gate", storage="half", dtype=dtype)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    made = planning.make_plan(chosen, store, device="cuda")
    if dtype != "int8":  # which a CPU does not have
        assert planning.make_plan(chosen, store, device="cpu") == planning.make_plan(chosen, store)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert made == planning.make_plan(chosen, store)
    assert (made.device, made.dtype) == ("cuda", "bfloat16" if dtype == "auto" else dtype)


def test_a_task_carries_no_more_of_the_corpus_than_its_languages(tmp_path):
    plan = planning.make_plan(Experiment(sentences=5, device="cpu"), Store(tmp_path))
    part = cluster._part(plan, ["spa_Latn", "ell_Grek"])
    assert list(part.keys.items()) == [(code, plan.keys[code]) for code in ("spa_Latn", "ell_Grek")]
    assert set(part.corpus.texts) == {"spa_Latn", "ell_Grek"}
    assert part.sentences("ell_Grek") == plan.sentences("ell_Grek")
    assert part.all_languages == ("spa_Latn", "ell_Grek")  # not the pivot


def test_states_that_two_plans_lack_are_computed_once(tmp_path):
    store = Store(tmp_path)
    one = planning.make_plan(Experiment(sentences=5, languages=("spa_Latn", "ell_Grek"), device="cpu"), store)
    folder = replace(one.experiment, model=str(sources.DEMO_FOLDER), languages=("spa_Latn", "deu_Latn"))
    other = planning.make_plan(folder, store)
    todo, waits = cluster._shared_out([one, other], store)
    assert todo == [["eng_Latn", "spa_Latn", "ell_Grek"], ["deu_Latn"]]
    assert waits == [set(one.keys.values()), set(other.keys.values())]


class Remote:
    """Calls a method at once, as `method.remote(...)` of an actor; what it raises waits for `get`."""

    def __init__(self, actor) -> None:
        self._actor = actor

    def __getattr__(self, name: str):
        def remote(*arguments):
            try:
                return getattr(self._actor, name)(*arguments), None
            except Exception as error:
                return None, error

        return SimpleNamespace(remote=remote)


class RemoteError(Exception):
    def __init__(self, cause: Exception) -> None:
        self.cause = cause


def get(answer):
    value, error = answer
    if error is not None:
        raise RemoteError(error)
    return value


def test_a_task_elsewhere_stores_through_the_keeper_what_one_process_would_store(tmp_path, tiny, monkeypatch):
    chosen = Experiment(str(tiny("llama")), "demo", sentences=5, languages=("spa_Latn",), device="cpu")
    here = Store(tmp_path / "here")
    plan = planning.make_plan(chosen, here)
    ray = SimpleNamespace(get=get, exceptions=SimpleNamespace(RayTaskError=RemoteError))
    keeper = cluster._Keeper(str(tmp_path / "there"), 2**30)
    kept = cluster._KeptStore(ray, Remote(keeper))
    assert computing.compute_missing(plan, kept, pools.ModelPool()) == ["eng_Latn", "spa_Latn"]
    assert computing.compute_missing(plan, kept, pools.ModelPool()) == []
    computing.compute_missing(plan, here, pools.ModelPool())
    with contextlib.closing(Store(tmp_path / "there")) as there:
        for key in plan.keys.values():
            with here.get(key) as one, there.get(key) as other:
                assert one.arrays == other.arrays
                assert one.meta == other.meta
                for name in one.arrays:
                    assert one.array(name).tobytes() == other.array(name).tobytes()

    def full(*_arguments):
        raise StoreError("the disk is full")

    monkeypatch.setattr(keeper, "put", full)
    with pytest.raises(StoreError, match="the disk is full"):
        kept.put("key", {}, {})


def test_a_machine_with_other_packages_or_another_model_is_refused(tmp_path, tiny):
    model = tiny("llama", edit=lambda _model: None)  # a folder of its own
    plan = planning.make_plan(Experiment(str(model), "demo", sentences=5, device="cpu"), Store(tmp_path))
    home = cluster._Home("node", str(tmp_path), 2**30, None, cluster._versions())
    cluster._check_same_versions(plan, home)
    older = replace(home, versions={**home.versions, "torch": "1.0"})
    with pytest.raises(ExperimentError, match=r"torch is .* here and 1\.0 where the run was started"):
        cluster._check_same_versions(plan, older)
    (model / "config.json").write_text((model / "config.json").read_text("utf-8") + " ", "utf-8")
    os.utime(model / "config.json", ns=(1, 1))
    with pytest.raises(ModelError, match="holds other files"):
        cluster._check_same_versions(plan, home)
    gone = replace(plan, source=replace(plan.source, location=str(tmp_path / "gone")))
    with pytest.raises(ModelError, match="is not there"):
        cluster._check_same_versions(gone, home)
    hub = replace(plan, source=replace(plan.source, kind="hub", location="a/b", revision="0" * 40))
    cluster._check_same_versions(hub, home)  # the commit in its source says it all


def test_ray_is_imported_where_it_is_used_and_nowhere_else():
    importing = set()
    for file in [*ROOT.glob("*.py"), *ROOT.glob("pages/**/*.py"), *ROOT.glob("neuronxa_core/**/*.py")]:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] == "ray" for name in names):
                importing.add((file.name, node.col_offset > 0))
    assert importing == {("cluster.py", True)}
