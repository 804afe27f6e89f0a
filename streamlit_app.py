"""NeuronXA Explorer: `streamlit run streamlit_app.py`.

Streamlit imports this file once, for the server, and runs it in every session. The server checks how it is to be
served, and reads the libraries before it says that it is up, so that the first visit need not wait for them.
"""

import gc
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager


@asynccontextmanager
async def libraries_read(_app: st.App) -> AsyncIterator[None]:
    # or the first link straight to a page would run that page alone, before streamlit_app.py asks who it is
    PagesManager.uses_pages_directory = False
    importlib.import_module("pages.components.controls")
    importlib.import_module("neuronxa_core.jobs.job_queue").log_lines()
    # Streamlit collects garbage after every run of a script, and would look through the libraries each time
    gc.freeze()
    yield
    importlib.import_module("pages.components.process").close()


if __name__ == "__main__":
    from pages.access import people
    from pages.components import icon, messages, navigation, session, style

    people.admit()
    st.set_page_config(page_title="NeuronXA Explorer", page_icon=icon.icon(), layout="wide")
    style.apply()
    with messages.errors_shown():
        session.open_experiment()
        page = navigation.navigation()
        session.enter(page.title)
        messages.show_write_error()
        page.run()
else:
    from starlette.middleware import Middleware

    from neuronxa_core.host import redaction
    from pages.access import gate, people, startup, unexpected

    redaction.install()
    startup.check()
    unexpected.number_errors()
    app = st.App(
        "streamlit_app.py",
        lifespan=libraries_read,
        middleware=[Middleware(gate.Gate, people.key_of)],
        on_script_error=unexpected.show,
    )
