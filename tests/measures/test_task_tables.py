"""Tables of alignment beside task scores: against plain computations on a few languages by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from neuronxa_core.measures import task_tables
from neuronxa_core.measures.alignment import Alignment
from neuronxa_core.measures.task import Task
from neuronxa_core.measures.task_correlation import Points

CODES = ("spa_Latn", "ell_Grek", "rus_Cyrl", "deu_Latn", "por_Latn", "zho_Hans")
Y = np.array([0.7, 0.4, 0.55, 0.6, 0.68, 0.5])
SCORES = dict(zip(CODES, Y.tolist(), strict=True))
POINTS = Points(CODES, Y, np.arange(6))
PLAN = SimpleNamespace(languages=CODES, pivot="eng_Latn")


def task(scores=SCORES, **more):
    return Task("m", "xnli", more.pop("metric", "acc"), scores, {}, "here", **more)


def random_alignment(seed=0, languages=CODES, layers=3, sentences=20):
    src2trg, trg2src = np.random.default_rng(seed).random((2, len(languages), layers, sentences)) < 0.6
    return Alignment(languages, src2trg, trg2src, np.where(src2trg & trg2src, np.arange(sentences), -1))


def test_the_scatter_has_a_row_per_language_and_the_line_that_scipy_finds():
    x = np.array([0.9, 0.2, 0.5, 0.7, 0.8, 0.3])
    joined = task_tables.by_language(POINTS, x, {"spa_Latn": 100})
    assert joined.loc[0].tolist() == ["spa_Latn", "Spanish (spa_Latn)", 0.9, 0.7, 100]
    assert joined["n"].isna().sum() == 5
    drawn = task_tables.scatter_points(joined, np.log(x), Y, ["g"] * 6)
    assert drawn["x"].tolist() == np.log(x).tolist()
    assert drawn["more"][1] == "alignment 0.2000, score 0.4000"
    line = task_tables.regression_line(x, x[:5], Y[:5])
    fit = stats.linregress(x[:5], Y[:5])
    assert (line["x"].iloc[0], line["x"].iloc[-1]) == (0.2, 0.9)
    np.testing.assert_allclose(line["mean"], fit.intercept + fit.slope * line["x"])
    assert (line["low"] < line["mean"]).all()
    assert task_tables.regression_line(np.ones(5), np.ones(5), Y[:5]).empty


def test_layers_and_held_out_layers_are_signed_as_the_task_is():
    scores = {"nas": random_alignment(1).score, "emb": random_alignment(2).score}
    table = task_tables.by_layer(scores, Y)
    assert table["method"].tolist() == ["NASCA"] * 3 + ["MEXA"] * 3
    for row in table.itertuples():
        x = scores["nas" if row.method == "NASCA" else "emb"][:, row.layer]
        assert row.r == pytest.approx(stats.pearsonr(x, Y).statistic)
    twice = {name: np.vstack([values, values]) for name, values in scores.items()}
    more, less = (task_tables.held_out_layers(twice, sign * np.tile(Y, 2), sign) for sign in (1, -1))
    best = table.iloc[:3]["r"].idxmax()
    assert task_tables.best_layers(table, 1)["r"].tolist() == table.groupby("method", sort=False)["r"].max().tolist()
    assert task_tables.best_layers(table, -1)["r"].tolist() == table.groupby("method", sort=False)["r"].min().tolist()
    assert (more["best layer"][0], more["r there"][0]) == (best, pytest.approx(table["r"][best]))
    np.testing.assert_allclose(less["r there"], -more["r there"])
    assert (less["best layer"] == more["best layer"]).all()


@pytest.mark.parametrize(("signal", "sign"), [(3, 1), (0, 1), (3, -1)])
def test_the_best_layer_is_more_than_the_best_of_luck_only_where_it_is(signal, sign):
    random = np.random.default_rng(0)
    y = random.normal(size=20)
    scores = {name: random.normal(size=(20, 10)) for name in ("nas", "emb")}
    scores["emb"][:, 7] += signal * sign * y
    table = task_tables.by_layer(scores, y, sign)
    said = task_tables.best_of_all(table, table["method"] + " at " + table["layer"].astype(str), "layers")
    assert said.startswith("The best of all 20 layers is ")
    assert ("is MEXA at 7 (r = " in said) == bool(signal)
    assert ("by chance alone" in said) == (not signal)
    assert task_tables.best_of_all(table.assign(p_of_best=np.nan), table["method"], "layers") == ""


@pytest.mark.parametrize(("r", "wanted"), [([0.2, 0.76, 0.8], 20), ([0.8, 0.79, 0.81], 10), ([0.2, 0.3, np.nan], None)])
def test_enough_sentences_are_the_fewest_close_to_all(r, wanted):
    assert task_tables.enough_sentences(pd.DataFrame({"sentences": [10, 20, 30], "r": r})) == wanted


def test_what_is_held_constant_leaves_the_correlation_of_residuals_or_a_reason():
    tokens = {code: 10.0 + k * k for k, code in enumerate(CODES)}
    shares = [0.1, 0.2, 0.3, *[np.nan] * 3]
    known = pd.DataFrame({"script": ["a", "b"] * 3, "family": "x", "training share": shares}, index=CODES)
    controls = task_tables.controls_of(tokens, known.assign(same=1, mine=[3, 1, 4, 1, 5, 9]))
    assert list(controls) == ["tokens per sentence", "script", "training share", "mine", "training share and tokens"]
    x = np.array([0.9, 0.2, 0.5, 0.7, 0.8, 0.3])
    table, refused = task_tables.held_constant(x, Y, controls)
    rows = table.set_index("held constant")["r"]
    design = np.column_stack([np.ones(6), list(tokens.values())])
    residuals = [values - design @ np.linalg.lstsq(design, values, rcond=None)[0] for values in (x, Y)]
    assert rows["nothing"] == pytest.approx(stats.pearsonr(x, Y).statistic)
    assert rows["tokens per sentence"] == pytest.approx(stats.pearsonr(*residuals).statistic)
    design = np.column_stack([np.ones(6), [3, 1, 4, 1, 5, 9]])
    residuals = [values - design @ np.linalg.lstsq(design, values, rcond=None)[0] for values in (x, Y)]
    assert rows["mine"] == pytest.approx(stats.pearsonr(*residuals).statistic)
    assert "training share" in refused
    assert set(rows.index) | set(refused) == {"nothing", *controls}
    assert list(task_tables.controls_of(tokens, known[["script"]])) == ["tokens per sentence", "script"]


def test_estimates_are_alignment_times_the_pivots_score():
    plan = SimpleNamespace(languages=(*CODES, "tha_Thai", "eng_Latn"), pivot="eng_Latn")
    pooled = np.array([0.9, 0.2, 0.5, 0.7, 0.8, 0.3, 0.6, 1.0])
    errors, table = task_tables.estimates(plan, task({**SCORES, "eng_Latn": 0.8}), POINTS, pooled, 0.8, "NASCA")
    by_code = table.set_index("language")
    assert set(by_code.index) == {*CODES, "tha_Thai"}
    assert by_code.loc["tha_Thai", "NASCA × pivot's score"] == pytest.approx(0.48)
    assert not any("MEXA" in name for name in [*table, *errors["estimate"]])
    # a new language's interval: s sqrt(1 + 1/6 + (x - mean)^2 / Sxx) times t of 4 degrees of freedom
    fit, sxx = stats.linregress(pooled[:6], Y), np.square(pooled[:6] - pooled[:6].mean()).sum()
    s = np.sqrt(np.square(Y - fit.intercept - fit.slope * pooled[:6]).sum() / 4)
    half = stats.t.isf(0.025, 4) * s * np.sqrt(7 / 6 + (0.6 - pooled[:6].mean()) ** 2 / sxx)
    middle = fit.intercept + fit.slope * 0.6
    found = by_code.loc["tha_Thai", ["line from", "line", "line to"]].tolist()
    assert found == pytest.approx([middle - half, middle, middle + half])
    assert np.isnan(by_code.loc["tha_Thai", "score"])
    assert table["NASCA × pivot's score"].is_monotonic_decreasing
    assert errors["mean absolute error"][0] == pytest.approx(np.abs(0.8 * pooled[:6] - Y).mean())


def test_models_are_compared_by_relative_depth_on_the_languages_that_they_share():
    models = {
        "a": random_alignment(1),
        "b": random_alignment(2, CODES[::-1], layers=5),
        "c": random_alignment(3, layers=1),
    }
    shared = list(CODES[:2])
    table = task_tables.by_depth(models, shared)
    assert table.groupby("model")["depth"].agg(list).to_dict() == {
        "a": [0, 0.5, 1],
        "b": [0, 0.25, 0.5, 0.75, 1],
        "c": [0.5],
    }
    own = models["b"].score[[5, 4]]
    last = table[table["model"] == "b"].iloc[-1]
    assert last["score"] == pytest.approx(own[:, 4].mean())
    assert last["high"] - last["score"] == pytest.approx(1.96 * own[:, 4].std(ddof=1) / np.sqrt(2))
    scores = task_tables.by_model(models, shared, "max")
    assert scores["b"].tolist() == own.max(axis=1).tolist()
    points = task_tables.points_of_models(scores, {"a": SCORES, "b": {"ell_Grek": 0.1}, "c": {}})
    assert points[["model", "language", "y"]].to_numpy().tolist() == [
        ["a", "spa_Latn", 0.7],
        ["a", "ell_Grek", 0.4],
        ["b", "ell_Grek", 0.1],
    ]
