"""Charts of alignment with the pivot: languages ranked, by layer, and by representation."""

from __future__ import annotations

import json

import altair as alt
import pandas as pd

from neuronxa_core.charts import theme
from neuronxa_core.charts.pictures import CANVAS
from neuronxa_core.charts.theme import COLOURS, DASHES, FROM_0_TO_1, INTERVAL, SCORE_AXIS

RANDOM = ("chance:Q", "Chance over random pairings", ".4f")


def ranking(table: pd.DataFrame, chance: float, method: str, layers: str, chosen: str | None = None) -> alt.LayerChart:
    """A dot per language with its interval, the best first, coloured by script; a click in its row selects `language`.

    table: language, label, score, low, high, chance, script, family, forward, backward. layers: how aggregated.
    chosen: the language that is selected at first.
    """
    pick = alt.selection_point(name="language", fields=["language"], empty=False, **theme.selected(language=chosen))
    order = table.sort_values(["score", "label"], ascending=[False, True])["label"].tolist()
    y = theme.names_axis(order, 240)
    shown, colours = theme.by_group(table["script"])
    base = alt.Chart(table.assign(group=shown))
    x = alt.X("score:Q", title=f"{method}, {layers} over layers", scale=FROM_0_TO_1, axis=SCORE_AXIS)
    told = theme.tooltips(
        ("label:N", "Language"),
        ("score:Q", method, ".4f"),
        *INTERVAL,
        RANDOM,
        ("forward:Q", "Retrieval pivot → language", ".4f"),
        ("backward:Q", "Retrieval language → pivot", ".4f"),
        ("script:N", "Script"),
        ("family:N", "Family"),
    )
    rows = (  # the whole row answers, since a score of 0 leaves nothing else to hit
        base.mark_rect(cursor="pointer", fill=COLOURS[1])
        .encode(
            y,
            x=alt.value(0),
            x2=alt.value("width"),
            fillOpacity=alt.condition(pick, alt.value(0.2), alt.value(0)),
            tooltip=told,
        )
        .properties(name="rows_of_languages")
        .add_params(pick)
    )
    intervals = base.mark_rule(color=theme.GREY, strokeWidth=1.5).encode(alt.X("low:Q"), alt.X2("high:Q"), y)
    ticks = base.mark_tick(color=theme.GREY, thickness=2).encode(alt.X("chance:Q"), y)
    legend = alt.Legend(orient="bottom", columns=4, symbolOpacity=1)
    dots = base.mark_circle(size=110, opacity=1, cursor="pointer").encode(
        x, y, color=alt.Color("group:N", title="Script", scale=colours, legend=legend), tooltip=told
    )
    title = f"{method} of each language with the pivot, with 95 % intervals; grey marks: chance"
    return (rows + intervals + ticks + theme.chance_rule(chance, vertical=True) + dots).properties(
        title=theme.wrapped(title, 480), height={"step": 22}
    )


def layer_curves(table: pd.DataFrame, chance: float, method: str, title: str | None = None) -> alt.LayerChart:
    """Score by layer, one line per language, the peak marked. table: label, layer, score, low, high, chance."""
    labels = list(dict.fromkeys(table["label"]))
    colour = theme.colours_of(labels, "label", "Language", limit=240)
    dashes = [DASHES[(k // len(COLOURS)) % len(DASHES)] for k in range(len(labels))]
    dash = alt.StrokeDash("label:N", sort=labels, legend=None, scale=alt.Scale(domain=labels, range=dashes))
    x = theme.layer_axis()
    y = alt.Y("score:Q", title=method, scale=FROM_0_TO_1, axis=SCORE_AXIS)
    told = theme.tooltips(("label:N", "Language"), ("layer:Q", "Layer"), ("score:Q", method, ".4f"), *INTERVAL, RANDOM)
    base = alt.Chart(table)
    band = base.mark_area(opacity=0.12).encode(x, alt.Y("low:Q", title=method), alt.Y2("high:Q"), color=colour)
    peaks = table.loc[table.groupby("label", sort=False)["score"].idxmax()]
    peaks = peaks[peaks["score"] > 0]  # a language without any aligned sentence has no peak
    layers = [
        base.mark_line().encode(x, y, color=colour, strokeDash=dash),
        base.mark_circle(size=28).encode(x, y, tooltip=told, color=colour),
        *([theme.diamonds(peaks).encode(x, y, tooltip=told, color=colour)] if len(peaks) else []),
        theme.chance_rule(chance, vertical=False),
    ]
    return alt.layer(*([band] if len(labels) <= 8 else []), *layers).properties(
        title=title or f"{method} by layer; diamonds: peaks", height=460
    )


def states_side_by_side(table: pd.DataFrame) -> alt.FacetChart:
    """The three representations' curves in three panels with one scale. table: method, label, layer, score."""
    labels = list(dict.fromkeys(table["label"]))
    line = theme.lines(alt.Chart(table)).encode(
        theme.layer_axis(),
        alt.Y("score:Q", title="Score", scale=FROM_0_TO_1, axis=SCORE_AXIS),
        color=theme.colours_of(labels, "label", "Language", limit=240),
        tooltip=theme.tooltips(
            ("label:N", "Language"), ("method:N", "Method"), ("layer:Q", "Layer"), ("score:Q", "Score", ".4f")
        ),
    )
    panels = line.properties(width=250, height=280).facet(
        column=alt.Column("method:N", sort=list(dict.fromkeys(table["method"])), title=None)
    )
    return panels.properties(title="The same languages by activation state, activation value and hidden state")


def retrieval_gaps(table: pd.DataFrame, title: str) -> alt.FacetChart:
    """A dumbbell per language and representation: accuracy from the pivot, back, and the gap between.

    table: label, method, group, src2trg, trg2src, both, gap. The languages are ordered by their mean accuracy.
    """
    order = table.groupby("label")["both"].mean().sort_values(ascending=False, kind="stable").index.tolist()
    told = theme.tooltips(
        ("label:N", "Language"),
        ("group:N", "Group"),
        ("method:N", "Method"),
        ("src2trg:Q", "Pivot → language", ".4f"),
        ("trg2src:Q", "Language → pivot", ".4f"),
        ("both:Q", "Mean of both", ".4f"),
        ("gap:Q", "Gap", "+.4f"),
    )
    y, base = theme.names_axis(order, 240), alt.Chart(table)
    names = ["pivot → language", "language → pivot"]
    colour = alt.Color(
        "direction:N",
        title="Direction",
        sort=names,
        scale=alt.Scale(domain=names, range=COLOURS[:2]),
        legend=alt.Legend(orient="bottom"),
    )
    axis = {"title": "Accuracy", "scale": FROM_0_TO_1, "axis": SCORE_AXIS}
    layers = [base.mark_rule(color=theme.GREY).encode(alt.X("src2trg:Q", **axis), alt.X2("trg2src:Q"), y, tooltip=told)]
    for field, name in zip(("src2trg", "trg2src"), names, strict=True):
        dots = base.transform_calculate(direction=f"'{name}'").mark_circle(size=55, opacity=0.9)
        layers.append(dots.encode(alt.X(f"{field}:Q", **axis), y, color=colour, tooltip=told))
    panels = alt.layer(*layers).properties(width=230, height={"step": 18})
    sort = list(dict.fromkeys(table["method"]))
    return panels.facet(column=alt.Column("method:N", sort=sort, title=None)).properties(title=title)


def dumbbells(table: pd.DataFrame, first: str, second: str, title: str) -> alt.LayerChart:
    """Two scores per language, joined; in the table's order.

    table: label, first, second, difference, low, high, p_holm, clear (whether the difference is beyond chance; the
    others are hollow). first, second: what the two sides are called.
    """
    y, base = theme.names_axis(table["label"].tolist(), 240), alt.Chart(table)
    names = [first, second]
    scale = alt.Scale(domain=names, range=COLOURS[:2])
    legend = alt.Legend(orient="bottom", labelLimit=400, columns=1)
    colour = alt.Color("side:N", title=None, sort=names, scale=scale, legend=legend)
    axis = {"title": "Score", "scale": FROM_0_TO_1, "axis": SCORE_AXIS}
    told = theme.tooltips(
        ("label:N", "Language"),
        ("first:Q", first, ".4f"),
        ("second:Q", second, ".4f"),
        ("difference:Q", "Difference", "+.4f"),
        ("low:Q", "95 % from", "+.4f"),
        ("high:Q", "95 % to", "+.4f"),
        ("p_holm:Q", "p (Holm)", ".3g"),
    )
    layers = [base.mark_rule(color=theme.GREY).encode(alt.X("first:Q", **axis), alt.X2("second:Q"), y, tooltip=told)]
    for field, name in (("first", first), ("second", second)):
        dots = base.transform_calculate(side=json.dumps(name)).mark_point(size=70, strokeWidth=1.5, opacity=1)
        hollow = alt.FillOpacity("clear:N", scale=alt.Scale(domain=[False, True], range=[0, 1]), legend=None)
        encoded = dots.encode(
            alt.X(f"{field}:Q", **axis), y, stroke=colour, fill=colour, fillOpacity=hollow, tooltip=told
        )
        layers.append(encoded)
    return alt.layer(*layers).properties(title=theme.wrapped(title, 440), height={"step": 18})


def layer_heat_map(
    table: pd.DataFrame, method: str, chosen: tuple[str, int] | None = None, spread: float | None = None
) -> alt.LayerChart:
    """Languages by layers, the best-aligned language on top, its family marked; a click selects `cell`.

    table: a row per language in the order to draw, with language, label, family, and scores, a list with one score
    per layer. The cell that is selected has `language` and `layer`. chosen: those of the one that is at first.
    spread: of differences, how far they lie from 0.
    """
    order = table["label"].tolist()
    step = 18 if len(table) <= 60 else 13
    groups, colours = theme.by_group(table["family"].replace("Other", "other families"), "other families")
    # a list would not outlive the way to the browser
    shown = table.assign(group=groups, scores=[",".join(map(str, row)) for row in table["scores"]])
    y = theme.names_axis(order, 240, labelPadding=14, labelFontSize=min(11, step - 3), ticks=False, domain=False)
    start = theme.selected(**dict(zip(("language", "layer"), chosen, strict=True))) if chosen else {}
    pick = alt.selection_point(name="cell", fields=["language", "layer"], empty=False, **start)
    cells = (
        alt.Chart(shown)
        .transform_calculate(every="split(datum.scores, ',')")
        .transform_flatten(["every"], as_=["text"])
        .transform_window(place="row_number()", groupby=["language"])
        .transform_calculate(layer="datum.place - 1", score="toNumber(datum.text)")
        .mark_rect(cursor="pointer")
        .encode(
            alt.X("layer:O", title="Layer", axis=alt.Axis(labelAngle=0, ticks=False, domain=False)),
            y,
            color=alt.Color(
                "score:Q",
                title=method,
                scale=alt.Scale(scheme="blueorange", domain=[-spread, spread])
                if spread
                else alt.Scale(scheme="viridis", domain=[0, 1]),
                legend=alt.Legend(orient="top", format=".2~f" if spread else ".1f", gradientLength=200, titleLimit=400),
            ),
            stroke=alt.condition(pick, alt.value(COLOURS[1]), alt.value(None)),
            strokeWidth=alt.value(2),
            tooltip=theme.tooltips(
                ("label:N", "Language"), ("family:N", "Family"), ("layer:O", "Layer"), ("score:Q", method, ".4f")
            ),
        )
        .properties(name="languages_by_layers")
        .add_params(pick)
    )
    marks = (
        alt.Chart(shown)
        .mark_square(size=70, opacity=1)
        .encode(
            y,
            x=alt.value(-7),
            fill=alt.Fill(
                "group:N",
                title="Family",
                scale=colours,
                legend=alt.Legend(orient="bottom", symbolType="square", columns=2, labelLimit=130),
            ),
            tooltip=theme.tooltips(("label:N", "Language"), ("family:N", "Family")),
        )
    )
    title = theme.wrapped(f"{method} by language and layer", 280)
    return (cells + marks).properties(title=title, height={"step": step}, width="container", usermeta=CANVAS)
