"""The paper's grid: every figure against scipy, Williams' t written out, and what it says on planted data."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from neuronxa_core.measures import grid
from neuronxa_core.measures.task import Task

N = 12
CODES = tuple(f"l{k:02}" for k in range(N))
PLAN = SimpleNamespace(languages=CODES, pivot="eng_Latn")
Y = np.random.default_rng(0).normal(size=N)


def task(name="xnli", values=Y, count=N, higher=True):
    scores = dict(list(zip(CODES, values.tolist(), strict=True))[:count])
    return Task("m", name, "acc", scores, {}, "here", higher_is_better=higher)


def plain_alignment(values):
    """What has a score per language, however the layers are pooled."""
    return SimpleNamespace(pooled=lambda how: values if how == "mean" else -values)


def aligned(noise, seed=1):
    """align() where NASCA goes with Y, and other methods do with so much noise."""
    made = np.random.default_rng(seed).normal(size=(9, N))
    place = {
        (s, p): k
        for k, (s, p) in enumerate((s, p) for s in ("nas", "nav", "emb") for p in ("weighted", "last", "mean"))
    }

    def align(_task, state, pooling):
        own = 0.05 if (state, pooling) == ("nas", "weighted") else noise
        return plain_alignment(Y + own * made[place[state, pooling]])

    return align


def plain_williams(x, z, y):
    a, b, c = (stats.pearsonr(*pair).statistic for pair in ((x, y), (z, y), (x, z)))
    n, det = len(y), 1 - a * a - b * b - c * c + 2 * a * b * c
    t = (a - b) * np.sqrt((n - 1) * (1 + c) / (2 * (n - 1) / (n - 3) * det + ((a + b) / 2) ** 2 * (1 - c) ** 3))
    return 2 * stats.t.sf(abs(t), n - 3)


@pytest.mark.parametrize(("noise", "sign"), [(1.5, 1), (1.5, -1), (0.06, 1)])
def test_a_cell_is_marked_where_its_lead_on_the_next_is_beyond_chance_and_nowhere_else(noise, sign):
    align = aligned(noise)
    table = grid.correlations("m", PLAN, [task(values=sign * Y, higher=sign > 0), task("few", count=4)], align)
    assert len(table) == 3 * 3 * 2
    assert set(table["task"]) == {"xnli (acc)"}
    for row in table.itertuples():
        x = align(None, row.method.replace("CA", "").lower()[:3].replace("mex", "emb"), row.pooling).pooled(row.layers)
        wanted = stats.pearsonr(x, sign * Y)
        assert (row.r, row.p, row.n) == (pytest.approx(wanted.statistic), pytest.approx(wanted.pvalue), N)
        assert row.low < row.r < row.high
    order = (sign * table["r"]).sort_values(ascending=False).index[:2]
    x, z = (
        align(None, {"NASCA": "nas", "NAVCA": "nav", "MEXA": "emb"}[one.method], one.pooling).pooled(one.layers)
        for one in table.loc[order].itertuples()
    )
    p = plain_williams(x, z, Y)
    assert table["p_to_next"].tolist() == pytest.approx([p] * len(table))
    assert table.index[table["is_best"]].tolist() == ([order[0]] if p < 0.05 else [])
    assert (p < 0.05) == (noise > 1)
    said = grid.conclusion(table)
    assert ("NASCA · weighted · mean with xnli (acc) (r = " in said) == (noise > 1)
    assert said.startswith("Ahead of the next" if noise > 1 else "With no task")
    assert table["p_of_best"].between(1 / 2001, 1).all()
    assert grid.left_out("m", PLAN, [task(), task("few", count=1)]) == [
        "few (acc) of m is left out: 1 language has a score, and a correlation needs 5."
    ]
    assert grid.correlations("m", PLAN, [task("few", count=4)], align).empty


def test_further_methods_stand_in_the_same_table_and_their_choice_is_paid_for():
    by_layer = np.column_stack([Y, np.random.default_rng(4).normal(size=N)])
    plain, more = (
        grid.correlations("m", PLAN, [task()], aligned(1.5), ("nas",), ("weighted",), others)
        for others in (lambda *_how: {}, lambda *_how: {"CKA (NAS)": by_layer})
    )
    assert more["row"].tolist()[2:] == ["CKA (NAS) · weighted · mean", "CKA (NAS) · weighted · max"]
    assert more["r"][3] == pytest.approx(stats.pearsonr(by_layer.max(axis=1), Y).statistic)
    assert more["r"].tolist()[:2] == plain["r"].tolist()
    assert (more["p_of_best"][:2] >= plain["p_of_best"]).all()


def test_measures_that_do_not_vary_or_are_one_leave_no_best():
    same = grid.correlations("m", PLAN, [task()], lambda *_: plain_alignment(Y**3))
    flat = grid.correlations("m", PLAN, [task()], lambda *_: plain_alignment(np.ones(N)))
    assert not same["is_best"].any()
    assert not flat["is_best"].any()
    assert (grid.wide(flat)["xnli (acc)"] == "—").all()


def two_models():
    """Two models with two tasks, of one of which less is better; r by hand: see below."""
    rows = [
        ("a_1", "NASCA", "t_1", True, 0.9, 6, True),
        ("a_1", "NASCA", "ppl", False, -0.5, 5, False),
        ("a_1", "MEXA", "t_1", True, 0.1, 6, False),
        ("a_1", "MEXA", "ppl", False, np.nan, 5, False),
        ("b|2", "NASCA", "t_1", True, 0.3, 6, False),
        ("b|2", "MEXA", "t_1", True, 0.2, 6, False),
    ]
    table = pd.DataFrame(rows, columns=["model", "method", "task", "higher_is_better", "r", "n", "is_best"])
    return table.assign(pooling="last", layers="max", row=table["method"] + " · last · max")


def test_averages_are_means_of_the_cells_that_are_there():
    whole = grid.with_averages(two_models()).set_index(["model", "method", "task"])[["r", "n"]]
    wanted = {
        ("a_1", "NASCA", "average"): (0.7, 2),
        ("a_1", "MEXA", "average"): (0.1, 1),
        ("b|2", "NASCA", "average"): (0.3, 1),
        ("average", "NASCA", "t_1"): (0.6, 2),
        ("average", "NASCA", "ppl"): (0.5, 1),
        ("average", "MEXA", "t_1"): (0.15, 2),
        ("average", "NASCA", "average"): (1.7 / 3, 3),
    }
    for place, figures in wanted.items():
        assert tuple(whole.loc[place]) == pytest.approx(figures), place
    assert grid.with_averages(two_models()[:1])["r"].tolist() == [0.9]


def test_the_grid_is_written_as_csv_markdown_and_booktabs():
    table = two_models()
    markdown = grid.text(table, "markdown").splitlines()
    assert markdown[0] == "| model | method | t_1 | ppl | average |"
    assert markdown[2] == "| a_1 | NASCA · last · max | **0.900 (6)** | -0.500 (5) | 0.700 (2) |"
    assert markdown[4] == r"| b\|2 | NASCA · last · max | 0.300 (6) | — | 0.300 (1) |"
    assert markdown[-1].startswith("| average | MEXA")
    latex = grid.text(table, "latex")
    assert all(rule in latex for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"t\_1"))
    assert r"a\_1 & NASCA $\cdot$ last $\cdot$ max & \textbf{0.900 (6)} & -0.500 (5) & 0.700 (2) \\" in latex
    read = pd.read_csv(io.StringIO(grid.text(table, "csv")))
    assert len(read) == len(table) + 4 + 4 + 2
    assert grid.wide(table)["t_1"][0] == "0.900 (6) *"
