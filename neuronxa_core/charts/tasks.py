"""Alignment and task scores together: scatter, by layer, method, number of sentences and model."""

from __future__ import annotations

import altair as alt
import pandas as pd

from neuronxa_core.charts import pictures, theme
from neuronxa_core.charts.theme import COLOURS, FROM_0_TO_1, GREY, INTERVAL, SCORE_AXIS

# points that a scatter names
MOST_NAMED = 60
R_TITLE = "Pearson's r over languages"


def scatter(
    points: pd.DataFrame,
    line: pd.DataFrame,
    *,
    x_title: str,
    y_title: str,
    colour: str,
    title: str,
) -> alt.LayerChart:
    """A point per language, with a regression line and its confidence band; a click excludes a language.

    points: language, label, x, y, group (what the colour tells), more (text of the tooltip). line: x, mean, low, high;
    may be empty. colour: what `group` is.
    """
    pick = alt.selection_point(name="off", fields=["language"], empty=False, toggle="true")
    shown, colours = theme.by_group(points["group"])
    legend = alt.Legend(orient="bottom", columns=4, labelLimit=160, symbolOpacity=1)
    hue = alt.Color("group:N", title=colour, scale=colours, legend=legend)
    ends = theme.around(points["x"], line.get("x")), theme.around(points["y"], line.get("low"), line.get("high"))
    x_scale, y_scale = (alt.Scale(domain=list(one), nice=False, zero=False) for one in ends)
    x_title, y_title = theme.wrapped(x_title, 480), theme.wrapped(y_title, 330)
    x = alt.X("x:Q", title=x_title, scale=x_scale, axis=alt.Axis(tickCount=8))
    y = alt.Y("y:Q", title=y_title, scale=y_scale, axis=alt.Axis(tickCount=8))
    points = points.assign(group=shown)
    base = alt.Chart(points)
    layers = []
    if len(line):
        drawn, along = alt.Chart(line), alt.X("x:Q", title=x_title, scale=x_scale)
        low, mean = (alt.Y(f"{name}:Q", title=y_title, scale=y_scale) for name in ("low", "mean"))
        layers.append(drawn.mark_area(opacity=0.15, color=GREY, clip=True).encode(along, low, alt.Y2("high:Q")))
        layers.append(drawn.mark_line(color=GREY, clip=True).encode(along, mean))
    if len(points) <= MOST_NAMED:
        names = theme.label_places(points, points["language"], ends)
        text = alt.Chart(names).mark_text(align="left", baseline="middle", fontSize=10, color=GREY)
        layers.append(text.encode(pictures.at(x, "text_x:Q"), pictures.at(y, "text_y:Q"), text="language:N"))
        leads = alt.Chart(names[names["text_y"] != names["y"]]).mark_rule(color=GREY, opacity=0.35)
        layers.append(leads.encode(x, y, alt.X2("lead_x:Q"), alt.Y2("text_y:Q")))
    marks = (
        base.mark_circle(size=90, cursor="pointer")
        .encode(
            x,
            y,
            color=alt.condition(pick, alt.value(theme.LIGHT_GREY), hue),
            opacity=alt.condition(pick, alt.value(0.45), alt.value(0.9)),
            tooltip=theme.tooltips(
                ("label:N", "Language"),
                ("x:Q", " ".join(x_title), ".4f"),
                ("y:Q", " ".join(y_title), ".4f"),
                ("group:N", colour),
                ("more:N", "More"),
            ),
        )
        .properties(name="points_of_languages")
        .add_params(pick)
    )
    return alt.layer(*layers, marks).properties(title=theme.wrapped(title, 560), height=520)


def accuracies(table: pd.DataFrame, title: str) -> alt.LayerChart:
    """A dot per language with a grey mark at its chance, the best first. table: label, accuracy, chance, n."""
    y = theme.names_axis(table.sort_values(["accuracy", "label"], ascending=[False, True])["label"].tolist(), 260)
    base, x = alt.Chart(table), alt.X("accuracy:Q", title="Accuracy", scale=FROM_0_TO_1, axis=SCORE_AXIS)
    told = theme.tooltips(
        ("label:N", "Language"),
        ("accuracy:Q", "Accuracy", ".4f"),
        ("chance:Q", "Chance", ".4f"),
        ("n:Q", "Prompts", "d"),
    )
    ticks = base.mark_tick(color=GREY, thickness=2).encode(alt.X("chance:Q"), y, tooltip=told)
    dots = base.mark_circle(size=70, opacity=1, color=COLOURS[0]).encode(x, y, tooltip=told)
    return (ticks + dots).properties(title=title, height={"step": 22})


def odds_ratios(table: pd.DataFrame, pooled: str, title: str) -> alt.LayerChart:
    """A dot per language with its interval on a scale of logarithms, the largest first, and all together in red.

    table: label, odds_ratio, low, high, p, items; the label `pooled` is of all together, and comes last.
    """
    ranked = table[table["label"] != pooled].sort_values("odds_ratio", ascending=False)["label"].tolist()
    y, title_of_x = theme.names_axis([*ranked, pooled], 260), "Odds ratio: right when aligned against right when missed"
    low, high = min(0.5, float(table["low"].min())), max(2.0, float(table["high"].max()))
    scale = alt.Scale(type="log", domain=[low / 1.1, high * 1.1], nice=False)
    base, x = alt.Chart(table), alt.X("odds_ratio:Q", title=title_of_x, scale=scale, axis=alt.Axis(format="~g"))
    colour = alt.condition(f"datum.label == {pooled!r}", alt.value(COLOURS[1]), alt.value(COLOURS[0]))
    told = theme.tooltips(
        ("label:N", "Language"),
        ("odds_ratio:Q", "Odds ratio", ".3f"),
        *INTERVAL,
        ("p:Q", "p", ".3g"),
        ("items:Q", "Items"),
    )
    one = alt.Chart(pd.DataFrame({"odds_ratio": [1.0]})).mark_rule(strokeDash=[4, 3], color=GREY).encode(x)
    ranges = base.mark_rule().encode(alt.X("low:Q", title=title_of_x, scale=scale), y, alt.X2("high:Q"), color=colour)
    dots = base.mark_circle(size=70, opacity=1).encode(x, y, color=colour, tooltip=told)
    return (one + ranges + dots).properties(title=title, height={"step": 22})


def correlation_by_layer(
    table: pd.DataFrame, title: str, references: pd.DataFrame | None = None, *, lower_is_better: bool = False
) -> alt.LayerChart:
    """Pearson's r by layer, one line per method with its interval, each one's best layer marked.

    table: method, layer, r, low, high, p, p_of_best, rho, tau. references: label and r of the paper's figures, dotted
    lines. lower_is_better: of the task's scores, so that the most negative r is the best.
    """
    colour = theme.colours_of(list(dict.fromkeys(table["method"])), "method", "Method", columns=4)
    scale = alt.Scale(domain=[-1, 1])
    x, y = theme.layer_axis(), alt.Y("r:Q", title=R_TITLE, scale=scale)
    told = theme.tooltips(
        ("method:N", "Method"),
        ("layer:Q", "Layer"),
        ("r:Q", "r", ".4f"),
        *INTERVAL,
        ("p:Q", "p", ".3g"),
        ("p_of_best:Q", "p as the best of all", ".3g"),
        ("rho:Q", "rho", ".4f"),
        ("tau:Q", "tau", ".4f"),
    )
    base = alt.Chart(table)
    band = base.mark_area(opacity=0.12).encode(
        x, alt.Y("low:Q", title=R_TITLE, scale=scale), alt.Y2("high:Q"), color=colour
    )
    curves = theme.lines(base).encode(x, y, color=colour, tooltip=told)
    known = table.dropna(subset="r")
    by_method = known.groupby("method", sort=False)["r"]
    best = known.loc[by_method.idxmin() if lower_is_better else by_method.idxmax()]
    diamonds = theme.diamonds(best).encode(x, y, color=colour, tooltip=told)
    zero = alt.Chart(pd.DataFrame({"r": [0.0]})).mark_rule(color=GREY).encode(alt.Y("r:Q"))
    layers = [zero, band, curves, diamonds]
    if references is not None:
        rules = alt.Chart(references[["label", "r"]])
        named = theme.tooltips(("label:N", "Paper"), ("r:Q", "r", ".4f"))
        layers.append(rules.mark_rule(strokeDash=[2, 3], color=GREY).encode(y, tooltip=named))
        texts = rules.mark_text(align="left", baseline="bottom", dx=4, fontSize=10, color=GREY)
        layers.append(texts.encode(y, alt.X(value=0), text="label:N"))
    return alt.layer(*layers).properties(title=title, height=440)


def methods_by_tasks(table: pd.DataFrame, title: str) -> alt.LayerChart:
    """r of every method with every task as a heat map with numbers. table: row, task, r, n, low, high, p, p_of_best."""
    table = table.assign(text=[f"{r:.3f} ({n})" for r, n in zip(table["r"], table["n"], strict=True)])
    rows, tasks = (list(dict.fromkeys(table[name])) for name in ("row", "task"))
    base = alt.Chart(table)
    x = alt.X("task:N", sort=tasks, title=None, axis=alt.Axis(orient="top", labelAngle=-30, labelLimit=260))
    y = alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelLimit=320, labelOverlap=False, labelFlush=False))
    cells = base.mark_rect().encode(
        x,
        y,
        color=alt.Color(
            "r:Q",
            title="Pearson's r",
            scale=alt.Scale(scheme="blueorange", domain=[-1, 1]),
            legend=alt.Legend(orient="bottom", gradientLength=240),
        ),
        tooltip=theme.tooltips(
            ("row:N", "Method"),
            ("task:N", "Task"),
            ("r:Q", "r", ".4f"),
            *INTERVAL,
            ("p:Q", "p", ".3g"),
            ("p_of_best:Q", "p as the best of all", ".3g"),
            ("n:Q", "Languages", "d"),
        ),
    )
    strong = alt.condition("abs(datum.r) > 0.7", alt.value("#FFFFFF"), alt.value("#222222"))
    numbers = base.mark_text(fontSize=11).encode(x, y, text="text:N", color=strong)
    return (cells + numbers).properties(title=title, width=340 + 150 * len(tasks), height=22 * len(rows) + 150)


def sentence_curve(table: pd.DataFrame, title: str) -> alt.LayerChart:
    """r by number of sentences with the spread of resamples. table: sentences, r, low, high."""
    scale = alt.Scale(domain=[min(-0.2, float(table["low"].min())), 1])
    x = alt.X(
        "sentences:Q", title="Sentence pairs", scale=alt.Scale(nice=False, zero=False), axis=alt.Axis(tickCount=10)
    )
    base = alt.Chart(table)
    band = base.mark_area(opacity=0.2, color=COLOURS[0]).encode(
        x, alt.Y("low:Q", title=R_TITLE, scale=scale), alt.Y2("high:Q")
    )
    line = base.mark_line(color=COLOURS[0], point=True).encode(
        x,
        alt.Y("r:Q", title=R_TITLE, scale=scale),
        tooltip=theme.tooltips(
            ("sentences:Q", "Sentence pairs"),
            ("r:Q", "Mean r", ".4f"),
            ("low:Q", "5 % of draws below", ".4f"),
            ("high:Q", "5 % of draws above", ".4f"),
        ),
    )
    return (band + line).properties(title=title, height=380)


def model_curves(table: pd.DataFrame, title: str) -> alt.LayerChart:
    """Mean score by relative depth, one line per model, with its interval over languages.

    table: model, depth in [0, 1], score, low, high.
    """
    colour = theme.colours_of(list(dict.fromkeys(table["model"])), "model", "Model", columns=3)
    x = alt.X("depth:Q", title="Relative depth", scale=FROM_0_TO_1, axis=alt.Axis(format=".1f", tickCount=10))
    base = alt.Chart(table)
    band = base.mark_area(opacity=0.12).encode(
        x, alt.Y("low:Q", title="Mean score", scale=FROM_0_TO_1), alt.Y2("high:Q"), color=colour
    )
    curves = theme.lines(base).encode(
        x,
        alt.Y("score:Q", title="Mean score", scale=FROM_0_TO_1, axis=SCORE_AXIS),
        color=colour,
        tooltip=theme.tooltips(("model:N", "Model"), ("depth:Q", "Depth", ".2f"), ("score:Q", "Mean score", ".4f")),
    )
    return (band + curves).properties(title=title, height=400)
