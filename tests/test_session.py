"""The Python interface: the same numbers as the command line, the notebook, and an import that takes no time."""

import io
import runpy
import subprocess
import sys
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest

import neuronxa_core as nxa
from neuronxa_core.cli.main import main

ROOT = Path(__file__).parents[1]


def test_a_measure_is_the_command_lines_on_the_same_cache(tmp_path, capsys, counted, monkeypatch):
    session = nxa.Session(pivot="eng_Latn", languages=["deu_Latn"], sentences=6, cache=tmp_path, progress=False)
    table = session.measure("cka", state="nav", pooling="mean")
    read = counted()
    options = ["--model", "demo", "--corpus", "demo", "--pivot", "eng_Latn", "--languages", "deu_Latn"]
    options += ["--sentences", "6", "--states", "nav", "--pooling", "mean", "--cache-dir", str(tmp_path)]
    assert main(["measure", "cka", *options]) == 0
    assert read == []
    other = pd.read_csv(io.StringIO(capsys.readouterr().out))
    np.testing.assert_array_equal(table["cka"], other["cka"])
    # what a full disk does not keep is shown all the same
    monkeypatch.setattr(session.store, "try_put", lambda *_: None)
    assert len(session.measure("cka", state="emb")) == session.model.layers
    assert session.states("deu_Latn", 2).shape == (6, session.model.neurons)
    np.testing.assert_allclose(np.diag(session.similarity("deu_Latn", "deu_Latn", 2)), 1, atol=1e-6)


@pytest.mark.full
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(tmp_path))
    names = runpy.run_path(str(ROOT / "docs" / "notebook.py"))
    assert isinstance(names["picture"], alt.LayerChart)
    assert len(names["scores"]) == 3 * names["session"].model.layers


def test_importing_the_package_loads_no_library():
    code = "import neuronxa_core, sys; dir(neuronxa_core); print([m for m in ('torch', 'numpy') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "[]"


def test_every_public_name_is_there():
    assert all(getattr(nxa, name) for name in nxa.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nxa.nothing
