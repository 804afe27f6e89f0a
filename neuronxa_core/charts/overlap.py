"""TODO"""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

from neuronxa_core.charts.matrices import _cells, _matrix_axis, _named_cells, _picture_chart
from neuronxa_core.charts.theme import COLOURS, MOST_MARKS, SCORE_AXIS, _colours_of, _layer_axis, _quoted


def overlap_curves(table: pd.DataFrame, measure: str, title: str) -> alt.LayerChart:
    """Overlap by layer, one line a pair, dashed what independent sets of the same sizes would have.

    table: label, layer, value, chance.
    """
    labels = list(dict.fromkeys(table["label"]))
    colour = _colours_of(labels, "label", "Pair", columns=2)
    y_scale = alt.Scale(domain=[0, 1])
    tooltip = [
        alt.Tooltip("label:N", title="Pair"),
        alt.Tooltip("layer:Q", title="Layer"),
        alt.Tooltip("value:Q", title=measure, format=".4f"),
        alt.Tooltip("chance:Q", title="Independent sets", format=".4f"),
    ]
    base = alt.Chart(table)
    lines = base.mark_line(point=alt.OverlayMarkDef(size=28)).encode(
        _layer_axis(), alt.Y("value:Q", title=measure, scale=y_scale, axis=SCORE_AXIS), color=colour, tooltip=tooltip
    )
    chance = base.mark_line(strokeDash=[3, 3], opacity=0.7).encode(
        _layer_axis(), alt.Y("chance:Q", title=measure, scale=y_scale), color=colour
    )
    return (chance + lines).properties(title=title, height=460)


MEANING_KINDS = ("translations", "mismatched sentences", "translations − mismatched")


def meaning(table: pd.DataFrame, method: str, title: str) -> alt.LayerChart:
    """Overlap of translations and of mismatched sentences by layer, with intervals, beside the alignment score.

    table: kind (one of MEANING_KINDS or the method), layer, value, low, high.
    """
    kinds = [*MEANING_KINDS, method]
    colour = _colours_of(kinds, "kind", "Mean Jaccard of", columns=4)
    y_scale = alt.Scale(domain=[-0.1, 1])
    y_title = f"Mean Jaccard overlap; {method}"
    y = alt.Y("value:Q", title=y_title, scale=y_scale, axis=SCORE_AXIS)
    base = alt.Chart(table)
    band = base.mark_area(opacity=0.18).encode(
        _layer_axis(), alt.Y("low:Q", title=y_title, scale=y_scale), alt.Y2("high:Q"), color=colour
    )
    lines = base.mark_line(point=alt.OverlayMarkDef(size=28)).encode(
        _layer_axis(),
        y,
        color=colour,
        strokeDash=alt.StrokeDash(
            "kind:N", sort=kinds, legend=None, scale=alt.Scale(domain=kinds, range=[[1, 0], [1, 0], [1, 0], [6, 3]])
        ),
        tooltip=[
            alt.Tooltip("kind:N", title="What"),
            alt.Tooltip("layer:Q", title="Layer"),
            alt.Tooltip("value:Q", title="Value", format=".4f"),
            alt.Tooltip("low:Q", title="95 % from", format=".4f"),
            alt.Tooltip("high:Q", title="95 % to", format=".4f"),
        ],
    )
    return (band + lines).properties(title=title, height=460)


def upset(table: pd.DataFrame, labels: list[str], sizes: list[int], title: str) -> alt.LayerChart:
    """How many neurons are shared by exactly which sets: bars over a matrix of dots; a click selects `members`.

    table: one row a bar, the largest first: members (text that names it), size, and one bool column a set, named by its
    place in labels, "0", "1", ... sizes: of the whole sets. One plot, not two: Streamlit tells no clicks in several.
    """
    count = len(labels)
    table = table.assign(place=range(len(table)))
    # bars take the upper 60 %, the matrix the rest
    most = max(int(table["size"].max()), 1)
    height = 300 + 34 * count
    below = 34 * count / 300
    bars_scale = alt.Scale(domain=[-below * most * 1.12, most * 1.12], nice=False)
    rows_scale = alt.Scale(domain=[count - 0.5 + 0.001, -0.5 - count / below], nice=False, zero=False)
    pick = alt.selection_point(name="members", fields=["members"], empty=False)
    x = alt.X("place:O", axis=None)
    tooltip = [alt.Tooltip("members:N", title="Exactly"), alt.Tooltip("size:Q", title="Neurons", format=",d")]
    colour = alt.condition(pick, alt.value(COLOURS[1]), alt.value(COLOURS[0]))
    bars = (
        alt.Chart(table)
        .mark_bar(cursor="pointer", width={"band": 0.7})
        .encode(x, alt.Y("size:Q", scale=bars_scale, axis=None), color=colour, tooltip=tooltip)
        .properties(name="bars_of_intersections")
        .add_params(pick)
    )
    numbers = (
        alt.Chart(table)
        .mark_text(dy=-7, fontSize=10, color="#808080")
        .encode(x, alt.Y("size:Q", scale=bars_scale, axis=None), text=alt.Text("size:Q", format=",d"))
    )
    names = "[" + ",".join(_quoted(f"{label} · {size:,}") for label, size in zip(labels, sizes, strict=True)) + "]"
    axis = alt.Axis(
        values=list(range(count)),
        labelExpr=f"{names}[datum.value]",
        labelLimit=280,
        grid=False,
        ticks=False,
        domain=False,
    )
    dots = table.melt(["members", "place", "size"], [str(k) for k in range(count)], "row", "inside")
    dots["row"] = dots["row"].astype(int)
    y = alt.Y("row:Q", scale=rows_scale, axis=axis, title=None)
    ground = (
        alt.Chart(dots[~dots["inside"].astype(bool)])
        .mark_circle(size=90, color="#999999", opacity=0.25)
        .encode(x, y, tooltip=tooltip)
    )
    inside = dots[dots["inside"].astype(bool)]
    joined = inside.groupby(["members", "place", "size"], as_index=False, sort=False)["row"].agg(["min", "max"])
    links = (
        alt.Chart(joined)
        .mark_rule(strokeWidth=2)
        .encode(x, alt.Y("min:Q", scale=rows_scale, axis=axis, title=None), alt.Y2("max:Q"), color=colour)
    )
    marks = alt.Chart(inside).mark_circle(size=110, opacity=1).encode(x, y, color=colour, tooltip=tooltip)
    matrix = alt.layer(ground, links, marks)
    return (
        alt.layer(alt.layer(bars, numbers), matrix)
        .resolve_scale(y="independent")
        .properties(title=title, height=height, width=max(260, 34 * len(table)))
    )


def shared_core(table: pd.DataFrame, neurons: int, title: str) -> alt.LayerChart:
    """Neurons active in all languages by layer, beside what independent sets would share.

    table: layer, observed, expected, low, high (of the expected), z. neurons: of a layer, the most that there can be.
    """
    top = max(float(table[["observed", "high"]].max().max()), 1.0)
    y_scale = alt.Scale(domain=[0, min(neurons, top * 1.1)], nice=False)
    y_title = "Neurons active in all"
    kinds = ["observed", "expected of independent sets"]
    colour = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=kinds, range=[COLOURS[0], COLOURS[6]]),
        legend=alt.Legend(orient="bottom", labelLimit=300, symbolOpacity=1),
    )
    tooltip = [
        alt.Tooltip("layer:Q", title="Layer"),
        alt.Tooltip("observed:Q", title="Observed", format=",d"),
        alt.Tooltip("expected:Q", title="Expected", format=",.3f"),
        alt.Tooltip("z:Q", title="z", format=".1f"),
    ]
    bars = (
        alt.Chart(table.assign(kind=kinds[0]))
        .mark_bar(width={"band": 0.6})
        .encode(
            alt.X("layer:O", title="Layer", axis=alt.Axis(labelAngle=0)),
            alt.Y("observed:Q", title=y_title, scale=y_scale),
            color=colour,
            tooltip=tooltip,
        )
    )
    expected = alt.Chart(table.assign(kind=kinds[1]))
    x = alt.X("layer:O", title="Layer")
    spread = expected.mark_rule(strokeWidth=2).encode(
        x, alt.Y("low:Q", title=y_title, scale=y_scale), alt.Y2("high:Q"), color=colour
    )
    ticks = expected.mark_tick(thickness=3, width={"band": 0.6}).encode(
        x, alt.Y("expected:Q", title=y_title, scale=y_scale), color=colour, tooltip=tooltip
    )
    return (bars + spread + ticks).properties(title=title, height=360)


def specific_neurons(table: pd.DataFrame, title: str) -> alt.LayerChart:
    """Language-specific neurons by language and layer, as a heat map with numbers.

    table: label, layer, count, with all layers of a language together and in order.
    """
    labels = list(dict.fromkeys(table["label"]))
    layers = int(table["layer"].nunique())
    most = max(int(table["count"].max()), 1)
    colour = alt.Color(
        "count:Q",
        title="Neurons",
        scale=alt.Scale(scheme="viridis", domain=[0, most]),
        legend=alt.Legend(orient="bottom", gradientLength=260, tickMinStep=1),
    )
    tooltip = [
        alt.Tooltip("label:N", title="Language"),
        alt.Tooltip("layer:Q", title="Layer"),
        alt.Tooltip("count:Q", title="Neurons", format=",d"),
    ]
    if len(table) > MOST_MARKS:
        drawn = _specific_picture(table, labels, (0, most), colour, tooltip)
    else:
        y = alt.Y("label:N", sort=labels, title=None, axis=alt.Axis(labelLimit=260, labelOverlap=False))
        x = alt.X("layer:O", title="Layer", axis=alt.Axis(labelAngle=0))
        base = alt.Chart(table)
        drawn = [base.mark_rect().encode(x, y, color=colour, tooltip=tooltip)]
        if layers <= 40:
            bright = alt.condition(f"datum.count > {0.6 * most}", alt.value("#222222"), alt.value("#FFFFFF"))
            drawn.append(
                base.transform_filter("datum.count > 0")
                .mark_text(fontSize=10)
                .encode(x, y, text=alt.Text("count:Q", format=",d"), color=bright)
            )
    width = max(320, (46 if layers <= 40 else 12) * layers)
    return alt.layer(*drawn).properties(title=title, height=60 + 20 * len(labels), width=width)


def _specific_picture(
    table: pd.DataFrame, labels: list[str], domain: tuple[int, int], colour: alt.Color, tooltip: list[alt.Tooltip]
) -> list[alt.Chart]:
    """The layers of a chart of specific neurons with too many cells for marks."""
    counts = table["count"].to_numpy().reshape(len(labels), -1)
    layers = counts.shape[1]
    numbers = [str(layer) for layer in table["layer"].head(layers)]
    x = _matrix_axis(alt.X, "Layer", layers, **_named_cells(numbers, every=math.ceil(layers / 40)))
    y = _matrix_axis(alt.Y, "", len(labels), **_named_cells(labels, labelLimit=260, labelOverlap=False))
    rows = pd.DataFrame({"row": range(len(labels)), "label": labels})
    columns = pd.DataFrame({"column": range(layers), "layer": table["layer"].head(layers).to_numpy()})
    bands, cells = _cells(rows, columns, counts, x, y)
    cells = cells.transform_calculate(count="datum.value").mark_rect(opacity=0).encode(tooltip=tooltip)
    legend = alt.Chart(pd.DataFrame({"count": [0]})).mark_point(opacity=0).encode(color=colour)
    return [_picture_chart(counts, domain, x, y), legend, bands, cells]


def text_overlap(table: pd.DataFrame, title: str) -> alt.Chart:
    """Jaccard overlap of two texts' active neurons by layer. table: layer, active_x, active_y, both, jaccard."""
    return (
        alt.Chart(table)
        .mark_line(point=alt.OverlayMarkDef(size=40), color=COLOURS[0])
        .encode(
            _layer_axis(),
            alt.Y("jaccard:Q", title="Jaccard overlap", scale=alt.Scale(domain=[0, 1]), axis=SCORE_AXIS),
            tooltip=[
                alt.Tooltip("layer:Q", title="Layer"),
                alt.Tooltip("jaccard:Q", title="Jaccard", format=".4f"),
                alt.Tooltip("both:Q", title="On in both", format=",d"),
                alt.Tooltip("active_x:Q", title="On in the first", format=",d"),
                alt.Tooltip("active_y:Q", title="On in the second", format=",d"),
            ],
        )
        .properties(title=title, height=280)
    )
