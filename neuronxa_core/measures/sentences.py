"""Single sentences: how many languages find each and by what margin, and what goes with being missed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.base import QUICK, Arrays, Measure, Run, pooling_choice, state_choice
from neuronxa_core.measures.cosine_retrieval import TIE, _exact_cosines, leads
from neuronxa_core.statistics import correlation
from neuronxa_core.wording import counted

LEVEL = 0.05
PROPERTIES: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        "digits": lambda text: any(map(str.isdigit, text)),
        "capitalised words": lambda text: any(w[0].isupper() and w[1:2].isalpha() for w in text.split()[1:]),
        "punctuation": lambda text: re.search(r"[^\w\s'’-](?=.*\w)", text) is not None,
    }
)
"""What a sentence may have: digits; names and other capitals, its first word aside; marks before its end."""


@dataclass(frozen=True)
class Sentences(Measure):
    """How many languages find each sentence of the pivot, in either direction, and by what margin, layer by layer."""

    state: str = state_choice()
    pooling: str = pooling_choice()
    name: ClassVar[str] = "sentences"
    unit: ClassVar[str] = "languages"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parts():
            raise ExperimentError(f"sentences need a language besides the pivot {self.plan.pivot}; choose one")

    @property
    def instant(self) -> bool:
        """Whether the products of all sentences take no longer than a page may."""
        plan = self.plan
        return len(self.parts()) * plan.info.layers * plan.corpus.n_sentences**2 * plan.info.neurons < QUICK

    def parts(self) -> tuple[str, ...]:
        return tuple(code for code in self.plan.languages if code != self.plan.pivot)

    def content(self, part: str) -> object:
        return [self.state, self.pooling, self.reads(self.plan.pivot, part)]

    def compute(self, part: str, run: Run) -> Arrays:
        """src2trg, trg2src (found, bool) and margin (see `alignment.Match`), [layer, sentence]; tokens, [sentence]."""
        pair = self.plan.pivot, part
        with run.states(*pair) as reader:
            cosines = (
                _exact_cosines(*(reader.vectors(code, self.state, self.pooling, layer) for code in pair))
                for layer in range(self.plan.info.layers_of(self.state))
            )
            src2trg, trg2src = np.stack([[leads(one, axis) for axis in (1, 0)] for one in cosines], axis=1)
            tokens = reader.tokens(self.plan.pivot)
        margin = np.minimum(src2trg, trg2src).astype(np.float32)
        return {"src2trg": src2trg > TIE, "trg2src": trg2src > TIE, "margin": margin, "tokens": np.asarray(tokens)}

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per layer and sentence.

        Columns: state, pooling, layer, sentence and line (from 1), languages (of how many), found_src2trg and
        found_trg2src (how many languages find it from the pivot, and back), aligned (how many in both directions),
        margin (mean over languages), tokens (in the pivot), label (where the corpus has labels), text (in the pivot).
        """
        corpus, layers = self.plan.corpus, self.plan.info.layers_of(self.state)
        n, every = corpus.n_sentences, list(results.values())
        found = {name: np.stack([one[name] for one in every]) for name in ("src2trg", "trg2src", "margin")}
        labels = {"label": [corpus.labels[row] for row in corpus.usable] * layers} if corpus.labels else {}
        return pd.DataFrame(
            {
                "state": self.state,
                "pooling": self.pooling,
                "layer": np.repeat(np.arange(layers), n),
                "sentence": np.tile(np.arange(1, n + 1), layers),
                "line": [corpus.line(k) for k in range(n)] * layers,
                "languages": len(every),
                "found_src2trg": found["src2trg"].sum(axis=0).ravel(),
                "found_trg2src": found["trg2src"].sum(axis=0).ravel(),
                "aligned": (found["src2trg"] & found["trg2src"]).sum(axis=0).ravel(),
                "margin": found["margin"].mean(axis=0, dtype=np.float64).ravel(),
                "tokens": np.tile(every[0]["tokens"], layers),
                **labels,
                "text": list(corpus.sentences(self.plan.pivot)) * layers,
            }
        )


def missed_at(results: Mapping[str, Arrays], layer: int) -> np.ndarray:
    """Which sentences are not aligned at a layer, bool [language, sentence]."""
    return np.stack([~(one["src2trg"][layer] & one["trg2src"][layer]) for one in results.values()])


def properties_of(texts: pd.Series, tokens: pd.Series) -> dict[str, np.ndarray]:
    """What is tested of sentences by name, [sentence]: tokens, and whether each has what PROPERTIES names."""
    had = {name: np.array([has(text) for text in texts]) for name, has in PROPERTIES.items()}
    return {"tokens": tokens.to_numpy(), **had}


def what_goes_with(
    missed: np.ndarray, properties: Mapping[str, ArrayLike], *, permutations: int = 9999, seed: int = 0
) -> pd.DataFrame:
    """How properties of sentences [sentence] go with being missed, bool [language, sentence]; a row per property.

    rho: Spearman's rho within a language, averaged over the languages that find some sentences and miss some. p:
    two-sided, the share of permutations of the sentences, the identity among them, whose |rho| is as large; all
    languages are permuted alike, since they share the sentences, so that a sentence is one observation. p_holm: p with
    Holm's correction over the properties. Columns besides: property, languages, and of the languages the mean share
    that misses sentences with more of the property than the mean (missed_with) and the others (missed_without). NaN
    where a property is the same in all sentences.
    """
    from statsmodels.stats.multitest import multipletests

    outcomes = correlation.standardised(missed.astype(np.float64))
    outcomes = outcomes[~np.isnan(outcomes).any(axis=1)]
    ranks = np.stack([correlation.standardised(stats.rankdata(values)) for values in properties.values()])
    mean = outcomes.mean(axis=0) if len(outcomes) else np.full(missed.shape[1], np.nan)
    rho, generator = ranks @ mean, np.random.default_rng(seed)
    draws = np.array([ranks @ mean[generator.permutation(len(mean))] for _ in range(permutations)])
    p = (1 + (np.abs(draws) >= np.abs(rho) - correlation.NEGLIGIBLE).sum(axis=0)) / (1 + permutations)
    p[np.isnan(rho)] = np.nan
    holm, tested = np.full(len(p), np.nan), ~np.isnan(p)
    if tested.any():
        holm[tested] = multipletests(p[tested], method="holm")[1]
    shares, more = missed.mean(axis=0), [np.asarray(v) > np.mean(v) for v in properties.values()]
    return pd.DataFrame(
        {
            "property": list(properties),
            "languages": len(outcomes),
            "rho": rho,
            "p": p,
            "p_holm": holm,
            "missed_with": [shares[one].mean() if one.any() else np.nan for one in more],
            "missed_without": [shares[~one].mean() for one in more],
        }
    )


def conclusion(table: pd.DataFrame, layer: int) -> str:
    """A table of `what_goes_with` in words; a property is said to go with being missed only where p_holm says so."""
    if not table["languages"].iloc[0]:
        return f"At layer {layer} every language finds all sentences or none, so that nothing tells them apart."
    words = {"tokens": "have more tokens", **{name: f"have {name}" for name in PROPERTIES}}
    shown = table[table["p_holm"] < LEVEL]
    said = [
        f"that {words[one.property]} are missed {'more' if one.rho > 0 else 'less'} often "
        f"({one.missed_with:.0%} against {one.missed_without:.0%}; rho {one.rho:.2f}, p = {one.p_holm:.2g})"
        for one in shown.itertuples()
    ]
    open_ = table.loc[table["p_holm"] >= LEVEL, "property"].tolist()
    alike = table.loc[table["p_holm"].isna(), "property"].tolist()
    found = f"At layer {layer} sentences {', those '.join(said)}. " if said else ""
    if open_:
        start = "Not shown to go with being missed" if said else f"Not shown to go with being missed at layer {layer}"
        found += f"{start}: {', '.join(open_)}. "
    if alike:
        found += f"Not tested, as it is the same in all sentences: {', '.join(alike)}. "
    languages = counted(int(table["languages"].iloc[0]), "language")
    return f"{found}(Permutations of the sentences within {languages}, Holm's correction.)"
