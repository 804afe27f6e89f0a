"""What stands out in typed texts, by hand and against a plain computation."""

import numpy as np
import pytest

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import text_neurons
from neuronxa_core.states import per_token
from neuronxa_core.states.per_token import TextStates


def states_of(values) -> TextStates:
    values = np.array(values, dtype=np.float32)
    return TextStates("x", tuple(range(values.shape[1])), values, False)


# [layer, token, neuron]
X = states_of([[[1, -4, 0], [3, 4, 0]], [[-1, 0.5, 2], [-1, 0.5, -2]]])
Y = states_of([[[2, -1, 1], [2, -1, 1], [2, -1, 1]], [[1, 1, 0], [0, 1, 0], [0, 1, 0]]])


def test_strongest_ranks_by_mean_size():
    table = text_neurons.strongest(X, top=4)
    assert table.values.tolist() == [
        [0, 1, 4.0, 0.5, -4.0, 1],
        [0, 0, 2.0, 1.0, 3.0, 2],
        [1, 2, 2.0, 0.5, 2.0, 1],
        [1, 0, 1.0, 0.0, -1.0, 1],
    ]
    assert list(table) == ["layer", "neuron", "mean_abs", "share_active", "peak", "peak_token"]
    assert len(text_neurons.strongest(X, top=1000)) == 6


def test_shared_neurons_counts_active_sets_by_layer():
    table = text_neurons.shared_neurons(X, Y)
    assert table.values.tolist() == [[0, 2, 2, 1, 1 / 3], [1, 2, 2, 1, 1 / 3]]
    half = text_neurons.shared_neurons(X, Y, threshold=0.5)
    assert half[["active_x", "active_y", "both"]].values.tolist() == [[1, 2, 1], [1, 1, 1]]
    nothing = states_of(-np.ones((2, 2, 3)))
    assert text_neurons.shared_neurons(nothing, nothing)["jaccard"].tolist() == [0.0, 0.0]


def test_strongest_shared_takes_the_weaker_of_the_two():
    table = text_neurons.strongest_shared(X, Y, top=5)
    assert table[["layer", "neuron", "weaker", "mean_abs_x", "mean_abs_y"]].values.tolist() == [
        [0, 0, 2.0, 2.0, 2.0],
        [1, 1, 0.5, 0.5, 1.0],
    ]
    assert table[["share_active_x", "share_active_y"]].values.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert len(text_neurons.strongest_shared(X, Y, top=1)) == 1
    assert len(text_neurons.strongest_shared(X, states_of(-np.ones((2, 1, 3))))) == 0


def test_texts_that_cannot_be_compared_are_refused():
    with pytest.raises(ExperimentError, match="different models"):
        text_neurons.shared_neurons(X, states_of(np.ones((2, 2, 4))))
    with pytest.raises(ExperimentError, match="threshold"):
        text_neurons.strongest_shared(X, Y, threshold=1.0)


def test_what_stands_out_agrees_with_a_plain_computation(loaded):
    x, y = per_token.text_activations(loaded("llama"), ["a dog runs in the rain", "猫は昼に"])
    best = text_neurons.strongest(x, top=1).iloc[0]
    means = np.abs(x.values.astype(np.float64)).mean(axis=1)
    assert means[int(best.layer), int(best.neuron)] == pytest.approx(means.max())
    token = x.values[int(best.layer), int(best.peak_token) - 1, int(best.neuron)]
    assert token == best.peak and abs(token) == np.abs(x.values[int(best.layer), :, int(best.neuron)]).max()
    for layer, row in text_neurons.shared_neurons(x, y).iterrows():
        a, b = ((s.values[layer] > 0).any(axis=0) for s in (x, y))
        assert row.jaccard == pytest.approx((a & b).sum() / (a | b).sum())
