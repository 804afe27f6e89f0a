"""What alignment scores say in words: figures and sentences, each only where the numbers hold it.

Every sentence names its evidence. What a test does not support is not said, or is said to be open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from neuronxa_core.corpora import languages
from neuronxa_core.measures import alignment, alignment_tables
from neuronxa_core.measures.alignment import Alignment
from neuronxa_core.statistics.correlation import FEWEST, correlate
from neuronxa_core.wording import counted

# four questions are asked, and one chance of 5 % is shared between them
LEVEL = 0.05 / 4
RESAMPLES = 9_999


@dataclass(frozen=True)
class Finding:
    """A sentence in Markdown, the numbers that it rests on, and the view of Alignment that shows them."""

    says: str
    evidence: str
    view: str


def figures(found: Alignment, ranking: pd.DataFrame) -> dict[str, str]:
    """Single numbers by name: languages above chance, the best layer, the best and the worst language.

    ranking: of `alignment_tables.ranking_table`, layers pooled by their mean.
    """
    by_layer = found.score.mean(axis=0)
    ordered = ranking.sort_values(["score", "label"], ascending=[False, True])
    values = {
        "Above chance": f"{alignment_tables.above_chance(found, ranking)} of {len(ranking)}",
        "Best layer": f"{alignment_tables.best_layer(found)}" if by_layer.any() else "none",
        "Mean score there": f"{by_layer.max():.3f}",
    }
    for name, row in (("Highest", ordered.iloc[0]), ("Lowest", ordered.iloc[-1])):
        values[f"{name}: {languages.name(row['language'])}"] = f"{row['score']:.3f}"
    return values


def answer(found: Alignment, ranking: pd.DataFrame, method: str, model: str, pivot: str) -> str:
    """The whole result in one sentence. pivot: its code."""
    above = alignment_tables.above_chance(found, ranking)
    against = f"with {languages.name(pivot)} by {method}"
    if not above:
        return f"**No language is aligned above chance** {against} in {model}."
    many = "All" if above == len(ranking) else f"{above} of"
    verb = "is" if len(ranking) == 1 else "are"
    noun = "language" if len(ranking) == 1 else "languages"
    peak = f"; the scores peak at layer {alignment_tables.best_layer(found)}"
    where = peak if found.score.shape[1] > 1 else ""
    return f"**{many} {len(ranking)} {noun} {verb} aligned above chance** {against} in {model}{where}."


def findings(found: Alignment, layers: str, pivot: str, tokens: Sequence[float]) -> list[Finding]:
    """What the scores say beyond their ranking, the clearest first; empty where nothing is beyond chance.

    tokens: mean tokens per sentence of each language, in the order of `found.languages`.
    """
    score = pd.Series(found.pooled(layers), index=list(found.languages))
    every = [
        _by_peak(found),
        _by_script(score, pivot),
        _by_tokens(score, np.asarray(tokens, dtype=float)),
        _by_direction(found),
    ]
    return [one for one in every if one is not None]


def _by_peak(found: Alignment) -> Finding | None:
    """Whether a layer between the first and the last is better than both.

    The layer is chosen on one half of the sentences and tested on the other, both ways, by a paired t test over
    sentences: a layer that was chosen for its score would exceed the ends by chance alone. None where each language has
    its own sentences, since a sentence then has no mean over languages.
    """
    if found.own_sentences:
        return None
    by_sentence = found.aligned.mean(axis=0).T
    halves = by_sentence[::2], by_sentence[1::2]
    best = int(by_sentence.mean(axis=0).argmax())
    if by_sentence.shape[1] < 3 or min(map(len, halves)) < FEWEST:
        return None
    for chosen_on, tested_on in (halves, halves[::-1]):
        layer = int(chosen_on.mean(axis=0).argmax())
        gain = tested_on[:, [layer]] - tested_on[:, [0, -1]]
        certain = np.ptp(gain, axis=0) == 0  # where t is not defined
        p = np.where(certain, gain[0] <= 0, stats.ttest_1samp(gain, 0, alternative="greater").pvalue)
        if not (p < LEVEL).all():
            return None
    weights = alignment.resampling_weights(found.n_sentences)
    low, high = np.quantile((weights @ by_sentence).argmax(axis=1), [0.025, 0.975]).astype(int)
    mean = by_sentence.mean(axis=0)
    return Finding(
        f"Alignment peaks **between the ends of the model**, at layer {best}"
        + (f" (between {low} and {high})." if low < high else "."),
        f"Mean score {mean[best]:.3f} there, {mean[0]:.3f} in the first layer and {mean[-1]:.3f} in the last, tested "
        "on sentences that did not choose the layer.",
        "Layers",
    )


def _by_script(score: pd.Series, pivot: str) -> Finding | None:
    """Whether languages in the pivot's script score otherwise than the rest, by a permutation of languages."""
    script = languages.script(pivot)
    same = np.array([languages.script(code) == script for code in score.index])
    inside, outside = score.to_numpy()[same], score.to_numpy()[~same]
    if script is None or min(len(inside), len(outside)) < 3:
        return None
    test = stats.permutation_test(
        (inside, outside), _difference, vectorized=True, n_resamples=RESAMPLES, rng=np.random.default_rng(0)
    )
    if not test.pvalue < LEVEL:
        return None
    how = "better" if inside.mean() > outside.mean() else "worse"
    return Finding(
        f"Languages in **{languages.script_name(script)} script**, as the pivot's, are aligned {how} than the others.",
        f"Mean {inside.mean():.3f} of {len(inside)} against {outside.mean():.3f} of {len(outside)}, permutation "
        f"p = {test.pvalue:.2g}. Script goes with family and with training data: this is no cause.",
        "Ranking",
    )


def _difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    return x.mean(axis=axis) - y.mean(axis=axis)


def tokens_sentence(table: pd.DataFrame) -> str:
    """What an `alignment_tables.tokens_table` shows, in Markdown, by the same test as the finding."""
    one = _by_tokens(table.set_index("language")["score"], table["tokens"].to_numpy(dtype=float))
    if one is None:
        of = counted(len(table), "language")
        return f"No correlation of the score with tokens per sentence is beyond chance ({of})."
    return f"{one.says} {one.evidence}"


def _by_tokens(score: pd.Series, tokens: np.ndarray) -> Finding | None:
    """Whether languages that need more tokens per sentence score lower (or higher), by Spearman's correlation."""
    if len(score) < 2 * FEWEST or np.ptp(tokens) == 0 or np.ptp(score) == 0:
        return None
    result = correlate(tokens, score.to_numpy())
    if not result.spearman_p < LEVEL:
        return None
    how = "lower" if result.spearman_rho < 0 else "higher"
    most = score.index[int(tokens.argmax())]
    return Finding(
        f"The **more tokens** a language's sentences take, the {how} its score.",
        f"Spearman's rho = {result.spearman_rho:.2f} over {len(score)} languages, p = {result.spearman_p:.2g}; "
        f"{languages.name(most)} takes most, {tokens.max():.0f} tokens per sentence.",
        "Tokens",
    )


def _by_direction(found: Alignment) -> Finding | None:
    """Whether sentences are found more easily in one direction, over languages, by Wilcoxon's signed-rank test."""
    gap = (found.retrieval_src2trg - found.retrieval_trg2src).mean(axis=1)
    if np.count_nonzero(gap) < 2 * FEWEST:
        return None
    p = float(stats.wilcoxon(gap).pvalue)
    if not p < LEVEL:
        return None
    towards = "from the pivot to a language" if gap.mean() > 0 else "from a language to the pivot"
    worst = found.languages[int(np.abs(gap).argmax())]
    return Finding(
        f"Sentences are found **more easily {towards}** than back.",
        f"Retrieval accuracy differs by {abs(gap.mean()):.3f} on average over layers and {len(gap)} languages, "
        f"Wilcoxon p = {p:.2g}; most in {languages.name(worst)}, by {np.abs(gap).max():.3f}.",
        "Table",
    )
