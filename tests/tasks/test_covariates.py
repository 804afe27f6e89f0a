"""What is known of languages: bundled facts, tables of one's own, and groups made of a column."""

import csv

import numpy as np
import pandas as pd
import pytest

from neuronxa_core.corpora import languages
from neuronxa_core.errors import ScoresError
from neuronxa_core.tasks import covariates

CODES = ["deu_Latn", "arb_Arab", "zho_Hant", "tgk_Cyrl", "quy_Latn"]


def test_the_bundled_facts_are_sourced_and_name_a_language_each():
    with covariates.XLMR_FILE.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    codes = [row["language"] for row in rows]
    assert len(set(codes)) == len(rows) == 99
    for row in rows:
        assert languages.name(row["language"]) != row["language"]
        assert row["source"].startswith("https://")
        assert int(row["tokens"]) > 0


def test_head_languages_are_those_of_xlmr_and_others_are_the_long_tail():
    assert covariates.head(CODES) == ["head", "head", "head", "long tail", "long tail"]
    assert covariates.head(["xx_madeup"]) == ["long tail"]


def test_what_is_known_has_a_row_per_language_and_ones_own_columns_last():
    own = covariates.read("own.csv", b"name,class,family\nGerman,5,mine\nquy,1,\nfra,5,x\n")
    found = covariates.known(CODES, {"deu_Latn": 0.25}, own)
    assert found.index.tolist() == CODES
    assert found["script"].tolist() == ["Latin", "Arabic", "Han (traditional)", "Cyrillic", "Latin"]
    assert found[covariates.TOKENS_COLUMN]["deu_Latn"] == pytest.approx(np.log(10297))
    assert found["training share"].tolist()[:1] == [0.25]
    assert found["training share"].isna().sum() == 4
    assert found["class"].tolist() == pytest.approx([5, np.nan, np.nan, np.nan, 1], nan_ok=True)
    assert found["family"].fillna("-").tolist() == ["mine", "-", "-", "-", "-"]
    assert "training share" not in covariates.known(CODES, {})
    _, notes = covariates.matched(own, CODES)
    assert any("fra" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "column of language codes"),
        ("code\nde\nfr\n", "one more"),
        ("code,x\nde,1\nde,2\n", "once"),
        ("", "empty"),
    ],
)
def test_a_table_that_says_nothing_of_languages_is_refused_in_a_sentence(text, said):
    with pytest.raises(ScoresError, match=said):
        covariates.read("own.csv", text.encode())


def test_a_column_is_grouped_by_value_or_by_quarter():
    assert covariates.groups(pd.Series(["a", None, "b"])) == ["a", "unknown", "b"]
    assert covariates.groups(pd.Series([0.25, np.nan, 1.0])) == ["0.25", "unknown", "1"]
    many = covariates.groups(pd.Series([*range(12), np.nan]))
    assert [many.count(one) for one in dict.fromkeys(many)] == [3, 3, 3, 3, 1]
