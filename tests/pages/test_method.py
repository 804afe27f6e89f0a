"""The Method page shows docs/method.md."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

from neuronxa_core.experiment import Experiment

ROOT = Path(__file__).parents[2]


def test_the_page_has_the_formulas():
    test = AppTest.from_file(str(ROOT / "pages" / "method.py"), default_timeout=60)
    test.session_state["experiment"] = Experiment()
    test.run()
    assert not test.exception
    assert "C[i, i] is larger than every other cell of its row and of its column" in test.markdown[0].value.replace(
        "\n", " "
    )
