"""Alignment as tables: languages ranked, curves by layer, and what two languages' sentences find in each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.measures import alignment
from neuronxa_core.measures.alignment import Alignment


def ranked(found: Alignment, layers: str) -> list[str]:
    """The languages by score, the best first; layers: `mean` or `max`."""
    return [found.languages[k] for k in np.argsort(-found.pooled(layers), kind="stable")]


def ranking_table(found: Alignment, layers: str) -> pd.DataFrame:
    """A row per language: its score over the layers with a 95 % bootstrap interval, peak layer, retrieval, script.

    layers: `mean` or `max`. Columns: language, label, score, low, high, peak_layer, peak_score, forward (retrieval from
    the pivot to the language), backward, script, family.
    """
    low, high = alignment.bootstrap(found.aligned, layers)
    score = found.score
    return pd.DataFrame(
        {
            "language": found.languages,
            "label": [languages.label(code) for code in found.languages],
            "score": found.pooled(layers),
            "low": low,
            "high": high,
            "peak_layer": score.argmax(axis=1),
            "peak_score": score.max(axis=1),
            "forward": alignment.pool_layers(found.retrieval_src2trg, layers),
            "backward": alignment.pool_layers(found.retrieval_trg2src, layers),
            "script": [languages.script(code) or "" for code in found.languages],
            "family": [languages.family(code) for code in found.languages],
        }
    )


def curve_table(found: Alignment, codes: Sequence[str]) -> pd.DataFrame:
    """A row per language and layer. Columns: label, layer, score, low, high (95 % bootstrap interval)."""
    at = [found.languages.index(code) for code in codes]
    low, high = alignment.bootstrap(found.aligned[at])
    count = found.score.shape[1]
    return pd.DataFrame(
        {
            "label": np.repeat([languages.label(code) for code in codes], count),
            "layer": np.tile(np.arange(count), len(codes)),
            "score": found.score[at].ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
        }
    )
