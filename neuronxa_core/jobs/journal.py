"""What jobs were asked for and are not over, on disk: so that a server that is killed leaves word of them.

A server keeps one file a job, and a lock of its own for as long as it lives; the system takes the lock back from a
process that dies, however it dies. Jobs of a server whose lock is free were interrupted.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from neuronxa_core.errors import NeuronXAError
from neuronxa_core.experiment import Experiment

log = logging.getLogger(__name__)

FOLDER = "jobs"
MOST_BYTES = 1 << 20
LEFT_S = 24 * 3600.0


@dataclass(frozen=True)
class Interrupted:
    """A job that its server did not live to end.

    key, kind, title: of its work. who, by: its owner's key and name. asked: seconds since 1970. file: its place in the
    journal.
    """

    key: str
    kind: str
    title: str
    experiment: Experiment
    who: str
    by: str
    asked: float
    file: Path


class Journal:
    """Of one server, in a cache folder that servers may share. Where nothing can be written there, it keeps nothing."""

    def __init__(self, cache: Path) -> None:
        self.folder = cache / FOLDER
        self._name = uuid.uuid4().hex
        self._lock = FileLock(self.folder / f"{self._name}.lock", thread_local=False)
        try:
            self._hold()
            self._clear_away()
        except (OSError, Timeout) as error:
            log.warning("jobs that are interrupted will leave no word: %s", error)

    def _hold(self) -> None:
        """Have the lock, in a folder that is new, or that was taken away meanwhile, too."""
        if self._lock.is_locked and Path(self._lock.lock_file).exists():
            return
        self._lock.release(force=True)
        self.folder.mkdir(exist_ok=True)
        self._lock.acquire(timeout=0)

    def _clear_away(self) -> None:
        """Remove what servers left that are gone and had no jobs; what is younger may be of one that just starts."""
        oldest = time.time() - LEFT_S
        for file in [*self.folder.glob("*.lock"), *self.folder.glob("*.part")]:
            server = file.name.split(".")[0]
            left = not any(self.folder.glob(f"{server}.*.json")) or file.suffix == ".part"
            if left and file.stat().st_mtime < oldest and _is_free(self.folder / f"{server}.lock"):
                _remove(file)

    def write(self, number: int, document: Mapping[str, Any]) -> None:
        """Note a job by its number. A disk that is full or cannot be written is a warning in the log."""
        file = self._file(number)
        partial = file.with_suffix(".part")
        try:
            self._hold()
            partial.write_text(json.dumps(document, ensure_ascii=False), "utf-8", errors="surrogatepass")
            partial.replace(file)
        except (OSError, Timeout) as error:
            log.warning("job %d would leave no word if it were interrupted: %s", number, error)

    def strike(self, number: int) -> None:
        """Forget a job that is over."""
        _remove(self._file(number))

    def close(self) -> None:
        """What is still noted counts as interrupted from now on."""
        self._lock.release()

    def interrupted(self) -> list[Interrupted]:
        """Jobs of servers that are gone, the oldest first; a file that is none is left aside with a warning."""
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
        document = json.loads(file.read_text("utf-8", errors="surrogatepass"))
        texts = {name: document[name] for name in ("key", "kind", "title", "who", "by")}
        if not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("a text is none")
        return Interrupted(
            **texts, experiment=_experiment(document["experiment"]), asked=float(document["asked"]), file=file
        )
    except FileNotFoundError:  # taken meanwhile
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError, NeuronXAError) as error:
        log.warning("%s is no job that was interrupted: %s", file, error)
        return None


def _experiment(document: Mapping[str, Any]) -> Experiment:
    """What asdict made of an experiment, checked field by field."""
    given = {field.name: document[field.name] for field in fields(Experiment)}
    given["languages"] = tuple(given["languages"])
    for name, value in given.items():
        numbers = name in ("sentences", "seed")
        fits = value is None or type(value) is int if numbers else isinstance(value, str)
        if name == "languages":
            fits = all(isinstance(code, str) for code in value)
        if not fits:
            raise ValueError(f"{name} is {value!r}")
    return Experiment(**given)


def note(work: Any, who: str, by: str, asked: float) -> dict[str, Any]:
    """What `Journal.write` keeps of a job: its work (key, title and plan), its owner, and when it was asked for."""
    return {
        "key": work.key,
        "kind": type(work).__name__,
        "title": work.title,
        "experiment": asdict(work.plan.experiment),
        "who": who,
        "by": by,
        "asked": asked,
    }
