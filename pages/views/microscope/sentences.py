"""Top-activating sentences, in chosen languages side by side, token by token."""

from __future__ import annotations

import streamlit as st

from neuronxa_core.measures import neuron_rankings, neuron_tables, token_activations
from neuronxa_core.models import token_text
from pages.components import exporting, shading, wording
from pages.components.process import services
from pages.components.selection import recompute_if_corrupt
from pages.views.microscope import loading
from pages.views.microscope.selection import NeuronSelection

VALUES = {
    "nav": ("mean size |a| (NAV)", "mean size |a| of its tokens"),
    "nas": ("share of active tokens (NAS)", "share of its tokens with a > 0"),
}


@st.fragment
def show(selection: NeuronSelection) -> None:
    with recompute_if_corrupt(selection.plan), loading.waiting_for_model():
        _show(selection)


def _show(selection: NeuronSelection) -> None:
    plan, store, layer, neuron = selection.plan, selection.store, selection.layer, selection.neuron
    st.subheader("Top-activating sentences", anchor=False)
    columns = st.columns([2, 1, 1])
    shown = columns[0].multiselect(
        "Side by side",
        selection.codes,
        neuron_tables.contrasting_languages(selection.activity, plan.pivot, layer, neuron),
        format_func=wording.label,
        key="microscope_languages",
        max_selections=12,
    )
    state = columns[1].selectbox(
        "Ranked by", list(VALUES), key="microscope_state", format_func=lambda name: VALUES[name][0]
    )
    count = columns[2].number_input("Sentences per language", 1, 10, 1, key="microscope_count")
    if not shown:
        st.info("Choose at least one language.")
        return
    values = neuron_rankings.neuron_values(plan, store, shown, layer, neuron, state)
    by_row = neuron_tables.top_sentences(values, int(count))
    if not loading.may_load(plan, "sentences"):
        return
    with st.spinner("Reading tokens …"):
        read = {}
        for code in shown:
            texts = [plan.corpus.sentences(code)[row] for row in by_row]
            read[code] = token_activations.activations_of(
                plan, store, services().pool, code, texts, layer, neuron, patience=loading.PATIENCE
            )
    tokenizer = token_text.tokenizer_of(plan.source, plan.identity)
    units = {
        code: [token_text.align_tokens_to_text(tokenizer, one.text, one.ids) for one in read[code]] for code in shown
    }
    scale = max(neuron_tables.largest_activation(read[code], units[code]) for code in shown)
    st.caption(f"Beside each language the sentence's {VALUES[state][1]}; point at a token for its exact value.")
    st.html(shading.legend(scale))
    for k, (row, strongest_in) in enumerate(by_row.items()):
        rows = [
            shading.row(
                f"{wording.label(code)} · {values[code][row]:.4f}",
                shading.shaded(
                    units[code][k],
                    read[code][k].values,
                    token_text.token_strings(tokenizer, read[code][k].ids),
                    code=code,
                    scale=scale,
                ),
            )
            for code in shown
        ]
        named = ", ".join(map(wording.label, strongest_in))
        line = plan.corpus.line(row)
        where = "" if line == row + 1 else f"line {line} of the corpus · "
        st.html(shading.heading(f"Sentence {row + 1}", f"{where}among the strongest in {named}") + "".join(rows))
    with st.expander("Table and files", icon=":material/table:"):
        table = neuron_tables.sentence_table(plan.corpus, by_row, values, read)
        exporting.table(table, f"tokens-{layer}-{neuron}")
