"""How pooled states are stored: the sums as they are, or rounded to half precision once, before storing.

- `exact`: NAS sums as the smallest unsigned integers that hold them, NAV and EMB as float32.
- `half`: NAV and EMB as float16, 11 significant bits; NAS, and with it the activation counts, stays exact.

A rounded vector is divided by a power of two of its own, its scale, so that its largest entry is at most 1 in size:
nothing overflows, and no bit is lost to the division. Cosines do not change with it, so scores need no scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from neuronxa_core.models.description import ModelInfo

STORAGE = ("exact", "half")


def is_rounded(name: str, storage: str) -> bool:
    """Whether the array `<state>_<pooling>` is stored as float16."""
    return storage == "half" and not name.startswith("nas_")


def scale_name(name: str) -> str:
    """The name under which a rounded array's scales are stored, float32 [layer, sentence]."""
    return f"{name}_scale"


def to_half(pooled_sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(float16 values in [-1, 1], scales [sentence]) of [sentence, width], with pooled_sums = values * scales."""
    largest = np.maximum(pooled_sums.max(axis=1), -pooled_sums.min(axis=1))
    scales = np.ldexp(np.float32(1), np.frexp(largest)[1])
    return (pooled_sums / scales[:, None]).astype(np.float16), scales


def bytes_per_sentence(info: ModelInfo, storage: str, names: Sequence[str]) -> int:
    """On disk, the states `<state>_<pooling>` of all layers, for a sentence of 23 to 255 tokens."""

    def of(name: str) -> int:
        state = name.partition("_")[0]
        real = 4 if storage == "exact" else 2
        size = (2 if name == "nas_weighted" else 1) if state == "nas" else real
        return info.layers_of(state) * info.width_of(state) * size

    return sum(map(of, names))
