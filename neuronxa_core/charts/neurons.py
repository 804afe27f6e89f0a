"""TODO"""

from __future__ import annotations

import altair as alt
import pandas as pd

from neuronxa_core.charts.theme import COLOURS, SCORE_AXIS


def probability_bars(table: pd.DataFrame, title: str) -> alt.Chart:
    """Activation probability of one neuron by language, the highest first.

    table: label, probability, script, tokens.
    """
    order = table.sort_values(["probability", "label"], ascending=[False, True])["label"].tolist()
    return (
        alt.Chart(table)
        .mark_bar(height={"band": 0.7}, color=COLOURS[0])
        .encode(
            alt.X(
                "probability:Q",
                title="Share of tokens with a > 0",
                scale=alt.Scale(domain=[0, 1]),
                axis=SCORE_AXIS,
            ),
            alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelLimit=240, labelOverlap=False)),
            tooltip=[
                alt.Tooltip("label:N", title="Language"),
                alt.Tooltip("probability:Q", title="Probability", format=".4f"),
                alt.Tooltip("tokens:Q", title="Tokens", format=",d"),
                alt.Tooltip("script:N", title="Script"),
            ],
        )
        .properties(title=title, height=125 + 20 * len(table))
    )


def value_distribution(table: pd.DataFrame, x_title: str, title: str) -> alt.LayerChart:
    """Sentences' values of one neuron by language: range, quartiles and median.

    table: label, low, lower, median, upper, high (minimum, quartiles, maximum), ordered as they are to appear.
    """
    y = alt.Y("label:N", sort=table["label"].tolist(), title=None, axis=alt.Axis(labelLimit=240, labelOverlap=False))
    base = alt.Chart(table)
    tooltip = [alt.Tooltip("label:N", title="Language")] + [
        alt.Tooltip(f"{name}:Q", title=said, format=".5~g")
        for name, said in (
            ("low", "Lowest sentence"),
            ("lower", "First quartile"),
            ("median", "Median"),
            ("upper", "Third quartile"),
            ("high", "Highest sentence"),
        )
    ]
    scale = alt.Scale(zero=True, nice=True)
    whiskers = base.mark_rule(color="#888888").encode(
        alt.X("low:Q", title=x_title, scale=scale), alt.X2("high:Q"), y, tooltip=tooltip
    )
    boxes = base.mark_bar(height={"band": 0.6}, color=COLOURS[4], opacity=0.8).encode(
        alt.X("lower:Q", title=x_title, scale=scale), alt.X2("upper:Q"), y, tooltip=tooltip
    )
    medians = base.mark_tick(thickness=2, height={"band": 0.6}, color=COLOURS[1]).encode(
        alt.X("median:Q", title=x_title, scale=scale), y, tooltip=tooltip
    )
    return (whiskers + boxes + medians).properties(title=title, height=125 + 20 * len(table))


def effects(table: pd.DataFrame, measure: str, title: str, format: str = "+.3f") -> alt.FacetChart:
    """What switching neurons off does to each language, beside the same for random neurons, on one scale.

    table: group (the panel), set (what was off), label (the language affected), value (the change).
    """
    groups = list(dict.fromkeys(table["group"]))
    sets = list(dict.fromkeys(table["set"]))
    labels = list(dict.fromkeys(table["label"]))
    largest = max(float(table["value"].abs().max()), 1e-9)
    x = alt.X(
        "label:N", sort=labels, title="Effect on", axis=alt.Axis(labelAngle=-60, labelLimit=170, labelOverlap=False)
    )
    y = alt.Y("set:N", sort=sets, title="Off: neurons of", axis=alt.Axis(labelLimit=200, labelOverlap=False))
    base = alt.Chart(table)
    cells = base.mark_rect().encode(
        x,
        y,
        color=alt.Color(
            "value:Q",
            title=measure,
            scale=alt.Scale(scheme="blueorange", domain=[-largest, largest]),
            legend=alt.Legend(orient="bottom", gradientLength=260, titleLimit=500, format=format),
        ),
        tooltip=[
            alt.Tooltip("group:N", title="Off"),
            alt.Tooltip("set:N", title="Neurons of"),
            alt.Tooltip("label:N", title="Effect on"),
            alt.Tooltip("value:Q", title=measure, format="+.5f"),
        ],
    )
    layers = [cells]
    if len(labels) <= 12:
        strong = alt.condition(f"abs(datum.value) > {0.75 * largest}", alt.value("#FFFFFF"), alt.value("#222222"))
        layers.append(base.mark_text(fontSize=9).encode(x, y, text=alt.Text("value:Q", format=format), color=strong))
    side = max(150, (44 if len(labels) <= 12 else 18) * len(labels))
    panel = alt.layer(*layers).properties(width=side, height=max(90, 26 * len(sets)))
    return panel.facet(column=alt.Column("group:N", sort=groups, title=None)).properties(title=title)
