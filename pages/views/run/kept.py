"""Which states a run keeps on disk at once."""

from __future__ import annotations

import streamlit as st

from neuronxa_core.experiment import CHOICES, ENTRIES
from pages.views.run.selection import RunSelection


def show(selection: RunSelection) -> tuple[str, ...]:
    """The states that are kept, as `<state>_<pooling>`."""
    before, columns = selection.before.kept, st.columns([2, 1], vertical_alignment="bottom")
    states = columns[0].multiselect(
        "Representations kept on disk",
        CHOICES["state"],
        [state for state in CHOICES["state"] if f"{state}_weighted" in before],
        key="run_kept",
        format_func=str.upper,
        help="NAS, with how often each neuron is active, is always kept, and what is chosen above. What a view needs "
        "beyond that takes one more pass, later.",
    )
    every = columns[1].checkbox(
        "Keep every token pooling now", any(not name.endswith("weighted") for name in before), key="run_poolings"
    )
    poolings = CHOICES["pooling"] if every else ("weighted",)
    chosen = {f"{state}_{pooling}" for state in ("nas", *states) for pooling in poolings}
    return tuple(name for name in ENTRIES if name in chosen)
