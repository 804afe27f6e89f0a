"""What Downstream says first, on planted correlations."""

import numpy as np
import pandas as pd
import pytest

from neuronxa_core.measures import task_tables
from neuronxa_core.measures.task_verdict import verdict


def said(x, y, **controls):
    frames = {name: pd.DataFrame({name: values}) for name, values in controls.items()}
    return verdict(task_tables.held_constant(np.asarray(x), np.asarray(y), frames)[0], "NASCA", "XNLI")


def test_each_planted_case():
    rng = np.random.default_rng(0)
    cause, noise, more = rng.normal(size=(3, 40))
    both = cause + 0.3 * noise, cause + 0.3 * more
    assert "**NASCA goes along with XNLI**: r = 0." in said(*both)
    assert "over 40 languages; with share held constant r = " in said(*both, share=cause)
    assert said(*both, share=cause).endswith("**likely confounded**.")
    # what has nothing to do with it confounds nothing
    assert said(*both, tokens=more + 5 * rng.normal(size=40)).endswith("with each of tokens held constant.")
    assert said(both[0], -both[1]).startswith("**NASCA goes against XNLI**: r = -0.")
    assert said(np.ones(40), both[1]).startswith("**NASCA or XNLI is the same in all languages**")


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_correlation(seed):
    x, y, share = np.random.default_rng(seed).normal(size=(3, 12))
    assert said(x, y, share=share).startswith("**No correlation of NASCA with XNLI is beyond chance**: r = ")


def test_by_hand():
    rows = [("nothing", 24, 0.74, 0.48, 0.88), ("training share", 24, -0.36, -0.67, 0.06)]
    table = pd.DataFrame(rows, columns=["held constant", "n", "r", "low", "high"])
    assert verdict(table, "NASCA", "topics") == (
        "**NASCA goes along with topics**: r = 0.74 [0.48, 0.88] over 24 languages; with training share held constant "
        "r = -0.36 [-0.67, 0.06]: **likely confounded**."
    )
    halved = table.assign(r=[0.74, 0.45])
    assert verdict(halved, "NASCA", "topics").endswith("over 24 languages. What else could explain it: *Robustness*.")
