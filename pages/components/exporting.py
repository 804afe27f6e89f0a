"""Tables behind charts, and files of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from neuronxa_core import charts, exports
from pages.components import links

# cells of a table that is sent before anyone opens it
MOST_SENT_UNSEEN = 10_000


def download(
    label: str, data: str | Callable[[], str | bytes], file: str, mime: str | None = None, **more: Any
) -> None:
    """A button for a file. A click does not run the page again, which could drop the file before it is fetched."""
    place = more.pop("place", st)
    place.download_button(label, data, file, mime, on_click="ignore", icon=":material/download:", **more)


def downloads(table: pd.DataFrame, chart: alt.TopLevelMixin, name: str) -> None:
    """The table behind a chart, and both as files, which are made when they are asked for.

    A large table is sent when it is opened, not with every step of a slider.
    """
    said, icon = "Table and files", ":material/table:"
    if table.size > MOST_SENT_UNSEEN:
        place = st.expander(said, icon=icon, key=f"files-{name.partition('-layer')[0]}", on_change="rerun")
        if not place.open:
            return
    else:
        place = st.expander(said, icon=icon)
    with place:
        st.dataframe(exports.harmless_table(table), hide_index=True)
        row, named = st.container(horizontal=True), exports.file_name(name)
        files = {
            "CSV": (lambda: exports.csv_text(table), "text/csv"),
            "SVG": (lambda: charts.svg(chart), "image/svg+xml"),
            "PNG": (lambda: charts.png(chart), "image/png"),
        }
        for kind, (make, mime) in files.items():
            download(kind, make, f"{named}.{kind.lower()}", mime, key=f"{kind}-{name}", place=row)


def table(
    table: pd.DataFrame, name: str, columns: Mapping[str, object] = MappingProxyType({}), **options: object
) -> None:
    """A table and its CSV. columns: how they are shown. options: of st.dataframe."""
    columns = {"language": "Code", "label": "Language", "alignment": "Alignment", "score": "Score", **columns}
    st.dataframe(exports.harmless_table(table), hide_index=True, column_config=columns, **options)
    download("CSV", lambda: exports.csv_text(table), f"{exports.file_name(name)}.csv", "text/csv", key=f"CSV-{name}")


def figures(values: Mapping[str, object]) -> None:
    """Single numbers by name, side by side."""
    with st.container(horizontal=True, gap="medium"):
        for name, value in values.items():
            st.metric(name, value, width="content")


def neuron_table(table: pd.DataFrame, key: str, on_select: object = "rerun", **columns: object) -> Any:
    """A table of neurons, with `layer` and `neuron` columns, of which a row can be chosen; the event, or None."""
    if table.empty:
        st.caption("No neurons here.")
        return None
    return st.dataframe(
        exports.harmless_table(table),
        hide_index=True,
        on_select=on_select,
        selection_mode="single-row",
        key=key,
        height=min(320, 38 + 35 * len(table)),
        column_config={"layer": "Layer", "neuron": "Neuron", **columns},
    )


def neuron_list(table: pd.DataFrame, key: str, **columns: object) -> None:
    """A table of neurons; a chosen row can be opened in the Microscope."""
    event = neuron_table(table, key, **columns)
    if event is None:
        return
    rows = [row for row in event.selection.rows if row < len(table)]
    if not rows:
        st.caption("Choose a row to look at the neuron in the Microscope.")
        return
    layer, neuron = int(table["layer"].iloc[rows[0]]), int(table["neuron"].iloc[rows[0]])
    if st.button(f"Open neuron {neuron} of layer {layer}", key=f"{key}-open", icon=":material/biotech:"):
        links.open_page("microscope", neuron_layer=str(layer), neuron_number=str(neuron))
