"""Reports: whole by themselves, harmless, and with every number that was put in."""

import re
from datetime import datetime

import altair as alt
import numpy as np
import pandas as pd

from neuronxa_core.charts import report as reports

MADE = datetime(2026, 1, 2, 3, 4)


def made(**choices):
    chart = (
        alt.Chart(pd.DataFrame({"x": [1, 2], "label": ["<b>&", "العربية"]})).mark_point().encode(x="x", text="label:N")
    )
    table = pd.DataFrame(
        {"name": ["<script>alert(1)</script>", "عربي"], "r": [0.123456, np.nan], "n": [1234, 5], "layer": [3, pd.NA]}
    )
    sections = [reports.Section("A <heading>", ["One & two."], chart, table)]
    return reports.html_report("Title <x>", choices, sections, ["python -m neuronxa_core score --model 'a b'"], MADE)


def test_a_report_holds_what_was_given_and_escapes_it():
    text = made(model="a<b", corpus="demo")
    for wanted in ("Title &lt;x&gt;", "A &lt;heading&gt;", "One &amp; two.", "a&lt;b", "0.1235", "1,234", "عربي"):
        assert wanted in text
    assert "2026-01-02 03:04" in text
    assert "<script" not in text
    assert "&#x27;a b&#x27;" in text
    assert text.count("<svg") == 1


def test_a_report_fetches_nothing():
    text = made()
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", text)
    assert "@import" not in text
    assert "url(http" not in text


def test_a_report_names_the_versions():
    found = reports.versions()
    assert set(found) == {"python", *reports.PACKAGES}
    text = made()
    assert all(value in text for value in found.values())
