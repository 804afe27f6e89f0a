"""The model that reads tokens: loaded where it is small or asked for, waited for where it is busy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from neuronxa_core.errors import ModelBusy
from neuronxa_core.states.planning import Plan
from pages.components import messages, wording
from pages.components.process import services

# a model of fewer parameters is loaded without being asked for
SMALL_MODEL = 1_000_000_000
# seconds that a page waits for a model which someone else uses
PATIENCE = 2.0


def may_load(plan: Plan, part: str) -> bool:
    """Whether the model's weights may be read now: it is small or there already, or someone asked for it."""
    key = f"load-{plan.source.location}"
    if services().pool.holds(plan) or plan.info.parameters < SMALL_MODEL or st.session_state.get(key):
        return True
    st.button(
        "Load the model and read the tokens",
        icon=":material/memory:",
        key=f"{key}-{part}",
        on_click=lambda: st.session_state.update({key: True}),
    )
    st.caption(
        wording.said(f"{plan.info.name} has {plan.info.parameters / 1e9:.1f} billion parameters and is not loaded.")
    )
    return False


@contextmanager
def waiting_for_model() -> Iterator[None]:
    """Where the model is busy, end what is shown with a word on that, and look again every few seconds."""
    try:
        yield
    except ModelBusy as busy:
        _look_again(str(busy))


@st.fragment(run_every=3.0)
@messages.errors_shown()
def _look_again(message: str) -> None:
    st.info(message, icon=":material/hourglass_top:")
    if not services().pool.busy:
        st.rerun()
