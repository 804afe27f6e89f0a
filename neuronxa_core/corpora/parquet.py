"""Parquet files that nobody checked: unpacked by a process of their own, so that none can take this one down."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from neuronxa_core.errors import CorpusError
from neuronxa_core.host import limits

READER = Path(__file__).with_name("parquet_reader.py")
# of the environment, what a program needs to start; no secret is among it
PASSED_ON = re.compile("PATH|HOME|LD_LIBRARY_PATH|DYLD_LIBRARY_PATH|PYTHONPATH|SYSTEMROOT|TEMP|TMP|TMPDIR")

Choose = Callable[[Sequence[str]], Sequence[str]]


class NoText:
    """In place of a column whose values are no text, and were not unpacked."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return self.kind


def read(file_name: str, data: bytes, choose: Choose) -> tuple[list[str], dict[str, list[Any]]]:
    """(all headings, the columns that `choose` takes of them).

    The size in the file's metadata is checked before anything is unpacked, and what is unpacked is checked batch by
    batch: a value that is stored once and referred to a million times is small in the file and in its metadata. Values
    that are no text are numbers, booleans, None, or one NoText for the column.

    Raises CorpusError.
    """
    # the allocators that Arrow has by default reserve more than they use
    environment = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    environment["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    try:
        process = subprocess.Popen([sys.executable, "-P", str(READER)], env=environment, **pipes)
    except OSError as error:
        raise CorpusError(f"{file_name} cannot be read as Parquet: no process could be started: {error}") from error
    end = threading.Timer(2 * limits.PARQUET_SECONDS, process.kill)
    end.start()
    try:
        return _talk(file_name, process, data, choose)
    except (BrokenPipeError, ValueError, KeyError, TypeError) as error:
        how = _how_it_ended(process)
        raise CorpusError(
            f"{file_name} cannot be read as Parquet: it is damaged, and ended the process that read it ({how})"
        ) from error
    finally:
        end.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what was not yet sent
                pipe.close()


def _how_it_ended(process: subprocess.Popen) -> str:
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    process.kill()
    status = process.wait()
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def _talk(
    file_name: str, process: subprocess.Popen, data: bytes, choose: Choose
) -> tuple[list[str], dict[str, list[Any]]]:
    """What the reader answers. Raises CorpusError, and ValueError where it broke off."""
    most = {
        "rows": limits.CORPUS_LINES,
        "cells": limits.CORPUS_CELLS,
        "letters": limits.CORPUS_LETTERS,
        "cell": limits.LINE_BYTES,
        "chunks": limits.PARQUET_CHUNKS,
        "string": limits.PARQUET_STRING_BYTES,
        "container": limits.PARQUET_CONTAINER,
        "memory": limits.PARQUET_MEMORY_BYTES,
        "seconds": limits.PARQUET_SECONDS,
    }
    process.stdin.write(json.dumps({"limits": most, "bytes": len(data)}).encode() + b"\n")
    process.stdin.write(data)
    process.stdin.flush()
    described = _answer(file_name, process)
    headings = [str(name) for name in described["names"]]
    kinds = dict(zip(headings, described["kinds"], strict=True))
    wanted = list(choose(headings))
    size = sum(described["sizes"].get(name, 0) for name in wanted)
    check_cells(file_name, described["rows"], len(wanted))
    if size > limits.CORPUS_LETTERS:
        raise CorpusError(
            f"{file_name} has {size / limits.MIB:,.0f} MiB of text once it is unpacked; at most "
            f"{limits.CORPUS_LETTERS // limits.MIB} MiB are read: leave out languages or sentences"
        )
    if not wanted:
        return headings, {}
    process.stdin.write(json.dumps(wanted).encode() + b"\n")
    process.stdin.close()
    readable = _answer(file_name, process)
    table: dict[str, list[Any]] = {name: [] if name in readable else [NoText(kinds[name])] for name in wanted}
    while batch := _answer(file_name, process):
        for name, values in batch.items():
            table[name] += values
    return headings, table


def _answer(file_name: str, process: subprocess.Popen) -> Any:
    """The reader's next answer. Raises CorpusError for what is wrong with the file, ValueError where it broke off."""
    kind, value = json.loads(process.stdout.readline())
    if kind == "error":
        raise CorpusError(f"{file_name} cannot be read as Parquet: {value}")
    if kind == "too large":
        raise CorpusError(f"{file_name} is too large: {value}")
    return value


def check_cells(where: str, rows: int, columns: int) -> None:
    """Raise CorpusError for more rows, or cells, than are read."""
    if rows > limits.CORPUS_LINES + 1 or rows * columns > limits.CORPUS_CELLS:
        raise CorpusError(
            f"{where} has {rows:,} rows of {columns:,} columns; at most {limits.CORPUS_LINES:,} rows and "
            f"{limits.CORPUS_CELLS:,} cells are read: leave out sentences or languages"
        )
