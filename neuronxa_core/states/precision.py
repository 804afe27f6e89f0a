"""How pooled states are kept: the sums as they are, or shorter with a rounding that is done once, before storing.

- `exact`: NAS pooled_sums as the smallest unsigned integers that hold them, NAV and EMB as float32.
- `half`: NAV and EMB as float16, 11 significant bits.
- `compact`: as `half`, and NAS `weighted` in 8 bits: the frequency sum_t t n_t / sum_t t in steps of 1/255.

A sentence's vector is kept up to a factor of its own, its scale: a cosine does not change with it, so scores are read
off the kept values as they are. Half values are scaled by a power of two to at most 1, which rounds nothing and cannot
overflow. NAS `last` and `mean`, and with it the activation counts, are exact in every form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from neuronxa_core.models.description import ModelInfo


FORMS = ("exact", "half", "compact")
STEPS = 255


def shortened(name: str, form: str) -> type[np.generic] | None:
    """What a form shortens the array `<state>_<pooling>` to; None where it keeps the pooled_sums as they are."""
    if form == "exact":
        return None
    if name == "nas_weighted":
        return np.uint8 if form == "compact" else None
    return None if name.startswith("nas_") else np.float16


def scale_name(name: str) -> str:
    """The name under which a shortened array's scales are kept, float32 [layer, sentence]."""
    return f"{name}_scale"


def shorten(pooled_sums: np.ndarray, tokens: np.ndarray, to: type[np.generic]) -> tuple[np.ndarray, np.ndarray]:
    """(kept, scales) of sentences' pooled_sums [sentence, width], with pooled_sums = kept * scales [sentence].

    tokens: of each sentence, [sentence]. to: what `shortened` says.
    """
    return _half(pooled_sums) if to is np.float16 else _eighth(pooled_sums, tokens)


def _half(pooled_sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(float16 in [-1, 1], powers of two)."""
    largest = np.maximum(pooled_sums.max(axis=1), -pooled_sums.min(axis=1))
    scales = np.ldexp(np.float32(1), np.frexp(largest)[1])
    return (pooled_sums / scales[:, None]).astype(np.float16), scales


def _eighth(pooled_sums: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 frequencies in steps of 1/255, what a step is in pooled_sums)."""
    whole = tokens.astype(np.float64) * (tokens + 1) / 2
    return np.rint(pooled_sums * (STEPS / whole)[:, None]).astype(np.uint8), (whole / STEPS).astype(np.float32)


def bytes_a_sentence(info: ModelInfo, form: str) -> int:
    """On disk, all states and poolings of all layers, for a sentence of 23 to 255 tokens."""
    real = 4 if form == "exact" else 2
    whole = 1 + 1 + 1 if form == "compact" else 2 + 1 + 1
    return info.layers * (info.neurons * (whole + 3 * real) + info.hidden * 3 * real)
