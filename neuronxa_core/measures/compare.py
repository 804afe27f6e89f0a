"""Two models, representations or layers on the same sentences: in which languages one aligns better, beyond chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.alignment import AlignmentScores, align, resampling_weights
from neuronxa_core.measures.base import Arrays, Measure, Run, choice, pooling_choice, state_choice
from neuronxa_core.states import planning
from neuronxa_core.states.computing import compute_missing
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from neuronxa_core.wording import counted

DRAWS = 9_999
LEVEL = 0.05


@lru_cache(maxsize=1)
def _signs(n: int) -> np.ndarray:
    """Random signs [draw, sentence]: whether a draw exchanges the two results of a sentence."""
    return np.random.default_rng(0).choice(np.array([-1, 1], dtype=np.float32), (DRAWS, n))


def paired(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """(low, high, p) of the mean difference of two results of the same sentences, [sentence] each.

    low, high: percentile interval (95 %) of a bootstrap over sentences, both results of a sentence drawn together.
    p: two-sided, the share of draws at least as far from 0 in which the two results of each sentence are exchanged at
    random, the results themselves counted among them (Good, Permutation Tests, 2000).
    """
    difference = (first - second).astype(np.float32)
    means = resampling_weights(len(difference), DRAWS).astype(np.float32) @ difference / len(difference)
    exchanged = np.abs(_signs(len(difference)) @ difference)
    p = (1 + (exchanged >= abs(difference.sum()) - 1e-4).sum()) / (1 + DRAWS)
    return (*map(float, np.quantile(means, [0.025, 0.975])), float(p))


@dataclass(frozen=True)
class Compare(Measure):
    """Alignment of two models, representations or layers on the same sentences, by language, with a paired test."""

    state: str = state_choice()
    pooling: str = pooling_choice()
    layer: int | None = choice(None, "layer of the first; by default all of them, by their mean", of=int)
    other_model: str | None = choice(None, "model of the second (default: the same)", of=str)
    other_state: str | None = choice(None, "representation of the second (default: the same)", of=str)
    other_pooling: str | None = choice(None, "token pooling of the second (default: the same)", of=str)
    other_layer: int | None = choice(None, "layer of the second; by default all of them, by their mean", of=int)
    other: Plan | None = None
    name: ClassVar[str] = "compare"
    unit: ClassVar[str] = "languages"
    needs_shared: ClassVar[bool] = False
    instant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for measure, layer in self._sides:
            last = measure.plan.info.layers_of(measure.state) - 1
            if layer is not None and not 0 <= layer <= last:
                raise ExperimentError(f"{measure.plan.source.name} has the layers 0 to {last}, not {layer}")
        (first, layer), (second, other) = self._sides
        if layer == other and first.key == second.key:
            raise ExperimentError("both sides of the comparison are the same; choose another model, layer, or state")

    @classmethod
    def make(cls, plan: Plan, store: Store, pool: ModelPool, **choices: Any) -> Self:
        """With the second model's states, which are computed where they are missing."""
        other = plan
        if choices.get("other_model"):
            other = planning.make_plan(replace(plan.experiment, model=choices["other_model"]), store)
        state = choices.get("other_state") or choices.get("state", "nas")
        pooling = choices.get("other_pooling") or choices.get("pooling", "weighted")
        wanted = planning.with_states(other, [f"{state}_{pooling}"])
        planning.check_size(wanted, store)
        compute_missing(wanted, store, pool)
        return cls(plan, **choices, other=other)

    @property
    def _sides(self) -> tuple[tuple[AlignmentScores, int | None], tuple[AlignmentScores, int | None]]:
        """The two alignments, and the layer of each."""
        second = self.other or self.plan, self.other_state or self.state, self.other_pooling or self.pooling
        return (AlignmentScores(self.plan, self.state, self.pooling), self.layer), (
            AlignmentScores(*second),
            self.other_layer,
        )

    def parts(self) -> tuple[str, ...]:
        return self.plan.languages

    def content(self, part: str) -> object:
        return [[side.content(part), layer] for side, layer in self._sides]

    def compute_all(self, parts: Sequence[str], run: Run) -> Iterator[tuple[str, Arrays]]:
        """A language's scores by each side, overall and by layer, and their difference; see `paired`."""
        found = [align(side.plan, run.store, side.state, side.pooling) for side, _ in self._sides]
        for part in parts:
            aligned = [one.aligned[one.languages.index(part)] for one in found]
            chosen = [
                one.mean(axis=0) if layer is None else one[layer].astype(float)
                for one, (_, layer) in zip(aligned, self._sides, strict=True)
            ]
            low, high, p = paired(*chosen)
            by_layer = {f"by_layer_{k}": one.mean(axis=1) for k, one in enumerate(aligned)}
            numbers = {"scores": np.array([one.mean() for one in chosen]), "test": np.array([low, high, p])}
            yield part, numbers | by_layer | {"n": np.array(len(chosen[0]))}

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per language, that with the largest difference first.

        Columns: language, label, family, n_sentences, first, second, difference (first less second), low, high (95 %),
        p, p_holm (over all languages; Holm, 1979).
        """
        from statsmodels.stats.multitest import multipletests  # slow to import

        rows = [
            (code, languages.label(code), languages.family(code), int(one["n"]), *one["scores"], *one["test"])
            for code, one in results.items()
        ]
        named = ["language", "label", "family", "n_sentences", "first", "second", "low", "high", "p"]
        table = pd.DataFrame(rows, columns=named)
        table.insert(6, "difference", table["first"] - table["second"])
        table["p_holm"] = multipletests(table["p"], method="holm")[1]
        return table.sort_values("difference", ascending=False, kind="stable")

    def by_layer(self, results: Mapping[str, Arrays]) -> dict[str, list[float]] | None:
        """First less second at each layer by language; None where the two have different numbers of layers."""
        found = {code: (one["by_layer_0"], one["by_layer_1"]) for code, one in results.items()}
        if any(len(first) != len(second) for first, second in found.values()):
            return None
        return {code: (first - second).round(4).tolist() for code, (first, second) in found.items()}


def conclusion(table: pd.DataFrame, first: str, second: str) -> str:
    """What a `Compare`'s table shows, in Markdown. first, second: what the two sides are called."""
    clear = table[table["p_holm"] < LEVEL]
    of = f"{len(clear)} of {counted(len(table), 'language')}"
    if clear.empty:
        return f"**No difference is beyond chance** in {counted(len(table), 'language')} (Holm)."
    better = [
        f"{count} better by {name}"
        for count, name in (((clear["difference"] > 0).sum(), first), ((clear["difference"] < 0).sum(), second))
        if count
    ]
    verb = "differs" if len(clear) == 1 else "differ"
    return f"**{of} {verb} beyond chance** (Holm): {', '.join(better)}."
