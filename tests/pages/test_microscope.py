"""The Microscope, without a browser."""

import shutil
from dataclasses import replace

import pytest
from page_walk import ROOT, SMALL, activity_of, charts_of, everything_said, page, turn
from streamlit.testing.v1 import AppTest

from neuronxa_core.measures import lape
from neuronxa_core.states import computing, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from pages.access import host
from pages.components import process, selection


def test_a_neuron_is_shown_in_every_language_and_in_each_ones_direction(computed, monkeypatch):
    test = page("microscope", SMALL, computed, monkeypatch, neuron_layer=7, neuron_number=84)
    assert not test.exception
    assert not test.error
    assert len(charts_of(test)) == 2
    bodies = [element.proto.body for element in test.get("html")]
    for code, direction in (("arb-Arab", "rtl"), ("th", "ltr")):
        assert any(f'dir="{direction}" lang="{code}"' in body for body in bodies)
    assert any("<b>Sentence" in body and "among the strongest in" in body for body in bodies)
    _, activity = activity_of(computed)
    shown = test.dataframe[1].value.set_index("language")["probability"]
    assert {code: shown[code] for code in activity.languages} == dict(
        zip(activity.languages, activity.at(7, 84), strict=True)
    )


def test_it_starts_at_the_most_specific_neuron_and_finds_others_in_every_way(computed, monkeypatch):
    test = page("microscope", SMALL, computed, monkeypatch)
    found = lape.lape(activity_of(computed)[1])
    assert test.number_input(key="neuron_layer").value == found.layer[0]
    assert test.number_input(key="neuron_number").value == found.neuron[0]
    for way in ("most shared", "most discriminating between …", "strongest for a sentence", "most specific to …"):
        test.get("button_group")[0].set_value(way).run()
        assert not test.exception
        table = test.dataframe[0].value
        assert len(table) == 100
        assert table["neuron"].between(0, 639).all()
    test.toggle(key="find_here").set_value(True).run()
    assert set(test.dataframe[0].value["layer"]) == {found.layer[0]}


@pytest.mark.parametrize(("layer", "neuron"), [(2, 345), (0, 0)])
def test_a_link_to_a_neuron_opens_it(computed, monkeypatch, layer, neuron):
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(computed))
    test = AppTest.from_file(str(ROOT / "pages" / "microscope.py"), default_timeout=120)
    test.session_state["experiment"] = SMALL
    test.query_params["neuron_layer"], test.query_params["neuron_number"] = str(layer), str(neuron)
    test.run()
    assert not test.exception
    assert f"Neuron {neuron} of layer {layer}" in everything_said(test)


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


def test_tokens_wait_for_a_busy_model_and_a_large_one_is_loaded_only_when_asked(computed, tmp_path, monkeypatch):
    folder = tmp_path / "own"  # nothing of the tokens is cached there
    shutil.copytree(computed, folder)
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(folder))
    store = Store(folder)
    plan = planning.make_plan(SMALL, store)
    store.close()
    pool = process._services(str(folder), host.host_settings()).pool
    with pool.acquire(plan):
        test = page("microscope", SMALL, folder, monkeypatch, neuron_layer=1, neuron_number=2)
        assert not test.exception
        assert "at work" in test.info[0].value
        assert "Your own text" in everything_said(test)
    large = replace(plan, info=replace(plan.info, parameters=8_000_000_000))
    monkeypatch.setattr(selection, "plan_for", lambda _chosen: large)
    monkeypatch.setattr(type(pool), "holds", lambda _pool, _plan: False)
    test = page("microscope", SMALL, folder, monkeypatch, neuron_layer=1, neuron_number=3)
    assert not test.exception
    assert "8.0 billion parameters" in everything_said(test)
    assert any(button.label.startswith("Load the model") for button in test.button)


def test_states_that_were_not_kept_are_offered_where_a_view_reads_it(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    store = Store(folder)
    computing.compute_missing(planning.make_plan(SMALL, store), store, ModelPool())
    store.close()
    monkeypatch.setattr(selection, "_is_demo", lambda _plan: False)
    test = page("microscope", SMALL, folder, monkeypatch)
    assert "(mean of tokens)" in everything_said(test)
    assert not test.error
    next(one for one in test.button if one.label == "Compute them").click().run()
    (job,) = process.services().queue.jobs()
    assert process.services().queue.wait(job, 60)
    assert job.status == "done", job.error
    turn(test)
    assert "(mean of tokens)" not in everything_said(test)
    assert charts_of(test)
