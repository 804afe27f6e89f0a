"""How well a causal language model predicts each language, in nats per byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from neuronxa_core.errors import ExperimentError, ModelError
from neuronxa_core.measures.base import Arrays, Run
from neuronxa_core.measures.language_scores import LanguageScores
from neuronxa_core.states import likelihood


@dataclass(frozen=True)
class NatsPerByte(LanguageScores):
    """Nats per byte of a causal language model; lower is better.

    sentences: how many usable rows are read, the first ones; all for None. The score is the sum of nats over the sum
    of UTF-8 bytes, see states.likelihood; its standard error is that of a ratio of two means over sentences (delta
    method). Scripts need from one to three bytes per letter, which is why languages can be compared with care only.

    Raises ModelError for an encoder, ExperimentError for fewer than 2 sentences.
    """

    sentences: int | None = None
    name: ClassVar[str] = "likelihood"
    version: ClassVar[int] = 2
    unit: ClassVar[str] = "sentences"
    needs: ClassVar[Literal["head"]] = "head"
    metric: ClassVar[str] = "nats per byte"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.plan.info.causal:
            raise ModelError(
                f"model {self.plan.source.name} ({self.plan.info.class_name}) is an encoder, which predicts no next "
                "token; likelihood needs a causal language model, such as demo or Qwen/Qwen3-8B"
            )
        if self.sentences is not None and self.sentences < 2:
            raise ExperimentError(f"likelihood needs at least 2 sentences, not {self.sentences}")

    @property
    def title(self) -> str:
        count = len(self.languages)
        return f"likelihood of {count} {'language' if count == 1 else 'languages'} in {self.plan.source.name}"

    def content(self, part: str) -> object:
        # not plan.keys: how a neuron is defined does not matter here
        model = [likelihood.VERSION, self.plan.identity, self.plan.dtype, self.plan.info.max_length]
        return [model, self._texts(part)]

    def units_of(self, part: str) -> int:
        return len(self._texts(part))

    def group_of(self, part: str) -> str:
        return part

    def compute(self, part: str, run: Run) -> Arrays:
        found = likelihood.negative_log_likelihood(
            run.loaded,
            self._texts(part),
            language=part,
            cancelled=run.cancelled,
            on_progress=lambda done, _all: run.on_units(done),
        )
        return ratio_score(found.nats, found.bytes)

    def _texts(self, language: str) -> list[str]:
        return [self.plan.corpus.texts[language][row] for row in self.plan.corpus.usable[: self.sentences]]


def ratio_score(above: np.ndarray, below: np.ndarray) -> Arrays:
    """Sum of `above` over sum of `below`, [sentence] each, with the standard error of the delta method, and n."""
    n, score = len(above), above.sum() / below.sum()
    residual = above - score * below
    stderr = np.sqrt(n / (n - 1) * (residual**2).sum()) / below.sum()
    return {"score": np.asarray(score), "stderr": np.asarray(stderr), "n": np.asarray(n)}
