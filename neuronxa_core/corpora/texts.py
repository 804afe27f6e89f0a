"""TODO"""

import codecs

import numpy as np

from neuronxa_core.errors import CorpusError
from neuronxa_core.host import limits


def _lines(file_name: str, data: bytes) -> list[str]:
    """Lines of a text file, split at LF and CRLF alone, empty ones at the end dropped. Raises CorpusError if none."""
    lines = [line.removesuffix("\r") for line in _decode(file_name, data).split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise CorpusError(f"{file_name} is empty")
    return lines


def _decode(file_name: str, data: bytes) -> str:
    data = data.removeprefix(codecs.BOM_UTF8)
    _check_long_lines(file_name, data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"{file_name}, line {line}: not UTF-8; save the file as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CorpusError(f"{file_name}, line {line}: a NUL byte, so this is no text; save the file as UTF-8")
    return text


def _check_long_lines(file_name: str, data: bytes) -> None:
    """Raise CorpusError for too many lines, and for one that is too long to be a sentence."""
    if data.count(b"\n") > limits.CORPUS_LINES:
        raise CorpusError(f"{file_name} has more than {limits.CORPUS_LINES:,} lines; leave out sentences")
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    lengths = np.diff(ends, prepend=-1, append=len(data)) - 1
    longest = int(np.argmax(lengths))
    if lengths[longest] > limits.LINE_BYTES:
        raise CorpusError(
            f"{file_name}, line {longest + 1}: {lengths[longest] / limits.MIB:,.1f} MiB in one line; at most "
            f"{limits.LINE_BYTES / limits.MIB:g} MiB are read: give one sentence a line"
        )


def _stem(file_name: str) -> str:
    return file_name.rpartition(".")[0] or file_name


def _suffix(file_name: str) -> str:
    return file_name.rpartition(".")[2].lower()
