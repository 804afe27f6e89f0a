"""What tells a model's numbers from any other's: the hub's commit, or a hash of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import xxhash

from neuronxa_core.errors import ModelError
from neuronxa_core.models.description import ModelSource
from neuronxa_core.models.sources import resolved

_hashes: dict[str, str] = {}
"""Of every state of a file that this process has seen, the hash of its content."""


def identity(source: ModelSource, remembered: Callable[[str, Callable[[], str]], str] | None = None) -> str:
    """What tells this model's numbers from any other's: the hub's commit, or the content of the folder's files.

    `remembered(key, compute)` may keep the hash of a file between processes; its key holds path, size and the times of
    change, also the one that no program can set.
    """
    if source.kind == "hub":
        return f"hub:{source.location}@{resolved(source).revision}"
    remembered = remembered or (lambda _key, compute: compute())
    digest = xxhash.xxh3_128()
    for file in _files_that_matter(Path(source.location)):
        digest.update(file.name.encode())
        state = _file_state(file)
        if state not in _hashes:
            _hashes[state] = remembered(state, lambda file=file: _hash_file(file))
        digest.update(_hashes[state].encode())
    return f"files:{digest.hexdigest()}"


def check_unchanged(source: ModelSource, planned: str) -> None:
    """Raise ModelError where a model's files are no longer those of the identity it was planned with."""
    if source.kind != "hub" and identity(source) != planned:
        raise ModelError(
            f"the files of model {source.name} changed after the run was planned; nothing was computed from them: "
            "start the run again"
        )


def _files_that_matter(folder: Path) -> list[Path]:
    """Configuration, weights and tokenizer files of a local model."""
    weights = ("config.json", "*.safetensors", "*.safetensors.index.json")
    words = ("tokenizer*", "*.model", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json")
    return sorted({file for pattern in (*weights, *words) for file in folder.glob(pattern) if file.is_file()})


def _file_state(file: Path) -> str:
    status = file.stat()
    return f"{file}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"


def _hash_file(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, xxhash.xxh3_128).hexdigest()
