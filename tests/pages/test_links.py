"""Links to a page."""

import pytest
from page_walk import ROOT, SMALL, everything_said
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
