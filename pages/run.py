"""Run: choose model, corpus and languages, see what is cached, start the extraction and watch it."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from neuronxa_core import corpora, extraction, languages, models, pipeline, uploads
from neuronxa_core.errors import NeuronXAError
from neuronxa_core.experiment import CHOICES, Experiment
from neuronxa_core.pipeline import Extraction
from neuronxa_core.wording import some_of
from pages import shared

STORAGE_NAMES = {
    "exact": "exact · whole numbers and float32",
    "half": "half · NAV and EMB in float16",
    "compact": "compact · and weighted NAS in 8 bits",
}

services = shared.services()
now = shared.entered_with()


st.title("Run")
st.caption(
    "Choose a language model and parallel sentences. Each sentence is read once; the states of every layer's "
    "feed-forward neurons are kept on disk, so whatever was computed is never computed again."
)


def choice(widget: Callable, label: str, name: str, **options: object) -> str:
    """One of an experiment's fixed choices, at first what it was when the page was entered."""
    allowed = CHOICES[name]
    return widget(label, allowed, index=allowed.index(getattr(now, name)), key=f"run_{name}", **options)


def model_choice() -> str:
    """The model's name: bundled, from the hub cache, or typed."""
    cached = models.cached_models()
    kinds = ["Bundled", "Local folder or hub id"] + (["Hub cache"] if cached else [])
    at = 0 if now.model == "demo" else (2 if now.model in cached else 1)
    kind = st.segmented_control("Model", kinds, default=kinds[at], required=True, key="run_model_kind")
    if kind == "Bundled":
        return "demo"
    if kind == "Hub cache":
        at = cached.index(now.model) if now.model in cached else 0
        return st.selectbox("Model in the local hub cache", cached, index=at, key="run_cached_model")
    return st.text_input(
        "Folder or hub id",
        value="" if now.model == "demo" else now.model,
        key="run_model",
        placeholder="/models/my-model or Qwen/Qwen3-8B@main",
        help="A folder in transformers' format with .safetensors weights, or a hub id, optionally with @revision.",
    ).strip()


def corpus_choice() -> str:
    """The corpus's name: bundled, a path or a hub data set, or an upload kept beside the cache."""
    kinds = ["Bundled", "File or folder", "Upload"]
    at = 0 if now.corpus == "demo" else 1
    kind = st.segmented_control("Corpus", kinds, default=kinds[at], required=True, key="run_corpus_kind")
    if kind == "Bundled":
        return "demo"
    if kind == "File or folder":
        return st.text_input(
            "Folder, file or hub data set",
            value="" if now.corpus == "demo" else now.corpus,
            key="run_corpus",
            placeholder="/data/flores200_dataset/devtest or sentences.csv or hub:openlanguagedata/flores_plus",
            help="One file a language (<code>.txt, FLORES' <code>.dev or .devtest), a CSV, TSV or Parquet file with "
            "one column a language, or a tab-separated pair file such as eng-deu.tsv.",
        ).strip()
    files = st.file_uploader(
        "One table, one pair file, or one text file a language",
        accept_multiple_files=True,
        type=["txt", "dev", "devtest", "csv", "tsv", "parquet"],
        key="run_files",
    )
    if not files:
        return ""
    return str(uploads.keep([(f.name, f.getvalue()) for f in files], services.store.folder / "uploads"))


def language_choice(raw: corpora.RawCorpus, pivot: str) -> tuple[str, ...]:
    """Codes, empty for all of the corpus."""
    offered = [code for code in raw.languages if code != pivot]
    presets = ["All"]
    presets += [f"Script: {s}" for s in sorted({languages.script(c) or "unknown" for c in offered})]
    presets += [f"Family: {f}" for f in sorted({languages.family(c) for c in offered})]
    presets += ["Chosen one by one"]
    chosen_before = [code for code in now.languages if code in offered]
    preset = st.selectbox(
        "Languages",
        presets,
        index=len(presets) - 1 if chosen_before else 0,
        key="run_preset",
        help="All, those of one script or family, or any by name.",
    )
    if preset == "All":
        return ()
    if preset.startswith("Script: "):
        return tuple(c for c in offered if (languages.script(c) or "unknown") == preset.removeprefix("Script: "))
    if preset.startswith("Family: "):
        return tuple(c for c in offered if languages.family(c) == preset.removeprefix("Family: "))
    return tuple(
        st.multiselect(
            "Languages by name",
            offered,
            default=chosen_before,
            key="run_languages",
            format_func=shared.label,
            placeholder="Type to search",
        )
    )


def findings_shown(corpus: corpora.Corpus) -> None:
    """What was noticed in the corpus before any model runs."""
    for severity, icon in (("error", ":material/error:"), ("warning", ":material/warning:")):
        found = [f for f in corpus.findings if f.severity == severity]
        if found:
            with st.expander(f"{len(found)} {severity}s about the corpus", icon=icon, expanded=severity == "error"):
                st.dataframe(
                    pd.DataFrame(
                        {
                            "Language": [shared.label(f.language) if f.language else "all" for f in found],
                            "What": [f.message for f in found],
                            "Lines": [f.count for f in found],
                        }
                    ),
                    hide_index=True,
                )
    for finding in corpus.findings:
        if finding.severity == "info":
            st.caption(shared.safe(finding.message))


left, right = st.columns(2, gap="large")
with left, st.container(border=True):
    model = model_choice()
    if model:
        try:
            info = shared.model_info(model)
            st.caption(
                shared.safe(
                    f"{info.class_name}: {info.layers} layers of {info.neurons:,} neurons"
                    f" ({'gated' if info.gated else 'plain'} feed-forward), hidden width {info.hidden:,}, "
                    f"{info.parameters / 1e6:,.1f} million parameters, stored as {info.stored_dtype}."
                )
            )
        except NeuronXAError as error:
            st.error(str(error), icon=":material/error:")
            model = ""
    else:
        st.caption("Give a folder or a hub id to go on.")
    with st.expander("Neuron, numbers and device"):
        neuron = choice(st.radio, "Neuron definition", "neuron", format_func=shared.NEURON_NAMES.get)
        auto = "auto: as stored on a GPU, float32 on a CPU. int8 and nf4 need a CUDA GPU and bitsandbytes."
        dtype = choice(st.selectbox, "dtype", "dtype", help=auto)
        device = choice(st.selectbox, "Device", "device")
        storage = choice(
            st.selectbox,
            "States on disk",
            "storage",
            format_func=STORAGE_NAMES.get,
            help="Half and compact round once, before storing. On the bundled model, half changed 1 of 115,200 "
            "decisions whether a sentence is aligned, and compact 6 of 19,200 more.",
        )
        if model:
            try:
                where = models.resolve_device(device)
                need = models.estimate_memory(info, dtype, where, extraction.TOKEN_BUDGET[where])
                said = f"Needs about {shared.size(need.needed)} on {where}; {shared.size(need.free)} are free."
                (st.caption if need.fits else st.warning)(said)
            except NeuronXAError as error:
                st.warning(str(error))

raw = None
with right, st.container(border=True):
    source_text = corpus_choice()
    if source_text:
        try:
            raw = shared.raw_corpus(source_text)
        except NeuronXAError as error:
            st.error(str(error), icon=":material/error:")
    else:
        st.caption("Give a file or folder, or upload one, to go on.")
    if raw is not None:
        codes = list(raw.languages)
        first = next((c for c in (now.pivot, "eng_Latn", "eng", "en") if c in codes), codes[0])
        pivot = st.selectbox("Pivot", codes, index=codes.index(first), key="run_pivot", format_func=shared.label)
        chosen_languages = language_choice(raw, pivot)
        longest = len(raw.texts[pivot])
        whole = now.sentences is None or now.sentences >= longest
        every = st.toggle(f"All {longest:,} sentences", value=whole, key="run_every")
        sentences, seed = None, None
        if not every:
            sentences = st.number_input(
                "Sentences",
                2,
                longest,
                value=min(now.sentences or 100, longest),
                key="run_sentences",
                help="About 100 are enough for the score.",
            )
            if st.toggle("A random sample instead of the first lines", value=now.seed is not None, key="run_sampled"):
                seed = st.number_input("Seed", 0, 2**31 - 1, value=now.seed or 0, key="run_seed")

with st.container(border=True):
    first, second, third = st.columns(3)
    state = choice(first.selectbox, "State", "state", format_func=shared.STATE_NAMES.get)
    pooling = choice(second.selectbox, "Sentence vector", "pooling", format_func=shared.POOLING_NAMES.get)
    layers = choice(third.selectbox, "Layers pooled by", "layers")
    st.caption("These three are read off the same states: changing them never runs the model.")

if not model or raw is None:
    st.stop()

with shared.errors_shown():
    chosen = Experiment(
        model=model,
        corpus=source_text,
        pivot=pivot,
        languages=chosen_languages,
        sentences=None if sentences is None else int(sentences),
        seed=None if seed is None else int(seed),
        state=state,
        pooling=pooling,
        neuron=neuron,
        dtype=dtype,
        device=device,
        layers=layers,
        storage=storage,
    )
    plan = shared.plan_for(chosen)
findings_shown(plan.corpus)


@st.fragment(run_every=1.0 if (j := services.queue.find(Extraction(plan))) is not None and j.active else None)
def state_of_the_run() -> None:
    """What is cached, what runs, and the buttons."""
    job = services.queue.find(Extraction(plan))
    lacking = pipeline.missing(plan, services.store)
    everyone = len(plan.everyone)
    disk = shared.size(pipeline.bytes_a_language(plan) * len(lacking))
    st.subheader(f"{everyone - len(lacking)} of {everyone} languages cached", anchor=False)
    if lacking:
        named = some_of(map(shared.label, lacking))
        st.caption(f"{len(lacking)} to compute, about {disk} on disk: {named}")
    else:
        st.caption("Everything that this choice needs is there; nothing will be computed.")
    if job is not None and job.active:
        shared.job_progress(job, services.queue, by_language=len(job.totals) <= 40)
        if not st.session_state.get("watching"):
            st.session_state.watching = True
            st.rerun()
        return
    if st.session_state.pop("watching", False):
        st.rerun()
    if job is not None and job.status == "failed" and lacking:
        st.error(job.error, icon=":material/error:")
    if job is not None and job.status == "cancelled" and lacking:
        st.info("The run was cancelled; finished languages are kept.")
    if lacking:
        try:
            pipeline.refuse_too_large(plan, services.store)
        except NeuronXAError as error:
            st.warning(str(error), icon=":material/warning:")
            return
        if st.button("Compute", type="primary", icon=":material/play_arrow:"):
            shared.choose(chosen)
            services.queue.submit(Extraction(plan))
            st.session_state.watching = True
            st.rerun()
    elif st.button("Show alignment", type="primary", icon=":material/insights:"):
        shared.choose(chosen)
        st.switch_page("pages/alignment.py")


state_of_the_run()
if chosen != shared.experiment():
    shared.choose(chosen)
