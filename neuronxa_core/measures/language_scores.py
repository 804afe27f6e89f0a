"""Measures that give a score per language, as a task does: what the model can do, from the corpus itself.

`probe` (labels learnt in one language and told in the others), `likelihood` (nats per byte) and `bitext_retrieval`
(translations found among held-out sentences) need no benchmark; alignment is correlated with them as with task scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.base import Arrays, Measure, Part
from neuronxa_core.states.planning import Plan


def check_layer(plan: Plan, state: str, layer: int) -> None:
    """Raise ExperimentError where the plan's model has no such layer of a representation."""
    last = plan.info.layers_of(state) - 1
    if type(layer) is not int or not 0 <= layer <= last:
        raise ExperimentError(f"layer is from 0 to {last} in model {plan.info.name}, not {layer!r}")


def mean_score(values: np.ndarray) -> Arrays:
    """The mean of one value per sentence, [..., sentence] with at least 2: score, stderr = sd / sqrt(n) and n."""
    n = values.shape[-1]
    return {
        "score": np.asarray(values.mean(axis=-1)),
        "stderr": np.asarray(values.std(axis=-1, ddof=1) / np.sqrt(n)),
        "n": np.asarray(n),
    }


@dataclass(frozen=True)
class LanguageScores(Measure):
    """A score per language, with its standard error over n sentences.

    metric: what the score is, for a person. higher_is_better: False for nats.
    """

    unit: ClassVar[str] = "languages"
    metric: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    @property
    def languages(self) -> tuple[str, ...]:
        """Which languages are measured: all of the plan, the pivot first."""
        return self.plan.all_languages

    def parts(self) -> tuple[Part, ...]:
        return self.languages

    def scores(self, results: Mapping[Part, Arrays]) -> dict[str, Arrays]:
        """`score`, `stderr` and `n` of each language whose score is known, each of one number."""
        return {code: results[code] for code in self.languages if code in results}

    def frame(self, results: Mapping[Part, Arrays]) -> pd.DataFrame:
        """Columns: language, score, stderr, n."""
        columns = ("score", "stderr", "n")
        rows = [(code, *(one[name].item() for name in columns)) for code, one in self.scores(results).items()]
        return pd.DataFrame(rows, columns=["language", *columns])
