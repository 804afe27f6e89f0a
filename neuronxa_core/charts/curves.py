"""A number by layer, a curve per language: for any measure that gives one."""

from __future__ import annotations

import altair as alt
import pandas as pd

from neuronxa_core.charts import theme


def value_curves(table: pd.DataFrame, value: str, name: str, title: str) -> alt.LayerChart:
    """One line per language. table: label, layer, and the column `value`, which `name` says in words."""
    labels = list(dict.fromkeys(table["label"]))
    low, high = min(0.0, table[value].min()), max(1.0, table[value].max())
    base = alt.Chart(table).encode(
        theme.layer_axis(),
        alt.Y(f"{value}:Q", title=name, scale=alt.Scale(domain=[low, high])),
        color=theme.colours_of(labels, "label", "Language", limit=240),
        tooltip=theme.tooltips(("label:N", "Language"), ("layer:Q", "Layer"), (f"{value}:Q", name, ".4f")),
    )
    return (base.mark_line() + base.mark_circle(size=28)).properties(title=title, height=460)
