"""NeuronXA Explorer: `streamlit run streamlit_app.py`."""

import streamlit as st

from pages import shared

st.set_page_config(page_title="NeuronXA Explorer", page_icon=shared.icon(), layout="wide")
shared.open_experiment()
page = st.navigation(
    [
        st.Page("pages/run.py", title="Run", icon=":material/play_arrow:"),
        st.Page("pages/alignment.py", title="Alignment", icon=":material/insights:", default=True),
        st.Page("pages/overlap.py", title="Overlap", icon=":material/join_inner:"),
        st.Page("pages/microscope.py", title="Microscope", icon=":material/biotech:"),
    ],
    position="top",
)
shared.enter(page.title)
page.run()
