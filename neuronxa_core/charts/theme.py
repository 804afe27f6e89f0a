"""What all charts share: colours, scales, axes, tooltips, and how a chart becomes a file."""

from __future__ import annotations

import io

import altair as alt
import numpy as np
import pandas as pd

# what is too much for a browser is decided chart by chart
alt.data_transformers.disable_max_rows()

# Okabe and Ito's colours, which people with any common colour blindness can tell apart; yellow left out
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F", "#8C564B"]
GREY = "#888888"
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]
# lines that colours and dashes together can tell apart
MOST_CURVES = len(COLOURS) * len(DASHES)
SCORE_AXIS = alt.Axis(format=".1f", tickCount=6)
FROM_0_TO_1 = alt.Scale(domain=[0, 1])
INTERVAL = (("low:Q", "95 % from", ".4f"), ("high:Q", "95 % to", ".4f"))
"""Lines of a tooltip that tell a 95 % interval."""

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


def tooltips(*lines: tuple[str, ...]) -> list[alt.Tooltip]:
    """A tooltip's lines: (field, what it is) or (field, what it is, format)."""
    return [alt.Tooltip(line[0], title=line[1], format=line[2] if len(line) > 2 else alt.Undefined) for line in lines]


def layer_axis() -> alt.X:
    """Layers from 0 on the x axis."""
    return alt.X("layer:Q", title="Layer", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False))


def names_axis(order: list[str], limit: int, **axis: object) -> alt.Y:
    """A row per label, all of them named. limit: of a name's width, in pixels. axis: more of its settings."""
    settings = {"labelLimit": limit, "labelOverlap": False, "labelFlush": False, **axis}
    return alt.Y("label:N", sort=order, title=None, axis=alt.Axis(**settings))


def colours_of(labels: list[str], field: str, title: str, columns: int = 3, limit: int = 360) -> alt.Color:
    """A colour per label, with a legend below the chart."""
    return alt.Color(
        f"{field}:N",
        sort=labels,
        title=title,
        scale=alt.Scale(domain=labels, range=[COLOURS[k % len(COLOURS)] for k in range(len(labels))]),
        legend=alt.Legend(orient="bottom", columns=columns, labelLimit=limit, symbolOpacity=1),
    )


def around(*columns: pd.Series | None) -> alt.Scale:
    """A scale with a little room around all values."""
    values = pd.concat([c for c in columns if c is not None and len(c)]).astype(float)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    room = 0.05 * (high - low) or 0.05
    return alt.Scale(domain=[low - room, high + room], nice=False, zero=False)


def lines(base: alt.Chart, size: int = 28, **settings: object) -> alt.Chart:
    """Lines with a dot at every value."""
    return base.mark_line(point=alt.OverlayMarkDef(size=size), **settings)


def diamonds(table: pd.DataFrame) -> alt.Chart:
    """Marks of the best values."""
    return alt.Chart(table).mark_point(shape="diamond", size=130, filled=True, stroke="black", strokeWidth=0.8)


def chance_rule(chance: float, vertical: bool) -> alt.Chart:
    """A dashed line at the chance level."""
    data = pd.DataFrame({"chance": [chance], "text": [f"chance {chance:.3f}"]})
    axis = alt.X("chance:Q") if vertical else alt.Y("chance:Q")
    rule = alt.Chart(data).mark_rule(strokeDash=[4, 3], color=GREY)
    return rule.encode(axis, tooltip=alt.Tooltip("text:N", title="Chance level"))
