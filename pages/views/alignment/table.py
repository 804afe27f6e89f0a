"""All scores in one table."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import exports
from neuronxa_core.demo import training
from neuronxa_core.measures import alignment_tables
from pages.components import exporting
from pages.components.selection import Selection
from pages.components.wording import command_line


def show(selection: Selection) -> None:
    by_state = {state: selection.alignment(state) for state in selection.experiment.states_compared}
    chosen, plan = selection.experiment, selection.plan
    table = alignment_tables.summary_table(plan, selection.store, by_state, chosen.state, chosen.layers)
    if plan.source.kind == "demo":
        table = training.with_shares(table)
    number = st.column_config.NumberColumn(format="%.4f")
    st.dataframe(
        table,
        hide_index=True,
        height=min(900, 38 + 35 * len(table)),
        column_config={
            "language": "Code",
            "label": "Language",
            "script": "Script",
            "family": "Family",
            "NASCA": number,
            "NAVCA": number,
            "MEXA": number,
            "MEXA as published": number,
            "peak_layer": f"Peak layer ({selection.method})",
            "training_share": st.column_config.NumberColumn(
                "Training, share of its own messages",
                format="%.2f",
                help="How many of this language's messages the model was trained on: 1 is all that there were.",
            ),
            "tokens_per_sentence": st.column_config.NumberColumn("Tokens per sentence", format="%.1f"),
            "sentences_cut": "Sentences cut",
        },
    )
    exporting.download("CSV", exports.csv_text(table), "alignment.csv", "text/csv")
    st.caption(
        "By layer, with all token poolings, from the command line: "
        f"`python -m neuronxa_core score {command_line(chosen)} --states {' '.join(chosen.states_compared)}`"
    )
