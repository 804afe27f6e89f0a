"""Alignment of pairs against RankC of pairs, on planted tables."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.pair_correlation import pair_correlation

CODES = ("eng_Latn", "deu_Latn", "fra_Latn", "spa_Latn", "rus_Cyrl", "arb_Arab")
FILES = ("ar", "de", "en", "es", "fr", "ru", "xx")
FILE_OF = dict(zip(CODES, ("en", "de", "fr", "es", "ru", "ar"), strict=True))
GENERATOR = np.random.default_rng(3)
PAIRS = [(*pair, layer, GENERATOR.random()) for pair in combinations(CODES, 2) for layer in (0, 1)]
ALIGNMENT = pd.DataFrame(PAIRS, columns=["language_x", "language_y", "layer", "score"])
RANKC = pd.DataFrame(
    [(*pair, GENERATOR.random()) for pair in combinations(FILES, 2)], columns=["language_x", "language_y", "rankc"]
)


@pytest.mark.parametrize("layers", ["mean", "max"])
def test_pairs_are_matched_pooled_and_correlated(layers):
    found = pair_correlation(ALIGNMENT, RANKC, "eng_Latn", layers)
    wanted = []
    for x, y in combinations(CODES, 2):
        own = [score for a, b, _, score in PAIRS if (a, b) == (x, y)]
        a, b = sorted([FILE_OF[x], FILE_OF[y]])
        ranked = RANKC[(RANKC["language_x"] == a) & (RANKC["language_y"] == b)]["rankc"].item()
        wanted.append((x, y, sum(own) / 2 if layers == "mean" else max(own), ranked))
    pd.testing.assert_frame_equal(found.table, pd.DataFrame(wanted, columns=found.table.columns))
    assert found.all_pairs.r == pytest.approx(stats.pearsonr(*zip(*(row[2:] for row in wanted), strict=True)).statistic)
    pivot = [row[2:] for row in wanted if "eng_Latn" in row]
    assert found.pivot.pearson_r == pytest.approx(stats.pearsonr(*zip(*pivot, strict=True)).statistic)
    assert found.conclusion("English") == (
        f"Over all 15 pairs of 6 languages alignment and RankC have r = {found.all_pairs.r:.3f} (Mantel's test, p = "
        f"{found.all_pairs.p:.3f}); over the 5 pairs with English alone r = {found.pivot.pearson_r:.3f}."
    )
    assert any("xx" in note for note in found.notes)


def test_few_languages_and_constants():
    some = RANKC[~RANKC["language_x"].isin(["ar"])]
    five = pair_correlation(ALIGNMENT, some, "eng_Latn", "mean")
    assert five.pivot is None
    assert five.conclusion("English").endswith(").")
    same = pair_correlation(ALIGNMENT, RANKC.assign(rankc=0.5), "eng_Latn", "mean")
    assert same.conclusion("English").startswith("Alignment or RankC is the same for all pairs")
    with pytest.raises(ExperimentError, match="at least 5 languages, not 4"):
        pair_correlation(ALIGNMENT, some[~some["language_x"].isin(["de"])], "eng_Latn", "mean")
