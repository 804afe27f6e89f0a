"""Score tables: layouts, files as they are exported, percentages, pairs of languages."""

import math

import pytest
from made_scores import LONG, found, harness, note, read

from neuronxa_core.errors import ScoresError
from neuronxa_core.host import limits
from neuronxa_core.tasks.cells import read_frame
from neuronxa_core.tasks.consistency import consistency, is_consistency
from neuronxa_core.tasks.score_files import read_file, read_scores, read_scores_or_pairs
from neuronxa_core.tasks.score_tables import Mapping, apply_mapping, guess_mapping
from neuronxa_core.tasks.task_scores import COLUMNS

# Long tables


def test_a_long_table():
    scores = read(LONG)
    assert tuple(scores.table.columns) == COLUMNS
    assert len(scores) == 3
    assert found(scores, task="xnli") == {"en": 0.8, "de": 0.7}
    assert scores.table["stderr"].isna().all()
    assert scores.table["n"].isna().all()
    assert set(scores.table["source"]) == {"scores.csv"}
    assert scores.notes == ()
    assert scores.groups.to_dict("list") == {
        "model": ["m", "m"],
        "task": ["xnli", "xcopa"],
        "metric": ["acc", "acc"],
        "languages": [2, 1],
    }


def test_what_a_table_does_not_say_is_its_name_or_what_is_given():
    scores = read("lang,accuracy\nen,0.8\nde,0.7\n", name="gemma.csv")
    assert set(scores.table["model"]) == set(scores.table["task"]) == {"gemma"}
    assert set(scores.table["metric"]) == {"accuracy"}
    scores = read("lang,value\nen,0.8\nde,0.7\n", model="g", task="xnli")
    assert scores.groups.iloc[0].tolist() == ["g", "xnli", "score", 2]
    assert set(read("lang,value\nen,0.8\n", metric="em").table["metric"]) == {"em"}


@pytest.mark.parametrize(
    "headings", ["language,score", "Lang,Value", "LANGUAGE_CODE,Accuracy", "code,acc", "Locale,F1", "iso,Result"]
)
def test_headings_are_recognised(headings):
    mapping = guess_mapping(read_frame("t.csv", f"{headings}\nen,0.8\nde,0.7\n".encode()))
    assert (mapping.layout, mapping.language, mapping.score) == ("long", *headings.split(","))


READ = {
    "codes without a heading": (
        ",xnli,xcopa\neng_Latn,0.8,0.7\ndeu_Latn,0.6,0.5\n",
        {"task": "xcopa"},
        {"eng_Latn": 0.7, "deu_Latn": 0.5},
    ),
    "a heading that says percent": (
        "Language,Accuracy (%)\nen,0.8\nde,0.5\n",
        {"metric": "Accuracy"},
        {"en": 0.008, "de": 0.005},
    ),
    "cells that say percent": ("language,acc\nen,0.8%\nde,0.5 %\n", {}, {"en": 0.008, "de": 0.005}),
    "names of languages": (
        "language,score\nGerman,0.7\nChinese (Simplified),0.6\nPortuguese (Brazil),0.5\nSwahili (swh_Latn),0.4\n",
        {},
        {"de": 0.7, "zh_Hans": 0.6, "pt_BR": 0.5, "swh_Latn": 0.4},
    ),
    "languages in columns by name, beside tasks": (
        ",German,French\nxnli,0.7,0.8\nxcopa,0.5,0.6\n",
        {"task": "xcopa"},
        {"de": 0.5, "fr": 0.6},
    ),
    "languages in columns by name, beside models": (
        ",German,French\nmeta-llama/Llama-3-8B,0.7,0.8\ngoogle/gemma-2b,0.5,0.6\n",
        {"model": "google/gemma-2b"},
        {"de": 0.5, "fr": 0.6},
    ),
    "models in columns": (
        "Language,Llama 3 8B,google/gemma-2b\nGerman,0.6,0.5\nFrench,0.7,0.4\n",
        {"model": "google/gemma-2b"},
        {"de": 0.5, "fr": 0.4},
    ),
    "metrics in columns": ("language,acc,f1\nen,0.8,0.7\nde,0.6,0.5\n", {"metric": "f1"}, {"en": 0.7, "de": 0.5}),
    "a unit per column": ("language,xnli,mgsm\nen,80,0.5\nde,70,0.4\n", {"task": "mgsm"}, {"en": 0.5, "de": 0.4}),
}


@pytest.mark.parametrize(("text", "where", "scores"), READ.values(), ids=READ)
def test_what_a_table_is_read_as(text, where, scores):
    assert found(read(text), **where) == pytest.approx(scores)


LEFT_ASIDE = {
    "language,score\nen,0.8\nAverage,0.7\nAll,0.6\nKlingonish,0.1\n": "name no language: Average, All, Klingonish.",
    "language,score\nen,0.8\nde,\nfr,n/a\nes,-\nit,NaN\n": "Empty cells in scores.csv: 4.",
    "Task,Metric,Value\nxnli_en,acc,0.8\nxnli_de,acc,0.7\nxnli,acc,0.45\n": "name no language: xnli.",
    "language,n,xnli,xcopa\nen,100,0.8,70\n": "left aside: n.",
    "model,en,de,avg\nm,80,70,75\n": "left aside: avg.",
}


@pytest.mark.parametrize(("text", "said"), LEFT_ASIDE.items(), ids=range(len(LEFT_ASIDE)))
def test_what_is_left_aside_is_said(text, said):
    scores = read(text, task="t")
    assert scores.table["score"][0] == 0.8
    assert note(scores, said)


def test_standard_errors_and_n():
    table = read('language,acc,stderr,n\nen,80.5,1.5,"1,319"\nde,70,2,500\nfr,60,,\n').table
    assert table["score"].tolist() == pytest.approx([0.805, 0.7, 0.6])
    assert table["stderr"].tolist() == pytest.approx([0.015, 0.02, math.nan], nan_ok=True)
    assert table["n"].tolist() == pytest.approx([1319, 500, math.nan], nan_ok=True)


@pytest.mark.parametrize("sign", ["±", " ± ", "+/-", " +- "])
def test_a_standard_error_in_the_cell(sign):
    table = read(f"language,acc\nen,48.2{sign}2.24\nde,50.2\n").table
    assert table["score"].tolist() == pytest.approx([0.482, 0.502])
    assert table["stderr"].tolist() == pytest.approx([0.0224, math.nan], nan_ok=True)


# Wide tables


def test_languages_in_columns():
    text = "model,en,de,zh,avg\nm1,80.1,70.2,60.3,70.2\nm2,81.0,71.0,61.0,71.0\n"
    scores = read(text, task="xnli", metric="acc")
    assert found(scores, model="m2") == pytest.approx({"en": 0.81, "de": 0.71, "zh": 0.61})
    mapping = guess_mapping(read_frame("t.csv", text.encode()))
    assert mapping == Mapping("wide languages in columns", model="model", columns=("en", "de", "zh"))


def test_a_heading_that_may_be_no_language():
    rows = "0,10,20,30\n1,11,21,31\n2,12,22,32\n"
    assert guess_mapping(read_frame("t.csv", f"id,de,fr,es\n{rows}".encode())).columns == ("de", "fr", "es")
    rows = "40,10,20,30\n41,11,21,31\n"
    assert guess_mapping(read_frame("t.csv", f"id,de,fr,es\n{rows}".encode())).columns == ("id", "de", "fr", "es")


def test_a_guess_can_be_changed():
    frame = read_frame("t.csv", b"language,xnli,difficulty\nen,0.8,3\nde,0.6,4\n")
    mapping = Mapping("long", language="language", score="xnli")
    scores = apply_mapping(frame, mapping, source="mine", model="m", task="xnli", metric="acc")
    assert found(scores, model="m", task="xnli", metric="acc") == {"en": 0.8, "de": 0.6}
    assert set(scores.table["source"]) == {"mine"}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (Mapping("long", language="language", score="nothing"), "no column nothing; its columns are language, xnli"),
        (Mapping("long", language="language"), "No column of scores"),
        (Mapping("long", score="xnli"), "No column of languages"),
        (Mapping("wide tasks in columns", language="language"), "No columns of scores"),
        (Mapping("wide tasks in columns", columns=("xnli",)), "No column of languages"),
        (Mapping("wide tasks in columns", language="language", columns=("xnli",), heads="x"), "not by 'x'"),
        (Mapping("diagonal"), "no layout 'diagonal'"),
        (Mapping("long", language="xnli", score="xnli"), "it names no language: 0.8, 0.6"),
        (Mapping("long", language="language", score="language"), "column language, row 2: 'en' is no number"),
        (Mapping("wide languages in columns", columns=("xnli",)), "it names no language: xnli"),
    ],
)
def test_a_mapping_that_does_not_fit(mapping, message):
    frame = read_frame("t.csv", b"language,xnli\nen,0.8\nde,0.6\n")
    with pytest.raises(ScoresError, match=message):
        apply_mapping(frame, mapping, source="t")


# Files as they come


EXPORTS = {
    "UTF-8": LONG.encode(),
    "UTF-8 with a mark": LONG.encode("utf-8-sig"),
    "UTF-16": LONG.encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + LONG.encode("utf-16-be"),
    "CRLF": LONG.replace("\n", "\r\n").encode(),
    "CR": LONG.replace("\n", "\r").encode(),
    "tabs": LONG.replace(",", "\t").encode(),
    "tabs in UTF-16, as Excel's Unicode text": LONG.replace(",", "\t").encode("utf-16"),
    "semicolons and decimal commas": LONG.replace(",", ";").replace(".", ",").encode(),
    "Excel's separator line": b"sep=;\r\n" + LONG.replace(",", ";").encode(),
    "quoted": "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in LONG.splitlines()).encode(),
    "empty columns and rows": LONG.replace("\n", ",,\n,,,,,,\n").encode(),
    "spaces": LONG.replace(",", " , ").encode(),
    "spaces that do not break": LONG.replace("0.", "\u00a00.").encode(),
}


@pytest.mark.parametrize("data", EXPORTS.values(), ids=EXPORTS)
def test_a_table_as_it_is_exported(data):
    assert read(data).table.equals(read(LONG).table)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"t\.csv is empty"),
        (b" \n\n,,\n", "is empty"),
        (b"language,score\n", "has headings but no rows"),
        (b"PK\x03\x04rest", "is a workbook.*save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0rest", "is a workbook"),
        (b"language,score\nen,0.8\n\xff\xfe,0.1\n", "line 3: not UTF-8"),
        (b"\xff\xfea", "not UTF-8"),
        (b"language,score\nen,0\x008\n", "line 2: a NUL byte"),
        (b"language,score\nen,0.8,9,9\n", "line 2: 4 cells where there are 2 headings"),
        (b"language,score,score\nen,1,2\n", "more than one column score"),
        (b"language,score\nen,abc\nde,0.1\n,0.2\nfr,0.2\n", "row 2: 'abc' is no number"),
        (b"language,score\nen,1e999\nde,0.1\n", "too large to be a score"),
        (b"language,score\nen,1_0\nde,0.1\nfr,0.3\n", "'1_0' is no number"),
        (b"language,acc\nen,101\nde,0.1\n", "acc of t in English .en. is 101, outside 0 to 100"),
        (b"language,acc\nen,-0.1\nde,0.1\n", "is -0.1, outside"),
        (b"language,acc,stderr\nen,0.1,-1\n", "cannot be negative"),
        (b"language,acc,n\nen,0.1,0\n", "n = 0; it is a number of items"),
        (b"a,b\n1,2\n", "No languages were found.*the columns are a, b"),
        (b"language,words\nen,hello\n", "No column of scores"),
        (b"language,score\nAverage,0.1\nMean,0.2\n", "names no language: Average, Mean"),
        (b"language,score\nen,\n", "No column of scores"),
        (b"language,score\nen,0.1\nen,0.2\n", "contradict each other: score of t on t in English .en. is 0.1 and 0.2"),
    ],
)
def test_what_is_refused(data, message):
    with pytest.raises(ScoresError, match=message):
        read_file("t.csv", data)


def test_what_is_too_large(tmp_path, monkeypatch):
    with pytest.raises(ScoresError, match="at most 1000 columns"):
        read(",".join(f"c{i}" for i in range(1001)) + "\n1\n")
    monkeypatch.setattr(limits, "SCORES_CELLS", 5)
    with pytest.raises(ScoresError, match="and 5 cells"):
        read(LONG)
    monkeypatch.setattr(limits, "SCORES_FILE_BYTES", 20)
    (tmp_path / "t.csv").write_text(LONG)
    for read_it in (lambda: read_scores(tmp_path / "t.csv"), lambda: read(LONG)):
        with pytest.raises(ScoresError, match="at most 0 MiB are read"):
            read_it()


def test_several_files_and_a_folder(tmp_path):
    (tmp_path / "a.csv").write_text("language,acc\nen,0.8\n")
    (tmp_path / "b.csv").write_text("language,acc\nen,80\n")
    (tmp_path / "notes.md").write_text("no table")
    assert read_scores(tmp_path).table.equals(read_scores([tmp_path / "a.csv", str(tmp_path / "b.csv")]).table)
    assert read_scores(tmp_path).table["score"].tolist() == [0.8, 0.8]
    (tmp_path / "empty").mkdir()
    for source, message in (
        (tmp_path / "c.csv", r"no file or folder .*c\.csv"),
        ([], "No scores were named"),
        (" ", "No scores were named"),
        (tmp_path / "empty", "holds no scores"),
        ("a\0b", "no file or folder"),
    ):
        with pytest.raises(ScoresError, match=message):
            read_scores(source)


# Percentages


def test_percentages_are_divided_and_said():
    scores = read("task,language,acc\na,en,80\na,de,0.5\n")
    assert scores.table["score"].tolist() == [0.8, 0.005]
    assert note(scores, "divided by 100") == "Percentages in scores.csv, divided by 100: acc."


def test_percentages_are_decided_task_by_task():
    scores = read("task,language,f1\na,en,60\na,de,50\nb,en,0.71\nb,de,0.6\n")
    assert scores.table["score"].tolist() == [0.6, 0.5, 0.71, 0.6]
    assert "as percentages of a, and as shares of b" in note(scores, "no score is above 1")
    results = {name: {"f1,none": score} for name, score in (("xquad_de", 60.0), ("mlqa_de_de", 0.71))}
    assert read(harness(results), "r.json").table["score"].tolist() == [0.6, 0.71]


def test_shares_beside_percentages_are_suspicious():
    scores = read("model,language,acc\na,en,80\na,de,70\nb,en,0.8\nb,de,0.7\n", task="t")
    assert "b, t" in note(scores, "no score of these is above 1 %")


@pytest.mark.parametrize("metric", ["perplexity", "word_perplexity", "bleu", "chrF", "bits_per_byte"])
def test_other_metrics_keep_their_unit(metric):
    assert read("language,score\nen,80\nde,70\n", metric=metric).table["score"].tolist() == [80, 70]


def test_an_unknown_metric_outside_0_to_100_keeps_its_unit():
    scores = read("language,score\nen,1500\nde,-3\n")
    assert scores.table["score"].tolist() == [1500, -3]
    assert "from -3 to 1500" in note(scores, "own unit")


# Pairs of languages


MATRIX = ",en,fr,nl,all\nen,1.0,0.5,0.4,0.6\nfr,0.5,1.0,,0.6\nnl,0.3,0.2,1.0,0.6\n"


def test_a_matrix_of_consistency(tmp_path):
    frame = read_frame("bloom.csv", MATRIX.encode())
    assert is_consistency(frame)
    pairs = consistency(frame, source="bloom.csv", task="BMLAMA", metric="RankC")
    assert pairs.languages == ("en", "fr", "nl")
    scores = pairs.consistency_with("en")
    assert found(scores, model="bloom", task="BMLAMA", metric="RankC with en") == pytest.approx({"fr": 0.5, "nl": 0.35})
    assert "mean with en is taken: nl" in note(scores, "two directions differ")
    assert found(pairs.consistency_with("French")) == pytest.approx({"en": 0.5, "nl": 0.2})
    (tmp_path / "bloom.csv").write_text(MATRIX)
    assert read_scores_or_pairs(tmp_path / "bloom.csv", "en").table["score"].tolist() == scores.table["score"].tolist()
    with pytest.raises(ScoresError, match="read it as a consistency table and choose a pivot"):
        read_scores(tmp_path / "bloom.csv")


@pytest.mark.parametrize(
    "text",
    [
        "language,other,model,RankC\nen,fr,m,50\nen,nl,m,40\nfr,nl,m,20\n",
        "pair,model,RankC\nen-fr,m,50\nen-nl,m,40\nfr-nl,m,20\n",
    ],
)
def test_pairs_one_a_row(text):
    pairs = consistency(read_frame("t.csv", text.encode()), source="t.csv", task="BMLAMA")
    scores = pairs.consistency_with("eng_Latn")
    assert found(scores, model="m", metric="RankC with en") == {"fr": 0.5, "nl": 0.4}
    assert note(scores, "divided by 100")


def test_a_code_beside_its_name_is_no_pair():
    frame = read_frame("t.csv", b"language,name,score\nen,English,0.8\nde,German,0.7\n")
    assert not is_consistency(frame)
    assert found(apply_mapping(frame, guess_mapping(frame), source="t")) == {"en": 0.8, "de": 0.7}


@pytest.mark.parametrize(
    ("pivot", "message"),
    [("es", "es is none of the languages; choose one of en, fr, nl"), ("", "is none of"), ("zz", "is none of")],
)
def test_a_pivot_that_is_not_there(pivot, message):
    with pytest.raises(ScoresError, match=message):
        consistency(read_frame("t.csv", MATRIX.encode()), source="t").consistency_with(pivot)


def test_pairs_that_are_refused():
    with pytest.raises(ScoresError, match=r"between en and fr is 0\.5 and 0\.6"):
        consistency(read_frame("t.csv", b"language,other,RankC\nen,fr,0.5\nen,fr,0.6\n"), source="t")
    with pytest.raises(ScoresError, match="no table of language pairs"):
        consistency(read_frame("t.csv", LONG.encode()), source="t")
    with pytest.raises(ScoresError, match="No other language has a value with en"):
        pairs = consistency(read_frame("t.csv", b"language,other,RankC\nen,en,1\nde,fr,0.6\n"), source="t")
        pairs.consistency_with("en")
