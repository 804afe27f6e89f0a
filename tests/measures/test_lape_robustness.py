"""Whether LAPE's neurons can be relied on: against loops over sentences, and what is said of it."""

import numpy as np
import pandas as pd
import pytest

from neuronxa_core.measures.activation_counts import activation_counts
from neuronxa_core.measures.lape import entropies, halves, lape
from neuronxa_core.measures.lape_robustness import LapeRobustness, robustness_sentence, shuffled_counts


def test_the_table_against_a_loop_over_sentences(three_languages, tokenwise):
    plan, store = three_languages
    measure = LapeRobustness(plan, 0.02)
    measure.run(store)
    row = measure.table(store).iloc[0]
    found = lape(activation_counts(plan, store), 0.02)
    first, second = (
        {(int(a), int(b)) for a, b in zip(one.layer, one.neuron, strict=True)}
        for one in (lape(activation_counts(half, store), 0.02) for half in halves(plan))
    )
    assert row["jaccard"] == len(first & second) / len(first | second)
    assert (row["definition"], row["neurons"]) == ("product", len(found.neuron))
    # sentences are dealt out line by line
    order = np.random.default_rng(0).permuted(np.tile(np.arange(3), (7, 1)), axis=1)
    counts, tokens = np.zeros((3, plan.info.layers, plan.info.neurons)), np.zeros(3)
    for k, code in enumerate(plan.all_languages):
        for line, values in enumerate(tokenwise(code)):
            counts[order[line, k]] += (values > 0).sum(axis=1)
            tokens[order[line, k]] += values.shape[1]
    shuffled = shuffled_counts(plan, store)
    # read alone, an activation of nearly 0 may have the other sign
    assert (shuffled.counts != counts).mean() < 1e-3
    np.testing.assert_allclose(shuffled.counts, counts, atol=1)
    np.testing.assert_array_equal(shuffled.tokens, tokens)
    null = (entropies(shuffled, found.drop_below) <= found.entropy.max() + 1e-12).sum()
    assert row["null"] == null < len(found.neuron)


@pytest.mark.parametrize(
    ("values", "said", "chance"),
    [
        ((100, 0.8, 1), "give 1 such neuron, against 100 here. Two halves of the sentences choose sets with", False),
        ((100, 0.1, 60), "Most of these may be chance.", True),
        ((100, np.nan, 0), "On halves of the sentences none is chosen.", False),
        ((0, np.nan, 0), "nothing to check", False),
    ],
)
def test_chance_is_said_only_where_shuffled_languages_give_as_many(values, said, chance):
    text = robustness_sentence(pd.DataFrame([values], columns=["neurons", "jaccard", "null"]))
    assert said in text
    assert ("may be chance" in text) == chance
