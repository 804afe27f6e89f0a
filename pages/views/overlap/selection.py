"""What the Overlap page hands to its views, and choices that several of them share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from neuronxa_core.measures import activation_counts, lape, overlap
from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion
from neuronxa_core.measures.lape import LanguageSpecific
from pages.components import controls
from pages.components.kept import kept
from pages.components.selection import Selection

MEASURES = {"jaccard": "Jaccard overlap", "conditional": "Conditional overlap |A ∩ B| / |A|"}


@dataclass(frozen=True)
class OverlapSelection(Selection):
    """A plan, how often its neurons are active, and when a neuron counts as active in a language."""

    counts: ActivationCounts
    criterion: ActivationCriterion

    @property
    def key(self) -> str:
        """What decides the counts."""
        return activation_counts.counts_key(self.plan)

    def overlaps(self, measure: str) -> np.ndarray:
        """Overlap of every pair at every layer, [layer, language, language]."""
        return _overlaps(self.key, self.criterion.kind, self.criterion.value, measure, self.counts)


@kept("Comparing languages …")
def _overlaps(key: str, kind: str, value: float, measure: str, _counts: ActivationCounts) -> np.ndarray:
    return overlap.overlap_by_layer(_counts, ActivationCriterion(kind, value), measure)


@kept("Looking for specific neurons …")
def _specific(key: str, share: float, drop: float, assign: float, _counts: ActivationCounts) -> LanguageSpecific:
    return lape.lape(_counts, share, drop, assign)


def criterion() -> ActivationCriterion:
    """When a neuron counts as active, from two widgets in the sidebar."""
    with st.sidebar:
        kind = controls.segments(
            "A neuron is active in a language if it is",
            ["top", "threshold"],
            "top",
            "active_by",
            {"among the most often active": "top"},
            format_func={"top": "in the top k % per layer", "threshold": "active in enough tokens"}.get,
            help="By rank every language has as many active neurons as any other; by threshold their number differs.",
        )
        if kind == "top":
            said = "The layer's neurons with the highest activation probability, %"
            share = st.slider(said, 1, 50, 10, key="active_top", bind="query-params")
        else:
            said = "Active in more than this share of the tokens, %"
            share = st.slider(said, 0, 99, 80, key="active_threshold", bind="query-params")
        return ActivationCriterion(kind, share / 100)


def measure_choice(key: str) -> str:
    """Which overlap of two sets."""
    return controls.segments(
        "Measure",
        list(MEASURES),
        "jaccard",
        key,
        format_func={"jaccard": "Jaccard", "conditional": "conditional"}.get,
        help="Jaccard: |A ∩ B| / |A ∪ B|. Conditional: |A ∩ B| / |A|, the share of A's neurons that B has as well.",
    )


def layer_slider(selection: OverlapSelection, key: str) -> int:
    """A layer from 0; it starts in the middle."""
    layers = selection.plan.info.layers
    return controls.layer_slider(layers, (layers - 1) // 2, key)


def probability_columns(codes: list[str]) -> dict[str, object]:
    """Column settings of activation probabilities."""
    return {code: st.column_config.NumberColumn(f"Probability in {code}", format="%.3f") for code in codes}


def specific_neurons(selection: OverlapSelection) -> LanguageSpecific:
    """Language-specific neurons by LAPE, from its three parameters."""
    columns = st.columns(3)
    share = columns[0].slider(
        "Lowest entropy, % of all neurons",
        0.1,
        10.0,
        1.0,
        0.1,
        key="lape_share",
        bind="query-params",
        help="How many of the neurons with the lowest entropy are called language-specific.",
    )
    drop = columns[1].slider(
        "Drop neurons never above this percentile",
        0,
        100,
        95,
        key="lape_drop",
        bind="query-params",
        help="Of all activation probabilities: a neuron that is above it in no language is dropped first.",
    )
    assign = columns[2].slider(
        "Assign to languages above this percentile",
        0,
        100,
        95,
        key="lape_assign",
        bind="query-params",
        help="A neuron belongs to the languages in which its probability is above it.",
    )
    return _specific(selection.key, share / 100, drop, assign, selection.counts)
