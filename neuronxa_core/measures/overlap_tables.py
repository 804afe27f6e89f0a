"""Overlap as tables: what the charts of the Overlap page and its files hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.experiment import STATES
from neuronxa_core.measures import alignment, neuron_rankings, overlap, parallel_overlap
from neuronxa_core.measures.ablation import control_name
from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion
from neuronxa_core.measures.alignment import METHODS
from neuronxa_core.measures.intersections import Intersection
from neuronxa_core.measures.lape import LanguageSpecific
from neuronxa_core.states.interventions import Neurons
from neuronxa_core.states.planning import Plan
from neuronxa_core.store.cache import Store
from neuronxa_core.wording import PARALLEL_KINDS

CORE = "shared core"
"""The name of the set of neurons that are active in all languages."""
CHANGES = {"nats_per_byte": "nats per byte", **{f"score_{state}": METHODS[state] for state in STATES}}
"""What ablation can change, by the end of its column's name, as a person reads it."""


def colour_range(overlaps: np.ndarray) -> tuple[float, float]:
    """What colours of a matrix span, in tenths, so that no layer's overlaps [layer, language, language] lie outside."""
    off_diagonal = overlaps[:, ~np.eye(overlaps.shape[1], dtype=bool)]
    low, high = float(np.floor(off_diagonal.min() * 10) / 10), float(np.ceil(off_diagonal.max() * 10) / 10)
    return (low, high) if low < high else (0.0, 1.0)


def curve_table(
    overlaps: np.ndarray,
    counts: ActivationCounts,
    criterion: ActivationCriterion,
    x: str,
    others: Sequence[str],
    measure: str,
) -> pd.DataFrame:
    """Overlap of a language with others by layer, and what independent sets of the same sizes would have.

    overlaps: [layer, language, language], of all languages, by `measure`: jaccard or conditional. Columns: label, x, y,
    layer, value, chance, active in x, active in y.
    """
    sizes = criterion.all_sets(counts.of([x, *others])).sum(axis=2)
    at = [counts.languages.index(code) for code in (x, *others)]
    rows = []
    for k, code in enumerate(others, start=1):
        for layer in range(counts.layers):
            a, b = int(sizes[0, layer]), int(sizes[k, layer])
            rows.append(
                {
                    "label": f"{languages.label(x)} – {languages.label(code)}",
                    "x": x,
                    "y": code,
                    "layer": layer,
                    "value": overlaps[layer, at[0], at[k]],
                    "chance": b / counts.neurons
                    if measure == "conditional"
                    else overlap.chance_jaccard(a, b, counts.neurons),
                    "active in x": a,
                    "active in y": b,
                }
            )
    return pd.DataFrame(rows)


def parallel_table(
    plan: Plan, store: Store, x: str, y: str, threshold: float, match_length: bool, state: str, pooling: str
) -> pd.DataFrame:
    """Overlap of translations and of mismatched sentences by layer, and the pair's alignment score.

    Columns: kind (wording.PARALLEL_KINDS, or the method of the score), layer, value, low, high (95 % interval),
    sentences (how many are compared).
    """
    rows = []
    for layer, one in enumerate(parallel_overlap.parallel_overlaps(plan, store, x, y, threshold, match_length)):
        values = (one.parallel, one.mismatched, one.difference)
        rows += [(kind, layer, *value, one.sentences) for kind, value in zip(PARALLEL_KINDS, values, strict=True)]
    pair = alignment.pair_alignment(plan, store, x, y, state, pooling)
    low, high = alignment.bootstrap(pair.aligned)
    n = len(plan.corpus.usable)
    rows += [(METHODS[state], k, pair.score[0, k], low[0, k], high[0, k], n) for k in range(pair.score.shape[1])]
    return pd.DataFrame(rows, columns=["kind", "layer", "value", "low", "high", "sentences"])


def parallel_sentence(table: pd.DataFrame, sentences: int) -> str:
    """What a `parallel_table` of so many sentences shows: where translations share most beyond mismatched sentences."""
    difference = table[table["kind"] == PARALLEL_KINDS[2]]
    compared = int(difference["sentences"].iloc[0])
    if not compared:
        return (
            f"None of the {sentences} sentences has another of its length in both languages, within 10 %: nothing can "
            "be compared. Compare with mismatched sentences of any length instead, or choose more sentences."
        )
    best = difference.loc[difference["value"].idxmax()]
    said = f"95 % interval {best['low']:.3f} to {best['high']:.3f}, {compared} sentence{'s' if compared != 1 else ''}"
    if best["low"] > 0:
        text = f"Translations share most beyond mismatched sentences at **layer {best['layer']}**: "
        text += f"{best['value']:.3f} more ({said})."
    else:
        text = "At no layer do translations clearly share more than mismatched sentences: the largest difference is "
        text += f"{best['value']:.3f} at layer {best['layer']} ({said})."
    left = sentences - compared
    if left:
        some = "1 sentence that has" if left == 1 else f"{left} sentences that have"
        text += f" {some} no other of the same length, within 10 % in both languages, {'is' if left == 1 else 'are'} "
        text += "left out."
    return text


def intersections_table(found: Sequence[Intersection], codes: Sequence[str]) -> pd.DataFrame:
    """A row per intersection. Columns: members (text), size, and for each language by its place, whether it is in."""
    inside = {str(k): [code in one.languages for one in found] for k, code in enumerate(codes)}
    return pd.DataFrame(
        {"members": [" + ".join(one.languages) for one in found], "size": [o.size for o in found]} | inside
    )


def neurons_table(
    counts: ActivationCounts, layer: np.ndarray | int, neuron: np.ndarray, codes: Sequence[str]
) -> pd.DataFrame:
    """A row per neuron: layer, neuron, and its activation probability in some languages."""
    layer = np.broadcast_to(layer, neuron.shape)
    return pd.DataFrame(
        {"layer": layer, "neuron": neuron} | dict(zip(codes, counts.of(codes).at(layer, neuron), strict=True))
    )


def core_neurons(counts: ActivationCounts, criterion: ActivationCriterion) -> pd.DataFrame:
    """The neurons active in all languages: layer, neuron, lowest (of their probabilities), highest first."""
    layer, neuron = np.nonzero(criterion.all_sets(counts).all(axis=0))
    table = pd.DataFrame({"layer": layer, "neuron": neuron, "lowest": counts.at(layer, neuron).min(axis=0)})
    return table.sort_values("lowest", ascending=False, kind="stable").reset_index(drop=True)


def specific_table(found: LanguageSpecific) -> pd.DataFrame:
    """How many neurons are specific to each language at each layer; languages that have some, the most first.

    Columns: language, label, layer, count.
    """
    counts = found.counts()
    order = [k for k in np.argsort(-counts.sum(axis=1), kind="stable") if counts[k].any()]
    codes = [found.languages[k] for k in order]
    return pd.DataFrame(
        {
            "language": np.repeat(codes, found.layers),
            "label": np.repeat([languages.label(code) for code in codes], found.layers),
            "layer": np.tile(np.arange(found.layers), len(order)),
            "count": counts[order].ravel(),
        }
    )


def specific_document(plan: Plan, found: LanguageSpecific) -> dict:
    """Language-specific neurons with what they were found in, as JSON can say it."""
    return {
        "model": plan.source.name,
        "corpus": plan.corpus.name,
        "neuron": plan.experiment.neuron,
        "layers": plan.info.layers,
        "neurons_a_layer": plan.info.neurons,
        "drop_below": found.drop_below,
        "assign_above": found.assign_above,
        "neurons": found.table().to_dict("records"),
    }


def summary_table(
    counts: ActivationCounts, criterion: ActivationCriterion, pivot: str, found: LanguageSpecific
) -> pd.DataFrame:
    """`neuron_rankings.summary` with label, script and family of every language."""
    table = neuron_rankings.summary(counts, criterion, pivot, found)
    table.insert(1, "label", [languages.label(code) for code in table["language"]])
    table.insert(2, "script", [languages.script(code) or "" for code in table["language"]])
    table.insert(3, "family", [languages.family(code) for code in table["language"]])
    return table


def set_label(name: str) -> str:
    """The name of a set of neurons as a person reads it."""
    return CORE if name == CORE else languages.label(name)


def effects_drawn(
    table: pd.DataFrame, names: Sequence[str], codes: Sequence[str], change: str, pivot: str, controls: int, most: int
) -> tuple[pd.DataFrame, bool]:
    """What is drawn of an ablation's table: of each set and its random controls (mean) the effect on each language.

    names: of the sets. change: one of CHANGES. The pivot's alignment with itself is left out. most: languages that can
    be drawn, those with the largest changes. Columns: group, set, label, value. Also: whether any were left out.
    """
    wide = table.pivot(index="set", columns="language", values=f"change_{change}")
    own = {name: wide.loc[name] for name in names if name in wide.index}
    drawn = {name: controls_of(wide, name, controls) for name in names}
    groups = {
        "the set itself": own,
        "random neurons (mean)": {name: effects.mean() for name, effects in drawn.items() if len(effects)},
    }
    rows = [
        {"group": group, "set": set_label(name), "label": languages.label(code), "value": values[code]}
        for group, effects in groups.items()
        for name, values in effects.items()
        for code in codes
        if code in values and np.isfinite(values[code]) and not (change != "nats_per_byte" and code == pivot)
    ]
    found = pd.DataFrame(rows, columns=["group", "set", "label", "value"])
    if found["label"].nunique() <= most:
        return found, False
    strongest = found["value"].abs().groupby(found["label"]).max().nlargest(most).index
    return found[found["label"].isin(strongest)], True


def controls_of(wide: pd.DataFrame, name: str, controls: int) -> pd.DataFrame:
    """The rows of a set's random controls, as far as they are measured."""
    return wide.loc[[one for k in range(1, controls + 1) if (one := control_name(name, k)) in wide.index]]


def effects_summary(
    table: pd.DataFrame, sets: Mapping[str, Neurons], codes: Sequence[str], change: str, controls: int
) -> pd.DataFrame:
    """A row per ablated set: its effect on its own language, that of its random controls on it, and on the others.

    Columns: set, neurons, effect on itself, random: effect on it, mean, random: lowest, random: highest, random: as
    large (how many controls cost the language as much or more), random: measured, p (their share with the set itself
    counted among them, NaN before all controls are measured), effect on the others, mean; those that no set has are
    missing.
    """
    wide = table.pivot(index="set", columns="language", values=f"change_{change}")
    loss = 1 if change == "nats_per_byte" else -1
    rows = []
    for name, neurons in sets.items():
        if name not in wide.index:
            continue
        others = [code for code in codes if code != name and code in wide.columns]
        row = {"set": set_label(name), "neurons": neurons.count}
        drawn = controls_of(wide, name, controls)
        if name in wide.columns:
            row["effect on itself"] = own = wide.loc[name, name]
            effects = drawn[name].dropna()
            if len(effects) and np.isfinite(own):
                row["random: effect on it, mean"] = effects.mean()
                row["random: lowest"], row["random: highest"] = effects.min(), effects.max()
                row["random: as large"] = as_large = int((loss * effects >= loss * own).sum())
                row["random: measured"] = len(effects)
                row["p"] = (1 + as_large) / (1 + controls) if len(effects) == controls else np.nan
        row["effect on the others, mean"] = wide.loc[name, others].mean() if others else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def effects_sentences(summary: pd.DataFrame, controls: int, change: str) -> list[str]:
    """What an `effects_summary` shows of each set that has controls; of unfinished ones, also what they cost so far."""
    said = []
    loss = 1 if change == "nats_per_byte" else -1
    for row in summary.to_dict("records"):
        measured = row.get("random: measured", np.nan)
        if not measured > 0:
            continue
        as_large, own = int(row["random: as large"]), row["effect on itself"]
        cost = "costs" if as_large == 1 else "cost"
        if measured < controls:
            text = f"{measured:.0f} of {controls} random sets are measured, "
            text += (
                f"of which {as_large} {cost} the language as much or more" if as_large else "none costs as much so far"
            )
        elif loss * own > 0 and row["p"] <= 0.05:
            text = f"ablation costs the language more than random neurons as often active do (p = {row['p']:.3f})"
        elif loss * own <= 0:
            text = f"ablation costs the language nothing (p = {row['p']:.3f})"
        else:
            text = f"no more than random neurons as often active: {as_large} of {controls} random sets {cost} the "
            text += f"language as much or more (p = {row['p']:.3f})"
        said.append(f"{row['set']}: {text}.")
    return said
