"""What all pages share: the process's services, the session's experiment and its link, and small pieces of a page."""

from __future__ import annotations

import html
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image, ImageDraw
from streamlit.navigation.page import Page
from streamlit.runtime.scriptrunner import get_script_run_ctx

from neuronxa_core import charts, corpora, languages, models, pipeline
from neuronxa_core.alignment import METHODS, Alignment
from neuronxa_core.errors import CorruptEntry, NeuronXAError
from neuronxa_core.experiment import CHOICES, Experiment, digest
from neuronxa_core.jobs import Job, JobQueue, Work
from neuronxa_core.overlap import Activity
from neuronxa_core.pairs import PairScores
from neuronxa_core.pipeline import Extraction, ModelShelf, Plan
from neuronxa_core.store import Store, default_folder

STATE_NAMES = {
    "nas": "NAS · activation state (NASCA)",
    "nav": "NAV · activation value (NAVCA)",
    "emb": "EMB · hidden state (MEXA)",
}
# cells of a table that is sent before anyone opens it
MOST_SENT_UNSEEN = 10_000
POOLING_NAMES = {"weighted": "weighted by position", "last": "last token", "mean": "mean of tokens"}
NEURON_NAMES = {"product": "product · input of the last projection", "gate": "gate · output of the activation function"}


@st.cache_resource(show_spinner=False)
def icon() -> Image.Image:
    """The tab's picture, two languages that meet in a neuron. Streamlit's own icons need a network."""
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    for start, colour in (((12, 14), "#0072B2"), ((12, 50), "#D55E00")):
        draw.line([start, (48, 32)], fill=colour, width=5)
        draw.ellipse([start[0] - 9, start[1] - 9, start[0] + 9, start[1] + 9], fill=colour)
    draw.ellipse([37, 21, 59, 43], fill="#009E73")
    return picture


class Services(NamedTuple):
    """One of each a process, whatever the number of sessions."""

    store: Store
    shelf: ModelShelf
    queue: JobQueue
    pairs: PairScores


@st.cache_resource(show_spinner=False)
def _services(folder: str) -> Services:
    store, shelf = Store(folder), ModelShelf()
    return Services(store, shelf, JobQueue(store, shelf), PairScores(store))


def services() -> Services:
    """The store, the model shelf and the job queue of this process."""
    _through_the_app()
    return _services(str(default_folder()))


def navigation() -> Page:
    """The app's pages, and the one that is asked for."""
    return st.navigation(
        [
            st.Page("pages/run.py", title="Run", icon=":material/play_arrow:"),
            st.Page("pages/alignment.py", title="Alignment", icon=":material/insights:", default=True),
            st.Page("pages/overlap.py", title="Overlap", icon=":material/join_inner:"),
            st.Page("pages/microscope.py", title="Microscope", icon=":material/biotech:"),
            st.Page("pages/downstream.py", title="Downstream", icon=":material/scatter_plot:"),
        ],
        position="top",
    )


def _through_the_app() -> None:
    """Run the whole app where Streamlit has run a page alone.

    Until st.navigation is called for the first time in a process, Streamlit takes a folder named pages for its older
    kind of app, and a link straight to a page runs that page without streamlit_app.py.
    """
    if "experiment" not in st.session_state and get_script_run_ctx(suppress_warning=True) is not None:
        st.set_page_config(page_icon=icon())  # or the page's own icon is fetched from afar
        navigation()
        st.rerun()


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show what a user can mend as an error on the page, and end the page there."""
    try:
        yield
    except NeuronXAError as error:
        st.error(str(error), icon=":material/error:")
        st.stop()


def open_experiment() -> None:
    """Take the experiment from the link on the first visit, and keep the link that of the session's experiment."""
    if "experiment" not in st.session_state:
        try:
            st.session_state.experiment = Experiment.from_query(st.query_params.to_dict())
        except NeuronXAError as error:
            st.session_state.experiment = Experiment()
            st.session_state.link_error = str(error)
    if problem := st.session_state.get("link_error"):
        st.warning(f"The link could not be read as it is ({problem}); the bundled example is shown instead.")
    keep_link()


def keep_link() -> None:
    """Make the address name the session's experiment, so that it opens the same view elsewhere."""
    wanted = experiment().to_query()
    for name in Experiment.__dataclass_fields__:
        if name in wanted:
            if st.query_params.get(name) != wanted[name]:
                st.query_params[name] = wanted[name]
        elif name in st.query_params:
            del st.query_params[name]


def experiment() -> Experiment:
    """The session's experiment."""
    return st.session_state.experiment


def enter(page: str) -> None:
    """Remember the experiment with which a page is entered: its widgets start there, wherever they then move it."""
    if st.session_state.get("page") != page:
        st.session_state.page = page
        st.session_state.entered_with = experiment()


def entered_with() -> Experiment:
    """The experiment when the page was entered."""
    return st.session_state.setdefault("entered_with", experiment())


def choose(chosen: Experiment) -> None:
    """Make another experiment the session's."""
    st.session_state.experiment = chosen
    st.session_state.pop("link_error", None)
    keep_link()


def _fingerprint(path_text: str) -> str:
    """Changes when a file below the path does; so that a corpus or model mended on disk is read again."""
    path = Path(path_text).expanduser()
    files = sorted(path.glob("*")) if path.is_dir() else [path]
    return digest([(str(f), s.st_size, s.st_mtime_ns) for f in files if f.is_file() for s in [f.stat()]])


@st.cache_resource(max_entries=16, show_spinner="Reading the corpus …")
def _raw(source: str, fingerprint: str) -> corpora.RawCorpus:
    return corpora.read(source)


def raw_corpus(source: str) -> corpora.RawCorpus:
    """The corpus, read once as long as its files do not change."""
    return _raw(source, _fingerprint(source))


@st.cache_resource(max_entries=64, show_spinner="Looking at the model …")
def _model_info(model: str, fingerprint: str) -> models.ModelInfo:
    return models.describe(models.parse_source(model))


def model_info(model: str) -> models.ModelInfo:
    """What can be said of a model without its weights, found out once as long as its files do not change."""
    return _model_info(model, _fingerprint(model))


@st.cache_resource(max_entries=64, show_spinner="Looking at model and corpus …")
def _plan(key: str, fingerprints: tuple[str, str], folder: str, _chosen: Experiment) -> Plan:
    return pipeline.make_plan(_chosen, services().store, raw_corpus(_chosen.corpus))


def plan_for(chosen: Experiment) -> Plan:
    """The plan of an experiment, made once as long as model and corpus do not change on disk."""
    prints = (_fingerprint(chosen.model), _fingerprint(chosen.corpus))
    return _plan(chosen.extraction.key, prints, str(services().store.folder), chosen.extraction)


@st.cache_resource(max_entries=64, show_spinner="Comparing sentences …")
def _alignment(key: str, state: str, pooling: str, _plan: Plan) -> Alignment:
    return pipeline.align(_plan, services().store, state, pooling)


def alignment_of(plan: Plan, state: str, pooling: str) -> Alignment:
    """Scores of a plan whose states are all stored."""
    return _alignment(plan.scores_key(state, pooling), state, pooling, plan)


@contextmanager
def healing(plan: Plan) -> Iterator[None]:
    """Errors as `errors_shown`; where a damaged entry is met, compute it again and show the page anew meanwhile."""
    with errors_shown():
        try:
            yield
        except CorruptEntry as damage:
            services().queue.submit(Extraction(plan))
            st.toast(f"{damage}. It is being computed again.", icon=":material/build:")
            st.rerun()


def _part(plan: Plan) -> Plan | None:
    """The plan of the languages whose states are there; None without the pivot or any other."""
    lacking = set(pipeline.missing(plan, services().store))
    ready = [code for code in plan.languages if code not in lacking]
    if plan.pivot in lacking or not ready:
        return None
    return pipeline.restrict(plan, ready)


@st.fragment(run_every=1.0)
def watch(work: Work) -> None:
    """A job's bar, until it is over."""
    job = services().queue.find(work)
    if job is None or not job.active:
        st.rerun()
    job_progress(job, services().queue, by_language=False)


def is_done(work: Work, button: str, key: str, **options: object) -> bool:
    """Whether work is complete; where it is not, its progress, or what ended it and a button that starts it."""
    queue = services().queue
    job = queue.find(work)
    if job is not None and job.active:
        watch(work)
        return False
    if not work.totals(services().store):
        return True
    if job is not None and job.status == "failed":
        st.error(job.error, icon=":material/error:")
    if job is not None and job.status == "cancelled":
        st.info("The run was cancelled; what was finished is kept.")
    if st.button(button, key=key, **options):
        queue.submit(work)
        st.rerun()
    return False


@st.fragment(run_every=1.0)
def _progress(plan: Plan, shown: int) -> None:
    """The run's bar, and what is seen anew as languages are finished."""
    job = services().queue.find(Extraction(plan))
    if job is None or not job.active:
        st.rerun()
    job_progress(job, services().queue, by_language=False)
    part = _part(plan)
    if part is not None and len(part.languages) >= (2 * shown or 1):
        st.rerun()


def computed_part(whole: Plan) -> Plan:
    """The part of a plan whose states are there, with a line that says what it is; ends the page where there is none.

    For the rest it shows the run that computes it, or offers one. The bundled model on the bundled corpus is computed
    without being asked.
    """
    queue, work = services().queue, Extraction(whole)
    lacking = pipeline.missing(whole, services().store)
    is_demo = (whole.experiment.model, whole.experiment.corpus) == ("demo", "demo")
    if lacking and is_demo and queue.find(work) is None:
        queue.submit(work)
    part = _part(whole)
    job = queue.find(work)
    if lacking and job is not None and job.active:
        _progress(whole, 0 if part is None else len(part.languages))
    elif lacking:
        if job is not None and job.status == "failed":
            st.error(job.error, icon=":material/error:")
        st.info(
            f"{len(lacking)} of {len(whole.everyone)} languages of this choice are not computed yet.",
            icon=":material/info:",
        )
        if st.button("Compute them", type="primary", icon=":material/play_arrow:"):
            queue.submit(work)
            st.rerun()
    if part is None:
        st.caption("The first results appear here as soon as the pivot and one more language are read.")
        st.stop()
    st.caption(
        safe(
            f"{part.info.name} on {part.corpus.name}: {len(part.corpus.usable)} parallel sentences, "
            f"{len(part.languages)} languages against {label(part.pivot)}, {part.info.layers} layers of "
            f"{part.info.neurons:,} neurons, {part.dtype}."
        )
    )
    return part


def open_page(title: str) -> tuple[Plan, Plan]:
    """A page's title, the plan of the session's experiment, and the part of it whose states are there."""
    st.title(title)
    with errors_shown():
        whole = plan_for(experiment())
    return whole, computed_part(whole)


def show_views(views: dict[str, Callable[[], None]], key: str, whole: Plan, says: dict[str, str] | None = None) -> None:
    """A switch between a page's views, what the chosen one says of itself, and the view."""
    view = st.segmented_control(
        "View",
        list(views),
        default=next(iter(views)),
        required=True,
        key=key,
        bind="query-params",
        label_visibility="collapsed",
    )
    if says is not None:
        st.caption(says[view])
    _show_view(views[view], whole)


@st.fragment
def _show_view(show: Callable[[], None], whole: Plan) -> None:
    """A view; what happens in it runs it alone again, errors included."""
    with healing(whole):
        show()


def layer_slider(layers: int, start: int, key: str) -> int:
    """A layer from 0."""
    if layers == 1:
        return 0
    return st.slider("Layer", 0, layers - 1, start, key=key, bind="query-params")


def chosen_pair(key: str) -> tuple[str, str] | None:
    """The pair that is chosen below a matrix with too many languages for marks."""
    x, y = (st.session_state.get(f"{key}_{end}") for end in ("from", "to"))
    return (x, y) if x and y else None


def pair_of_matrix(chart: alt.TopLevelMixin, codes: list[str], key: str, said: str) -> tuple[str, str] | None:
    """Draw a language matrix; the cell that was clicked.

    Where there are too many languages for marks, a click chooses two of them in lists below, as the keyboard can too.
    """
    if len(codes) <= charts.MOST_LABELLED:
        cells = st.altair_chart(chart, on_select="rerun", selection_mode="pair", key=key).selection.get("pair")
        if cells and {cells[0]["row_code"], cells[0]["column_code"]} <= set(codes):
            return cells[0]["row_code"], cells[0]["column_code"]
        return None

    def take_click() -> None:
        cells = st.session_state[f"{key}_picture"].selection.get("pair")
        pair = [cells[0].get(name) for name in ("row_code", "column_code")] if cells else []
        if pair and set(pair) <= set(codes):
            st.session_state[f"{key}_from"], st.session_state[f"{key}_to"] = pair

    with st.container(width=charts.LANGUAGES_SIZE):
        st.altair_chart(chart, on_select=take_click, selection_mode="pair", key=f"{key}_picture")
    columns = st.columns(2)
    x = columns[0].selectbox(said, codes, None, format_func=label, key=f"{key}_from")
    y = columns[1].selectbox("and", codes, None, format_func=label, key=f"{key}_to")
    return (x, y) if x and y else None


def spread(ranked: Sequence[str], count: int) -> list[str]:
    """So many of a ranking, evenly from its first to its last."""
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return [ranked[k] for k in dict.fromkeys(places.tolist())]


def reading_choice(page: str) -> Experiment:
    """Widgets for state, sentence vector and pooled layers, which need no run; the experiment as they say.

    Each starts at what it was when the page was entered.
    """
    columns = {
        "state": ("State", "NAS: which neurons are on. NAV: how strongly. EMB: the hidden state, MEXA's baseline."),
        "pooling": (
            "Sentence vector",
            "Weighted by token position, the last token alone, or the plain mean of tokens.",
        ),
        "layers": ("Layers pooled by", None),
    }
    chosen = {}
    with st.container(horizontal=True, gap="large"):
        for name, (said, help_text) in columns.items():
            chosen[name] = st.segmented_control(
                said,
                CHOICES[name],
                default=getattr(entered_with(), name),
                required=True,
                key=f"{page}_{name}",
                format_func=(lambda s: f"{s.upper()} ({METHODS[s]})") if name == "state" else str,
                help=help_text,
            )
    now = replace(experiment(), **chosen)
    if now != experiment():
        choose(now)
    return now


def label(code: str) -> str:
    """A language's English name and code."""
    return languages.label(code)


def duration(seconds: float) -> str:
    """A time as a person says it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(amount: float) -> str:
    """Bytes as a person says them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if amount >= 100 or unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def command_line(chosen: Experiment) -> str:
    """The command line's options for an experiment."""
    words = ["--model", chosen.model, "--corpus", chosen.corpus, "--pivot", chosen.pivot]
    if chosen.languages:
        words += ["--languages", *chosen.languages]
    for name in ("sentences", "seed"):
        if getattr(chosen, name) is not None:
            words += [f"--{name}", str(getattr(chosen, name))]
    for name in ("pooling", "neuron", "dtype", "device", "storage"):
        if getattr(chosen, name) != getattr(Experiment, name):
            words += [f"--{name}", getattr(chosen, name)]
    return shlex.join(words)


def sentence(text: str, code: str) -> str:
    """HTML of a sentence in its own writing direction."""
    direction = "rtl" if languages.is_rtl(code) else "ltr"
    return f'<span dir="{direction}" lang="{html.escape(code.split("_")[0])}">{html.escape(text)}</span>'


def safe(text: str) -> str:
    """Text as it is where Markdown is read."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-.!|~$:" else c for c in text)


def downloads(table: pd.DataFrame, chart: alt.TopLevelMixin, name: str) -> None:
    """The table behind a chart, and both as files, which are made when they are asked for.

    A large table is sent when it is opened, not with every step of a slider.
    """
    said, icon = "Table and files", ":material/table:"
    if table.size > MOST_SENT_UNSEEN:
        place = st.expander(said, icon=icon, key=f"files-{name.partition('-layer')[0]}", on_change="rerun")
        if not place.open:
            return
    else:
        place = st.expander(said, icon=icon)
    with place:
        st.dataframe(table, hide_index=True)
        row = st.container(horizontal=True)
        files = {
            "CSV": (lambda: table.to_csv(index=False), "text/csv"),
            "SVG": (lambda: charts.svg(chart), "image/svg+xml"),
            "PNG": (lambda: charts.png(chart), "image/png"),
        }
        for kind, (make, mime) in files.items():
            row.download_button(
                kind, make, f"{name}.{kind.lower()}", mime, icon=":material/download:", key=f"{kind}-{name}"
            )


def open_microscope(layer: int, neuron: int) -> None:
    """Go to the Microscope with this neuron."""
    # the parameters of this page's widgets cannot be cleared here, only replaced
    named = {"neuron_layer": str(int(layer)), "neuron_number": str(int(neuron))}
    st.switch_page("pages/microscope.py", query_params={**experiment().to_query(), **named})


def neuron_list(table: pd.DataFrame, key: str, **columns: object) -> None:
    """A table of neurons, with `layer` and `neuron` columns; a chosen row can be opened in the Microscope."""
    if table.empty:
        st.caption("No neurons here.")
        return
    event = st.dataframe(
        table,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=key,
        height=min(320, 38 + 35 * len(table)),
        column_config={"layer": "Layer", "neuron": "Neuron", **columns},
    )
    rows = [row for row in event.selection.rows if row < len(table)]
    if not rows:
        st.caption("Choose a row to look at the neuron in the Microscope.")
        return
    layer, neuron = int(table["layer"].iloc[rows[0]]), int(table["neuron"].iloc[rows[0]])
    if st.button(f"Open neuron {neuron} of layer {layer}", key=f"{key}-open", icon=":material/biotech:"):
        open_microscope(layer, neuron)


@st.cache_resource(max_entries=8, show_spinner="Counting active neurons …")
def _activity(key: str, _plan: Plan) -> Activity:
    return pipeline.activity(_plan, services().store)


def activity_of(plan: Plan) -> Activity:
    """Activation counts of a plan whose states are all stored."""
    return _activity(pipeline.activity_key(plan), plan)


def job_progress(job: Job, queue: JobQueue, *, by_language: bool) -> None:
    """A job's bars and its cancel button."""
    if job.status == "waiting":
        ahead = queue.position(job)
        st.progress(0.0, text=f"Waiting: {ahead} {'run' if ahead == 1 else 'runs'} before this one")
    else:
        left = job.seconds_left
        text = f"{job.units_done:,} of {job.units:,} {job.work.unit}"
        st.progress(job.fraction, text=text + (f", about {duration(left)} left" if left is not None else ""))
    if by_language:
        columns = st.columns(4)
        for k, (code, total) in enumerate(job.totals.items()):
            done = job.done.get(code, 0)
            columns[k % 4].progress(done / total if total else 1.0, text=f"{label(code)} {done}/{total}")
    if st.button("Cancel", key=f"cancel-{job.number}", icon=":material/stop_circle:"):
        job.cancel()
