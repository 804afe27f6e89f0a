"""Run: choose model, corpus and languages, see what is cached, start the extraction and watch it."""

import streamlit as st

from neuronxa_core.experiment import Experiment
from pages.access import host
from pages.components import cached, messages, process, session, wording
from pages.views.run import corpus, findings, kept, model, status
from pages.views.run.selection import RunSelection

process.services()  # for somebody who may use the app
selection = RunSelection(session.entered_with(), host.host_settings())
st.title("Run")
st.caption(
    "Choose a language model and parallel sentences. Each sentence is read once; the states of every layer's "
    "feed-forward neurons are kept on disk, so whatever was computed is never computed again."
)
left, right = st.columns(2, gap="large")
with left, st.container(border=True):
    of_model = model.show(selection)
with right, st.container(border=True):
    of_corpus = corpus.show(selection)
with st.container(border=True):
    columns = st.columns(3)
    reading = {
        "state": selection.choice(columns[0].selectbox, "Representation", "state", format_func=wording.STATE_NAMES.get),
        "pooling": selection.choice(
            columns[1].selectbox, "Token pooling", "pooling", format_func=wording.POOLING_NAMES.get
        ),
        "layers": selection.choice(columns[2].selectbox, "Layer aggregation", "layers"),
    }
    reading["kept"] = kept.show(selection)
if of_model is None or of_corpus is None:
    st.stop()
with messages.errors_shown():
    chosen = Experiment(**of_model, **of_corpus, **reading)
    plan = cached.plan_for(chosen)
findings.show(plan.corpus)
status.show(chosen, plan)
if chosen != session.experiment():
    session.choose(chosen)
