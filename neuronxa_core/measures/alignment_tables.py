"""Alignment as tables: languages ranked, curves by layer, and what two languages' sentences find in each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.measures import alignment, all_pairs, cosine_retrieval
from neuronxa_core.measures.alignment import METHODS, Alignment, Match
from neuronxa_core.states import planning
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store
from neuronxa_core.tasks import covariates
from neuronxa_core.wording import ALIGNED, MISSED, WRONG, counted


def ranked(found: Alignment, layers: str) -> list[str]:
    """The languages by score, the best first; layers: `mean` or `max`."""
    return [found.languages[k] for k in np.argsort(-found.pooled(layers), kind="stable")]


def best_layer(found: Alignment) -> int:
    """The layer at which the languages together score highest."""
    return int(found.score.mean(axis=0).argmax())


def ranking_table(found: Alignment, layers: str) -> pd.DataFrame:
    """A row per language: its score over the layers with a 95 % bootstrap interval, peak layer, retrieval, script.

    layers: `mean` or `max`. Columns: language, label, score, low, high, peak_layer (missing where no layer has any
    aligned sentence), peak_score, forward (retrieval from the pivot to the language), backward, chance (over random
    pairings), script, family.
    """
    low, high = alignment.bootstrap(found.aligned, layers)
    score = found.score
    return pd.DataFrame(
        {
            "language": found.languages,
            "label": [languages.label(code) for code in found.languages],
            "score": found.pooled(layers),
            "low": low,
            "high": high,
            "peak_layer": pd.Series(score.argmax(axis=1), dtype="Int64").where(score.any(axis=1)),
            "peak_score": score.max(axis=1),
            "forward": alignment.pool_layers(found.retrieval_src2trg, layers),
            "backward": alignment.pool_layers(found.retrieval_trg2src, layers),
            "chance": alignment.random_pairing_level(found.mutual, layers),
            "script": [languages.script(code) or "" for code in found.languages],
            "family": [languages.family(code) for code in found.languages],
        }
    )


def above_chance(found: Alignment, ranking: pd.DataFrame) -> int:
    """Languages whose 95 % interval is above chance: 1 / (2n - 1) or that of random pairings, whichever is higher."""
    chance = alignment.chance_level(found.counts if found.own_sentences else found.n_sentences)
    return int((ranking["low"] > ranking["chance"].clip(lower=chance)).sum())


def conclusion(found: Alignment, table: pd.DataFrame, layers: str) -> str:
    """The ranking in words, as Markdown: how many languages are above chance, and the best layer.

    Under `max` nothing is said of chance, as the interval of a maximum leans upwards.
    """
    best = f"Together, the languages score highest at **layer {best_layer(found)}**." if found.score.any() else ""
    if layers == "max":
        return best
    above = above_chance(found, table)
    return f"**{above} of {counted(len(table), 'language')}** {'is' if above == 1 else 'are'} above chance. {best}"


def curve_table(found: Alignment, codes: Sequence[str]) -> pd.DataFrame:
    """A row per language and layer. Columns: label, layer, score, low, high (95 %), chance (random pairings)."""
    found = found.only(codes)
    low, high = alignment.bootstrap(found.aligned)
    count = found.score.shape[1]
    return pd.DataFrame(
        {
            "label": np.repeat([languages.label(code) for code in codes], count),
            "layer": np.tile(np.arange(count), len(codes)),
            "score": found.score.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "chance": alignment.random_pairing_level(found.mutual).ravel(),
        }
    )


def tokens_table(found: Alignment, layers: str, tokens: Mapping[str, float]) -> pd.DataFrame:
    """A row per language. Columns: language, label, script, family, tokens (per sentence), score; layers pooled."""
    codes = list(found.languages)
    named = {"label": languages.label, "script": covariates.script_of, "family": languages.family, "tokens": tokens.get}
    columns = {name: list(map(of, codes)) for name, of in named.items()}
    return pd.DataFrame({"language": codes, **columns, "score": found.pooled(layers)})


def heat_map_table(found: Alignment, layers: str) -> pd.DataFrame:
    """A row per language, the best aligned first. Columns: language, label, family, scores (a list, one per layer)."""
    codes = ranked(found, layers)
    return pd.DataFrame(
        {
            "language": codes,
            "label": [languages.label(code) for code in codes],
            "family": [languages.family(code) for code in codes],
            "scores": found.only(codes).score.round(4).tolist(),
        }
    )


def states_table(by_state: Mapping[str, Alignment], codes: Sequence[str]) -> pd.DataFrame:
    """`curve_table` for several representations. More columns: state, method (as a person reads it)."""
    return pd.concat(
        curve_table(found, codes).assign(state=state, method=f"{METHODS[state]} ({state.upper()})")
        for state, found in by_state.items()
    )


def summary_table(plan: Plan, store: Store, by_state: Mapping[str, Alignment], state: str, layers: str) -> pd.DataFrame:
    """A row per language, the best aligned by one representation first.

    Columns: language, label, script, family, the scores by representation (MEXA, NASCA, NAVCA), peak_layer (of
    `state`), tokens_per_sentence, sentences_cut (how many are longer than the model reads).
    """
    long = pd.concat(ranking_table(found, layers).assign(method=METHODS[name]) for name, found in by_state.items())
    wide = long.pivot(index=["language", "label", "script", "family"], columns="method", values="score").reset_index()
    peaks = long[long["method"] == METHODS[state]].set_index("language")["peak_layer"]
    wide["peak_layer"] = wide["language"].map(peaks)
    with StatesReader(plan, store) as reader:
        wide["tokens_per_sentence"] = [reader.tokens(code).mean() for code in wide["language"]]
        wide["sentences_cut"] = [reader.truncated(code) for code in wide["language"]]
    return wide.sort_values([METHODS[state], "label"], ascending=[False, True])


def pairs_table(scores: np.ndarray, codes: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Scores of all pairs [language, language] as a square table, ordered by hierarchical clustering, and that order.

    Columns: language, and one per language.
    """
    order = alignment.hierarchical_order(scores)
    ordered = [codes[k] for k in order]
    square = pd.DataFrame(scores[np.ix_(order, order)], index=ordered, columns=ordered)
    return square.rename_axis("language").reset_index(), ordered


@dataclass(frozen=True)
class SentencePairs:
    """The sentences of languages x and y at one layer.

    matches: what each finds in the other language. cosines: [sentence of x, sentence of y].
    """

    plan: Plan
    x: str
    y: str
    matches: Sequence[Match]
    cosines: np.ndarray

    @property
    def misses(self) -> list[int]:
        """The sentences that are not aligned, by number from 0."""
        return [match.row for match in self.matches if match.status != "aligned"]

    def line(self, row: int) -> int:
        """The line of the corpus that a sentence is in, from 1."""
        return self.plan.corpus.line(row)

    def text(self, code: str, row: int) -> str:
        """A sentence in one of the languages."""
        return self.plan.corpus.texts[code][self.plan.corpus.usable[row]]

    def marks(self) -> pd.DataFrame:
        """The cells to mark. Columns: row, column (from 0), kind (one of wording.MARKS), cosine."""
        rows = []
        for match in self.matches:
            i, j = match.row, match.best_in_y
            rows.append((i, i, ALIGNED if match.status == "aligned" else MISSED))
            if match.status == "aligned":
                continue
            if j >= 0 and self.matches[j].best_in_x == i:
                rows.append((i, j, ALIGNED))
            elif j >= 0 and j != i:
                rows.append((i, j, WRONG))
        table = pd.DataFrame(rows, columns=["row", "column", "kind"])
        table["cosine"] = [float(self.cosines[r, c]) for r, c in zip(table["row"], table["column"], strict=True)]
        return table

    def table(self) -> pd.DataFrame:
        """A row per sentence, from 1, as a person reads it; the nearest one is empty where two tie."""
        said = {"x to y only": f"{self.x} → {self.y} only", "y to x only": f"{self.y} → {self.x} only"}
        rows = [match.row for match in self.matches]

        def numbers(best: list[int]) -> pd.Series:
            return pd.Series([k + 1 if k >= 0 else pd.NA for k in best], dtype="Int64")

        return pd.DataFrame(
            {
                "sentence": [row + 1 for row in rows],
                "line": [self.line(row) for row in rows],
                "status": [said.get(match.status, match.status) for match in self.matches],
                "cosine": np.diag(self.cosines),
                "margin": [match.margin for match in self.matches],
                f"nearest in {self.y}": numbers([match.best_in_y for match in self.matches]),
                f"nearest in {self.x}": numbers([match.best_in_x for match in self.matches]),
                self.x: [self.text(self.x, row) for row in rows],
                self.y: [self.text(self.y, row) for row in rows],
            }
        )


def sentence_pairs(plan: Plan, store: Store, x: str, y: str, state: str, pooling: str, layer: int) -> SentencePairs:
    """What the sentences of two languages find in each other at a layer, from stored states."""
    plan = planning.of_pair(plan, x, y)
    vectors = all_pairs.pair_vectors(plan, store, x, y, state, pooling, layer)
    return SentencePairs(plan, x, y, tuple(alignment.matches(*vectors)), cosine_retrieval.similarity(*vectors))
