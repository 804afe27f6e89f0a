"""Your own text: a typed sentence, and its translation, and the neurons that are active in them."""

from __future__ import annotations

from functools import partial

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.corpora import parallel
from neuronxa_core.measures import neuron_tables, text_neurons
from neuronxa_core.models import token_text
from neuronxa_core.states import per_token
from neuronxa_core.states.per_token import TextStates, TokenActivations
from neuronxa_core.states.planning import Plan
from pages.components import exporting, shading
from pages.components.kept import kept
from pages.components.process import services
from pages.components.selection import recompute_if_corrupt
from pages.views.microscope import loading
from pages.views.microscope.find import neuron_list
from pages.views.microscope.selection import NeuronSelection


@kept("Reading the text …")
def _states_of(key: str, neuron: str, texts: tuple[str, ...], _plan: Plan) -> list[TextStates]:
    with services().pool.acquire(_plan, patience=loading.PATIENCE) as loaded:
        return per_token.text_activations(loaded, texts, neuron)


@st.fragment
def show(selection: NeuronSelection) -> None:
    with recompute_if_corrupt(selection.plan), loading.waiting_for_model():
        _show(selection)


def _show(selection: NeuronSelection) -> None:
    plan = selection.plan
    st.subheader("Your own text", anchor=False)
    with st.form("free_text", border=False):
        columns = st.columns(2)
        first = columns[0].text_area("A sentence", key="text_x", height=80, max_chars=2000)
        second = columns[1].text_area("Its translation (optional)", key="text_y", height=80, max_chars=2000)
        st.form_submit_button("Read", icon=":material/arrow_forward:")
    texts = tuple(text for text in map(parallel.normalise, (first, second)) if text)
    if not texts:
        st.caption("Type a sentence, alone or with its translation, and see which neurons are active in it.")
        return
    if not loading.may_load(plan, "text"):
        return
    states = _states_of(f"{plan.identity}-{plan.dtype}", selection.experiment.neuron, texts, plan)
    _show_tokens(selection, states)
    if len(states) == 1:
        _show_strongest(states[0])
    else:
        _show_shared(*states)


def _show_tokens(selection: NeuronSelection, states: list[TextStates]) -> None:
    layer, neuron = selection.layer, selection.neuron
    tokenizer = token_text.tokenizer_of(selection.plan.source, selection.plan.identity)
    own = [TokenActivations(one.text, one.ids, one.values[layer, :, neuron], one.truncated) for one in states]
    units = [token_text.align_tokens_to_text(tokenizer, one.text, one.ids) for one in own]
    scale = neuron_tables.largest_activation(own, units)
    st.caption(f"Neuron {neuron} of layer {layer} on each token")
    shaded = [
        shading.shaded(parts, one.values, token_text.token_strings(tokenizer, one.ids), code="", scale=scale)
        for one, parts in zip(own, units, strict=True)
    ]
    st.html(shading.legend(scale) + "".join(shaded))


def _show_strongest(states: TextStates) -> None:
    st.caption("The neurons with the largest mean |a| in it")
    neuron_list(
        text_neurons.strongest(states),
        "text-strongest",
        mean_abs=st.column_config.NumberColumn("Mean |a|", format="%.4f"),
        share_active=st.column_config.NumberColumn("Share of active tokens", format="%.2f"),
        peak=st.column_config.NumberColumn("Peak a", format="%.4f"),
        peak_token="at token",
    )


def _show_shared(x: TextStates, y: TextStates) -> None:
    threshold = st.slider("Active in more than this share of the tokens, %", 0, 95, 50, key="text_share") / 100
    table = text_neurons.shared_neurons(x, y, threshold=threshold)
    chart = charts.text_overlap(table, "Neurons that are active in both texts, by layer")
    st.altair_chart(chart)
    st.caption("The neurons that are strongest in both")
    size = partial(st.column_config.NumberColumn, format="%.4f")
    share = partial(st.column_config.NumberColumn, format="percent")
    neuron_list(
        text_neurons.strongest_shared(x, y, threshold=threshold),
        "text-shared",
        weaker=size("Weaker mean |a|"),
        mean_abs_x=size("Mean |a| in the first"),
        mean_abs_y=size("in the second"),
        share_active_x=share("Active tokens in the first"),
        share_active_y=share("in the second"),
    )
    exporting.downloads(table, chart, "text-overlap")
