"""TODO"""

from __future__ import annotations

import base64
import io
import math

import altair as alt
import numpy as np
import pandas as pd
from PIL import Image

from neuronxa_core.charts.theme import (
    CANVAS,
    COLOURS,
    LANGUAGES_SIZE,
    MATRIX_SIZE,
    MOST_VALUES,
    STANDARD_RANGE,
    VIRIDIS,
    _quoted,
)
from neuronxa_core.wording import MARKS

# languages that a language matrix names at its sides; with more it is a picture
MOST_LABELLED = 60
# the far sides of a cell, which are also its row and column counted from 1
RIGHT_AND_BELOW = {"right": "datum.column + 1", "below": "datum.row + 1"}


def picture_step(n: int) -> int:
    """How many rows and columns of an n x n matrix one pixel of its picture stands for."""
    return -(-n // MATRIX_SIZE)


def is_picture(languages: int) -> bool:
    """Whether the matrix of so many languages is one picture, in which no language is named."""
    return languages > MOST_LABELLED


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
    calculated = dict(RIGHT_AND_BELOW)
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
        alt.Tooltip("below:Q", title="Sentence of " + y_title, format="d"),
        alt.Tooltip("right:Q", title="Sentence of " + x_title, format="d"),
    ]
    marks_legend = alt.Legend(orient="top", labelLimit=220, symbolSize=110, symbolStrokeWidth=0.6)
    shapes = (
        alt.Chart(marks)
        .transform_calculate(
            x="datum.column + 0.5", y="datum.row + 0.5", right="datum.column + 1", below="datum.row + 1"
        )
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
            scale=alt.Scale(domain=list(MARKS), range=["circle", "cross", "triangle-up"]),
            legend=marks_legend,
        ),
        color=alt.Color(
            "kind:N",
            title=None,
            scale=alt.Scale(domain=list(MARKS), range=["#FFFFFF", "#FF8C5A", "#E8A9D0"]),
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
    if is_picture(n):
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
