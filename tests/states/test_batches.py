"""Sentences in batches: within the budget, each once, and at the least cost."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from neuronxa_core.states.batches import batches_by_length

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


@given(LENGTHS, st.integers(1, 200), st.integers(0, 100))
def test_batches_hold_every_sentence_once_within_the_budget(lengths, budget, pass_tokens):
    batches = batches_by_length(lengths, budget, pass_tokens)
    assert sorted(k for batch in batches for k in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[k] for k in batch) <= budget
    flat = [lengths[k] for batch in batches for k in batch]
    assert flat == sorted(lengths, reverse=True)


@given(st.lists(st.integers(1, 9), max_size=9), st.integers(1, 40), st.integers(0, 20))
def test_batches_cost_least(lengths, budget, pass_tokens):
    """Against every way to cut the sentences, longest first, into batches."""
    ordered = sorted(lengths, reverse=True)

    def cost(parts: list[list[int]]) -> int:
        return sum(len(part) * part[0] + pass_tokens for part in parts)

    ways = []
    for cuts in itertools.product([False, True], repeat=max(len(ordered) - 1, 0)):
        parts: list[list[int]] = []
        for length, new in zip(ordered, [True, *cuts], strict=False):
            parts = [*parts, [length]] if new else [*parts[:-1], [*parts[-1], length]]
        if all(len(part) == 1 or len(part) * part[0] <= budget for part in parts):
            ways.append(cost(parts))
    got = batches_by_length(lengths, budget, pass_tokens)
    assert cost([[lengths[k] for k in batch] for batch in got]) == min(ways)


def test_batches_by_hand():
    # all in one costs 5 x 12 + 10 = 70; 12 alone, 12 + 4 x 9 + 20 = 68; 12 and 9 apart from 5, 3 and 3, 24 + 15 + 20
    assert batches_by_length([3, 9, 5, 3, 12], 100, 10) == [[4, 1], [2, 0, 3]]
    assert batches_by_length([3, 9, 5, 3, 12], 100, 100) == [[4, 1, 2, 0, 3]]
    assert batches_by_length([3, 9, 5, 3, 12], 1) == [[4], [1], [2], [0], [3]]
    assert batches_by_length([2, 2, 2], 6, 1) == [[0, 1, 2]]
    assert batches_by_length([], 6) == []
