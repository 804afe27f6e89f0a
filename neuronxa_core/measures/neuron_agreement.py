"""Whether definitions of a language's neurons name the same ones: agreement, stability, and what chance gives.

Sets of one size are compared (see `neuron_sets`). Beside each comparison stands the same one of made-up languages, to
which each line's translations are dealt out at random: what they agree on has nothing to do with language.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import sparse

from neuronxa_core.measures.base import Arrays, Measure, choice
from neuronxa_core.measures.neuron_sets import DEFINITIONS, NeuronSets
from neuronxa_core.states import planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

LABELS = {
    "lape": "LAPE",
    "lape_gate": "LAPE (gate)",
    "lambda_entropy": "λ-entropy",
    "ap_top": "Highest AP",
    "ap_bottom": "Lowest AP",
    "impact": "Impact",
}
"""The sets as a person reads them."""
# definitions agree beyond chance where their mean Jaccard index is so much above the highest of any made-up language
MARGIN = 0.05


def members(numbers: np.ndarray, neurons: int) -> sparse.csr_array:
    """Sets of neuron numbers [language, k], -1 for none, as a matrix of 0 and 1, [language, neuron of the model]."""
    language, place = np.nonzero(numbers >= 0)
    ones = np.ones(len(language))
    return sparse.csr_array((ones, (language, numbers[language, place])), shape=(len(numbers), neurons))


def jaccard(shared: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Jaccard indices of sets of x and y neurons, of which some are shared; NaN where both are empty."""
    either = np.asarray(x + y - shared, dtype=float)
    return np.divide(shared, either, out=np.full(either.shape, np.nan), where=either > 0)


def by_language(x: sparse.csr_array, y: sparse.csr_array) -> np.ndarray:
    """Jaccard index of the two sets of each language, [language]."""
    return jaccard(x.multiply(y).sum(axis=1), x.sum(axis=1), y.sum(axis=1))


def with_others(x: sparse.csr_array) -> np.ndarray:
    """Mean Jaccard index of a language's set with those of all other languages, [language]."""
    size = x.sum(axis=1)
    each = jaccard((x @ x.T).toarray(), size[:, None], size[None, :])
    np.fill_diagonal(each, 0)
    return each.sum(axis=1) / (len(each) - 1)


@dataclass(frozen=True)
class NeuronAgreement(Measure):
    """Whether LAPE, average precision, impact and lambda-entropy name the same neurons, also on other sentences."""

    share: float = choice(0.01, "neurons per language, as a share of all of the model's")
    weight: float = choice(0.1, "lambda of lambda-entropy: what a high activation probability counts")
    gate: bool = choice(True, "compare LAPE on its published neuron, the gate's output, too: one more pass")
    name: ClassVar[str] = "neuron_agreement"
    unit: ClassVar[str] = "layers"

    def __post_init__(self) -> None:
        super().__post_init__()
        # what they refuse is said at once
        _ = self.measures

    @classmethod
    def extra_states(cls, plan: planning.Plan) -> tuple[str, ...]:
        return ("nas_mean", "nav_mean")

    @cached_property
    def measures(self) -> dict[str, tuple[NeuronSets, str]]:
        """For each set that is compared, what finds it and its part."""
        product = planning.with_neuron(self.plan, "product")
        found = {
            part: (NeuronSets(product, definition, self.share, self.weight), part)
            for definition, parts in DEFINITIONS.items()
            for part in parts
        }
        if self.gate and self.plan.info.gated:
            gate = planning.with_neuron(self.plan, "gate")
            found["lape_gate"] = NeuronSets(gate, "lape", self.share, self.weight), "lape"
        return {name: found[name] for name in LABELS if name in found}

    def parts(self) -> tuple[str, ...]:
        return tuple(self.measures)

    def units_of(self, part: str) -> int:
        measure, own = self.measures[part]
        return measure.units_of(own)

    def key_of(self, part: str) -> str:
        measure, own = self.measures[part]
        return measure.key_of(own)

    def run(
        self,
        store: Store,
        pool: ModelPool | None = None,
        on_progress: Callable[[str, int, int], None] = lambda _group, _done, _all: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> dict[str, Arrays]:
        """All sets, definition by definition, each with the states that it needs."""
        total = sum(self.totals(store).values())
        done, results = 0, {}
        for part, (measure, own) in self.measures.items():
            todo = sum(measure.totals(store).values())

            def on_layer(_group: str, count: int, _all: int, before: int = done) -> None:
                on_progress(self.unit, before + count, total)

            results[part] = measure.run(store, pool, on_layer, cancelled)[own]
            done += todo
        return results

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per two definitions x, y and language.

        Columns: x, y, language, neurons (of the smaller set), jaccard, shuffled (of made-up languages). Where x is y
        the two sets are those of the two halves of the sentences, and there are two more columns, NaN elsewhere: null,
        the share of a made-up language's neurons that score as high as the lowest of the language's, and
        other_languages, the mean Jaccard index with the sets of the other languages.
        """
        codes, neurons = self.plan.all_languages, self.plan.info.layers * self.plan.info.neurons
        sets = {
            name: [[members(one, neurons) for one in both] for both in arrays["numbers"]]
            for name, arrays in results.items()
        }
        tables = []
        for x, y in combinations_with_replacement(results, 2):
            first, second = sets[x][0 if x != y else 1], sets[y][0 if x != y else 2]
            real, made_up = (by_language(one, other) for one, other in zip(first, second, strict=True))
            sizes = [sets[name][0][0].sum(axis=1) for name in (x, y)]
            columns: dict[str, Any] = {"x": x, "y": y, "language": codes, "neurons": np.minimum(*sizes).astype(int)}
            columns |= {"jaccard": real, "shuffled": made_up}
            if x == y:
                scores, shuffled = results[x]["scores"]
                lowest = np.where(np.isneginf(scores), np.inf, scores).min(axis=1, keepdims=True)
                columns["null"] = (shuffled >= lowest).mean(axis=1)
                columns["other_languages"] = with_others(sets[x][0][0])
            tables.append(pd.DataFrame(columns))
        return pd.concat(tables, ignore_index=True)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `NeuronAgreement` as means over languages.

    A row per x, y. Columns: x, y, jaccard, shuffled, highest (of the made-up languages' Jaccard indices), null,
    other_languages.
    """
    groups = table.groupby(["x", "y"], sort=False)
    means = groups[["jaccard", "shuffled", "null", "other_languages"]].mean().reset_index()
    means.insert(4, "highest", groups["shuffled"].max().to_numpy())
    return means


def drawn(means: pd.DataFrame) -> pd.DataFrame:
    """A `summary` for the heat maps, both halves of each. Columns: group, x, y (as a person reads them), value."""
    both = pd.concat([means, means[means["x"] != means["y"]].rename(columns={"x": "y", "y": "x"})])
    names = {name: place for place, name in enumerate(LABELS)}
    both = both.sort_values(["x", "y"], key=lambda column: column.map(names))
    groups = {"jaccard": "the languages", "shuffled": "made-up languages"}
    long = both.melt(["x", "y"], list(groups), "group", "value").replace({"group": groups})
    return long.assign(x=long["x"].map(LABELS), y=long["y"].map(LABELS))


def agreement_sentence(table: pd.DataFrame) -> str:
    """What a table of `NeuronAgreement` shows: which definitions agree, which are stable, and which are chance."""
    means = summary(table)
    pairs, own = means[means["x"] != means["y"]], means[means["x"] == means["y"]].set_index("x")
    beyond = pairs[pairs["jaccard"] > pairs["highest"] + MARGIN]
    if beyond.empty:
        said = "No two definitions share more neurons of a language than they do of made-up languages. "
    else:
        pair = beyond.loc[beyond["jaccard"].idxmax()]
        said = f"{LABELS[pair['x']]} and {LABELS[pair['y']]} agree most: a language's sets have a Jaccard index of "
        said += f"{pair['jaccard']:.2f} ({pair['shuffled']:.2f} in made-up languages); {len(beyond)} of {len(pairs)} "
        said += "pairs of definitions agree more than they do there. "
    stable = own.dropna(subset="jaccard").sort_values("jaccard", ascending=False, kind="stable")
    if len(stable):
        most, least = (
            f"{row['jaccard']:.2f}; in made-up languages {row['shuffled']:.2f}"
            for _, row in [*stable.head(1).iterrows(), *stable.tail(1).iterrows()]
        )
        said += f"On two halves of the sentences {LABELS[stable.index[0]]} is most stable ({most}), "
        said += f"{LABELS[stable.index[-1]]} least ({least}). "
    chance = [LABELS[name] for name, null in own["null"].items() if null >= 0.5]
    if chance:
        said += f"{', '.join(chance)}: made-up languages have at least half as many neurons that score as high, so "
        said += "that most of these may not be the language's own."
    return said.strip()
