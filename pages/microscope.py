"""Microscope: one neuron, in every language, in its top-activating sentences, and token by token."""

import streamlit as st

from neuronxa_core.measures import activation_counts, neuron_tables
from neuronxa_core.measures.activation_counts import ActivationCounts
from pages.components import cached, selection
from pages.components.kept import kept
from pages.views.microscope import find, languages, sentences, text
from pages.views.microscope.selection import NeuronSelection


@kept()
def start_neuron(key: str, _activity: ActivationCounts) -> tuple[int, int]:
    return neuron_tables.most_specific(_activity)


opened = selection.open_page("Microscope")
whole, plan = opened.whole, opened.plan
with selection.recompute_if_corrupt(plan):
    activity = cached.activity_of(plan)
start = start_neuron(activation_counts.counts_key(plan), activity)
with st.sidebar:
    layer, neuron = (
        int(st.number_input(name, 0, count - 1, value, key=key, bind="query-params"))
        for name, count, value, key in (
            ("Layer", plan.info.layers, start[0], "neuron_layer"),
            ("Neuron", plan.info.neurons, start[1], "neuron_number"),
        )
    )
chosen = NeuronSelection(opened.experiment, whole, plan, activity, layer, neuron)
with st.expander("Find a neuron", icon=":material/search:"), selection.recompute_if_corrupt(plan):
    find.show(chosen)
st.subheader(f"Neuron {neuron} of layer {layer}", anchor=False)
with selection.recompute_if_corrupt(plan):
    languages.show(chosen)
sentences.show(chosen)
text.show(chosen)
st.caption(
    "One neuron: how often it is active in each language, and on which words. What activates it in these sentences "
    "suggests what it is for; it does not prove that the model uses it for that, which *Overlap* → *Ablation* can test."
)
