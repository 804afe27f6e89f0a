"""Two models over their languages, and correlations within several."""

import numpy as np
import pandas as pd
import pytest
from plain_statistics import CLOSE, X, Y, nan, quick, slow_p

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics import across_models, partial

pytestmark = pytest.mark.filterwarnings("error")


def test_the_difference_of_two_models():
    a = {"deu": 0.9, "fra": 0.8, "swh": 0.3, "zho": 0.6, "yor": 0.2, "only": 0.5, "gone": nan}
    b = pd.Series({"yor": 0.3, "zho": 0.5, "swh": 0.1, "fra": 0.8, "deu": 0.6, "other": 0.4, "gone": 0.1})
    found = across_models.paired_difference(a, b, resamples=300, seed=1, level=0.8)
    assert found.languages == ("deu", "fra", "swh", "zho", "yor")
    assert found.n == 5
    differences = np.array([0.3, 0, 0.2, 0.1, -0.1])
    assert found.difference == pytest.approx(0.1)
    # 0.8 - 0.8 is 0, and not above it
    assert found.share_first_larger == pytest.approx(3 / 5)
    draws = np.random.default_rng(1).integers(5, size=(300, 5))
    slow = [sum(differences[k] for k in drawn) / 5 for drawn in draws]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(slow, [0.1, 0.9])), abs=CLOSE)
    assert found.few
    by_place = across_models.paired_difference(X, Y)
    assert by_place.difference == pytest.approx(np.mean(X) - np.mean(Y))
    assert by_place.languages == tuple(range(12))
    assert not by_place.few


def test_what_cannot_be_paired():
    with pytest.raises(ExperimentError, match="at least 5"):
        across_models.paired_difference({"deu": 1, "fra": 2}, {"deu": 1, "fra": 2})
    with pytest.raises(ValueError, match="by name or by place"):
        across_models.paired_difference({"deu": 1}, [1])
    with pytest.raises(ValueError, match="shapes"):
        across_models.paired_difference(X, Y[1:])
    with pytest.raises(ValueError, match="'deu' is there twice"):
        across_models.paired_difference(pd.Series([1, 2], ["deu", "deu"]), {"deu": 1})


def models_frame(**columns):
    return pd.DataFrame({"model": [*"abc"] * 4, "x": X, "y": Y} | columns)


def test_pooled_and_within_are_what_they_say():
    frame = models_frame(model=[*"aaaaabbbbccc"])
    lacking = pd.DataFrame({"model": ["a", None], "x": [0.5, 0.5], "y": [nan, 0.9]})
    found = across_models.pooled_and_within(pd.concat([frame, lacking]))
    assert found.n == 12
    pooled = quick(X, Y)
    assert (found.pooled_r, found.pooled_low, found.pooled_high, found.pooled_p) == pytest.approx(
        (pooled.pearson_r, pooled.pearson_low, pooled.pearson_high, pooled.pearson_p), abs=CLOSE
    )
    # holding the model constant: the partial correlation given the model
    within = partial.partial(X, Y, frame[["model"]])
    assert (found.within_r, found.within_low, found.within_high, found.within_p) == pytest.approx(
        (within.pearson_r, within.pearson_low, within.pearson_high, within.pearson_p), abs=CLOSE
    )
    assert found.within_p == pytest.approx(slow_p(found.within_r, 12 - 3 - 1), abs=CLOSE)
    table = found.per_model.set_index("model")
    assert table["n"].to_dict() == {"a": 5, "b": 4, "c": 3}
    one = quick(X[:5], Y[:5])
    assert table.loc["a", ["r", "low", "high", "p"]].tolist() == pytest.approx(
        [one.pearson_r, one.pearson_low, one.pearson_high, one.pearson_p], abs=CLOSE
    )
    assert table.loc[["b", "c"], ["r", "low", "high", "p"]].isna().all(axis=None)
    assert not found.simpson


def test_simpsons_paradox_is_flagged():
    random = np.random.default_rng(0)
    step = np.tile(np.arange(10) / 10, 3)
    shift = np.repeat([0, 2, 4], 10)
    turned = pd.DataFrame({"model": shift, "x": shift + step, "y": shift - step + 0.1 * random.normal(size=30)})
    found = across_models.pooled_and_within(turned)
    assert found.pooled_low > 0 > found.within_high
    assert found.simpson
    assert across_models.pooled_and_within(turned.assign(y=-turned["y"])).simpson
    alike = turned.assign(y=shift + step + 0.1 * random.normal(size=30))
    assert not across_models.pooled_and_within(alike).simpson


@pytest.mark.parametrize("sign", [1, -1])
def test_simpsons_paradox_over_models_too_small_to_have_a_sign(sign):
    step, shift = np.tile([0, 0.1, 0.2, 0.3], 8), np.repeat(np.arange(8), 4)
    noise = 0.02 * np.random.default_rng(0).normal(size=32)
    found = across_models.pooled_and_within(
        pd.DataFrame({"model": shift, "x": shift + step, "y": sign * (shift - step + noise)})
    )
    assert found.per_model["r"].isna().all()
    assert sign * found.pooled_r > 0.9
    assert sign * found.within_r < -0.9
    assert found.simpson


def test_simpsons_paradox_where_no_interval_is_sure():
    # by 5 languages of each of two models; each alone falls a little, together they rise a little
    a, b = [0.0, 1, 2, 3, 4], [1.0, 0, 2, 1, 0]
    frame = pd.DataFrame({"model": ["a"] * 5 + ["b"] * 5, "x": a + [v + 3 for v in a], "y": b + [v + 1.2 for v in b]})
    found = across_models.pooled_and_within(frame)
    assert found.pooled_low < 0 < found.pooled_r
    assert (found.per_model["r"] < 0).all()
    assert found.simpson


def test_models_that_are_constant_within():
    frame = pd.DataFrame(
        {"model": ["a"] * 5 + ["b"] * 5, "x": [0.1 + 0.2, 0.3] * 2 + [0.3] + [0.7] * 5, "y": range(10)}
    )
    found = across_models.pooled_and_within(frame)
    assert found.pooled_r > 0
    assert np.isnan([found.within_r, found.within_low, found.within_p]).all()
    assert found.per_model["r"].isna().all()
    assert not found.simpson


def test_too_little_to_look_within():
    with pytest.raises(ExperimentError, match=r"12 points of 9 models.*at least 13"):
        across_models.pooled_and_within(models_frame(model=[*"abcdefghiiii"]))
    with pytest.raises(ValueError, match="no column model and no y"):
        across_models.pooled_and_within(pd.DataFrame({"x": X}))
