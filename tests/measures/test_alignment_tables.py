"""Alignment as tables: against hand-worked cases."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from neuronxa_core.corpora.parallel import Corpus
from neuronxa_core.measures import alignment, alignment_tables, cosine_retrieval
from neuronxa_core.measures.alignment import Alignment
from neuronxa_core.measures.alignment_tables import SentencePairs
from neuronxa_core.wording import ALIGNED, MISSED, WRONG

# two languages, two layers, four sentences: scores 1/4 and 2/4, 3/4 and 1/4
FOUND = Alignment(
    ("deu_Latn", "tha_Thai"),
    np.array([[[1, 0, 0, 1], [1, 1, 0, 0]], [[1, 1, 1, 0], [0, 0, 0, 1]]], dtype=bool),
    np.array([[[1, 0, 0, 0], [1, 1, 1, 1]], [[1, 1, 1, 1], [1, 1, 1, 1]]], dtype=bool),
    np.array([[[0, -1, -1, -1], [0, 1, -1, 2]], [[0, 1, 2, -1], [-1, -1, -1, 3]]]),
)


def test_languages_are_ranked_by_their_score():
    assert alignment_tables.ranked(FOUND, "mean") == ["tha_Thai", "deu_Latn"]
    assert alignment_tables.best_layer(FOUND) == 0
    table = alignment_tables.ranking_table(FOUND, "mean").set_index("language")
    assert table.loc["deu_Latn", ["score", "peak_layer", "peak_score", "forward", "backward"]].tolist() == [
        0.375, 1, 0.5, 0.5, 0.625,
    ]  # fmt: skip
    assert table.loc["tha_Thai", ["label", "script", "score"]].tolist() == ["Thai (tha_Thai)", "Thai", 0.5]
    low, high = alignment.bootstrap(FOUND.aligned, "mean")
    assert table[["low", "high"]].to_numpy().T.tolist() == [low.tolist(), high.tolist()]
    none = np.zeros((2, 2, 4), dtype=bool)
    nothing = replace(FOUND, src2trg=none, trg2src=none)
    assert alignment_tables.ranking_table(nothing, "mean")["peak_layer"].isna().all()
    assert "score highest" not in alignment_tables.conclusion(nothing, table, "mean")
    # mutual neighbours 1 and 3, 3 and 1, of 4 by 4
    assert table["chance"].tolist() == [2 / 16, 2 / 16]


@pytest.mark.parametrize(
    ("low", "chance", "layers", "said"),
    [
        ([0.5, 0.1], [0, 0], "mean", "**1 of 2 languages** is above chance. "),
        ([0.5, 0.2], [0, 0], "mean", "**2 of 2 languages** are above chance. "),
        ([0.5, 0.2], [0.6, 0.6], "mean", "**0 of 2 languages** are above chance. "),
        ([0.5], [0], "mean", "**1 of 1 language** is above chance. "),
        ([0.5, 0.2], [0, 0], "max", ""),
    ],
)
def test_above_chance_is_said_where_the_interval_is_above_both_levels(low, chance, layers, said):
    """1 / (2n - 1) is 1/7 here."""
    table = pd.DataFrame({"low": low, "chance": chance})
    best = "Together, the languages score highest at **layer 0**."
    assert alignment_tables.conclusion(FOUND, table, layers) == said + best


def test_a_curve_has_a_row_per_language_and_layer():
    table = alignment_tables.curve_table(FOUND, ["tha_Thai", "deu_Latn"])
    assert table["score"].tolist() == [0.75, 0.25, 0.25, 0.5]
    assert table["layer"].tolist() == [0, 1, 0, 1]
    assert table["chance"].tolist() == [3 / 16, 1 / 16, 1 / 16, 3 / 16]
    both = alignment_tables.states_table({"nas": FOUND, "emb": FOUND}, ["tha_Thai"])
    assert both["method"].tolist() == ["NASCA (NAS)"] * 2 + ["MEXA (EMB)"] * 2


def test_all_pairs_are_a_square_table_in_the_order_of_the_clusters():
    scores = np.array([[1, 0.1, 0.9], [0.1, 1, 0.2], [0.9, 0.2, 1]])
    table, codes = alignment_tables.pairs_table(scores, ["a", "b", "c"])
    assert table.columns.tolist() == ["language", *codes]
    assert abs(codes.index("a") - codes.index("c")) == 1
    table = table.set_index("language")
    assert [table.loc[x, y] for x in "abc" for y in "abc"] == scores.ravel().tolist()


@pytest.fixture
def pairs():
    """Sentence 2 is taken for 1 in both directions, 3 is found in one direction, and 4's two best tie."""
    x = np.array([[1, 0, 0, 0], [0.9, 0.5, 0, 0], [0, 0, 1, 0.2], [0, 0, 1, 1]])
    y = np.array([[1, 0, 0, 0], [1, 0.01, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    texts = {code: tuple(code * 6) for code in "xy"}
    corpus = Corpus("made", "x", ("y",), texts, (1, 2, 3, 4, 5, 6), (0, 2, 3, 5), None, ())
    matches = tuple(alignment.matches(x, y))
    return SentencePairs(SimpleNamespace(corpus=corpus), "x", "y", matches, cosine_retrieval.similarity(x, y))


def test_marks_are_the_decisions_on_every_sentence(pairs):
    marks = pairs.marks()
    expected = []
    for match in pairs.matches:
        i, j = match.row, match.best_in_y
        expected.append((i, i, ALIGNED if match.status == "aligned" else MISSED))
        if match.status != "aligned" and j not in (-1, i):
            expected.append((i, j, ALIGNED if pairs.matches[j].best_in_x == i else WRONG))
    assert list(marks[["row", "column", "kind"]].itertuples(index=False, name=None)) == expected
    assert {ALIGNED, MISSED} <= set(marks["kind"])
    assert marks["cosine"].tolist() == [pairs.cosines[r, c] for r, c, _ in expected]


def test_sentences_are_counted_from_one_and_a_tie_is_empty(pairs):
    table = pairs.table()
    assert table["sentence"].tolist() == [1, 2, 3, 4]
    assert table["line"].tolist() == [1, 3, 4, 6]
    assert pairs.misses == [k for k, match in enumerate(pairs.matches) if match.status != "aligned"]
    assert pd.isna(table["nearest in y"][3])
    assert set(table["status"]) <= {"aligned", "missed", "x → y only", "y → x only"}
