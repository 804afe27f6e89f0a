"""Whether rival definitions of a language's neurons name the same ones."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import neuron_agreement
from neuronxa_core.measures.neuron_agreement import NeuronAgreement
from pages.components import exporting
from pages.components.cached import table_of
from pages.components.progress import ready
from pages.components.wording import label
from pages.views.overlap.selection import OverlapSelection

SAYS = {
    "LAPE": "lowest entropy of the activation probability over languages",
    "λ-entropy": "the same, in favour of neurons of a high probability",
    "Highest AP, Lowest AP": "how well the mean of |a| in a sentence detects the language (Kojima et al. take both "
    "ends, of the signed mean)",
    "Impact": "|a| times the norm of the neuron's output weights, high in every sentence (after PLND, Zhao et al.)",
}


def show(selection: OverlapSelection) -> None:
    if len(selection.plan.corpus.usable) < 4:
        st.info("Definitions are compared on halves of the sentences, too, which takes at least 4 sentences.")
        return
    first, second = st.columns(2, vertical_alignment="bottom")
    share = first.slider(
        "Neurons per language, % of all neurons", 0.1, 5.0, 1.0, 0.1, key="definitions_share", bind="query-params"
    )
    gate = selection.plan.info.gated and second.toggle(
        "LAPE on gate, too",
        True,
        key="definitions_gate",
        help="LAPE's published definition of a neuron. Its states need one more pass.",
    )
    measure = NeuronAgreement(selection.plan, share / 100, gate=bool(gate))
    if not ready(measure, "Compare definitions", "definitions_run", type="primary", icon=":material/play_arrow:"):
        return
    table = table_of(measure)
    st.markdown(neuron_agreement.agreement_sentence(table))
    means = neuron_agreement.summary(table)
    chart = charts.definitions(neuron_agreement.drawn(means), "Agreement of definitions; diagonal: two halves")
    st.altair_chart(chart, width="content")
    st.caption(" ".join(f"*{name}*: {says}." for name, says in SAYS.items()))
    own = means[means["x"] == means["y"]].drop(columns=["y", "highest"])
    number = st.column_config.NumberColumn(format="%.3f")
    columns = {"x": "Definition", "jaccard": "Two halves", "shuffled": "Halves, made-up languages"}
    columns |= {"null": "Made-up languages: as high", "other_languages": "Shared with other languages"}
    named = own.replace({"x": neuron_agreement.LABELS}).rename(columns=columns)
    st.dataframe(named, hide_index=True, column_config=dict.fromkeys(list(columns.values())[1:], number))
    labelled = table.assign(label=[label(code) for code in table["language"]])
    exporting.downloads(labelled, chart, "neuron-definitions")
