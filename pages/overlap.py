"""Overlap: which neurons languages share, by pair, set and layer, which are theirs alone, and what they do."""

import streamlit as st

from pages.components import cached, controls, messages, selection
from pages.views.overlap import (
    ablation,
    core,
    definitions,
    intersections,
    layers,
    matrix,
    specific,
    summary,
    translations,
)
from pages.views.overlap.selection import OverlapSelection, criterion

VIEWS = {
    "Matrix": matrix.show,
    "By layer": layers.show,
    "Translation-specific": translations.show,
    "Intersections": intersections.show,
    "Shared core": core.show,
    "Language-specific": specific.show,
    "Definitions": definitions.show,
    "Ablation": ablation.show,
    "Summary": summary.show,
}
FORMERLY = {
    "Meaning": "Translation-specific",
    "Sets": "Intersections",
    "Specific": "Language-specific",
    "Language-specific (LAPE)": "Language-specific",
    "Causal check": "Ablation",
}
HELP = {
    "Matrix": "Which share of their active neurons two languages have in common, at one layer. A high overlap says "
    "that the same neurons are often active in both, not that they mean the same there: compare "
    "*Translation-specific*.",
    "By layer": "How the overlap of pairs of languages changes from layer to layer; dashed is what independent sets of "
    "the same sizes would share. It is a count of common neurons and no proof that they carry common meaning.",
    "Translation-specific": "How much the active neurons of a sentence and its translation overlap, against those of "
    "sentences that are no translations: the difference is what meaning, rather than language, contributes. Names and "
    "numbers that stay the same in translation contribute to it too.",
    "Intersections": "How many neurons are active in exactly these languages and in none of the others chosen. That a "
    "neuron is active in one of them only says nothing of the languages that were not chosen.",
    "Shared core": "Neurons active in all the chosen languages, beside what neurons of the same base rates would "
    "give if each language chose for itself. A large core can come from neurons that are active on any text: it is "
    "no proof of a common meaning.",
    "Language-specific": "LAPE: the neurons whose activation probability is concentrated on the fewest "
    "languages. They tell languages apart; whether the model needs them for a language is asked under *Ablation*.",
    "Definitions": "Whether other published definitions of a language's neurons name the same ones as LAPE. That "
    "two agree does not show that the language needs these neurons: a definition can be stable and still only follow "
    "how strongly neurons are active on any text.",
    "Ablation": "Effect of ablation on each language: neurons are set to zero or to their mean, beside random "
    "ones of the same number in the same layers. A larger loss than the control's shows that the language "
    "depends on them in this corpus; a small one does not show that it never does.",
    "Summary": "Every language's active neurons over all layers, how many of them the pivot shares, and how many LAPE "
    "finds specific to it. The counts depend on what is taken as active, above.",
}

selected = selection.open_page("Overlap")
with selection.recompute_if_corrupt(selected.plan):
    counts = cached.activity_of(selected.plan)
if len(selected.codes) < 2:
    st.info("Overlap needs at least two languages; choose more in *Run*.")
    st.stop()
with messages.errors_shown():
    active_if = criterion()
selected = OverlapSelection(selected.experiment, selected.whole, selected.plan, counts, active_if)
controls.show_views(VIEWS, "overlap_view", selected, HELP, FORMERLY)
