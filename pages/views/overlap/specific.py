"""Language-specific neurons by LAPE."""

from __future__ import annotations

import json
from dataclasses import replace

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import overlap_tables
from neuronxa_core.measures.lape_robustness import LapeRobustness, robustness_sentence
from neuronxa_core.wording import some_of
from pages.components import cached
from pages.components.exporting import download, downloads, neuron_list
from pages.components.session import choose, experiment
from pages.components.wording import counted, label
from pages.views.overlap.selection import OverlapSelection, specific_neurons

# languages that a heat map names at its side
MOST_ROWS = 400


def show(selection: OverlapSelection) -> None:
    found = specific_neurons(selection)
    members = found.members.sum(axis=1)
    st.caption(
        f"{counted(len(members), 'neuron')}: dropped below a probability of {found.drop_below:.4f}, assigned above "
        f"{found.assign_above:.4f}. {int((members > 1).sum()):,} belong to several languages, "
        f"{int((members == 0).sum()):,} to none."
    )
    if not len(members):
        st.info("No neuron is left; raise the share or lower the percentile below which neurons are dropped.")
        _gate(selection)
        return
    table = overlap_tables.specific_table(found)
    codes = list(dict.fromkeys(table["language"]))
    chart = None
    if codes:
        drawn = table.head(MOST_ROWS * selection.plan.info.layers)
        chart = charts.specific_neurons(drawn, "Language-specific neurons by language and layer")
        st.altair_chart(chart, width="content")
        if len(codes) > MOST_ROWS:
            st.caption(f"The {MOST_ROWS} languages with the most of them are drawn; the table has all.")
        if none := [label(code) for code in selection.codes if code not in codes]:
            st.caption(f"None for {some_of(none)}.")
    _gate(selection)
    if len(selection.plan.corpus.usable) < 4:
        st.caption("A check against halves of the sentences and shuffled languages takes at least 4 sentences.")
    elif st.toggle("Check against halves of the sentences and shuffled languages", key="lape_check"):
        choices = [st.session_state[f"lape_{name}"] for name in ("share", "drop", "assign")]
        measure = LapeRobustness(selection.plan, choices[0] / 100, *map(float, choices[1:]))
        st.markdown(robustness_sentence(cached.table_of(measure)))
    only = st.selectbox(
        "Neurons of", [None, *codes], format_func=lambda code: label(code) if code else "all", key="lape_of"
    )
    neurons = found.table()
    if only:
        neurons = neurons[found.members[:, found.languages.index(only)]].reset_index(drop=True)
    neuron_list(
        neurons,
        "lape-neurons",
        entropy=st.column_config.NumberColumn("Entropy, nats", format="%.4f"),
        languages="Assigned to",
        **{code: st.column_config.NumberColumn(code, format="%.3f") for code in found.languages},
    )
    document = overlap_tables.specific_document(selection.plan, found)
    mime = "application/json"
    with st.container(horizontal=True):
        download("JSON", lambda: json.dumps(document, ensure_ascii=False, indent=1), "lape.json", mime)
        said = "For every language a list per layer of neuron numbers, from 0."
        download("Masks (JSON)", lambda: json.dumps(found.masks()), "lape-masks.json", mime, help=said)
    if chart is not None:
        downloads(table.drop(columns="language"), chart, "lape-by-layer")


def _gate(selection: OverlapSelection) -> None:
    """Whose definition of a neuron this is, and a way to LAPE's own."""
    if selection.experiment.neuron == "product":
        st.caption("LAPE's own definition of a neuron is *gate*, not *product*; in a plain network both are one.")
        gate = replace(experiment(), neuron="gate")
        st.button("Use LAPE's definition (gate)", key="lape_gate", on_click=choose, args=(gate,))
