"""The paper's table: Pearson's r of models by tasks by methods, its averages, and which cells are ahead of the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product

import numpy as np
import pandas as pd

from neuronxa_core import exports
from neuronxa_core.experiment import CHOICES, STATES
from neuronxa_core.measures import task_correlation
from neuronxa_core.measures.alignment import METHODS, Alignment, pool_layers
from neuronxa_core.measures.task import Task
from neuronxa_core.states.planning import Plan
from neuronxa_core.statistics import comparison, correlation, layer_choice

AVERAGE = "average"
LEVEL = 0.05
FORMATS = {"csv": "csv", "markdown": "md", "latex": "tex"}
"""How the grid is written, and the ending of such a file."""


def correlations(
    model: str,
    plan: Plan,
    tasks: Iterable[Task],
    align: Callable[[Task, str, str], Alignment],
    states: Sequence[str] = STATES,
    poolings: Sequence[str] = CHOICES["pooling"],
    others: Callable[[Task, str, str], Mapping[str, np.ndarray]] = lambda *_how: {},
) -> pd.DataFrame:
    """Pearson's r of every method, token pooling and layer aggregation with every task of enough languages.

    model: as the table calls it. align(task, state, pooling) is the alignment to correlate; others(task, state,
    pooling) gives scores [language, layer] of further methods by name. Columns model, row (method, pooling and layers
    in one), method, pooling, layers, task, higher_is_better, r, low, high, p, n, is_best, p_to_next (see `_ahead`),
    p_of_best (`family_wise_p` over the model's whole table).
    """
    tables, x, y = [], [], []
    for task in tasks:
        points = task_correlation.points(plan, task.scores)
        if len(points.languages) < correlation.FEWEST:
            continue
        scores = np.full(len(plan.languages), np.nan)
        scores[points.at] = task.sign * points.y
        rows, own = [], []
        for state in states:
            for pooling in poolings:
                ways = {METHODS[state]: align(task, state, pooling).pooled}
                further = others(task, state, pooling)
                ways |= {name: partial(pool_layers, by_layer) for name, by_layer in further.items()}
                for method, layers in product(ways, CHOICES["layers"]):
                    own.append(ways[method](layers))
                    found = correlation.correlate(own[-1][points.at], points.y)
                    rows.append(
                        {
                            "model": model,
                            "row": f"{method} · {pooling} · {layers}",
                            "method": method,
                            "pooling": pooling,
                            "layers": layers,
                            "task": task.title,
                            "higher_is_better": task.higher_is_better,
                            "r": found.pearson_r,
                            "low": found.pearson_low,
                            "high": found.pearson_high,
                            "p": found.pearson_p,
                            "n": found.n,
                        }
                    )
        best, p = _ahead(np.array(own)[:, points.at], task.sign * points.y)
        tables.append(pd.DataFrame(rows).assign(is_best=np.arange(len(rows)) == best, p_to_next=p))
        x += own
        y += [scores] * len(own)
    if not tables:
        return pd.DataFrame()
    best = layer_choice.family_wise_p(np.transpose(x), np.transpose(y))
    return pd.concat(tables, ignore_index=True).assign(p_of_best=best)


def _ahead(x: np.ndarray, y: np.ndarray) -> tuple[int, float]:
    """Of measures x [measure, language], which goes best with y [language], and p of its lead on the next.

    p: Williams' test of the two largest r; see `comparison.williams`. The first is -1 where p is not below `LEVEL`, and
    p is NaN where the two cannot be told apart.
    """
    r = correlation.pearson_many(x, y)
    order = [k for k in np.argsort(-r, kind="stable") if not np.isnan(r[k])]
    if len(order) < 2:
        return -1, np.nan
    first, second = order[:2]
    between = float(correlation.pearson_many(x[first], x[second]))
    p = comparison.williams(float(r[first]), float(r[second]), between, len(y)).p
    return (int(first) if p < LEVEL else -1), p


def with_averages(table: pd.DataFrame) -> pd.DataFrame:
    """The table and the means of r: over tasks, over models, and over both, where there are several.

    They are rows whose task, model or both is `AVERAGE`; n is how many correlations went in. Where less of a task is
    better, its r counts with the sign turned.
    """
    turned = table.assign(r=table["r"].where(table["higher_is_better"], -table["r"]))
    parts, several = [table], [name for name in ("task", "model") if table[name].nunique() > 1]
    for over in [[name] for name in several] + [several] * (len(several) == 2):
        by = [name for name in ("model", "row", "method", "pooling", "layers", "task") if name not in over]
        means = turned.groupby(by, sort=False)["r"].agg(r="mean", n="count").reset_index()
        parts.append(means.assign(is_best=False, **dict.fromkeys(over, AVERAGE)))
    return pd.concat(parts, ignore_index=True)


def wide(table: pd.DataFrame, best: str = "{} *") -> pd.DataFrame:
    """The grid as a person reads it: columns model, method, and one per task, of texts `r (n)`; averages last.

    best: the format of a cell that is ahead of the next by more than chance.
    """
    whole = with_averages(table)
    texts = [f"{r:.3f} ({n})" for r, n in zip(whole["r"], whole["n"], strict=True)]
    cells = [
        "—" if np.isnan(r) else best.format(text) if marked else text
        for r, text, marked in zip(whole["r"], texts, whole["is_best"], strict=True)
    ]
    whole = whole.assign(cell=cells, method=whole["row"])
    square = whole.set_index(["model", "method", "task"])["cell"].unstack("task")
    square = square[list(dict.fromkeys(whole["task"]))].fillna("—")
    order = pd.MultiIndex.from_frame(whole[["model", "method"]].drop_duplicates())
    return square.reindex(order).reset_index().rename_axis(columns=None)


def text(table: pd.DataFrame, kind: str) -> str:
    """The grid as a file's text: `csv`, a row per cell; `markdown`; `latex`, with booktabs' rules. Best cells bold."""
    if kind == "csv":
        return exports.csv_text(with_averages(table).drop(columns="row"))
    if kind == "latex":
        drawn = wide(table, r"\textbf{{{}}}").replace("—", "--")
        style = drawn.style.hide(axis="index").format_index(escape="latex", axis=1)
        style = style.format(
            lambda name: str(name).replace("·", r"$\cdot$"), escape="latex", subset=["model", "method"]
        )
        return style.to_latex(hrules=True, column_format="ll" + "r" * (drawn.shape[1] - 2))
    drawn = wide(table, "**{}**")
    rows = [list(drawn), ["---"] * 2 + ["---:"] * (drawn.shape[1] - 2), *drawn.to_numpy().tolist()]
    return "".join("| " + " | ".join(str(cell).replace("|", r"\|") for cell in row) + " |\n" for row in rows)


def conclusion(table: pd.DataFrame) -> str:
    """In a sentence: where one method is ahead of the next by more than chance."""
    best = table[table["is_best"]]
    if best.empty:
        return "With no task is a method ahead of the next by more than chance (Williams' test)."
    several = table["model"].nunique() > 1
    named = [
        f"{one.row} with {one.task}{f' in {one.model}' if several else ''} (r = {one.r:.3f})"
        for one in best.itertuples()
    ]
    return f"Ahead of the next method by more than chance (Williams' test, p < {LEVEL:g}): {', '.join(named)}."


def left_out(model: str, plan: Plan, tasks: Iterable[Task]) -> list[str]:
    """A sentence for each task that has too few languages for a correlation."""
    found = [(task.title, len(task_correlation.points(plan, task.scores).languages)) for task in tasks]
    return [
        f"{task} of {model} is left out: {count or 'no'} {'language has' if count == 1 else 'languages have'} a score, "
        f"and a correlation needs {correlation.FEWEST}."
        for task, count in found
        if count < correlation.FEWEST
    ]
