"""What all charts share: colours, scales, axes, tooltips, and how a chart becomes a file."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

# what is too much for a browser is decided chart by chart
alt.data_transformers.disable_max_rows()

# Okabe and Ito's colours, which people with any common colour blindness can tell apart; yellow left out
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F", "#8C564B"]
GREY, LIGHT_GREY = "#7A7A7A", "#BBBBBB"
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]
# lines that colours and dashes together can tell apart
MOST_CURVES = len(COLOURS) * len(DASHES)
SCORE_AXIS = alt.Axis(format=".1f", tickCount=6)
FROM_0_TO_1 = alt.Scale(domain=[0, 1])
# pixels: of the smallest plot in which labels of points must not meet, of a label, of its letters and of a title's
PLOT, LABEL_HEIGHT, LABEL_GAP, LETTER, TITLE_LETTER = (420, 330), 12, 8, 6, 8
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


def by_group(values: pd.Series, rest: str = "other") -> tuple[pd.Series, alt.Scale]:
    """Groups to colour by, and their scale: the most frequent have a colour each, in the order of their names.

    All beyond as many as there are colours are `rest`, which is grey.
    """
    values = values.astype(str)
    counts = values[values != rest].value_counts()
    named = sorted(sorted(counts.index, key=lambda name: (-counts[name], name))[: len(COLOURS)])
    shown = values.where(values.isin(named), rest)
    domain = [*named, *([rest] if (shown == rest).any() else [])]
    return shown, alt.Scale(domain=domain, range=[*COLOURS[: len(named)], LIGHT_GREY][: len(domain)])


def around(values: pd.Series, *more: pd.Series | None) -> tuple[float, float]:
    """The ends of an axis with a little room around all values; it ends where shares do if the values are shares.

    more: what is drawn beside the values, such as a band around a line.
    """
    columns = [column.astype(float) for column in (values, *more) if column is not None and len(column)]
    finite = [column[np.isfinite(column)] for column in columns]
    every = pd.concat(finite) if finite else pd.Series(dtype=float)
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    room = 0.05 * (high - low) or 0.05
    low, high = low - room, high + room
    shares = bool(len(columns) and finite[0].between(0, 1).all())
    return (max(low, 0.0), min(high, 1.0)) if shares else (low, high)


def label_places(points: pd.DataFrame, texts: pd.Series, ends: Sequence[tuple[float, float]]) -> pd.DataFrame:
    """Where the labels of points stand, so that none lies on another or on a point, as near to their own as can be.

    points: columns x and y. ends: of the two axes, in whose units the new columns are: `text_x` and `text_y`, where a
    label begins, at the height of its middle, and `lead_x`, the end that is nearer to its point. Labels keep clear of
    each other in every plot of at least PLOT pixels.
    """
    units = np.array([(high - low) / pixels for (low, high), pixels in zip(ends, PLOT, strict=True)])
    at = points[["x", "y"]].to_numpy(float) / units
    low, high = np.array(ends).T / units
    widths = LETTER * texts.str.len().to_numpy()
    boxes = np.hstack([at - 5, at + 5])
    found = at + np.array([LABEL_GAP, 0])
    # a pile's labels spread from its middle, so that they keep its order
    above = np.array([y - np.median(at[np.abs(at[:, 0] - x) < LABEL_HEIGHT, 1]) for x, y in at])
    for k in np.argsort(np.abs(above), kind="stable"):
        width, away = widths[k], LABEL_HEIGHT if above[k] >= 0 else -LABEL_HEIGHT
        tries = [
            (x, y)
            for step in range(PLOT[1] // LABEL_HEIGHT)
            for y in dict.fromkeys((at[k, 1] + step * away, at[k, 1] - step * away))
            for x in (at[k, 0] + LABEL_GAP, at[k, 0] - LABEL_GAP - width)
            if low[0] <= x and x + width <= high[0] and low[1] <= y <= high[1]
        ]
        for x, y in tries:
            box = np.array([x, y - LABEL_HEIGHT / 2, x + width, y + LABEL_HEIGHT / 2])
            if not ((box[:2] < boxes[:, 2:]) & (boxes[:, :2] < box[2:])).all(axis=1).any():
                boxes, found[k] = np.vstack([boxes, box]), (x, y)
                break
    lead = found[:, 0] + np.where(found[:, 0] < at[:, 0], widths, 0)
    return points.assign(text_x=found[:, 0] * units[0], text_y=found[:, 1] * units[1], lead_x=lead * units[0])


def wrapped(text: str, width: int) -> list[str]:
    """A title in lines of so many pixels, in place of one that is cut."""
    return textwrap.wrap(text, max(12, int(width / TITLE_LETTER)))


def selected(**fields: object) -> dict[str, list[dict[str, object]]]:
    """What a selection starts with: the mark of these fields; nothing where one of them is None."""
    return {} if None in fields.values() else {"value": [fields]}


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
