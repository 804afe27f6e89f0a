"""Items: whether aligned sentences are the ones answered right, within each language and over all."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import item_alignment
from neuronxa_core.measures.item_alignment import ItemAlignment
from pages.access import host
from pages.components import exporting, wording
from pages.components.cached import table_of
from pages.components.progress import ready
from pages.views.downstream.selection import TaskSelection

SAYS = (
    "Whether the sentences that are aligned are the ones answered right, where a task's items are the corpus's lines: "
    "odds ratios within each language, pooled by Mantel and Haenszel, and permutations of the sentences."
)


def show(selection: TaskSelection) -> None:
    allowed, how = host.host_settings(), selection.experiment
    if allowed.scores.folders == ():
        st.info("The host of this app does not let visitors name files, which this view needs.")
        return
    columns = st.columns([3, 1, 1])
    path = columns[0].text_input(
        "Items: sample logs or a CSV",
        key="items_data",
        placeholder="/results/lm-eval or items.csv",
        help="samples_*.jsonl of lm_eval --log_samples, or a folder of them; or a CSV with language, line and correct.",
    )
    metric = columns[1].text_input("Metric", key="items_metric", placeholder="acc", help="Of sample logs.").strip()
    layers = ["best", *range(selection.plan.info.layers_of(selection.experiment.state))]
    layer = columns[2].selectbox("Layer", layers, key="items_layer", help="Best: where languages are aligned best.")
    if not path.strip():
        st.caption("Name a file or folder to go on.")
        return
    data = str(allowed.score_source(path))
    measure = ItemAlignment(
        selection.plan, data, metric or None, None if layer == "best" else layer, how.state, how.pooling
    )
    if not ready(measure, "Compare the items", "items_run"):
        return
    table = table_of(measure)
    st.markdown(wording.safe(item_alignment.verdict(table)))
    table.insert(1, "label", [wording.label(code) for code in table["language"]])
    drawn = table.dropna(subset="odds_ratio")
    if len(drawn):
        title = f"{measure.items.what}: odds ratios by language at layer {table['layer'].iloc[0]}"
        chart = charts.odds_ratios(drawn, item_alignment.POOLED, title)
        st.altair_chart(chart)
        exporting.downloads(table, chart, "items")
    left = len(table) - len(drawn)
    if left:
        which = wording.counted(left, "row has", "rows have")
        st.caption(f"{which} no odds ratio, as all items or none are aligned, or right.")
    for note in measure.notes:
        st.caption(wording.safe(note))
