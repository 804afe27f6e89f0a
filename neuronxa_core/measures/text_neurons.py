"""Which neurons stand out in one or two typed texts, and which are active in both."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import overlap
from neuronxa_core.states.per_token import TextStates

# -------------------------------------------------------------------------------------------------- what stands out


def _mean_abs(states: TextStates) -> np.ndarray:
    """Mean of |a| over the tokens, float64 [layer, neuron]."""
    return np.stack([np.abs(layer).mean(axis=0, dtype=np.float64) for layer in states.values])


def _share_active(states: TextStates) -> np.ndarray:
    """Share of the tokens with a > 0, float64 [layer, neuron]."""
    return np.stack([(layer > 0).mean(axis=0) for layer in states.values])


def _highest(values: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Layers and neurons of the highest values [layer, neuron], best first; equal ones by layer, then neuron."""
    best = np.argsort(-values, axis=None, kind="stable")[:top]
    return np.unravel_index(best, values.shape)


def strongest(states: TextStates, top: int = 50) -> pd.DataFrame:
    """The neurons with the highest mean of |a| over a text's tokens, best first.

    Columns: layer, neuron (from 0), mean_abs, share_active (of the tokens, in [0, 1]), peak (the activation that is
    farthest from 0, with its sign), peak_token (its position, the first token being 1).
    """
    mean_abs, share = _mean_abs(states), _share_active(states)
    layer, neuron = _highest(mean_abs, top)
    columns = states.values[layer, :, neuron]
    at = np.abs(columns).argmax(axis=1)
    return pd.DataFrame(
        {
            "layer": layer,
            "neuron": neuron,
            "mean_abs": mean_abs[layer, neuron],
            "share_active": share[layer, neuron],
            "peak": columns[np.arange(len(at)), at],
            "peak_token": at + 1,
        }
    )


def shared_neurons(x: TextStates, y: TextStates, threshold: float = 0.0) -> pd.DataFrame:
    """How the active sets of two texts overlap, layer by layer.

    A neuron is active in a text where the share of its tokens with a > 0 is above `threshold`, in [0, 1). Columns:
    layer, active_x, active_y, both, jaccard (in [0, 1]; 0 where both sets are empty). Raises ExperimentError for texts
    of two models and a threshold outside its range.
    """
    sets_x, sets_y = _active(x, y, threshold)
    overlaps = [overlap.jaccard(a[None], b[None])[0, 0] for a, b in zip(sets_x, sets_y, strict=True)]
    return pd.DataFrame(
        {
            "layer": np.arange(len(sets_x)),
            "active_x": sets_x.sum(axis=1),
            "active_y": sets_y.sum(axis=1),
            "both": (sets_x & sets_y).sum(axis=1),
            "jaccard": overlaps,
        }
    )


def strongest_shared(x: TextStates, y: TextStates, top: int = 50, threshold: float = 0.0) -> pd.DataFrame:
    """The neurons active in both texts whose weaker mean of |a| is highest, best first.

    Active is what it is in `shared_neurons`. Columns: layer, neuron (from 0), weaker (the lower of the two means),
    mean_abs_x, mean_abs_y, share_active_x, share_active_y. Raises as `shared_neurons` does.
    """
    sets_x, sets_y = _active(x, y, threshold)
    means, shares = [_mean_abs(x), _mean_abs(y)], [_share_active(x), _share_active(y)]
    both = sets_x & sets_y
    weaker = np.where(both, np.minimum(*means), -1.0)
    layer, neuron = _highest(weaker, min(top, int(both.sum())))
    return pd.DataFrame(
        {
            "layer": layer,
            "neuron": neuron,
            "weaker": weaker[layer, neuron],
            "mean_abs_x": means[0][layer, neuron],
            "mean_abs_y": means[1][layer, neuron],
            "share_active_x": shares[0][layer, neuron],
            "share_active_y": shares[1][layer, neuron],
        }
    )


def _active(x: TextStates, y: TextStates, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Active sets of two texts, bool [layer, neuron]."""
    if not 0 <= threshold < 1:
        raise ExperimentError(f"the threshold of activity is a share from 0 to below 1, not {threshold}")
    if (x.values.shape[0], x.values.shape[2]) != (y.values.shape[0], y.values.shape[2]):
        raise ExperimentError("the two texts were read by different models; compare texts of one model")
    return _share_active(x) > threshold, _share_active(y) > threshold
