"""Every language's active neurons in one table."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import exports
from neuronxa_core.measures import overlap_tables
from pages.components import exporting
from pages.views.overlap.selection import OverlapSelection, specific_neurons


def show(selection: OverlapSelection) -> None:
    found, pivot = specific_neurons(selection), selection.plan.pivot
    table = overlap_tables.summary_table(selection.counts, selection.criterion, pivot, found)
    st.dataframe(
        table,
        hide_index=True,
        height=min(900, 38 + 35 * len(table)),
        column_config={
            "language": "Code",
            "label": "Language",
            "script": "Script",
            "family": "Family",
            "tokens": st.column_config.NumberColumn("Tokens", format="localized"),
            "active": st.column_config.NumberColumn("Active neurons", format="localized"),
            "active_share": st.column_config.NumberColumn("Share of all", format="percent"),
            "shared_with_pivot": st.column_config.NumberColumn(f"Shared with {pivot}", format="localized"),
            "jaccard_with_pivot": st.column_config.NumberColumn(f"Jaccard with {pivot}, mean", format="%.4f"),
            "specific": "Language-specific (LAPE)",
        },
    )
    exporting.download("CSV", exports.csv_text(table), "overlap.csv", "text/csv")
