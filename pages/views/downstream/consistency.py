"""Consistency: whether the model answers alike in two languages, and whether alignment goes with it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.all_pairs import AllPairs
from neuronxa_core.measures.consistency import Consistency
from neuronxa_core.measures.pair_correlation import pair_correlation
from pages.access import host
from pages.components import exporting, wording
from pages.components.cached import results_of, table_of
from pages.components.progress import ready
from pages.views.downstream.selection import TaskSelection

SAYS = (
    "Whether the model ranks the same answers first in two languages (RankC on BMLAMA's files), and whether it does so "
    "where it aligns them."
)


def show(selection: TaskSelection) -> None:
    allowed = host.host_settings()
    if allowed.scores.folders == ():
        st.info("The host of this app does not let visitors name folders, which this view needs.")
        return
    columns = st.columns([3, 1, 1])
    path = columns[0].text_input(
        "Folder of BMLAMA's files", key="consistency_data", placeholder="/data/BMLAMA53", help="A .tsv per language."
    )
    prompts = columns[1].number_input("First prompts", 0, None, 0, key="consistency_prompts", help="0 for all.")
    reduce = columns[2].selectbox("Score over tokens", ["mean", "sum"], key="consistency_reduce")
    if not path.strip():
        st.caption("Name a folder to go on.")
        return
    measure = Consistency(selection.plan, str(allowed.score_source(path)), (), int(prompts) or None, reduce)
    if not ready(measure, "Rank the candidates", "consistency_run"):
        return
    table, own = table_of(measure), measure.by_language(results_of(measure))
    codes = own["language"].tolist()
    values = pd.DataFrame(np.eye(len(codes)), codes, codes)
    for row in table.itertuples():
        values.loc[row.language_x, row.language_y] = values.loc[row.language_y, row.language_x] = row.rankc
    chart = charts.language_matrix(
        values.to_numpy(),
        codes,
        [wording.label(code) for code in codes],
        measure="RankC",
        title=f"RankC of every pair of languages; {table['rankc_chance'].iloc[0]:.2f} by chance",
    )
    st.altair_chart(chart)
    own.insert(1, "label", [wording.label(code) for code in codes])
    st.altair_chart(charts.accuracies(own, "Share of right answers by language; grey marks: chance"))
    three = st.column_config.NumberColumn(format="%.3f")
    st.dataframe(own, hide_index=True, column_config={"accuracy": three, "chance": three})
    exporting.downloads(table, chart, "consistency")
    _with_alignment(selection, table)


def _with_alignment(selection: TaskSelection, table: pd.DataFrame) -> None:
    """How the alignment of pairs goes with their RankC."""
    how, plan = selection.experiment, selection.plan
    pairs = AllPairs(plan, how.state, how.pooling)
    if not ready(pairs, "Correlate with the alignment of all pairs", "consistency_pairs"):
        return
    try:
        found = pair_correlation(table_of(pairs), table, plan.pivot, how.layers)
    except ExperimentError as error:
        st.caption(wording.safe(f"Not correlated with alignment: {error}"))
        return
    st.markdown(wording.safe(found.conclusion(wording.label(plan.pivot))))
    for note in found.notes:
        st.caption(wording.safe(note))
    exporting.table(found.table, "alignment-and-consistency")
