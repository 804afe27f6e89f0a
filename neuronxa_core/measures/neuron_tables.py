"""What is shown of one neuron: its activation by language, and the sentences and tokens that activate it most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.corpora.parallel import Corpus
from neuronxa_core.measures import lape
from neuronxa_core.measures.activation_counts import ActivationCounts
from neuronxa_core.models.token_text import Unit
from neuronxa_core.states.per_token import TokenActivations


def most_specific(activity: ActivationCounts) -> tuple[int, int]:
    """(layer, neuron) that LAPE finds most language-specific; the first of all where it finds none."""
    if len(activity.languages) < 2:
        return 0, 0
    found = lape.lape(activity)
    return (int(found.layer[0]), int(found.neuron[0])) if len(found.neuron) else (0, 0)


def by_language(activity: ActivationCounts, values: Mapping[str, np.ndarray], layer: int, neuron: int) -> pd.DataFrame:
    """How often and how strongly a neuron is active: a row per language, the highest probability first.

    values: the neuron's mean |a| of each sentence, [sentence], by language. Columns: language, label, script, tokens,
    probability (share of tokens with a > 0), low, lower, median, upper, high (minimum, quartiles, maximum of values).
    """
    codes = list(activity.languages)
    quantiles = np.array([np.quantile(values[code], [0, 0.25, 0.5, 0.75, 1]) for code in codes])
    table = pd.DataFrame(
        {
            "language": codes,
            "label": [languages.label(code) for code in codes],
            "script": [languages.script(code) or "" for code in codes],
            "tokens": activity.tokens,
            "probability": activity.at(layer, neuron),
            **dict(zip(("low", "lower", "median", "upper", "high"), quantiles.T, strict=True)),
        }
    )
    return table.sort_values(["probability", "label"], ascending=[False, True])


def contrasting_languages(activity: ActivationCounts, pivot: str, layer: int, neuron: int, count: int = 6) -> list[str]:
    """The pivot, the two languages in which a neuron is most often active, then one of each further script."""
    codes = activity.languages
    most = [codes[k] for k in np.argsort(-activity.at(layer, neuron), kind="stable")[:2]]
    first_of_script: dict[str, str] = {}
    for code in (pivot, *most, *codes):
        first_of_script.setdefault(languages.script(code) or code, code)
    return list(dict.fromkeys([pivot, *most, *first_of_script.values(), *codes]))[:count]


def top_sentences(values: Mapping[str, np.ndarray], count: int) -> dict[int, list[str]]:
    """The sentences with the highest values [sentence] in each language: row -> in which languages it is among them.

    Those of the language in which the neuron is strongest come first, so that the first example is none of a language
    in which it is silent.
    """
    by_row: dict[int, list[str]] = {}
    for code, of_language in sorted(values.items(), key=lambda one: -one[1].max()):
        for row in np.argsort(-of_language, kind="stable")[:count].tolist():
            by_row.setdefault(row, []).append(code)
    return by_row


def sentence_table(
    corpus: Corpus,
    by_row: Mapping[int, Sequence[str]],
    values: Mapping[str, np.ndarray],
    read: Mapping[str, Sequence[TokenActivations]],
) -> pd.DataFrame:
    """`top_sentences` token by token: a row per sentence and language. read: by language, in the order of by_row."""
    return pd.DataFrame(
        [
            {
                "language": code,
                "sentence": row + 1,
                "line": corpus.line(row),
                "value": values[code][row],
                "among the strongest": code in strongest_in,
                "tokens": " ".join(f"{value:.6g}" for value in read[code][k].values),
                "text": read[code][k].text,
            }
            for k, (row, strongest_in) in enumerate(by_row.items())
            for code in read
        ]
    )


def largest_activation(read: Iterable[TokenActivations], units: Iterable[Sequence[Unit]]) -> float:
    """The largest |a| among the tokens of the texts themselves; special tokens are often far beyond. 0 for no token."""
    sizes = (
        abs(float(one.values[k]))
        for one, parts in zip(read, units, strict=True)
        for unit in parts
        if not unit.special
        for k in unit.tokens
    )
    return max(sizes, default=0.0)
