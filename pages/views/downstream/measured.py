"""Task scores that are measured by this app, as a background job: probe, retrieval, likelihood, evaluation harness."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import CHOICES, Experiment
from neuronxa_core.measures import lm_eval, task
from neuronxa_core.measures.bitext_retrieval import BitextRetrieval
from neuronxa_core.measures.likelihood import NatsPerByte
from neuronxa_core.measures.probe import LinearProbe
from neuronxa_core.measures.task import Task
from neuronxa_core.measures.transfer import Transfer
from neuronxa_core.states.computing import Extraction
from pages.access import host
from pages.components import cached, controls, progress, wording
from pages.components.process import services
from pages.components.selection import Selection
from pages.views.downstream.tables import task_choice


def measured_here(opened: Selection, row: DeltaGenerator) -> Task | None:
    """A measure of this app; None until it is complete. row: where to choose it."""
    start = "retrieval" if opened.plan.corpus.labels is None else "topics"
    with row:
        kind = controls.segments("Measure", list(MEASURES), start, "measure", format_func=lambda k: MEASURES[k][0])
    measure = MEASURES[kind][1](opened)
    if measure is None:
        return None
    is_example = opened.experiment.extraction == Experiment()
    if is_example and kind == "topics" and services().queue.find(measure) is None and measure.totals(opened.store):
        progress.submit_unasked(measure)  # some seconds, so that the page opens with an answer
    return task.measured(measure, opened.store, opened.plan) if _is_complete(measure) else None


def _probe(opened: Selection) -> LinearProbe | None:
    columns, codes = st.columns(3), opened.codes
    source = columns[0].selectbox("Trained in", codes, format_func=wording.label, key="probe_source")
    state = columns[1].selectbox("Representation", CHOICES["state"], 2, format_func=str.upper, key="probe_state")
    layer = columns[2].selectbox(
        "Layer",
        ["middle", "chosen", *range(opened.plan.info.layers_of(state))],
        key="probe_layer",
        help="Chosen: by cross-validation in the source language alone.",
    )
    try:
        probe = LinearProbe(opened.plan, source, state, opened.experiment.pooling, layer)
    except ExperimentError as lack:  # of labels, which is no fault of what was chosen
        st.info(wording.said(str(lack)))
        return None
    st.caption(
        f"A linear classifier of {len(probe.classes)} topics is trained on the labels in {wording.label(source)} and "
        f"tested in every language, on other sentences. Chance is {probe.chance:.2f}."
    )
    return probe


def _retrieval(opened: Selection) -> BitextRetrieval:
    columns = st.columns(2)
    state = columns[0].selectbox("Representation", CHOICES["state"], 0, format_func=str.upper, key="retrieval_state")
    share = columns[1].slider("Held out, % of the sentences", 20, 80, 50, key="retrieval_share") / 100
    st.caption(
        "How often a held-out sentence is nearest to its translation. Alignment is then measured on the other "
        "sentences. The two share the model and the method, so that even a high r says little of other tasks."
    )
    return BitextRetrieval(opened.plan, state, opened.experiment.pooling, share=share)


def _likelihood(opened: Selection) -> NatsPerByte:
    st.caption(
        "Nats per UTF-8 byte: lower is better, so a good model has a negative correlation. Scripts take one to three "
        "bytes per letter, which moves languages by itself."
    )
    return NatsPerByte(opened.plan)


def _transfer(opened: Selection) -> Transfer | None:
    allowed = host.host_settings()
    if allowed.scores.folders == ():
        st.info("The host of this app does not let visitors name files, which this measure needs.")
        return None
    columns = st.columns([3, 1, 1, 1])
    path = columns[0].text_input(
        "File or folder of labelled data",
        key="transfer_data",
        placeholder="/data/XNLI-1.0/xnli.test.tsv",
        help="TSV or JSON Lines with language, gold_label, and sentence1 and sentence2, or sentence.",
    )
    state = columns[1].selectbox("Representation", CHOICES["state"], 2, format_func=str.upper, key="transfer_state")
    layer = columns[2].selectbox(
        "Layer",
        ["chosen", *range(opened.plan.info.layers_of(state))],
        key="transfer_layer",
        help="Chosen: on the pivot's validation part alone.",
    )
    items = columns[3].number_input("Items", 0, None, 0, key="transfer_items", help="A random sample; 0 for all.")
    if not path.strip():
        st.caption("Name a file to go on.")
        return None
    data, pooling = str(allowed.score_source(path)), opened.experiment.pooling
    measure = cached.transfer_of(opened.plan, data, int(items) or None, state, pooling, layer)
    for finding in measure.plan.corpus.findings:
        st.caption(wording.safe(finding.message))
    chosen = measure.chosen_layer(measure.results(opened.store))
    st.caption(
        wording.safe(
            f"A probe of {len(measure.classes)} labels is trained in {wording.label(measure.plan.pivot)} and tested in "
            f"{len(measure.languages)} languages, on items that share no sentence with those of training. Chance is "
            f"{measure.chance:.2f}, the most frequent label {measure.majority:.2f}."
            + ("" if chosen is None else f" Layer {chosen} is chosen on the pivot's validation part.")
        )
    )
    if measure.totals(opened.store):
        allowed.check_size(measure.plan, opened.store)
        if not progress.ready(Extraction(measure.plan), "Compute the states of the data", "transfer_states"):
            return None
    return measure


MEASURES = {
    "topics": ("topic transfer (probe)", _probe),
    "transfer": ("labelled data (XNLI)", _transfer),
    "retrieval": ("translation retrieval, held out", _retrieval),
    "likelihood": ("likelihood per byte", _likelihood),
}


def harness(opened: Selection, _row: DeltaGenerator) -> Task | None:
    """Tasks of lm-evaluation-harness, run on this model; None until they are complete."""
    allowed = host.host_settings()
    version = lm_eval.available() if allowed.scores.harness else None
    if version is None:
        why = (
            f"The evaluation harness is an extra and is not installed: {wording.said(lm_eval.INSTALL)}."
            if allowed.scores.harness
            else "The host of this app does not let visitors run the evaluation harness."
        )
        st.info(f"{why} Results that you have already are read under *File*.")
        return None
    columns = st.columns([2, 2, 1, 1])
    text = columns[0].text_input(
        "Tasks",
        key="harness_tasks",
        placeholder="xnli_de, xnli_fr, belebele_deu_Latn",
        help="Names, separated by commas.",
    )
    include = ""
    if allowed.scores.task_folders != ():
        include = columns[1].text_input(
            "Folder of your own task definitions",
            key="harness_include",
            placeholder="optional",
            help="YAML files; Python that they name is run, so give a folder that you trust.",
        )
    limit = columns[2].number_input("First documents", 0, None, 0, key="harness_limit", help="0 for all.")
    shots = columns[3].number_input("Examples", -1, 64, -1, key="harness_shots", help="-1 for the task's own number.")
    if not text.strip(" ,"):
        st.caption(f"lm_eval {version} is installed; name the tasks to run on {wording.safe(opened.plan.source.name)}.")
        return None
    run = lm_eval.HarnessRun(
        opened.plan,
        lm_eval.parse_tasks(text),
        allowed.task_folder(include),
        limit=int(limit) or None,
        num_fewshot=None if shots < 0 else int(shots),
    )
    if not _is_complete(run):
        return None
    return task_choice(opened, run.scores(run.results(opened.store)), "harness")


def _is_complete(work: object) -> bool:
    """Whether a measure is complete; where it is not, its button or its progress."""
    return progress.ready(work, "Measure", "measure_button", type="primary", icon=":material/play_arrow:")
