"""The command line: its table, its exit codes, its one line of error, and the cache it shares with the app."""

import io
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tqdm import tqdm

from neuronxa_core.cli import score
from neuronxa_core.cli.main import main
from neuronxa_core.cli.score import COLUMNS
from neuronxa_core.corpora import reading
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import alignment, task_correlation
from neuronxa_core.models import sources, structure
from neuronxa_core.states import planning
from neuronxa_core.store.cache import Store

ROOT = Path(__file__).parents[2]
BASE = ["score", "--model", "demo", "--corpus", "demo", "--pivot", "eng_Latn"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def run(capsys, cache, *options):
    status = main([*BASE, "--cache-dir", str(cache), *options])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_table_has_a_row_a_state_language_and_layer(capsys, cache):
    status, out, err = run(
        capsys, cache, "--languages", "spa_Latn", "ell_Grek", "--sentences", "10", "--states", "nas", "nav", "emb"
    )
    assert status == 0
    assert "sentences" in err
    table = pd.read_csv(io.StringIO(out))
    assert list(table.columns) == list(COLUMNS.values())
    assert len(table) == 3 * 2 * 8
    assert set(table["layer"]) == set(range(8))
    assert set(table["n_sentences"]) == {10}
    assert set(table["state"]) == {"nas", "nav", "emb"}
    assert set(
        zip(table["model"], table["corpus"], table["pooling"], table["neuron"], table["pivot"], strict=True)
    ) == {("demo", "demo", "weighted", "product", "eng_Latn")}
    for column in ("score", "retrieval_forward", "retrieval_backward"):
        assert table[column].between(0, 1).all()
    assert (table["score"] <= table[["retrieval_forward", "retrieval_backward"]].min(axis=1)).all()


def test_the_table_holds_the_numbers_of_the_core_and_a_second_run_is_the_same_to_the_letter(capsys, cache):
    options = ("--languages", "spa_Latn", "ell_Grek", "--sentences", "10")
    first = run(capsys, cache, *options)
    second = run(capsys, cache, *options)
    assert first[1] == second[1]
    assert "sentences/s" not in second[2]
    table = pd.read_csv(io.StringIO(first[1]))
    store = Store(cache)
    plan = planning.make_plan(Experiment(languages=("spa_Latn", "ell_Grek"), sentences=10), store)
    assert planning.missing(plan, store) == []
    found = alignment.align(plan, store, "nas", "weighted")
    store.close()
    assert list(table["score"]) == list(found.score.ravel())
    assert list(table["retrieval_forward"]) == list(found.retrieval_src2trg.ravel())
    assert list(table["retrieval_backward"]) == list(found.retrieval_trg2src.ravel())


def test_out_writes_a_whole_file_or_none(capsys, cache, tmp_path):
    target = tmp_path / "scores.csv"
    status, out, _ = run(capsys, cache, "--languages", "spa_Latn", "--sentences", "10", "--out", str(target))
    assert (status, out) == (0, "")
    assert len(pd.read_csv(target)) == 8
    assert [f.name for f in tmp_path.iterdir()] == ["scores.csv"]
    status, _, err = run(capsys, cache, "--sentences", "10", "--out", str(tmp_path / "no" / "scores.csv"))
    assert status == 2
    assert "no folder" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "/no/such/model"], "no folder /no/such/model"),
        (["--corpus", "/no/such/corpus"], "/no/such/corpus"),
        (["--pivot", "xyz_Latn"], "xyz_Latn"),
        (["--languages", "spa_Latm"], "spa_Latm"),
        (["--sentences", "1"], "at least 2"),
        (["--sentences", "1000"], "1000"),
        (["--device", "cuda"], "CUDA"),
        (["--states", "nax"], "nax"),
        (["--pooling", "median"], "median"),
        (["--sentences", "many"], "many"),
    ],
)
def test_bad_input_is_status_2_and_one_line(capsys, cache, monkeypatch, options, said):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    try:
        status, out, err = run(capsys, cache, *options)
    except SystemExit as stopped:
        status = stopped.code
        out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert said in err
    assert "Traceback" not in err


def test_a_folder_is_scored_with_the_cache_from_the_environment(capsys, tmp_path, monkeypatch):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "eng.txt").write_text("one house\ntwo trees\nthree dogs\n", "utf-8")
    (corpus / "deu.txt").write_text("ein Haus \nzwei Bäume\none house\n", "utf-8")
    (corpus / "notes.txt").write_text("not a translation\n", "utf-8")
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(tmp_path / "cache"))
    assert main(["score", "--model", "demo", "--corpus", str(corpus), "--pivot", "eng"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1 + 8
    for finding in ("lines than 3: notes.txt (1).", "note: German (deu): 1 line (1) changed by NFC normalisation"):
        assert finding in err
    assert any((tmp_path / "cache" / "entries").iterdir())


@pytest.mark.full
def test_the_module_ends_with_the_status_of_the_command(tmp_path):
    command = [sys.executable, "-m", "neuronxa_core", *BASE, "--cache-dir", str(tmp_path), "--languages", "xyz_Latn"]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (2, "", 1)


# ------------------------------------------------------------------------------------------------------ several models


def score_of(cache, models, *options):
    names = [str(model) for model in models]
    return main(["score", "--model", *names, *BASE[3:], "--cache-dir", str(cache), "--sentences", "6", *options])


def test_several_models_give_the_rows_of_each_one_after_the_other(capsys, tiny, tmp_path):
    chosen = ["demo", tiny("llama", seed=21), tiny("gpt2", seed=22)]
    options = ("--languages", "spa_Latn", "deu_Latn", "--states", "nas", "emb")
    alone = []
    for k, model in enumerate(chosen):
        assert score_of(tmp_path / str(k), [model], *options) == 0
        header, *rows = capsys.readouterr().out.splitlines(keepends=True)
        alone += rows
    assert score_of(tmp_path / "all", [*chosen, "demo"], *options) == 0  # a model that is named twice counts once
    out, err = capsys.readouterr()
    assert out == header + "".join(alone)
    assert err.count("sentences/s") > 0
    assert f"{3 * 3 * 6}/{3 * 3 * 6}" in err  # one progress bar over all


def test_models_of_one_name_go_by_what_the_user_called_them(capsys, tiny, tmp_path):
    copies = [tmp_path / step / "model" for step in ("step1", "step2")]
    for seed, copy in enumerate(copies, start=25):
        shutil.copytree(tiny("llama", seed=seed), copy)
    assert score_of(tmp_path / "cache", copies, "--languages", "spa_Latn") == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(dict.fromkeys(table["model"])) == [str(copy) for copy in copies]
    scores = [part["retrieval_forward"].tolist() for _, part in table.groupby("model", sort=False)]
    assert scores[0] != scores[1]


def test_a_model_that_fails_costs_no_other_its_rows(capsys, tiny, tmp_path):
    def with_nan(model):
        model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")

    good, bad, other = tiny("llama", seed=23), tiny("llama", edit=with_nan), tiny("gpt2", seed=24)
    out = tmp_path / "scores.csv"
    assert score_of(tmp_path / "cache", [good, bad, other], "--languages", "spa_Latn", "--out", str(out)) == 2
    assert list(dict.fromkeys(pd.read_csv(out)["model"])) == [good.name, other.name]
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith(f"neuronxa_core: error: {bad.name}: eng_Latn: inf or NaN in the")
    assert said.count("error") == 1
    assert score_of(tmp_path / "cache", [bad], "--languages", "spa_Latn", "--out", str(tmp_path / "none.csv")) == 2
    assert not (tmp_path / "none.csv").exists()  # no row, no table
    assert capsys.readouterr().err.splitlines()[-1].startswith("neuronxa_core: error: eng_Latn: inf or NaN in the")


def test_a_model_that_is_not_there_stops_the_run_before_anything_is_computed(capsys, tiny, tmp_path):
    cache = tmp_path / "cache"
    assert score_of(cache, [tiny("llama", seed=23), "/no/such/model"], "--languages", "spa_Latn") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "/no/such/model" in err
    store = Store(cache)
    assert store.entries() == []
    store.close()


def test_sentences_that_were_cut_are_counted_and_said(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(structure, "LONGEST_SENTENCE", 20)
    assert main([*BASE, "--cache-dir", str(tmp_path), "--sentences", "9", "--languages", "tha_Thai", "deu_Latn"]) == 0
    out, err = capsys.readouterr()
    tokenizer = sources.load_tokenizer(sources.parse_source("demo"))
    corpus = reading.read("demo")
    wanted = {
        code: sum(len(tokenizer(line)["input_ids"]) > 20 for line in corpus.texts[code][:9])
        for code in ("eng_Latn", "tha_Thai", "deu_Latn")
    }
    assert 0 < wanted["deu_Latn"] < 9
    table = pd.read_csv(io.StringIO(out))
    assert table.groupby("language")["n_truncated"].unique().map(list).to_dict() == {
        code: [wanted[code]] for code in ("tha_Thai", "deu_Latn")
    }
    said = ", ".join(f"{wanted[code]} of {code}" for code in ("tha_Thai", "deu_Latn", "eng_Latn") if wanted[code])
    assert f"warning: demo reads at most 20 tokens; sentences that were cut: {said}\n" in err


def test_scores_without_keeping_are_the_same_and_leave_no_states(capsys, tmp_path, counted):
    options = ["--sentences", "6", "--states", "nas", "emb", "--languages", "spa_Latn", "deu_Latn"]
    assert main([*BASE, "--cache-dir", str(tmp_path / "kept"), *options]) == 0
    wanted = capsys.readouterr().out
    read = counted()
    asked = [*BASE, "--cache-dir", str(tmp_path / "none"), *options, "--no-keep"]
    assert main(asked) == 0
    assert capsys.readouterr().out == wanted
    assert read == ["eng_Latn", "spa_Latn", "deu_Latn"]
    store = Store(tmp_path / "none")
    assert {entry.meta["kind"] for entry in store.entries()} == {"alignment"}
    store.close()
    assert not list((tmp_path / "none").glob("scratch-*"))
    assert main(asked) == 0
    assert capsys.readouterr().out == wanted
    assert len(read) == 3


def test_states_that_are_named_are_kept_alone_and_others_are_added_later(capsys, tmp_path):
    asked = [*BASE, "--cache-dir", str(tmp_path), "--sentences", "4", "--languages", "deu_Latn"]
    wanted, before = ["nas_weighted"], {}
    for options, more in (
        (["--states", "nas"], []),
        (["--states", "nas", "emb", "--pooling", "last"], ["emb_weighted", "nas_last", "emb_last"]),
        ([], ["nav_weighted"]),
    ):
        assert main([*asked, *options]) == 0
        assert "2 languages to compute" in capsys.readouterr().err
        wanted += more
        with closing(Store(tmp_path)) as store:
            states = [one for one in store.entries() if one.key.startswith("states-")]
        assert sorted(one.meta["states"] for one in states) == sorted(2 * wanted)
        stored = {one.key: one.stored for one in states}
        assert stored.items() >= before.items()
        before = stored


def test_damaged_states_are_computed_again(capsys, tiny, tmp_path):
    chosen, cache = [tiny("llama", seed=23), tiny("gpt2", seed=24)], tmp_path / "cache"
    assert score_of(cache, chosen, "--languages", "spa_Latn", "deu_Latn") == 0
    wanted = capsys.readouterr().out
    store = Store(cache)
    for entry in store.entries():
        if not entry.key.startswith("states-"):
            store.drop(entry.key)
    damaged = {}
    nas = [entry for entry in store.entries() if entry.meta["states"] == "nas_weighted"]
    for key in [entry.key for entry in nas if entry.meta["language"] != "eng_Latn"]:
        with store.get(key) as entry:
            file, place = Path(entry.file.name), entry._starts["nas_weighted"]
        content = bytearray(file.read_bytes())
        content[place] ^= 1
        file.write_bytes(content)
        damaged[key] = file, bytes(content)
    store.close()
    assert len(damaged) == 4
    assert score_of(cache, chosen, "--languages", "spa_Latn", "deu_Latn") == 0
    assert capsys.readouterr().out == wanted
    # what was damaged is gone
    assert not any(file.exists() and file.read_bytes() == content for file, content in damaged.values())
    assert all(key in store for key in damaged)
    store.close()


def test_all_pairs_are_scored_once_each_and_pooled_over_layers_where_asked(capsys, cache, monkeypatch):
    bars = []
    monkeypatch.setattr(score, "tqdm", lambda **options: bars.append(tqdm(**options)) or bars[-1])
    chosen = ("--sentences", "6", "--states", "nas", "hid", "--languages", "spa_Latn", "ell_Grek")
    table = pd.read_csv(io.StringIO(run(capsys, cache, *chosen, "--pairs", "all")[1]))
    pairs = [("eng_Latn", "spa_Latn"), ("eng_Latn", "ell_Grek"), ("spa_Latn", "ell_Grek")]
    assert list(dict.fromkeys(zip(table["pivot"], table["language"], strict=True))) == pairs
    assert len(table) == 3 * (8 + 9)  # HID has the embeddings, too
    alone = []
    for pivot, language in pairs:
        _, out, _ = run(capsys, cache, *chosen[:-2], language, "--pivot", pivot)
        assert bars[-1].n == bars[-1].total in (0, 2)  # pairs whose scores are there are not compared again
        alone.append(pd.read_csv(io.StringIO(out)))
    assert bars[0].n == bars[0].total == 3 * 2
    alone = pd.concat(alone).sort_values("state", ascending=False, kind="stable")
    pd.testing.assert_frame_equal(table, alone.reset_index(drop=True))
    for how in ("mean", "max"):
        pooled = pd.read_csv(io.StringIO(run(capsys, cache, *chosen, "--pairs", "all", "--layers", how)[1]))
        assert set(pooled["layer"]) == {how}
        by_pair = table.groupby(["state", "pivot", "language"], sort=False)
        for column in ("score", "retrieval_forward", "retrieval_backward"):
            assert pooled[column].tolist() == pytest.approx(by_pair[column].agg(how).tolist())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pairs", "all", "--no-keep"], "--no-keep does not go with --pairs all"),
        (["--chunk", "2"], "--chunk goes with --ray"),
        (["--gpus-per-task", "1"], "--gpus-per-task goes with --ray"),
        (["--cpus-per-task", "1"], "--cpus-per-task goes with --ray"),
        (["--ray", "auto", "--chunk", "0"], "--chunk must be at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(capsys, cache, options, said):
    status, out, err = run(capsys, cache, *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err


# ----------------------------------------------------------------------------------------------------------- correlate

SIX = ("spa_Latn", "ell_Grek", "rus_Cyrl", "deu_Latn", "por_Latn", "zho_Hans")


def correlate(capsys, cache, *options):
    arguments = ["correlate", *BASE[1:], "--cache-dir", str(cache), "--sentences", "10", "--languages", *SIX, *options]
    status = main(arguments)
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.fixture
def scores(tmp_path):
    file = tmp_path / "scores.csv"
    rows = [
        "language,task,acc",
        "Average,xnli,60",
        "es,xnli,70",
        "el,xnli,40",
        "ru,xnli,55",
        "de,xnli,61",
        "pt,xnli,66",
        "en,xnli,85",
    ]
    rows += ["zh-Hans,xnli,50", "tlh,xnli,10"]
    rows += [f"{code},arc,{k}" for k, code in enumerate(("es", "el", "ru", "de", "pt"), start=20)]
    file.write_text("\n".join(rows) + "\n", "utf-8")
    return str(file)


def test_correlate_writes_every_method_and_layer_of_every_task(capsys, cache, scores):
    status, out, err = correlate(capsys, cache, "--scores", scores, "--states", "nas", "emb")
    assert status == 0, err
    table = pd.read_csv(io.StringIO(out))
    assert list(table.columns) == list(task_correlation.COLUMNS)
    assert len(table) == 2 * 2 * (8 + 2)
    assert table.loc[table["layer"].isna(), "layer_pooling"].tolist() == ["mean", "max"] * 4
    assert dict(zip(table["task"], table["n_languages"], strict=True)) == {"xnli": 6, "arc": 5}
    assert "tlh" in err  # what was not matched is said
    assert "note: Left aside in scores.csv, since they name no language: Average." in err
    assert "one can make the result" in err


def test_correlate_agrees_with_scipy_on_the_scores_that_score_writes(capsys, cache, scores):
    _, out, _ = correlate(capsys, cache, "--scores", scores, "--task", "xnli", "--states", "emb")
    found = pd.read_csv(io.StringIO(out))
    _, out, _ = run(capsys, cache, "--sentences", "10", "--languages", *SIX, "--states", "emb")
    by_layer = pd.read_csv(io.StringIO(out)).pivot(index="language", columns="layer", values="score")
    y = {"spa_Latn": 0.70, "ell_Grek": 0.40, "rus_Cyrl": 0.55, "deu_Latn": 0.61, "por_Latn": 0.66, "zho_Hans": 0.50}
    for row in found.itertuples():
        pooled = pd.isna(row.layer)
        x = (getattr(by_layer, row.layer_pooling)(axis=1) if pooled else by_layer[int(row.layer)])[list(y)]
        if x.nunique() == 1:
            assert np.isnan(row.pearson_r)
            continue
        wanted = stats.pearsonr(x, list(y.values()))
        assert row.pearson_r == pytest.approx(wanted.statistic, abs=1e-9)
        assert row.pearson_p == pytest.approx(wanted.pvalue, rel=1e-7)
        assert (row.pearson_low, row.pearson_high) == pytest.approx(tuple(wanted.confidence_interval()), abs=1e-9)
        assert row.spearman_rho == pytest.approx(stats.spearmanr(x, list(y.values())).statistic, abs=1e-9)
        assert row.kendall_tau == pytest.approx(stats.kendalltau(x, list(y.values())).statistic, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--task", "nothing"], "no task nothing"),
        (["--metric", "f1"], "no metric f1"),
        (["--scores-model", "gpt"], "no scores of the model gpt"),
    ],
)
def test_correlate_names_what_the_scores_lack(capsys, cache, scores, options, said):
    status, out, err = correlate(capsys, cache, "--scores", scores, *options)
    assert (status, out) == (2, "")
    assert said in err.strip().splitlines()[-1]


def test_correlate_refuses_fewer_than_five_languages_and_missing_files(capsys, cache, tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("language,acc\nes,0.7\nel,0.4\nru,0.5\n", "utf-8")
    for scores, said in ((few, "at least 5"), (tmp_path / "none.csv", "none.csv")):
        status, out, err = correlate(capsys, cache, "--scores", str(scores))
        assert (status, out) == (2, "")
        assert said in err.strip().splitlines()[-1]


def test_correlate_reads_a_table_of_language_pairs(capsys, cache, tmp_path):
    matrix = tmp_path / "rankc.csv"
    codes = ["en", "es", "el", "ru", "de", "pt"]
    rows = [",".join(["language", *codes])]
    rows += [",".join([a, *(str(round(1 / (1 + abs(i - j)), 3)) for j in range(6))]) for i, a in enumerate(codes)]
    matrix.write_text("\n".join(rows) + "\n", "utf-8")
    status, out, err = correlate(capsys, cache, "--scores", str(matrix), "--states", "emb")
    assert status == 0, err
    table = pd.read_csv(io.StringIO(out))
    assert set(table["n_languages"]) == {5}
    _, out, _ = run(capsys, cache, "--sentences", "10", "--languages", *SIX, "--states", "emb")
    scores = pd.read_csv(io.StringIO(out)).groupby("language")["score"].mean()
    with_english = [scores[code] for code in ("spa_Latn", "ell_Grek", "rus_Cyrl", "deu_Latn", "por_Latn")]
    wanted = stats.pearsonr(with_english, [0.5, 0.333, 0.25, 0.2, 0.167]).statistic
    assert table.loc[table["layer_pooling"] == "mean", "pearson_r"].item() == pytest.approx(wanted, abs=1e-9)


def test_correlate_wants_to_know_whose_scores_are_meant(capsys, cache, tmp_path):
    several = tmp_path / "several.csv"
    rows = ["model,language,acc"] + [f"m{m},{code},0.{m}{k}" for m in (1, 2) for k, code in enumerate(SIX)]
    several.write_text("\n".join(rows) + "\n", "utf-8")
    status, _, err = correlate(capsys, cache, "--scores", str(several))
    assert status == 2
    assert "--scores-model" in err
    status, out, err = correlate(capsys, cache, "--scores", str(several), "--scores-model", "m2")
    assert status == 0, err
    assert set(pd.read_csv(io.StringIO(out))["n_languages"]) == {6}


@pytest.mark.full
def test_correlate_with_several_models_writes_the_grid_in_three_forms(capsys, cache, scores, tiny):
    other = str(tiny("llama"))
    models = ["--model", "demo", other, "--scores", scores]
    status, out, err = correlate(capsys, cache, *models)
    assert status == 0, err
    assert "Williams' test" in err
    assert "one can make the result" in err
    table = pd.read_csv(io.StringIO(out))
    cells = table[(table["model"] != "average") & (table["task"] != "average")]
    assert len(cells) == 2 * 2 * 9 * 2
    _, out, _ = correlate(capsys, cache, "--scores", scores, "--pooling", "last", "--states", "emb")
    single = pd.read_csv(io.StringIO(out)).query("layer_pooling == 'max' and task == 'xnli'")["pearson_r"].item()
    same = "model == 'demo' and method == 'MEXA' and pooling == 'last' and layers == 'max' and task == 'xnli (acc)'"
    assert table.query(same)["r"].item() == pytest.approx(single, abs=1e-12)
    some = ["--pooling", "last", "--states", "emb", "--task", "xnli"]
    status, out, _ = correlate(capsys, cache, *models, *some, "--format", "markdown")
    assert (status, out.splitlines()[0]) == (0, "| model | method | xnli (acc) |")
    assert len(out.splitlines()) == 2 + 3 * 2
    status, out, _ = correlate(capsys, cache, "--scores", scores, *some, "--table", "grid", "--format", "latex")
    assert (status, r"\toprule" in out) == (0, True)
    status, out, err = correlate(capsys, cache, "--scores", scores, "--format", "latex")
    assert (status, out, "--table grid" in err.splitlines()[-1]) == (2, "", True)
