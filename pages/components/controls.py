"""Controls that several pages share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import altair as alt
import numpy as np
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.experiment import CHOICES, Experiment
from pages.components.selection import Selection, recompute_if_corrupt
from pages.components.session import choose, entered_with, experiment
from pages.components.wording import label


def segments(
    label: str,
    options: Sequence[str],
    default: str,
    key: str,
    formerly: Mapping[str, str] | None = None,
    **more: object,
) -> str:
    """A segmented control with always one choice, which the link names.

    formerly: what a link may still name -> the option that it is called now.
    """
    # Streamlit would take an empty or unknown name for no choice
    meant = {"": default, **(formerly or {})}.get(st.query_params.get(key))
    if meant is not None:
        st.session_state[key] = meant
    return st.segmented_control(
        label,
        options,
        default=default if meant is None else None,
        required=True,
        key=key,
        bind="query-params",
        **more,
    )


def show_views(
    views: Mapping[str, Callable[[Selection], None]],
    key: str,
    selection: Selection,
    says: Mapping[str, str] | None = None,
    formerly: Mapping[str, str] | None = None,
) -> None:
    """A switch between a page's views, the view, and what it says of itself.

    formerly: see `segments`.
    """
    view = segments("View", list(views), next(iter(views)), key, formerly, label_visibility="collapsed")
    show_view(views[view], selection)
    if says is not None:
        st.caption(says[view])


@st.fragment
def show_view(show: Callable[[Selection], None], selection: Selection) -> None:
    """A view; what happens in it runs it alone again, errors included."""
    with recompute_if_corrupt(selection.plan):
        show(selection)


def layer_slider(layers: int, start: int, key: str) -> int:
    """A layer from 0."""
    if layers == 1:
        return 0
    return st.slider("Layer", 0, layers - 1, start, key=key, bind="query-params")


def language_of_chart(
    draw: Callable[[str | None], alt.TopLevelMixin], selection: str, key: str, codes: Sequence[str]
) -> tuple[str | None, dict[str, object]]:
    """Draw a chart in which a click chooses a language: (the language, the selection's fields; empty before a click).

    The language stays chosen in all such charts and in the link. draw: the chart, with the language with which it
    starts marked; the same until the chart is left, as another chart would lose its click.
    """
    known = st.query_params.get("language", st.session_state.get("language"))
    known = known if known in codes else None
    if key not in st.session_state:
        st.session_state[f"{key}_start"] = known
    start = st.session_state[f"{key}_start"]
    event = st.altair_chart(
        draw(start if start in codes else None), on_select="rerun", selection_mode=selection, key=key
    )
    (fields, *_) = event.selection.get(selection) or [{}]
    code = fields.get("language", known)
    if code not in codes:
        return None, {}
    if code != st.query_params.get("language"):
        st.session_state.language = st.query_params["language"] = code
    return code, fields


def chosen_pair(key: str) -> tuple[str, str] | None:
    """The pair that is chosen below a matrix with too many languages for marks."""
    x, y = (st.session_state.get(f"{key}_{end}") for end in ("from", "to"))
    return (x, y) if x and y else None


def pair_of_matrix(chart: alt.TopLevelMixin, codes: list[str], key: str, said: str) -> tuple[str, str] | None:
    """Draw a language matrix; the cell that was clicked.

    Where there are too many languages for marks, a click chooses two of them in lists below, as the keyboard can too.
    """
    if not charts.is_picture(len(codes)):
        cells = st.altair_chart(chart, on_select="rerun", selection_mode="pair", key=key).selection.get("pair")
        if cells and {cells[0]["row_code"], cells[0]["column_code"]} <= set(codes):
            return cells[0]["row_code"], cells[0]["column_code"]
        return None

    def take_click() -> None:
        cells = st.session_state[f"{key}_picture"].selection.get("pair")
        pair = [cells[0].get(name) for name in ("row_code", "column_code")] if cells else []
        if pair and set(pair) <= set(codes):
            st.session_state[f"{key}_from"], st.session_state[f"{key}_to"] = pair

    with st.container(width=charts.LANGUAGES_SIZE):
        st.altair_chart(chart, on_select=take_click, selection_mode="pair", key=f"{key}_picture")
    columns = st.columns(2)
    x = columns[0].selectbox(said, codes, None, format_func=label, key=f"{key}_from")
    y = columns[1].selectbox("and", codes, None, format_func=label, key=f"{key}_to")
    return (x, y) if x and y else None


def spread(ranked: Sequence[str], count: int) -> list[str]:
    """So many of a ranking, evenly from its first to its last."""
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return [ranked[k] for k in dict.fromkeys(places.tolist())]


def reading_choice(page: str) -> Experiment:
    """Widgets for representation, token pooling and layer aggregation, which need no run; the experiment as they say.

    Each starts at what it was when the page was entered.
    """
    columns = {
        "state": (
            "Representation",
            "NAS: which neurons are active (NASCA). NAV: how strongly (NAVCA). EMB: the hidden state after a layer "
            "(MEXA). HID: as MEXA's authors read it, from the embeddings to the last layer after the final norm.",
        ),
        "pooling": (
            "Token pooling",
            "Weighted by token position, the last token alone, or the plain mean of tokens.",
        ),
        "layers": ("Layer aggregation", None),
    }
    chosen = {}
    with st.sidebar:
        for name, (said, help_text) in columns.items():
            chosen[name] = st.segmented_control(
                said,
                CHOICES[name],
                default=getattr(entered_with(), name),
                required=True,
                key=f"{page}_{name}",
                format_func=str.upper if name == "state" else str,
                help=help_text,
            )
    now = replace(experiment(), **chosen)
    if now != experiment():
        choose(now)
    return now
