"""The Run page and the app's links to experiments, without a browser."""

import pytest
from page_walk import ROOT, SMALL, charts_of, everything_said, page
from streamlit.testing.v1 import AppTest

from neuronxa_core.corpora import uploads
from neuronxa_core.experiment import Experiment
from pages.components import process

CORPUS = str(ROOT / "neuronxa_core" / "demo" / "corpus")


def test_the_widgets_change_the_experiment_and_show_what_is_cached_of_it(computed, monkeypatch):
    test = page("run", SMALL, computed, monkeypatch)
    assert "5 of 5 languages cached" in everything_said(test)
    assert "8 layers of 640 neurons" in everything_said(test)
    test.multiselect(key="run_languages").set_value(["spa_Latn", "deu_Latn"])
    test.selectbox(key="run_state").set_value("emb").run()
    chosen = test.session_state["experiment"]
    assert (chosen.languages, chosen.state, chosen.sentences) == (("spa_Latn", "deu_Latn"), "emb", 12)
    assert "2 of 3 languages cached" in everything_said(test)
    for preset, languages in {
        "Script: Cyrl": {"rus_Cyrl", "ukr_Cyrl"},
        "Family: Romance": {"fra_Latn", "ita_Latn", "por_Latn", "spa_Latn"},
        "All": set(),
    }.items():
        test.selectbox(key="run_preset").set_value(preset).run()
        assert set(test.session_state["experiment"].languages) == languages
    test.toggle(key="run_sampled").set_value(True).run()
    assert not test.exception
    assert (test.session_state["experiment"].sentences, test.session_state["experiment"].seed) == (12, 0)
    test.toggle(key="run_every").set_value(True).run()
    assert (test.session_state["experiment"].sentences, test.session_state["experiment"].seed) == (None, None)


def test_a_wrong_path_is_one_clear_sentence(computed, monkeypatch):
    test = page("run", SMALL, computed, monkeypatch)
    test.get("button_group")[0].set_value("Local folder or hub id").run()
    for model, said in (("/no/such/folder", "there is no folder"), ("not a model!", "neither a folder nor a hub id")):
        test.text_input(key="run_model").set_value(model).run()
        assert not test.exception
        assert said in test.error[0].value.lower()
    test.get("button_group")[1].set_value("File or folder").run()
    test.text_input(key="run_corpus").set_value("/no/such/corpus").run()
    assert not test.exception
    assert "no file or folder /no/such/corpus" in test.error[1].value.lower()


def test_choices_stay_while_a_run_goes_on_and_after_it(tmp_path, monkeypatch):
    chosen = Experiment(corpus=CORPUS, languages=("deu_Latn",), sentences=3)
    test = page("run", chosen, tmp_path, monkeypatch)
    assert "0 of 2 languages cached" in everything_said(test)
    next(button for button in test.button if button.label == "Compute").click().run()
    (job,) = process.services().queue.jobs()
    assert process.services().queue.wait(job, 60)
    test.run()
    assert not test.exception
    assert "2 of 2 languages cached" in everything_said(test)
    assert test.text_input(key="run_corpus").value == CORPUS
    assert test.session_state["experiment"] == chosen


def test_a_corpus_with_trouble_shows_it(tmp_path, computed, monkeypatch):
    for code, lines in {"eng": "a b c\nd e f\ng h i\n", "deu": "x y\n\nx y\n", "fra": "a b c\nu v\nw\n"}.items():
        (tmp_path / f"{code}.txt").write_text(lines, "utf-8")
    test = page("run", Experiment(corpus=str(tmp_path), pivot="eng"), computed, monkeypatch)
    assert not test.exception
    said = " ".join(str(frame.value.to_dict()) for frame in test.dataframe)
    assert "German (deu)" in said
    assert "French (fra)" in said
    assert "2 sentences are few: chance alone moves a score of .5 by up to ± 0.69" in everything_said(test)


def test_an_upload_comes_back_as_an_upload_and_errors_take_the_first_place(tmp_path, monkeypatch):
    folder = tmp_path / "cache" / uploads.FOLDER / "one"
    folder.mkdir(parents=True)
    for code in ("eng", "deu"):
        (folder / f"{code}.txt").write_text("The same line.\nAnother one.\nA third here.\n", "utf-8")
    test = page("run", Experiment(corpus=str(folder), pivot="eng"), tmp_path / "cache", monkeypatch)
    assert not test.exception
    assert "uploaded before" in everything_said(test)
    assert all(box.key != "run_corpus" for box in test.text_input)
    (button,) = [button for button in test.button if button.label.startswith("Compute")]
    assert (button.label, button.proto.type) == ("Compute all the same", "secondary")


@pytest.mark.parametrize("query", [SMALL.to_query(), {"state": "nonsense"}], ids=["right", "wrong"])
def test_the_app_opens_on_its_default_page_and_takes_the_link_where_it_can_be_read(computed, monkeypatch, query):
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(computed))
    test = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120)
    for name, value in query.items():
        test.query_params[name] = value
    test.run()
    assert not test.exception
    if query == SMALL.to_query():
        assert test.session_state["experiment"] == SMALL
        assert len(charts_of(test)) == 1
    else:
        assert test.session_state["experiment"] == Experiment()
        assert "could not be read" in test.warning[0].value
