"""What an administrator looks after: what the cache holds, whether it is whole, and what memory is left."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pandas as pd
import psutil
import torch

from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store, kind_of

VERIFIED = "verified"
FOLDERS = {
    "uploads": "uploaded corpora and task scores",
    "harness": "logs of lm-evaluation-harness",
    "jobs": "jobs that are not over",
}
COLUMNS = ("kind", "model", "corpus", "language", "dtype", "neuron", "states", "storage", "sentences")


def contents(store: Store) -> pd.DataFrame:
    """What the cache holds, one row per entry, the one used last first.

    Columns: kind (states, scores, ...), model, corpus, language, dtype, neuron, states, storage, sentences (empty
    where the kind has none), bytes, stored, used (UTC), key. Small documents are not listed. Raises StoreError.
    """
    rows = []
    for entry in store.entries():
        meta = entry.meta if isinstance(entry.meta, dict) else {}
        row = {name: meta.get(name, "") for name in COLUMNS}
        row["kind"] = kind_of(entry.key)
        rows.append({**row, "bytes": entry.size_bytes, "stored": entry.stored, "used": entry.used, "key": entry.key})
    return pd.DataFrame(rows, columns=[*COLUMNS, "bytes", "stored", "used", "key"])


def by_model(table: pd.DataFrame) -> pd.DataFrame:
    """`contents` summed up, one row per model and kind, the largest first: languages, entries, bytes, last used."""
    grouped = table.groupby(["model", "kind"], as_index=False, dropna=False).agg(
        languages=("language", lambda codes: codes[codes != ""].nunique()),
        entries=("key", "size"),
        bytes=("bytes", "sum"),
        used=("used", "max"),
    )
    return grouped.sort_values("bytes", ascending=False, kind="stable").reset_index(drop=True)


def beside(store: Store) -> dict[str, int]:
    """{folder: bytes} of what lies in the cache's folder and does not count towards its limit."""
    return {name: _bytes_below(store.folder / name) for name in FOLDERS}


def _bytes_below(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(place, name).lstat().st_size
            except FileNotFoundError:  # removed meanwhile
                continue
    return total


@dataclass(frozen=True)
class Verification:
    """Work for the queue: comparing everything that the cache holds with its checksums; what is damaged is dropped."""

    unit: ClassVar[str] = "MB"
    plan: ClassVar[None] = None
    key: ClassVar[str] = "verification"
    title: ClassVar[str] = "verification of the cache"
    units: ClassVar[int] = 0  # nothing of it is ever there before

    def totals(self, store: Store) -> dict[str, int]:
        """Megabytes; nothing where the cache is empty."""
        return {"cache": -(-store.size() // 10**6)} if store.count() else {}

    def run(
        self,
        store: Store,
        pool: ModelPool,
        on_progress: Callable[[str, int, int], None],
        cancelled: Callable[[], bool],
    ) -> None:
        """Verify, and keep what was found for `last`. Raises StoreError, Cancelled."""
        count, damaged = store.verify(
            lambda done, whole: on_progress("cache", -(-done // 10**6), -(-whole // 10**6)), cancelled
        )
        found = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "entries": count, "damaged": damaged}
        store.put_json(VERIFIED, found)


@dataclass(frozen=True)
class Verified:
    """How the cache was when it was verified last. when: UTC. damaged: keys of the entries that were dropped."""

    when: datetime
    entries: int
    damaged: tuple[str, ...]


def last_verified(store: Store) -> Verified | None:
    """What the last verification found; None where there was none, or none that can be read."""
    found = store.get_json(VERIFIED)
    try:
        return Verified(datetime.fromisoformat(found["when"]), int(found["entries"]), tuple(found["damaged"]))
    except (TypeError, ValueError, KeyError):
        return None


@dataclass(frozen=True)
class Memory:
    """Of the host or a GPU, in bytes. own: used by this process; on a GPU what torch holds there."""

    name: str
    total: int
    free: int
    own: int


def memory() -> list[Memory]:
    """Of the host, then of each GPU."""
    host = psutil.virtual_memory()
    found = [Memory("host", host.total, host.available, psutil.Process().memory_info().rss)]
    if torch.cuda.is_available():
        for k in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(k)
            name = f"GPU {k}, {torch.cuda.get_device_name(k)}"
            found.append(Memory(name, total, free, torch.cuda.memory_reserved(k)))
    return found


def loaded_models(pool: ModelPool) -> pd.DataFrame:
    """One row per model in memory, the one used last first: model, dtype, device, bytes of its weights."""
    return pd.DataFrame(
        [
            {
                "model": loaded.info.name,
                "dtype": loaded.dtype,
                "device": str(loaded.device),
                "bytes": sum(
                    tensor.numel() * tensor.element_size() for tensor in (loaded.head or loaded.model).parameters()
                ),
            }
            for loaded in pool.loaded()
        ],
        columns=["model", "dtype", "device", "bytes"],
    )
