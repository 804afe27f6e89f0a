"""What the tests of pages share: a page run without a browser, and what it shows."""

from contextlib import contextmanager
from pathlib import Path

from streamlit.testing.v1 import AppTest

from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import (
    activation_counts,
)
from neuronxa_core.states import planning
from neuronxa_core.store.cache import Store

ROOT = Path(__file__).parents[1]
SMALL = Experiment(languages=("spa_Latn", "rus_Cyrl", "arb_Arab", "tha_Thai"), sentences=12)


def page(name, experiment, folder, monkeypatch, **state):
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(folder))
    test = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=120)
    test.session_state["experiment"] = experiment
    for key, value in state.items():
        test.session_state[key] = value
    return test.run()


def charts_of(test):
    return test.get("vega_lite_chart") or test.get("arrow_vega_lite_chart")


def everything_said(test):
    kinds = ("caption", "info", "markdown", "subheader", "error", "warning")
    return " ".join(element.value for kind in kinds for element in test.get(kind))


def activity_of(folder):
    store = Store(folder)
    plan = planning.make_plan(SMALL, store)
    activity = activation_counts.activation_counts(plan, store)
    store.close()
    return plan, activity


def turn(test, **state):
    """The page with other choices, run again without an error."""
    for key, value in state.items():
        test.session_state[key] = value
    test.run()
    assert not test.exception
    assert not test.error
    return test


@contextmanager
def plan_of(experiment, folder):
    """The experiment's plan and the store of a folder."""
    store = Store(folder)
    yield planning.make_plan(experiment, store), store
    store.close()
