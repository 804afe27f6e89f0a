"""The alignment page, without a browser."""

import json
import shutil

import pytest
from page_walk import ROOT, SMALL, charts_of, everything_said, page

from neuronxa_core import charts
from neuronxa_core.charts import theme
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import (
    alignment,
    all_pairs,
)
from neuronxa_core.states import planning
from neuronxa_core.store.cache import Store
from pages.components import exporting, process


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
    for file in folder.rglob("*.safetensors"):
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
