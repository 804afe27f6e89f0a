"""Task scores: every way in, what is refused, what is left aside, how they meet a corpus."""

import json
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronxa_core.corpora import languages
from neuronxa_core.errors import NeuronXAError, ScoresError
from neuronxa_core.host import limits
from neuronxa_core.tasks import task_scores
from neuronxa_core.tasks.cells import read_frame
from neuronxa_core.tasks.consistency import consistency, is_consistency
from neuronxa_core.tasks.harness import harness_scores
from neuronxa_core.tasks.matching import code_of, join
from neuronxa_core.tasks.score_files import from_measure, read_file, read_scores, read_scores_or_pairs
from neuronxa_core.tasks.score_tables import Mapping, apply_mapping, guess_mapping
from neuronxa_core.tasks.task_names import task_language
from neuronxa_core.tasks.task_scores import COLUMNS, TaskScores, merge

LONG = "model,task,metric,language,score\nm,xnli,acc,en,0.8\nm,xnli,acc,de,0.7\nm,xcopa,acc,de,0.6\n"


def read(text, name="scores.csv", **names):
    return read_file(name, text.encode() if isinstance(text, str) else text, **names)


def found(scores, **where):
    """{language: score} of a selection."""
    table = scores.select(**where).table
    return dict(zip(table["language"], table["score"], strict=True))


def note(scores, *words):
    """The one note that holds all words."""
    (hit,) = [note for note in scores.notes if all(word in note for word in words)]
    return hit


def harness(results, **more):
    return json.dumps({"results": results, "config": {"model": "hf", "model_args": "pretrained=a/b"}} | more).encode()


def measured(**scores):
    return from_measure("m", "t", "acc", {code: (score, None, None) for code, score in scores.items()}, "here")


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


def test_a_column_of_codes_without_a_heading_is_found():
    scores = read(",xnli,xcopa\neng_Latn,0.8,0.7\ndeu_Latn,0.6,0.5\n")
    assert found(scores, task="xcopa") == {"eng_Latn": 0.7, "deu_Latn": 0.5}


def test_a_heading_that_says_percent():
    scores = read("Language,Accuracy (%)\nen,0.8\nde,0.5\n")
    assert found(scores, metric="Accuracy") == pytest.approx({"en": 0.008, "de": 0.005})


def test_names_of_languages_become_codes():
    scores = read(
        "language,score\nGerman,0.7\nChinese (Simplified),0.6\nPortuguese (Brazil),0.5\nSwahili (swh_Latn),0.4\n"
    )
    assert list(scores.table["language"]) == ["de", "zh_Hans", "pt_BR", "swh_Latn"]


def test_averages_and_unknown_languages_are_left_aside_and_said():
    scores = read("language,score\nen,0.8\nAverage,0.7\nAll,0.6\nKlingonish,0.1\n")
    assert found(scores) == {"en": 0.8}
    assert "Average, All, Klingonish" in note(scores, "name no language")


def test_empty_cells_are_counted():
    scores = read("language,score\nen,0.8\nde,\nfr,n/a\nes,-\nit,NaN\n")
    assert found(scores) == {"en": 0.8}
    assert note(scores, "Empty cells") == "Empty cells in scores.csv: 4."


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


def test_a_task_that_ends_in_its_language():
    scores = read("Tasks,Metric,Value,Stderr\nxnli_de,acc,0.4,0.01\nxnli_fr,acc,0.5,0.01\nxnli,acc,0.45,0.01\n")
    assert found(scores, task="xnli", metric="acc") == {"de": 0.4, "fr": 0.5}
    assert note(scores, "name no language").endswith("xnli.")


# Wide tables


def test_languages_in_columns():
    text = "model,en,de,zh,avg\nm1,80.1,70.2,60.3,70.2\nm2,81.0,71.0,61.0,71.0\n"
    scores = read(text, task="xnli", metric="acc")
    assert found(scores, model="m2") == pytest.approx({"en": 0.81, "de": 0.71, "zh": 0.61})
    assert note(scores, "left aside").endswith("avg.")
    mapping = guess_mapping(read_frame("t.csv", text.encode()))
    assert mapping == Mapping("wide languages in columns", model="model", columns=("en", "de", "zh"))


def test_languages_in_columns_by_name_and_rows_of_unnamed_tasks():
    scores = read(",German,French\nxnli,0.7,0.8\nxcopa,0.5,0.6\n", model="m")
    assert found(scores, task="xcopa") == {"de": 0.5, "fr": 0.6}
    scores = read(",German,French\nmeta-llama/Llama-3-8B,0.7,0.8\ngoogle/gemma-2b,0.5,0.6\n", task="t")
    assert found(scores, model="google/gemma-2b") == {"de": 0.5, "fr": 0.6}


def test_a_heading_that_may_be_no_language():
    rows = "0,10,20,30\n1,11,21,31\n2,12,22,32\n"
    assert guess_mapping(read_frame("t.csv", f"id,de,fr,es\n{rows}".encode())).columns == ("de", "fr", "es")
    rows = "40,10,20,30\n41,11,21,31\n"
    assert guess_mapping(read_frame("t.csv", f"id,de,fr,es\n{rows}".encode())).columns == ("id", "de", "fr", "es")


def test_tasks_in_columns():
    scores = read("language,n,xnli,xcopa\nen,100,80,70\nde,100,60,50\n", model="m")
    assert found(scores, task="xnli") == {"en": 0.8, "de": 0.6}
    assert note(scores, "left aside").endswith(": n.")


def test_models_in_columns():
    scores = read("Language,Llama 3 8B,google/gemma-2b\nGerman,0.6,0.5\nFrench,0.7,0.4\n", task="mmlu")
    assert found(scores, model="google/gemma-2b", task="mmlu") == {"de": 0.5, "fr": 0.4}


def test_metrics_in_columns():
    scores = read("language,acc,f1\nen,0.8,0.7\nde,0.6,0.5\n")
    assert found(scores, metric="f1") == {"en": 0.7, "de": 0.5}


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


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "SCORES_FILE_BYTES", 20)
    (tmp_path / "t.csv").write_text(LONG)
    for read_it in (lambda: read_scores(tmp_path / "t.csv"), lambda: read(LONG)):
        with pytest.raises(ScoresError, match="at most 0 MiB are read"):
            read_it()


def test_a_table_with_too_many_cells_or_columns(monkeypatch):
    monkeypatch.setattr(limits, "SCORES_CELLS", 5)
    with pytest.raises(ScoresError, match="at most 1000 columns and 5 cells"):
        read(LONG)
    with pytest.raises(ScoresError, match="too large"):
        read(",".join(f"c{i}" for i in range(1001)) + "\n1\n")


def test_several_files_and_a_folder(tmp_path):
    (tmp_path / "a.csv").write_text("language,acc\nen,0.8\n")
    (tmp_path / "b.csv").write_text("language,acc\nen,80\n")
    (tmp_path / "notes.md").write_text("no table")
    assert read_scores(tmp_path).table.equals(read_scores([tmp_path / "a.csv", str(tmp_path / "b.csv")]).table)
    assert read_scores(tmp_path).table["score"].tolist() == [0.8, 0.8]
    with pytest.raises(ScoresError, match=r"no file or folder .*c\.csv"):
        read_scores(tmp_path / "c.csv")
    with pytest.raises(ScoresError, match="No scores were named"):
        read_scores([])
    with pytest.raises(ScoresError, match="No scores were named"):
        read_scores(" ")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScoresError, match="holds no scores"):
        read_scores(tmp_path / "empty")
    with pytest.raises(ScoresError, match="no file or folder"):
        read_scores("a\0b")


# Percentages


def test_percentages_are_divided_and_said():
    scores = read("task,language,acc\na,en,80\na,de,0.5\n")
    assert scores.table["score"].tolist() == [0.8, 0.005]
    assert note(scores, "divided by 100") == "Percentages in scores.csv, divided by 100: acc."


def test_a_percent_sign_is_believed_though_all_are_small():
    scores = read("language,acc\nen,0.8%\nde,0.5 %\n")
    assert scores.table["score"].tolist() == pytest.approx([0.008, 0.005])


def test_shares_beside_percentages_are_suspicious():
    scores = read("model,language,acc\na,en,80\na,de,70\nb,en,0.8\nb,de,0.7\n", task="t")
    assert "b, t" in note(scores, "no score of these is above 1 %")


def test_each_column_has_its_own_unit():
    scores = read("language,xnli,mgsm\nen,80,0.5\nde,70,0.4\n")
    assert scores.table["score"].tolist() == [0.8, 0.5, 0.7, 0.4]


@pytest.mark.parametrize("metric", ["perplexity", "word_perplexity", "bleu", "chrF", "bits_per_byte"])
def test_other_metrics_keep_their_unit(metric):
    assert read("language,score\nen,80\nde,70\n", metric=metric).table["score"].tolist() == [80, 70]


def test_an_unknown_metric_outside_0_to_100_keeps_its_unit():
    scores = read("language,score\nen,1500\nde,-3\n")
    assert scores.table["score"].tolist() == [1500, -3]
    assert "from -3 to 1500" in note(scores, "own unit")


# Results of the lm-evaluation-harness


def test_results_of_a_current_harness():
    results = {
        "belebele": {"alias": "belebele", "acc,none": 0.5, "acc_stderr,none": 0.001},
        "belebele_deu_Latn": {
            "alias": " - belebele_deu_Latn",
            "acc,none": 0.6,
            "acc_stderr,none": 0.01,
            "acc_norm,none": 0.7,
            "acc_norm_stderr,none": "N/A",
        },
        "belebele_acm_Arab": {"acc,none": 0.4, "acc_stderr,none": 0.02},
    }
    more = {
        "groups": {"belebele": {}},
        "group_subtasks": {"belebele": ["belebele_deu_Latn", "belebele_acm_Arab"]},
        "n-samples": {"belebele_deu_Latn": {"original": 900, "effective": 100}, "belebele_acm_Arab": 900},
        "model_name": "google/gemma-2b",
    }
    scores = harness_scores("results.json", harness(results, **more))
    assert found(scores, metric="acc") == {"deu_Latn": 0.6, "acm_Arab": 0.4}
    assert found(scores, metric="acc_norm") == {"deu_Latn": 0.7}
    table = scores.table
    assert set(table["model"]) == {"google/gemma-2b"}
    assert set(table["task"]) == {"belebele"}
    assert table["stderr"].tolist() == pytest.approx([0.01, math.nan, 0.02], nan_ok=True)
    assert table["n"].tolist() == [100, 100, 900]
    assert note(scores, "groups over languages").endswith(": belebele.")


def test_results_of_an_old_harness():
    # EleutherAI/lm-evaluation-harness, results/bloom/bloom-560m/bloom-560m_xcopa_0-shot.json, shortened
    results = {
        "xcopa_id": {"acc": 0.592, "acc_stderr": 0.02200091089387719},
        "xcopa_ht": {"acc": 0.502, "acc_stderr": 0.022382894986483524},
    }
    config = {"model": "hf-causal-experimental", "model_args": "pretrained=bigscience/bloom-560m,use_accelerate=True"}
    scores = harness_scores("x.json", json.dumps({"results": results, "config": config}).encode())
    assert found(scores, model="bigscience/bloom-560m", task="xcopa", metric="acc") == {"id": 0.592, "ht": 0.502}
    assert scores.table["stderr"][0] == 0.02200091089387719
    assert scores.notes == ()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"model_name": "a/b", "config": {"model_args": "pretrained=c/d"}}, "a/b"),
        ({"config": {"model_args": "dtype=float16,pretrained=c/d"}}, "c/d"),
        ({"config": {"model_args": {"pretrained": "e/f"}}}, "e/f"),
        ({"config": {"model_name": "g/h", "model_sha": "main"}}, "g/h"),
        ({"config_general": {"model_name": "i/j"}}, "i/j"),
        ({"model_name": " ", "config": {"model": "hf", "model_args": 3}}, "given"),
        ({"model_name": ["a"], "config": []}, "given"),
    ],
)
def test_the_name_of_the_model(content, name):
    data = json.dumps({"results": {"xnli_de": {"acc,none": 0.5}}} | content).encode()
    assert harness_scores("dir/x.json", data, model="given").table["model"][0] == name


def test_a_model_without_a_name_is_its_file():
    data = json.dumps({"results": {"xnli_de": {"acc": 0.5}}}).encode()
    assert harness_scores("dir/results_1.json", data).table["model"][0] == "results_1"


def test_filters_are_told_apart():
    entry = {
        "exact_match,strict-match": 0.2,
        "exact_match_stderr,strict-match": 0.01,
        "exact_match,flexible-extract": 0.3,
        "exact_match_stderr,flexible-extract": 0.02,
    }
    scores = harness_scores("r.json", harness({"mgsm_direct_de": entry, "mgsm_direct_fr": entry}))
    assert found(scores, metric="exact_match (strict-match)") == {"de": 0.2, "fr": 0.2}
    assert set(scores.select(metric="exact_match (flexible-extract)").table["stderr"]) == {0.02}


OF_NO_LANGUAGE = """
arc_easy arc_challenge arc_challenge_mt hellaswag piqa boolq copa winogrande race sciq wsc273 anli_r1 triviaqa mmlu
mmlu_stem mmlu_abstract_algebra mmlu_other leaderboard_mmlu_pro mmlu_pro leaderboard_math_geometry_hard gsm8k
gsm8k_cot agieval_lsat_ar agieval_sat_en agieval_aqua_rat polemo2_in wmdp_bio leaderboard_gpqa_main glue wikitext
truthfulqa_mc1 truthfulqa_mc2 truthfulqa_gen truthfulqa_multilingual_mc1 lambada_openai lambada_openai_mt mgsm
mgsm_direct mgsm_en_cot mgsm_native_cot belebele xnli xcopa m_mmlu global_mmlu global_mmlu_full include_base_44
global_mmlu_full_de_anatomy include_base_44_german_stem include_base_44_albanian_arts_humanities flores_gl-pt
flores_es-ca wmt14-en-fr wmt16-en-ro catalan_bench blimp_npi_present_1 hendrycks_ethics kobest_boolq de en _de
"""
# names in lm_eval/tasks
TASKS = {
    "belebele_acm_Arab": ("belebele", "acm_Arab"),
    "belebele_zho_Hans": ("belebele", "zho_Hans"),
    "arc_de": ("arc", "de"),
    "arc_is": ("arc", "is"),
    "m_mmlu_de": ("m_mmlu", "de"),
    "m_arc_de": ("m_arc", "de"),
    "hellaswag_de": ("hellaswag", "de"),
    "hellaswag_no": ("hellaswag", "no"),
    "global_mmlu_full_de": ("global_mmlu_full", "de"),
    "global_mmlu_de": ("global_mmlu", "de"),
    "global_mmlu_full_fil": ("global_mmlu_full", "fil"),
    "mmlu_prox_lite_sw": ("mmlu_prox_lite", "sw"),
    "xnli_de": ("xnli", "de"),
    "xnli_eu_native": ("xnli_native", "eu"),
    "xcopa_et": ("xcopa", "et"),
    "xcopa_id": ("xcopa", "id"),
    "xcopa_it": ("xcopa", "it"),
    "xstorycloze_ar": ("xstorycloze", "ar"),
    "xstory_cloze_my": ("xstory_cloze", "my"),
    "paws_de": ("paws", "de"),
    "pawsx_ko": ("pawsx", "ko"),
    "xwinograd_en": ("xwinograd", "en"),
    "xwinograd_jp": ("xwinograd", "ja"),
    "xquad_ar": ("xquad", "ar"),
    "mgsm_direct_de": ("mgsm_direct", "de"),
    "mgsm_native_cot_de": ("mgsm_native_cot", "de"),
    "mgsm_en_cot_zh": ("mgsm_en_cot", "zh"),
    "mgsm_de_direct": ("mgsm_direct", "de"),
    "mgsm_de_native-cot": ("mgsm_native-cot", "de"),
    "mgsm_de_en-cot": ("mgsm_en-cot", "de"),
    "truthfulqa_de_mc1": ("truthfulqa_mc1", "de"),
    "truthfulqa_hy_mc2": ("truthfulqa_mc2", "hy"),
    "lambada_openai_mt_de": ("lambada_openai_mt", "de"),
    "lambada_mt_en": ("lambada_mt", "en"),
    "include_base_44_german": ("include_base_44", "de"),
    "include_base_44_albanian": ("include_base_44", "sq"),
    "include_base_44_north_macedonian": ("include_base_44", "mk"),
    "include_base_44_german_few_shot_en": ("include_base_44_few_shot_en", "de"),
    "arc_challenge_mt_fi": ("arc_challenge_mt", "fi"),
    "arc_challenge_mt_is": ("arc_challenge_mt", "is"),
    "arc_ca_challenge": ("arc_challenge", "ca"),
    "afrimgsm_direct_amh": ("afrimgsm_direct", "amh"),
    "headqa_es": ("headqa", "es"),
    "eqbench_ca": ("eqbench", "ca"),
    "harness|arc_challenge_m_de|25": ("arc_challenge_m", "de"),
    "mmlu_pt_br": ("mmlu", "pt_br"),
    "mmlu_ZH-CN": ("mmlu", "ZH-CN"),
}


@pytest.mark.parametrize(("name", "expected"), [*TASKS.items(), *((name, None) for name in OF_NO_LANGUAGE.split())])
def test_the_language_of_a_task(name, expected):
    assert task_language(name) == expected


def test_an_uncertain_code_is_a_language_beside_certain_ones():
    names = ["afrimgsm_direct_amh", "afrimgsm_direct_hau", "afrimgsm_direct_vai", "mmlu_de", "mmlu_fr", "mmlu_pro"]
    scores = harness_scores("r.json", harness({name: {"acc,none": 0.5} for name in names}))
    assert list(scores.table["language"]) == ["amh", "hau", "vai", "de", "fr"]
    assert note(scores, "name no language").endswith(": mmlu_pro.")


def test_english_tasks_are_left_aside():
    results = {name: {"acc,none": 0.5} for name in ("hellaswag", "hellaswag_de", "hellaswag_fr", "piqa", "boolq")}
    scores = harness_scores("r.json", harness(results))
    assert list(scores.table["language"]) == ["de", "fr"]
    assert note(scores, "English members of a family").endswith(": hellaswag.")
    assert note(scores, "name no language").endswith(": piqa, boolq.")


def test_subjects_are_left_aside_and_the_total_is_taken():
    names = ["global_mmlu_full", "global_mmlu_full_de", "global_mmlu_full_de_anatomy", "global_mmlu_full_de_stem"]
    subtasks = {names[0]: [names[1]], names[1]: [names[3]], names[3]: [names[2]], names[2]: []}
    scores = harness_scores("r.json", harness({n: {"acc,none": 0.5} for n in names}, group_subtasks=subtasks))
    assert scores.table[["task", "language"]].to_numpy().tolist() == [["global_mmlu_full", "de"]]
    assert "global_mmlu_full_de_anatomy, global_mmlu_full_de_stem" in note(scores, "whose total is there")
    assert note(scores, "groups over languages").endswith(": global_mmlu_full.")


def test_a_group_whose_name_ends_in_a_code_is_a_group():
    names = ["mgsm_native_cot", "arc_challenge_mt", "arc_challenge_mt_fi", "mgsm_native_cot_de"]
    subtasks = {"mgsm_native_cot": ["mgsm_native_cot_de"], "arc_challenge_mt": ["arc_challenge_mt_fi"]}
    scores = harness_scores("r.json", harness({n: {"acc,none": 0.5} for n in names}, group_subtasks=subtasks))
    assert list(scores.table["language"]) == ["fi", "de"]


def test_a_folder_of_results(tmp_path):
    for model, task in (("a", "xnli_de"), ("a", "xnli_fr"), ("b", "xnli_de")):
        file = tmp_path / model / f"results_{task}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(harness({task: {"acc,none": 0.5}}, model_name=model))
    (tmp_path / "a" / "samples.json").write_text('[{"doc": 1}]')
    (tmp_path / "a" / "results_broken.json").write_text("{")
    (tmp_path / "table.csv").write_text(LONG)
    scores = read_scores(tmp_path)
    assert found(scores, model="a") == {"de": 0.5, "fr": 0.5}
    assert set(scores.table["source"]) == {"a/results_xnli_de.json", "a/results_xnli_fr.json", "b/results_xnli_de.json"}
    assert "samples.json" in note(scores, "Not read", "samples")
    assert "results_broken.json" in note(scores, "Not read", "broken")
    assert note(scores, "beside the results").endswith(": table.csv.")


def test_two_runs_of_one_model(tmp_path):
    for number, score in enumerate((0.5, 0.5)):
        (tmp_path / f"results_{number}.json").write_bytes(harness({"xnli_de": {"acc,none": score}}))
    scores = read_scores(tmp_path)
    assert len(scores) == 1
    assert "a/b, xnli, acc, German (de)" in note(scores, "kept once")
    (tmp_path / "results_2.json").write_bytes(harness({"xnli_de": {"acc,none": 0.6}}))
    with pytest.raises(ScoresError, match=r"acc of a/b on xnli in German .de. is 0\.5 and 0\.6 .*results_2\.json"):
        read_scores(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", 'no "results" by task'),
        (b'{"results": []}', 'no "results" by task'),
        (b'{"results": {}}', 'no "results" by task'),
        (b'{"results": [{"task_name": "xnli", "acc": 0.5}]}', 'no "results" by task'),
        (b'{"results": {"xnli_de": 0.5}}', "no score of a task in a language"),
        (b'{"results": {"xnli_de": {"acc,none": "0.5"}}}', "no score of a task in a language; its tasks are xnli_de"),
        (b'{"results": {"xnli_de": {"acc,none": NaN, "f1,none": Infinity, "em": true}}}', "no score of a task"),
        (b'{"results": {"xnli_de": {"acc,none": 1' + b"0" * 400 + b"}}}", "no score of a task"),
        (b'{"results": {"xnli_de": {"acc,none": 1' + b"0" * 5000 + b"}}}", "is no JSON"),
        (b'{"results": {"piqa": {"acc,none": 0.5}}}', "its tasks are piqa"),
        (b'{"results": {"xnli_de": {"acc,none": -1}}}', "outside 0 to 100"),
        (b"\xff\xff", "not UTF-8"),
    ],
)
def test_results_that_are_none(data, message):
    with pytest.raises(ScoresError, match=message):
        read_file("results.json", data)


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
        ((math.nan, None, None), "is nan, no number"),
        ((math.inf, None, None), "is inf, no number"),
        (("0.5", None, None), "is '0.5', no number"),
        ((True, None, None), "is True, no number"),
        ((10**400, None, None), "no number"),
        ((0.5, -0.1, None), "cannot be negative"),
        ((0.5, None, 0), "at least 1"),
    ],
)
def test_measured_scores_that_are_none(values, message):
    with pytest.raises(ScoresError, match=message):
        from_measure("m", "t", "acc", {"de": values}, "here")


def test_measured_scores_need_names():
    with pytest.raises(ScoresError, match="has no model"):
        from_measure(" ", "t", "acc", {"de": (0.5, None, None)}, "here")
    with pytest.raises(ScoresError, match="There are no scores"):
        from_measure("m", "t", "acc", {}, "here")


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
    joined = join(measured(ar=0.5, fa=0.4, de=0.3), FLORES, pivot="eng_Latn")
    assert "ar as Standard Arabic (arb_Arab), fa as Iranian Persian (pes_Arab)" in note(joined, "usual form")


@pytest.mark.parametrize("language", ["zho", "zh", "cmn", "Chinese"])
def test_chinese_without_a_script_is_ambiguous_beside_both(language):
    joined = join(pd.DataFrame({"language": [language], "score": [0.5]}), FLORES, pivot="eng_Latn")
    assert joined.pairs.empty
    assert joined.ambiguous == {language: ("zho_Hans", "zho_Hant")}
    assert not {"zho_Hans", "zho_Hant"} & set(joined.unmatched_languages)
    assert f"{language} (zho_Hans or zho_Hant)" in note(joined, "Ambiguous")
    assert list(join(measured(zho=0.5), ["eng", "zho_Hans"], pivot="eng").pairs.index) == ["zho_Hans"]


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


# Whatever comes


def must_read_or_refuse(name, data):
    try:
        scores = read_file(name, data)
    except NeuronXAError as error:
        assert isinstance(error, ScoresError)
        assert str(error)
        return
    assert isinstance(scores, TaskScores)
    assert len(scores)
    assert scores.table["score"].map(math.isfinite).all()
    assert not scores.table.duplicated(list(task_scores.KEY)).any()
    scores.to_csv().encode()


@given(st.binary(max_size=200), st.sampled_from(["a.csv", "a.tsv", "a.json", "a", "", "../x\0.csv"]))
def test_random_bytes(data, name):
    must_read_or_refuse(name, data)


CELLS = st.one_of(
    st.sampled_from(
        ["en", "de", "German", "zh_Hans", "xnli", "xnli_de", "acc", "m", "", "-", "n/a", "en-fr", "avg", "nan"]
    ),
    st.sampled_from(
        ["language", "score", "acc", "model", "task", "metric", "stderr", "n", "source", "id", "no", "RankC"]
    ),
    st.floats().map(str),
    st.integers(-5, 120).map(str),
    st.sampled_from(["1e309", "-0", "50%", "0,5", "1 ± 2", "1,234", "inf", "１２"]),
    st.text(max_size=4),
)


@given(st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=6), st.sampled_from(",;\t"))
def test_random_tables(rows, delimiter):
    text = "\n".join(delimiter.join(row) for row in rows).encode("utf-8", "replace")
    must_read_or_refuse("a.csv", text)
    try:
        consistency(read_frame("a.csv", text), source="a.csv").consistency_with("en")
    except ScoresError as error:
        assert str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTRY = st.dictionaries(
    st.sampled_from(
        ["acc,none", "acc_stderr,none", "acc", "acc_stderr", "alias", ",", ",none", "_stderr", "f1,", "x,y,z"]
    ),
    JSON | st.floats(0, 1),
    max_size=5,
)
RESULTS = st.dictionaries(
    st.sampled_from(
        ["xnli_de", "xnli_fr", "xnli", "a|b_de|0", "_", "", "de", "_de", "global_mmlu_de_", "mgsm_native_cot"]
    )
    | st.text(max_size=8),
    ENTRY | JSON,
    max_size=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["config", "model_name", "n-samples", "group_subtasks", "groups", "config_general"]), JSON
    ),
    RESULTS | JSON,
)
def test_hostile_results(more, results):
    must_read_or_refuse("results.json", json.dumps(more | {"results": results}).encode())


@given(st.text(max_size=30))
def test_any_name_of_a_task(name):
    named = task_language(name)
    assert named is None or all(named)


@given(st.text(max_size=30))
def test_any_name_of_a_language(text):
    assert isinstance(code_of(text), str)
