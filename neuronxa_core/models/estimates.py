"""How much memory and time a model takes, and the dtype and device that `auto` stands for."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch

from neuronxa_core.errors import ModelError
from neuronxa_core.models.description import ModelInfo

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# bytes of a weight of a linear projection: nf4 keeps a float32 scale for every 64 weights of half a byte
QUANTIZED = {"int8": 1.0, "nf4": 0.5 + 4 / 64}
# weights times sentences per second that two cores read; the bundled model was measured
CPU_PACE = 1.5e9
# tokens of sentences as they usually are, for estimates of memory
SHORT, LONG = 16, 512


def resolve_dtype(dtype: str, info: ModelInfo, device: str) -> str:
    """`auto` is the dtype that the weights are stored in on a GPU, and float32 on a CPU.

    Raises ModelError where 8-bit or 4-bit weights are asked for and there is no GPU to use them on.
    """
    if dtype in QUANTIZED and device != "cuda":
        raise ModelError(f"dtype {dtype} needs a CUDA GPU; choose float32 or bfloat16 for device {device}")
    if dtype != "auto":
        return dtype
    if device == "cpu" or info.stored_dtype not in DTYPES:
        return "float32"
    return info.stored_dtype


def computing_dtype(dtype: str, info: ModelInfo) -> str:
    """The dtype of activations: of 8-bit and 4-bit weights the stored one where that is a half, else bfloat16."""
    if dtype not in QUANTIZED:
        return dtype
    return info.stored_dtype if info.stored_dtype in ("float16", "bfloat16") else "bfloat16"


def resolve_device(device: str) -> str:
    """`auto` is a GPU where there is one. Raises ModelError where CUDA is asked for and there is none."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("device cuda was asked for, but this machine has no usable CUDA GPU; choose cpu or auto")
    return device


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a choice needs and that are free, on the device where the model would go."""

    weights: int
    working: int
    free: int

    @property
    def needed(self) -> int:
        return self.weights + self.working

    @property
    def fits(self) -> bool:
        return self.needed <= self.free


def estimate_memory(info: ModelInfo, dtype: str, device: str, token_budget: int) -> MemoryEstimate:
    """Weights, and what one batch of `token_budget` tokens takes at its peak, in one layer; nothing is kept of others.

    - A token takes, in the dtype of the activations, up to ten vectors of attention (residual, norm, queries, keys and
      values before and after rotation, output) and six of inner width (gate, up, what the activation function makes on
      its way). In a mixture, the inner width is that of all experts that the token is sent to, and each of these has
      four hidden vectors more (its input, its output, that weighted, and that put back in order).
    - Pooling holds, as float32, one inner vector per token, and three of all neurons per sentence (of a mixture, for
      NAS and for NAV); sentences are taken to have at least SHORT tokens.
    - The attention mask has one number per pair of tokens, as truth and in the activations' dtype. Eager attention has
      scores for each head besides: as float32 for the softmax, and four in the activations' dtype. Fused kernels hold
      none. Sentences are taken to have up to LONG tokens; longer ones may exceed the estimate, and then go in smaller
      batches.
    - No keys and values are kept. Logits exist for a likelihood alone, whose batches are smaller by about as much.

    Raises ModelError as `resolve_dtype` does.
    """
    resolved = resolve_dtype(dtype, info, device)
    size = torch.finfo(DTYPES[computing_dtype(resolved, info)]).bits // 8
    projected = info.projected if resolved in QUANTIZED else 0
    weights = (info.parameters - projected) * size + int(projected * QUANTIZED.get(resolved, 0))
    inner = info.neurons // info.experts * info.chosen if info.experts else info.neurons
    vectors = 10 * max(info.hidden, info.attention) + 6 * inner + 4 * info.chosen * info.hidden
    pairs = min(LONG, info.max_length) * (1 + size + info.scored * (4 + 4 * size))
    pooled = 12 * info.neurons * (2 if info.experts else 1) // SHORT
    working = token_budget * (size * vectors + 4 * inner + pooled + pairs)
    free = sum(free_gpu_bytes()) if device == "cuda" else psutil.virtual_memory().available
    return MemoryEstimate(weights, working, free)


def cpu_seconds(info: ModelInfo, sentences: int) -> float:
    """Seconds in which two CPU cores read so many sentences, about: weights times sentences, by CPU_PACE."""
    return info.parameters * sentences / CPU_PACE


def free_gpu_bytes() -> list[int]:
    """Free memory of every visible GPU, in bytes."""
    return [torch.cuda.mem_get_info(k)[0] for k in range(torch.cuda.device_count())]
