"""The corpus, its pivot, languages and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from neuronxa_core.corpora import languages, parallel, uploads
from neuronxa_core.errors import NeuronXAError
from neuronxa_core.wording import some_of
from pages.components import cached, messages, wording
from pages.components.process import services
from pages.views.run.selection import RunSelection, allows, end_of, kind_choice, name_choice


def show(selection: RunSelection) -> dict[str, object] | None:
    """The experiment's choices of the corpus; None where no readable corpus is chosen."""
    corpus = _corpus(selection)
    if not corpus:
        st.caption("Give a file or folder, or upload one, to go on.")
        return None
    try:
        raw = cached.raw_corpus(corpus)
    except NeuronXAError as error:
        st.error(wording.said(str(error)), icon=":material/error:")
        return None
    codes = list(raw.languages)
    first = next((code for code in (selection.before.pivot, "eng_Latn", "eng", "en") if code in codes), codes[0])
    if first not in raw.pivots:
        first = raw.pivots[0]
    pivot = name_choice("Pivot", raw.pivots, first, "run_pivot", format_func=wording.label)
    chosen = _languages(selection, [code for code in codes if code != pivot])
    return {"corpus": corpus, "pivot": pivot, "languages": chosen, **_sentences(selection, raw)}


def _corpus(selection: RunSelection) -> str:
    """The corpus's name: bundled, below the host's folders, typed, or an upload kept beside the cache."""
    allowed, value = selection.allowed, selection.before.corpus
    any_folder = allowed.corpora.folders is None
    typed = "File or folder" if any_folder else "Hub data set"
    kinds = {
        "Bundled": ["demo"],
        "Corpora of this host": selection.found()[1],
        typed: None if any_folder or allowed.corpora.hub else [],
        "Upload": None if allowed.uploads.file_mib else [],
    }
    uploaded = kinds[typed] == [] or uploads.FOLDER in Path(value).parts
    kind = kind_choice("Corpus", kinds, value, "Upload" if uploaded else typed, "run_corpus_kind")
    if kind == "Bundled":
        return "demo"
    if kind == "Corpora of this host":
        return name_choice("Folder or file", kinds[kind], value, "run_found_corpus", format_func=end_of)
    if kind == "Upload":
        return _upload(selection)
    data_set = "hub:openlanguagedata/flores_plus"
    return st.text_input(
        "Folder, file or hub data set" if any_folder else "Hub data set",
        value="" if value == "demo" else value,
        key="run_corpus",
        placeholder=f"/data/flores200_dataset/devtest or sentences.csv or {data_set}" if any_folder else data_set,
        help="A file per language (<code>.txt, FLORES' <code>.dev or .devtest), a CSV, TSV or Parquet file with a "
        "column per language, or pairs: eng-deu.tsv, or tatoeba.eng-deu.eng beside tatoeba.eng-deu.deu."
        if any_folder
        else f"One of {some_of(map(wording.safe, allowed.corpora.hub))}, with hub: before it.",
    ).strip()


def _upload(selection: RunSelection) -> str:
    """Where uploaded files are kept; without any, the upload that was made before or that a link names."""
    allowed, before = selection.allowed, selection.before.corpus
    files = st.file_uploader(
        "One table, pairs, or a text file per language",
        accept_multiple_files=True,
        key="run_files",
        max_upload_size=allowed.uploads.file_mib,
    )
    if not files:
        if uploads.FOLDER not in Path(before).parts or not allows(allowed.corpus_source, before):
            return ""
        st.caption("The corpus that was uploaded before; upload other files to replace it.")
        return before
    with messages.errors_shown():
        return str(
            uploads.keep(
                [(file.name, file.getvalue()) for file in files],
                services().store.folder / uploads.FOLDER,
                file_mib=allowed.uploads.file_mib,
                most_files=allowed.uploads.files,
                kept_mib=allowed.uploads.kept_mib,
            )
        )


def _languages(selection: RunSelection, offered: Sequence[str]) -> tuple[str, ...]:
    """Codes, empty for all of the corpus."""
    by_name = "Chosen one by one"
    presets: dict[str, list[str]] = {"All": []}
    for kind, of in (("Script", lambda code: languages.script(code) or "unknown"), ("Family", languages.family)):
        for group in sorted(set(map(of, offered))):
            presets[f"{kind}: {group}"] = [code for code in offered if of(code) == group]
    before = [code for code in selection.before.languages if code in offered]
    preset = name_choice(
        "Languages",
        [*presets, by_name],
        by_name if before else "All",
        "run_preset",
        help="All, those of one script or family, or any by name.",
    )
    if preset != by_name:
        return tuple(presets[preset])
    return tuple(
        st.multiselect(
            "Languages by name",
            offered,
            default=before,
            key="run_languages",
            format_func=wording.label,
            placeholder="Type to search",
        )
    )


def _sentences(selection: RunSelection, raw: parallel.RawCorpus) -> dict[str, int | None]:
    """How many sentences, and the seed of a random sample; None for all, and for the first ones."""
    before, count = selection.before, raw.longest
    most = min(count, selection.allowed.runs.sentences or count)
    whole = before.sentences is None or before.sentences >= count
    every = "All sentences of every pair" if raw.pairs else f"All {count:,} sentences"
    if most == count and st.toggle(every, value=whole, key="run_every"):
        return {"sentences": None, "seed": None}
    sentences = st.number_input(
        "Sentences",
        2,
        most,
        value=min(before.sentences or 100, most),
        key="run_sentences",
        help="About 100 are enough for the score.",
    )
    seed = None
    if st.toggle("A random sample instead of the first lines", value=before.seed is not None, key="run_sampled"):
        seed = int(st.number_input("Seed", 0, 2**31 - 1, value=before.seed or 0, key="run_seed"))
    return {"sentences": int(sentences), "seed": seed}
