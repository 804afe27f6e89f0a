"""Several models or many languages on several GPUs or machines at once, as tasks of a Ray cluster.

A task is one model and some of the languages whose states are missing. Ray decides where and when it runs, gives it its
GPUs, and starts it again where its worker dies; it then finds in the cache what was finished, and goes on from there.
Scores are computed afterwards, where the run was started and as in one process, so they are the same.

It is worth it where there are several GPUs or machines, and several models or many languages: every task loads its
model first, and on a GPU in a process of its own, so that no model stays behind on a GPU that the next task was not
given. On one machine without a GPU there is little to gain.

The cache is a SQLite database in write-ahead mode, and "all processes using a database must be on the same host
computer; WAL does not work over a network filesystem" (sqlite.org/wal.html). So only the machine where the run was
started opens it: a task on another one sends every finished language there. What the machines must share is the
project's folder, the packages it needs, and the models: a folder under the same path, or the hub.
"""

from __future__ import annotations

import functools
import math
import os
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import transformers

from neuronxa_core.errors import ExperimentError, ModelError, NeuronXAError
from neuronxa_core.models import fingerprint
from neuronxa_core.states import computing, extraction, planning
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

LOCAL = "local"
MAX_RETRIES = 3
# states never pass through the object store of a cluster of one machine, only a task's sentences do
OBJECT_STORE_BYTES = 100 << 20
CONNECT_TIMEOUT_S = 10.0
POLL_S = 0.5


@dataclass(frozen=True)
class Share:
    """CPUs and GPUs of a task. slots: how many such tasks the cluster runs at a time."""

    cpus: int
    gpus: float
    slots: int


@contextmanager
def connected(address: str = LOCAL) -> Iterator[Cluster]:
    """The cluster at `address`, joined until the block ends.

    address: `host:port`, `auto` (the cluster that this machine belongs to), or `local`, one made of this machine's CPUs
    and GPUs that ends with the block. Until then nothing reaches stdout, where Ray prints notices of dead workers among
    others; its logs, in /tmp/ray, have them too. Raises NeuronXAError where Ray is not installed or the cluster not
    reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # without it a task whose model does not fit into memory would be tried again for ever
    os.environ.setdefault("RAY_task_oom_retries", str(MAX_RETRIES))
    try:
        import ray
    except ImportError:
        raise NeuronXAError('--ray needs Ray, which is not installed here: pip install "ray>=2.60,<3"') from None
    options: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    if address == LOCAL:
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    else:
        _check_reachable(address)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        try:
            ray.init(address=address, **options)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise NeuronXAError(
                f"the Ray cluster {address} could not be joined: {_first_line(error)} (this machine must belong to it; "
                "where it asks for a token, give --ray auto or set RAY_AUTH_MODE=token)"
            ) from error
        try:
            yield Cluster(ray, one_machine=address == LOCAL)
        finally:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise NeuronXAError where nothing listens at an address: Ray itself would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isascii() or not port.isdigit():
        raise NeuronXAError(
            f"--ray takes auto or host:port of the Ray cluster that this machine belongs to, not {address!r}"
        )
    try:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise NeuronXAError(
            f"no Ray cluster answers at {address} ({error}); start one with `ray start --head`, or give --ray alone"
        ) from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def chunks(languages: Sequence[str], models_at_work: int, slots: int, size: int | None = None) -> list[tuple[str, ...]]:
    """A model's languages by task, in order: `size` per task.

    Without a size, the fewest tasks per model that share `models_at_work` equal models out evenly over the slots: every
    task may have to load its model.
    """
    if size is None:
        parts = slots // math.gcd(slots, models_at_work)
        size = max(1, math.ceil(len(languages) / parts))
    return [tuple(languages[start : start + size]) for start in range(0, len(languages), size)]


class Cluster:
    """A Ray cluster that this process has joined. one_machine: whether it is and stays this machine alone."""

    def __init__(self, ray: ModuleType, *, one_machine: bool) -> None:
        self._ray = ray
        self._one_machine = one_machine

    def _machines(self) -> list[dict[str, float]]:
        """CPUs and GPUs of every machine that takes tasks."""
        alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return [resources for resources in alive if resources.get("CPU", 0) >= 1]

    def resolve_device(self, device: str) -> str:
        """`auto` is a GPU where the cluster has one. Raises ModelError where CUDA is asked for and it has none."""
        has_gpu = any(machine.get("GPU", 0) for machine in self._machines())
        if device == "auto":
            return "cuda" if has_gpu else "cpu"
        if device == "cuda" and not has_gpu:
            raise ModelError("device cuda was asked for, but no machine of the Ray cluster has a GPU; choose cpu")
        return device

    def share(self, device: str, cpus: int | None = None, gpus: float | None = None) -> Share:
        """CPUs and GPUs of a task on a device, cpu or cuda.

        Default with cuda: one CPU, one GPU. With cpu: all CPUs of the smallest machine and no GPU, so that machines of
        one size hold one model each, as one process would. Raises ExperimentError for what no machine has.
        """
        machines = self._machines()
        if not machines:
            raise ExperimentError("no machine of the Ray cluster has a CPU for tasks")
        if gpus is None:
            gpus = 1 if device == "cuda" else 0
        if cpus is None:
            cpus = 1 if device == "cuda" else math.floor(min(machine["CPU"] for machine in machines))
        if (gpus > 0) != (device == "cuda") or gpus < 0 or (gpus > 1 and gpus % 1):
            wanted = "a part of one GPU, or whole ones" if device == "cuda" else "0 where the device is cpu"
            raise ExperimentError(f"GPUs per task: {wanted}, not {gpus:g}")
        if cpus < 1:
            raise ExperimentError(f"CPUs per task: at least 1, not {cpus}")
        # a tenth of a GPU goes ten times into one, though 1 // 0.1 is 9
        slots = sum(
            min(
                math.floor(machine["CPU"] / cpus),
                math.floor(machine.get("GPU", 0) / gpus + 1e-6) if gpus else sys.maxsize,
            )
            for machine in machines
        )
        if not slots:
            largest = ", ".join(f"{machine['CPU']:g} and {machine.get('GPU', 0):g}" for machine in machines[:8])
            raise ExperimentError(
                f"no machine of the Ray cluster has the {cpus} CPUs and {gpus:g} GPUs of a task; they have {largest}"
            )
        return Share(cpus, gpus, slots)

    def compute(
        self,
        plans: Sequence[Plan],
        store: Store,
        share: Share,
        *,
        size: int | None = None,
        on_progress: Callable[[int, str], None] = lambda _plan, _language: None,
    ) -> Iterator[tuple[int, NeuronXAError | None]]:
        """Extract and store what the plans lack; yields a plan's number as soon as it lacks nothing, with None.

        Where a plan's task fails, its number comes with what went wrong and its other tasks are stopped, while those
        of other plans go on. size: languages per task, see `chunks`. on_progress(plan, language) when a language was
        stored. Whatever stops the iterator stops the tasks; what is stored stays. Raises StoreError where this machine
        cannot use the store.
        """
        todo, waits = _shared_out(plans, store)
        tasks: dict[Any, _Task] = {}
        by_key: dict[str, Any] = {}
        try:
            at_work = sum(map(bool, todo))
            submit = self._submitter(store, share) if at_work else None
            for number, languages in enumerate(todo):
                for part in chunks(languages, at_work, share.slots, size):
                    reference = submit(_part(plans[number], part))
                    tasks[reference] = _Task(number, deque(part))
                    by_key |= {plans[number].keys[language]: reference for language in part}
            needs = {number: {by_key[key] for key in keys} for number, keys in enumerate(waits)}
            yield from _finished(needs)
            while needs:
                ready, _ = self._ray.wait(list(tasks), num_returns=1, timeout=POLL_S)
                for task in tasks.values():
                    _report(plans[task.plan], task, lambda key: key in store, on_progress)
                for reference in ready:
                    error = self._outcome(reference)
                    task = tasks.pop(reference)
                    concerned = [number for number, references in needs.items() if reference in references]
                    if error is None:
                        _report(plans[task.plan], task, lambda _key: True, on_progress)
                        for number in concerned:
                            needs[number].discard(reference)
                        yield from _finished(needs)
                    else:
                        for number in concerned:
                            del needs[number]
                        self._stop(tasks, still_needed=set().union(*needs.values()))
                        for number in concerned:
                            yield number, error
        finally:
            self._stop(tasks, still_needed=set())

    def _submitter(self, store: Store, share: Share) -> Callable[[Plan], Any]:
        """submit(plan) -> the reference of the task that computes it."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray = self._ray
        node = ray.get_runtime_context().get_node_id()
        keeper = None
        if not self._one_machine:
            stay = NodeAffinitySchedulingStrategy(node, soft=False)
            options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": stay}
            keeper = ray.remote(**options)(_Keeper).remote(str(store.folder), store.size_limit)
        home = _Home(node, str(store.folder), store.size_limit, keeper, _versions())
        task = ray.remote(
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            max_retries=MAX_RETRIES,
            retry_exceptions=False,
            # a process keeps the GPUs that it used first, whatever GPUs its next task is given
            max_calls=1 if share.gpus else 0,
        )(_compute_part)
        return lambda plan: task.remote(plan, home, share.cpus)

    def _outcome(self, reference: Any) -> NeuronXAError | None:
        """None for a task that is done, else what went wrong."""
        try:
            said = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            said = f"a task failed: {type(error.cause).__name__}: {_first_line(error.cause)}"
            if "No module named" in said:
                said += "; every machine needs the project's folder under the path where the run was started"
        except self._ray.exceptions.RayError as error:
            said = (
                f"Ray stopped a task ({type(error).__name__}: {_first_line(error)}); finished languages are kept, run "
                "again for the others"
            )
        return None if said is None else NeuronXAError(said)

    def _stop(self, tasks: dict[Any, _Task], still_needed: set) -> None:
        """Cancel the tasks that are not needed and take them out of `tasks`."""
        for reference in [reference for reference in tasks if reference not in still_needed]:
            del tasks[reference]
            self._ray.cancel(reference, force=True)


@dataclass
class _Task:
    """A task that is not over. plan: its number. unseen: languages not yet seen in the store, in order."""

    plan: int
    unseen: deque[str]


@dataclass(frozen=True)
class _Home:
    """Where the cache is. node: Ray's name of the machine. keeper: how other machines reach it; None where none may."""

    node: str
    folder: str
    size_limit: int
    keeper: Any
    versions: Mapping[str, object]


def _shared_out(plans: Sequence[Plan], store: Store) -> tuple[list[list[str]], list[set[str]]]:
    """By plan: the languages that are computed for it, and the keys that it waits for.

    States that two plans lack, as where one model goes by two names, are computed for the first one.
    """
    todo, waits = [], []
    taken: set[str] = set()
    for plan in plans:
        missing = {plan.keys[language]: language for language in planning.missing(plan, store)}
        todo.append([language for key, language in missing.items() if key not in taken])
        waits.append(set(missing))
        taken |= set(missing)
    return todo, waits


def _finished(needs: dict[int, set]) -> Iterator[tuple[int, None]]:
    """The plans for which everything is stored; they are taken out of `needs`."""
    for number in [number for number, references in needs.items() if not references]:
        del needs[number]
        yield number, None


def _report(plan: Plan, task: _Task, stored: Callable[[str], bool], on_progress: Callable[[int, str], None]) -> None:
    """Report the languages that a task has stored since the last time; it stores them in their order."""
    while task.unseen and all(map(stored, plan.entries(task.unseen[0]).values())):
        on_progress(task.plan, task.unseen.popleft())


def _part(plan: Plan, languages: Iterable[str]) -> Plan:
    """A plan to compute some languages' states, with no more of the corpus than that takes."""
    kept = tuple(languages)
    texts = {code: plan.corpus.texts[code] for code in kept}
    corpus = replace(plan.corpus, languages=kept, texts=texts, labels=None, findings=())
    return replace(plan, corpus=corpus, keys={code: plan.keys[code] for code in kept})


# ------------------------------------------------------------------------------------------------- on the machines


@functools.cache
def _pool() -> ModelPool:
    """The pool of this process, in which the next task for the same model finds it loaded."""
    return ModelPool()


def _compute_part(plan: Plan, home: _Home, threads: int) -> str | None:
    """The task: compute a plan where the cluster put it; what went wrong, as text, so that Ray does not try again."""
    import ray

    torch.set_num_threads(threads)
    try:
        if ray.get_runtime_context().get_node_id() == home.node:
            with closing(Store(home.folder, home.size_limit)) as store:
                computing.compute_missing(plan, store, _pool())
            return None
        _check_same_versions(plan, home)
        computing.compute_missing(plan, _KeptStore(ray, home.keeper), _pool())
    except NeuronXAError as error:
        return f"{error} (on {socket.gethostname()})" if home.keeper is not None else str(error)
    return None


class _Keeper:
    """An actor beside the cache, which writes what tasks on other machines have finished."""

    def __init__(self, folder: str, size_limit: int) -> None:
        self._store = Store(folder, size_limit)

    def has(self, key: str) -> bool:
        return key in self._store

    def put(self, key: str, arrays: Mapping[str, np.ndarray], meta: dict) -> None:
        self._store.put(key, arrays, meta)


class _KeptStore:
    """The part of a Store that computing takes, through the keeper. Raises StoreError as a Store does.

    folder: of this machine, for arrays that are not finished.
    """

    def __init__(self, ray: ModuleType, keeper: Any) -> None:
        self._ray, self._keeper = ray, keeper
        self.folder = Path(tempfile.gettempdir())

    def __contains__(self, key: str) -> bool:
        return self._asked(self._keeper.has.remote(key))

    def put(self, key: str, arrays: Mapping[str, np.ndarray], meta: dict) -> None:
        self._asked(self._keeper.put.remote(key, arrays, meta))

    def _asked(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None


def _versions() -> dict[str, object]:
    """What must be the same on all machines for their numbers to belong under one key."""
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "the version of the extraction": extraction.VERSION,
    }


def _check_same_versions(plan: Plan, home: _Home) -> None:
    """Raise ExperimentError where this machine's packages, ModelError where its model are not those of the plan."""
    for name, found in _versions().items():
        if found != home.versions[name]:
            raise ExperimentError(f"{name} is {found} here and {home.versions[name]} where the run was started")
    # a hub model's source names its commit
    if plan.source.kind != "hub" and fingerprint.identity(plan.source) != plan.identity:
        raise ModelError(
            f"the folder {plan.source.location} of model {plan.source.name} is not there or holds other files than "
            "where the run was started; every machine of the cluster must have the model under this path"
        )
