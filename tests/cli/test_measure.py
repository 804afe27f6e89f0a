"""`measure`: every measure by its name, with the options that it declares."""

import io

import pandas as pd
import pytest

from neuronxa_core.cli.main import main
from neuronxa_core.measures import registry

BASE = ["--model", "demo", "--corpus", "demo", "--pivot", "eng_Latn", "--languages", "deu_Latn", "--sentences", "6"]


def run(capsys, *arguments):
    try:
        status = main(["measure", *arguments])
    except SystemExit as end:
        status = end.code
    return status, *capsys.readouterr()


def test_the_list_names_every_measure_with_a_sentence(capsys):
    status, out, _ = run(capsys, "--list")
    assert status == 0
    lines = dict(line.split(": ", 1) for line in out.splitlines())
    assert list(lines) == list(registry.MEASURES)
    assert all(sentence.endswith(".") for sentence in lines.values())


def test_each_representation_has_its_rows_and_choices_are_taken(tmp_path, capsys):
    options = [*BASE, "--cache-dir", str(tmp_path), "--states", "nas", "emb", "--pooling", "last"]
    status, out, _ = run(capsys, "cka", *options)
    assert status == 0
    table = pd.read_csv(io.StringIO(out))
    assert {"model", "corpus", "language", "layer", "state", "cka"} <= set(table.columns)
    assert table.groupby("state").size().to_dict() == {"nas": 8, "emb": 8}
    assert set(table["pooling"]) == {"last"}
    biased = pd.read_csv(io.StringIO(run(capsys, "cka", *options, "--no-debiased")[1]))
    assert (biased["cka"] != table["cka"]).all()


@pytest.mark.parametrize(("neuron", "lines"), [("product", 1), ("gate", 0)])
def test_lape_says_which_definition_was_published_where_it_is_another(neuron, lines, tmp_path, capsys):
    status, out, err = run(capsys, "lape", *BASE, "--cache-dir", str(tmp_path), "--neuron", neuron)
    assert (status, out != "") == (0, True)
    assert sum("--neuron gate" in line and line.startswith("note: ") for line in err.splitlines()) == lines


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ckaa", *BASE], "there is no measure 'ckaa'. Did you mean cka?"),
        (["cka", "--model", "demo"], "required: --corpus, --pivot"),
        (["cka", *BASE, "--pooling", "sum"], "--pooling"),
        (["--all"], "--all"),
    ],
)
def test_bad_input_is_one_line(arguments, said, tmp_path, capsys):
    status, out, err = run(capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err
