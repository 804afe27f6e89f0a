"""The tab's picture."""

from __future__ import annotations

import functools

from PIL import Image, ImageDraw


@functools.cache
def icon() -> Image.Image:
    """The tab's picture, two languages that meet in a neuron. Streamlit's own icons need a network."""
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    for start, colour in (((12, 14), "#0072B2"), ((12, 50), "#D55E00")):
        draw.line([start, (48, 32)], fill=colour, width=5)
        draw.ellipse([start[0] - 9, start[1] - 9, start[0] + 9, start[1] + 9], fill=colour)
    draw.ellipse([37, 21, 59, 43], fill="#009E73")
    return picture
