"""Item by item: whether the sentences that are aligned are the ones that a model answers right, within a language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import alignment, alignment_tables
from neuronxa_core.measures.base import Arrays, Measure, Run, choice, pooling_choice, state_choice
from neuronxa_core.measures.language_scores import check_layer
from neuronxa_core.statistics import correlation
from neuronxa_core.tasks import items, matching
from neuronxa_core.tasks.items import Items
from neuronxa_core.wording import counted

LEVEL = 0.05
PERMUTATIONS = 9999
POOLED = "all languages"


@dataclass(frozen=True)
class ItemAlignment(Measure):
    """Odds ratios of aligned and missed sentences for being answered right, within each language and pooled.

    data: see `tasks.items.read`; an item's line is that of the corpus. Raises ScoresError for the data, and
    ExperimentError where no item is of a compared sentence in a language besides the pivot.
    """

    data: str | None = choice(None, "samples_*.jsonl of lm_eval, a folder of them, or a CSV: language, line, correct")
    metric: str | None = choice(None, "of sample logs: acc, exact_match,strict-match (default: the first)", of=str)
    layer: int | None = choice(None, "layer, from 0 (default: the one of the highest alignment)", of=int)
    state: str = state_choice()
    pooling: str = pooling_choice()
    name: ClassVar[str] = "item_alignment"
    unit: ClassVar[str] = "tables"
    instant: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data is None:
            raise ExperimentError("data is missing; give sample logs of lm-evaluation-harness or a CSV of items")
        if self.layer is not None:
            check_layer(self.plan, self.state, self.layer)
        if not self.correct:
            raise ExperimentError(
                f"no item of {self.items.what} is a compared sentence in a language besides the pivot "
                f"{self.plan.pivot}; items are the corpus's lines, counted from 1"
            )

    @cached_property
    def items(self) -> Items:
        """The data that is used."""
        return items.read(Path(self.data), self.metric or "")

    @cached_property
    def _joined(self) -> matching.Joined:
        given = pd.DataFrame({"language": list(self.items.correct), "score": 0.0})
        return matching.join(given, self.plan.all_languages, pivot=self.plan.pivot)

    @cached_property
    def correct(self) -> dict[str, np.ndarray]:
        """Language of the plan -> 1 for a right answer, 0 for a wrong one, NaN where there is none: [sentence]."""
        lines = [self.plan.corpus.line(k) for k in range(self.plan.corpus.n_sentences)]
        found = {
            code: np.array([self.items.correct[given].get(line, np.nan) for line in lines], dtype=np.float64)
            for code, given in self._joined.pairs["language"].items()
            if code in self.plan.languages and code != self.plan.pivot
        }
        return {code: right for code, right in found.items() if not np.isnan(right).all()}

    @property
    def notes(self) -> list[str]:
        """What was left aside, and whether the items hold the corpus's sentences, in sentences."""
        notes, corpus = [*self.items.notes, *self._joined.notes], self.plan.corpus
        given = self._joined.pairs["language"]
        unused = sum(len(self.items.correct[given[c]]) - int((~np.isnan(r)).sum()) for c, r in self.correct.items())
        if unused:
            notes.append(f"{counted(unused, 'item')} of lines that are not compared here left aside.")
        held = [
            corpus.sentences(code)[k] in self.items.texts[given[code]][corpus.line(k)]
            for code, right in self.correct.items()
            if given[code] in self.items.texts
            for k in np.flatnonzero(~np.isnan(right)).tolist()
        ]
        if held and 2 * sum(held) < len(held):
            notes.append(
                f"{sum(held)} of {counted(len(held), 'item')} hold the corpus's sentence of their line word for word: "
                "make sure that the items are the corpus's lines in their order."
            )
        return notes

    @property
    def note(self) -> str:
        return " ".join(self.notes)

    def parts(self) -> tuple[str, ...]:
        return ("items",)

    def content(self, part: str) -> object:
        own = {code: right.tolist() for code, right in self.correct.items()}
        return [alignment.scores_key(self.plan, self.state, self.pooling), self.layer, PERMUTATIONS, repr(own)]

    def compute(self, part: str, run: Run) -> Arrays:
        """Of `permutation_test`: tables, p and pooled_p; layer and n."""
        found = alignment.align(self.plan, run.store, self.state, self.pooling)
        layer = alignment_tables.best_layer(found) if self.layer is None else self.layer
        aligned = found.only(list(self.correct)).aligned[:, layer]
        tables, p, pooled = permutation_test(aligned, np.stack(list(self.correct.values())))
        return {"tables": tables, "p": p, "pooled_p": np.array(pooled), "layer": np.array(layer)}

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per language, and one of `all languages` together, the last.

        Columns: language, layer, state; items; aligned and accuracy (shares of them); aligned_right, aligned_wrong,
        missed_right, missed_wrong; odds_ratio with its 95 % interval low, high (see `odds`); p (permutations), p_holm
        (over the languages). NaN where a language has all items, or none, aligned or right.
        """
        arrays = results["items"]
        table = odds(list(self.correct), arrays["tables"], arrays["p"], arrays["pooled_p"].item())
        table.insert(1, "layer", arrays["layer"].item())
        table.insert(2, "state", self.state)
        return table


def permutation_test(
    aligned: np.ndarray, correct: np.ndarray, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Whether aligned sentences are answered right more or less often than others, within languages.

    aligned: bool [language, sentence]. correct: 1, 0 or NaN, alike. Returns the tables [language, aligned or missed,
    right or wrong], p of each language (NaN where a margin of its table is 0) and p of all together. The statistic is
    how far the count of aligned right ones is from what the margins give, summed over languages; p, two-sided, is the
    share of permutations of the sentences, the identity among them, for which it is as large. All languages are
    permuted alike, since they share the sentences.
    """
    known = ~np.isnan(correct)
    right = known & (correct == 1)
    tables = np.stack(
        [[(a & b).sum(axis=1) for b in (right, known & ~right)] for a in (aligned, ~aligned)], axis=0
    ).transpose(2, 0, 1)
    count = known.sum(axis=1, keepdims=True)
    far = np.where(known, right - right.sum(axis=1, keepdims=True) / np.maximum(count, 1), 0)
    rows, far = aligned.T.astype(np.float64), far.T

    def statistic(order: np.ndarray | slice) -> np.ndarray:
        return np.einsum("sl,sl->l", rows[order], far)

    generator = np.random.default_rng(seed)
    permuted = (statistic(generator.permutation(len(rows))) for _ in range(permutations))
    own = np.array([statistic(slice(None)), *permuted])
    both = np.column_stack([own, own.sum(axis=1)])
    p = (np.abs(both) >= np.abs(both[0]) - 1e-9).mean(axis=0)
    varies = (tables.sum(axis=1) > 0).all(axis=1) & (tables.sum(axis=2) > 0).all(axis=1)
    return tables, np.where(varies, p[:-1], np.nan), float(p[-1]) if varies.any() else np.nan


def odds(codes: list[str], tables: np.ndarray, p: np.ndarray, pooled_p: float) -> pd.DataFrame:
    """The rows of `ItemAlignment.frame` from tables [language, 2, 2] and p.

    A language's odds ratio has 0.5 added to each cell where one is 0 (Haldane, 1956; Anscombe, 1956) and Woolf's
    interval; that of all is Mantel and Haenszel's (1959), with the interval of Robins, Breslow and Greenland (1986); it
    has the same 0.5 where it would be 0 or infinite.
    """
    from statsmodels.stats.contingency_tables import StratifiedTable, Table2x2
    from statsmodels.stats.multitest import multipletests

    varies = ~np.isnan(p)
    figures = np.full((len(codes) + 1, 3), np.nan)
    for k in np.flatnonzero(varies):
        one = Table2x2(tables[k] + 0.5 * (tables[k] == 0).any())
        figures[k] = one.oddsratio, *one.oddsratio_confint()
    if varies.any():
        with np.errstate(divide="ignore", invalid="ignore"):
            strata = [one.astype(float) for one in tables[varies]]
            every = StratifiedTable(strata)
            if not 0 < every.oddsratio_pooled < np.inf:
                every = StratifiedTable(strata, shift_zeros=True)
            figures[-1] = every.oddsratio_pooled, *every.oddsratio_pooled_confint()
    holm = np.full(len(codes) + 1, np.nan)
    if varies.any():
        holm[:-1][varies] = multipletests(p[varies], method="holm")[1]
    cells = np.vstack([tables.reshape(-1, 4), tables.sum(axis=0).reshape(1, 4)])
    count = cells.sum(axis=1)
    return pd.DataFrame(
        {
            "language": [*codes, POOLED],
            "items": count,
            "aligned": cells[:, :2].sum(axis=1) / count,
            "accuracy": cells[:, ::2].sum(axis=1) / count,
            **dict(zip(("aligned_right", "aligned_wrong", "missed_right", "missed_wrong"), cells.T, strict=True)),
            **dict(zip(("odds_ratio", "low", "high"), figures.T, strict=True)),
            "p": [*p, pooled_p],
            "p_holm": holm,
        }
    )


def verdict(table: pd.DataFrame) -> str:
    """A table of `ItemAlignment` in words: what holds of items within languages, and what of languages."""
    return f"{_of_items(table)} {_of_languages(table.iloc[:-1])}"


def _of_items(table: pd.DataFrame) -> str:
    told, pooled, layer = table.iloc[:-1].dropna(subset="p"), table.iloc[-1], table["layer"].iloc[0]
    if told.empty:
        return (
            f"At layer {layer} no language has both aligned and missed sentences, answered both right and wrong, so "
            "that nothing can be said of items."
        )
    figures = (
        f"odds ratio {pooled['odds_ratio']:.2f}, 95 % {pooled['low']:.2f} … {pooled['high']:.2f}; permutation p = "
        f"{pooled['p']:.2g}; {counted(len(told), 'language')}, {counted(int(told['items'].sum()), 'item')}"
    )
    said = f"Within a language, sentences that are aligned at layer {layer} are"
    if pooled["p"] < LEVEL:
        said += f" answered right {'more' if pooled['odds_ratio'] > 1 else 'less'} often than missed ones ({figures})."
    else:
        said += f" not shown to be answered right more or less often than missed ones ({figures})."
    alone = told.loc[told["p_holm"] < LEVEL, "language"].tolist()
    if len(alone) == 1:
        said += f" {languages.label(alone[0])} shows a difference by itself (Holm's correction)."
    elif alone:
        said += f" {len(alone)} of {len(told)} languages show a difference by themselves (Holm's correction)."
    return said


def _of_languages(own: pd.DataFrame) -> str:
    if len(own) < correlation.FEWEST:
        return f"Languages are compared from {correlation.FEWEST} on; here there are fewer."
    over = correlation.correlate(own["aligned"], own["accuracy"])
    if over.constant:
        return "Over the languages, alignment or accuracy is the same in all."
    shown = ("rises" if over.pearson_r > 0 else "falls") if over.pearson_p < LEVEL else "is not shown to go"
    return (
        f"Over the {over.n} languages, accuracy {shown} with alignment (r = {over.pearson_r:.2f}, p = "
        f"{over.pearson_p:.2g})."
    )
