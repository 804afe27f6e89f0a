"""Which neurons languages share: activation probabilities, active sets, Jaccard overlap, shared core, LAPE.

The activation probability of neuron (l, j) in a language is the share of the language's real tokens with a > 0. A
language's active set at a layer are the neurons whose probability passes an `ActiveRule`. Everything here works layer
by layer on activation counts, so that 200 languages of a large model fit into memory.

Overlap of sets says which neurons two languages use; it does not say what for. Source of the terms: Huang et al.,
ACL 2025 (overlap of parallel sentences); Tang et al., ACL 2024 (LAPE, language activation probability entropy).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import entr

from neuronxa_core.alignment import resampling_weights
from neuronxa_core.errors import ExperimentError

# part of the key under which activation counts are kept: raise it whenever they could change
VERSION = 1
# entropies closer than this are taken as equal, so that the order in which a sum is made decides nothing
ENTROPY_DECIMALS = 12
# cells of the histogram with which a percentile of all probabilities is found
BINS = 1 << 16


@dataclass(frozen=True)
class Activity:
    """How often each neuron was active, by language.

    counts: tokens with a > 0, [language, layer, neuron] unsigned integers. tokens: all real tokens, [language].
    """

    languages: tuple[str, ...]
    counts: np.ndarray
    tokens: np.ndarray

    def __post_init__(self) -> None:
        if self.counts.ndim != 3 or len(self.counts) != len(self.languages) or len(self.tokens) != len(self.languages):
            raise ValueError(f"{len(self.languages)} languages, but counts of shape {self.counts.shape}")
        if len(self.tokens) and int(np.min(self.tokens)) < 1:
            raise ExperimentError("a language without tokens has no activation probabilities")

    @property
    def layers(self) -> int:
        return self.counts.shape[1]

    @property
    def neurons(self) -> int:
        """Neurons of one layer."""
        return self.counts.shape[2]

    def probability(self, layer: int) -> np.ndarray:
        """Activation probabilities of a layer, [language, neuron] float64 in [0, 1]."""
        return self.counts[:, layer] / np.asarray(self.tokens, dtype=np.float64)[:, None]

    def at(self, layer: int | np.ndarray, neuron: int | np.ndarray) -> np.ndarray:
        """Activation probabilities of single neurons, [language] or, of arrays [found], [language, found]."""
        return (self.counts[:, layer, neuron].T / np.asarray(self.tokens, dtype=np.float64)).T

    def of(self, languages: Sequence[str]) -> Activity:
        """The same for some of the languages, in the order given."""
        at = [self.languages.index(code) for code in languages]
        return Activity(tuple(languages), self.counts[at], np.asarray(self.tokens)[at])


@dataclass(frozen=True)
class ActiveRule:
    """When a neuron counts as active in a language.

    `threshold`: its probability is above `value`, in [0, 1). `top`: it is among the share `value`, in (0, 1], of the
    layer's neurons with the highest probability; where several tie for the last place the lower numbers get it, and a
    neuron that was never active is left out.
    """

    kind: Literal["threshold", "top"] = "top"
    value: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in ("threshold", "top"):
            raise ExperimentError(f"neurons are active by threshold or top, not by {self.kind!r}")
        if self.kind == "threshold" and not 0 <= self.value < 1:
            raise ExperimentError(f"a threshold is at least 0 and below 1, not {self.value}")
        if self.kind == "top" and not 0 < self.value <= 1:
            raise ExperimentError(f"a top share is above 0 and at most 1, not {self.value}")

    def sets(self, probability: np.ndarray) -> np.ndarray:
        """Active sets of [..., neuron] probabilities, bool of the same shape."""
        if self.kind == "threshold":
            return probability > self.value
        neurons = probability.shape[-1]
        k = max(1, round(self.value * neurons))
        kth = np.partition(probability, neurons - k, axis=-1)[..., neurons - k, None]
        above = probability > kth
        ties = probability == kth
        free = k - above.sum(axis=-1, keepdims=True)
        return (above | (ties & (np.cumsum(ties, axis=-1) <= free))) & (probability > 0)

    def all_sets(self, activity: Activity) -> np.ndarray:
        """Active sets of every layer, bool [language, layer, neuron]."""
        active = np.empty(activity.counts.shape, dtype=bool)
        for layer in range(activity.layers):
            active[:, layer] = self.sets(activity.probability(layer))
        return active

    def __str__(self) -> str:
        if self.kind == "threshold":
            return f"active in more than {100 * self.value:.3g} % of the tokens"
        return f"the {100 * self.value:.3g} % most often active"


def _intersections(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|A n B| of all rows of two bool matrices [n, neuron] and [m, neuron]: [n, m], exact below 2^24 neurons."""
    return (x.astype(np.float32) @ y.astype(np.float32).T).astype(np.float64)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where the whole is 0: an empty set shares nothing."""
    return np.divide(part, whole, out=np.zeros(np.broadcast_shapes(part.shape, whole.shape)), where=whole > 0)


def jaccard(x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    """|A n B| / |A u B| of the sets in the rows of x [n, neuron] and y [m, neuron] (x itself if not given), bool.

    Returns [n, m] float64 in [0, 1]; two empty sets have 0.
    """
    y = x if y is None else y
    shared = _intersections(x, y)
    return _ratio(shared, x.sum(axis=1)[:, None] + y.sum(axis=1)[None, :] - shared)


def conditional(x: np.ndarray) -> np.ndarray:
    """|A n B| / |A| of the sets in the rows of x, bool [language, neuron]: [A, B] in [0, 1], not symmetric."""
    return _ratio(_intersections(x, x), x.sum(axis=1)[:, None].astype(np.float64))


def chance_jaccard(a: float, b: float, neurons: int) -> float:
    """The overlap of independent sets of a and b of so many neurons: the expected |A n B| over the expected |A u B|."""
    shared = a * b / neurons
    whole = a + b - shared
    return shared / whole if whole else 0.0


def overlap_by_layer(activity: Activity, rule: ActiveRule, measure: str = "jaccard") -> np.ndarray:
    """Overlap of every pair of languages at every layer, [layer, language, language] in [0, 1].

    measure: `jaccard`, or `conditional` with [layer, A, B] = |A n B| / |A|.
    """
    measures = {"jaccard": jaccard, "conditional": conditional}
    if measure not in measures:
        raise ExperimentError(f"overlap is measured by jaccard or conditional, not by {measure!r}")
    count = len(activity.languages)
    overlaps = np.empty((activity.layers, count, count))
    for layer in range(activity.layers):
        overlaps[layer] = measures[measure](rule.sets(activity.probability(layer)))
    return overlaps


@dataclass(frozen=True)
class ParallelOverlap:
    """Overlap of sentences' active sets at one layer, each (value, low, high) with a percentile bootstrap interval.

    parallel: mean Jaccard of translations. mismatched: mean Jaccard of all other pairs. difference: the first minus the
    second, what meaning rather than language contributes.
    """

    parallel: tuple[float, float, float]
    mismatched: tuple[float, float, float]
    difference: tuple[float, float, float]


def parallel_overlap(
    x: np.ndarray, y: np.ndarray, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> ParallelOverlap:
    """Mean Jaccard of translations' active sets against that of mismatched sentences.

    x, y: active sets of n parallel sentences, bool [n, neuron]; n at least 2. A resample draws sentences; a mismatched
    pair counts as often as both of its sentences are drawn, and a sentence is never paired with its own translation as
    a mismatch.
    """
    n = len(x)
    if n < 2:
        raise ExperimentError("mismatched pairs need at least 2 parallel sentences")
    pairs = jaccard(x, y)
    own = np.diag(pairs).copy()
    weights = np.vstack([np.ones(n), resampling_weights(n, resamples, seed)]).astype(np.float64)
    parallel = weights @ own / n
    squares = weights**2
    among_others = np.einsum("ri,ri->r", weights @ pairs, weights) - squares @ own
    chances = n**2 - squares.sum(axis=1)
    drawn_more_than_one = chances > 0
    mismatched = among_others[drawn_more_than_one] / chances[drawn_more_than_one]
    parallel = parallel[drawn_more_than_one]
    tail = (1 - level) / 2

    def with_interval(values: np.ndarray) -> tuple[float, float, float]:
        low, high = np.quantile(values[1:], [tail, 1 - tail])
        return float(values[0]), float(low), float(high)

    return ParallelOverlap(with_interval(parallel), with_interval(mismatched), with_interval(parallel - mismatched))


@dataclass(frozen=True)
class Intersection:
    """Neurons that are active in exactly these languages and in no other of those compared."""

    languages: tuple[str, ...]
    layer: np.ndarray
    neuron: np.ndarray

    @property
    def size(self) -> int:
        return len(self.neuron)


def exclusive_intersections(active: np.ndarray, languages: Sequence[str]) -> list[Intersection]:
    """How many neurons are shared by exactly which languages, the largest first; neurons active in none are left out.

    active: bool [language, layer, neuron], of at most 16 languages. The sizes add up to the size of the union.
    """
    if len(languages) > 16:
        raise ExperimentError(f"exact intersections are told for at most 16 languages, not for {len(languages)}")
    pattern = np.zeros(active.shape[1:], dtype=np.int64)
    for k in range(len(languages)):
        pattern |= active[k].astype(np.int64) << k
    found = []
    for code in np.unique(pattern[pattern > 0]):
        layer, neuron = np.nonzero(pattern == code)
        members = tuple(language for k, language in enumerate(languages) if code >> k & 1)
        found.append(Intersection(members, layer, neuron))
    return sorted(found, key=lambda i: (-i.size, len(i.languages), i.languages))


@dataclass(frozen=True)
class SharedCore:
    """Neurons active in all languages, by layer, against independent sets of the same sizes.

    observed: how many, [layer]. expected, deviation: mean and standard deviation of that number if every language drew
    its active set at random, [layer]. z: (observed - expected) / deviation, NaN where the deviation is 0.
    """

    observed: np.ndarray
    expected: np.ndarray
    deviation: np.ndarray

    @property
    def z(self) -> np.ndarray:
        gap = self.observed - self.expected
        return np.divide(gap, self.deviation, out=np.full(len(gap), np.nan), where=self.deviation > 0)


def shared_core(active: np.ndarray) -> SharedCore:
    """The shared core of the sets active [language, layer, neuron].

    Of independent uniformly drawn sets of sizes a_k among N neurons, the intersection X has mean N prod(a_k / N) and
    E[X (X - 1)] = N (N - 1) prod(a_k (a_k - 1) / (N (N - 1))), whence its variance.
    """
    neurons = active.shape[2]
    sizes = active.sum(axis=2, dtype=np.int64).astype(np.float64)
    expected = neurons * np.prod(sizes / neurons, axis=0)
    pairs = np.zeros_like(expected)
    if neurons > 1:
        pairs = neurons * (neurons - 1) * np.prod(sizes * (sizes - 1) / (neurons * (neurons - 1)), axis=0)
    variance = pairs + expected - expected**2
    # a variance of 0 comes out as rounding errors of the terms it is made of
    variance[variance < 1e-9 * (1 + expected**2)] = 0
    return SharedCore(active.all(axis=0).sum(axis=1), expected, np.sqrt(variance))


@dataclass(frozen=True)
class LanguageSpecific:
    """LAPE's language-specific neurons, by entropy, the lowest first.

    layer, neuron: [found]. entropy: of the probabilities normalised over languages, in nats, [found] in [0, ln L].
    probability: [found, language]. members: the languages that a neuron is assigned to, bool [found, language]; a
    neuron may have several, or none where the assigning percentile is above the dropping one.
    drop_below, assign_above: the probabilities that the two percentiles came to.
    """

    languages: tuple[str, ...]
    layer: np.ndarray
    neuron: np.ndarray
    entropy: np.ndarray
    probability: np.ndarray
    members: np.ndarray
    drop_below: float
    assign_above: float
    layers: int

    def of(self, language: str) -> tuple[np.ndarray, np.ndarray]:
        """(layer, neuron) of the neurons assigned to a language."""
        chosen = self.members[:, self.languages.index(language)]
        return self.layer[chosen], self.neuron[chosen]

    def counts(self) -> np.ndarray:
        """How many neurons are assigned to each language at each layer, [language, layer]."""
        counts = np.zeros((len(self.languages), self.layers), dtype=np.int64)
        for k in range(len(self.languages)):
            np.add.at(counts[k], self.layer[self.members[:, k]], 1)
        return counts

    def masks(self) -> dict[str, list[list[int]]]:
        """LAPE's mask format: for every language a list a layer of neuron numbers, ascending."""
        masks: dict[str, list[list[int]]] = {}
        for language in self.languages:
            layer, neuron = self.of(language)
            masks[language] = [sorted(neuron[layer == k].tolist()) for k in range(self.layers)]
        return masks


def _kth_smallest(activity: Activity, ks: Sequence[int]) -> list[float]:
    """The k-th smallest (from 1) of all probabilities, for each k, exactly, without holding them all at once.

    A histogram over all layers tells in which cell each lies; a second pass sorts just those cells.
    """
    histogram = np.zeros(BINS, dtype=np.int64)
    for layer in range(activity.layers):
        histogram += np.bincount(_cells(activity.probability(layer)), minlength=BINS)
    upto = np.cumsum(histogram)
    cells = {k: int(np.searchsorted(upto, k)) for k in ks}
    inside: dict[int, list[np.ndarray]] = {cell: [] for cell in cells.values()}
    for layer in range(activity.layers):
        probability = activity.probability(layer)
        at = _cells(probability)
        for cell, parts in inside.items():
            parts.append(probability.ravel()[at == cell])
    values = []
    for k in ks:
        rank = k - 1 - (int(upto[cells[k] - 1]) if cells[k] else 0)
        values.append(float(np.partition(np.concatenate(inside[cells[k]]), rank)[rank]))
    return values


def _cells(probability: np.ndarray) -> np.ndarray:
    """The histogram cell of every probability, flat; larger ones never lie in smaller cells."""
    return (probability * (BINS - 1)).astype(np.int64).ravel()


def entropies(activity: Activity, drop_below: float) -> np.ndarray:
    """Entropy of each neuron's probabilities normalised over languages, in nats: [layer, neuron] in [0, ln L].

    inf for a neuron whose probability is in no language above `drop_below`.
    """
    entropy = np.full((activity.layers, activity.neurons), np.inf)
    for layer in range(activity.layers):
        probability = activity.probability(layer)
        kept = (probability > drop_below).any(axis=0)
        chosen = probability[:, kept]
        entropy[layer, kept] = entr(chosen / chosen.sum(axis=0)).sum(axis=0)
    return entropy


def lape(
    activity: Activity, share: float = 0.01, drop_percentile: float = 95, assign_percentile: float = 95
) -> LanguageSpecific:
    """Language-specific neurons by language activation probability entropy (Tang et al., ACL 2024).

    share: of all neurons, how many of the lowest entropy are taken, in (0, 1]. drop_percentile: a neuron that is in no
    language above this percentile of all probabilities is dropped first. assign_percentile: a neuron belongs to the
    languages in which it is above this one. Percentiles are the k-th smallest of all probabilities, k = their share of
    the number of probabilities, rounded, as in the authors' own program; equal entropies go by layer, then number.
    """
    if len(activity.languages) < 2:
        raise ExperimentError("language-specific neurons need at least 2 languages")
    if not 0 < share <= 1:
        raise ExperimentError(f"the share of neurons is above 0 and at most 1, not {share}")
    for name, percentile in (("drop", drop_percentile), ("assign", assign_percentile)):
        if not 0 <= percentile <= 100:
            raise ExperimentError(f"the {name} percentile is between 0 and 100, not {percentile}")
    amount = activity.counts.size
    ks = [min(amount, max(1, round(amount * p / 100))) for p in (drop_percentile, assign_percentile)]
    drop_below, assign_above = _kth_smallest(activity, ks)
    entropy = entropies(activity, drop_below).ravel()
    wanted = min(round(share * entropy.size), int(np.isfinite(entropy).sum()))
    order = np.argsort(np.round(entropy, ENTROPY_DECIMALS), kind="stable")[:wanted]
    layer, neuron = np.divmod(order, activity.neurons)
    probability = activity.at(layer, neuron).T
    return LanguageSpecific(
        activity.languages,
        layer,
        neuron,
        entropy[order],
        probability,
        probability > assign_above,
        drop_below,
        assign_above,
        activity.layers,
    )


def summary(activity: Activity, rule: ActiveRule, pivot: str, specific: LanguageSpecific) -> pd.DataFrame:
    """One row a language, over all layers: tokens, active neurons, those shared with the pivot, those specific to it.

    Columns: language, tokens, active, active_share, shared_with_pivot, jaccard_with_pivot, specific. The Jaccard
    overlap is the mean over layers.
    """
    at = activity.languages.index(pivot)
    count = len(activity.languages)
    active, shared, overlap = np.zeros(count), np.zeros(count), np.zeros(count)
    for layer in range(activity.layers):
        sets = rule.sets(activity.probability(layer))
        active += sets.sum(axis=1)
        shared += (sets & sets[at]).sum(axis=1)
        overlap += jaccard(sets, sets[at : at + 1])[:, 0]
    return pd.DataFrame(
        {
            "language": activity.languages,
            "tokens": np.asarray(activity.tokens, dtype=np.int64),
            "active": active.astype(np.int64),
            "active_share": active / (activity.layers * activity.neurons),
            "shared_with_pivot": shared.astype(np.int64),
            "jaccard_with_pivot": overlap / activity.layers,
            "specific": specific.counts().sum(axis=1),
        }
    )


RANKINGS = ("shared", "specific", "discriminating")


def rank_neurons(
    activity: Activity, by: str, *, x: str = "", y: str = "", layer: int | None = None, top: int = 100
) -> pd.DataFrame:
    """The neurons that stand out, best first: columns layer, neuron, value, and one probability a language concerned.

    by: `shared`, value = the lowest probability over all languages; `specific` to x, value = probability in x minus
    the highest in any other; `discriminating` between x and y, value = probability in x minus that in y, ordered by its
    size. layer: in one layer only. Equal values go by layer, then number.
    """
    if by not in RANKINGS:
        raise ExperimentError(f"neurons are ranked by {', '.join(RANKINGS)}, not by {by!r}")
    layers = range(activity.layers) if layer is None else [layer]
    value = np.empty((len(layers), activity.neurons))
    for k, number in enumerate(layers):
        probability = activity.probability(number)
        if by == "shared":
            value[k] = probability.min(axis=0)
        else:
            own = probability[activity.languages.index(x)]
            if by == "specific":
                others = np.delete(probability, activity.languages.index(x), axis=0)
                value[k] = own - (others.max(axis=0) if len(others) else 0)
            else:
                value[k] = own - probability[activity.languages.index(y)]
    size = np.abs(value) if by == "discriminating" else value
    order = np.argsort(-size.ravel(), kind="stable")[:top]
    at, neuron = np.divmod(order, activity.neurons)
    numbers = np.asarray(layers)[at]
    table = pd.DataFrame({"layer": numbers, "neuron": neuron, "value": value.ravel()[order]})
    concerned = {"shared": (), "specific": (x,), "discriminating": (x, y)}[by]
    probabilities = activity.at(numbers, neuron)
    for code in concerned:
        k = activity.languages.index(code)
        table[code] = probabilities[k]
    return table


def pairs_shared(activity: Activity, x: str, y: str, rule: ActiveRule, layer: int) -> pd.DataFrame:
    """Neurons active in both of two languages at a layer, by the lower of the two probabilities."""
    both = activity.of([x, y])
    probability = both.probability(layer)
    neuron = np.flatnonzero(rule.sets(probability).all(axis=0))
    table = pd.DataFrame({"layer": layer, "neuron": neuron, x: probability[0, neuron], y: probability[1, neuron]})
    lower = probability[:, neuron].min(axis=0)
    return table.iloc[np.argsort(-lower, kind="stable")].reset_index(drop=True)
