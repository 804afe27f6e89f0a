"""What leaves in files is harmless to the spreadsheet that opens it."""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronxa_core import exports
from neuronxa_core.cli.main import main

ROOT = Path(__file__).parents[2]
# how OWASP lists the beginnings that spreadsheets take for a formula
DANGEROUS = "=+-@\t\r"
NASTY = ["=1+1", "+1+cmd|' /C calc'!A0", "-2+3+cmd", "@SUM(1)", "\tx", "\r=1", " =1", "＝1", "- Hello, she said."]


def read_back(text):
    return list(csv.reader(io.StringIO(text, newline="")))


def test_the_command_line_writes_no_formula(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus = tmp_path / "=1+1"
    corpus.mkdir()
    for code in ("eng", "deu"):
        (corpus / f"{code}.txt").write_text(f"one {code}\ntwo {code}\n", "utf-8")
    arguments = ["score", "--model", "demo", "--corpus", "=1+1", "--pivot", "eng", "--cache-dir", "cache"]
    assert main([*arguments, "--out", "s.csv"]) == 0
    rows = read_back((tmp_path / "s.csv").read_text("utf-8"))
    place = rows[0].index("corpus")
    assert {row[place] for row in rows[1:]} == {"'=1+1"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [("x;=cmd", "x;'=cmd"), ("x; +1;@y", "x; '+1;'@y"), ("a\n=b", "a\n'=b"), ("x;y", "x;y"), ("-1;-2", "'-1;'-2")],
)
def test_a_cell_that_begins_after_a_semicolon_is_no_formula_either(text, shown):
    """As a spreadsheet of a country reads it where lists are separated so; quotes within a line do not help."""
    assert exports.harmless(text) == shown


def test_pages_write_tables_in_no_other_way():
    for file in (ROOT / "pages").rglob("*.py"):
        assert "to_csv(" not in file.read_text("utf-8"), file.name


@pytest.mark.parametrize("text", NASTY)
def test_a_formula_gets_an_apostrophe(text):
    assert exports.harmless(text) == f"'{text}"


@pytest.mark.parametrize(
    "value", ["eng_Latn", "", "a=b", "-3", "+0.25", "-1e-7", "-12,5", -3, -0.5, None, True, "50 %"]
)
def test_numbers_and_plain_text_stay(value):
    assert exports.harmless(value) is value


def test_a_table_keeps_its_numbers_and_hides_its_formulas():
    table = pd.DataFrame({"=code": ["=1", "deu"], "score": [-0.5, np.nan], "n": [-1, 2], "mixed": [-3, "-x"]})
    written = exports.csv_text(table)
    assert read_back(written) == [
        ["'=code", "score", "n", "mixed"],
        ["'=1", "-0.5", "-1", "-3"],
        ["deu", "", "2", "'-x"],
    ]
    assert list(table.columns) == ["=code", "score", "n", "mixed"], "the table itself is left as it is"
    assert table["=code"].tolist() == ["=1", "deu"]


def test_a_table_without_text_is_written_as_pandas_does():
    table = pd.DataFrame({"layer": [0, 1], "score": [0.1, -1e-17]})
    assert exports.csv_text(table) == table.to_csv(index=False, lineterminator="\n")


@given(st.lists(st.text(max_size=12), min_size=1, max_size=6), st.lists(st.floats(width=32), min_size=1, max_size=6))
def test_no_cell_of_text_begins_a_formula(texts, numbers):
    count = min(len(texts), len(numbers))
    table = pd.DataFrame({"text": pd.Series(texts[:count], dtype=object), "number": numbers[:count]})
    changed = exports.harmless_table(table)
    for text, shown in zip(texts, changed["text"], strict=False):
        assert shown in (text, f"'{text}")
        if shown[:1] and shown[0] in DANGEROUS:
            float(shown.rstrip("%").replace(",", "."))  # a number, which is nothing to run
    pd.testing.assert_series_equal(changed["number"], table["number"])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("my model", "my_model"),
        ("../../etc/x", "_.._etc_x"),
        ('a"\r\nX: y', "a_X_y"),
        ("...", "unnamed"),
        ("ä" * 200, "ä" * 80),
    ],
)  # fmt: skip
def test_a_files_name_is_plain(text, name):
    assert exports.file_name(text) == name
