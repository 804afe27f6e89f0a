"""DataFrame to alt.Chart: pure functions that draw nothing themselves.

Every chart has a title, named axes whose ranges stay as a slider moves, a tooltip and a colour-blind-safe scale.
"""

from __future__ import annotations

import base64
import io
import math

import altair as alt
import numpy as np
import pandas as pd
from PIL import Image

# Okabe and Ito's colours, which people with any common colour blindness can tell apart; yellow left out
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F", "#8C564B"]
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]
SCORE_AXIS = alt.Axis(format=".1f", tickCount=6)
# above this many cells a matrix is drawn as one picture, not as marks
MOST_MARKS = 15_000
MATRIX_SIZE = 560
# languages that a language matrix names at its sides; with more it is a picture
MOST_LABELLED = 70
# standard deviations from a similarity matrix's mean that the colours span
STANDARD_RANGE = (-2, 4)

# viridis at eleven points, for pictures
VIRIDIS = np.array(
    [
        (68, 1, 84),
        (72, 36, 117),
        (65, 68, 135),
        (53, 95, 141),
        (42, 120, 142),
        (33, 145, 140),
        (34, 168, 132),
        (68, 191, 112),
        (122, 209, 81),
        (189, 223, 38),
        (253, 231, 37),
    ],
    dtype=np.float64,
)


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
        "color": alt.Color(
            "label:N",
            sort=labels,
            title="Language",
            scale=alt.Scale(domain=labels, range=[COLOURS[k % len(COLOURS)] for k in range(len(labels))]),
            legend=alt.Legend(orient="bottom", columns=3, labelLimit=240, symbolOpacity=1),
        ),
        "strokeDash": alt.StrokeDash(
            "label:N",
            sort=labels,
            legend=None,
            scale=alt.Scale(
                domain=labels, range=[DASHES[(k // len(COLOURS)) % len(DASHES)] for k in range(len(labels))]
            ),
        ),
    }
    x = alt.X("layer:Q", title="Layer", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False))
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
    """The three states' curves in three panels with one scale. table: state, method, label, layer, score."""
    labels = list(dict.fromkeys(table["label"]))
    base = alt.Chart(table)
    color = alt.Color(
        "label:N",
        sort=labels,
        title="Language",
        scale=alt.Scale(domain=labels, range=[COLOURS[k % len(COLOURS)] for k in range(len(labels))]),
        legend=alt.Legend(orient="bottom", columns=3, labelLimit=240, symbolOpacity=1),
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=28)).encode(
        alt.X("layer:Q", title="Layer", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False)),
        alt.Y("score:Q", title="Score", scale=alt.Scale(domain=[0, 1]), axis=SCORE_AXIS),
        color=color,
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


def _picture(values: np.ndarray, low: float, high: float) -> str:
    """A matrix in [low, high] as a PNG data URL in viridis, a pixel a cell; of a larger one, means of square blocks."""
    step = -(-len(values) // MATRIX_SIZE)
    if step > 1:
        edges = np.arange(0, len(values), step)
        sums = np.add.reduceat(np.add.reduceat(values, edges, axis=0), edges, axis=1)
        counts = np.diff(np.append(edges, len(values)))
        values = sums / np.outer(counts, counts)
    shades = np.clip((values - low) / (high - low), 0, 1) * 255
    image = Image.fromarray(shades.round().astype(np.uint8), mode="P")
    at = np.linspace(0, len(VIRIDIS) - 1, 256)
    palette = np.stack([np.interp(at, np.arange(len(VIRIDIS)), VIRIDIS[:, k]) for k in range(3)], axis=1)
    image.putpalette(palette.round().astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _cells(n: int) -> alt.Chart:
    """The n x n cells of a matrix by row and column, counted by the browser: nothing of them is sent."""
    return alt.Chart(alt.sequence(n * n, as_="number")).transform_calculate(
        row=f"floor(datum.number / {n})",
        column=f"datum.number % {n}",
        below=f"floor(datum.number / {n}) + 1",
        right=f"datum.number % {n} + 1",
    )


def _matrix_axis(channel: type, name: str, title: str, n: int, descending: bool = False) -> alt.X | alt.Y:
    scale = alt.Scale(domain=[n, 0] if descending else [0, n], nice=False, zero=False)
    axis = alt.Axis(tickMinStep=max(1, math.ceil(n / 10)), format="d", grid=False)
    return channel(name, title=title, scale=scale, axis=axis)


def _picture_chart(url: str, n: int, *, x_title: str, y_title: str, smooth: bool = False) -> alt.Chart:
    """A square picture of n x n cells that fills the plot, the first row on top."""
    place = pd.DataFrame({"url": [url], "left": [0], "right": [n], "top": [0], "bottom": [n]})
    return (
        alt.Chart(place)
        .mark_image(aspect=False, smooth=smooth)
        .encode(
            _matrix_axis(alt.X, "left:Q", x_title, n),
            _matrix_axis(alt.Y, "top:Q", y_title, n, descending=True),
            alt.X2("right:Q"),
            alt.Y2("bottom:Q"),
            url="url:N",
        )
    )


def similarity_matrix(cosines: np.ndarray, marks: pd.DataFrame, x_title: str, y_title: str) -> alt.LayerChart:
    """n x n similarities with the decisions marked; a click selects `cell` with row and column.

    Colour is standardised (standard deviations from the matrix's mean, clipped to -2..4), so that its meaning stays
    the same from layer to layer. marks: row, column, kind, cosine, of the cells to mark.
    """
    n = len(cosines)
    spread = float(cosines.std()) or 1.0
    standard = (cosines - cosines.mean()) / spread
    # a selection of one layer hears clicks on all of them: cells and the marks that lie on them have the same fields
    pick = alt.selection_point(name="cell", fields=["row", "column"], empty=False, on="click")
    position_x = _matrix_axis(alt.X, "column:Q", x_title, n)
    position_y = _matrix_axis(alt.Y, "row:Q", y_title, n, descending=True)
    colour = alt.Color(
        "value:Q",
        title="Cosine, standard deviations from the mean",
        scale=alt.Scale(scheme="viridis", domain=list(STANDARD_RANGE), clamp=True),
        legend=alt.Legend(orient="bottom", gradientLength=300, titleLimit=400, gradientOpacity=1),
    )
    ground = _picture_chart(
        _picture(standard, *STANDARD_RANGE), n, x_title=x_title, y_title=y_title, smooth=n > MATRIX_SIZE
    )
    clickable = (
        _cells(n)
        .mark_rect(cursor="crosshair", opacity=0)
        .encode(position_x, position_y, alt.X2("right:Q"), alt.Y2("below:Q"))
        .properties(name="cells_of_matrix")  # a name of our own: a counted one would differ from draw to draw
        .add_params(pick)
    )
    scale_of_colours = alt.Chart(pd.DataFrame({"value": [0.0]})).mark_point(opacity=0).encode(color=colour)
    marks_legend = alt.Legend(orient="top", labelLimit=220, symbolSize=110, symbolStrokeWidth=0.6)
    kinds = ["mutual nearest neighbours", "missed translation", "what won instead"]
    shapes = alt.Chart(marks.assign(x=marks["column"] + 0.5, y=marks["row"] + 0.5)).mark_point(
        size=30 if n <= 150 else 9, stroke="black", strokeWidth=0.6, filled=True, opacity=1, cursor="pointer"
    )
    marked = shapes.encode(
        alt.X("x:Q", title=x_title, scale=alt.Scale(domain=[0, n], nice=False)),
        alt.Y("y:Q", title=y_title, scale=alt.Scale(domain=[n, 0], nice=False)),
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
            alt.Tooltip("row:Q", title="Sentence of " + y_title, format="d"),
            alt.Tooltip("column:Q", title="Sentence of " + x_title, format="d"),
            alt.Tooltip("cosine:Q", title="Cosine", format=".4f"),
        ],
    )
    if n * n <= MOST_MARKS:
        layers = [ground, scale_of_colours, clickable, marked]
    else:
        layers = [ground, scale_of_colours, marked.properties(name="marks_of_matrix").add_params(pick)]
    return (
        alt.layer(*layers)
        .resolve_scale(color="independent", shape="independent")
        .properties(
            title="Similarity of all sentences",
            width=MATRIX_SIZE,
            height=MATRIX_SIZE + 130,
            # ten thousand cells are too many for the page's tree
            usermeta={"embedOptions": {"renderer": "canvas"}},
        )
    )


def language_matrix(scores: np.ndarray, codes: list[str], labels: list[str], method: str, layer: int) -> alt.Chart:
    """Languages x languages, in the order given; a click selects `pair` with `row_code` and `column_code`."""
    n = len(codes)
    side = 280 + 26 * min(n, MOST_LABELLED)
    title = f"{method} of every pair of languages at layer {layer}"
    colour = alt.Color(
        "value:Q",
        title=method,
        scale=alt.Scale(scheme="viridis", domain=[0, 1]),
        legend=alt.Legend(orient="bottom", gradientLength=260, format=".1f"),
    )
    if n > MOST_LABELLED:
        number = "Language, by number in the table"
        ground = _picture_chart(_picture(scores, 0, 1), n, x_title=number, y_title=number)
        return ground.properties(title=title, width=side, height=side)
    pick = alt.selection_point(name="pair", fields=["row_code", "column_code"], empty=False)
    table = pd.DataFrame(
        {
            "row_code": np.repeat(codes, n),
            "column_code": np.tile(codes, n),
            "row": np.repeat(labels, n),
            "column": np.tile(labels, n),
            "value": np.round(scores, 4).ravel(),
        }
    )
    return (
        alt.Chart(table)
        .mark_rect(cursor="pointer")
        .encode(
            alt.X(
                "column:N", sort=labels, title=None, axis=alt.Axis(labelAngle=-60, labelLimit=160, labelOverlap=False)
            ),
            alt.Y("row:N", sort=labels, title=None, axis=alt.Axis(labelLimit=200, labelOverlap=False)),
            color=colour,
            stroke=alt.condition(pick, alt.value("#D55E00"), alt.value(None)),
            strokeWidth=alt.value(2),
            tooltip=[
                alt.Tooltip("row:N", title="Language"),
                alt.Tooltip("column:N", title="Language"),
                alt.Tooltip("value:Q", title=method, format=".4f"),
            ],
        )
        .add_params(pick)
        .properties(name="pairs_of_languages", title=title, width=side, height=side)
    )
