"""Every page, run without a browser: what it shows, its empty states and its errors."""

import json
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from streamlit.testing.v1 import AppTest

from neuronxa_core import charts
from neuronxa_core.__main__ import parser
from neuronxa_core.charts import theme
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import (
    ablation,
    activation_counts,
    alignment,
    all_pairs,
    bitext_retrieval,
    lape,
    lm_eval,
    overlap,
    probe,
)
from neuronxa_core.measures.activation_counts import ActivationCriterion
from neuronxa_core.states import computing, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from pages.access import host
from pages.components import cached, exporting, process, wording

ROOT = Path(__file__).parents[1]
SMALL = Experiment(languages=("spa_Latn", "rus_Cyrl", "arb_Arab", "tha_Thai"), sentences=12)


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """A cache folder in which SMALL is computed."""
    folder = tmp_path_factory.mktemp("computed")
    store = Store(folder)
    computing.compute_missing(planning.make_plan(SMALL, store), store, ModelPool())
    store.close()
    return folder


@pytest.fixture(autouse=True)
def own_main_module(monkeypatch):
    """Running the app makes its script `__main__`, which processes that other tests start would run again."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(autouse=True)
def no_job_outlives_its_test(tmp_path, monkeypatch):
    """A run that a page started would go on beside the tests that follow."""
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(tmp_path))
    yield
    queue = process.services().queue
    for job in queue.jobs():
        job.cancel()
    assert all(queue.wait(job, 60) for job in queue.jobs())
    assert process.services().pairs.wait(60)


def page(name, experiment, folder, monkeypatch, **state):
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(folder))
    test = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=120)
    test.session_state["experiment"] = experiment
    for key, value in state.items():
        test.session_state[key] = value
    return test.run()


def charts_of(test):
    return test.get("vega_lite_chart") or test.get("arrow_vega_lite_chart")


def everything_said(test):
    kinds = ("caption", "info", "markdown", "subheader", "error", "warning")
    return " ".join(element.value for kind in kinds for element in test.get(kind))


@pytest.mark.parametrize("view", ["Ranking", "Layers", "Sentences", "All pairs", "States", "Table"])
@pytest.mark.parametrize("state", ["nas", "emb"])
def test_every_view_of_alignment_shows_its_chart(computed, monkeypatch, view, state):
    test = page("alignment", SMALL, computed, monkeypatch, view=view, alignment_state=state)
    assert not test.exception
    assert not test.error
    assert test.session_state["experiment"].state == state
    if view == "Table":
        (table,) = test.dataframe
        assert set(table.value["language"]) == set(SMALL.languages)
        assert table.value[["NASCA", "NAVCA", "MEXA"]].to_numpy().min() >= 0
    else:
        assert len(charts_of(test)) == 1


def test_the_ranking_holds_the_scores_of_the_core(computed, monkeypatch):
    test = page("alignment", SMALL, computed, monkeypatch, view="Ranking")
    shown = test.dataframe[0].value.set_index("language")["score"]
    store = Store(computed)
    plan = planning.make_plan(SMALL, store)
    wanted = alignment.align(plan, store, "nas", "weighted").pooled("mean")
    store.close()
    assert [shown[code] for code in plan.languages] == list(wanted)


def test_a_layer_slider_moves_the_similarity_matrix(computed, monkeypatch):
    test = page("alignment", SMALL, computed, monkeypatch, view="Sentences")
    for layer in (0, 7):
        test.slider(key="layer").set_value(layer).run()
        assert not test.exception
        assert test.metric[0].label == f"NASCA at layer {layer}"
        assert 0 <= float(test.metric[0].value) <= 1


@pytest.mark.parametrize(("name", "key", "said"), [
    ("alignment", "pairs", "sentences aligned"),
    ("overlap", "overlap", "that are active in both"),
])  # fmt: skip
def test_two_of_many_languages_are_chosen_below_the_picture_of_all(computed, monkeypatch, name, key, said):
    monkeypatch.setattr(theme, "MOST_LABELLED", 3)
    view = {"view": "All pairs"} if name == "alignment" else {"overlap_view": "Matrix"}
    test = page(name, SMALL, computed, monkeypatch, **view)
    assert not test.exception
    assert len(charts_of(test)) == 1
    assert said not in everything_said(test)
    for end, code in (("from", "spa_Latn"), ("to", "tha_Thai")):
        test.selectbox(key=f"{key}_{end}").set_value(code)
    test.run()
    assert not test.exception
    assert said in everything_said(test)
    picture = json.loads(charts_of(test)[0].proto.spec)
    assert any(layer["mark"]["type"] == "image" for layer in picture["layer"])


def test_all_pairs_are_those_of_the_core_and_kept(computed, monkeypatch):
    test = page("alignment", SMALL, computed, monkeypatch, view="All pairs", layer=2)
    shown = test.dataframe[0].value.set_index("language")
    store = Store(computed)
    plan = planning.make_plan(SMALL, store)
    wanted = all_pairs.pair_matrix(plan, store, "nas", "weighted", 2)
    for k, code in enumerate(plan.all_languages):
        assert shown.loc[code, list(plan.all_languages)].tolist() == wanted[k].tolist()
    assert process.services().pairs.wait(60)
    monkeypatch.setattr(all_pairs, "pair_matrix", None)
    assert process.services().pairs.at(plan, "nas", "weighted", 0).shape == wanted.shape
    store.close()


def test_a_large_table_is_sent_when_it_is_opened(computed, monkeypatch):
    monkeypatch.setattr(exporting, "MOST_SENT_UNSEEN", 10)
    closed = page("alignment", SMALL, computed, monkeypatch, view="All pairs", layer=3)
    assert not closed.dataframe
    opened = page("alignment", SMALL, computed, monkeypatch, view="All pairs", layer=3, **{"files-all-pairs": True})
    assert not opened.exception
    assert opened.dataframe[0].value.shape == (5, 6)


def test_curves_are_drawn_of_no_more_languages_than_can_be_told_apart(computed, monkeypatch):
    for view, key in (("Layers", "curves"), ("States", "states")):
        test = page("alignment", SMALL, computed, monkeypatch, view=view)
        assert test.multiselect(key=key).proto.max_selections == charts.MOST_CURVES


def damage_states(folder):
    """Flip bytes in the blocks of every stored language, behind its header."""
    for file in folder.rglob("*.val"):
        content = bytearray(file.read_bytes())
        if len(content) > 100_000:
            for at in range(1 << 16, len(content), 101):
                content[at] ^= 0xFF
            file.write_bytes(content)


def test_damage_met_by_a_slider_is_computed_again_and_is_no_traceback(computed, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    shutil.copytree(computed, folder)
    test = page("alignment", SMALL, folder, monkeypatch, view="Sentences")
    assert not test.exception
    damage_states(folder)
    test.slider(key="layer").set_value(7).run()
    assert not test.exception
    jobs = process.services().queue.jobs()
    assert jobs
    assert all(process.services().queue.wait(job, 60) for job in jobs)
    for _ in SMALL.languages:
        test.run()
        assert not test.exception
        assert all(process.services().queue.wait(job, 60) for job in process.services().queue.jobs())


def test_a_right_to_left_language_is_written_right_to_left(computed, monkeypatch):
    test = page("alignment", SMALL, computed, monkeypatch, view="Sentences", to="arb_Arab")
    assert not test.exception
    assert any('dir="rtl"' in element.proto.body for element in test.get("html"))


def test_pooling_layers_by_max_is_never_below_the_mean(computed, monkeypatch):
    by_mean = page("alignment", SMALL, computed, monkeypatch, view="Ranking").dataframe[0].value
    by_max = page("alignment", SMALL, computed, monkeypatch, view="Ranking", alignment_layers="max").dataframe[0].value
    joined = by_mean.merge(by_max, on="language")
    assert (joined["score_y"] >= joined["score_x"]).all()


def test_the_bundled_example_computes_itself_and_shows_its_progress(tmp_path, monkeypatch):
    test = page("alignment", Experiment(languages=("deu_Latn",), sentences=3), tmp_path, monkeypatch)
    assert not test.exception
    (job,) = process.services().queue.jobs()
    assert set(job.totals) == {"eng_Latn", "deu_Latn"}
    assert process.services().queue.wait(job, 60)
    test.run()
    assert len(charts_of(test)) == 1


def test_a_choice_that_is_not_computed_offers_to_compute_it(tmp_path, monkeypatch):
    corpus = str(ROOT / "neuronxa_core" / "demo" / "corpus")
    chosen = Experiment(corpus=corpus, languages=("deu_Latn",), sentences=3)
    test = page("alignment", chosen, tmp_path, monkeypatch)
    assert process.services().queue.jobs() == []
    (button,) = test.button
    button.click().run()
    assert not test.exception
    (job,) = process.services().queue.jobs()
    assert process.services().queue.wait(job, 60)
    assert job.status == "done"


def test_part_of_a_choice_is_shown_while_the_rest_is_missing(computed, monkeypatch):
    corpus = str(ROOT / "neuronxa_core" / "demo" / "corpus")
    wider = Experiment(corpus=corpus, languages=(*SMALL.languages, "deu_Latn"), sentences=12)
    test = page("alignment", wider, computed, monkeypatch, view="Ranking")
    assert not test.exception
    assert "1 of 6 languages of this choice are not computed yet" in everything_said(test)
    assert set(test.dataframe[0].value["language"]) == set(SMALL.languages)


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


# -------------------------------------------------------------------------------------------------- overlap, microscope


OVERLAP_VIEWS = ("Matrix", "By layer", "Meaning", "Sets", "Shared core", "Specific", "Causal check", "Summary")


@pytest.mark.parametrize("active_by", ["top", "threshold"])
@pytest.mark.parametrize("view", OVERLAP_VIEWS)
def test_every_view_of_overlap_shows_its_result_and_says_what_it_does_not_prove(computed, monkeypatch, view, active_by):
    test = page("overlap", SMALL, computed, monkeypatch, overlap_view=view, active_by=active_by)
    assert not test.exception
    assert not test.error
    drawn = len(charts_of(test))
    assert drawn == {"Causal check": 0, "Summary": 0}.get(view, 1)
    said = [caption.value for caption in test.caption if caption.value.count(". ") or caption.value.count(": ")]
    assert any(text.startswith(HELP_STARTS[view]) for text in said)


HELP_STARTS = {
    "Matrix": "Which share of their active neurons",
    "By layer": "How the overlap of pairs",
    "Meaning": "How much the active neurons of a sentence",
    "Sets": "How many neurons are active in exactly",
    "Shared core": "Neurons active in all the chosen languages",
    "Specific": "LAPE: the neurons whose activation probability",
    "Causal check": "What becomes of each language",
    "Summary": "Every language's active neurons",
}


def activity_of(folder):
    store = Store(folder)
    plan = planning.make_plan(SMALL, store)
    activity = activation_counts.activation_counts(plan, store)
    store.close()
    return plan, activity


def test_the_overlap_matrix_holds_the_overlaps_of_the_core_at_every_layer(computed, monkeypatch):
    test = page("overlap", SMALL, computed, monkeypatch, overlap_view="Matrix")
    _, activity = activity_of(computed)
    wanted = overlap.overlap_by_layer(activity, ActivationCriterion("top", 0.1))
    for layer in (0, 6):
        test.slider(key="overlap_layer").set_value(layer).run()
        shown = test.dataframe[-1].value.set_index("language")
        at = [activity.languages.index(code) for code in shown.index]
        assert shown.to_numpy().tolist() == wanted[layer][np.ix_(at, at)].tolist()


def test_the_layers_play_and_stop(computed, monkeypatch):
    test = page("overlap", SMALL, computed, monkeypatch, overlap_view="Matrix")
    first = test.slider(key="overlap_layer").value
    test.button(key="overlap_play").click().run()
    assert not test.exception
    assert test.button(key="overlap_play").label == "Pause"
    played = test.slider(key="overlap_layer").value
    assert played == first + 1
    test.session_state["overlap_due"] = 0.0
    test.run()
    assert test.slider(key="overlap_layer").value == played + 1
    test.button(key="overlap_play").click().run()
    test.session_state["overlap_due"] = 0.0
    still = test.slider(key="overlap_layer").value
    test.run()
    assert test.slider(key="overlap_layer").value == still


def test_the_lape_table_holds_the_neurons_of_the_core(computed, monkeypatch):
    test = page("overlap", SMALL, computed, monkeypatch, overlap_view="Specific")
    test.slider(key="lape_share").set_value(2.0).run()
    test.slider(key="lape_drop").set_value(80).run()
    test.slider(key="lape_assign").set_value(70).run()
    assert not test.exception
    _, activity = activity_of(computed)
    found = lape.lape(activity, 0.02, 80, 70)
    shown = test.dataframe[0].value
    assert shown["layer"].tolist() == found.layer.tolist()
    assert shown["neuron"].tolist() == found.neuron.tolist()
    assert shown["entropy"].tolist() == found.entropy.tolist()
    test.selectbox(key="lape_of").set_value("tha_Thai").run()
    assert test.dataframe[0].value["neuron"].tolist() == found.of("tha_Thai")[1].tolist()


def test_empty_choices_of_overlap_are_said_not_raised(computed, monkeypatch):
    for view, key in (("Sets", "sets"), ("Shared core", "core_languages"), ("Causal check", "causal_sets")):
        test = page("overlap", SMALL, computed, monkeypatch, overlap_view=view, core_all=False)
        test.multiselect(key=key).set_value([]).run()
        assert not test.exception
        assert test.info, view
    test = page("overlap", SMALL, computed, monkeypatch, overlap_view="Meaning", meaning_y="eng_Latn")
    assert "two different languages" in test.info[0].value
    test = page("overlap", SMALL, computed, monkeypatch, overlap_view="Specific", lape_drop=100)
    assert not test.exception
    assert "No neuron is left" in test.info[0].value
    test = page(
        "overlap", SMALL, computed, monkeypatch, overlap_view="Sets", active_by="threshold", active_threshold=99
    )
    assert not test.exception


@pytest.mark.parametrize("name", ["overlap", "microscope"])
def test_a_single_language_is_no_error(tmp_path, monkeypatch, name):
    alone = Experiment(languages=("eng_Latn",), sentences=3)
    store = Store(tmp_path / "cache")
    computing.compute_missing(planning.make_plan(alone, store), store, ModelPool())
    store.close()
    test = page(name, alone, tmp_path / "cache", monkeypatch)
    assert not test.exception
    assert not test.error
    if name == "overlap":
        assert "at least two languages" in test.info[0].value


def test_the_causal_check_runs_in_the_background_and_shows_its_effects(computed, monkeypatch):
    small = {"causal_sentences": 3, "causal_draws": 1, "lape_share": 3.0}
    test = page("overlap", SMALL, computed, monkeypatch, overlap_view="Causal check", **small)
    test.multiselect(key="causal_sets").set_value(["tha_Thai"])
    test.multiselect(key="causal_languages").set_value(["tha_Thai", "spa_Latn"]).run()
    button = next(button for button in test.button if button.label.startswith("Measure"))
    assert button.label == "Measure 6 of 6 effects"
    button.click().run()
    job = process.services().queue.jobs()[-1]
    assert process.services().queue.wait(job, 60)
    assert job.status == "done", job.error
    test.run()
    assert not test.exception
    assert not any(button.label.startswith("Measure") for button in test.button)
    (drawn,) = charts_of(test)
    assert "Thai (tha_Thai)" in str(drawn.proto)
    own = test.dataframe[0].value
    store = Store(computed)
    table = ablation.effects_table(job.work, store).set_index(["set", "language"])
    store.close()
    assert own["effect on itself"].item() == table.loc[("tha_Thai", "tha_Thai"), "change_nats_per_byte"]
    assert (
        own["random: effect on it, mean"].item()
        == table.loc[("tha_Thai · random 1", "tha_Thai"), "change_nats_per_byte"]
    )
    assert own["effect on the others, mean"].item() == table.loc[("tha_Thai", "spa_Latn"), "change_nats_per_byte"]


def test_an_encoder_gets_the_alignment_part_of_the_causal_check_and_a_reason(tmp_path, tiny, monkeypatch):
    chosen = replace(SMALL, model=str(tiny("bert")), sentences=4)
    store = Store(tmp_path / "cache")
    computing.compute_missing(planning.make_plan(chosen, store), store, ModelPool())
    store.close()
    parameters = {"lape_share": 10.0, "lape_drop": 50, "lape_assign": 50}
    test = page("overlap", chosen, tmp_path / "cache", monkeypatch, overlap_view="Causal check", **parameters)
    assert not test.exception
    assert "is an encoder" in everything_said(test)
    test.number_input(key="causal_sentences").set_value(3)
    test.number_input(key="causal_draws").set_value(1).run()
    assert test.multiselect(key="causal_sets").value, everything_said(test)
    next(button for button in test.button if button.label.startswith("Measure")).click().run()
    (job,) = process.services().queue.jobs()
    assert process.services().queue.wait(job, 60)
    assert job.status == "done", job.error
    test.run()
    assert not test.exception
    assert "NASCA" in str(charts_of(test)[0].proto)


def test_the_microscope_opens_on_a_neuron_and_shades_sentences_in_their_direction(computed, monkeypatch):
    test = page("microscope", SMALL, computed, monkeypatch, neuron_layer=7, neuron_number=84)
    assert not test.exception
    assert not test.error
    assert len(charts_of(test)) == 2
    bodies = [element.proto.body for element in test.get("html")]
    for code, direction in (("arb-Arab", "rtl"), ("tha-Thai", "ltr")):
        assert any(f'dir="{direction}" lang="{code}"' in body for body in bodies)
    _, activity = activity_of(computed)
    shown = test.dataframe[1].value.set_index("language")["probability"]
    for k, code in enumerate(activity.languages):
        assert shown[code] == activity.probability(7)[k, 84]


def test_the_microscope_starts_at_the_most_specific_neuron(computed, monkeypatch):
    test = page("microscope", SMALL, computed, monkeypatch)
    assert not test.exception
    _, activity = activity_of(computed)
    found = lape.lape(activity)
    assert test.number_input(key="neuron_layer").value == found.layer[0]
    assert test.number_input(key="neuron_number").value == found.neuron[0]


@pytest.mark.parametrize(("layer", "neuron"), [(2, 345), (0, 0)])
def test_a_link_to_a_neuron_opens_it(computed, monkeypatch, layer, neuron):
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(computed))
    test = AppTest.from_file(str(ROOT / "pages" / "microscope.py"), default_timeout=120)
    test.session_state["experiment"] = SMALL
    test.query_params["neuron_layer"], test.query_params["neuron_number"] = str(layer), str(neuron)
    test.run()
    assert not test.exception
    assert f"Neuron {neuron} of layer {layer}" in everything_said(test)


@pytest.mark.parametrize("way", ["shared", "specific", "discriminating", "sentence"])
def test_neurons_are_found_in_every_way(computed, monkeypatch, way):
    test = page("microscope", SMALL, computed, monkeypatch, find_by=way)
    assert not test.exception
    table = test.dataframe[0].value
    assert len(table) == 100
    assert table["neuron"].between(0, 639).all()
    test.toggle(key="find_here").set_value(True).run()
    assert set(test.dataframe[0].value["layer"]) == {test.number_input(key="neuron_layer").value}


def test_free_text_is_read_alone_and_with_its_translation(computed, monkeypatch):
    test = page("microscope", SMALL, computed, monkeypatch, neuron_layer=3, neuron_number=9)
    before = len(charts_of(test))
    test.text_area(key="text_x").set_value("Open the <b>file</b>.")
    test.button[-1].click().run()
    assert not test.exception
    assert "&lt;" in test.get("html")[-1].proto.body
    assert "<b>file" not in test.get("html")[-1].proto.body
    assert {"mean_abs", "peak"} <= set(test.dataframe[-1].value)
    test.text_area(key="text_y").set_value("افتح الملف.")
    test.button[-1].click().run()
    assert not test.exception
    assert len(charts_of(test)) == before + 1
    assert 'dir="auto"' in test.get("html")[-1].proto.body


def test_tokens_wait_for_a_model_that_is_at_work(computed, tmp_path, monkeypatch):
    folder = tmp_path / "own"  # nothing of the tokens is cached there
    shutil.copytree(computed, folder)
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(folder))
    services = process._services(str(folder), host.host_settings())
    plan = planning.make_plan(SMALL, services.store)
    with services.pool.acquire(plan):
        test = page("microscope", SMALL, folder, monkeypatch, neuron_layer=1, neuron_number=2)
        assert not test.exception
        assert "at work" in test.info[0].value


def test_a_large_model_is_loaded_only_when_asked(computed, tmp_path, monkeypatch):
    folder = tmp_path / "own"
    shutil.copytree(computed, folder)
    store = Store(folder)
    plan = planning.make_plan(SMALL, store)
    store.close()
    large = replace(plan, info=replace(plan.info, parameters=8_000_000_000))
    monkeypatch.setattr(cached, "plan_for", lambda _chosen: large)
    test = page("microscope", SMALL, folder, monkeypatch, neuron_layer=1, neuron_number=3)
    assert not test.exception
    assert "8.0 billion parameters" in everything_said(test)
    button = next(button for button in test.button if "Load the model" in button.label)
    assert not process._services(str(folder), host.host_settings()).pool.holds(large)
    assert button.key.startswith("load-")


# --------------------------------------------------------------------------------------------------------- downstream

WIDE = Experiment(languages=("spa_Latn", "rus_Cyrl", "arb_Arab", "tha_Thai", "por_Latn", "deu_Latn", "fra_Latn"))


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A cache folder in which WIDE is computed, and its topic probe."""
    folder = tmp_path_factory.mktemp("wide")
    store = Store(folder)
    plan = planning.make_plan(WIDE, store)
    computing.compute_missing(plan, store, ModelPool())
    probe.LinearProbe(plan, plan.pivot).run(store, ModelPool())
    store.close()
    return folder


@pytest.fixture
def scores_file(tmp_path):
    file = tmp_path / "scores.csv"
    rows = ["lang,task,accuracy", "es,xnli,70", "ru,xnli,55", "ar,xnli,41", "th,xnli,33", "pt,xnli,66", "de,xnli,61"]
    file.write_text("\n".join([*rows, "fr,xnli,68", "en,xnli,85", "sw,xnli,20"]) + "\n", "utf-8")
    return file


DOWNSTREAM_VIEWS = ("Scatter", "By layer", "Methods", "Sentences", "Doubts", "Estimate", "Models", "Report")


@pytest.mark.parametrize("view", DOWNSTREAM_VIEWS)
def test_every_view_of_downstream_shows_its_result(wide, monkeypatch, view):
    test = page("downstream", WIDE, wide, monkeypatch, downstream_view=view)
    assert not test.exception
    assert not test.error
    drawn = {"Doubts": 0, "Estimate": 0, "Models": 0, "Report": 0}.get(view, 1)
    assert len(charts_of(test)) == drawn
    assert "7 languages have both alignment and a score" in " ".join(e.label for e in test.get("expander"))


def metric_of(test, label):
    return next(metric.value for metric in test.metric if metric.label == label)


def test_the_scatter_shows_the_correlation_of_the_core(wide, monkeypatch):
    test = page("downstream", WIDE, wide, monkeypatch)
    store = Store(wide)
    plan = planning.make_plan(WIDE, store)
    found = probe.LinearProbe(plan, plan.pivot).results(store)
    x = alignment.align(plan, store, "nas", "weighted").pooled("mean")
    store.close()
    wanted = stats.pearsonr(x, [found[code].score for code in plan.languages])
    assert metric_of(test, "Pearson's r") == f"{wanted.statistic:.3f}"
    assert metric_of(test, "Languages") == "7"


def test_scores_come_from_a_file_with_what_was_not_used(wide, scores_file, monkeypatch):
    test = page("downstream", WIDE, wide, monkeypatch, scores_from="File", scores_path=str(scores_file))
    assert not test.exception
    assert not test.error
    assert "sw" in everything_said(test)
    store = Store(wide)
    plan = planning.make_plan(WIDE, store)
    x = alignment.align(plan, store, "nas", "weighted").pooled("mean")
    store.close()
    wanted = stats.pearsonr(x, [0.70, 0.55, 0.41, 0.33, 0.66, 0.61, 0.68])
    assert metric_of(test, "Pearson's r") == f"{wanted.statistic:.3f}"


def test_the_columns_of_a_table_can_be_corrected(wide, tmp_path, monkeypatch):
    file = tmp_path / "odd.csv"
    codes = ("es", "ru", "ar", "th", "pt", "de", "fr")
    rows = ["lang,accuracy,other"] + [f"{code},0.5,0.{k}" for k, code in enumerate(codes, start=1)]
    file.write_text("\n".join(rows) + "\n", "utf-8")
    test = page("downstream", WIDE, wide, monkeypatch, scores_from="File", scores_path=str(file))
    score = next(box for box in test.selectbox if box.label == "Score")
    score.set_value("other").run()
    assert not test.exception
    assert metric_of(test, "Pearson's r") not in ("nan", "")


def test_a_table_of_language_pairs_gives_each_languages_value_with_the_pivot(wide, tmp_path, monkeypatch):
    file = tmp_path / "rankc.csv"
    rows = ["pair,rankc"] + [f"en-{code},0.{k}" for k, code in enumerate(("es", "ru", "ar", "th", "pt", "de"), start=1)]
    file.write_text("\n".join(rows) + "\n", "utf-8")
    test = page("downstream", WIDE, wide, monkeypatch, scores_from="File", scores_path=str(file))
    assert not test.exception
    assert not test.error
    assert "A table of language pairs" in everything_said(test)
    assert metric_of(test, "Languages") == "6"


def test_the_papers_figures_are_named_as_such(wide, monkeypatch):
    test = page("downstream", WIDE, wide, monkeypatch, downstream_view="By layer", layers_paper=True)
    assert not test.exception
    assert "Huang et al." in everything_said(test)
    assert "paper: NASCA, XNLI" in str(charts_of(test)[0].proto)


def test_published_scores_say_that_they_are_of_another_model(wide, monkeypatch):
    test = page("downstream", WIDE, wide, monkeypatch, scores_from="Published")
    assert not test.exception
    assert "the alignment is that of demo" in everything_said(test)
    assert "https" in everything_said(test)


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "empty"), ("a,b\n1,2\n", "language"), ("lang,acc\nes,fine\n", "score")],
)
def test_a_file_that_holds_no_scores_is_one_clear_sentence(wide, tmp_path, monkeypatch, content, said):
    file = tmp_path / "bad.csv"
    file.write_text(content, "utf-8")
    test = page("downstream", WIDE, wide, monkeypatch, scores_from="File", scores_path=str(file))
    assert not test.exception
    assert said in test.error[0].value.lower()


def test_too_few_languages_are_refused_and_few_are_warned_of(wide, computed, scores_file, monkeypatch):
    test = page("downstream", SMALL, computed, monkeypatch, scores_from="File", scores_path=str(scores_file))
    assert not test.exception
    assert "needs at least 5" in test.warning[0].value
    assert charts_of(test) == []
    test = page("downstream", WIDE, wide, monkeypatch, scores_from="File", scores_path=str(scores_file))
    assert "one of them can make the result" in test.warning[0].value


def test_a_measure_runs_in_the_background(computed, monkeypatch):
    test = page("downstream", SMALL, computed, monkeypatch, measure="likelihood")
    assert "no task scores yet" in test.info[0].value
    test.button(key="measure_button").click().run()
    assert not test.exception
    job = process.services().queue.jobs()[-1]
    assert process.services().queue.wait(job, 60)
    assert job.status == "done", job.error
    test.run()
    assert not test.exception
    assert "needs at least 5" in test.warning[0].value


def test_retrieval_is_compared_with_alignment_on_other_sentences(wide, monkeypatch):
    test = page("downstream", WIDE, wide, monkeypatch, measure="retrieval")
    if test.button:
        test.button(key="measure_button").click().run()
        job = process.services().queue.jobs()[-1]
        assert process.services().queue.wait(job, 60)
        assert job.status == "done", job.error
        test.run()
    assert not test.exception
    store = Store(wide)
    plan = planning.make_plan(WIDE, store)
    found = bitext_retrieval.BitextRetrieval(plan).results(store)
    x = bitext_retrieval.alignment_on(plan, store, bitext_retrieval.parts(plan)[0], "nas", "weighted").pooled("mean")
    store.close()
    wanted = stats.pearsonr(x, [found[code].score for code in plan.languages])
    assert metric_of(test, "Pearson's r") == f"{wanted.statistic:.3f}"


def test_the_harness_is_an_extra_that_the_page_can_do_without(wide, monkeypatch):
    monkeypatch.setattr(lm_eval, "available", lambda: None)
    test = page("downstream", WIDE, wide, monkeypatch, scores_from="lm-evaluation-harness")
    assert not test.exception
    assert "pip install lm_eval" in test.info[0].value


def test_tasks_of_the_harness_are_run_and_their_results_read(wide, tmp_path, monkeypatch):
    """With a stand-in for lm_eval's own work; test_harness.py has the program itself."""
    monkeypatch.setattr(lm_eval, "available", lambda: "0.4.9")
    codes = ("es", "ru", "ar", "th", "pt", "de", "fr", "en")
    results = {f"xnli_{code}": {"alias": f"xnli_{code}", "acc,none": 0.3 + k / 20} for k, code in enumerate(codes)}
    file = tmp_path / "results_2026.json"

    def run(_work, _store, _pool, on_progress, cancelled):
        on_progress("requests", 100, 100)
        file.write_text(json.dumps({"results": results, "config": {"model": "hf"}}), "utf-8")

    monkeypatch.setattr(lm_eval.HarnessRun, "run", run)
    monkeypatch.setattr(lm_eval.HarnessRun, "results_files", lambda _work, _store: [file] if file.is_file() else [])
    named = {"scores_from": "lm-evaluation-harness", "harness_tasks": "xnli_es, xnli_ru"}
    test = page("downstream", WIDE, wide, monkeypatch, **named)
    assert not test.exception
    test.button(key="measure_button").click().run()
    job = process.services().queue.jobs()[-1]
    assert process.services().queue.wait(job, 60)
    assert job.status == "done", job.error
    test.run()
    assert not test.exception
    assert metric_of(test, "Languages") == "7"
    test = page("downstream", WIDE, wide, monkeypatch, **{**named, "harness_tasks": "xnli; rm -rf"})
    assert not test.exception
    assert "no name of a task" in test.error[0].value


@pytest.mark.parametrize("view", ["Scatter", "By layer", "Methods", "Sentences", "Doubts", "Estimate", "Report"])
def test_five_languages_are_enough_for_every_view(wide, tmp_path, monkeypatch, view):
    file = tmp_path / "five.csv"
    file.write_text("lang,acc\nes,0.7\nru,0.5\nar,0.4\nth,0.3\npt,0.6\n", "utf-8")
    named = {"scores_from": "File", "scores_path": str(file), "downstream_view": view}
    test = page("downstream", WIDE, wide, monkeypatch, **named)
    if view == "Report":
        test.button(key="report_make").click().run()
        assert "report" in test.session_state
    assert not test.exception
    assert not test.error


def test_a_task_of_which_less_is_better_is_turned_round_where_methods_are_compared(wide, tmp_path, monkeypatch):
    file = tmp_path / "loss.csv"
    file.write_text("lang,metric,value\n" + "".join(
        f"{code},word_perplexity,{k}\n" for k, code in enumerate(("es", "ru", "ar", "th", "pt", "de", "fr"), start=5)
    ))  # fmt: skip
    named = {"scores_from": "File", "scores_path": str(file), "downstream_view": "Methods"}
    test = page("downstream", WIDE, wide, monkeypatch, **named)
    assert not test.exception
    assert "a larger r predicts better" in everything_said(test)
    store = Store(wide)
    plan = planning.make_plan(WIDE, store)
    x = alignment.align(plan, store, "nas", "weighted").pooled("mean")
    store.close()
    assert metric_of(test, "r of NASCA") == f"{-stats.pearsonr(x, np.arange(7)).statistic:.3f}"


def test_the_report_is_one_file_with_the_figures(wide, monkeypatch):
    test = page("downstream", WIDE, wide, monkeypatch, downstream_view="Report")
    test.button(key="report_make").click().run()
    assert not test.exception
    _, text = test.session_state["report"]
    assert text.count("<svg") == 3
    assert "Pearson" in text
    assert "<script" not in text
    assert "python -m neuronxa_core correlate" in text


def test_models_are_compared_on_what_both_have(wide, tiny, monkeypatch):
    model = str(tiny("llama"))
    test = page(
        "downstream", WIDE, wide, monkeypatch, downstream_view="Models", other_models=f"{model}, /no/such/model"
    )
    assert not test.exception
    assert "no folder /no/such/model" in test.error[0].value
    next(button for button in test.button if button.label.startswith("Compute")).click().run()
    job = process.services().queue.jobs()[-1]
    assert process.services().queue.wait(job, 60)
    assert job.status == "done", job.error
    test.run()
    assert not test.exception
    assert len(charts_of(test)) == 1
    assert "on average (95 % interval" in everything_said(test).replace("\\", "")
    next(button for button in test.button if button.label.startswith("Measure topic")).click().run()
    job = process.services().queue.jobs()[-1]
    assert process.services().queue.wait(job, 60)
    assert job.status == "done", job.error
    test.run()
    assert not test.exception
    assert len(charts_of(test)) == 2
    assert metric_of(test, "r within models")


# ----------------------------------------------------------------------------------------------------------- pieces


def test_texts_come_out_harmless():
    assert wording.sentence("<script>alert(1)</script>", "arb_Arab") == (
        '<span dir="rtl" lang="arb">&lt;script&gt;alert(1)&lt;/script&gt;</span>'
    )
    assert wording.safe("[x](javascript:y) **b**") == "\\[x\\]\\(javascript\\:y\\) \\*\\*b\\*\\*"


def test_the_command_line_of_an_experiment_is_read_back():
    chosen = Experiment(corpus="a b.csv", languages=("deu", "fra"), sentences=7, pooling="last", dtype="float16")
    options = parser().parse_args(["score", *shlex.split(wording.command_line(chosen))])
    assert (options.corpus, options.languages, options.sentences) == ("a b.csv", ["deu", "fra"], 7)
    assert (options.pooling, options.dtype, options.neuron) == ("last", "float16", "product")


def test_sizes_and_times_as_a_person_says_them():
    assert [wording.size(x) for x in (12, 1500, 2_340_000, 5e9)] == ["12 bytes", "1.5 kB", "2.3 MB", "5.0 GB"]
    assert [wording.duration(x) for x in (0.2, 42, 600, 7200)] == ["1 s", "42 s", "10 min", "2.0 h"]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("alignment", ["view", "layer", "from"]),
        ("overlap", ["overlap_view", "active_by", "layer"]),
        ("microscope", ["neuron_layer", "neuron_number"]),
        ("downstream", ["downstream_view", "scores_from", "measure"]),
    ],
)
def test_an_empty_parameter_of_a_link_is_as_none(computed, monkeypatch, name, parameters):
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(computed))
    shown = []
    for named in ([], parameters):
        test = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=120)
        test.session_state["experiment"] = SMALL
        for parameter in named:
            test.query_params[parameter] = ""
        test.run()
        assert not test.exception
        assert not test.warning
        shown.append(everything_said(test))
    assert shown[0] == shown[1]
