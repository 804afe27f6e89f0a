"""The jobs that are not over, on disk: so that jobs of a server that was killed can be listed and resumed.

A server keeps one file per job, and holds a lock for as long as it runs; the system releases the lock of a process
however it ends. Jobs of a server whose lock is free were interrupted.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock, Timeout
from pydantic import Field, TypeAdapter

from neuronxa_core.errors import NeuronXAError
from neuronxa_core.experiment import Experiment

log = logging.getLogger(__name__)

FOLDER = "jobs"
MOST_BYTES = 1 << 20
LEFT_S = 24 * 3600.0


@dataclass(frozen=True)
class Note:
    """What is kept of a job.

    key, kind, title: of its work. who, by: its owner's key and name. asked: when, in seconds since 1970.
    """

    key: str
    kind: str
    title: str
    experiment: Experiment
    who: str
    by: str
    asked: Annotated[float, Field(ge=0, lt=2**33, allow_inf_nan=False)]


@dataclass(frozen=True)
class Interrupted(Note):
    """A job whose server stopped before the job was over. file: its place in the journal."""

    file: Path


_NOTE = TypeAdapter(Note)


class Journal:
    """The journal of one server, in a cache folder that servers may share; empty where nothing can be written there."""

    def __init__(self, cache: Path) -> None:
        self.folder = cache / FOLDER
        self._name = uuid.uuid4().hex
        self._lock = FileLock(self.folder / f"{self._name}.lock", thread_local=False)
        try:
            self._hold()
            self._clear_away()
        except (OSError, Timeout) as error:
            log.warning("jobs that are interrupted will not be listed: %s", error)

    def _hold(self) -> None:
        """Hold the lock, also where the folder is new or was removed meanwhile."""
        if self._lock.is_locked and Path(self._lock.lock_file).exists():
            return
        self._lock.release(force=True)
        self.folder.mkdir(exist_ok=True)
        self._lock.acquire(timeout=0)

    def _clear_away(self) -> None:
        """Remove files of stopped servers without jobs; younger ones may be of a server that is just starting."""
        oldest = time.time() - LEFT_S
        for file in [*self.folder.glob("*.lock"), *self.folder.glob("*.part")]:
            server = file.name.split(".")[0]
            left = not any(self.folder.glob(f"{server}.*.json")) or file.suffix == ".part"
            if left and file.stat().st_mtime < oldest and _is_free(self.folder / f"{server}.lock"):
                _remove(file)

    def write(self, number: int, note: Note) -> None:
        """Keep a job by its number. A disk that is full or cannot be written is a warning in the log."""
        file = self._file(number)
        partial = file.with_suffix(".part")
        try:
            self._hold()
            partial.write_text(json.dumps(asdict(note)), "utf-8")
            partial.replace(file)
        except (OSError, Timeout) as error:
            log.warning("job %d would not be listed if it were interrupted: %s", number, error)

    def strike(self, number: int) -> None:
        """Forget a job that is over."""
        _remove(self._file(number))

    def close(self) -> None:
        """Jobs that are still kept count as interrupted from now on."""
        self._lock.release()

    def interrupted(self) -> list[Interrupted]:
        """Jobs of stopped servers, the oldest first; a file that is no job is left out with a warning."""
        try:
            files = sorted(self.folder.glob("*.json"))
        except OSError:
            return []
        gone: dict[str, bool] = {}
        found = []
        for file in files:
            server = file.name.split(".")[0]
            if server not in gone:
                gone[server] = server != self._name and _is_free(self.folder / f"{server}.lock")
            if gone[server] and (job := _read(file)) is not None:
                found.append(job)
        return sorted(found, key=lambda job: job.asked)

    def take(self, job: Interrupted) -> bool:
        """Forget an interrupted job, to resume it or not; False where another server was quicker."""
        try:
            job.file.unlink()
        except OSError:
            return False
        server = job.file.name.split(".")[0]
        if not any(self.folder.glob(f"{server}.*.json")):
            _remove(self.folder / f"{server}.lock")
        return True

    def _file(self, number: int) -> Path:
        return self.folder / f"{self._name}.{number}.json"


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be removed: %s", file, error)


def _is_free(lock: Path) -> bool:
    if not lock.exists():
        return True
    probe = FileLock(lock, thread_local=False)
    try:
        with probe.acquire(timeout=0):
            return True
    except (OSError, Timeout):
        return False


def _read(file: Path) -> Interrupted | None:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        note = _NOTE.validate_json(file.read_bytes(), strict=True)
    except FileNotFoundError:  # taken meanwhile
        return None
    except (OSError, ValueError, NeuronXAError) as error:
        log.warning("%s is no job that was interrupted: %s", file, error)
        return None
    return Interrupted(**vars(note), file=file)


def note_of(work: Any, who: str, by: str, asked: float) -> Note:
    """What `Journal.write` keeps of a job: its work (key, title and plan), its owner, and when it was asked for."""
    return Note(work.key, type(work).__name__, work.title, work.plan.experiment, who, by, asked)
