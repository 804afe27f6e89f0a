"""The overlap page, without a browser."""

from dataclasses import replace

import numpy as np
import pytest
from page_walk import SMALL, activity_of, charts_of, everything_said, page

from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import (
    ablation,
    lape,
    overlap,
)
from neuronxa_core.measures.activation_counts import ActivationCriterion
from neuronxa_core.states import computing, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from pages.components import process

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
