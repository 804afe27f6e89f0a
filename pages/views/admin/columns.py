"""How the tables of the Admin page name and show their columns."""

import pandas as pd
import streamlit as st

MOMENT = "YYYY-MM-DD HH:mm"
NO_RIGHTS = "Only those whom the host names as managers may do this."
COLUMNS = {
    "kind": "What",
    "model": "Model",
    "corpus": "Corpus",
    "language": "Language",
    "dtype": "dtype",
    "device": "Device",
    "neuron": "Neuron",
    "states": "States",
    "storage": "Storage",
    "sentences": "Sentences",
    "languages": "Languages",
    "entries": "Entries",
    "bytes": "Size",
    "stored": st.column_config.DatetimeColumn("Stored, UTC", format=MOMENT),
    "used": st.column_config.DatetimeColumn("Last used, UTC", format=MOMENT),
}


def when(seconds: float) -> str:
    """A moment, from seconds since 1970."""
    return f"{pd.Timestamp(seconds, unit='s', tz='UTC'):%Y-%m-%d %H:%M} UTC"
