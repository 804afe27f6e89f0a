"""Retrieval in either direction: against cosines written out, and what is said of planted tables."""

import numpy as np
import pandas as pd
import pytest

from neuronxa_core.measures import retrieval
from neuronxa_core.measures.alignment import AlignmentScores
from neuronxa_core.measures.retrieval import Retrieval
from neuronxa_core.states.stored import StatesReader


def accuracies(x, y):
    """(from x to y, from y to x): the share of sentences whose own translation is strictly nearest."""
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    cosines, n = x @ y.T, len(x)
    return tuple(
        np.mean([all(c[i, i] > c[i, j] + 1e-12 for j in range(n) if j != i) for i in range(n)])
        for c in (cosines, cosines.T)
    )


@pytest.mark.parametrize("state", ["nas", "nav", "emb"])
def test_both_directions_are_those_of_cosines_by_layer_and_pooled(three_languages, state):
    plan, store = three_languages
    measure = Retrieval(plan, state)
    table = measure.frame(measure.run(store))
    assert len(table) == 2 * plan.info.layers
    with StatesReader(plan, store) as reader:
        for row in table.itertuples():
            src2trg, trg2src = accuracies(
                *(reader.sentence_vectors(code, state, "weighted", row.layer) for code in (plan.pivot, row.language))
            )
            assert (row.src2trg, row.trg2src) == pytest.approx((src2trg, trg2src)), row
            assert (row.both, row.gap) == pytest.approx(((src2trg + trg2src) / 2, src2trg - trg2src))
    for how in ("mean", "max"):
        other = Retrieval(plan, state, layers=how)
        pooled = other.frame(other.results(store)).set_index("language")
        wanted = table.groupby("language")[["src2trg", "trg2src"]].agg(how)
        pd.testing.assert_frame_equal(pooled[["src2trg", "trg2src"]].sort_index(), wanted, check_exact=False)
        assert pooled["layer"].isna().all()
        assert pooled["group"].tolist() == ["head", "head"]
    assert measure.key_of("deu_Latn") == AlignmentScores(plan, state).key_of("deu_Latn")  # computed once


def planted(gaps, groups=None):
    count = len(gaps)
    table = pd.DataFrame({"language": [f"l{k}" for k in range(count)], "gap": gaps, "state": "nas"})
    return table.assign(group=groups or ["head"] * count, src2trg=0.5 + table["gap"], trg2src=0.5, both=0.5)


@pytest.mark.parametrize(
    ("gaps", "said"),
    [
        # two-sided by hand: 2 (1 + 8) / 256 = 0.07
        ([0.1] * 7 + [-0.1], "Neither direction is ahead in more languages than by chance (sign test, p = 0.07)"),
        ([0.1] * 8, "More is found from English than the other way round in 8 of 8 languages"),
        ([-0.1] * 9, "More is found towards English than the other way round in 9 of 9 languages"),
        ([0.1] * 5, "Neither direction is ahead"),
        ([0.1] * 5 + [-0.1] * 4, "Neither direction is ahead"),
        ([0.0] * 9, "Neither direction is ahead"),
    ],
)
def test_a_direction_is_said_to_be_ahead_only_where_most_languages_say_so(gaps, said):
    assert said in retrieval.conclusion(planted(gaps), "English")


def test_groups_are_means_over_their_languages():
    table = planted([0.1, 0.2, 0.4], ["head", "long tail", "head"]).assign(both=[0.5, 0.2, 0.7])
    rows = retrieval.by_group(table).set_index("group")
    assert rows["languages"].to_dict() == {"head": 2, "long tail": 1, "all languages": 3}
    assert rows.loc["head", ["both", "gap"]].tolist() == pytest.approx([0.6, 0.25])
    said = retrieval.conclusion(table, "English")
    assert said.startswith(
        "Mean accuracy of both directions: 0.600 over head (2), 0.200 over long tail (1), 0.467 over"
    )
    assert "long tail" not in retrieval.conclusion(table[:1], "English")
