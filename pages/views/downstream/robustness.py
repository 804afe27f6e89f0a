"""Robustness: what is left of the correlation with something held constant, and without one language."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from neuronxa_core.measures import task_tables
from neuronxa_core.statistics import correlation, regression
from pages.components import cached, exporting, wording
from pages.views.downstream import own_table
from pages.views.downstream.selection import TaskSelection

SAYS = (
    "What is left of the correlation when training share, tokens per sentence, script or a column of your own is held "
    "constant, and which language it depends on most. What was not measured can still explain it."
)


def with_controls(selection: TaskSelection) -> tuple[pd.DataFrame, dict[str, str]]:
    """The correlation, plain and with each control held constant; see `task_tables.held_constant`."""
    controls = task_tables.controls_of(cached.tokens_of(selection.plan), selection.known)
    return task_tables.held_constant(selection.pooled(), selection.points.y, controls)


def show(selection: TaskSelection) -> None:
    points, x = selection.points, selection.pooled()
    table, refused = with_controls(selection)
    three = st.column_config.NumberColumn(format="%.3f")
    plain, *controlled = table["r"]
    if controlled:
        st.markdown(
            f"The correlation of **{plain:.3f}** becomes **{min(controlled):.3f}** to **{max(controlled):.3f}** with "
            "a control held constant."
        )
    st.markdown("**Correlation with something held constant**")
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            **dict.fromkeys(("r", "rho"), three),
            "held constant": "Held constant",
            "low": st.column_config.NumberColumn("95 % from", format="%.3f"),
            "high": st.column_config.NumberColumn("to", format="%.3f"),
            "p": st.column_config.NumberColumn(format="%.2g"),
        },
    )
    for name, why in refused.items():
        st.caption(wording.safe(f"{name}: {why}"))
    own_table.show(selection)
    st.markdown("**Without one language**")
    if len(points.languages) <= correlation.FEWEST:
        st.caption(f"To leave one out would leave fewer than {correlation.FEWEST} languages.")
        return
    influence = regression.leave_one_out(x, points.y, points.languages)
    influence.insert(1, "label", influence["language"].map(wording.label))
    exporting.table(
        influence,
        "leave-one-out",
        height=320,
        columns={
            "label": "Without",
            "r": st.column_config.NumberColumn("r without it", format="%.3f"),
            "change": st.column_config.NumberColumn("Change of r", format="%+.3f"),
            "cooks_distance": st.column_config.NumberColumn("Cook's distance", format="%.3f"),
        },
    )
