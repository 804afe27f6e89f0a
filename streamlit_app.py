"""NeuronXA Explorer: `streamlit run streamlit_app.py`.

Streamlit imports this file once, for the server, and runs it in every session. The server reads the libraries before
it says that it is up, so that the first visit need not wait for them.
"""

import gc
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st


@asynccontextmanager
async def libraries_read(_app: st.App) -> AsyncIterator[None]:
    importlib.import_module("pages.shared")
    # Streamlit collects garbage after every run of a script, and would look through the libraries each time
    gc.freeze()
    yield


if __name__ == "__main__":
    from pages import shared

    st.set_page_config(page_title="NeuronXA Explorer", page_icon=shared.icon(), layout="wide")
    shared.open_experiment()
    page = shared.navigation()
    shared.enter(page.title)
    page.run()
else:
    app = st.App("streamlit_app.py", lifespan=libraries_read)
