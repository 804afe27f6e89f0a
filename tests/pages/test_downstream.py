"""The Downstream page, without a browser."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from page_walk import ROOT, SMALL, charts_of, everything_said, page, plan_of
from scipy import stats
from streamlit.testing.v1 import AppTest

from neuronxa_core.corpora import reading
from neuronxa_core.experiment import ENTRIES, Experiment
from neuronxa_core.measures import alignment, bitext_retrieval, lm_eval, probe
from neuronxa_core.measures.rivals import Rivals
from neuronxa_core.states import computing, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from pages.components import process

CODES = ("es", "ru", "ar", "th", "pt", "de", "fr")
WIDE = Experiment(
    languages=("spa_Latn", "rus_Cyrl", "arb_Arab", "tha_Thai", "por_Latn", "deu_Latn", "fra_Latn"), sentences=40
)
VIEWS = {
    "Scatter": 1,
    "By layer": 1,
    "Methods": 1,
    "Sentences": 1,
    "Robustness": 0,
    "Estimate": 0,
    "Models": 0,
    "Consistency": 0,
    "Items": 0,
    "Report": 0,
}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A cache folder in which WIDE is computed, and its topic probe."""
    folder = tmp_path_factory.mktemp("wide")
    store = Store(folder)
    plan = planning.with_states(planning.make_plan(WIDE, store), ENTRIES)
    computing.compute_missing(plan, store, ModelPool())
    probe.LinearProbe(plan, plan.pivot).run(store, ModelPool())
    store.close()
    return folder


def alignment_of(folder):
    """(plan, store, alignment of its languages) of WIDE; the store is closed."""
    store = Store(folder)
    plan = planning.make_plan(WIDE, store)
    x = alignment.align(plan, store, "nas", "weighted").pooled("mean")
    measured = probe.LinearProbe(plan, plan.pivot).table(store).set_index("language")["score"]
    store.close()
    return x, measured[list(plan.languages)]


def metric_of(test, label):
    return next(metric.value for metric in test.metric if metric.label == label)


def show(test, view):
    """Switch to a view."""
    next(group for group in test.get("button_group") if group.label == "View").set_value(view).run()
    assert not test.exception, view
    assert not test.error, view


def file(folder, name, *rows):
    path = folder / name
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return str(path)


def finish(test, button):
    """Press a button that starts a job, wait for the job, and show what there is then."""
    button.click().run()
    assert not test.exception
    job = process.services().queue.jobs()[-1]
    assert process.services().queue.wait(job, 60)
    assert job.status == "done", job.error
    test.run()
    assert not test.exception


def button_of(test, start):
    return next(button for button in test.button if button.label.startswith(start))


def test_every_view_shows_its_result(wide, monkeypatch):
    test = page("downstream", WIDE, wide, monkeypatch)
    assert "7 languages with both alignment and a score" in " ".join(e.label for e in test.get("expander"))
    wanted = stats.pearsonr(*alignment_of(wide))
    assert metric_of(test, "Pearson's r") == f"{wanted.statistic:.3f}"
    assert metric_of(test, "Languages") == "7"
    for view, charts in VIEWS.items():
        show(test, view)
        assert len(charts_of(test)) == charts, view
        if view == "By layer":  # the paper has no figures for topics
            assert "layers_paper" not in [one.key for one in test.toggle]
    test.button(key="report_make").click().run()
    assert not test.exception
    _, text = test.session_state["report"]
    assert text.count("<svg") == 3
    assert "<script" not in text
    assert "Pearson" in text
    assert "python -m neuronxa_core correlate" in text


def test_items_are_joined_with_alignment_and_what_is_wrong_with_them_is_said(wide, tmp_path, monkeypatch):
    rows = [f"{code},{line},{(line + k) % 2}" for k, code in enumerate(CODES) for line in range(1, 101)]
    good = file(tmp_path, "items.csv", "language,line,correct", *rows)
    test = page("downstream", WIDE, wide, monkeypatch, downstream_view="Items", items_data=good, items_layer=4)
    said = everything_said(test).replace("\\", "")
    assert not test.exception
    assert "sentences that are aligned at layer 4 are" in said
    assert "420 items of lines that are not compared here left aside." in said
    assert len(charts_of(test)) == 1
    test.text_input(key="items_data").set_value(file(tmp_path, "bad.csv", "language,line", "de,1")).run()
    assert not test.exception
    assert "bad.csv has no column correct" in test.error[0].value


def test_a_link_to_a_view_by_its_former_name_opens_it(wide, monkeypatch):
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(wide))
    test = AppTest.from_file(str(ROOT / "pages" / "downstream.py"), default_timeout=120)
    test.session_state["experiment"] = WIDE
    test.query_params["downstream_view"] = "Doubts"
    test.run()
    assert not test.exception
    assert "Without one language" in everything_said(test)


def test_scores_come_from_files_as_they_are_or_with_other_columns(wide, tmp_path, monkeypatch):
    x, _ = alignment_of(wide)
    scores = (0.70, 0.55, 0.41, 0.33, 0.66, 0.61, 0.68)
    rows = [f"{code},xnli,{100 * score:.0f}" for code, score in zip(CODES, scores, strict=True)]
    whole = file(tmp_path, "scores.csv", "lang,task,accuracy", *rows, "en,xnli,85", "sw,xnli,20")
    test = page("downstream", WIDE, wide, monkeypatch, scores_from="File", scores_path=whole)
    assert not test.error
    assert "sw" in everything_said(test)
    assert "a single one can decide the result" in " ".join(e.label for e in test.get("expander"))
    assert metric_of(test, "Pearson's r") == f"{stats.pearsonr(x, scores).statistic:.3f}"
    show(test, "By layer")
    test.toggle(key="layers_paper").set_value(True).run()
    assert "XNLI that NeuronXA" in everything_said(test).replace("\\", "")
    assert "paper: NASCA" in str(charts_of(test)[0].proto)
    show(test, "Scatter")

    odd = file(tmp_path, "odd.csv", "lang,accuracy,other", *(f"{code},0.5,0.{k}" for k, code in enumerate(CODES)))
    test.text_input(key="scores_path").set_value(odd).run()
    assert metric_of(test, "Pearson's r") == "nan"
    next(box for box in test.selectbox if box.label == "Score").set_value("other").run()
    assert not test.exception
    assert metric_of(test, "Pearson's r") == f"{stats.pearsonr(x, np.arange(7)).statistic:.3f}"

    pairs = file(tmp_path, "rankc.csv", "pair,rankc", *(f"en-{code},0.{k}" for k, code in enumerate(CODES[:6], 1)))
    test.text_input(key="scores_path").set_value(pairs).run()
    assert "A table of language pairs" in everything_said(test)
    assert metric_of(test, "Languages") == "6"

    for content, said in (("", "empty"), ("a,b\n1,2", "language"), ("lang,acc\nes,fine", "score")):
        test.text_input(key="scores_path").set_value(file(tmp_path, "bad.csv", content)).run()
        assert not test.exception
        assert said in test.error[0].value.lower()

    loss = file(
        tmp_path, "loss.csv", "lang,metric,value", *(f"{c},word_perplexity,{k}" for k, c in enumerate(CODES, 5))
    )
    test.text_input(key="scores_path").set_value(loss).run()
    show(test, "Methods")
    assert "a larger r predicts better" in everything_said(test)
    assert metric_of(test, "r of NASCA") == f"{-stats.pearsonr(x, np.arange(7)).statistic:.3f}"
    assert "of all 18 cells" in everything_said(test)
    test.toggle(key="methods_rivals").set_value(True).run()
    assert [button.label for button in test.button if "rival" in button.label] == [
        f"Compute rival measures of {state}" for state in ("NAS", "NAV", "EMB")
    ]
    with plan_of(WIDE, wide) as (plan, store):
        for state in ("nas", "nav", "emb"):
            Rivals(plan, state).run(store)
    test.run()
    assert not test.exception
    assert "of all 66 cells" in everything_said(test)


def test_five_languages_are_enough_for_every_view_and_four_for_none(wide, tmp_path, monkeypatch):
    five = file(tmp_path, "five.csv", "lang,acc", "es,0.7", "ru,0.5", "ar,0.4", "th,0.3", "pt,0.6")
    test = page("downstream", WIDE, wide, monkeypatch, scores_from="File", scores_path=five)
    for view in VIEWS:
        show(test, view)
        if view == "Estimate":
            # these scores have none of the pivot's, and none is assumed
            assert not any("line" in shown.value for shown in test.dataframe)
            test.number_input(key="pivot_score").set_value(0.5).run()
            assert "NASCA × pivot's score" in test.dataframe[-2].value
            assert "the pivot's score is 0.500" in everything_said(test)
    test.button(key="report_make").click().run()
    assert not test.exception
    assert "report" in test.session_state
    four = file(tmp_path, "four.csv", "lang,acc", "es,0.7", "ru,0.5", "ar,0.4", "th,0.3")
    test.text_input(key="scores_path").set_value(four).run()
    assert not test.exception
    assert "needs at least 5" in test.warning[0].value
    assert charts_of(test) == []


def test_published_scores_say_that_they_are_of_another_model(wide, monkeypatch):
    test = page("downstream", WIDE, wide, monkeypatch, scores_from="Published")
    assert not test.exception
    assert "the alignment is that of demo" in test.warning[0].value  # not folded away with the choices
    assert "https" in everything_said(test)


def test_a_corpus_without_labels_opens_with_a_measure_that_needs_none(wide, tmp_path, monkeypatch):
    for code in ("eng_Latn", *WIDE.languages):
        shutil.copy(ROOT / "neuronxa_core" / "demo" / "corpus" / f"{code}.txt", tmp_path)
    test = page("downstream", replace(WIDE, corpus=str(tmp_path)), wide, monkeypatch)
    assert not test.error
    assert "How often a held-out sentence" in everything_said(test)
    test.get("button_group")[1].set_value("topics").run()
    assert not test.error
    assert "has no labels to learn" in test.info[0].value


def test_a_measure_runs_in_the_background(computed, monkeypatch):
    test = page("downstream", SMALL, computed, monkeypatch, measure="likelihood")
    assert "no task scores yet" in test.info[0].value
    finish(test, test.button(key="measure_button"))
    assert "needs at least 5" in test.warning[0].value


def test_retrieval_is_compared_with_alignment_on_other_sentences(wide, monkeypatch):
    test = page("downstream", WIDE, wide, monkeypatch, measure="retrieval")
    finish(test, test.button(key="measure_button"))
    store = Store(wide)
    plan = planning.make_plan(WIDE, store)
    found = bitext_retrieval.BitextRetrieval(plan).table(store).set_index("language")["score"]
    rows, _ = bitext_retrieval.split_sentences(plan)
    x = bitext_retrieval.alignment_on(plan, store, rows, "nas", "weighted").pooled("mean")
    store.close()
    wanted = stats.pearsonr(x, found[list(plan.languages)])
    assert metric_of(test, "Pearson's r") == f"{wanted.statistic:.3f}"


def test_tasks_of_the_harness_are_run_where_it_is_there_and_their_results_read(wide, monkeypatch):
    """With a stand-in for lm_eval's own work; the tests of lm_eval have the program itself."""
    named = {"scores_from": "lm-evaluation-harness", "harness_tasks": "xnli_es, xnli_ru"}
    monkeypatch.setattr(lm_eval, "available", lambda: None)
    test = page("downstream", WIDE, wide, monkeypatch, **named)
    assert "pip install lm_eval" in test.info[0].value
    monkeypatch.setattr(lm_eval, "available", lambda: "0.4.9")
    results = {f"xnli_{code}": {"alias": f"xnli_{code}", "acc,none": 0.3 + k / 20} for k, code in enumerate(CODES)}
    data = json.dumps({"results": results, "config": {"model": "hf"}}).encode()
    kept = {"results_2026.json": np.frombuffer(data, np.uint8)}
    monkeypatch.setattr(lm_eval.HarnessRun, "compute", lambda _work, _part, _run: kept)
    test = page("downstream", WIDE, wide, monkeypatch, **named)
    finish(test, test.button(key="measure_button"))
    assert metric_of(test, "Languages") == "7"
    test.text_input(key="harness_tasks").set_value("xnli; rm -rf").run()
    assert not test.exception
    assert "no name of a task" in test.error[0].value


def test_transfer_on_labelled_data_is_a_task(wide, tmp_path, monkeypatch):
    corpus = reading.read("demo")
    rows = [
        f"{code}\t{corpus.labels[k]}\t{corpus.texts[full][k]}"
        for code, full in zip(("en", *CODES), ("eng_Latn", *WIDE.languages), strict=True)
        for k in range(60)
    ]
    data = file(tmp_path, "topics.tsv", "language\tlabel\tsentence", *rows, "en\t-\tOdd")
    test = page("downstream", WIDE, wide, monkeypatch, measure="transfer")
    test.text_input(key="transfer_data").set_value(data).run()
    assert "es has 60 rows and en 61" in test.error[0].value
    file(tmp_path, "topics.tsv", "language\tlabel\tsentence", *rows)
    test.run()
    finish(test, button_of(test, "Compute the states"))
    finish(test, test.button(key="measure_button"))
    assert "is chosen on the pivot's validation part" in everything_said(test)
    assert metric_of(test, "Languages") == "7"


def test_consistency_is_ranked_shown_and_correlated_with_alignment(wide, tmp_path, monkeypatch):
    colours = ["red", "blue", "green"]
    for k, code in enumerate(("en", *CODES[:5])):
        candidates = ", ".join(colours[k % 3 :] + colours[: k % 3])
        file(tmp_path, f"{code}.tsv", "Prompt\tAns\tCandidate Ans", f"It is <mask>.\tred\t{candidates}")
    test = page("downstream", WIDE, wide, monkeypatch)
    show(test, "Consistency")
    test.text_input(key="consistency_data").set_value(str(tmp_path)).run()
    finish(test, button_of(test, "Rank the candidates"))
    assert ["RankC of every pair of languages; " in str(one.proto) for one in charts_of(test)] == [True, False]
    finish(test, button_of(test, "Correlate with the alignment"))
    assert "Over all 15 pairs of 6 languages" in everything_said(test)
    assert "Languages of the corpus without a score" in everything_said(test)


def test_models_are_compared_on_what_both_have(wide, tiny, monkeypatch):
    test = page("downstream", WIDE, wide, monkeypatch, downstream_view="Models", other_models="demo")
    assert "demo is the model that is shown. Name at least one more" in test.info[0].value
    typed = f"{tiny('llama')}, /no/such/model"
    test = page("downstream", WIDE, wide, monkeypatch, downstream_view="Models", other_models=typed)
    assert not test.exception
    assert "no folder /no/such/model" in test.error[0].value
    finish(test, button_of(test, "Compute"))
    assert len(charts_of(test)) == 1
    assert "on average (95 % interval" in everything_said(test).replace("\\", "")
    finish(test, button_of(test, "Measure topic"))
    assert len(charts_of(test)) == 2
    assert metric_of(test, "r within models")
    while any(button.label.startswith("Compute all") for button in test.button):
        finish(test, button_of(test, "Compute all"))
    (table,) = (shown.value for shown in test.dataframe if {"model", "method"} <= set(shown.value))
    assert set(table["model"]) > {"demo", "average"}
