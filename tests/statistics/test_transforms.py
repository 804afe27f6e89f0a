"""Log and logit by hand, and what has none."""

import math

import numpy as np
import pytest
from plain_statistics import nan

from neuronxa_core.errors import ExperimentError
from neuronxa_core.statistics import transforms

pytestmark = pytest.mark.filterwarnings("error")


def test_transforms_by_hand():
    # 0, 1 and 4 of 4 sentences: ln(.5 / 4.5), ln(1.5 / 3.5), ln(4.5 / .5)
    np.testing.assert_allclose(
        transforms.logit([0, 0.25, 1, nan], 4), [-math.log(9), math.log(3 / 7), math.log(9), nan], atol=1e-12
    )
    np.testing.assert_allclose(transforms.logit([0.5, 0.5], [10, 20]), [0, 0], atol=1e-12)
    np.testing.assert_allclose(transforms.log([1, math.e, nan]), [0, 1, nan])
    for how, wanted in (("identity", [0.5]), ("log", [math.log(0.5)]), ("logit", [0])):
        np.testing.assert_allclose(transforms.transformed([0.5], how, 10), wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("values", "how", "n", "said"),
    [
        ([0.5, 50], "logit", 10, "1 of 2 values are not between 0 and 1.*divide percentages"),
        ([-0.1], "logit", 10, "not between"),
        ([0.5], "logit", 0, "at least 1"),
        ([0.5], "logit", nan, "at least 1"),
        ([0.5], "logit", None, "needs the number"),
        ([0, -1, 2], "log", None, "2 of 3 values are 0 or below.*logit"),
        ([1], "square", None, "identity, logit, log, not by 'square'"),
    ],
)
def test_impossible_transforms_say_why(values, how, n, said):
    with pytest.raises(ExperimentError, match=said):
        transforms.transformed(values, how, n)
