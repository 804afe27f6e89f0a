"""NeuronXA Explorer: `streamlit run streamlit_app.py`."""

import streamlit as st

from pages import shared

st.set_page_config(page_title="NeuronXA Explorer", page_icon=shared.icon(), layout="wide")
shared.open_experiment()
page = shared.navigation()
shared.enter(page.title)
page.run()
