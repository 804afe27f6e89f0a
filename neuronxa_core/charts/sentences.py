"""Sentences as points of a plane."""

from __future__ import annotations

import json

import altair as alt
import numpy as np
import pandas as pd

from neuronxa_core.charts import theme
from neuronxa_core.charts.theme import COLOURS, GREY

# letters of the pivot's sentences that tooltips hold, of one and of all
LETTERS, ALL_LETTERS = 80, 10_000


def sentence_map(table: pd.DataFrame, reach: float, *, others: str, colour: str, title: str) -> alt.LayerChart:
    """A point per sentence and language; the translations of one are joined to the pivot's on hover and on a click.

    table: label, group (what the colour tells), sentence (a click selects `sentence` with it), text (the pivot's), x,
    y; the pivot's rows are the first. reach: how far the axes go. others: the group that is grey. colour: what groups
    are.
    """
    sentences = table.drop_duplicates("sentence")
    languages = table.drop_duplicates("label")
    letters = max(10, min(LETTERS, ALL_LETTERS // len(sentences)))
    places = pd.Index(sentences["sentence"]).get_indexer(table["sentence"])
    numbers = np.hstack([table[["x", "y"]], sentences[["x", "y"]].to_numpy()[places]]).round(3)
    points = pd.DataFrame(numbers, columns=["x", "y", "px", "py"]).assign(
        sentence=table["sentence"].to_numpy(), of=pd.Index(languages["label"]).get_indexer(table["label"])
    )
    # grey ones lie below
    base = alt.Chart(points.iloc[np.argsort(table["group"].to_numpy() != others, kind="stable")])
    texts = {
        number: text[:letters] + "…" * (len(text) > letters)
        for number, text in zip(sentences["sentence"].tolist(), sentences["text"], strict=True)
    }
    named = base.transform_calculate(
        label=f"{json.dumps(languages['label'].tolist(), ensure_ascii=False)}[datum.of]",
        group=f"{json.dumps(languages['group'].tolist(), ensure_ascii=False)}[datum.of]",
        text=f"{json.dumps(texts, ensure_ascii=False)}[datum.sentence]",
    )
    found = sorted(set(languages["group"]) - {others})
    domain = [*found, others] if others in set(languages["group"]) else found
    hue = alt.Color(
        "group:N",
        title=colour,
        scale=alt.Scale(domain=domain, range=[*COLOURS[: len(found)], "#BBBBBB"][: len(domain)]),
        legend=alt.Legend(orient="bottom", columns=4, labelLimit=160, symbolOpacity=1),
    )
    near = alt.selection_point(name="near", fields=["sentence"], on="pointerover", clear="pointerout", empty=False)
    pick = alt.selection_point(name="sentence", fields=["sentence"], empty=False)
    frame = alt.Scale(domain=[-reach, reach], nice=False)
    axis = alt.Axis(labels=False, ticks=False, domain=False, tickCount=4)
    x, y = (way(f"{way.__name__.lower()}:Q", title=None, scale=frame, axis=axis) for way in (alt.X, alt.Y))
    joined = (
        base.transform_filter({"or": [{"param": "near", "empty": False}, {"param": "sentence", "empty": False}]})
        .mark_rule(color=GREY)
        .encode(x, y, alt.X2("px:Q"), alt.Y2("py:Q"))
    )
    dots = (
        named.mark_circle(size=42, cursor="pointer")
        .encode(
            x,
            y,
            color=hue,
            opacity=alt.condition(pick | near, alt.value(1), alt.value(0.6)),
            stroke=alt.condition(pick | near, alt.value("black"), alt.value(None)),
            tooltip=theme.tooltips(("label:N", "Language"), ("sentence:Q", "Sentence", "d"), ("text:N", "Pivot")),
        )
        .properties(name="sentences_of_languages")
        .add_params(pick, near)
    )
    return (joined + dots).properties(title=title, width=560, height=500)
