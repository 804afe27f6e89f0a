"""Run: choose model, corpus and languages, see what is cached, start the extraction and watch it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from neuronxa_core import exports
from neuronxa_core.corpora import languages, parallel, uploads
from neuronxa_core.errors import NeuronXAError
from neuronxa_core.experiment import CHOICES, Experiment
from neuronxa_core.host.settings import Settings
from neuronxa_core.models import estimates, sources
from neuronxa_core.states import batches, planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.wording import some_of
from pages.access import host
from pages.components import cached, messages, process, progress, session, wording

STORAGE_NAMES = {
    "exact": "exact · whole numbers and float32",
    "half": "half · NAV and EMB in float16",
}

services = process.services()
now = session.entered_with()
allowed = host.host_settings()


st.title("Run")
st.caption(
    "Choose a language model and parallel sentences. Each sentence is read once; the states of every layer's "
    "feed-forward neurons are kept on disk, so whatever was computed is never computed again."
)


def choice(widget: Callable, label: str, name: str, offered: Sequence[str] | None = None, **options: object) -> str:
    """One of an experiment's fixed choices, at first what it was when the page was entered."""
    offered = list(offered or CHOICES[name])
    at = offered.index(getattr(now, name)) if getattr(now, name) in offered else 0
    return widget(label, offered, index=at, key=f"run_{name}", **options)


@st.cache_data(ttl=60, show_spinner="Looking for models and corpora …")
def found_below(folders: tuple[tuple[str, ...], ...], _allowed: Settings) -> tuple[list[str], list[str]]:
    """Models and corpora below the host's folders, looked for once a minute."""
    return _allowed.models_found(), _allowed.corpora_found()


folders = (allowed.models.folders, allowed.corpora.folders)
models_found, corpora_found = found_below(tuple(tuple(map(str, some or ())) for some in folders), allowed)


def model_choice() -> str:
    """The model's name: bundled, from the hub cache, one of those that the host allows, or typed."""
    in_hub_cache = [name for name in sources.cached_models() if may(allowed.model_source, name)]
    found = models_found
    may_type = allowed.models.folders is None or bool(allowed.models.hub)
    typed = "Local folder or hub id" if allowed.models.folders is None else "Hub id"
    kinds = ["Bundled", *(["Models of this host"] if found else []), *([typed] if may_type else [])]
    kinds += ["Hub cache"] if in_hub_cache else []
    if now.model == "demo" or len(kinds) == 1:
        at = 0
    else:
        places = [("Hub cache", in_hub_cache), ("Models of this host", found), (typed, [now.model])]
        at = next((kinds.index(kind) for kind, names in places if kind in kinds and now.model in names), 0)
    kind = st.segmented_control("Model", kinds, default=kinds[at], required=True, key="run_model_kind")
    if kind == "Bundled":
        return "demo"
    if kind == "Hub cache":
        at = in_hub_cache.index(now.model) if now.model in in_hub_cache else 0
        return st.selectbox("Model in the local hub cache", in_hub_cache, index=at, key="run_cached_model")
    if kind == "Models of this host":
        at = found.index(now.model) if now.model in found else 0
        return st.selectbox("Folder", found, index=at, key="run_found_model", format_func=short)
    return st.text_input(
        "Folder or hub id" if allowed.models.folders is None else "Hub id",
        value="" if now.model == "demo" else now.model,
        key="run_model",
        placeholder="/models/my-model or Qwen/Qwen3-8B@main"
        if allowed.models.folders is None
        else "Qwen/Qwen3-8B@main",
        help="A folder in transformers' format with .safetensors weights, or a hub id, optionally with @revision."
        if allowed.models.folders is None
        else f"One of {some_of(map(wording.safe, allowed.models.hub))}, optionally with @revision.",
    ).strip()


def may(asks: Callable[[str], object], name: str) -> bool:
    """Whether the host allows a name."""
    try:
        asks(name)
    except NeuronXAError:
        return False
    return True


def short(path: str) -> str:
    """The end of a path, which tells one from another."""
    return "/".join(Path(path).parts[-2:])


def corpus_choice() -> str:
    """The corpus's name: bundled, one of those that the host allows, typed, or an upload kept beside the cache."""
    found = corpora_found
    may_type = allowed.corpora.folders is None or bool(allowed.corpora.hub)
    typed = "File or folder" if allowed.corpora.folders is None else "Hub data set"
    kinds = ["Bundled", *(["Corpora of this host"] if found else []), *([typed] if may_type else [])]
    kinds += ["Upload"] if allowed.uploads.file_mib else []
    if now.corpus == "demo":
        at = 0
    elif now.corpus in found:
        at = kinds.index("Corpora of this host")
    else:
        at = kinds.index(typed) if may_type else len(kinds) - 1
    kind = st.segmented_control("Corpus", kinds, default=kinds[at], required=True, key="run_corpus_kind")
    if kind == "Bundled":
        return "demo"
    if kind == "Corpora of this host":
        at = found.index(now.corpus) if now.corpus in found else 0
        return st.selectbox("Folder or file", found, index=at, key="run_found_corpus", format_func=short)
    if kind == typed:
        return st.text_input(
            "Folder, file or hub data set" if allowed.corpora.folders is None else "Hub data set",
            value="" if now.corpus == "demo" else now.corpus,
            key="run_corpus",
            placeholder="/data/flores200_dataset/devtest or sentences.csv or hub:openlanguagedata/flores_plus"
            if allowed.corpora.folders is None
            else "hub:openlanguagedata/flores_plus",
            help="One file a language (<code>.txt, FLORES' <code>.dev or .devtest), a CSV, TSV or Parquet file with "
            "one column a language, or a tab-separated pair file such as eng-deu.tsv."
            if allowed.corpora.folders is None
            else f"One of {some_of(map(wording.safe, allowed.corpora.hub))}, with hub: before it.",
        ).strip()
    files = st.file_uploader(
        "One table, one pair file, or one text file a language",
        accept_multiple_files=True,
        type=["txt", "dev", "devtest", "csv", "tsv", "parquet"],
        key="run_files",
        max_upload_size=allowed.uploads.file_mib,
    )
    if files:
        with messages.errors_shown():
            return str(
                uploads.keep(
                    [(f.name, f.getvalue()) for f in files],
                    services.store.folder / uploads.FOLDER,
                    file_mib=allowed.uploads.file_mib,
                    most_files=allowed.uploads.files,
                    kept_mib=allowed.uploads.kept_mib,
                )
            )
    # an upload that was made before, or that a link names
    return now.corpus if uploads.FOLDER in Path(now.corpus).parts and may(allowed.corpus_source, now.corpus) else ""


def language_choice(raw: parallel.RawCorpus, pivot: str) -> tuple[str, ...]:
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
            format_func=wording.label,
            placeholder="Type to search",
        )
    )


def findings_shown(corpus: parallel.Corpus) -> None:
    """What was noticed in the corpus before any model runs."""
    for severity, icon in (("error", ":material/error:"), ("warning", ":material/warning:")):
        found = [f for f in corpus.findings if f.severity == severity]
        if found:
            with st.expander(f"{len(found)} {severity}s about the corpus", icon=icon, expanded=severity == "error"):
                st.dataframe(
                    pd.DataFrame(
                        {
                            "Language": [wording.label(f.language) if f.language else "all" for f in found],
                            "What": [exports.harmless(f.message) for f in found],
                            "Lines": [f.count for f in found],
                        }
                    ),
                    hide_index=True,
                )
    for finding in corpus.findings:
        if finding.severity == "info":
            st.caption(wording.safe(finding.message))


left, right = st.columns(2, gap="large")
with left, st.container(border=True):
    model = model_choice()
    if model:
        try:
            info = cached.model_info(model)
            st.caption(
                wording.safe(
                    f"{info.class_name}: {info.layers} layers of {info.neurons:,} neurons"
                    f" ({'gated' if info.gated else 'plain'} feed-forward), hidden width {info.hidden:,}, "
                    f"{info.parameters / 1e6:,.1f} million parameters, stored as {info.stored_dtype}."
                )
            )
        except NeuronXAError as error:
            st.error(wording.said(str(error)), icon=":material/error:")
            model = ""
    else:
        st.caption("Give a folder or a hub id to go on.")
    with st.expander("Neuron, numbers and device"):
        neuron = choice(st.radio, "Neuron definition", "neuron", format_func=wording.NEURON_NAMES.get)
        auto = "auto: as stored on a GPU, float32 on a CPU. int8 and nf4 need a CUDA GPU and bitsandbytes."
        dtype = choice(st.selectbox, "dtype", "dtype", ("auto", *allowed.models.dtypes), help=auto)
        device = choice(st.selectbox, "Device", "device", ("auto", *allowed.models.devices))
        storage = choice(
            st.selectbox,
            "States on disk",
            "storage",
            format_func=STORAGE_NAMES.get,
            help="Half rounds once, before storing. On the bundled model it changed 1 of 115,200 decisions whether a "
            "sentence is aligned.",
        )
        if model:
            try:
                where = allowed.device(device)
                need = estimates.estimate_memory(info, dtype, where, batches.TOKEN_BUDGET[where])
                said = f"Needs about {wording.size(need.needed)} on {where}; {wording.size(need.free)} are free."
                (st.caption if need.fits else st.warning)(said)
            except NeuronXAError as error:
                st.warning(wording.said(str(error)))

raw = None
with right, st.container(border=True):
    source_text = corpus_choice()
    if source_text:
        try:
            raw = cached.raw_corpus(source_text)
        except NeuronXAError as error:
            st.error(wording.said(str(error)), icon=":material/error:")
    else:
        st.caption("Give a file or folder, or upload one, to go on.")
    if raw is not None:
        codes = list(raw.languages)
        first = next((c for c in (now.pivot, "eng_Latn", "eng", "en") if c in codes), codes[0])
        pivot = st.selectbox("Pivot", codes, index=codes.index(first), key="run_pivot", format_func=wording.label)
        chosen_languages = language_choice(raw, pivot)
        longest = len(raw.texts[pivot])
        most = min(longest, allowed.runs.sentences or longest)
        whole = now.sentences is None or now.sentences >= longest
        every = most == longest and st.toggle(f"All {longest:,} sentences", value=whole, key="run_every")
        sentences, seed = None, None
        if not every:
            sentences = st.number_input(
                "Sentences",
                2,
                most,
                value=min(now.sentences or 100, most),
                key="run_sentences",
                help="About 100 are enough for the score.",
            )
            if st.toggle("A random sample instead of the first lines", value=now.seed is not None, key="run_sampled"):
                seed = st.number_input("Seed", 0, 2**31 - 1, value=now.seed or 0, key="run_seed")

with st.container(border=True):
    first, second, third = st.columns(3)
    state = choice(first.selectbox, "State", "state", format_func=wording.STATE_NAMES.get)
    pooling = choice(second.selectbox, "Sentence vector", "pooling", format_func=wording.POOLING_NAMES.get)
    layers = choice(third.selectbox, "Layers pooled by", "layers")
    st.caption("These three are read off the same states: changing them never runs the model.")

if not model or raw is None:
    st.stop()

with messages.errors_shown():
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
    plan = cached.plan_for(chosen)
findings_shown(plan.corpus)


@st.fragment(run_every=1.0 if (j := services.queue.find(Extraction(plan))) is not None and j.active else None)
@messages.errors_shown()
def state_of_the_run() -> None:
    """What is cached, what runs, and the buttons."""
    job = services.queue.find(Extraction(plan))
    lacking = planning.missing(plan, services.store)
    everyone = len(plan.all_languages)
    disk = wording.size(planning.bytes_per_language(plan) * len(lacking))
    st.subheader(f"{everyone - len(lacking)} of {everyone} languages cached", anchor=False)
    if lacking:
        named = some_of(map(wording.label, lacking))
        st.caption(f"{len(lacking)} to compute, about {disk} on disk: {named}")
    else:
        st.caption("Everything that this choice needs is there; nothing will be computed.")
    if job is not None and job.active:
        progress.job_progress(job, services.queue, by_language=len(job.totals) <= 40)
        if not st.session_state.get("watching"):
            st.session_state.watching = True
            st.rerun()
        return
    if st.session_state.pop("watching", False):
        st.rerun()
    if lacking:
        lost = progress.how_it_ended(Extraction(plan))
        try:
            planning.check_size(plan, services.store)
        except NeuronXAError as error:
            st.warning(wording.said(str(error)), icon=":material/warning:")
            return
        said = "Resume" if lost else "Compute"
        if st.button(said, type="primary", icon=":material/play_arrow:") and progress.submit(Extraction(plan)):
            session.choose(chosen)
            st.session_state.watching = True
            st.rerun()
    elif st.button("Show alignment", type="primary", icon=":material/insights:"):
        session.choose(chosen)
        st.switch_page("pages/alignment.py")


state_of_the_run()
if chosen != session.experiment():
    session.choose(chosen)
