"""The downstream page, without a browser."""

import json

import numpy as np
import pytest
from page_walk import SMALL, charts_of, everything_said, page
from scipy import stats

from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import (
    alignment,
    bitext_retrieval,
    lm_eval,
    probe,
)
from neuronxa_core.states import computing, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from pages.components import process


def metric_of(test, label):
    return next(metric.value for metric in test.metric if metric.label == label)


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
