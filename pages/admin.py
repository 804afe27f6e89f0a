"""Admin: who runs what, what the cache holds and whether it is whole, loaded models, memory."""

import streamlit as st

from pages.access import people
from pages.components import messages, process
from pages.views.admin import cache, jobs, memory

with messages.errors_shown():
    services = process.services()
me = people.person()

st.title("Admin")
st.caption(
    "What this server does and keeps. Deleting never loses a result for good: what is needed again is computed again."
)
memory.show_machine(services, me)
st.subheader("Jobs", anchor=False)
jobs.show(services, me)
st.subheader("Cache", anchor=False)
with messages.errors_shown():
    cache.show(services, me)
st.subheader("Models in memory", anchor=False)
memory.show_models(services, me)
