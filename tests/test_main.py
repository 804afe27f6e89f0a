"""The command line: its table, its exit codes, its one line of error, and the cache it shares with the app."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from neuronxa_core import pipeline
from neuronxa_core.__main__ import COLUMNS, main
from neuronxa_core.experiment import Experiment
from neuronxa_core.store import Store

ROOT = Path(__file__).parents[1]
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
    assert list(table.columns) == COLUMNS
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
    plan = pipeline.make_plan(Experiment(languages=("spa_Latn", "ell_Grek"), sentences=10), store)
    assert pipeline.missing(plan, store) == []
    found = pipeline.align(plan, store, "nas", "weighted")
    store.close()
    assert list(table["score"]) == list(found.score.ravel())
    assert list(table["retrieval_forward"]) == list(found.retrieval_forward.ravel())
    assert list(table["retrieval_backward"]) == list(found.retrieval_backward.ravel())


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


def test_the_module_runs_on_a_folder_with_the_cache_from_the_environment(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "eng.txt").write_text("one house\ntwo trees\nthree dogs\n", "utf-8")
    (corpus / "deu.txt").write_text("ein Haus\nzwei Bäume\ndrei Hunde\n", "utf-8")
    environment = {**os.environ, "NEURONXA_CACHE_DIR": str(tmp_path / "cache")}
    command = [
        sys.executable,
        "-m",
        "neuronxa_core",
        "score",
        "--model",
        "demo",
        "--corpus",
        str(corpus),
        "--pivot",
        "eng",
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 + 8
    assert (tmp_path / "cache" / "cache.db").is_file()
    failed = subprocess.run(
        [*command, "--languages", "fra"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert "fra" in failed.stderr
