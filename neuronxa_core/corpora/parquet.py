"""Parquet files that nobody checked: unpacked by a process of their own, so that none can take this one down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from neuronxa_core.errors import CorpusError
from neuronxa_core.host import limits

READER = Path(__file__).with_name("parquet_reader.py")
# of the environment, what a program needs to start; no secret is among it
PASSED_ON = (
    "PATH",
    "HOME",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "PYTHONPATH",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "TMPDIR",
)


class NoText:
    """In place of a column whose values are no text, and were not unpacked."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return self.kind


def read(
    file_name: str, data: bytes, choose: Callable[[Sequence[str]], Sequence[str]]
) -> tuple[list[str], dict[str, list[Any]]]:
    """(all headings, the columns that `choose` takes of them).

    What the file says of its size is checked before anything is unpacked, and what comes out of it as it comes: a value
    that is stored once and referred to a million times is small in the file and in what it says of itself. Values that
    are no text are numbers, truths, None, or one NoText for the column.

    Raises CorpusError.
    """
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
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", str(READER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # the allocators that Arrow has by default reserve more than they use
            env={**{n: os.environ[n] for n in PASSED_ON if n in os.environ}, "ARROW_DEFAULT_MEMORY_POOL": "system"},
        )
    except OSError as error:
        raise CorpusError(f"{file_name} cannot be read as Parquet: no process could be started: {error}") from error
    end = threading.Timer(2 * limits.PARQUET_SECONDS, process.kill)
    end.start()
    try:
        return _talk(
            file_name, process, json.dumps({"limits": most, "bytes": len(data)}).encode() + b"\n", data, choose
        )
    except (BrokenPipeError, ValueError, KeyError, TypeError) as error:
        try:
            ended = process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            ended = process.wait()
        how = f"signal {signal.Signals(-ended).name}" if ended < 0 else f"status {ended}"
        raise CorpusError(
            f"{file_name} cannot be read as Parquet: it is damaged, and ended the process that read it ({how})"
        ) from error
    finally:
        end.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            try:
                pipe.close()
            except OSError:  # what was not yet sent goes nowhere
                continue


def _talk(
    file_name: str,
    process: subprocess.Popen,
    request: bytes,
    data: bytes,
    choose: Callable[[Sequence[str]], Sequence[str]],
) -> tuple[list[str], dict[str, list[Any]]]:
    """What the reader answers. Raises CorpusError, and ValueError where it broke off."""
    process.stdin.write(request)
    process.stdin.write(data)
    process.stdin.flush()
    _, said = _answer(file_name, process)
    headings = [str(name) for name in said["names"]]
    wanted = list(choose(headings))
    size = sum(said["sizes"].get(name, 0) for name in wanted)
    check_cells(file_name, said["rows"], len(wanted))
    if size > limits.CORPUS_LETTERS:
        raise CorpusError(
            f"{file_name} has {size / limits.MIB:,.0f} MiB of text once it is unpacked; at most "
            f"{limits.CORPUS_LETTERS // limits.MIB} MiB are read: leave out languages or sentences"
        )
    process.stdin.write(json.dumps(wanted).encode() + b"\n")
    process.stdin.close()
    kinds = dict(zip(headings, said["kinds"], strict=True))
    table: dict[str, list[Any]] = {name: [] for name in wanted}
    if not wanted:
        return headings, table
    _, readable = _answer(file_name, process)
    table |= {name: [NoText(kinds[name])] for name in wanted if name not in readable}
    while True:
        kind, columns = _answer(file_name, process)
        if kind == "end":
            return headings, table
        for name, values in columns.items():
            table[name] += values


def _answer(file_name: str, process: subprocess.Popen) -> tuple[str, Any]:
    """(kind, value) of the reader's next line. Raises CorpusError for what is wrong, ValueError where it is gone."""
    kind, value = json.loads(process.stdout.readline())
    if kind == "error":
        raise CorpusError(f"{file_name} cannot be read as Parquet: {value}")
    if kind == "too large":
        raise CorpusError(f"{file_name} is too large: {value}")
    return kind, value


def check_cells(where: str, rows: int, columns: int) -> None:
    """Raise CorpusError for more rows, or cells, than are read."""
    if rows > limits.CORPUS_LINES + 1 or rows * columns > limits.CORPUS_CELLS:
        raise CorpusError(
            f"{where} has {rows:,} rows of {columns:,} columns; at most {limits.CORPUS_LINES:,} rows and "
            f"{limits.CORPUS_CELLS:,} cells are read: leave out sentences or languages"
        )
