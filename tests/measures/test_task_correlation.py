"""Alignment and task scores together: which languages are points, tables, and what sentence curves are made of."""

import numpy as np
import pandas as pd
import pytest

from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import ENTRIES, Experiment
from neuronxa_core.measures import alignment, sentence_subsets, task_correlation
from neuronxa_core.states import computing, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.statistics import correlation
from neuronxa_core.store.cache import Store

CODES = ("spa_Latn", "ell_Grek", "rus_Cyrl", "deu_Latn", "por_Latn", "tha_Thai")
SCORES = dict(zip(CODES, (0.7, 0.4, 0.55, 0.6, 0.68, 0.5), strict=True))


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    plan = planning.make_plan(Experiment(languages=CODES, sentences=12, kept=ENTRIES), store)
    computing.compute_missing(plan, store, ModelPool())
    yield plan, store
    store.close()


def test_points_leave_out_the_pivot_what_has_no_score_and_what_is_switched_off(computed):
    plan, _ = computed
    scores = {**SCORES, "eng_Latn": 0.9, "rus_Cyrl": np.nan, "swe_Latn": 0.2}
    found = task_correlation.points(plan, scores, without=("tha_Thai",))
    assert found.languages == ("spa_Latn", "ell_Grek", "deu_Latn", "por_Latn")
    assert found.y.tolist() == [0.7, 0.4, 0.6, 0.68]
    assert [plan.languages[k] for k in found.at] == list(found.languages)


def test_the_table_has_every_layer_and_way_to_pool_them(computed):
    plan, store = computed
    table = task_correlation.correlation_table(
        plan, store, "t", task_correlation.points(plan, SCORES), ("nas", "emb"), ("weighted", "last")
    )
    assert list(table.columns) == list(task_correlation.COLUMNS)
    assert len(table) == 2 * 2 * (plan.info.layers + 2)
    for row in table.itertuples():
        scores = alignment.align(plan, store, row.state, row.pooling).score
        x = scores[:, row.layer] if not row.layer_pooling else alignment.pool_layers(scores, row.layer_pooling)
        wanted = correlation.correlate(x, list(SCORES.values()))
        related = correlation.by_family(x, list(SCORES.values()), list("RGSgRK"))
        np.testing.assert_equal([row.family_low, row.family_high], [related.low, related.high])
        for name in ("pearson_r", "pearson_low", "pearson_high", "pearson_p", "spearman_rho", "kendall_tau"):
            np.testing.assert_allclose(getattr(row, name), getattr(wanted, name), atol=1e-12)
    assert pd.isna(table["layer"].iloc[-1])
    assert table["family_low"].notna().any()


def test_too_few_languages_are_refused(computed):
    plan, store = computed
    few = task_correlation.points(plan, SCORES, without=("tha_Thai", "por_Latn"))
    with pytest.raises(ExperimentError, match="5"):
        task_correlation.correlation_table(plan, store, "t", few, ("nas",), ("weighted",))


def test_sentence_curves_come_out_at_the_correlation_of_all_sentences(computed):
    plan, store = computed
    points = task_correlation.points(plan, SCORES)
    curve = sentence_subsets.sentence_curve(
        task_correlation.competitor_masks(plan, store, "emb", "weighted"),
        points.languages,
        range(plan.info.layers),
        points.y,
        [5, 12],
    )
    x = alignment.align(plan, store, "emb", "weighted").pooled("mean")[points.at]
    assert curve["r"].iloc[-1] == pytest.approx(correlation.correlate(x, points.y).pearson_r, abs=1e-9)
    assert curve["alignment"].iloc[-1] == pytest.approx(x.mean())


def test_the_models_own_scores_are_found_by_name(computed):
    plan, _ = computed
    assert task_correlation.same_model(plan, ["gpt2", "demo"]) == "demo"
    assert task_correlation.same_model(plan, ["gpt2", "lab/Demo@main"]) == "lab/Demo@main"
    # a part of a name is another model
    assert task_correlation.same_model(plan, ["lab/Demo-v2", "em", "demo-Instruct", ""]) is None
    assert task_correlation.same_model(plan, ["gpt2"]) is None


def test_tokens_a_sentence_are_counted(computed):
    plan, store = computed
    found = task_correlation.tokens_per_sentence(plan, store)
    assert set(found) == set(plan.all_languages)
    assert found["ell_Grek"] > 3 * found["eng_Latn"]
