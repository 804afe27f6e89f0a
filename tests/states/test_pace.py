"""How long a run will take: a case worked by hand, and what a run leaves for the next."""

import pytest

from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import alignment
from neuronxa_core.states import computing, pace, planning
from neuronxa_core.states.pools import ModelPool


@pytest.fixture
def plan(store, tmp_path):
    """6 bytes of English, 4 of German, 8 of French."""
    for code, text in {"eng": "ab\nabcd", "deu": "ä\nab", "fra": "abcd\nefgh"}.items():
        (tmp_path / f"{code}.txt").write_text(text, "utf-8")
    return planning.make_plan(Experiment(corpus=str(tmp_path), pivot="eng"), store)


def test_the_time_of_a_run_follows_the_bytes_that_are_missing(plan, store):
    assert pace.seconds_of(plan, store) is None
    for planted in (3, "x", [1], [1, "y"], [1, None], {"a": 1}, [1e308, 1e308]):
        store.put_json(pace._key(plan), planted)
        assert pace.seconds_of(plan, store) is None
    assert "pace" not in pace.summary(plan, store)
    pace.keep(plan, store, ["eng", "deu"], 0.5, 3)  # 0.05 s per byte
    assert pace.seconds_of(plan, store) == pytest.approx(3 + 0.05 * 18)
    pace.keep(plan, store, ["deu"], 0.4, 1)  # too short to replace what is known
    assert pace.seconds_of(plan, store) == pytest.approx(3 + 0.05 * 18)
    pace.keep(plan, store, ["eng", "deu"], 20, None)  # the model was loaded already
    assert pace.seconds_of(plan, store) == pytest.approx(3 + 2 * 18)
    assert pace.summary(plan, store).startswith("3 languages to compute, about ")
    assert pace.summary(plan, store, kept=False) == (
        "3 languages to compute, about 39 s at the pace of this model's last run"
    )


def test_a_run_leaves_its_pace_also_where_it_keeps_no_states(plan, store, tmp_path):
    alignment.align_without_keeping(plan, store, ModelPool(), ["nas"], "weighted")
    assert 0 < pace.seconds_of(plan, store) < 60
    computing.compute_missing(plan, store, ModelPool())
    assert pace.seconds_of(plan, store) == 0
