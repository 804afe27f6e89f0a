"""What is said of alignment scores, on planted data: where it holds, and where it must not be said."""

import numpy as np
import pytest

from neuronxa_core.measures import alignment_tables, findings
from neuronxa_core.measures.alignment import Alignment

LATIN = ("deu_Latn", "fra_Latn", "spa_Latn", "ita_Latn", "nld_Latn", "por_Latn")
OTHER = ("rus_Cyrl", "tha_Thai", "arb_Arab", "hin_Deva", "jpn_Jpan", "ell_Grek")
FLAT = np.full(5, 0.3)


def planted(level, by_layer, easier=0.0, seed=0, sentences=60):
    """Sentences aligned with probability level[language] * by_layer; easier: found from the pivot alone."""
    rng = np.random.default_rng(seed)
    chance = np.asarray(level)[:, None, None] * np.asarray(by_layer)[None, :, None]
    aligned = rng.random((len(level), len(by_layer), sentences)) < chance
    return alignment_of(LATIN + OTHER, aligned | (rng.random(aligned.shape) < easier), aligned)


def alignment_of(codes, src2trg, trg2src):
    """With no mutual neighbours but translations."""
    return Alignment(codes, src2trg, trg2src, np.where(src2trg & trg2src, np.arange(src2trg.shape[-1]), -1))


def said(found, tokens=(30,) * 12):
    return [one.says for one in findings.findings(found, "mean", "eng_Latn", tokens)]


def test_each_planted_difference_is_found_and_nothing_else():
    (peak,) = said(planted([0.5] * 12, [0.1, 0.5, 1, 0.5, 0.1]))
    assert "peaks **between the ends of the model**, at layer 2" in peak
    (script,) = said(planted([0.9] * 6 + [0.2] * 6, FLAT))
    assert script == "Languages in **Latin script**, as the pivot's, are aligned better than the others."
    levels = np.linspace(0.1, 0.9, 12).reshape(2, 6).T.ravel()  # both scripts alike
    (tokens,) = said(planted(levels, FLAT), 100 - 90 * levels)
    assert tokens == "The **more tokens** a language's sentences take, the lower its score."
    (direction,) = said(planted([0.5] * 12, FLAT, easier=0.2))
    assert direction == "Sentences are found **more easily from the pivot to a language** than back."


def test_tokens_are_said_to_matter_only_where_they_do():
    levels = np.linspace(0.1, 0.9, 12)
    found = planted(levels, FLAT)
    for tokens, start in (
        (100 - 90 * levels, "The **more tokens**"),
        (np.resize([20, 40, 30], 12), "No correlation of"),
    ):
        table = alignment_tables.tokens_table(found, "mean", dict(zip(found.languages, tokens, strict=True)))
        assert table["score"].tolist() == found.pooled("mean").tolist()
        assert table.loc[0, ["language", "script", "tokens"]].tolist() == ["deu_Latn", "Latin", tokens[0]]
        assert findings.tokens_sentence(table).startswith(start)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_said_of_noise(seed):
    assert said(planted([0.4] * 12, FLAT, seed=seed), np.random.default_rng(seed).normal(30, 5, 12)) == []


def test_nothing_is_said_where_nothing_is_aligned_or_too_little_is_there():
    none = np.zeros((12, 5, 60), dtype=bool)
    assert said(alignment_of(LATIN + OTHER, none, none)) == []
    one = planted([0.5] * 12, [0.1, 0.5, 1, 0.5, 0.1])
    small = alignment_of(("deu_Latn",), one.src2trg[:1, :1], one.trg2src[:1, :1])
    assert findings.findings(small, "mean", "x", [3]) == []


def test_the_answer_and_its_figures():
    found = planted([0.9] * 6 + [0.0] * 6, [0.1, 0.5, 1, 0.5, 0.1])
    ranking = alignment_tables.ranking_table(found, "mean")
    answer = findings.answer(found, ranking, "NASCA", "the model", "eng_Latn")
    assert answer == (
        "**6 of 12 languages are aligned above chance** with English by NASCA in the model; the scores peak at layer 2."
    )
    shown = findings.figures(found, ranking)
    assert shown["Above chance"] == "6 of 12"
    assert shown["Mean score there"] == f"{found.aligned[:, 2].sum() / (12 * 60):.3f}"
    none = np.zeros((12, 5, 60), dtype=bool)
    nothing = alignment_of(LATIN + OTHER, none, none)
    answer = findings.answer(nothing, alignment_tables.ranking_table(nothing, "mean"), "MEXA", "the model", "eng_Latn")
    assert answer == "**No language is aligned above chance** with English by MEXA in the model."
