"""The microscope, without a browser."""

import shutil
from dataclasses import replace

import pytest
from page_walk import ROOT, SMALL, activity_of, charts_of, everything_said, page
from streamlit.testing.v1 import AppTest

from neuronxa_core.measures import (
    lape,
)
from neuronxa_core.states import planning
from neuronxa_core.store.cache import Store
from pages.access import host
from pages.components import cached, process


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
