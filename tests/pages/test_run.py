"""The run page and links, without a browser."""

from dataclasses import replace

import pytest
from page_walk import ROOT, SMALL, charts_of, everything_said, page
from streamlit.testing.v1 import AppTest

from neuronxa_core.experiment import Experiment
from pages.components import process


def test_run_shows_what_is_cached(computed, monkeypatch):
    test = page("run", SMALL, computed, monkeypatch)
    assert not test.exception
    assert "5 of 5 languages cached" in everything_said(test)
    assert "8 layers of 640 neurons" in everything_said(test)


def test_run_changes_the_experiment_with_its_widgets(computed, monkeypatch):
    test = page("run", SMALL, computed, monkeypatch)
    test.multiselect(key="run_languages").set_value(["spa_Latn", "deu_Latn"]).run()
    test.selectbox(key="run_state").set_value("emb").run()
    assert not test.exception
    chosen = test.session_state["experiment"]
    assert (chosen.languages, chosen.state, chosen.sentences) == (("spa_Latn", "deu_Latn"), "emb", 12)
    assert "2 of 3 languages cached" in everything_said(test)


def test_presets_choose_by_script_and_family(computed, monkeypatch):
    test = page("run", SMALL, computed, monkeypatch)
    test.selectbox(key="run_preset").set_value("Script: Cyrl").run()
    assert test.session_state["experiment"].languages == ("rus_Cyrl", "ukr_Cyrl")
    test.selectbox(key="run_preset").set_value("Family: Romance").run()
    assert set(test.session_state["experiment"].languages) == {"fra_Latn", "ita_Latn", "por_Latn", "spa_Latn"}
    test.selectbox(key="run_preset").set_value("All").run()
    assert test.session_state["experiment"].languages == ()
    assert not test.exception


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"model": "/no/such/folder"}, "there is no folder /no/such/folder"),
        ({"model": "not a model!"}, "neither a folder nor a hub id"),
        ({"corpus": "/no/such/corpus"}, "no file or folder /no/such/corpus"),
    ],
)
def test_a_wrong_path_is_one_clear_sentence(computed, monkeypatch, choice, said):
    test = page("run", replace(SMALL, **choice), computed, monkeypatch)
    assert not test.exception
    assert said.lower() in test.error[0].value.lower()


def test_choices_stay_while_a_run_goes_on_and_after_it(tmp_path, monkeypatch):
    corpus = str(ROOT / "neuronxa_core" / "demo" / "corpus")
    chosen = Experiment(corpus=corpus, languages=("deu_Latn", "fra_Latn"), sentences=3)
    test = page("run", chosen, tmp_path, monkeypatch)
    assert "0 of 3 languages cached" in everything_said(test)
    next(button for button in test.button if button.label == "Compute").click().run()
    (job,) = process.services().queue.jobs()
    assert process.services().queue.wait(job, 60)
    test.run()
    assert not test.exception
    assert "3 of 3 languages cached" in everything_said(test)
    assert test.text_input(key="run_corpus").value == corpus
    assert test.session_state["experiment"] == chosen


def test_a_corpus_with_trouble_shows_it(tmp_path, computed, monkeypatch):
    for code, lines in {"eng": "a b c\nd e f\ng h i\n", "deu": "x y\n\nx y\n", "fra": "a b c\nu v\nw\n"}.items():
        (tmp_path / f"{code}.txt").write_text(lines, "utf-8")
    experiment = Experiment(corpus=str(tmp_path), pivot="eng")
    test = page("run", experiment, computed, monkeypatch)
    assert not test.exception
    said = " ".join(str(frame.value.to_dict()) for frame in test.dataframe)
    assert "deu" in said
    assert "fra" in said


def test_the_app_opens_on_its_default_page_and_takes_the_link(computed, monkeypatch):
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(computed))
    test = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120)
    for name, value in SMALL.to_query().items():
        test.query_params[name] = value
    test.run()
    assert not test.exception
    assert test.session_state["experiment"] == SMALL
    assert len(charts_of(test)) == 1


def test_a_wrong_link_is_said_and_the_example_is_shown(computed, monkeypatch):
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(computed))
    test = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120)
    test.query_params["state"] = "nonsense"
    test.run()
    assert not test.exception
    assert "could not be read" in test.warning[0].value
    assert test.session_state["experiment"] == Experiment()
