"""Alignment and task scores together: scatter, by layer, method, number of sentences and model."""

from __future__ import annotations

import altair as alt
import pandas as pd

from neuronxa_core.charts.theme import COLOURS, SCORE_AXIS, _around, _colours_of, _layer_axis

# correlations that the paper reports for large models (Huang et al., ACL 2025, with XNLI and over tasks)
PAPER_FIGURES = {
    "paper: MEXA, XNLI": 0.8370,
    "paper: NAVCA, XNLI": 0.8937,
    "paper: NASCA, XNLI": 0.9326,
    "paper: mean over tasks": 0.9556,
}


def scatter(
    points: pd.DataFrame,
    line: pd.DataFrame,
    *,
    x_title: str,
    y_title: str,
    colour: str,
    title: str,
    reference: pd.DataFrame | None = None,
) -> alt.LayerChart:
    """A point per language, with a regression line and its confidence band; a click excludes a language.

    points: language, label, x, y, low and high (of x, may equal it), group (what the colour tells), more (text of the
    tooltip). line: x, mean, low, high; may be empty. colour: what `group` is. reference: x, y of further lines, each
    with `name`.
    """
    pick = alt.selection_point(name="off", fields=["language"], empty=False, toggle="true")
    groups = sorted(points["group"].astype(str).unique())
    many = len(groups) > len(COLOURS)
    hue = alt.Color(
        "group:N",
        title=colour,
        sort=groups,
        scale=alt.Scale(scheme="tableau20") if many else alt.Scale(domain=groups, range=COLOURS[: len(groups)]),
        legend=alt.Legend(orient="bottom", columns=6, labelLimit=160, symbolLimit=60, symbolOpacity=1),
    )
    x_scale, y_scale = _around(points["x"], line.get("x")), _around(points["y"], line.get("low"), line.get("high"))
    x = alt.X("x:Q", title=x_title, scale=x_scale, axis=alt.Axis(tickCount=8))
    y = alt.Y("y:Q", title=y_title, scale=y_scale, axis=alt.Axis(tickCount=8))
    base = alt.Chart(points)
    marks = (
        base.mark_circle(size=90, cursor="pointer")
        .encode(
            x,
            y,
            color=alt.condition(pick, alt.value("#BBBBBB"), hue),
            opacity=alt.condition(pick, alt.value(0.45), alt.value(0.9)),
            tooltip=[
                alt.Tooltip("label:N", title="Language"),
                alt.Tooltip("x:Q", title=x_title, format=".4f"),
                alt.Tooltip("y:Q", title=y_title, format=".4f"),
                alt.Tooltip("group:N", title=colour),
                alt.Tooltip("more:N", title="More"),
            ],
        )
        .properties(name="points_of_languages")
        .add_params(pick)
    )
    layers = []
    if len(line):
        drawn = alt.Chart(line)
        layers.append(
            drawn.mark_area(opacity=0.15, color="#888888").encode(
                alt.X("x:Q", title=x_title, scale=x_scale),
                alt.Y("low:Q", title=y_title, scale=y_scale),
                alt.Y2("high:Q"),
            )
        )
        layers.append(
            drawn.mark_line(color="#888888").encode(
                alt.X("x:Q", title=x_title, scale=x_scale), alt.Y("mean:Q", title=y_title, scale=y_scale)
            )
        )
    if len(points) <= 60:
        layers.append(
            base.mark_text(align="left", dx=7, dy=-6, fontSize=10, color="#888888").encode(x, y, text="language:N")
        )
    layers.append(marks)
    return alt.layer(*layers).properties(title=title, height=520)


def correlation_by_layer(
    table: pd.DataFrame, title: str, references: dict[str, float] | None = None, *, lower_is_better: bool = False
) -> alt.LayerChart:
    """Pearson's r by layer, one line a method with its interval, each one's best layer marked.

    table: method, layer, r, low, high, p, rho, tau. references: name -> r of the papers' figures, as dotted lines.
    lower_is_better: of the task's scores, so that the most negative r is the best.
    """
    methods = list(dict.fromkeys(table["method"]))
    colour = _colours_of(methods, "method", "Method", columns=4)
    y_scale = alt.Scale(domain=[-1, 1])
    y_title = "Pearson's r over languages"
    tooltip = [
        alt.Tooltip("method:N", title="Method"),
        alt.Tooltip("layer:Q", title="Layer"),
        alt.Tooltip("r:Q", title="r", format=".4f"),
        alt.Tooltip("low:Q", title="95 % from", format=".4f"),
        alt.Tooltip("high:Q", title="95 % to", format=".4f"),
        alt.Tooltip("p:Q", title="p", format=".3g"),
        alt.Tooltip("rho:Q", title="rho", format=".4f"),
        alt.Tooltip("tau:Q", title="tau", format=".4f"),
    ]
    base = alt.Chart(table)
    band = base.mark_area(opacity=0.12).encode(
        _layer_axis(), alt.Y("low:Q", title=y_title, scale=y_scale), alt.Y2("high:Q"), color=colour
    )
    lines = base.mark_line(point=alt.OverlayMarkDef(size=28)).encode(
        _layer_axis(), alt.Y("r:Q", title=y_title, scale=y_scale), color=colour, tooltip=tooltip
    )
    known = table.dropna(subset="r")
    by_method = known.groupby("method", sort=False)["r"]
    best = known.loc[by_method.idxmin() if lower_is_better else by_method.idxmax()]
    diamonds = (
        alt.Chart(best)
        .mark_point(shape="diamond", size=130, filled=True, stroke="black", strokeWidth=0.8)
        .encode(_layer_axis(), alt.Y("r:Q", title=y_title, scale=y_scale), color=colour, tooltip=tooltip)
    )
    zero = alt.Chart(pd.DataFrame({"r": [0.0]})).mark_rule(color="#888888").encode(alt.Y("r:Q"))
    layers = [zero, band, lines, diamonds]
    if references:
        named = pd.DataFrame({"name": list(references), "r": list(references.values())})
        rules = alt.Chart(named)
        place = alt.Y("r:Q", title=y_title, scale=y_scale)
        layers.append(
            rules.mark_rule(strokeDash=[2, 3], color="#888888").encode(
                place, tooltip=[alt.Tooltip("name:N", title="Paper"), alt.Tooltip("r:Q", title="r", format=".4f")]
            )
        )
        layers.append(
            rules.mark_text(align="left", baseline="bottom", dx=4, fontSize=10, color="#888888").encode(
                place, alt.X(value=0), text="name:N"
            )
        )
    return alt.layer(*layers).properties(title=title, height=440)


def methods_by_tasks(table: pd.DataFrame, title: str) -> alt.LayerChart:
    """r of every method with every task as a heat map with numbers. table: row, task, r, n, low, high, p."""
    table = table.assign(text=[f"{r:.3f} ({n})" for r, n in zip(table["r"], table["n"], strict=True)])
    rows, tasks = (list(dict.fromkeys(table[name])) for name in ("row", "task"))
    base = alt.Chart(table)
    x = alt.X("task:N", sort=tasks, title=None, axis=alt.Axis(orient="top", labelAngle=-30, labelLimit=260))
    y = alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelLimit=320, labelOverlap=False))
    cells = base.mark_rect().encode(
        x,
        y,
        color=alt.Color(
            "r:Q",
            title="Pearson's r",
            scale=alt.Scale(scheme="blueorange", domain=[-1, 1]),
            legend=alt.Legend(orient="bottom", gradientLength=240),
        ),
        tooltip=[
            alt.Tooltip("row:N", title="Method"),
            alt.Tooltip("task:N", title="Task"),
            alt.Tooltip("r:Q", title="r", format=".4f"),
            alt.Tooltip("low:Q", title="95 % from", format=".4f"),
            alt.Tooltip("high:Q", title="95 % to", format=".4f"),
            alt.Tooltip("p:Q", title="p", format=".3g"),
            alt.Tooltip("n:Q", title="Languages", format="d"),
        ],
    )
    strong = alt.condition("abs(datum.r) > 0.7", alt.value("#FFFFFF"), alt.value("#222222"))
    numbers = base.mark_text(fontSize=11).encode(x, y, text="text:N", color=strong)
    return (cells + numbers).properties(title=title, width=340 + 150 * len(tasks), height=30 * len(rows) + 150)


def sentence_curve(table: pd.DataFrame, title: str) -> alt.LayerChart:
    """r by number of sentences with the spread of resamples. table: sentences, r, low, high."""
    y_scale = alt.Scale(domain=[min(-0.2, float(table["low"].min())), 1])
    y_title = "Pearson's r over languages"
    x = alt.X(
        "sentences:Q", title="Sentence pairs", scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(tickCount=10)
    )
    base = alt.Chart(table)
    band = base.mark_area(opacity=0.2, color=COLOURS[0]).encode(
        x, alt.Y("low:Q", title=y_title, scale=y_scale), alt.Y2("high:Q")
    )
    line = base.mark_line(color=COLOURS[0], point=True).encode(
        x,
        alt.Y("r:Q", title=y_title, scale=y_scale),
        tooltip=[
            alt.Tooltip("sentences:Q", title="Sentence pairs"),
            alt.Tooltip("r:Q", title="Mean r", format=".4f"),
            alt.Tooltip("low:Q", title="5 % of draws below", format=".4f"),
            alt.Tooltip("high:Q", title="5 % of draws above", format=".4f"),
        ],
    )
    return (band + line).properties(title=title, height=380)


def model_curves(table: pd.DataFrame, title: str) -> alt.LayerChart:
    """Mean score by relative depth, one line a model, with its interval over languages.

    table: model, depth in [0, 1], score, low, high.
    """
    models = list(dict.fromkeys(table["model"]))
    colour = _colours_of(models, "model", "Model", columns=3)
    y_scale = alt.Scale(domain=[0, 1])
    depth = alt.Axis(format=".1f", tickCount=10)
    x = alt.X("depth:Q", title="Relative depth", scale=alt.Scale(domain=[0, 1]), axis=depth)
    base = alt.Chart(table)
    band = base.mark_area(opacity=0.12).encode(
        x, alt.Y("low:Q", title="Mean score", scale=y_scale), alt.Y2("high:Q"), color=colour
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=28)).encode(
        x,
        alt.Y("score:Q", title="Mean score", scale=y_scale, axis=SCORE_AXIS),
        color=colour,
        tooltip=[
            alt.Tooltip("model:N", title="Model"),
            alt.Tooltip("depth:Q", title="Depth", format=".2f"),
            alt.Tooltip("score:Q", title="Mean score", format=".4f"),
        ],
    )
    return (band + line).properties(title=title, height=400)
