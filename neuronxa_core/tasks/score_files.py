"""Task scores read from files and folders, uploads, the bundled tables of published figures, and own measures."""

from __future__ import annotations

import itertools
from collections import abc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from neuronxa_core.corpora.texts import base_name, suffix
from neuronxa_core.errors import ScoresError
from neuronxa_core.host import limits
from neuronxa_core.tasks.cells import check_size, read_frame
from neuronxa_core.tasks.consistency import consistency, is_consistency
from neuronxa_core.tasks.harness import harness_scores
from neuronxa_core.tasks.score_tables import apply_mapping, guess_mapping
from neuronxa_core.tasks.task_scores import TaskScores, first_names, make_scores, merge

FACTS = Path(__file__).with_name("facts")
TABLE_SUFFIXES = ("csv", "tsv", "tab", "txt")


def read_scores(
    source: str | Path | Sequence[str | Path], *, model: str = "", task: str = "", metric: str = ""
) -> TaskScores:
    """Read scores from files and folders.

    - `.json`: results of the lm-evaluation-harness, old and new; see `harness_scores`.
    - `.csv`, `.tsv`, `.tab`, `.txt`: a table, see `read_frame`, in the layout that `guess_mapping` finds.
    - a folder: every harness result in it and its folders, whatever its name; where there is none, every table in it.

    model, task, metric: names for what a table does not say; the file's name without suffix otherwise, and "score".

    Raises ScoresError for what is missing, too large, malformed or no score, and for two scores of one model, task,
    metric and language that differ.
    """
    sources = [source] if isinstance(source, str | Path) else list(source)
    if not sources or not all(str(one).strip() for one in sources):
        raise ScoresError("No scores were named; give a file or a folder")
    return merge(*(_read_source(_path(one), model, task, metric) for one in sources))


def read_scores_or_pairs(source: str | Path, pivot: str) -> TaskScores:
    """`read_scores`, and of a table of language pairs (see `consistency`) each language's value with the pivot."""
    path = _path(source)
    if is_file(path) and suffix(path.name) in TABLE_SUFFIXES:
        frame = read_frame(path.name, read_content(path))
        if is_consistency(frame):
            return consistency(frame, source=path.name).consistency_with(pivot)
    return read_scores(source)


def read_file(name: str, data: bytes, *, model: str = "", task: str = "", metric: str = "") -> TaskScores:
    """Read one file, (name, content), as `read_scores` does: for uploads. Raises ScoresError as it does."""
    name = base_name(name) or "the file"
    check_size(name, len(data))
    if suffix(name) == "json":
        return harness_scores([(name, data)], model=model)
    frame = read_frame(name, data)
    return apply_mapping(frame, guess_mapping(frame), source=name, model=model, task=task, metric=metric)


def published() -> TaskScores:
    """The bundled scores, as published; `source` says where each can be read. Facts only, see neuronxa_core/facts."""
    return read_scores(FACTS)


def from_measure(
    model: str,
    task: str,
    metric: str,
    scores: abc.Mapping[str, tuple[float, float | None, int | None]],
    source: str,
) -> TaskScores:
    """Scores that were measured here: {language: (score, stderr or None, n or None)}.

    Raises ScoresError for an empty name, a score that is no finite number, a negative stderr or an n below 1.
    """
    rows = [
        {"model": model, "task": task, "metric": metric, "language": code, "source": source}
        | dict(zip(("score", "stderr", "n"), values, strict=True))
        for code, values in scores.items()
    ]
    return make_scores(rows)


def _read_source(path: Path, model: str, task: str, metric: str) -> TaskScores:
    try:
        if path.is_dir():
            return _read_folder(path, model, task, metric)
        if path.is_file():
            return read_file(path.name, read_content(path), model=model, task=task, metric=metric)
    except OSError as error:
        raise ScoresError(f"{path} cannot be read: {error}") from error
    raise ScoresError(f"There is no file or folder {path}; give a table or results of the lm-evaluation-harness")


def _read_folder(folder: Path, model: str, task: str, metric: str) -> TaskScores:
    most = limits.SCORES_FILES
    some_results = itertools.islice((path for path in folder.rglob("*.json") if path.is_file()), most + 1)
    of_tables = (path for path in folder.iterdir() if suffix(path.name) in TABLE_SUFFIXES and path.is_file())
    results, tables = sorted(some_results), sorted(itertools.islice(of_tables, most + 1))
    if len(results) + len(tables) > most:
        raise ScoresError(f"{folder} holds more than {most} files; give a folder with fewer")
    size = sum(path.stat().st_size for path in (*results, *tables))
    if size > limits.SCORES_BYTES:
        raise ScoresError(
            f"the files of {folder} have {size / limits.MIB:,.0f} MiB together; at most "
            f"{limits.SCORES_BYTES // limits.MIB} MiB are read"
        )
    problem = f"{folder} holds no scores; it needs results_*.json of the lm-evaluation-harness, or a .csv table"
    try:
        if results:
            of_files = ((str(path.relative_to(folder)), read_content(path)) for path in results)
            found = harness_scores(of_files, model=model)
            aside = f"Left aside beside the results: {first_names(path.name for path in tables)}."
            return replace(found, notes=(*found.notes, aside)) if tables else found
    except ScoresError as error:
        problem = str(error)
    if tables:
        return merge(*(read_file(p.name, read_content(p), model=model, task=task, metric=metric) for p in tables))
    raise ScoresError(problem)


def _path(source: str | Path) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError as error:  # ~nobody
        raise ScoresError(f"{source!s:.200} cannot be read: {error}") from error


def is_file(path: Path) -> bool:
    """Whether a path is that of a file; False where it may not be looked at."""
    try:
        return path.is_file()
    except OSError:
        return False


def read_content(path: Path) -> bytes:
    """A file's bytes. Raises ScoresError where it is too large or cannot be read."""
    try:
        check_size(path.name, path.stat().st_size)
        data = limits.first_bytes(path, limits.SCORES_FILE_BYTES)
        check_size(path.name, len(data))
        return data
    except OSError as error:
        raise ScoresError(f"{path} cannot be read: {error}") from error
