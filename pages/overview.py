"""Overview: what was found in one sentence, all languages by all layers, and what stands out."""

from dataclasses import replace

import streamlit as st

from pages.components import controls, selection
from pages.views.overview import heat_map

if "view" in st.query_params:  # a link from when Alignment was the first page
    st.switch_page("pages/alignment.py", query_params=st.query_params.to_dict())
selected = selection.open_page("Overview")
selected = replace(selected, experiment=controls.reading_choice("overview"))
controls.show_view(heat_map.show, selected)
