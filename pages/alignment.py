"""Alignment: ranking, layers, sentences, all pairs, representations side by side, other measures, and the table."""

from dataclasses import replace

from pages.components import controls, selection
from pages.views.alignment import (
    all_pairs,
    cka,
    compare,
    layers,
    ranking,
    retrieval,
    rivals,
    sentences,
    states,
    table,
    tokens,
)

VIEWS = {
    "Ranking": ranking.show,
    "Layers": layers.show,
    "Sentences": sentences.show,
    "All pairs": all_pairs.show,
    "Representations": states.show,
    "Retrieval": retrieval.show,
    "CKA": cka.show,
    "Rival measures": rivals.show,
    "Compare": compare.show,
    "Tokens": tokens.show,
    "Table": table.show,
}

selected = selection.open_page("Alignment")
selected = replace(selected, experiment=controls.reading_choice("alignment"))
controls.show_views(VIEWS, "view", selected, formerly={"States": "Representations"})
