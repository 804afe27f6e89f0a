"""Memory, disk and the cache's size in one row, and the models in memory."""

from __future__ import annotations

import logging

import streamlit as st

from neuronxa_core.errors import NeuronXAError
from neuronxa_core.exports import harmless_table
from neuronxa_core.host import cache_report
from pages.access.people import Person
from pages.components import messages, wording
from pages.components.process import Services
from pages.views.admin.columns import COLUMNS, NO_RIGHTS

log = logging.getLogger(__name__)


def show_machine(services: Services, me: Person) -> None:
    """What is free and used of the cache, the disk and each memory."""
    store = services.store
    with messages.errors_shown():
        used, free = store.size(), store.free()
    figures = [
        ("Cache", used, f"of at most {wording.size(store.size_limit)}"),
        ("Disk", free, f"free below {store.folder}" if me.manages else "free"),
    ]
    for memory in cache_report.memory():
        rest = f"free of {wording.size(memory.total)}; {wording.size(memory.own)} used by this app"
        figures.append(("Memory" if memory.name == "host" else memory.name, memory.free, rest))
    for place, (name, value, rest) in zip(st.columns(len(figures)), figures, strict=True):
        place.metric(name, wording.size(value))
        place.caption(wording.safe(rest))


def show_models(services: Services, me: Person) -> None:
    """Loaded models, and a button that frees them."""
    table = cache_report.loaded_models(services.pool)
    if table.empty:
        st.caption("No model is loaded.")
        return
    st.dataframe(
        harmless_table(table.assign(bytes=table["bytes"].map(wording.size))),
        hide_index=True,
        column_config=COLUMNS | {"bytes": "Weights"},
    )
    reason = "The next run loads its model again." if me.manages else NO_RIGHTS
    if st.button("Free the memory", icon=":material/eject:", disabled=not me.manages, help=reason):
        try:
            services.pool.clear()
        except NeuronXAError as busy:
            st.warning(wording.said(str(busy)))
        else:
            log.info("%s freed the models in memory", me.name)
            st.rerun()
