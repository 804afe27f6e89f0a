"""Pages offer what the host's settings allow and refuse the rest; what others wrote is shown and not run."""

import re
from urllib.parse import urlencode

import pytest
import streamlit as st
from live import ROOT, chromium, needs_browser, served, visit, watched
from page_walk import everything_said
from streamlit.testing.v1 import AppTest

from neuronxa_core.experiment import Experiment
from neuronxa_core.host import settings
from neuronxa_core.states import computing, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from pages.access import host
from pages.components import process

# soon computed, and few enough for every host here
QUERY = {"languages": "deu_Latn", "sentences": "4"}


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """opened(page, settings file's text, query): a page of an app whose host has a settings file."""
    file = tmp_path / "neuronxa.toml"
    monkeypatch.setenv(settings.VARIABLE, str(file))

    def open_page(name, text, **query):
        file.write_text(text)
        host._host_settings.cache_clear()
        test = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120)
        for key, value in (QUERY | query).items():
            test.query_params[key] = value
        test.run()
        if name:
            test = test.switch_page(f"pages/{name}.py").run()
        assert not test.exception
        return test

    yield open_page
    monkeypatch.delenv(settings.VARIABLE)
    host._host_settings.cache_clear()


def test_what_limits_visitors_is_in_no_cache_that_streamlit_clears():
    before = process.services(), host.of_visitors()
    st.cache_resource.clear()
    st.cache_data.clear()
    assert all(new is old for new, old in zip((process.services(), host.of_visitors()), before, strict=True))


def test_what_visitors_used_lately_is_kept_from_each_other(opened, monkeypatch, tmp_path):
    for folder, text, days in (("a", "", 30), ("b", "[cache]\nkept_days = 5\n", 5)):
        monkeypatch.setenv("NEURONXA_CACHE_DIR", str(tmp_path / folder))
        opened("method", text)
        assert process.services().store.kept_days == days
    assert settings.Settings.of_this_machine().cache.kept_days == 0


def offers(test):
    return {one.key: list(one.options) for kind in ("selectbox", "segmented_control") for one in test.get(kind)}


def test_a_link_to_what_is_not_allowed_opens_the_example_and_says_so(opened, tmp_path):
    for path in (tmp_path, tmp_path / "not-there"):
        test = opened("", "", model=str(path), corpus=str(path))
        assert "not among those that the host of this app allows" in test.warning[0].value
        assert test.session_state["experiment"] == Experiment()


def test_run_offers_what_the_host_allows_and_no_more(opened, tmp_path):
    (tmp_path / "models" / "small").mkdir(parents=True)
    (tmp_path / "models" / "small" / "config.json").write_text("{}")
    (tmp_path / "corpora" / "own").mkdir(parents=True)
    for code in ("eng", "deu"):
        (tmp_path / "corpora" / "own" / f"{code}.txt").write_text("one\ntwo\n")
    test = opened(
        "run",
        "[models]\nfolders = ['models']\nhub = ['Qwen/*']\ndevices = ['cpu']\ndtypes = ['float32', 'bfloat16']\n"
        "[corpora]\nfolders = ['corpora']\nhub = ['a/b']",
    )
    assert not test.error
    offered = offers(test)
    assert offered["run_model_kind"] == ["Bundled", "Models of this host", "Hub id"]
    assert offered["run_corpus_kind"] == ["Bundled", "Corpora of this host", "Hub data set", "Upload"]
    assert offered["run_device"] == ["auto", "cpu"]
    assert offered["run_dtype"] == ["auto", "float32", "bfloat16"]
    next(one for one in test.segmented_control if one.key == "run_model_kind").set_value("Models of this host")
    test.run()
    assert offers(test)["run_found_model"] == ["models/small"]
    closed = offers(opened("run", ""))
    assert closed["run_model_kind"] == ["Bundled"]
    assert closed["run_corpus_kind"] == ["Bundled", "Upload"]


def test_a_page_refuses_an_experiment_that_is_not_allowed(opened, tmp_path):
    test = opened("", "[runs]\nlanguages = 3\n", languages="deu_Latn,fra_Latn,spa_Latn")
    assert "the host of this app allows 3 per run" in test.error[0].value
    test.session_state["experiment"] = Experiment(model=str(tmp_path))
    test.run()
    assert "not among those" in test.error[0].value


def test_scores_by_path_are_the_hosts(opened, tmp_path):
    store = Store(tmp_path)
    chosen = Experiment(languages=("deu_Latn",), sentences=4)
    computing.compute_missing(planning.make_plan(chosen, store), store, ModelPool())
    store.close()
    test = opened("downstream", "", scores_from="File")
    assert not [widget for widget in test.text_input if widget.key == "scores_path"]
    test = opened("downstream", "", scores_from="lm-evaluation-harness")
    assert "does not let visitors run the evaluation harness" in everything_said(test)


def test_a_wrong_settings_file_is_one_sentence_and_no_open_app(opened):
    test = opened("", "[models]\nfolder = []\n")
    assert "has no key 'folder'" in test.error[0].value
    assert not test.get("vega_lite_chart") and not test.get("arrow_vega_lite_chart")


@pytest.mark.full
class TestInTheBrowser:
    pytestmark = needs_browser

    def test_what_others_wrote_is_shown_and_not_run(self, tmp_path):
        evil = ["<img src=http://tracker.example/a.png onerror=\"document.title='owned'\">", "=1+cmd|'/C calc'!A0"]
        evil += ["![x](http://tracker.example/b.png)", "[x](javascript:alert(1)) **b** $x$ :red[r]"]
        evil += ["<script>document.title='owned'</script>", "{{7*7}} ${7*7} <b>bold</b>"]
        name = "<img src=x onerror=alert(1)> ![i](http:tracker.example) **b**"
        corpus = tmp_path / name.replace("/", "_")
        corpus.mkdir()
        for code in ("eng_Latn", "deu_Latn", "fra_Latn"):
            (corpus / f"{code}.txt").write_text("\n".join(f"{text} {code}" for text in evil) + "\n", "utf-8")
        (corpus / "![x](http:tracker.example).md").write_text("x")
        query = urlencode({"corpus": str(corpus), "sentences": str(len(evil))})
        with served(tmp_path / "cache", tmp_path / "log") as server, chromium() as browser:
            page = watched(browser.new_page())
            page.on("dialog", lambda dialog: page.errors.append(dialog.message))
            page.goto(f"{server.address}/?{query}")
            page.get_by_role("button", name="Compute them").click()
            page.get_by_text(re.compile("languages? against")).first.wait_for()
            page.goto(f"{server.address}/?{query}&view=Sentences")
            page.get_by_text("sentences aligned").wait_for()
            visit(page, "Microscope")
            page.get_by_role("button", name="Compute them").click()  # states under another pooling
            count = page.get_by_label("Sentences per language")
            count.fill(str(len(evil)))
            count.press("Enter")
            shaded = page.locator("[data-testid=stHtml]").filter(has_text="onerror=").first
            shaded.wait_for()
            assert "<img src=http://tracker.example/a.png" in shaded.inner_text().replace("\u00a0", " ")
            for name in ("Microscope", "Downstream", "Run"):
                visit(page, name)
                page.wait_for_timeout(1000)
                page.wait_for_function("!document.querySelector('[data-test-script-state=running]')")
                assert page.locator("[data-testid=stException]").count() == 0
                assert page.locator("[data-testid=stMain] img[src*=tracker], [data-testid=stMain] script").count() == 0
                assert page.locator("a[href*=tracker], a[href^=javascript]").count() == 0
                assert page.locator("[data-testid=stMain] .katex").count() == 0
            assert "owned" not in page.title()
            assert not page.strangers
            assert not page.errors
