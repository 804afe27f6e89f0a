"""Task scores from EleutherAI's lm-evaluation-harness (Gao et al., 2024), run on the experiment's model.

The harness (package lm_eval) is an extra: it is not among this project's requirements, and it pins versions of others.
It runs in a process of its own, so that its imports and crashes stay apart, by this process's Python or, where
NEURONXA_HARNESS_PYTHON names one, by the Python of another environment. What the last run printed is kept in the
cache's folder, as `harness/<key>.log`.

Code that comes with a model or a data set is never run. Task definitions in `include_path` may hold Python of their
own (`!function`), which is run: give a folder that you trust.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
import pandas as pd
import psutil
import xxhash

from neuronxa_core.errors import Cancelled, ExperimentError, HarnessError, ModelError, StoreError
from neuronxa_core.host.redaction import redacted
from neuronxa_core.measures.base import Arrays, Measure, Run, choice
from neuronxa_core.store.cache import Store
from neuronxa_core.tasks.harness import harness_scores
from neuronxa_core.tasks.task_scores import TaskScores
from neuronxa_core.wording import some_of

PYTHON_VARIABLE = "NEURONXA_HARNESS_PYTHON"
FOLDER = "harness"
INSTALL = (
    "install it with pip install lm_eval, or set NEURONXA_HARNESS_PYTHON to the Python of an environment that has it"
)

TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# a folder of task definitions is read whole for the key; more than this is hardly one
MOST_FILES = 5000
MOST_BYTES = 1 << 30

POLL_S = 0.2
END_S = 10.0
LIST_S = 300.0
LAST_LINES = 12
LINE_CHARACTERS = 300

_BAR = re.compile(r"(?P<name>[^|]*?):?\s*\d+%\|[^|]*\|\s*(?P<done>\d+)/(?P<all>\d+)\s")
_LIST_TASKS = """
import json, sys
from lm_eval.tasks import TaskManager
print("\\n" + json.dumps(list(TaskManager(include_path=sys.argv[1] or None).all_tasks)))
"""
_PRINT_VERSION = "import importlib.metadata; print(importlib.metadata.version('lm_eval'))"

# lm_eval, which ends with all that it started where the other end of its stdin is gone: its parent, however it ended
_WITH_PARENT = """
import os, runpy, threading

def end_with_parent(pipe=os.dup(0)):
    os.read(pipe, 1)
    if hasattr(os, "killpg"):
        os.killpg(0, 9)
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
runpy.run_module("lm_eval", run_name="__main__", alter_sys=True)
"""


def python() -> str:
    """The Python that runs the harness: what NEURONXA_HARNESS_PYTHON names, else this process's."""
    return os.environ.get(PYTHON_VARIABLE) or sys.executable


def available() -> str | None:
    """The version of lm_eval that `python()` has; None where it has none.

    Where that is not this process's Python, a process is started to look for it, until it is found.
    """
    with suppress(LookupError, importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("lm_eval") if python() == sys.executable else _version_in(python())
    return None


@cache
def _version_in(_python: str) -> str:
    """The version of lm_eval in another Python, once there is one. Raises LookupError where there is none."""
    try:
        asked = _ask(_PRINT_VERSION, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise LookupError(str(error)) from error
    if asked.returncode or not asked.stdout.strip():
        raise LookupError(asked.stderr)
    return asked.stdout.strip()


def parse_tasks(text: str) -> tuple[str, ...]:
    """Task names from a text that separates them by commas or spaces, each once. Raises ExperimentError."""
    names = tuple(dict.fromkeys(re.split(r"[,\s]+", text.strip(", \n\t"))))
    _check_tasks(names)
    return names


def _check_tasks(names: tuple[str, ...]) -> None:
    if not names or names == ("",):
        raise ExperimentError("no task is named; give one such as belebele_deu_Latn, or several with commas")
    for name in names:
        if not TASK_NAME.fullmatch(name):
            raise ExperimentError(
                f"{name[:100]!r} is no name of a task: it has letters, digits, _ and -, but no _ or - first"
            )


def list_tasks(include_path: str | None = None) -> tuple[str, ...]:
    """Names of all tasks, groups and tags that the harness knows, and of those defined in a folder, sorted.

    It takes some seconds. Raises HarnessError where lm_eval is not installed or cannot list them, ExperimentError where
    there is no such folder.
    """
    if available() is None:
        raise HarnessError(f"lm_eval, the evaluation harness, is not installed in {python()}; {INSTALL}")
    folder = "" if include_path is None else str(_folder(include_path))
    try:
        asked = _ask(_LIST_TASKS, folder, timeout=LIST_S)
        names = json.loads(asked.stdout.strip().splitlines()[-1]) if asked.returncode == 0 else None
    except (OSError, subprocess.SubprocessError, ValueError, IndexError, RecursionError) as error:
        raise HarnessError(f"lm_eval could not list its tasks: {error}") from error
    if not isinstance(names, list):
        raise HarnessError(f"lm_eval could not list its tasks:\n{_last(asked.stderr.splitlines())}")
    return tuple(sorted(map(str, names)))


def _ask(code: str, *arguments: str, timeout: float) -> subprocess.CompletedProcess:
    """What a short program prints in the harness's Python."""
    return subprocess.run(
        [python(), "-c", code, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
        env=_environment(),
        check=False,
    )


def _environment() -> dict[str, str]:
    """This process's environment, for a harness that imports nothing by accident."""
    # the working folder's files, utils.py say, are not to stand in for modules
    safe = {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    return {**os.environ, **safe, "TOKENIZERS_PARALLELISM": "false", "HF_DATASETS_TRUST_REMOTE_CODE": "0"}


def _folder(include_path: str) -> Path:
    try:
        folder = Path(include_path).expanduser()
        if folder.is_dir():
            return folder.resolve()
    except (OSError, RuntimeError) as error:  # a folder that may not be read, ~nobody
        raise ExperimentError(f"the folder {include_path:.200} of task definitions cannot be read: {error}") from error
    raise ExperimentError(f"there is no folder {include_path:.200} of task definitions; give one with .yaml files")


def _last(lines: list[str]) -> str:
    """The last lines of a log."""
    return "\n".join(line[:LINE_CHARACTERS] for line in lines[-LAST_LINES:])


@dataclass(frozen=True)
class HarnessRun(Measure):
    """Scores of tasks of the lm-evaluation-harness on a model; languages are named by the tasks.

    tasks: names; see `list_tasks`. include_path: a folder of further task definitions (.yaml), which is also the
    working folder: paths of data in a definition are relative to it. Batch size and device change nothing beyond
    rounding, so that neither is part of the key. The content of include_path is part of it, data that lies elsewhere
    is not.

    Raises ExperimentError for names that are none and numbers out of range, ModelError for an encoder, HarnessError
    where lm_eval is not installed.
    """

    tasks: tuple[str, ...] = choice((), "names of tasks of the harness")
    include_path: str | None = choice(None, "folder of further task definitions, whose Python is run", of=str)
    limit: int | None = choice(None, "the first so many documents of each task, for a try-out", of=int)
    num_fewshot: int | None = choice(None, "examples before each question; by default each task's own number", of=int)
    batch_size: int = choice(8, "requests per batch")
    name: ClassVar[str] = "lm_eval"
    unit: ClassVar[str] = "percent of the requests"
    needs: ClassVar[str] = "nothing"
    needs_corpus: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "tasks", tuple(self.tasks))
        _check_tasks(self.tasks)
        for name, least in (("limit", 1), ("num_fewshot", 0), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise ExperimentError(f"{name} is a whole number from {least} on, not {value!r}")
        if not self.plan.info.causal:
            raise ModelError(
                f"model {self.plan.source.name} ({self.plan.info.class_name}) is an encoder; the evaluation harness "
                "needs a causal language model, such as demo or Qwen/Qwen3-8B"
            )
        if self.include_path is not None:
            _folder(self.include_path)
        if not self.harness_version:
            raise HarnessError(f"lm_eval, the evaluation harness, is not installed in {python()}; {INSTALL}")

    @cached_property
    def harness_version(self) -> str:
        """The harness's version, empty where it is not installed."""
        return available() or ""

    @property
    def title(self) -> str:
        """One line for a list of jobs."""
        return f"tasks {some_of(self.tasks, 3)} on {self.plan.source.name}"

    def parts(self) -> tuple[str]:
        """One: the harness runs all tasks at once."""
        return ("requests",)

    def content(self, part: str) -> object:
        """The harness, the model, the tasks and what defines them."""
        model = [self.plan.identity, self.plan.dtype]
        return [self.harness_version, model, sorted(set(self.tasks)), self._definitions, self.limit, self.num_fewshot]

    @cached_property
    def _definitions(self) -> str | None:
        """What the task definitions are, as of the first time that it matters."""
        return None if self.include_path is None else _content(_folder(self.include_path))

    def units_of(self, part: str) -> int:
        """A hundred percent of the requests, whose number the harness alone knows."""
        return 100

    def group_of(self, part: str) -> str:
        """Requests."""
        return part

    def compute(self, part: str, run: Run) -> Arrays:
        """{name of a results file: its bytes}, JSON each with `results` by task.

        Progress may stay at 0 for minutes, while the model and data are loaded, and where the harness shows no bar.
        Raises HarnessError with the last lines of the harness's log, StoreError, Cancelled; either way no process is
        left.
        """
        with _scratch(run.store) as scratch:
            output = scratch / "results"
            code, lines = self._run_process(run, scratch, output)
            log = f"its log is {self.log_file(run.store)} and ends:\n{_last(lines)}"
            if code:
                how = f"exit status {code}" if code > 0 else f"signal {-code}, out of memory perhaps"
                raise HarnessError(f"lm_eval {self.harness_version} failed ({how}); {log}")
            files = {file.name: file.read_bytes() for file in sorted(output.rglob("results_*.json"))}
        kept = {name: np.frombuffer(data, np.uint8) for name, data in files.items() if _holds_results(data)}
        if not kept:
            raise HarnessError(f"lm_eval {self.harness_version} left no results; {log}")
        return kept

    def scores(self, results: Mapping[str, Arrays]) -> TaskScores:
        """The scores of the results, and what was left out of them. Raises ScoresError where no task names a language.

        The model has the plan's name, since the harness knows it by its folder.
        """
        files = {name: data.tobytes() for arrays in results.values() for name, data in arrays.items()}
        read = harness_scores(files.items())
        return replace(read, table=read.table.assign(model=self.plan.source.name))

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per task, metric and language: columns as of `TaskScores`."""
        return self.scores(results).table

    def log_file(self, store: Store) -> Path:
        """Where the last run's output is, once there was one."""
        return store.folder / FOLDER / f"{self.key}.log"

    def command(self, output: Path) -> list[str]:
        """The program and its arguments; results go below the folder `output`."""
        source = self.plan.source
        model = {
            "pretrained": source.location,
            "dtype": self.plan.dtype,
            "trust_remote_code": False,
            "use_safetensors": True,
        }
        if source.kind == "hub" and source.revision:
            model["revision"] = source.revision
        # JSON, since in lm_eval's key=value form a comma ends a path and a commit such as 12e4… is a number
        options = {
            "--model": "hf",
            "--model_args": json.dumps(model),
            "--tasks": ",".join(sorted(set(self.tasks))),
            "--include_path": None if self.include_path is None else str(_folder(self.include_path)),
            "--output_path": str(output),
            "--device": self.plan.device,
            "--batch_size": self.batch_size,
            "--limit": self.limit,
            "--num_fewshot": self.num_fewshot,
        }
        given = ((name, str(value)) for name, value in options.items() if value is not None)
        return [python(), "-c", _WITH_PARENT, *(part for pair in given for part in pair)]

    def _run_process(self, run: Run, scratch: Path, output: Path) -> tuple[int, list[str]]:
        """(exit status, last lines of the log) of the harness."""
        # a model's or a data set's own code is copied here before it is run: below a file no folder can be made
        environment = {**_environment(), "HF_MODULES_CACHE": str(_a_file(scratch / "no-code") / "none")}
        where = scratch if self.include_path is None else _folder(self.include_path)
        try:
            process = subprocess.Popen(
                self.command(output),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=where,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise HarnessError(f"lm_eval could not be started with {python()}: {error}") from error
        with self.log_file(run.store).open("w", encoding="utf-8") as log:
            output_reader = _Output(process.stdout, log.write)
            reader = threading.Thread(target=output_reader.read, name="neuronxa-harness", daemon=True)
            reader.start()
            percent = 0
            try:
                while _still_runs(process):
                    if run.cancelled():
                        raise Cancelled(f"stopped the evaluation of {', '.join(self.tasks[:3])}")
                    if output_reader.percent > percent:
                        percent = output_reader.percent
                        run.on_units(min(percent, 99))
            finally:
                _end(process)
                process.stdin.close()
                reader.join(END_S)
        return process.returncode, list(output_reader.lines)


class _Output:
    """What the harness prints: the lines that are no progress bars, without secrets, and how far its requests are.

    percent: of the requests of one kind, the furthest that was seen; 0 before.
    """

    def __init__(self, stream: BinaryIO, write: Callable[[str], object]) -> None:
        self.lines: deque[str] = deque(maxlen=LAST_LINES)
        self.percent = 0
        self._stream, self._write = stream, write

    def read(self) -> None:
        """Until the stream ends; a bar's updates end with a carriage return."""
        rest = b""
        with self._stream:
            while chunk := self._stream.read1(1 << 16):
                *whole, rest = re.split(rb"[\r\n]", rest + chunk)
                for line in whole:
                    self._take(line.decode("utf-8", "replace").rstrip())
        self._take(rest.decode("utf-8", "replace").rstrip())

    def _take(self, line: str) -> None:
        bar = _BAR.match(line)
        if bar is None:
            line = redacted(line)
            if line:
                self.lines.append(line)
                self._write(line + "\n")
        elif bar["name"].startswith("Running") and int(bar["all"]):
            self.percent = max(self.percent, 100 * int(bar["done"]) // int(bar["all"]))


def _still_runs(process: subprocess.Popen) -> bool:
    """Whether it has not ended within POLL_S."""
    try:
        process.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _end(process: subprocess.Popen) -> None:
    """End a process that still runs and all that it started: by request, and after END_S by force."""
    if process.poll() is not None:
        return
    if not hasattr(os, "killpg"):  # Windows
        process.kill()
        process.wait()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def _scratch(store: Store) -> Iterator[Path]:
    """A folder of one run, on the disk of the results; removed afterwards."""
    try:
        parent, here = store.folder / FOLDER, f".run-{socket.gethostname()}-"
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.glob(f"{here}*"):  # by a process that was killed
            if not psutil.pid_exists(int(left.name.removeprefix(here).split("-")[0])):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{here}{os.getpid()}-", dir=parent))
    except OSError as error:
        raise StoreError(f"the cache folder {store.folder} cannot be written ({error}); mend that") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _a_file(path: Path) -> Path:
    path.touch()
    return path


def _holds_results(data: bytes) -> bool:
    """Whether a file's bytes are JSON with the harness's results by task."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and isinstance(document.get("results"), dict) and bool(document["results"])


def _content(folder: Path) -> str:
    """A hash of all files of a folder of task definitions, their names and content. Raises ExperimentError."""
    content = xxhash.xxh3_128()
    try:
        found = (f for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.relative_to(folder).parts)
        files = sorted(islice(found, MOST_FILES + 1))
        if len(files) > MOST_FILES or sum(file.stat().st_size for file in files) > MOST_BYTES:
            raise ExperimentError(
                f"the folder {folder} holds more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB, too much for task "
                "definitions; give the folder with the definitions and their data alone"
            )
        for file in files:
            data = file.read_bytes()
            content.update(f"{file.relative_to(folder).as_posix()}\0{len(data)}\0".encode("utf-8", "surrogatepass"))
            content.update(data)
    except OSError as error:
        raise ExperimentError(f"the folder {folder} of task definitions cannot be read: {error}") from error
    return content.hexdigest()
