"""DataFrame to alt.Chart: pure functions that draw nothing themselves.

Every chart has a title, named axes whose ranges stay as a slider moves, a tooltip and a colour-blind-safe scale.
"""

from __future__ import annotations

import altair as alt
import pandas as pd

from neuronxa_core.charts.theme import COLOURS, DASHES, SCORE_AXIS, _chance_rule, _colours_of, _layer_axis

# what is too much for a browser is decided here, chart by chart
alt.data_transformers.disable_max_rows()


def ranking(table: pd.DataFrame, chance: float, method: str, layers: str) -> alt.LayerChart:
    """Languages by score with bootstrap intervals; a click selects `language`.

    table: language, label, score, low, high, script, family, forward, backward.
    """
    pick = alt.selection_point(name="language", fields=["language"], empty=False)
    order = table.sort_values(["score", "label"], ascending=[False, True])["label"].tolist()
    y = alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelLimit=260))
    tooltip = [
        alt.Tooltip("label:N", title="Language"),
        alt.Tooltip("score:Q", title=method, format=".4f"),
        alt.Tooltip("low:Q", title="95 % from", format=".4f"),
        alt.Tooltip("high:Q", title="95 % to", format=".4f"),
        alt.Tooltip("forward:Q", title="Retrieval pivot → language", format=".4f"),
        alt.Tooltip("backward:Q", title="Retrieval language → pivot", format=".4f"),
        alt.Tooltip("script:N", title="Script"),
        alt.Tooltip("family:N", title="Family"),
    ]
    base = alt.Chart(table)
    bars = (
        base.mark_bar(cursor="pointer", height={"band": 0.7})
        .encode(
            alt.X("score:Q", title=f"{method}, {layers} over layers", scale=alt.Scale(domain=[0, 1]), axis=SCORE_AXIS),
            y,
            tooltip=tooltip,
            color=alt.condition(pick, alt.value(COLOURS[1]), alt.value(COLOURS[0])),
        )
        .properties(name="bars_of_languages")
        .add_params(pick)
    )
    intervals = base.mark_rule(color="#888888", strokeWidth=1.5).encode(alt.X("low:Q"), alt.X2("high:Q"), y)
    return (bars + intervals + _chance_rule(chance, vertical=True)).properties(
        title=f"{method} of each language with the pivot, with 95 % bootstrap intervals",
        height=75 + 22 * len(table),
    )


def layer_curves(table: pd.DataFrame, chance: float, method: str, title: str | None = None) -> alt.LayerChart:
    """Score by layer, one line a language, the peak marked. table: label, layer, score, low, high."""
    labels = list(dict.fromkeys(table["label"]))
    style = {
        "color": _colours_of(labels, "label", "Language", limit=240),
        "strokeDash": alt.StrokeDash(
            "label:N",
            sort=labels,
            legend=None,
            scale=alt.Scale(
                domain=labels, range=[DASHES[(k // len(COLOURS)) % len(DASHES)] for k in range(len(labels))]
            ),
        ),
    }
    x = _layer_axis()
    y = alt.Y("score:Q", title=method, scale=alt.Scale(domain=[0, 1]), axis=SCORE_AXIS)
    tooltip = [
        alt.Tooltip("label:N", title="Language"),
        alt.Tooltip("layer:Q", title="Layer"),
        alt.Tooltip("score:Q", title=method, format=".4f"),
        alt.Tooltip("low:Q", title="95 % from", format=".4f"),
        alt.Tooltip("high:Q", title="95 % to", format=".4f"),
    ]
    peaks = table.loc[table.groupby("label", sort=False)["score"].idxmax()]
    base = alt.Chart(table)
    band = base.mark_area(opacity=0.12).encode(x, alt.Y("low:Q", title=method), alt.Y2("high:Q"), color=style["color"])
    lines = base.mark_line().encode(x, y, **style)
    points = base.mark_circle(size=28).encode(x, y, tooltip=tooltip, color=style["color"])
    peak = (
        alt.Chart(peaks)
        .mark_point(shape="diamond", size=130, filled=True, stroke="black", strokeWidth=0.8)
        .encode(x, y, tooltip=tooltip, color=style["color"])
    )
    layers = [band, lines, points, peak] if len(labels) <= 8 else [lines, points, peak]
    return alt.layer(*layers, _chance_rule(chance, vertical=False)).properties(
        title=title or f"{method} by layer; a diamond marks each language's peak", height=460
    )


def states_side_by_side(table: pd.DataFrame) -> alt.FacetChart:
    """The three states' curves in three panels with one scale. table: method, label, layer, score."""
    labels = list(dict.fromkeys(table["label"]))
    base = alt.Chart(table)
    line = base.mark_line(point=alt.OverlayMarkDef(size=28)).encode(
        _layer_axis(),
        alt.Y("score:Q", title="Score", scale=alt.Scale(domain=[0, 1]), axis=SCORE_AXIS),
        color=_colours_of(labels, "label", "Language", limit=240),
        tooltip=[
            alt.Tooltip("label:N", title="Language"),
            alt.Tooltip("method:N", title="Method"),
            alt.Tooltip("layer:Q", title="Layer"),
            alt.Tooltip("score:Q", title="Score", format=".4f"),
        ],
    )
    panels = line.properties(width=250, height=280).facet(
        column=alt.Column("method:N", sort=["NASCA (NAS)", "NAVCA (NAV)", "MEXA (EMB)"], title=None)
    )
    return panels.properties(title="The same languages by activation state, activation value and hidden state")
