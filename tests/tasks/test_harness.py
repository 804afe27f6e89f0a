"""Results of the lm-evaluation-harness, and malformed input of any kind."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_scores import LONG, found, harness, measured, note

from neuronxa_core.errors import NeuronXAError, ScoresError
from neuronxa_core.tasks import task_scores
from neuronxa_core.tasks.cells import read_frame
from neuronxa_core.tasks.consistency import consistency
from neuronxa_core.tasks.harness import harness_scores
from neuronxa_core.tasks.matching import code_of
from neuronxa_core.tasks.score_files import read_file, read_scores
from neuronxa_core.tasks.task_names import task_languages
from neuronxa_core.tasks.task_scores import TaskScores

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
    scores = harness_scores([("results.json", harness(results, **more))])
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
    scores = harness_scores([("x.json", json.dumps({"results": results, "config": config}).encode())])
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
    assert harness_scores([("dir/x.json", data)], model="given").table["model"][0] == name


def test_a_model_without_a_name_is_its_file():
    data = json.dumps({"results": {"xnli_de": {"acc": 0.5}}}).encode()
    assert harness_scores([("dir/results_1.json", data)]).table["model"][0] == "results_1"


def test_filters_are_told_apart():
    entry = {
        "exact_match,strict-match": 0.2,
        "exact_match_stderr,strict-match": 0.01,
        "exact_match,flexible-extract": 0.3,
        "exact_match_stderr,flexible-extract": 0.02,
    }
    scores = harness_scores([("r.json", harness({"mgsm_direct_de": entry, "mgsm_direct_fr": entry}))])
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
    found = task_languages([name]).get(name)
    assert ((found and not found.subject and (found.task, found.code)) or None) == expected


@pytest.mark.parametrize(
    ("names", "languages"),
    [
        ("mlqa_de_de mlqa_de_ar mlqa_es_es mlqa_en_hi", ["de", "es"]),
        # sections of an exam, whose names are codes; beside endings that are none
        ("csatqa_gr csatqa_li csatqa_wr csatqa_rch", []),
        ("quiz_gr quiz_li quiz_rch quiz_rcs quiz_wr", []),
        ("pisa_ch pisa_de pisa_it pisa_ch_llm_judged", ["zh", "de", "it", "zh"]),
        # of a task that is not known: one alone, and beside others
        ("quiz_de", []),
        ("quiz_de quiz_fr quiz_it quiz_total", ["de", "fr", "it"]),
        ("AraDiCE_piqa_msa AraDiCE_piqa_eng salt_eng-ach_prompt_1 catalan_bench_flores_fr-ca", []),
    ],
)
def test_the_languages_of_tasks_side_by_side(names, languages):
    assert [found.code for found in task_languages(names.split()).values()] == languages


def test_runs_with_different_settings_are_kept_apart_and_named():
    def run(code, score, shots=0, config=None, **more):
        arguments = {"model": "hf", "model_args": "pretrained=a/b,dtype=float16,batch_size=8"}
        more = {"config": arguments | (config or {}), "n-shot": {f"xnli_{code}": shots}} | more
        return f"{len(files)}.json", harness({f"xnli_{code}": {"acc,none": score}}, **more)

    files = []
    files.append(run("de", 0.1))
    files.append(run("fr", 0.2, config={"model_args": {"pretrained": "a/b", "dtype": "float16", "device": "cuda"}}))
    files.append(run("de", 0.3, shots=5))
    files.append(run("de", 0.4, config={"limit": 100.0}))
    files.append(run("de", 0.5, chat_template="{{x}}", chat_template_sha="abcdef012", fewshot_as_multiturn=True))
    files.append(run("de", 0.6, config={"model_args": "pretrained=a/b,dtype=bfloat16,token=hf_secret"}))
    files.append(run("de", 0.7, config={"model_args": "pretrained=a/b,peft=my/adapter,dtype=float16"}))
    scores = harness_scores(files)
    assert [(row.model, row.task, row.language, row.score) for row in scores.table.itertuples()] == [
        ("a/b", "xnli (0-shot, dtype=float16)", "de", 0.1),
        ("a/b", "xnli (0-shot, dtype=float16)", "fr", 0.2),
        ("a/b", "xnli (5-shot, dtype=float16)", "de", 0.3),
        ("a/b", "xnli (0-shot, first 100 documents, dtype=float16)", "de", 0.4),
        ("a/b", "xnli (0-shot, dtype=float16, chat template abcdef, multi-turn examples)", "de", 0.5),
        ("a/b", "xnli (0-shot, dtype=bfloat16)", "de", 0.6),
        ("my/adapter", "xnli", "de", 0.7),
    ]
    assert "xnli (5-shot, dtype=float16)" in note(scores, "different settings")
    assert note(scores, "adapter") == "my/adapter in 6.json is an adapter of a/b, a model of its own."
    # where they are alike, the task keeps its name
    assert set(harness_scores(files[:2]).table["task"]) == {"xnli"}


def test_whether_more_is_better_is_what_the_file_says():
    results = {
        f"xnli_{code}": {"acc,none": 0.5, "bias,strict": 0.5, "ppl,none": 9.0, "f1,none": 0.1} for code in ("de", "fr")
    }
    says = {name: {"acc": True, "bias": False, "f1": None} for name in results}
    scores = harness_scores([("r.json", harness(results, higher_is_better=says))])
    told = {metric: scores.higher_is_better("xnli", metric) for metric in ("acc", "bias (strict)", "ppl", "f1")}
    assert told == {"acc": True, "bias (strict)": False, "ppl": False, "f1": True}
    assert not task_scores.merge(scores, measured(de=0.5)).select(model="a/b").higher_is_better("xnli", "bias (strict)")


def test_an_uncertain_code_is_a_language_beside_certain_ones():
    names = ["afrimgsm_direct_amh", "afrimgsm_direct_hau", "afrimgsm_direct_vai", "mmlu_de", "mmlu_fr", "mmlu_pro"]
    scores = harness_scores([("r.json", harness({name: {"acc,none": 0.5} for name in names}))])
    assert list(scores.table["language"]) == ["amh", "hau", "vai", "de", "fr"]
    assert note(scores, "name no language").endswith(": mmlu_pro.")


ASIDE = {
    "English members of a family": ("hellaswag hellaswag_de hellaswag_fr piqa", {}, "hellaswag", "de fr"),
    "subjects of a task whose total": (
        "global_mmlu_full_de global_mmlu_full_de_anatomy global_mmlu_full_de_stem",
        {"global_mmlu_full_de": ["global_mmlu_full_de_stem"], "global_mmlu_full_de_anatomy": []},
        "global_mmlu_full_de_anatomy, global_mmlu_full_de_stem",
        "de",
    ),
    # their names end in codes
    "groups over languages": (
        "mgsm_native_cot arc_challenge_mt arc_challenge_mt_fi mgsm_native_cot_de",
        {"mgsm_native_cot": ["mgsm_native_cot_de"], "arc_challenge_mt": ["arc_challenge_mt_fi"]},
        "mgsm_native_cot, arc_challenge_mt",
        "fi de",
    ),
    "tasks that name no language": ("xnli_de piqa boolq", {}, "piqa, boolq", "de"),
    "tasks in two languages": ("mlqa_de_de mlqa_de_ar", {}, "mlqa_de_ar", "de"),
}


@pytest.mark.parametrize(("why", "names", "subtasks", "aside", "codes"), [(why, *rest) for why, rest in ASIDE.items()])
def test_what_is_left_aside_is_said(why, names, subtasks, aside, codes):
    results = {name: {"acc,none": 0.5} for name in names.split()}
    scores = harness_scores([("r.json", harness(results, group_subtasks=subtasks))])
    assert list(scores.table["language"]) == codes.split()
    assert note(scores, why).endswith(f": {aside}.")


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
        (b'{"results": {"xnli_de": {"acc\\ud800,none": 0.5}}}', r"is no JSON: .* '\\ud800'"),
        (b'{"results": {"a\\uDc01_de": {"acc": 0.5}}}', "is no JSON"),
    ],
)
def test_results_that_are_none(data, message):
    with pytest.raises(ScoresError, match=message):
        read_file("results.json", data)


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
    assert all(found.task and found.code for found in task_languages([name, f"{name}_de", "x_de"]).values())


@given(st.text(max_size=30))
def test_any_name_of_a_language(text):
    assert isinstance(code_of(text), str)
