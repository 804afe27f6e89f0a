"""Charts of matrices: the similarity of two languages' sentences, and languages by languages."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from neuronxa_core.charts import pictures, theme
from neuronxa_core.charts.pictures import CANVAS, MATRIX_SIZE, MOST_VALUES, RIGHT_AND_BELOW
from neuronxa_core.charts.theme import COLOURS
from neuronxa_core.wording import MARKS

# languages that a language matrix names at its sides; with more it is a picture
MOST_LABELLED = 60
LANGUAGES_SIZE = 900
# standard deviations from a similarity matrix's mean that the colours span
STANDARD_RANGE = (-2, 4)


def is_picture(languages: int) -> bool:
    """Whether the matrix of so many languages is one picture, in which no language is named."""
    return languages > MOST_LABELLED


def similarity_matrix(cosines: np.ndarray, marks: pd.DataFrame, x_title: str, y_title: str) -> alt.LayerChart:
    """n x n similarities with the decisions marked; a click selects `cell` with row and column.

    Colour is standardised (standard deviations from the matrix's mean, clipped to -2..4), so that its meaning stays
    the same from layer to layer. marks: row, column, kind, cosine, of the cells to mark. Of a matrix with more cells
    than pixels a pixel is the mean of `picture_step` x `picture_step` cells, and only the marks can be clicked.
    """
    n = len(cosines)
    spread = float(cosines.std()) or 1.0
    standard = (cosines - cosines.mean()) / spread
    step = pictures.picture_step(n)
    # a selection of one layer hears clicks on all of them: cells and the marks that lie on them have the same fields
    pick = alt.selection_point(name="cell", fields=["row", "column"], empty=False, on="click")
    x, y = pictures.matrix_axis(alt.X, x_title, n), pictures.matrix_axis(alt.Y, y_title, n)
    colour = alt.Color(
        "value:Q",
        title="Cosine, standard deviations from the mean",
        scale=alt.Scale(scheme="viridis", domain=list(STANDARD_RANGE), clamp=True),
        legend=alt.Legend(orient="bottom", gradientLength=300, titleLimit=400, gradientOpacity=1),
    )
    places = (("below:Q", f"Sentence of {y_title}", "d"), ("right:Q", f"Sentence of {x_title}", "d"))
    marks_legend = alt.Legend(orient="top", labelLimit=220, symbolSize=110, symbolStrokeWidth=0.6)
    shapes = (
        alt.Chart(marks)
        .transform_calculate(x="datum.column + 0.5", y="datum.row + 0.5", **RIGHT_AND_BELOW)
        .mark_point(
            size=30 if n <= 150 else 9, stroke="black", strokeWidth=0.6, filled=True, opacity=1, cursor="pointer"
        )
    )
    marked = shapes.encode(
        pictures.at(x, "x:Q"),
        pictures.at(y, "y:Q"),
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
        tooltip=theme.tooltips(("kind:N", "Mark"), *places, ("cosine:Q", "Cosine", ".4f")),
    )
    layers = [pictures.picture_chart(standard, STANDARD_RANGE, x, y, step), pictures.scale_of_colours(colour)]
    if step == 1:
        told = cosines if n * n <= MOST_VALUES else None
        bands, cells = pictures.cells(pd.DataFrame({"row": range(n)}), pd.DataFrame({"column": range(n)}), told, x, y)
        lines = places if told is None else (*places, ("value:Q", "Cosine", ".4f"))
        layers += [bands, cells.encode(tooltip=theme.tooltips(*lines)).add_params(pick), marked]
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
        picture = alt.layer(pictures.scale_of_colours(colour), *layers)
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
            stroke=alt.condition(pick, alt.value(COLOURS[1]), alt.value(None)),
            strokeWidth=alt.value(2),
            tooltip=theme.tooltips(("row:N", titles[0]), ("column:N", titles[1]), ("value:Q", measure, ".4f")),
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
    x, y = pictures.matrix_axis(alt.X, x_title, n), pictures.matrix_axis(alt.Y, y_title, n)
    rows = pd.DataFrame({"row": range(n), "row_code": codes, "row_label": labels})
    columns = pd.DataFrame({"column": range(n), "column_code": codes, "column_label": labels})
    told = values if n * n <= MOST_VALUES else None
    bands, cells = pictures.cells(rows, columns, told, x, y)
    lines = [("row_label:N", titles[0]), ("column_label:N", titles[1])]
    if told is not None:
        lines.append(("value:Q", measure, ".4f"))
    at = [(codes.index(chosen[0]), codes.index(chosen[1]))] if chosen and set(chosen) <= set(codes) else []
    frame = (
        alt.Chart(pd.DataFrame(at, columns=["row", "column"], dtype="int64"))
        .transform_calculate(**RIGHT_AND_BELOW)
        .mark_rect(fillOpacity=0, stroke=COLOURS[1], strokeWidth=3)
        .encode(pictures.at(x, "column:Q"), pictures.at(y, "row:Q"), alt.X2("right:Q"), alt.Y2("below:Q"))
    )
    ground = pictures.picture_chart(values, domain, x, y, pictures.picture_step(n))
    return [ground, frame, bands, cells.encode(tooltip=theme.tooltips(*lines))]
