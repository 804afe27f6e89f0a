"""TODO"""

from __future__ import annotations

import io
import json

import altair as alt
import numpy as np
import pandas as pd

# Okabe and Ito's colours, which people with any common colour blindness can tell apart; yellow left out
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F", "#8C564B"]
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]
SCORE_AXIS = alt.Axis(format=".1f", tickCount=6)
# above this many cells a heat map is one picture, not a mark a cell
MOST_MARKS = 4_000
# above this many cells a picture sends no values for its tooltips
MOST_VALUES = 100_000
MATRIX_SIZE = 560
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


# a picture is sharper on a canvas, and its cells do not burden the page's tree
CANVAS = {"embedOptions": {"renderer": "canvas"}}


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


def _quoted(text: str) -> str:
    """Text as a literal of Vega's expressions."""
    return json.dumps(text)


def _around(*columns: pd.Series | None) -> alt.Scale:
    """A scale with a little room around all values."""
    values = pd.concat([c for c in columns if c is not None and len(c)]).astype(float)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    room = 0.05 * (high - low) or 0.05
    return alt.Scale(domain=[low - room, high + room], nice=False, zero=False)
