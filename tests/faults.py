"""What tests of faults share: a run that nothing disturbed, damage, small disks, processes that are killed."""

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from neuronxa_core.experiment import ENTRIES, Experiment
from neuronxa_core.measures import alignment
from neuronxa_core.states import computing, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

ROOT = Path(__file__).parents[1]
PATIENCE_S = 120
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
LANGUAGES = ("deu_Latn", "spa_Latn", "rus_Cyrl")
CHOSEN = Experiment(languages=LANGUAGES, sentences=6)


def keys(store: Store) -> set[str]:
    return {info.key for info in store.entries()}


def scores_of(plan: planning.Plan, store: Store) -> list:
    return alignment.align(plan, store, "nas", "weighted").score.tolist()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """A store in which nothing ever went wrong: CHOSEN's states are there, under all poolings."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    plan = planning.with_states(planning.make_plan(CHOSEN, store), ENTRIES)
    computing.compute_missing(plan, store, ModelPool())
    return store


@pytest.fixture(scope="session")
def right_scores(undisturbed):
    return scores_of(planning.make_plan(CHOSEN, undisturbed), undisturbed)


@pytest.fixture
def own_cache(tmp_path, undisturbed, right_scores):
    """A cache folder of the test's own in which CHOSEN's states and scores are."""
    return Path(shutil.copytree(undisturbed.folder, tmp_path / "own"))


def without_scores(folder: Path) -> None:
    """Leave nothing but states."""
    with closing(Store(folder)) as store:
        for key in keys(store):
            if not key.startswith("states-"):
                store.drop(key)


def assert_whole(store: Store, undisturbed: Store) -> None:
    """Every entry's states are those of the undisturbed store, to the last bit."""
    found = [key for key in keys(store) if key.startswith("states-")]
    assert found
    for key in found:
        mine, other = store.read(key), undisturbed.read(key)
        assert mine.keys() == other.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], other[name])


def damage(folder: Path, start: int = 1 << 14) -> int:
    """Flip bytes of every large file of the cache; returns how many there are."""
    damaged = 0
    for path in folder.rglob("*.safetensors"):
        content = bytearray(path.read_bytes())
        if len(content) > 2 * start:
            for at in range(start, len(content), 97):
                content[at] ^= 0xFF
            path.write_bytes(content)
            damaged += 1
    return damaged


def kill_at(program: str, *arguments: object) -> None:
    """Run a program until it says that it is there, and kill it as `kill -9` does."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, env=ONE_THREAD, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "there\n"
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


@pytest.fixture
def small_disk(tmp_path):
    """small_disk(bytes): a file system of that size, mounted; the test is skipped where that is not allowed."""
    mounted = []

    def mount(size: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            pytest.skip("only root can mount a small disk")
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, *options: str) -> None:
    subprocess.run(["mount", "-o", ",".join(["remount", *options]), str(folder)], check=True)


@pytest.fixture
def read_only_cache(small_disk, undisturbed):
    """CHOSEN's states without scores, on a disk that can only be read."""
    folder = small_disk(64 << 20)
    shutil.copytree(undisturbed.folder, folder, dirs_exist_ok=True)
    without_scores(folder)
    remount(folder, "ro")
    return folder
