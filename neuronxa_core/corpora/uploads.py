"""Uploaded corpora, kept on disk under their content so that a link can name them."""

from __future__ import annotations

import itertools
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import xxhash

from neuronxa_core.corpora.texts import base_name
from neuronxa_core.errors import CorpusError, NotAllowed
from neuronxa_core.host.limits import MIB

log = logging.getLogger(__name__)

FOLDER = "uploads"
# a folder's name, by the content of its files
NAME = re.compile(r"[0-9a-f]{32}")
# an upload that is younger is not removed to make room for another
KEPT_S = 24 * 3600.0


def keep(
    files: Sequence[tuple[str, bytes]],
    folder: Path,
    *,
    file_mib: int | None = None,
    most_files: int | None = None,
    kept_mib: int | None = None,
) -> Path:
    """Keep files of (name, content) in a folder of their own below `folder`, named by their content.

    Returns the path to read: the file where there is one, else the folder. Names are not trusted: only their last part
    counts, and of that only letters, digits and a few signs. file_mib: MiB of a file; most_files: at a time;
    kept_mib: of all uploads below `folder`: the oldest go to make room, but none of the last day.

    Raises CorpusError for names that are empty or equal and a disk that cannot be written, NotAllowed for too much.
    """
    if most_files is not None and len(files) > most_files:
        raise NotAllowed(f"{len(files)} files are more than the {most_files} that may be uploaded; upload one table")
    for name, content in files:
        if file_mib is not None and len(content) > file_mib * MIB:
            raise NotAllowed(
                f"{name[:80]} has {len(content) / MIB:,.1f} MiB, and the host of this app allows {file_mib:,} MiB per "
                "file; upload fewer sentences"
            )
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
    try:
        if kept_mib is not None and not all((kept / name).is_file() for name in names):
            _make_room(sum(len(content) for _, content in safe), folder, kept_mib)
        kept.mkdir(parents=True, exist_ok=True)
        for name, content in safe:
            if not (kept / name).is_file():
                partial = kept / f".{name}.{uuid.uuid4().hex}.part"
                try:
                    partial.write_bytes(content)
                    partial.replace(kept / name)
                finally:
                    partial.unlink(missing_ok=True)
        os.utime(kept)
    except OSError as error:
        log.warning("an upload cannot be kept: %s", error)
        with suppress(OSError):  # others keep the same, or there is nothing of it
            kept.rmdir()
        raise CorpusError(
            f"the upload cannot be kept ({error.strerror or type(error).__name__}); the host of this app can solve that"
        ) from error
    return kept / names[0] if len(names) == 1 else kept


def _make_room(needed: int, folder: Path, kept_mib: int) -> None:
    """Remove the oldest uploads until `needed` bytes fit. Raises NotAllowed where they do not."""
    if needed > kept_mib * MIB:
        raise NotAllowed(
            f"the files have {needed / MIB:,.1f} MiB together, and the host of this app keeps {kept_mib:,} MiB of "
            "uploads; upload fewer sentences"
        )
    there = sorted(
        (upload.stat().st_mtime, sum(f.stat().st_size for f in upload.iterdir() if f.is_file()), upload)
        for upload in (folder.iterdir() if folder.is_dir() else ())
        if NAME.fullmatch(upload.name) and upload.is_dir() and not upload.is_symlink()
    )
    total = sum(size for _, size, _ in there)
    for changed, size, upload in there:
        if total + needed <= kept_mib * MIB:
            return
        if time.time() - changed < KEPT_S:
            break
        shutil.rmtree(upload, ignore_errors=True)
        log.info("removed the upload %s to make room for another", upload.name)
        total -= size
    if total + needed > kept_mib * MIB:
        raise NotAllowed("uploads of the last day take all the room that the host of this app gives them; try tomorrow")


def _safe_name(name: str) -> str:
    safe = re.sub(r"[^\w.,+@ -]", "_", base_name(name)).encode()[-120:].decode("utf-8", "ignore").lstrip(". ")
    if not safe:
        raise CorpusError(f"an uploaded file has no usable name ({name[:40]!r}); rename it, for example to deu.txt")
    return safe
