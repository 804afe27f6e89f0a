"""Charts of single neurons and of what ablating neurons does."""

from __future__ import annotations

import altair as alt
import pandas as pd

from neuronxa_core.charts import theme
from neuronxa_core.charts.theme import COLOURS, FROM_0_TO_1, SCORE_AXIS


def probability_bars(table: pd.DataFrame, title: str) -> alt.Chart:
    """Activation probability of one neuron by language, the highest first.

    table: label, probability, script, tokens.
    """
    order = table.sort_values(["probability", "label"], ascending=[False, True])["label"].tolist()
    return (
        alt.Chart(table)
        .mark_bar(height={"band": 0.7}, color=COLOURS[0])
        .encode(
            alt.X("probability:Q", title="Share of tokens with a > 0", scale=FROM_0_TO_1, axis=SCORE_AXIS),
            theme.names_axis(order, 240),
            tooltip=theme.tooltips(
                ("label:N", "Language"),
                ("probability:Q", "Probability", ".4f"),
                ("tokens:Q", "Tokens", ",d"),
                ("script:N", "Script"),
            ),
        )
        .properties(title=title, height=125 + 20 * len(table))
    )


def value_distribution(table: pd.DataFrame, x_title: str, title: str) -> alt.LayerChart:
    """Sentences' values of one neuron by language: range, quartiles and median.

    table: label, low, lower, median, upper, high (minimum, quartiles, maximum), ordered as they are to appear.
    """
    y = theme.names_axis(table["label"].tolist(), 240)
    base = alt.Chart(table)
    told = theme.tooltips(
        ("label:N", "Language"),
        ("low:Q", "Lowest sentence", ".5~g"),
        ("lower:Q", "First quartile", ".5~g"),
        ("median:Q", "Median", ".5~g"),
        ("upper:Q", "Third quartile", ".5~g"),
        ("high:Q", "Highest sentence", ".5~g"),
    )

    def x(field: str) -> alt.X:
        return alt.X(field, title=x_title, scale=alt.Scale(zero=True, nice=True))

    whiskers = base.mark_rule(color=theme.GREY).encode(x("low:Q"), alt.X2("high:Q"), y, tooltip=told)
    boxes = base.mark_bar(height={"band": 0.6}, color=COLOURS[4], opacity=0.8)
    medians = base.mark_tick(thickness=2, height={"band": 0.6}, color=COLOURS[1])
    return (
        whiskers
        + boxes.encode(x("lower:Q"), alt.X2("upper:Q"), y, tooltip=told)
        + medians.encode(x("median:Q"), y, tooltip=told)
    ).properties(title=title, height=125 + 20 * len(table))


def effects(table: pd.DataFrame, measure: str, title: str, format: str = "+.3f") -> alt.FacetChart:
    """What ablating sets of neurons does to each language, beside the same for random neurons, on one scale.

    table: group (the panel), set (what was ablated), label (the language affected), value (the change).
    """
    groups, sets, labels = (list(dict.fromkeys(table[name])) for name in ("group", "set", "label"))
    largest = max(float(table["value"].abs().max()), 1e-9)
    x = alt.X(
        "label:N", sort=labels, title="Effect on", axis=alt.Axis(labelAngle=-60, labelLimit=170, labelOverlap=False)
    )
    y = alt.Y("set:N", sort=sets, title="Ablated: neurons of", axis=alt.Axis(labelLimit=200, labelOverlap=False))
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
        tooltip=theme.tooltips(
            ("group:N", "Ablated"), ("set:N", "Neurons of"), ("label:N", "Effect on"), ("value:Q", measure, "+.5f")
        ),
    )
    layers = [cells]
    few = len(labels) <= 12
    if few:
        strong = alt.condition(f"abs(datum.value) > {0.75 * largest}", alt.value("#FFFFFF"), alt.value("#222222"))
        layers.append(base.mark_text(fontSize=9).encode(x, y, text=alt.Text("value:Q", format=format), color=strong))
    side = max(150, (44 if few else 18) * len(labels))
    panel = alt.layer(*layers).properties(width=side, height=max(90, 26 * len(sets)))
    return panel.facet(column=alt.Column("group:N", sort=groups, title=None)).properties(title=title)
