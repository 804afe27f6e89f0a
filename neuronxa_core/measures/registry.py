"""All measures by name: a new one is a line here, beside its file."""

from __future__ import annotations

import importlib
from difflib import get_close_matches

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.base import Measure

MEASURES = {
    "ablation": "Ablation",
    "activation_counts": "ActivationCountsMeasure",
    "alignment": "AlignmentScores",
    "all_pairs": "AllPairs",
    "bitext_retrieval": "BitextRetrieval",
    "cka": "CKA",
    "compare": "Compare",
    "consistency": "Consistency",
    "geometry": "Geometry",
    "intersections": "IntersectionsMeasure",
    "item_alignment": "ItemAlignment",
    "lape": "LapeMeasure",
    "lape_robustness": "LapeRobustness",
    "likelihood": "NatsPerByte",
    "lm_eval": "HarnessRun",
    "neuron_agreement": "NeuronAgreement",
    "neuron_sets": "NeuronSets",
    "overlap": "OverlapMeasure",
    "parallel_overlap": "ParallelOverlapMeasure",
    "probe": "LinearProbe",
    "rivals": "Rivals",
    "retrieval": "Retrieval",
    "sentence_map": "SentenceMap",
    "sentences": "Sentences",
    "shared_core": "SharedCoreMeasure",
    "token_activations": "TokenActivationsMeasure",
    "transfer": "Transfer",
}
"""Name, which is that of the file as well, to the class."""


def find(name: str) -> type[Measure]:
    """A measure by its name. Raises ExperimentError for a name that is none."""
    if name not in MEASURES:
        close = get_close_matches(name, MEASURES, 1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ExperimentError(f"there is no measure {name!r}.{hint} There are {', '.join(MEASURES)}")
    return getattr(importlib.import_module(f"neuronxa_core.measures.{name}"), MEASURES[name])


def sentence(kind: type[Measure]) -> str:
    """What a measure measures: the first line of its docstring."""
    return (kind.__doc__ or "").partition("\n")[0]
