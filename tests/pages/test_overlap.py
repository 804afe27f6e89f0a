"""The Overlap page, without a browser: what its views show and what they say where there is nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from page_walk import SMALL, activity_of, charts_of, everything_said, page, turn

from neuronxa_core.charts import matrices
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import ablation, lape, neuron_agreement, overlap
from neuronxa_core.measures.activation_counts import ActivationCriterion
from neuronxa_core.states import computing, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from pages.components import process

# how each view's caption begins
HELP = {
    "Matrix": "Which share of their active neurons",
    "By layer": "How the overlap of pairs",
    "Translation-specific": "How much the active neurons of a sentence",
    "Intersections": "How many neurons are active in exactly",
    "Shared core": "Neurons active in all the chosen languages",
    "Language-specific": "LAPE: the neurons whose activation probability",
    "Definitions": "Whether other published definitions",
    "Ablation": "Effect of ablation on each language",
    "Summary": "Every language's active neurons",
}


def computed_for(experiment, folder):
    store = Store(folder)
    plan = planning.with_states(planning.make_plan(experiment, store), ["nas_mean"])
    computing.compute_missing(plan, store, ModelPool())
    store.close()
    return folder


def run_the_last_job():
    job = process.services().queue.jobs()[-1]
    assert process.services().queue.wait(job, 60)
    assert job.status == "done", job.error
    return job


def test_a_walk_through_the_views_shows_results_and_what_they_do_not_prove(computed, monkeypatch):
    test = page("overlap", SMALL, computed, monkeypatch, active_by="threshold")
    for view, beginning in HELP.items():
        turn(test, overlap_view=view)
        assert len(charts_of(test)) == (0 if view in ("Definitions", "Ablation", "Summary") else 1), view
        assert any(caption.value.startswith(beginning) for caption in test.caption), view
    turn(test, active_by="top", overlap_view="Matrix")
    _, activity = activity_of(computed)
    wanted = overlap.overlap_by_layer(activity, ActivationCriterion("top", 0.1))
    for layer in (0, 6):
        shown = turn(test, overlap_layer=layer).dataframe[-1].value.set_index("language")
        at = [activity.languages.index(code) for code in shown.index]
        assert shown.to_numpy().tolist() == wanted[layer][np.ix_(at, at)].tolist()
    turn(test, overlap_view="Language-specific", lape_share=2.0, lape_drop=80, lape_assign=70)
    found = lape.lape(activity, 0.02, 80, 70)
    shown = test.dataframe[0].value
    assert [shown[name].tolist() for name in ("layer", "neuron", "entropy")] == [
        found.layer.tolist(), found.neuron.tolist(), found.entropy.tolist(),
    ]  # fmt: skip
    assert "own definition of a neuron is *gate*" in everything_said(test)
    turn(test, lape_check=True)
    assert "Shuffled languages give" in everything_said(test)
    turn(test, lape_of="tha_Thai")
    assert test.dataframe[0].value["neuron"].tolist() == found.of("tha_Thai")[1].tolist()


def test_the_definition_of_lape_is_one_click_away(tmp_path, monkeypatch):
    three = replace(SMALL, sentences=3)
    folder = computed_for(three, tmp_path / "cache")
    computed_for(replace(three, neuron="gate"), folder)
    test = page("overlap", three, folder, monkeypatch, overlap_view="Language-specific")
    assert "takes at least 4 sentences" in everything_said(test)
    test.button(key="lape_gate").click().run()
    assert not test.exception
    assert test.session_state["experiment"] == replace(three, neuron="gate")
    assert "own definition" not in everything_said(test)


def test_the_layers_play_and_stop(computed, monkeypatch):
    test = page("overlap", SMALL, computed, monkeypatch, overlap_view="Matrix")
    first = test.slider(key="overlap_layer").value
    test.button(key="overlap_play").click().run()
    assert test.button(key="overlap_play").label == "Pause"
    assert test.slider(key="overlap_layer").value == first + 1
    turn(test, overlap_due=0.0)
    assert test.slider(key="overlap_layer").value == first + 2
    test.button(key="overlap_play").click().run()
    turn(test, overlap_due=0.0)
    assert test.slider(key="overlap_layer").value == first + 2


def test_two_of_many_languages_are_chosen_below_the_picture_of_all(computed, monkeypatch):
    monkeypatch.setattr(matrices, "MOST_LABELLED", 3)
    test = page("overlap", SMALL, computed, monkeypatch, overlap_view="Matrix")
    assert "that are active in both" not in everything_said(test)
    turn(test, overlap_from="spa_Latn", overlap_to="tha_Thai")
    assert "that are active in both" in everything_said(test)
    picture = json.loads(charts_of(test)[0].proto.spec)
    assert any(layer["mark"]["type"] == "image" for layer in picture["layer"])


def test_empty_choices_are_said_not_raised(computed, monkeypatch):
    test = page("overlap", SMALL, computed, monkeypatch, core_all=False)
    for view, key in (("Intersections", "sets"), ("Shared core", "core_languages"), ("Ablation", "causal_sets")):
        turn(test, overlap_view=view)
        turn(test, **{key: []})
        assert test.info, view
    turn(test, overlap_view="Translation-specific", meaning_y="eng_Latn")
    assert "two different languages" in test.info[0].value
    turn(test, overlap_view="Language-specific", lape_drop=100)
    assert "No neuron is left" in test.info[0].value
    turn(test, overlap_view="Intersections", active_by="threshold", active_threshold=99)


def test_a_single_language_is_no_error(tmp_path, monkeypatch):
    alone = Experiment(languages=("eng_Latn",), sentences=3)
    test = page("overlap", alone, computed_for(alone, tmp_path / "cache"), monkeypatch)
    assert not test.exception
    assert "at least two languages" in test.info[0].value


def test_ablation_runs_in_the_background_and_shows_its_effects(computed, monkeypatch):
    small = {"causal_sentences": 3, "lape_share": 3.0}
    test = page("overlap", SMALL, computed, monkeypatch, overlap_view="Ablation", **small)
    turn(test, causal_sets=["tha_Thai"], causal_languages=["tha_Thai", "spa_Latn"])
    button = next(button for button in test.button if button.label.startswith("Measure"))
    assert button.label == "Measure 42 of 42 effects"
    button.click().run()
    job = run_the_last_job()
    turn(test)
    assert not any(button.label.startswith("Measure") for button in test.button)
    assert "Thai (tha_Thai)" in str(charts_of(test)[0].proto)
    own = test.dataframe[0].value
    store = Store(computed)
    change = ablation.effects_table(job.work, store).set_index(["set", "language"])["change_nats_per_byte"]
    store.close()
    assert own["effect on itself"].item() == change["tha_Thai", "tha_Thai"]
    controls = [change[f"tha_Thai · random {k}", "tha_Thai"] for k in range(1, 20)]
    assert own["random: effect on it, mean"].item() == pytest.approx(np.mean(controls))
    as_large = sum(one >= change["tha_Thai", "tha_Thai"] for one in controls)
    assert (own["random: measured"].item(), own["p"].item()) == (19, (1 + as_large) / 20)
    assert own["effect on the others, mean"].item() == change["tha_Thai", "spa_Latn"]
    # the model as it is, read by two languages, is not measured again
    turn(test, causal_set_to="mean")
    assert any(button.label == "Measure 40 of 42 effects" for button in test.button)


def test_rival_definitions_run_in_the_background_and_are_compared(computed, monkeypatch):
    test = page("overlap", SMALL, computed, monkeypatch, overlap_view="Definitions", definitions_gate=False)
    test.button(key="definitions_run").click().run()
    job = run_the_last_job()
    turn(test)
    assert len(charts_of(test)) == 1
    store = Store(computed)
    assert neuron_agreement.agreement_sentence(job.work.table(store)) in everything_said(test)
    store.close()
    shown = test.dataframe[0].value
    assert list(shown["Definition"]) == ["LAPE", "λ-entropy", "Highest AP", "Lowest AP", "Impact"]
    turn(test, definitions_gate=True)
    assert not charts_of(test)
    assert test.button(key="definitions_run").label == "Compare definitions"


@pytest.mark.full
def test_an_encoder_gets_the_alignment_part_of_ablation_and_a_reason(tmp_path, tiny, monkeypatch):
    chosen = replace(SMALL, model=str(tiny("bert")), sentences=4)
    parameters = {"lape_share": 10.0, "lape_drop": 50, "lape_assign": 50}
    folder = computed_for(chosen, tmp_path / "cache")
    test = page("overlap", chosen, folder, monkeypatch, overlap_view="Ablation", **parameters)
    assert "is an encoder" in everything_said(test)
    turn(test, causal_sentences=3)
    next(button for button in test.button if button.label.startswith("Measure")).click().run()
    run_the_last_job()
    assert "NASCA" in str(charts_of(turn(test))[0].proto)
