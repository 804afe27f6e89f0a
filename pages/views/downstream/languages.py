"""The languages with both an alignment and a score, and whether they are enough."""

from __future__ import annotations

import streamlit as st

from neuronxa_core.statistics import correlation
from pages.components import exporting, wording
from pages.components.selection import recompute_if_corrupt
from pages.views.downstream.selection import TaskSelection


def check_enough(selection: TaskSelection) -> None:
    """End the page where too few languages are there for a correlation."""
    count = len(selection.points.languages)
    if count < correlation.FEWEST:
        show(selection)
        st.warning(
            f"A correlation needs at least {correlation.FEWEST} languages, and {count} have both an alignment and a "
            "score. Choose more languages in *Run*, or scores of more languages."
        )
        st.stop()


def show(selection: TaskSelection) -> None:
    """What is compared, and what was not used."""
    count = len(selection.points.languages)
    title = f"{wording.counted(count, 'language')} with both alignment and a score"
    few = correlation.FEWEST <= count < correlation.FEW
    title += "; with so few, a single one can decide the result" if few else ""
    with st.expander(title, icon=":material/warning:" if few else ":material/join:"):
        for sentence in selection.task.unmatched:
            st.caption(wording.safe(sentence))
        if selection.task.source:
            st.caption(wording.safe(f"Source: {selection.task.source}"))
        with recompute_if_corrupt(selection.plan):
            exporting.table(selection.joined, "downstream")
