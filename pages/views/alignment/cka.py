"""Linear CKA with the pivot by layer: whether two languages arrange the same sentences alike, neighbours or not."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures.cka import CKA, conclusion
from pages.components.cached import table_of
from pages.components.exporting import downloads
from pages.components.progress import ready
from pages.components.selection import Selection
from pages.components.wording import label, safe
from pages.views.alignment.choices import languages_drawn


def show(selection: Selection) -> None:
    codes = languages_drawn(selection, "cka")
    measure = CKA(selection.plan, selection.experiment.state, selection.experiment.pooling)
    if codes and ready(measure, "Compute", "cka_run"):
        table = table_of(measure)
        st.markdown(safe(conclusion(table, label(selection.plan.pivot), label)))
        drawn = table[table["language"].isin(codes)].assign(label=lambda rows: rows["language"].map(label))
        chart = charts.value_curves(drawn, "cka", "Linear CKA", "Linear CKA with the pivot by layer, debiased")
        st.altair_chart(chart)
        downloads(table, chart, "cka")
