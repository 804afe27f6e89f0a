"""Charts of the neurons that languages share, and of those that are specific to one."""

from __future__ import annotations

import json
import math

import altair as alt
import pandas as pd

from neuronxa_core.charts import pictures, theme
from neuronxa_core.charts.theme import COLOURS, FROM_0_TO_1, INTERVAL, SCORE_AXIS
from neuronxa_core.wording import PARALLEL_KINDS


def overlap_curves(table: pd.DataFrame, measure: str, title: str) -> alt.LayerChart:
    """Overlap by layer, one line per pair, dashed what independent sets of the same sizes would have.

    table: label, layer, value, chance.
    """
    colour = theme.colours_of(list(dict.fromkeys(table["label"])), "label", "Pair", columns=2)
    told = theme.tooltips(
        ("label:N", "Pair"), ("layer:Q", "Layer"), ("value:Q", measure, ".4f"), ("chance:Q", "Independent sets", ".4f")
    )
    base, x = alt.Chart(table), theme.layer_axis()
    observed = theme.lines(base).encode(
        x, alt.Y("value:Q", title=measure, scale=FROM_0_TO_1, axis=SCORE_AXIS), color=colour, tooltip=told
    )
    chance = base.mark_line(strokeDash=[3, 3], opacity=0.7).encode(
        x, alt.Y("chance:Q", title=measure, scale=FROM_0_TO_1), color=colour
    )
    return (chance + observed).properties(title=title, height=460)


def meaning(table: pd.DataFrame, method: str, title: str) -> alt.LayerChart:
    """Overlap of translations and of mismatched sentences by layer, with intervals, beside the alignment score.

    table: kind (one of wording.PARALLEL_KINDS or the method), layer, value, low, high.
    """
    kinds = [*PARALLEL_KINDS, method]
    colour = theme.colours_of(kinds, "kind", "Mean Jaccard of", columns=4)
    y_scale, y_title = alt.Scale(domain=[-0.1, 1]), f"Mean Jaccard overlap; {method}"
    dashes = alt.Scale(domain=kinds, range=[[1, 0], [1, 0], [1, 0], [6, 3]])
    base, x = alt.Chart(table), theme.layer_axis()
    band = base.mark_area(opacity=0.18).encode(
        x, alt.Y("low:Q", title=y_title, scale=y_scale), alt.Y2("high:Q"), color=colour
    )
    curves = theme.lines(base).encode(
        x,
        alt.Y("value:Q", title=y_title, scale=y_scale, axis=SCORE_AXIS),
        color=colour,
        strokeDash=alt.StrokeDash("kind:N", sort=kinds, legend=None, scale=dashes),
        tooltip=theme.tooltips(("kind:N", "What"), ("layer:Q", "Layer"), ("value:Q", "Value", ".4f"), *INTERVAL),
    )
    return (band + curves).properties(title=title, height=460)


def upset(table: pd.DataFrame, labels: list[str], sizes: list[int], title: str) -> alt.LayerChart:
    """How many neurons are shared by exactly which sets: bars over a matrix of dots; a click selects `members`.

    table: a row per bar, the largest first: members (text that names it), size, and a bool column per set, named by its
    place in labels, "0", "1", ... sizes: of the whole sets. One plot, not two: Streamlit reports no clicks in several.
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
    tooltip = theme.tooltips(("members:N", "Exactly"), ("size:Q", "Neurons", ",d"))
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
    names = [f"{label} · {size:,}" for label, size in zip(labels, sizes, strict=True)]
    axis = alt.Axis(
        values=list(range(count)),
        labelExpr=f"{json.dumps(names, separators=(',', ':'))}[datum.value]",
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
    """Neurons active in all languages by layer, beside what base rates give by chance.

    table: layer, observed, expected, ratio, low, high (of the expected), p. neurons: of a layer, the most there
    can be.
    """
    top = max(float(table[["observed", "high"]].max().max()), 1.0)
    kinds = ["observed", "expected by base rates"]
    colour = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=kinds, range=[COLOURS[0], COLOURS[6]]),
        legend=alt.Legend(orient="bottom", labelLimit=300, symbolOpacity=1),
    )
    told = theme.tooltips(
        ("layer:Q", "Layer"),
        ("observed:Q", "Observed", ",d"),
        ("expected:Q", "Expected", ",.3f"),
        ("ratio:Q", "Observed / expected", ",.3~g"),
        ("p:Q", "p", ".2~g"),
    )

    def y(field: str) -> alt.Y:
        scale = alt.Scale(domain=[0, min(neurons, top * 1.1)], nice=False)
        return alt.Y(field, title="Neurons active in all", scale=scale)

    observed, expected = (alt.Chart(table.assign(kind=kind)) for kind in kinds)
    bars = observed.mark_bar(width={"band": 0.6}).encode(
        alt.X("layer:O", title="Layer", axis=alt.Axis(labelAngle=0)), y("observed:Q"), color=colour, tooltip=told
    )
    x = alt.X("layer:O", title="Layer")
    spread = expected.mark_rule(strokeWidth=2).encode(x, y("low:Q"), alt.Y2("high:Q"), color=colour)
    ticks = expected.mark_tick(thickness=3, width={"band": 0.6})
    return (bars + spread + ticks.encode(x, y("expected:Q"), color=colour, tooltip=told)).properties(
        title=title, height=360
    )


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
        legend=alt.Legend(orient="bottom", gradientLength=260, values=sorted({0, most // 2, most}), format="d"),
    )
    told = theme.tooltips(("label:N", "Language"), ("layer:Q", "Layer"), ("count:Q", "Neurons", ",d"))
    if len(table) > pictures.MOST_MARKS:
        drawn = _specific_picture(table, labels, (0, most), colour, told)
    else:
        x, y = alt.X("layer:O", title="Layer", axis=alt.Axis(labelAngle=0)), theme.names_axis(labels, 260)
        base = alt.Chart(table)
        drawn = [base.mark_rect().encode(x, y, color=colour, tooltip=told)]
        if layers <= 40:
            bright = alt.condition(f"datum.count > {0.6 * most}", alt.value("#222222"), alt.value("#FFFFFF"))
            numbers = base.transform_filter("datum.count > 0").mark_text(fontSize=10)
            drawn.append(numbers.encode(x, y, text=alt.Text("count:Q", format=",d"), color=bright))
    step = max(46 if layers <= 40 else 12, 320 // layers)
    # by steps, labels of languages take nothing from the cells; a picture has no steps
    width = 260 + step * layers if len(table) > pictures.MOST_MARKS else {"step": step}
    return alt.layer(*drawn).properties(title=title, height=140 + 20 * len(labels), width=width)


def _specific_picture(
    table: pd.DataFrame, labels: list[str], domain: tuple[int, int], colour: alt.Color, told: list[alt.Tooltip]
) -> list[alt.Chart]:
    """The layers of a chart of specific neurons with too many cells for marks."""
    counts = table["count"].to_numpy().reshape(len(labels), -1)
    numbers = table["layer"].head(counts.shape[1])
    every = math.ceil(len(numbers) / 40)
    x = pictures.matrix_axis(alt.X, "Layer", len(numbers), **pictures.named_cells(list(map(str, numbers)), every))
    names = pictures.named_cells(labels, labelLimit=260, labelOverlap=False)
    y = pictures.matrix_axis(alt.Y, "", len(labels), **names)
    rows = pd.DataFrame({"row": range(len(labels)), "label": labels})
    columns = pd.DataFrame({"column": range(len(numbers)), "layer": numbers.to_numpy()})
    bands, cells = pictures.cells(rows, columns, counts, x, y)
    cells = cells.transform_calculate(count="datum.value").mark_rect(opacity=0).encode(tooltip=told)
    legend = alt.Chart(pd.DataFrame({"count": [0]})).mark_point(opacity=0).encode(color=colour)
    return [pictures.picture_chart(counts, domain, x, y), legend, bands, cells]


def definitions(table: pd.DataFrame, title: str) -> alt.FacetChart:
    """Agreement of definitions of a language's neurons, beside that of made-up languages, as heat maps with numbers.

    table: group (the panel), x, y (what is compared, by name), value (Jaccard index, NaN where there is none).
    """
    groups, names = (list(dict.fromkeys(table[name])) for name in ("group", "x"))
    side, axis = 32 * len(names), alt.Axis(labelLimit=120, labelOverlap=False)
    x = alt.X("x:N", sort=names, title=None, axis=alt.Axis(labelAngle=-45, labelLimit=120, labelOverlap=False))
    y = alt.Y("y:N", sort=names, title=None, axis=axis)
    base = alt.Chart(table)
    cells = base.mark_rect().encode(
        x,
        y,
        color=alt.Color(
            "value:Q",
            title="Jaccard index",
            scale=alt.Scale(scheme="viridis", domain=[0, 1]),
            legend=alt.Legend(orient="bottom", gradientLength=260),
        ),
        tooltip=theme.tooltips(("group:N", "In"), ("x:N", "Set"), ("y:N", "and"), ("value:Q", "Jaccard index", ".4f")),
    )
    bright = alt.condition("datum.value > 0.6", alt.value("#222222"), alt.value("#FFFFFF"))
    numbers = base.mark_text(fontSize=10).encode(x, y, text=alt.Text("value:Q", format=".2f"), color=bright)
    panel = alt.layer(cells, numbers).properties(width=side, height=side)
    return panel.facet(column=alt.Column("group:N", sort=groups, title=None)).properties(title=title)


def text_overlap(table: pd.DataFrame, title: str) -> alt.Chart:
    """Jaccard overlap of two texts' active neurons by layer. table: layer, active_x, active_y, both, jaccard."""
    drawn = theme.lines(alt.Chart(table), 40, color=COLOURS[0]).encode(
        theme.layer_axis(),
        alt.Y("jaccard:Q", title="Jaccard overlap", scale=FROM_0_TO_1, axis=SCORE_AXIS),
        tooltip=theme.tooltips(
            ("layer:Q", "Layer"),
            ("jaccard:Q", "Jaccard", ".4f"),
            ("both:Q", "Active in both", ",d"),
            ("active_x:Q", "Active in the first", ",d"),
            ("active_y:Q", "Active in the second", ",d"),
        ),
    )
    return drawn.properties(title=title, height=280)
