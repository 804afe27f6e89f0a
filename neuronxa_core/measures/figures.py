"""Downstream measures that need no benchmark: what the model can do in a language, from the corpus itself.

- `TransferProbe`: zero-shot transfer in the manner of XNLI (Conneau et al., EMNLP 2018). A linear classifier learns
  the sentences' labels from one language's sentence vectors and is tested on the other languages' vectors.
- `LikelihoodPerByte`: nats per byte of a causal language model.
- `HeldOutRetrieval`: translation retrieval on sentences that alignment was not measured on.

Each is work for the queue, keeps every language's figure in the store as soon as it is there, and gives `Measured`
figures that task scores can be correlated with. A probe and retrieval read stored states and need no model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuronxa_core.errors import ExperimentError
from neuronxa_core.states.extraction import POOLINGS, STATES
from neuronxa_core.states.planning import Plan

# part of the key under which figures are kept: raise it whenever the numbers below could change
VERSION = 1


@dataclass(frozen=True)
class Measured:
    """A figure of one language with its standard error over sentences, and how many sentences that were."""

    score: float
    stderr: float
    n: int

    def to_json(self) -> dict:
        """What `from_json` reads."""
        return {"score": self.score, "stderr": self.stderr, "n": self.n}

    @classmethod
    def from_json(cls, document: object, most: float = np.inf) -> Measured | None:
        """The figure that `to_json` wrote, with a score in [0, most]; None for anything else."""
        if not isinstance(document, dict) or set(document) != {"score", "stderr", "n"}:
            return None
        score, stderr, n = document["score"], document["stderr"], document["n"]
        if not _is_number(score, most) or not _is_number(stderr) or type(n) is not int or n < 2:
            return None
        return cls(float(score), float(stderr), n)

    @classmethod
    def mean_of(cls, values: np.ndarray) -> Measured:
        """The mean of one value a sentence, [sentence] with at least 2, and sd / sqrt(n)."""
        return cls(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), len(values))


def _is_number(value: object, most: float = np.inf) -> bool:
    return type(value) in (int, float) and 0 <= value <= most and value < np.inf


def _check_states(state: str, pooling: str) -> None:
    for name, value, allowed in (("state", state, STATES), ("pooling", pooling, POOLINGS)):
        if value not in allowed:
            raise ExperimentError(f"{name} is one of {', '.join(allowed)}, not {value!r}")


def _check_layer(plan: Plan, layer: int) -> None:
    if type(layer) is not int or not 0 <= layer < plan.info.layers:
        raise ExperimentError(f"layer is from 0 to {plan.info.layers - 1} in model {plan.info.name}, not {layer!r}")
