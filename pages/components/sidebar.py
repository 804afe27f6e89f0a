"""What every page of results has at its side: the run that is shown, another one, and the pivot."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import streamlit as st

from neuronxa_core.corpora import uploads
from neuronxa_core.errors import NeuronXAError
from neuronxa_core.experiment import Experiment
from neuronxa_core.states.planning import Plan
from neuronxa_core.wording import some_of
from pages.access.host import host_settings
from pages.components import links
from pages.components.process import services
from pages.components.session import choose, experiment
from pages.components.wording import counted, label

KEY = "runs-shown"
MOST_RUNS = 30


def name_of(run: Experiment) -> str:
    """A run as a list names it: model, corpus, and what else was chosen."""
    model, corpus = (
        f"Demo {kind}" if text == "demo" else Path(text).name or text
        for kind, text in (("model", run.model), ("corpus", run.corpus))
    )
    more = [counted(len(run.languages), "language")] if run.languages else []
    more += [counted(run.sentences, "sentence")] if run.sentences else []
    more += [f"from {label(run.pivot)}"] if run.pivot != Experiment.pivot else []
    unusual = [name for name in ("neuron", "dtype", "storage") if getattr(run, name) != getattr(Experiment, name)]
    more += [getattr(run, name) for name in unusual]
    return " · ".join([model, corpus, *more])


def names_of(offered: Iterable[Experiment]) -> dict[Experiment, str]:
    """What a list calls each run, no two alike, since a browser sends back the name of the one that is chosen."""
    named: dict[str, Experiment] = {}
    for run in offered:
        name = name_of(run)
        if name in named and run.languages:
            name += f": {some_of(run.languages, 4)}"
        numbers = itertools.chain([""], (f" ({k})" for k in itertools.count(2)))
        named[next(full for number in numbers if (full := name + number) not in named)] = run
    return {run: name for name, run in named.items()}


def _run_of(chosen: Experiment) -> Experiment:
    """What is listed as one run: whatever is read from it, and whatever of its states is kept."""
    return replace(chosen, pooling=Experiment.pooling, kept=Experiment.kept).extraction


def runs() -> list[Experiment]:
    """The runs that were shown last in this cache, newest first, as far as this visitor may open them."""
    found = [_run_of(experiment())]
    for query in services().store.get_json(KEY) or []:
        try:
            run = _run_of(Experiment.from_query(query))
            host_settings().check(run)
        except NeuronXAError:  # of another version or another host's settings
            continue
        found.append(run)
    return list(dict.fromkeys([*found, Experiment()]))


def remember(run: Experiment) -> None:
    """Put a run first in the list; one on an upload stays with whoever has its link."""
    query, store = _run_of(run).to_query(), services().store
    known = st.session_state.get("remembered") == query
    if known or uploads.FOLDER in Path(run.corpus).parts or not store.folder.is_dir():
        return
    st.session_state.remembered = query
    others = [one for one in store.get_json(KEY) or [] if one != query]
    store.try_put_json(KEY, [query, *others][:MOST_RUNS])


def run_choice() -> None:
    """The run that is shown, the others, and the way to a new one."""
    offered = [*runs(), None]
    # a new key where another run was chosen elsewhere, so that this list follows
    key = f"sidebar-run-{offered[0].key}"

    def take() -> None:
        if (run := st.session_state[key]) is not None:
            now = experiment()
            same = {name: getattr(now, name) for name in ("state", "pooling", "layers", "kept")}
            choose(replace(run, **same))

    named = {**names_of(offered[:-1]), None: "New run …"}
    if st.sidebar.selectbox("Run", offered, 0, format_func=named.get, key=key, on_change=take) is None:
        links.open_page("run")


def pivot_choice(whole: Plan) -> None:
    """The language that all others are compared with; states do not depend on it."""
    codes = [whole.pivot] if whole.corpus.own_sentences else sorted(whole.all_languages, key=label)
    key = f"sidebar-pivot-{whole.experiment.key}"

    def take() -> None:
        now, pivot = experiment(), st.session_state[key]
        others = tuple(now.pivot if code == pivot else code for code in now.languages)
        choose(replace(now, pivot=pivot, languages=others))

    st.sidebar.selectbox(
        "Pivot",
        codes,
        codes.index(whole.pivot),
        format_func=label,
        key=key,
        on_change=take,
        help="The language with which all others are compared.",
    )
