"""Whether a model answers alike in two languages: RankC of the rankings of BMLAMA's candidates, and accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.base import Arrays, Measure, Run, choice
from neuronxa_core.states import likelihood, masked_likelihood
from neuronxa_core.tasks import bmlama
from neuronxa_core.tasks.bmlama import Query
from neuronxa_core.wording import some_of


@dataclass(frozen=True)
class Consistency(Measure):
    """RankC of every pair of languages on BMLAMA's candidates, and the accuracy of each (Qi et al., EMNLP 2023).

    A candidate's score is the negative log-likelihood of all tokens of the filled prompt but the first, their mean or
    sum; the lowest ranks first, ties keep the file's order. Of an encoder, it is that of every token, each masked in
    turn. data: a folder with a TSV per language; see tasks.bmlama.
    A language is ranked by itself, so that another one adds its own work only.

    Raises ScoresError for files that are none, ExperimentError for fewer than 2 languages.
    """

    data: str | None = choice(None, "folder of BMLAMA's files, one per language, such as en.tsv")
    data_languages: tuple[str, ...] = choice((), "names of the files to read, such as en de (default: all)", of=tuple)
    prompts: int | None = choice(None, "the first so many prompts (default: all)", of=int)
    reduce: str = choice("mean", "a candidate's score: mean or sum over tokens", ("mean", "sum"))
    name: ClassVar[str] = "consistency"
    unit: ClassVar[str] = "prompts"
    needs_corpus: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data is None:
            raise ExperimentError("data is missing; give a folder of BMLAMA's files, one per language")
        if self.prompts is not None and self.prompts < 1:
            raise ExperimentError(f"prompts is a whole number from 1 on, not {self.prompts}")
        if len(self.queries) < 2:
            raise ExperimentError(
                f"consistency needs at least 2 languages, and {self.data} has only {some_of(list(self.queries), 1)}"
            )

    @cached_property
    def queries(self) -> dict[str, tuple[Query, ...]]:
        """The queries of each language that is compared."""
        found = bmlama.read(Path(self.data))
        missing = [language for language in self.data_languages if language not in found]
        if missing:
            raise ExperimentError(f"{self.data} has no file {missing[0]}.tsv; there are {', '.join(found)}")
        return {language: found[language][: self.prompts] for language in self.data_languages or found}

    @property
    def needs(self) -> Literal["head", "masked"]:
        """Which head of the model ranks candidates."""
        return "head" if self.plan.info.causal else "masked"

    @property
    def title(self) -> str:
        return f"consistency of {len(self.queries)} languages in {self.plan.source.name}"

    def parts(self) -> tuple[str, ...]:
        return tuple(self.queries)

    def content(self, part: str) -> object:
        version = likelihood.VERSION if self.plan.info.causal else f"masked {masked_likelihood.VERSION}"
        model = [version, self.plan.identity, self.plan.dtype, self.plan.info.max_length]
        return [model, [query.filled for query in self.queries[part]]]

    def units_of(self, part: str) -> int:
        return len(self.queries[part])

    def group_of(self, part: str) -> str:
        return part

    def compute(self, part: str, run: Run) -> Arrays:
        """`nats` and `tokens` of every filled prompt, [candidate], query after query."""
        queries = self.queries[part]
        causal = self.plan.info.causal
        nats, tokens = (likelihood.text_likelihood if causal else masked_likelihood.masked_likelihood)(
            run.loaded,
            [query.filled for query in queries],
            language=part,
            cancelled=run.cancelled,
            on_progress=lambda done, _all: run.on_units(done),
        )
        return {"nats": nats, "tokens": tokens}

    def ranks(self, results: Mapping[str, Arrays]) -> dict[str, np.ndarray]:
        """The rank of every candidate in its query, from 1, by language: int64 [candidate]."""
        scores = {
            code: arrays["nats"] / (arrays["tokens"] if self.reduce == "mean" else 1)
            for code, arrays in results.items()
        }
        return {code: candidate_ranks(values, sizes_of(self.queries[code])) for code, values in scores.items()}

    def by_language(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """Columns: language, n, accuracy, chance; a row per language."""
        rows = [
            (code, len(self.queries[code]), accuracy(self.queries[code], ranks), chance(self.queries[code]))
            for code, ranks in self.ranks(results).items()
        ]
        return pd.DataFrame(rows, columns=["language", "n", "accuracy", "chance"])

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per pair of languages.

        Columns: language_x, language_y, n (prompts), rankc, accuracy_x, accuracy_y, and what is expected of rankings by
        chance: rankc_chance, chance_x, chance_y.
        """
        ranks, own = self.ranks(results), self.by_language(results).set_index("language")
        rows = []
        for x, y in combinations(ranks, 2):
            sizes = sizes_of(self.queries[x])
            (right_x, by_chance_x), (right_y, by_chance_y) = (own.loc[c, ["accuracy", "chance"]] for c in (x, y))
            consistent = rankc(ranks[x], ranks[y], sizes)
            rows.append((x, y, len(sizes), consistent, right_x, right_y, rankc_chance(sizes), by_chance_x, by_chance_y))
        names = "language_x language_y n rankc accuracy_x accuracy_y rankc_chance chance_x chance_y"
        return pd.DataFrame(rows, columns=names.split())


def sizes_of(queries: Sequence[Query]) -> np.ndarray:
    """How many candidates each query has, int64 [query]."""
    return np.array([len(query.candidates) for query in queries], dtype=np.int64)


def candidate_ranks(scores: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Ranks from 1 of candidates [candidate] within their queries, the lowest score first, ties in the given order."""
    query = np.repeat(np.arange(len(sizes)), sizes)
    ranks = np.empty(len(scores), dtype=np.int64)
    ranks[np.lexsort((scores, query))] = np.arange(len(scores)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + 1
    return ranks


def rank_weights(candidates: int) -> np.ndarray:
    """w_j = exp(N - j) / sum_k exp(N - k) for j = 1 .. N: float64 [candidate], summing to 1."""
    weights = np.exp(-np.arange(candidates, dtype=np.float64))
    return weights / weights.sum()


def rankc(x: np.ndarray, y: np.ndarray, sizes: np.ndarray) -> float:
    """RankC of two languages' ranks [candidate] (Qi et al., EMNLP 2023): in [0, 1], and 1 where they are equal.

    sum_j w_j |top j in both| / j, averaged over queries: a candidate is in both from j = the larger of its ranks on, so
    that it adds the sum of w_j / j from there.
    """
    largest, by_size = np.maximum(x, y), np.repeat(sizes, sizes)
    added = np.empty(len(largest))
    for size in np.unique(sizes):
        rest = np.cumsum((rank_weights(size) / np.arange(1, size + 1))[::-1])[::-1]
        added[by_size == size] = rest[largest[by_size == size] - 1]
    return float(added.sum() / len(sizes))


def rankc_chance(sizes: np.ndarray) -> float:
    """RankC that two rankings by chance have on average: |top j in both| / j is j / N."""
    expected = {size: rank_weights(size) @ np.arange(1, size + 1) / size for size in np.unique(sizes).tolist()}
    return float(np.mean([expected[size] for size in sizes.tolist()]))


def accuracy(queries: Sequence[Query], ranks: np.ndarray) -> float:
    """The share of the g right answers that are among the top g, averaged over queries; ranks: [candidate]."""
    shares, start = [], 0
    for query in queries:
        own, g = ranks[start : start + len(query.candidates)], len(query.answers)
        top = {candidate for candidate, rank in zip(query.candidates, own, strict=True) if rank <= g}
        shares.append(sum(answer in top for answer in query.answers) / g)
        start += len(query.candidates)
    return float(np.mean(shares))


def chance(queries: Sequence[Query]) -> float:
    """The accuracy of a ranking by chance: a text that is m of N candidates misses the top g in C(N-m, g) / C(N, g)."""

    def found(query: Query, answer: str) -> float:
        size, g = len(query.candidates), len(query.answers)
        return 1 - comb(size - query.candidates.count(answer), g) / comb(size, g)

    return float(np.mean([np.mean([found(query, answer) for answer in query.answers]) for query in queries]))
