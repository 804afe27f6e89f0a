"""Uploaded corpora, kept on disk under their content so that a link can name them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import xxhash

from neuronxa_core.errors import CorpusError


def keep(files: Sequence[tuple[str, bytes]], folder: Path) -> Path:
    """Keep files of (name, content) in a folder of their own below `folder`, named by their content.

    Returns the path to read: the file where there is one, else the folder. Names are not trusted: only their last part
    counts, and of that only letters, digits and a few signs. Raises CorpusError for names that are empty or equal.
    """
    safe = sorted((_safe_name(name), content) for name, content in files)
    names = [name for name, _ in safe]
    for name, following in itertools.pairwise(names):
        if name == following:
            raise CorpusError(f"two uploaded files are called {name}; upload each language once")
    digest = xxhash.xxh3_128()
    for name, content in safe:
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    kept = folder / digest.hexdigest()
    kept.mkdir(parents=True, exist_ok=True)
    for name, content in safe:
        if not (kept / name).is_file():
            partial = kept / f".{name}.part"
            partial.write_bytes(content)
            partial.replace(kept / name)
    return kept / names[0] if len(names) == 1 else kept


def _safe_name(name: str) -> str:
    last = PurePosixPath(name.replace("\\", "/")).name
    safe = re.sub(r"[^\w.,+@ -]", "_", last).lstrip(". ")[-120:]
    if not safe:
        raise CorpusError(f"an uploaded file has no usable name ({name[:40]!r}); rename it, for example to deu.txt")
    return safe
