"""Text of files that nobody checked: names, lines, and bytes that must be UTF-8."""

import codecs
import json
import re
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from neuronxa_core.errors import CorpusError, NeuronXAError
from neuronxa_core.host import limits


def base_name(untrusted: str) -> str:
    """The last part of a path of any system, its printable letters alone."""
    return "".join(c for c in PurePosixPath(untrusted.replace("\\", "/")).name if c.isprintable())


def stem(file_name: str) -> str:
    """A file's name without its last suffix."""
    return file_name.rpartition(".")[0] or file_name


def suffix(file_name: str) -> str:
    """The last suffix in lower case, without its dot; the whole name where it has none."""
    return file_name.rpartition(".")[2].lower()


def decode(file_name: str, data: bytes, encoding: str = "utf-8", error: type[NeuronXAError] = CorpusError) -> str:
    """The text of a file. Raises `error` with the line that is not in the encoding or holds a NUL byte."""
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as broken:
        line = data.count(b"\n", 0, broken.start) + 1
        raise error(f"{file_name}, line {line}: not UTF-8; save the file as UTF-8") from broken
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise error(f"{file_name}, line {line}: a NUL byte, so this is no text; save the file as UTF-8")
    return text


def json_of(text: str) -> Any:
    """What a text says as JSON. Raises ValueError, for an escape that is half a character too, and RecursionError."""
    content = json.loads(text)
    if re.search(r"\\u[dD]", text):
        json.dumps(content, ensure_ascii=False).encode()
    return content


def lines_of(file_name: str, data: bytes) -> list[str]:
    """Lines of a text file, split at LF and CRLF alone, empty ones at the end dropped. Raises CorpusError if none."""
    check_lines(file_name, data)
    lines = [line.removesuffix("\r") for line in decode(file_name, data).split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise CorpusError(f"{file_name} is empty")
    return lines


def check_lines(file_name: str, data: bytes) -> None:
    """Raise CorpusError for too many lines, and for one that is too long to be a sentence."""
    if data.count(b"\n") > limits.CORPUS_LINES:
        raise CorpusError(f"{file_name} has more than {limits.CORPUS_LINES:,} lines; leave out sentences")
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    lengths = np.diff(ends, prepend=-1, append=len(data)) - 1
    longest = int(np.argmax(lengths))
    if lengths[longest] > limits.LINE_BYTES:
        raise CorpusError(
            f"{file_name}, line {longest + 1}: {lengths[longest] / limits.MIB:,.1f} MiB in one line; at most "
            f"{limits.LINE_BYTES / limits.MIB:g} MiB are read: give one sentence per line"
        )
