"""The Alignment page, without a browser: what its views show, what it offers where something is missing."""

import json
import shutil
from dataclasses import replace

import pytest
from page_walk import ROOT, SMALL, charts_of, everything_said, page, plan_of, turn

from neuronxa_core import charts
from neuronxa_core.charts import matrices
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import alignment, all_pairs
from neuronxa_core.measures.rivals import Rivals
from pages.components import exporting, process, progress

BUNDLED = str(ROOT / "neuronxa_core" / "demo" / "corpus")


def test_a_walk_through_the_views_shows_what_the_core_computes(computed, monkeypatch):
    test = page("alignment", SMALL, computed, monkeypatch)
    with plan_of(SMALL, computed) as (plan, store):
        scores = alignment.align(plan, store, "nas", "weighted")
        by_layer = all_pairs.AllPairs(plan).run(store)
        pairs = by_layer[2]["scores"]
        Rivals(plan).run(store)
    for layers in ("mean", "max"):
        table = turn(test, alignment_layers=layers).dataframe[0].value.set_index("language")
        assert [table["score"][code] for code in plan.languages] == list(scores.pooled(layers))
    assert "above chance" not in everything_said(test)
    above = (turn(test, alignment_layers="mean").dataframe[0].value["low"] > alignment.chance_level(12)).sum()
    assert f"{above} of 4 languages** are above chance" in everything_said(test)

    turn(test, view="Layers")
    assert len(charts_of(test)) == 1
    assert test.multiselect(key="curves").proto.max_selections == charts.MOST_CURVES

    turn(test, view="Sentences", to="arb_Arab", layer=7)
    assert (test.metric[0].label, test.metric[0].value) == ("NASCA at layer 7", f"{scores.score[2, 7]:.3f}")
    assert any('dir="rtl"' in element.proto.body for element in test.get("html"))
    turn(test, layer=0)
    assert test.metric[0].value == f"{scores.score[2, 0]:.3f}"

    table = turn(test, view="All pairs", layer=2).dataframe[0].value.set_index("language")
    for k, code in enumerate(plan.all_languages):
        assert table.loc[code, list(plan.all_languages)].tolist() == pairs[k].tolist()
    assert process.services().pairs.wait(60)
    monkeypatch.setattr(all_pairs, "pair_matrix", None)  # the layers around it were computed ahead
    turn(test, layer=0)
    table = turn(test, pairs_pooled=True).dataframe[0].value.set_index("language")
    pooled = sum(one["scores"] for one in by_layer.values()) / len(by_layer)
    for k, code in enumerate(plan.all_languages):
        assert table.loc[code, list(plan.all_languages)].tolist() == pytest.approx(pooled[k].tolist())

    turn(test, view="Retrieval")
    assert "Mean accuracy of both directions" in everything_said(test)
    turn(test, retrieval_one_layer=True, retrieval_layer=2)
    own = test.dataframe[0].value.set_index(["state", "group"])["src2trg"]
    assert own["nas", "all languages"] == scores.retrieval_src2trg[:, 2].mean()
    turn(test, view="Representations")
    assert len(charts_of(test)) == 1
    turn(test, view="Rival measures", layer=2)
    assert "Rankings are compared from 5 languages on, and there are 4." in everything_said(test)
    ranks = test.dataframe[0].value.set_index("language")["NASCA"]
    for code, score in zip(plan.languages, scores.score[:, 2], strict=True):
        assert ranks[code] == 1 + (scores.score[:, 2] > score).sum()
    (table,) = turn(test, view="Table", alignment_state="emb").dataframe
    assert test.session_state["experiment"].state == "emb"
    assert table.value.columns.tolist()[4:7] == ["MEXA", "NASCA", "NAVCA"]
    assert table.value["MEXA"].is_monotonic_decreasing
    assert "MEXA as published" in turn(test, alignment_state="hid").dataframe[0].value
    turn(test, view="Sentences", to="arb_Arab")
    turn(test, layer=8)
    assert test.metric[0].label == "MEXA as published at layer 8"
    turn(test, alignment_state="nas")
    assert not test.exception


def test_sentences_are_listed_searched_and_mapped(computed, monkeypatch):
    test = page("alignment", SMALL, computed, monkeypatch, view="Sentences", to="arb_Arab", layer=4)
    with plan_of(SMALL, computed) as (plan, store):
        texts = plan.corpus.sentences("eng_Latn")
        aligned = alignment.align(plan, store, "nas", "weighted").aligned[:, 4].sum(axis=0)
    near = test.dataframe[0].value
    assert near["margin"].is_monotonic_increasing
    turn(test, **{"sentences-search": texts[5].upper()})
    assert test.dataframe[0].value["sentence"].tolist() == [6]
    turn(test, **{"sentences-search": "no sentence has this"})
    assert test.dataframe[0].value.empty

    turn(test, sentences_of="All languages")
    assert "At layer 4 sentences" in everything_said(test) or "being missed at layer 4" in everything_said(test)
    table = test.dataframe[0].value
    assert table["aligned"].tolist() == sorted(aligned)
    assert [aligned[k - 1] for k in table["sentence"]] == sorted(aligned)
    label = table["label"].iloc[0]
    turn(test, sentences_search=label.upper())
    assert set(test.dataframe[0].value["label"]) == {label}

    turn(test, sentences_of="Map")
    assert "of layer 4's variance" in everything_said(test).replace("\\", "")
    spec = json.loads(charts_of(test)[0].proto.spec)
    assert [layer["mark"]["type"] for layer in spec["layer"]] == ["rule", "circle"]
    turn(test, map_colour="Languages", layer=5)
    assert test.multiselect(key="map_languages").value[0] == "eng_Latn"


def test_two_of_many_languages_are_chosen_below_the_picture_of_all(computed, monkeypatch):
    monkeypatch.setattr(matrices, "MOST_LABELLED", 3)
    test = page("alignment", SMALL, computed, monkeypatch, view="All pairs")
    assert "sentences aligned" not in everything_said(test)
    turn(test, pairs_from="spa_Latn", pairs_to="tha_Thai")
    assert "sentences aligned" in everything_said(test)
    picture = json.loads(charts_of(test)[0].proto.spec)
    assert any(layer["mark"]["type"] == "image" for layer in picture["layer"])


def test_pairs_that_take_long_are_a_job_that_is_asked_for(computed, monkeypatch):
    monkeypatch.setattr(all_pairs, "MOST_AHEAD", 1)
    with plan_of(SMALL, computed) as (plan, store):
        store.drop(all_pairs.AllPairs(plan).key_of(5))
    test = page("alignment", SMALL, computed, monkeypatch, view="All pairs", layer=5)
    assert not charts_of(test)
    test.button(key="pairs_layer").click()
    turn(test)
    queue = process.services().queue
    asked = [job.work for job in queue.jobs() if isinstance(job.work, all_pairs.AllPairs)]
    assert [work.layers for work in asked] == [(5,)]
    assert all(queue.wait(job, 60) for job in queue.jobs())
    assert turn(test).dataframe[0].value.shape == (5, 6)


def test_files_are_fetched_without_a_new_run_which_could_drop_them(computed, monkeypatch):
    test = page("alignment", SMALL, computed, monkeypatch)
    for view in ("Ranking", "Table"):
        buttons = turn(test, view=view).get("download_button")
        assert buttons
        assert all(button.proto.ignore_rerun for button in buttons)


def test_a_model_that_is_not_there_leaves_a_way_out(computed, monkeypatch):
    test = page("alignment", replace(SMALL, model="/no/such/model"), computed, monkeypatch)
    assert "no folder /no/such/model" in test.error[0].value
    assert [button.label for button in test.button] == ["Choose another model or corpus", "Show the bundled example"]
    test.button(key="way-out").click().run()
    assert test.session_state["experiment"] == Experiment()


def test_a_large_table_is_sent_when_it_is_opened(computed, monkeypatch):
    monkeypatch.setattr(exporting, "MOST_SENT_UNSEEN", 10)
    test = page("alignment", SMALL, computed, monkeypatch, view="All pairs", layer=3)
    assert not test.dataframe
    test = page("alignment", SMALL, computed, monkeypatch, view="All pairs", layer=3, **{"files-all-pairs": True})
    assert test.dataframe[0].value.shape == (5, 6)


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
    turn(test, layer=6)
    jobs = process.services().queue.jobs()
    assert jobs
    for _ in SMALL.languages:
        assert all(process.services().queue.wait(job, 60) for job in process.services().queue.jobs())
        turn(test)


def test_the_bundled_example_computes_itself_and_shows_its_progress(tmp_path, monkeypatch):
    test = page("alignment", Experiment(languages=("deu_Latn",), sentences=3), tmp_path, monkeypatch)
    assert not test.exception
    (job,) = process.services().queue.jobs()
    assert set(job.totals) == {"eng_Latn", "deu_Latn"}
    assert process.services().queue.wait(job, 60)
    assert len(charts_of(turn(test))) == 1


def test_a_page_starts_nothing_by_itself_that_takes_longer_than_a_minute(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "UNASKED_S", 0.01)
    test = page("alignment", Experiment(languages=("deu_Latn",), sentences=3), tmp_path, monkeypatch)
    queue = process.services().queue
    assert queue.jobs() == []
    assert "2 of 2 languages of this choice are not computed yet; that takes about 1 s on two CPU cores" in " ".join(
        info.value for info in test.info
    )
    (button,) = test.main.button
    assert button.label == "Compute them"
    button.click().run()
    assert len(queue.jobs()) == 1


@pytest.mark.full
def test_a_choice_that_is_not_computed_offers_to_compute_it(tmp_path, monkeypatch):
    test = page("alignment", Experiment(corpus=BUNDLED, languages=("deu_Latn",), sentences=3), tmp_path, monkeypatch)
    assert process.services().queue.jobs() == []
    (button,) = test.button
    button.click().run()
    (job,) = process.services().queue.jobs()
    assert process.services().queue.wait(job, 60)
    assert job.status == "done"


def test_part_of_a_choice_is_shown_while_the_rest_is_missing(computed, monkeypatch):
    wider = Experiment(corpus=BUNDLED, languages=(*SMALL.languages, "deu_Latn"), sentences=12)
    test = page("alignment", wider, computed, monkeypatch)
    assert "1 of 6 languages of this choice are not computed yet" in everything_said(test)
    assert set(test.dataframe[0].value["language"]) == set(SMALL.languages)
