"""Heat maps with too many cells for marks: one picture, and cells that lie unseen over it and answer the pointer."""

from __future__ import annotations

import base64
import io
import json
import math

import altair as alt
import numpy as np
import pandas as pd
from PIL import Image

from neuronxa_core.charts.theme import VIRIDIS

# above this many cells a heat map is one picture, not a mark per cell
MOST_MARKS = 4_000
# above this many cells a picture sends no values for its tooltips
MOST_VALUES = 100_000
MATRIX_SIZE = 560
# a picture is sharper on a canvas, and its cells do not burden the page's tree
CANVAS = {"embedOptions": {"renderer": "canvas"}}
# the far sides of a cell, which are also its row and column counted from 1
RIGHT_AND_BELOW = {"right": "datum.column + 1", "below": "datum.row + 1"}


def picture_step(n: int) -> int:
    """How many rows and columns of an n x n matrix one pixel of its picture stands for."""
    return -(-n // MATRIX_SIZE)


def block_means(values: np.ndarray, step: int) -> np.ndarray:
    """Means of step x step blocks; the last ones are of what is left."""
    edges = [np.arange(0, length, step) for length in values.shape]
    sums = np.add.reduceat(np.add.reduceat(values, edges[0], axis=0), edges[1], axis=1)
    rows, columns = (np.diff(np.append(at, length)) for at, length in zip(edges, values.shape, strict=True))
    return sums / np.outer(rows, columns)


def picture(values: np.ndarray, low: float, high: float) -> str:
    """A matrix as a PNG data URL, a pixel per cell, coloured by viridis from low to high in 256 steps."""
    shades = np.clip((values - low) / (high - low), 0, 1) * 255
    image = Image.fromarray(shades.round().astype(np.uint8))
    steps = np.linspace(0, len(VIRIDIS) - 1, 256)
    palette = np.stack([np.interp(steps, np.arange(len(VIRIDIS)), VIRIDIS[:, k]) for k in range(3)], axis=1)
    image.putpalette(palette.round().astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def picture_chart(values: np.ndarray, domain: tuple[float, float], x: alt.X, y: alt.Y, step: int = 1) -> alt.Chart:
    """A matrix as a picture over the axes x and y, the first row on top; of step x step cells a pixel is the mean."""
    means = block_means(values, step) if step > 1 else values
    rows, columns = means.shape
    url = picture(means, *domain)
    place = pd.DataFrame({"url": [url], "left": [0], "right": [columns * step], "top": [0], "bottom": [rows * step]})
    return (
        alt.Chart(place)
        .mark_image(aspect=False, smooth=step > 1, clip=True)
        .encode(at(x, "left:Q"), at(y, "top:Q"), alt.X2("right:Q"), alt.Y2("bottom:Q"), url="url:N")
    )


def at(axis: alt.X | alt.Y, field: str) -> alt.X | alt.Y:
    """The same axis for another field."""
    copied = axis.copy()
    copied.shorthand = field
    return copied


def matrix_axis(channel: type, title: str, n: int, **settings: object) -> alt.X | alt.Y:
    """An axis over n cells, each one unit wide; that of rows goes down."""
    scale = alt.Scale(domain=[n, 0] if channel is alt.Y else [0, n], nice=False, zero=False)
    settings = {"tickMinStep": max(1, math.ceil(n / 10)), "format": "d", **settings}
    return channel(title=title, scale=scale, axis=alt.Axis(grid=False, **settings))


def named_cells(names: list[str], every: int = 1, **settings: object) -> dict[str, object]:
    """Settings of a matrix axis that names every so many cells in their middle."""
    middles = [k + 0.5 for k in range(0, len(names), every)]
    return {
        "values": middles,
        "labelExpr": f"{json.dumps(names, separators=(',', ':'))}[floor(datum.value)]",
        "tickSize": 0,
        "domain": False,
        **settings,
    }


def cells(
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
        .encode(at(y, "row:Q"), alt.Y2("below:Q"), x=alt.value(0), x2=alt.value("width"))
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
        .encode(at(x, "column:Q"), at(y, "row:Q"), alt.X2("right:Q"), alt.Y2("below:Q"))
        .properties(name="cells_of_matrix")
    )
    return bands, cells


def scale_of_colours(colour: alt.Color) -> alt.Chart:
    """Nothing but the legend of a picture's colours."""
    return alt.Chart(pd.DataFrame({"value": [0.0]})).mark_point(opacity=0).encode(color=colour)
