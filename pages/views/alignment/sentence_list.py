"""Each sentence over all languages: how many find it, and what goes with being missed."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from neuronxa_core import exports
from neuronxa_core.measures import sentences
from neuronxa_core.measures.sentences import Sentences
from pages.components.cached import results_of, table_of
from pages.components.kept import kept
from pages.components.progress import ready
from pages.components.selection import Selection
from pages.components.wording import counted, label, passages, safe
from pages.views.alignment.choices import layer_slider


def show(selection: Selection, row: DeltaGenerator) -> None:
    """row: where the controls go."""
    chosen = selection.experiment
    measure = Sentences(selection.plan, chosen.state, chosen.pooling)
    with row.container(width=180):
        layer = layer_slider(selection, "layer")
    wanted = row.text_input("Search", key="sentences_search", placeholder="words or a label", width=300).strip()
    if not ready(measure, "Compare all sentences", "sentences_run"):
        return
    table = table_of(measure)
    table = table[table["layer"] == layer].drop(columns=["state", "pooling", "layer"])
    st.markdown(safe(sentences.conclusion(_what_goes_with(measure.key, layer, table, measure), layer)))
    table = table.sort_values(["aligned", "margin"], kind="stable")
    held = [table[c].str.contains(wanted, case=False, regex=False) for c in ("text", "label") if c in table]
    table = table[pd.concat(held, axis=1).any(axis=1)]
    number = st.column_config.NumberColumn
    side_by_side = st.container(horizontal=True, gap="medium")
    event = side_by_side.container(width=640).dataframe(
        exports.harmless_table(table.drop(columns="languages")),
        hide_index=True,
        height=460,
        on_select="rerun",
        selection_mode="single-row",
        key="sentences_rows",
        column_order=["sentence", "aligned", "found_src2trg", "found_trg2src", "margin", "tokens", "label", "text"],
        column_config={
            "sentence": number("No.", width=45),
            "aligned": number("Aligned", width=65, help=f"In how many of {len(measure.parts())} languages."),
            "found_src2trg": number("From", width=50, help="Languages that find it from the pivot."),
            "found_trg2src": number("To", width=40, help="Languages from which the pivot's is found."),
            "margin": number("Margin", width=65, format="%.3f", help="Translation less nearest wrong sentence; mean."),
            "tokens": number("Tokens", width=60),
            "label": st.column_config.TextColumn("Label", width=65),
            "text": label(selection.plan.pivot),
        },
    )
    with side_by_side.container(width=290):
        rows = [row for row in event.selection.rows if row < len(table)]
        if rows:
            _sentence(measure, layer, int(table["sentence"].iloc[rows[0]]) - 1)
        else:
            st.caption("Fewest languages first. Choose a row to see which languages miss the sentence.")
    st.download_button("CSV", exports.csv_text(table), f"sentences-layer{layer}.csv", "text/csv", key="sentences_csv")


@kept("Permuting sentences …")
def _what_goes_with(key: str, layer: int, _table: pd.DataFrame, _measure: Sentences) -> pd.DataFrame:
    missed = sentences.missed_at(results_of(_measure), layer)
    return sentences.what_goes_with(missed, sentences.properties_of(_table["text"], _table["tokens"]))


def _sentence(measure: Sentences, layer: int, row: int) -> None:
    """A sentence, and its translations in the languages that miss it."""
    corpus, results = measure.plan.corpus, results_of(measure)
    missed = [code for code, miss in zip(results, sentences.missed_at(results, layer)[:, row], strict=True) if miss]
    st.markdown(f"**Sentence {row + 1}** · missed by {counted(len(missed), 'language')}")
    texts = [(code, corpus.sentences(code)[row]) for code in (corpus.pivot, *missed)]
    with st.container(height=400, border=False):
        st.html(passages([(label(code), text, code) for code, text in texts]))
