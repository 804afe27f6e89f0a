"""The similarity matrix of two languages at a layer, and the sentence that was clicked."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import charts, exports
from neuronxa_core.corpora.languages import name
from neuronxa_core.measures import alignment, alignment_tables
from neuronxa_core.measures.alignment_tables import SentencePairs
from neuronxa_core.states.planning import Plan
from pages.components.exporting import downloads
from pages.components.kept import kept
from pages.components.process import services
from pages.components.selection import Selection
from pages.components.wording import counted, label, passages


def show(selection: Selection, x: str, y: str, layer: int, key: str) -> None:
    """x, y: codes of two languages. key: that of the widgets."""
    chosen = selection.experiment
    key_of_states = alignment.scores_key(selection.plan, chosen.state, chosen.pooling)
    pairs = _pairs(key_of_states, x, y, chosen.state, chosen.pooling, layer, selection.plan)
    chart = charts.similarity_matrix(pairs.cosines, pairs.marks(), label(y), label(x))
    count = len(pairs.matches)
    step = charts.picture_step(count)
    chosen_key = f"{key}-chosen"

    def take_cell() -> None:
        cells = st.session_state[f"{key}-matrix"].selection.get("cell") or []
        if cells and "row" in cells[0]:
            # a tap, without a pointer over the picture before it, tells the row alone
            row = int(cells[0]["row"])
            st.session_state[chosen_key] = row, int(cells[0].get("column", row))

    side_by_side = st.container(horizontal=True, gap="medium")
    picture, detail = side_by_side.container(width=600), side_by_side.container(width=330)
    with picture:
        st.altair_chart(chart, on_select=take_cell, selection_mode="cell", key=f"{key}-matrix")
        if step > 1:
            st.caption(f"Each point of the picture is the mean of {step} × {step} cells.")
    with detail:
        aligned = count - len(pairs.misses)
        st.metric(f"{selection.method} at layer {layer}", f"{aligned / count:.3f}")
        st.caption(f"{aligned} of {counted(count, 'sentence')} aligned")
        _list(pairs, key, chosen_key)
        first = pairs.misses[0] if pairs.misses else 0
        row, column = (min(k, count - 1) for k in st.session_state.get(chosen_key, (first, first)))
        _sentence(pairs, row)
        if column != row:
            st.caption(f"The cell that was clicked: sentence {column + 1}, cosine {pairs.cosines[row, column]:.4f}")
            st.html(passages([("", pairs.text(y, column), y)]))
        if chosen_key not in st.session_state:
            st.caption(f"Click a {'cell' if step == 1 else 'mark'} of the matrix, or a row, to see its sentences.")
    downloads(pairs.table(), chart, f"sentences-{x}-{y}-layer{layer}")


@kept("Comparing sentences …")
def _pairs(key: str, x: str, y: str, state: str, pooling: str, layer: int, _plan: Plan) -> SentencePairs:
    return alignment_tables.sentence_pairs(_plan, services().store, x, y, state, pooling, layer)


def _list(pairs: SentencePairs, key: str, chosen_key: str) -> None:
    """Misses and near misses, the smallest margin first, to search and to choose from."""
    table = pairs.table().sort_values("margin", kind="stable")
    wanted = st.text_input(
        "Search", key=f"{key}-search", placeholder="Search misses and near misses", label_visibility="collapsed"
    ).strip()
    held = [table[code].str.contains(wanted, case=False, regex=False) for code in (pairs.x, pairs.y)]
    table = table.loc[held[0] | held[1], ["sentence", "margin", pairs.x]]

    def take_row() -> None:
        rows = st.session_state[f"{key}-list"].selection.rows
        if rows and rows[0] < len(table):
            st.session_state[chosen_key] = (int(table["sentence"].iloc[rows[0]]) - 1,) * 2

    st.dataframe(
        exports.harmless_table(table),
        hide_index=True,
        height=min(180, 38 + 35 * len(table)),
        on_select=take_row,
        selection_mode="single-row",
        key=f"{key}-list",
        column_config={
            "sentence": st.column_config.NumberColumn("No.", width=45),
            "margin": st.column_config.NumberColumn(
                "Margin",
                format="%.3f",
                width=65,
                help="Cosine of the translation less that of the nearest wrong sentence; missed at 0 or below.",
            ),
            pairs.x: st.column_config.TextColumn(label(pairs.x), width=200),
        },
    )


def _sentence(pairs: SentencePairs, row: int) -> None:
    """A sentence and its translation; for a miss the wrong sentences that are nearer."""
    x, y, match = pairs.x, pairs.y, pairs.matches[row]
    line = pairs.line(row)
    st.markdown(f"**Sentence {row + 1}**" + ("" if line == row + 1 else f" (line {line} of the corpus)"))
    st.caption(
        {
            "aligned": "Aligned: mutual nearest neighbours.",
            "x to y only": f"Retrieved {name(x)} → {name(y)} only.",
            "y to x only": f"Retrieved {name(y)} → {name(x)} only.",
            "missed": "Retrieved in neither direction.",
        }[match.status]
    )
    rows = [
        (label(x), pairs.text(x, row), x),
        (f"{label(y)} · cosine {pairs.cosines[row, row]:.4f}", pairs.text(y, row), y),
    ]
    if match.best_in_y not in (row, -1):
        wrong = match.best_in_y
        title = f"Nearest wrong sentence in {label(y)}: {wrong + 1} · cosine {pairs.cosines[row, wrong]:.4f}"
        rows.append((title, pairs.text(y, wrong), y))
    if match.best_in_x not in (row, -1):
        wrong = match.best_in_x
        title = f"Nearest wrong sentence in {label(x)}: {wrong + 1} · cosine {pairs.cosines[wrong, row]:.4f}"
        rows.append((title, pairs.text(x, wrong), x))
    if -1 in (match.best_in_x, match.best_in_y):
        st.caption("Two sentences tie for the nearest; a tie is not an alignment.")
    st.html(passages(rows))
