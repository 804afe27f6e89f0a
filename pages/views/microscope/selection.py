"""What the Microscope hands to its views."""

from __future__ import annotations

from dataclasses import dataclass

from neuronxa_core.measures.activation_counts import ActivationCounts
from pages.components.selection import Selection


@dataclass(frozen=True)
class NeuronSelection(Selection):
    """A plan and one neuron of its model, numbered from 0. activity: how often each neuron is active."""

    activity: ActivationCounts
    layer: int
    neuron: int
