"""Links to a page."""

from dataclasses import replace

import pytest
from page_walk import ROOT, SMALL, everything_said, page, turn
from streamlit.testing.v1 import AppTest


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("alignment", ["view", "layer", "from"]),
        ("overlap", ["overlap_view", "active_by", "layer"]),
        ("microscope", ["neuron_layer", "neuron_number"]),
        ("downstream", ["downstream_view", "scores_from", "measure"]),
    ],
)
def test_an_empty_parameter_of_a_link_is_as_none(computed, monkeypatch, name, parameters):
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(computed))
    shown = []
    for named in ([], parameters):
        test = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=120)
        test.session_state["experiment"] = SMALL
        for parameter in named:
            test.query_params[parameter] = ""
        test.run()
        assert not test.exception
        assert not test.warning
        shown.append(everything_said(test))
    assert shown[0] == shown[1]


def test_a_link_opens_what_its_sender_sees(computed, monkeypatch):
    """What widgets start from must not depend on what was chosen before the link was made."""
    shown = {}
    for who, steps in (("sender", ("nas", "emb", "nav")), ("recipient", ("nav",))):
        test = page("alignment", replace(SMALL, state=steps[0]), computed, monkeypatch, view="Sentences")
        for state in steps[1:]:
            turn(test, alignment_state=state)
        shown[who] = [box.value for box in test.main.selectbox], test.slider[0].value, test.metric[0].value
    assert shown["sender"] == shown["recipient"]
