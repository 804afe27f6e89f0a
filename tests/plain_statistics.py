"""Statistics by loops from the textbook, and twelve made-up languages: what the statistics are tested against."""

import itertools
import math

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from scipy.integrate import quad

from neuronxa_core.statistics import correlation

CLOSE = 1e-9
# alignment, task score, log of training tokens, family, and model of twelve made-up languages
X = [0.91, 0.85, 0.42, 0.77, 0.30, 0.66, 0.58, 0.12, 0.95, 0.71, 0.25, 0.49]
Y = [0.62, 0.70, 0.41, 0.55, 0.35, 0.58, 0.44, 0.31, 0.66, 0.45, 0.38, 0.52]
SIZE = [4.9, 4.1, 2.2, 3.6, 2.5, 3.9, 2.8, 1.4, 4.4, 2.6, 1.9, 3.1]
FAMILY = [{"G": "Germanic", "B": "Bantu", "R": "Romance"}[letter] for letter in "GGBRBRRBGRBG"]
NAMES = [f"l{k}" for k in range(12)]
nan = math.nan


@st.composite
def pairs(draw, fewest=5, most=14):
    """(x, y) of some languages, on a grid so that ties occur, and neither constant."""
    n = draw(st.integers(fewest, most))
    values = st.lists(st.integers(-40, 40).map(lambda v: v / 8), min_size=n, max_size=n)
    x, y = np.array(draw(values)), np.array(draw(values))
    assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    return x, y


def random_pair(seed=0, n=20, slope=0.6):
    random = np.random.default_rng(seed)
    x = random.normal(size=n)
    return x, slope * x + random.normal(size=n)


def quick(x, y, **options):
    return correlation.correlate(x, y, **{"resamples": 20, **options})


def slow_pearson(x, y):
    n = len(x)
    mean_x, mean_y = math.fsum(x) / n, math.fsum(y) / n
    xy = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    xx = math.fsum((a - mean_x) ** 2 for a in x)
    yy = math.fsum((b - mean_y) ** 2 for b in y)
    return nan if xx == 0 or yy == 0 else xy / math.sqrt(xx * yy)


def slow_ranks(values):
    return [sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2 for value in values]


def slow_tau_b(x, y):
    agree = tied_x = tied_y = 0
    couples = list(itertools.combinations(range(len(x)), 2))
    for i, j in couples:
        agree += np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
        tied_x += x[i] == x[j]
        tied_y += y[i] == y[j]
    return agree / math.sqrt((len(couples) - tied_x) * (len(couples) - tied_y))


def slow_t_tail(t, dof):
    """Two-sided p of Student's t by integrating its density."""
    scale = math.gamma((dof + 1) / 2) / (math.sqrt(dof * math.pi) * math.gamma(dof / 2))
    inside, _ = quad(lambda u: scale * (1 + u * u / dof) ** (-(dof + 1) / 2), -abs(t), abs(t), epsabs=1e-13)
    return 1 - inside


def slow_p(r, dof):
    return slow_t_tail(r * math.sqrt(dof / (1 - r * r)), dof)


def slow_line(x, y):
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
    return slope, mean_y - slope * mean_x
