"""Made-up activation counts, and active sets as the definition has them: with fractions and Python's own sets."""

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion


def random_counts(seed=0, languages=5, layers=3, neurons=40, most_tokens=30):
    random = np.random.default_rng(seed)
    tokens = random.integers(1, most_tokens, languages)
    counts = random.binomial(tokens[:, None, None], random.random((languages, layers, neurons)))
    return ActivationCounts(tuple(f"l{k}" for k in range(languages)), counts.astype(np.uint32), tokens)


any_counts = st.builds(
    random_counts,
    st.integers(0, 2**32 - 1),
    st.integers(2, 6),
    st.integers(1, 3),
    st.integers(2, 30),
    st.sampled_from([2, 5, 40]),
)
any_criterion = st.one_of(
    st.builds(ActivationCriterion, st.just("threshold"), st.floats(0, 0.99)),
    st.builds(ActivationCriterion, st.just("top"), st.floats(0.01, 1)),
)


def slow_probability(counts):
    """[language][layer][neuron] as fractions."""
    return [
        [[Fraction(int(n), int(tokens)) for n in layer] for layer in language]
        for language, tokens in zip(counts.counts, counts.tokens, strict=True)
    ]


def slow_set(probabilities, criterion):
    """Active neurons of one layer of one language."""
    if criterion.kind == "threshold":
        return {j for j, p in enumerate(probabilities) if float(p) > criterion.value}
    k = max(1, round(criterion.value * len(probabilities)))
    order = sorted(range(len(probabilities)), key=lambda j: (-probabilities[j], j))
    return {j for j in order[:k] if probabilities[j] > 0}


def slow_sets(counts, criterion):
    """[language][layer] of active neurons."""
    return [[slow_set(layer, criterion) for layer in language] for language in slow_probability(counts)]


def slow_jaccard(a, b):
    return len(a & b) / len(a | b) if a | b else 0.0
