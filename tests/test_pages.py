"""Every page, run without a browser: what it shows, its empty states and its errors."""

import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from neuronxa_core import pipeline
from neuronxa_core.__main__ import parser
from neuronxa_core.experiment import Experiment
from neuronxa_core.pipeline import ModelShelf
from neuronxa_core.store import Store
from pages import shared

ROOT = Path(__file__).parents[1]
SMALL = Experiment(languages=("spa_Latn", "rus_Cyrl", "arb_Arab", "tha_Thai"), sentences=12)


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """A cache folder in which SMALL is computed."""
    folder = tmp_path_factory.mktemp("computed")
    store = Store(folder)
    pipeline.compute_missing(pipeline.make_plan(SMALL, store), store, ModelShelf())
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
    queue = shared.services().queue
    for job in queue.jobs():
        job.cancel()
    assert all(queue.wait(job, 60) for job in queue.jobs())


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
    plan = pipeline.make_plan(SMALL, store)
    wanted = pipeline.align(plan, store, "nas", "weighted").pooled("mean")
    store.close()
    assert [shown[code] for code in plan.languages] == list(wanted)


def test_a_layer_slider_moves_the_similarity_matrix(computed, monkeypatch):
    test = page("alignment", SMALL, computed, monkeypatch, view="Sentences")
    for layer in (0, 7):
        test.slider(key="layer").set_value(layer).run()
        assert not test.exception
        assert test.metric[0].label == f"NASCA at layer {layer}"
        assert 0 <= float(test.metric[0].value) <= 1


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
    jobs = shared.services().queue.jobs()
    assert jobs
    assert all(shared.services().queue.wait(job, 60) for job in jobs)
    for _ in SMALL.languages:
        test.run()
        assert not test.exception
        assert all(shared.services().queue.wait(job, 60) for job in shared.services().queue.jobs())


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
    (job,) = shared.services().queue.jobs()
    assert set(job.totals) == {"eng_Latn", "deu_Latn"}
    assert shared.services().queue.wait(job, 60)
    test.run()
    assert len(charts_of(test)) == 1


def test_a_choice_that_is_not_computed_offers_to_compute_it(tmp_path, monkeypatch):
    corpus = str(ROOT / "neuronxa_core" / "demo" / "corpus")
    chosen = Experiment(corpus=corpus, languages=("deu_Latn",), sentences=3)
    test = page("alignment", chosen, tmp_path, monkeypatch)
    assert shared.services().queue.jobs() == []
    (button,) = test.button
    button.click().run()
    assert not test.exception
    (job,) = shared.services().queue.jobs()
    assert shared.services().queue.wait(job, 60)
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
    (job,) = shared.services().queue.jobs()
    assert shared.services().queue.wait(job, 60)
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


def test_texts_come_out_harmless():
    assert shared.sentence("<script>alert(1)</script>", "arb_Arab") == (
        '<span dir="rtl" lang="arb">&lt;script&gt;alert(1)&lt;/script&gt;</span>'
    )
    assert shared.safe("[x](javascript:y) **b**") == "\\[x\\]\\(javascript\\:y\\) \\*\\*b\\*\\*"


def test_the_command_line_of_an_experiment_is_read_back():
    chosen = Experiment(corpus="a b.csv", languages=("deu", "fra"), sentences=7, pooling="last", dtype="float16")
    options = parser().parse_args(["score", *shlex.split(shared.command_line(chosen))])
    assert (options.corpus, options.languages, options.sentences) == ("a b.csv", ["deu", "fra"], 7)
    assert (options.pooling, options.dtype, options.neuron) == ("last", "float16", "product")


def test_sizes_and_times_as_a_person_says_them():
    assert [shared.size(x) for x in (12, 1500, 2_340_000, 5e9)] == ["12 bytes", "1.5 kB", "2.3 MB", "5.0 GB"]
    assert [shared.duration(x) for x in (0.2, 42, 600, 7200)] == ["1 s", "42 s", "10 min", "2.0 h"]
