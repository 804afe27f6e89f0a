"""Names of languages, matching with a corpus, measured and merged scores."""

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_scores import LONG, found, measured, note, read

from neuronxa_core.corpora import languages
from neuronxa_core.errors import ScoresError
from neuronxa_core.tasks.matching import code_of, join
from neuronxa_core.tasks.score_files import from_measure
from neuronxa_core.tasks.task_scores import merge

# Measured scores, merging, writing


def test_measured_scores():
    scores = from_measure("m", "t", "acc", {"de": (0.5, 0.01, 100), "fr": (0.6, None, None)}, "here")
    assert scores.table.to_dict("records")[0] == {
        "model": "m",
        "task": "t",
        "metric": "acc",
        "language": "de",
        "score": 0.5,
        "stderr": 0.01,
        "n": 100.0,
        "source": "here",
    }
    assert math.isnan(scores.table["n"][1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "There are no scores"),
        ({"": (0.5, None, None)}, "has no language"),
    ]
    + [
        ({"de": values}, message)
        for values, message in [
            ((math.nan, None, None), "is nan, no number"),
            ((math.inf, None, None), "is inf, no number"),
            (("0.5", None, None), "is '0.5', no number"),
            ((True, None, None), "is True, no number"),
            ((10**400, None, None), "no number"),
            ((0.5, -0.1, None), "cannot be negative"),
            ((0.5, None, 0), "at least 1"),
        ]
    ],
)
def test_measured_scores_that_are_none(values, message):
    with pytest.raises(ScoresError, match=message):
        from_measure("m", "t", "acc", values, "here")


def test_merging():
    one, other = measured(de=0.5, fr=0.6), from_measure("m", "t", "acc", {"de": (0.5, 0.01, 100)}, "there")
    merged = merge(one, other)
    assert found(merged) == {"de": 0.5, "fr": 0.6}
    assert (merged.table["stderr"][0], merged.table["n"][0], merged.table["source"][0]) == (0.01, 100, "here")
    assert note(merged, "kept once")
    assert merge(one) is one
    with pytest.raises(ScoresError, match=r"0\.5 and 0\.7 \(here\)"):
        merge(one, measured(de=0.7))
    with pytest.raises(ScoresError, match="There are no scores"):
        merge()


def test_choosing():
    scores = read(LONG)
    assert len(scores.select(model="m", task="xnli", metric="acc")) == 2
    assert len(scores.select()) == 3
    with pytest.raises(ScoresError, match="no scores of the task mgsm; choose one of xnli, xcopa"):
        scores.select(task="mgsm")


ROWS = st.dictionaries(
    st.sampled_from(["en", "deu_Latn", "zh_Hans", "pt_BR", "swh", "no", "or"]),
    st.tuples(st.floats(0, 1), st.none() | st.floats(0, 1, allow_subnormal=False), st.none() | st.integers(1, 10**9)),
    min_size=1,
)


@settings(max_examples=15)
@given(ROWS, st.text(min_size=1), st.text(min_size=1))
def test_writing_and_reading_back(rows, model, task):
    try:
        scores = from_measure(model, task, "acc", rows, "here")
    except ScoresError as error:
        assert "has no" in str(error)
        return
    again = read(scores.to_csv())
    pd.testing.assert_frame_equal(again.table, scores.table, check_exact=True)
    assert again.notes == ()


# Matching with a corpus


CODES_OF_FLORES = """
eng_Latn deu_Latn arb_Arab arb_Latn swh_Latn zsm_Latn pes_Arab prs_Arab lvs_Latn est_Latn nob_Latn nno_Latn zho_Hans
zho_Hant por_Latn heb_Hebr srp_Cyrl tgl_Latn npi_Deva kas_Arab kas_Deva
"""
FLORES = CODES_OF_FLORES.split()


@pytest.mark.parametrize(
    ("language", "code"),
    {
        "eng_Latn": "eng_Latn",
        "ENG-latn": "eng_Latn",
        "de": "deu_Latn",
        "deu": "deu_Latn",
        "ger": "deu_Latn",
        "deu_1996": "deu_Latn",
        "German": "deu_Latn",
        "German (deu_Latn)": "deu_Latn",
        "zh": "zho_Hans",
        "cmn": "zho_Hans",
        "Chinese": "zho_Hans",
        "zh-CN": "zho_Hans",
        "zh-TW": "zho_Hant",
        "Chinese (Simplified)": "zho_Hans",
        "Traditional Chinese": "zho_Hant",
        "ar": "arb_Arab",
        "arb": "arb_Arab",
        "Standard Arabic": "arb_Arab",
        "ms": "zsm_Latn",
        "fa": "pes_Arab",
        "Persian": "pes_Arab",
        "prs": "prs_Arab",
        "sw": "swh_Latn",
        "lv": "lvs_Latn",
        "et": "est_Latn",
        "ekk": "est_Latn",
        "no": "nob_Latn",
        "nn": "nno_Latn",
        "pt-br": "por_Latn",
        "iw": "heb_Hebr",
        "he": "heb_Hebr",
        "fil": "tgl_Latn",
        "ne": "npi_Deva",
        "ks": "kas_Arab",
        "sr": "srp_Cyrl",
    }.items(),
)
def test_a_language_finds_its_code(language, code):
    joined = join(pd.DataFrame({"language": [language], "score": [0.5]}), FLORES, pivot="eng_Latn")
    assert list(joined.pairs.index) == [code]
    assert joined.pairs.loc[code, "language"] == language
    assert joined.ambiguous == {}
    assert joined.unmatched_scores == ()
    assert set(joined.unmatched_languages) == set(FLORES) - {code}


def test_an_inferred_match_is_said():
    codes = [*FLORES, "deu_1996", "deu_1901"]
    codes.remove("deu_Latn")
    joined = join(measured(ar=0.5, de=0.3, fa=0.4, zh=0.2), codes, pivot="eng_Latn")
    said = "ar as Standard Arabic (arb_Arab), fa as Iranian Persian (pes_Arab), zh as Chinese (Simplified) (zho_Hans)"
    assert f"{said}, de as German (1996) (deu_1996)" in note(joined, "usual form")
    assert "zho_Hant" in joined.unmatched_languages
    # where the task says which one, or only one is there, nothing is inferred
    for scores, corpus in ((measured(zh_TW=0.5), FLORES), (measured(zho=0.5), ["eng_Latn", "zho_Hans"])):
        joined = join(scores, corpus, pivot="eng_Latn")
        assert len(joined.pairs) == 1
        assert not any("usual form" in note for note in joined.notes)


def test_what_may_be_several_is_ambiguous():
    joined = join(pd.DataFrame({"language": ["pt"], "score": [0.5]}), ["eng", "pt_BR", "pt_PT"], pivot="eng")
    assert joined.pairs.empty
    assert joined.ambiguous == {"pt": ("pt_BR", "pt_PT")}
    assert not {"pt_BR", "pt_PT"} & set(joined.unmatched_languages)
    assert "pt (pt_BR or pt_PT)" in note(joined, "Ambiguous")


def test_what_has_no_counterpart_is_listed():
    joined = join(measured(de=0.5, sr_Latn=0.4, tlh=0.3), ["eng_Latn", "deu_Latn", "srp_Cyrl"], pivot="eng_Latn")
    assert list(joined.pairs.index) == ["deu_Latn"]
    assert joined.unmatched_scores == ("sr_Latn", "tlh")
    assert joined.unmatched_languages == ("eng_Latn", "srp_Cyrl")
    assert "Serbian (Latin) (sr_Latn)" in note(joined, "without a language of the corpus")
    assert "English (eng_Latn), Serbian (srp_Cyrl)" in note(joined, "without a score")
    assert math.isnan(joined.pivot_score)


def test_the_exact_code_wins_and_the_other_is_listed():
    joined = join(measured(de=0.5, deu_Latn=0.6), ["eng_Latn", "deu_Latn"], pivot="eng_Latn")
    assert joined.pairs["score"].to_dict() == {"deu_Latn": 0.6}
    assert joined.unmatched_scores == ("de",)


def test_two_scores_for_one_code_are_ambiguous():
    joined = join(measured(de=0.5, deu=0.6, pt_BR=0.1, pt_PT=0.2), ["eng", "deu_Latn", "por"], pivot="eng")
    assert joined.pairs.empty
    assert joined.ambiguous == {"de": ("deu_Latn",), "deu": ("deu_Latn",), "pt_BR": ("por",), "pt_PT": ("por",)}


def test_a_bare_code_of_the_corpus_takes_the_usual_member():
    joined = join(measured(prs_Arab=0.5, pes_Arab=0.6, arb_Latn=0.1, arb_Arab=0.2), ["en", "fa", "ar"], pivot="en")
    assert joined.pairs["score"].to_dict() == {"fa": 0.6, "ar": 0.2}
    assert joined.unmatched_scores == ("prs_Arab", "arb_Latn")


def test_the_pivot():
    scores = measured(en=0.9, de=0.5)
    joined = join(scores, ["deu_Latn", "eng_Latn"], pivot="en")
    assert (joined.pivot, joined.pivot_score) == ("eng_Latn", 0.9)
    assert list(joined.pairs.index) == ["deu_Latn", "eng_Latn"]
    joined = join(scores, ["deu_Latn"], pivot="eng_Latn")
    assert (joined.pivot, joined.pivot_score) == ("eng_Latn", 0.9)
    assert list(joined.pairs.index) == ["eng_Latn", "deu_Latn"]
    with pytest.raises(ScoresError, match="The pivot zh may be zho_Hans or zho_Hant"):
        join(scores, FLORES, pivot="zh")


def test_a_join_is_of_one_model_task_and_metric():
    scores = read(LONG)
    with pytest.raises(ScoresError, match=r"more than one task \(xnli, xcopa\); choose one"):
        join(scores, ["de"], pivot="en")
    with pytest.raises(ScoresError, match="no columns language and score; they have a"):
        join(pd.DataFrame({"a": [1]}), ["de"], pivot="en")
    with pytest.raises(ScoresError, match="a language more than once: de"):
        join(pd.DataFrame({"language": ["de", "de"], "score": [1, 2]}), ["de"], pivot="en")


CODES = st.lists(
    st.sampled_from(
        [*FLORES, "de", "deu", "ar", "zh", "zho", "fa", "pt_BR", "pt_PT", "en", "xyz_Latn", "tlh", "nonsense"]
    ),
    unique=True,
    max_size=12,
)


@given(CODES.filter(bool), CODES)
def test_a_join_loses_and_doubles_nothing(given_languages, codes):
    scores = pd.DataFrame({"language": given_languages, "score": [float(i) for i in range(len(given_languages))]})
    joined = join(scores, codes, pivot="eng_Latn")
    used = list(joined.pairs["language"])
    assert len(set(used)) == len(used)
    assert sorted([*used, *joined.unmatched_scores, *joined.ambiguous]) == sorted(given_languages)
    meant = {code for found in joined.ambiguous.values() for code in found}
    everything = {*joined.pairs.index, *joined.unmatched_languages, *meant}
    assert everything == {*codes, joined.pivot}
    assert not set(joined.pairs.index) & set(joined.unmatched_languages)
    for code in set(codes) & set(given_languages):
        assert joined.pairs.loc[code, "language"] == code


# Names of languages


@pytest.mark.parametrize(
    ("text", "code"),
    {
        " deu_Latn ": "deu_Latn",
        "GERMAN": "de",
        "German (Latin)": "de_Latn",
        "Kurdish (nobody knows)": "ku",
        "Serbian (Cyrillic)": "sr_Cyrl",
        "Serbian (Lat)": "sr",
        "Chinese (Simplified) (zho_Hans)": "zho_Hans",
        "Brazilian Portuguese": "pt_BR",
        "Farsi": "fa",
        "deu_Latn (German)": "deu_Latn",
        "All": "",
        "Average": "",
        "English average": "",
        "Germanic": "",
        "German stem": "",
        "12.5": "",
        "": "",
        "x" * 100: "",
        "\ud800": "",
    }.items(),
)
def test_the_code_of_a_text(text, code):
    assert code_of(text) == code


@pytest.mark.parametrize("code", FLORES)
def test_the_code_of_a_label(code):
    assert code_of(languages.label(code)) == code
    assert languages.matches(code_of(languages.name(code)), [code]) == (code,)
