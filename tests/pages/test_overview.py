"""The Overview page, without a browser: its answer, its figures, and where it leads."""

import shutil

from page_walk import SMALL, charts_of, everything_said, page, plan_of

from neuronxa_core.measures import alignment, alignment_tables, cosine_retrieval
from neuronxa_core.states import computing, planning
from neuronxa_core.states.pools import ModelPool
from pages.components import selection
from pages.views.overview import heat_map


def test_it_says_what_was_found_and_shows_it(computed, monkeypatch):
    test = page("overview", SMALL, computed, monkeypatch)
    with plan_of(SMALL, computed) as (plan, store):
        found = alignment.align(plan, store, "nas", "weighted")
    above = int((alignment_tables.ranking_table(found, "mean")["low"] > alignment.chance_level(12)).sum())
    assert f"{above} of 4 languages are aligned above chance** with English by NASCA" in everything_said(test)
    assert test.metric[0].value == f"{above} of 4"
    assert float(test.metric[2].value) == round(found.score.mean(axis=0).max(), 3)
    assert len(charts_of(test)) == 1
    table = test.dataframe[0].value
    assert len(table) == found.score.size
    assert not test.exception
    assert not test.error


def test_where_much_is_to_be_compared_the_map_fills_as_scores_come(computed, tmp_path, monkeypatch):
    shutil.copytree(computed, folder := tmp_path / "cache")
    with plan_of(SMALL, folder) as (plan, store):
        measure = alignment.AlignmentScores(plan, "nas", "weighted")
        for code in measure.parts():
            store.drop(measure.key_of(code))
    monkeypatch.setattr(alignment, "GROUP", 1)
    monkeypatch.setattr(alignment, "GROUP_PRODUCTS", 0)
    monkeypatch.setattr(cosine_retrieval, "DECIDED_CELLS", 1)
    shown, real = [], heat_map._show
    monkeypatch.setattr(heat_map, "_show", lambda part: (shown.append(part.plan.languages), real(part)))
    test = page("overview", SMALL, folder, monkeypatch)
    assert [len(some) for some in shown] == [1, 2, 3, 4]
    assert "So far" not in everything_said(test)
    assert not test.exception


def test_a_link_of_before_opens_the_view_that_it_names(computed, monkeypatch):
    went = []
    monkeypatch.setattr("streamlit.switch_page", lambda to, query_params: went.append((to, query_params["view"])))
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(computed))
    test = page("overview", SMALL, computed, monkeypatch)
    assert went == []
    test.query_params["view"] = "Table"
    test.run()
    assert went == [("pages/alignment.py", "Table")]


def test_the_sidebar_changes_the_pivot_and_the_run(computed, monkeypatch):
    test = page("overview", SMALL, computed, monkeypatch)
    (pivot,) = [box for box in test.sidebar.selectbox if box.label == "Pivot"]
    pivot.set_value("rus_Cyrl").run()
    now = test.session_state["experiment"]
    assert (now.pivot, now.languages) == ("rus_Cyrl", ("spa_Latn", "eng_Latn", "arb_Arab", "tha_Thai"))
    assert "with Russian by NASCA" in everything_said(test)
    (runs,) = [box for box in test.sidebar.selectbox if box.label == "Run"]
    assert runs.options[0] == "Demo model · Demo corpus · 4 languages · 12 sentences · from Russian (rus_Cyrl)"
    runs.set_value(SMALL.extraction).run()
    assert test.session_state["experiment"] == SMALL
    assert "with English by NASCA" in everything_said(test)


def test_a_run_that_kept_nas_alone_is_shown_and_what_it_did_not_keep_is_offered(tmp_path, monkeypatch):
    with plan_of(SMALL, tmp_path) as (plan, store):
        computing.compute_missing(planning.with_only(plan, []), store, ModelPool())
    monkeypatch.setattr(selection, "_is_demo", lambda _plan: False)
    test = page("overview", SMALL, tmp_path, monkeypatch)
    assert "not computed yet" not in everything_said(test)
    assert len(charts_of(test)) == 1
    test = page("alignment", SMALL, tmp_path, monkeypatch, view="Representations")
    assert "This reads NAV (weighted by position)" in everything_said(test)
    assert "one more pass over 5 languages" in everything_said(test)
    assert not test.error
