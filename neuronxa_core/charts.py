"""DataFrame to alt.Chart: pure functions that draw nothing themselves.

Every chart has a title, named axes whose ranges stay as a slider moves, a tooltip and a colour-blind-safe scale.
"""

from __future__ import annotations

import base64
import io
import json
import math

import altair as alt
import numpy as np
import pandas as pd
from PIL import Image

# what is too much for a browser is decided here, chart by chart
alt.data_transformers.disable_max_rows()

# Okabe and Ito's colours, which people with any common colour blindness can tell apart; yellow left out
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F", "#8C564B"]
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]
SCORE_AXIS = alt.Axis(format=".1f", tickCount=6)
# above this many cells a heat map is one picture, not a mark a cell
MOST_MARKS = 4_000
# above this many cells a picture sends no values for its tooltips
MOST_VALUES = 100_000
MATRIX_SIZE = 560
# languages that a language matrix names at its sides; with more it is a picture
MOST_LABELLED = 60
LANGUAGES_SIZE = 900
# lines that colours and dashes together can tell apart
MOST_CURVES = len(COLOURS) * len(DASHES)
# standard deviations from a similarity matrix's mean that the colours span
STANDARD_RANGE = (-2, 4)

# Vega's viridis: the colours between which it goes in straight lines, so that a picture has those of its legend
VIRIDIS = np.frombuffer(
    bytes.fromhex(
        "440154 470e61 481a6c 482575 472f7d 443a83 414487 3d4e8a 39568c 35608d 31688e 2d708e 2a788e 27818e 23888e "
        "21918d 1f988b 1fa088 22a884 2ab07f 35b779 43bf71 54c568 66cc5d 7ad151 8fd744 a5db36 bcdf27 d2e21b e9e51a "
        "fde725"
    ),
    dtype=np.uint8,
).reshape(-1, 3)


def svg(chart: alt.TopLevelMixin) -> bytes:
    """A chart as an SVG file, drawn here without a browser or a network."""
    text = io.StringIO()
    chart.save(text, format="svg")
    return text.getvalue().encode()


def png(chart: alt.TopLevelMixin) -> bytes:
    """A chart as a PNG file of twice its size in pixels."""
    buffer = io.BytesIO()
    chart.save(buffer, format="png", scale_factor=2)
    return buffer.getvalue()


def _chance_rule(chance: float, vertical: bool) -> alt.LayerChart:
    data = pd.DataFrame({"chance": [chance], "text": [f"chance {chance:.3f}"]})
    axis = alt.X("chance:Q") if vertical else alt.Y("chance:Q")
    rule = alt.Chart(data).mark_rule(strokeDash=[4, 3], color="#888888")
    return rule.encode(axis, tooltip=alt.Tooltip("text:N", title="Chance level"))


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


def picture_step(n: int) -> int:
    """How many rows and columns of an n x n matrix one pixel of its picture stands for."""
    return -(-n // MATRIX_SIZE)


def _block_means(values: np.ndarray, step: int) -> np.ndarray:
    """Means of step x step blocks; the last ones are of what is left."""
    edges = [np.arange(0, length, step) for length in values.shape]
    sums = np.add.reduceat(np.add.reduceat(values, edges[0], axis=0), edges[1], axis=1)
    rows, columns = (np.diff(np.append(at, length)) for at, length in zip(edges, values.shape, strict=True))
    return sums / np.outer(rows, columns)


def _picture(values: np.ndarray, low: float, high: float) -> str:
    """A matrix as a PNG data URL, a pixel a cell, coloured by viridis from low to high in 256 steps."""
    shades = np.clip((values - low) / (high - low), 0, 1) * 255
    image = Image.fromarray(shades.round().astype(np.uint8))
    at = np.linspace(0, len(VIRIDIS) - 1, 256)
    palette = np.stack([np.interp(at, np.arange(len(VIRIDIS)), VIRIDIS[:, k]) for k in range(3)], axis=1)
    image.putpalette(palette.round().astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _picture_chart(values: np.ndarray, domain: tuple[float, float], x: alt.X, y: alt.Y, step: int = 1) -> alt.Chart:
    """A matrix as a picture over the axes x and y, the first row on top; of step x step cells a pixel is the mean."""
    means = _block_means(values, step) if step > 1 else values
    rows, columns = means.shape
    url = _picture(means, *domain)
    place = pd.DataFrame({"url": [url], "left": [0], "right": [columns * step], "top": [0], "bottom": [rows * step]})
    return (
        alt.Chart(place)
        .mark_image(aspect=False, smooth=step > 1, clip=True)
        .encode(_at(x, "left:Q"), _at(y, "top:Q"), alt.X2("right:Q"), alt.Y2("bottom:Q"), url="url:N")
    )


def _at(axis: alt.X | alt.Y, field: str) -> alt.X | alt.Y:
    """The same axis for another field."""
    copied = axis.copy()
    copied.shorthand = field
    return copied


def _matrix_axis(channel: type, title: str, n: int, **settings: object) -> alt.X | alt.Y:
    """An axis over n cells, each one unit wide; that of rows goes down."""
    scale = alt.Scale(domain=[n, 0] if channel is alt.Y else [0, n], nice=False, zero=False)
    settings = {"tickMinStep": max(1, math.ceil(n / 10)), "format": "d", **settings}
    return channel(title=title, scale=scale, axis=alt.Axis(grid=False, **settings))


def _named_cells(names: list[str], every: int = 1, **settings: object) -> dict[str, object]:
    """Settings of a matrix axis that names every so many cells in their middle."""
    said = "[" + ",".join(map(_quoted, names)) + "]"
    middles = [k + 0.5 for k in range(0, len(names), every)]
    return {"values": middles, "labelExpr": f"{said}[floor(datum.value)]", "tickSize": 0, "domain": False, **settings}


def _cells(
    rows: pd.DataFrame, columns: pd.DataFrame, values: np.ndarray | None, x: alt.X, y: alt.Y
) -> tuple[alt.Chart, alt.Chart]:
    """Bands and cells that lie unseen over a picture and answer the pointer, by few marks.

    The bands say in which row the pointer is; only that row's cells are there. A cell has the fields of its row and its
    column and, where values [row, column] are given, its `value` to four decimals. rows and columns start with `row`
    and `column`, counted from 0.
    """
    under = alt.selection_point(
        name="under", fields=list(rows.columns), on="pointerover", empty=False, clear=False, toggle=False
    )
    bands = (
        alt.Chart(rows)
        .transform_calculate(below="datum.row + 1")
        .mark_rect(opacity=0, tooltip=None, aria=False)
        .encode(_at(y, "row:Q"), alt.Y2("below:Q"), x=alt.value(0), x2=alt.value("width"))
        .properties(name="rows_of_matrix")  # names of our own: counted ones would differ from draw to draw
        .add_params(under)
    )
    of_the_row = {name: f"isValid(under.{name}) ? under.{name}[0] : null" for name in rows.columns}
    calculated = {"right": "datum.column + 1", "below": "datum.row + 1"}
    if values is not None:
        whole = np.rint(values * 10_000).astype(np.int64)
        columns = columns.assign(values=[",".join(map(str, column)) for column in whole.T.tolist()])
        calculated["value"] = "toNumber(split(datum.values, ',')[datum.row]) / 10000"
    cells = (
        alt.Chart(columns)
        .transform_calculate(**of_the_row)
        .transform_filter("isValid(datum.row)")
        .transform_calculate(**calculated)
        .mark_rect(opacity=0, cursor="pointer")
        .encode(_at(x, "column:Q"), _at(y, "row:Q"), alt.X2("right:Q"), alt.Y2("below:Q"))
        .properties(name="cells_of_matrix")
    )
    return bands, cells


def _scale_of_colours(colour: alt.Color) -> alt.Chart:
    """Nothing but the legend of a picture's colours."""
    return alt.Chart(pd.DataFrame({"value": [0.0]})).mark_point(opacity=0).encode(color=colour)


# a picture is sharper on a canvas, and its cells do not burden the page's tree
CANVAS = {"embedOptions": {"renderer": "canvas"}}


def similarity_matrix(cosines: np.ndarray, marks: pd.DataFrame, x_title: str, y_title: str) -> alt.LayerChart:
    """n x n similarities with the decisions marked; a click selects `cell` with row and column.

    Colour is standardised (standard deviations from the matrix's mean, clipped to -2..4), so that its meaning stays
    the same from layer to layer. marks: row, column, kind, cosine, of the cells to mark. Of a matrix with more cells
    than pixels a pixel is the mean of `picture_step` x `picture_step` cells, and only the marks can be clicked.
    """
    n = len(cosines)
    spread = float(cosines.std()) or 1.0
    standard = (cosines - cosines.mean()) / spread
    step = picture_step(n)
    # a selection of one layer hears clicks on all of them: cells and the marks that lie on them have the same fields
    pick = alt.selection_point(name="cell", fields=["row", "column"], empty=False, on="click")
    x, y = _matrix_axis(alt.X, x_title, n), _matrix_axis(alt.Y, y_title, n)
    colour = alt.Color(
        "value:Q",
        title="Cosine, standard deviations from the mean",
        scale=alt.Scale(scheme="viridis", domain=list(STANDARD_RANGE), clamp=True),
        legend=alt.Legend(orient="bottom", gradientLength=300, titleLimit=400, gradientOpacity=1),
    )
    places = [
        alt.Tooltip("row:Q", title="Sentence of " + y_title, format="d"),
        alt.Tooltip("column:Q", title="Sentence of " + x_title, format="d"),
    ]
    marks_legend = alt.Legend(orient="top", labelLimit=220, symbolSize=110, symbolStrokeWidth=0.6)
    kinds = ["mutual nearest neighbours", "missed translation", "what won instead"]
    shapes = (
        alt.Chart(marks)
        .transform_calculate(x="datum.column + 0.5", y="datum.row + 0.5")
        .mark_point(
            size=30 if n <= 150 else 9, stroke="black", strokeWidth=0.6, filled=True, opacity=1, cursor="pointer"
        )
    )
    marked = shapes.encode(
        _at(x, "x:Q"),
        _at(y, "y:Q"),
        shape=alt.Shape(
            "kind:N",
            title=None,
            scale=alt.Scale(domain=kinds, range=["circle", "cross", "triangle-up"]),
            legend=marks_legend,
        ),
        color=alt.Color(
            "kind:N",
            title=None,
            scale=alt.Scale(domain=kinds, range=["#FFFFFF", "#FF8C5A", "#E8A9D0"]),
            legend=marks_legend,
        ),
        tooltip=[
            alt.Tooltip("kind:N", title="Mark"),
            *places,
            alt.Tooltip("cosine:Q", title="Cosine", format=".4f"),
        ],
    )
    layers = [_picture_chart(standard, STANDARD_RANGE, x, y, step), _scale_of_colours(colour)]
    if step == 1:
        told = cosines if n * n <= MOST_VALUES else None
        bands, cells = _cells(pd.DataFrame({"row": range(n)}), pd.DataFrame({"column": range(n)}), told, x, y)
        tooltip = places if told is None else [*places, alt.Tooltip("value:Q", title="Cosine", format=".4f")]
        layers += [bands, cells.encode(tooltip=tooltip).add_params(pick), marked]
    else:
        layers += [marked.properties(name="marks_of_matrix").add_params(pick)]
    return (
        alt.layer(*layers)
        .resolve_scale(color="independent", shape="independent")
        .properties(title="Similarity of all sentences", width=MATRIX_SIZE, height=MATRIX_SIZE + 130, usermeta=CANVAS)
    )


def language_matrix(
    values: np.ndarray,
    codes: list[str],
    labels: list[str],
    *,
    measure: str,
    title: str,
    domain: tuple[float, float] = (0, 1),
    row_title: str | None = None,
    column_title: str | None = None,
    chosen: tuple[str, str] | None = None,
) -> alt.Chart | alt.LayerChart:
    """Languages x languages, in the order given; a click selects `pair` with `row_code` and `column_code`.

    values: [language, language]. measure: what a value is. domain: the values that the colours span; larger and
    smaller ones have the colours of its ends. chosen: the pair to frame where the matrix is a picture, by code.
    """
    n = len(codes)
    colour = alt.Color(
        "value:Q",
        title=measure,
        scale=alt.Scale(scheme="viridis", domain=list(domain), clamp=True),
        legend=alt.Legend(orient="bottom", gradientLength=260, format=".2~f", titleLimit=400),
    )
    pick = alt.selection_point(name="pair", fields=["row_code", "column_code"], empty=False)
    titles = row_title or "Language", column_title or "and"  # equal titles would be one line
    if n > MOST_LABELLED:
        layers = _language_picture(values, domain, codes, labels, titles, measure, chosen)
        layers[-1] = layers[-1].add_params(pick)
        picture = alt.layer(_scale_of_colours(colour), *layers)
        return picture.properties(title=title, width=LANGUAGES_SIZE, height=LANGUAGES_SIZE + 130, usermeta=CANVAS)
    side = 280 + 26 * n
    table = pd.DataFrame(
        {
            "row_code": np.repeat(codes, n),
            "column_code": np.tile(codes, n),
            "row": np.repeat(labels, n),
            "column": np.tile(labels, n),
            "value": np.round(values, 4).ravel(),
        }
    )
    return (
        alt.Chart(table)
        .mark_rect(cursor="pointer")
        .encode(
            alt.X(
                "column:N",
                sort=labels,
                title=column_title,
                axis=alt.Axis(labelAngle=-60, labelLimit=160, labelOverlap=False),
            ),
            alt.Y("row:N", sort=labels, title=row_title, axis=alt.Axis(labelLimit=200, labelOverlap=False)),
            color=colour,
            stroke=alt.condition(pick, alt.value("#D55E00"), alt.value(None)),
            strokeWidth=alt.value(2),
            tooltip=[
                alt.Tooltip("row:N", title=titles[0]),
                alt.Tooltip("column:N", title=titles[1]),
                alt.Tooltip("value:Q", title=measure, format=".4f"),
            ],
        )
        .add_params(pick)
        .properties(name="pairs_of_languages", title=title, width=side, height=side)
    )


def _language_picture(
    values: np.ndarray,
    domain: tuple[float, float],
    codes: list[str],
    labels: list[str],
    titles: tuple[str, str],
    measure: str,
    chosen: tuple[str, str] | None,
) -> list[alt.Chart]:
    """The layers of a language matrix that is a picture, its cells on top."""
    n = len(codes)
    y_title, x_title = (f"{title} … (by number in the table)" for title in titles)
    x, y = _matrix_axis(alt.X, x_title, n), _matrix_axis(alt.Y, y_title, n)
    rows = pd.DataFrame({"row": range(n), "row_code": codes, "row_label": labels})
    columns = pd.DataFrame({"column": range(n), "column_code": codes, "column_label": labels})
    told = values if n * n <= MOST_VALUES else None
    bands, cells = _cells(rows, columns, told, x, y)
    tooltip = [alt.Tooltip("row_label:N", title=titles[0]), alt.Tooltip("column_label:N", title=titles[1])]
    if told is not None:
        tooltip.append(alt.Tooltip("value:Q", title=measure, format=".4f"))
    at = [(codes.index(chosen[0]), codes.index(chosen[1]))] if chosen and set(chosen) <= set(codes) else []
    frame = (
        alt.Chart(pd.DataFrame(at, columns=["row", "column"], dtype="int64"))
        .transform_calculate(below="datum.row + 1", right="datum.column + 1")
        .mark_rect(fillOpacity=0, stroke=COLOURS[1], strokeWidth=3)
        .encode(_at(x, "column:Q"), _at(y, "row:Q"), alt.X2("right:Q"), alt.Y2("below:Q"))
    )
    ground = _picture_chart(values, domain, x, y, picture_step(n))
    return [ground, frame, bands, cells.encode(tooltip=tooltip)]


def _layer_axis() -> alt.X:
    return alt.X("layer:Q", title="Layer", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False))


def _colours_of(labels: list[str], field: str, title: str, columns: int = 3, limit: int = 360) -> alt.Color:
    return alt.Color(
        f"{field}:N",
        sort=labels,
        title=title,
        scale=alt.Scale(domain=labels, range=[COLOURS[k % len(COLOURS)] for k in range(len(labels))]),
        legend=alt.Legend(orient="bottom", columns=columns, labelLimit=limit, symbolOpacity=1),
    )


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


def _quoted(text: str) -> str:
    """Text as a literal of Vega's expressions."""
    return json.dumps(text)


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
        .properties(title=title, height=75 + 20 * len(table))
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
    return (whiskers + boxes + medians).properties(title=title, height=75 + 20 * len(table))


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


# ---------------------------------------------------------------------------------------------------------- downstream


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
    """One point a language, with a regression line and its confidence band; a click switches a language off.

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


def _around(*columns: pd.Series | None) -> alt.Scale:
    """A scale with a little room around all values."""
    values = pd.concat([c for c in columns if c is not None and len(c)]).astype(float)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    room = 0.05 * (high - low) or 0.05
    return alt.Scale(domain=[low - room, high + room], nice=False, zero=False)


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
