"""What all pages share: the process's services, the session's experiment and its link, and small pieces of a page."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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

from neuronxa_core import charts, exports
from neuronxa_core.corpora import languages, parallel, reading
from neuronxa_core.errors import CorpusError, CorruptEntry, ModelError, NeuronXAError, QueueFull
from neuronxa_core.experiment import CHOICES, Experiment, digest
from neuronxa_core.host import settings
from neuronxa_core.host.settings import Settings
from neuronxa_core.jobs.job_queue import Job, JobQueue, Owner, Work
from neuronxa_core.measures import activation_counts, alignment
from neuronxa_core.measures.activation_counts import ActivationCounts
from neuronxa_core.measures.alignment import METHODS, Alignment
from neuronxa_core.measures.all_pairs import PairScores
from neuronxa_core.models import description, structure
from neuronxa_core.models.description import ModelSource
from neuronxa_core.states import planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store, default_folder
from pages import people, serving

STATE_NAMES = {
    "nas": "NAS · activation state (NASCA)",
    "nav": "NAV · activation value (NAVCA)",
    "emb": "EMB · hidden state (MEXA)",
}
# cells of a table that is sent before anyone opens it
MOST_SENT_UNSEEN = 10_000
# times that a damaged entry is computed again without being asked: a disk may damage it every time
MOST_REPAIRS = 2
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
    pool: ModelPool
    queue: JobQueue
    pairs: PairScores


@st.cache_resource(show_spinner=False)
def _services(folder: str, _allowed: Settings) -> Services:
    store, pool = Store(folder, _allowed.cache_bytes), ModelPool(_allowed.models_loaded)
    queue = JobQueue(store, pool, _allowed.waiting, _allowed.waiting_a_person)
    return Services(store, pool, queue, PairScores(store))


def services() -> Services:
    """The store, the model pool and the job queue of this process, for somebody who may use them."""
    _through_the_app()
    people.person()
    return _services(str(default_folder()), host_settings())


def show_write_error() -> None:
    """A word above every page where the cache could not be written when that was last tried."""
    if hindrance := services().store.last_write_error:
        st.warning(f"{said(hindrance)}. Until then, nothing that is computed is kept.", icon=":material/hard_drive:")


def navigation() -> Page:
    """The app's pages, and the one that is asked for."""
    return st.navigation(
        [
            st.Page("pages/run.py", title="Run", icon=":material/play_arrow:"),
            st.Page("pages/alignment.py", title="Alignment", icon=":material/insights:", default=True),
            st.Page("pages/overlap.py", title="Overlap", icon=":material/join_inner:"),
            st.Page("pages/microscope.py", title="Microscope", icon=":material/biotech:"),
            st.Page("pages/downstream.py", title="Downstream", icon=":material/scatter_plot:"),
            st.Page("pages/admin.py", title="Admin", icon=":material/monitor_heart:"),
            *people.account_pages(),
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
        st.error(said(str(error)), icon=":material/error:")
        st.stop()


@st.cache_resource(show_spinner=False)
def _host_settings(local: bool) -> Settings:
    return settings.of_host(local)


def host_settings() -> Settings:
    """What the host of this app lets visitors do. Raises SettingsError.

    Without a settings file, only the user of this machine gets all. A visitor is somebody else where people sign in,
    where the app is served below a path, and where the request came through a proxy; a visitor may make that last one
    up, and loses by it.
    """
    return _host_settings(serving.auth_section() is None and serving.is_own_user())


def open_experiment() -> None:
    """Take the experiment from the link on the first visit, and keep the link that of the session's experiment."""
    allowed = host_settings()
    if "experiment" not in st.session_state:
        st.session_state.experiment = Experiment()
        try:
            named = Experiment.from_query(st.query_params.to_dict())
            with suppress(CorpusError, ModelError):  # a page says these
                allowed.check(named)
            st.session_state.experiment = named
        except NeuronXAError as error:
            st.session_state.link_error = str(error)
    if problem := st.session_state.get("link_error"):
        st.warning(f"The link could not be read as it is ({said(problem)}); the bundled example is shown instead.")
    keep_link()


def keep_link() -> None:
    """Make the address name the session's experiment, so that it opens the same view elsewhere."""
    wanted = experiment().to_query()
    # each change by itself would be a step of the browser's back button
    if changed := {name: value for name, value in wanted.items() if st.query_params.get(name) != value}:
        st.query_params.update(changed)
    for name in Experiment.__dataclass_fields__:
        if name not in wanted and name in st.query_params:
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
    try:
        path = Path(path_text).expanduser()
        folders = [path, *(path / split for split in reading.SPLITS)] if path.is_dir() else []
        files = sorted(file for folder in folders for file in folder.glob("*")) if folders else [path]
        return digest([(str(f), s.st_size, s.st_mtime_ns) for f in files if f.is_file() for s in [f.stat()]])
    except (OSError, RuntimeError, ValueError) as error:  # what reads it says what is wrong
        return digest(repr(error))


@st.cache_resource(max_entries=16, show_spinner="Reading the corpus …")
def _raw(source: str, fingerprint: str) -> parallel.RawCorpus:
    return reading.read(source)


def raw_corpus(source: str) -> parallel.RawCorpus:
    """The corpus, read once as long as its files do not change. Raises NotAllowed, too."""
    allowed = host_settings().corpus_source(source)
    return _raw(allowed, _fingerprint(allowed))


@st.cache_resource(max_entries=64, show_spinner="Looking at the model …")
def _model_info(source: ModelSource, fingerprint: str) -> description.ModelInfo:
    return structure.describe(source)


def model_info(model: str) -> description.ModelInfo:
    """What can be said of a model without its weights, found out once as long as its files do not change.

    Raises NotAllowed, too.
    """
    source = host_settings().model_source(model)
    return _model_info(source, _fingerprint(source.location))


@st.cache_resource(max_entries=64, show_spinner="Looking at model and corpus …")
def _plan(
    key: str, prints: tuple[str, str], folder: str, device: str, source: ModelSource, corpus: str, _chosen: Experiment
) -> Plan:
    return planning.make_plan(_chosen, services().store, _raw(corpus, prints[1]), device, source)


def plan_for(chosen: Experiment) -> Plan:
    """The plan of an experiment, made once as long as model and corpus do not change on disk.

    Raises NotAllowed, too.
    """
    allowed = host_settings()
    source, corpus = allowed.check(chosen)
    prints = (_fingerprint(source.location), _fingerprint(corpus))
    device = allowed.device(chosen.device)
    plan = _plan(chosen.extraction.key, prints, str(services().store.folder), device, source, corpus, chosen.extraction)
    allowed.check_size(plan)
    return plan


@st.cache_resource(max_entries=64, show_spinner="Comparing sentences …")
def _alignment(key: str, state: str, pooling: str, _plan: Plan) -> Alignment:
    return alignment.align(_plan, services().store, state, pooling)


def alignment_of(plan: Plan, state: str, pooling: str) -> Alignment:
    """Scores of a plan whose states are all stored."""
    return _alignment(alignment.scores_key(plan, state, pooling), state, pooling, plan)


@contextmanager
def healing(plan: Plan) -> Iterator[None]:
    """Errors as `errors_shown`; where a damaged entry is met, compute it again and show the page anew meanwhile."""
    with errors_shown():
        try:
            yield
        except CorruptEntry as damage:
            if services().store.damage[damage.key] > MOST_REPAIRS:
                raise
            submit(Extraction(plan))
            st.toast(f"{said(str(damage))}. It is being computed again.", icon=":material/build:")
            st.rerun()


def _part(plan: Plan) -> Plan | None:
    """The plan of the languages whose states are there; None without the pivot or any other."""
    lacking = set(planning.missing(plan, services().store))
    ready = [code for code in plan.languages if code not in lacking]
    if plan.pivot in lacking or not ready:
        return None
    return planning.restrict(plan, ready)


@st.fragment(run_every=1.0)
@errors_shown()
def watch(work: Work) -> None:
    """A job's bar, until it is over."""
    job = services().queue.find(work)
    if job is None or not job.active:
        st.rerun()
    job_progress(job, services().queue, by_language=False)


def owner() -> Owner:
    """Whose a job is that is started from this page."""
    somebody = people.person()
    return Owner(somebody.key, somebody.name)


def submit(work: Work) -> bool:
    """Put work into the queue; False, with a word on the page, where the queue is full."""
    try:
        services().queue.submit(work, owner())
    except QueueFull as full:
        st.warning(said(str(full)), icon=":material/hourglass_disabled:")
        return False
    return True


def how_it_ended(work: Work) -> bool:
    """Say how the last run of work ended that is not complete; whether the server did not live to end it."""
    queue = services().queue
    job = queue.find(work)
    if job is not None and job.status == "failed":
        st.error(said(job.error), icon=":material/error:")
    if job is not None and job.status == "cancelled":
        st.info("The run was cancelled; what was finished is kept.")
    lost = job is None and queue.interrupted(work)
    if lost:
        asked = pd.Timestamp(lost[-1].asked, unit="s", tz="UTC")
        st.warning(
            safe(f"The server stopped before this run was over (asked for on {asked:%Y-%m-%d at %H:%M} UTC). ")
            + "What was finished is kept; resuming computes the rest.",
            icon=":material/power_off:",
        )
    return bool(lost)


def is_done(work: Work, button: str, key: str, **options: object) -> bool:
    """Whether work is complete; where it is not, its progress, or what ended it and a button that starts it."""
    queue = services().queue
    job = queue.find(work)
    if job is not None and job.active:
        watch(work)
        return False
    if not work.totals(services().store):
        return True
    lost = how_it_ended(work)
    if st.button("Resume" if lost else button, key=key, **options) and submit(work):
        st.rerun()
    return False


@st.fragment(run_every=1.0)
@errors_shown()
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
    lacking = planning.missing(whole, services().store)
    is_demo = (whole.experiment.model, whole.experiment.corpus) == ("demo", "demo")
    if lacking and is_demo and queue.find(work) is None:
        submit(work)
    part = _part(whole)
    job = queue.find(work)
    if lacking and job is not None and job.active:
        _progress(whole, 0 if part is None else len(part.languages))
    elif lacking:
        lost = how_it_ended(work)
        st.info(
            f"{len(lacking)} of {len(whole.all_languages)} languages of this choice are not computed yet.",
            icon=":material/info:",
        )
        said = "Resume" if lost else "Compute them"
        if st.button(said, type="primary", icon=":material/play_arrow:") and submit(work):
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


def segments(label: str, options: Sequence[str], default: str, key: str, **more: object) -> str:
    """A segmented control with always one choice, which the link names."""
    empty = st.query_params.get(key) == ""
    if empty:  # Streamlit would take it for no choice
        st.session_state[key] = default
    return st.segmented_control(
        label,
        options,
        default=None if empty else default,
        required=True,
        key=key,
        bind="query-params",
        **more,
    )


def show_views(views: dict[str, Callable[[], None]], key: str, whole: Plan, says: dict[str, str] | None = None) -> None:
    """A switch between a page's views, what the chosen one says of itself, and the view."""
    view = segments("View", list(views), next(iter(views)), key, label_visibility="collapsed")
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


def said(text: str) -> str:
    """An error's words where Markdown is read: they show as they are, but for `code`, whatever they repeat."""
    words = " ".join(text.split())
    parts = words.split("`") if words.count("`") % 2 == 0 else [words]
    return "".join(
        f"`{part}`" if k % 2 and part.strip() else _MEANT.sub(r"\\\g<0>", part) for k, part in enumerate(parts)
    )


# what Markdown would take for more than a sign: emphasis, links, pictures, formulas, Streamlit's colours and icons, and
# at the start headings, lists and quotations. A line in the middle of a word, as in eng_Latn, means nothing
_MEANT = re.compile(
    r"[\\`*\[\]<>~$|&]|(?<![^\W_])_|_(?![^\W_])|:(?=[\w/+-])|^[#=+-]|(?:(?<=^\d)|(?<=^\d\d)|(?<=^\d\d\d))[.)]"
)


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
        st.dataframe(exports.harmless_table(table), hide_index=True)
        row, named = st.container(horizontal=True), exports.file_name(name)
        files = {
            "CSV": (lambda: exports.csv_text(table), "text/csv"),
            "SVG": (lambda: charts.svg(chart), "image/svg+xml"),
            "PNG": (lambda: charts.png(chart), "image/png"),
        }
        for kind, (make, mime) in files.items():
            row.download_button(
                kind, make, f"{named}.{kind.lower()}", mime, icon=":material/download:", key=f"{kind}-{name}"
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
def _activity(key: str, _plan: Plan) -> ActivationCounts:
    return activation_counts.activation_counts(_plan, services().store)


def activity_of(plan: Plan) -> ActivationCounts:
    """Activation counts of a plan whose states are all stored."""
    return _activity(activation_counts.counts_key(plan), plan)


def job_progress(job: Job, queue: JobQueue, *, by_language: bool) -> None:
    """A job's bars, what is before it, and its cancel button for whoever may stop it."""
    if job.status == "waiting":
        ahead = queue.position(job)
        text = f"Waiting: {ahead} {'run' if ahead == 1 else 'runs'} before this one"
        until = queue.seconds_until(job)
        st.progress(0.0, text=text + (f", about {duration(until)} until it starts" if until is not None else ""))
        for other in queue.jobs():
            if other.status == "running":
                st.caption(safe(f"Now: {other.work.title}, for {whose(other)}"))
    else:
        left = job.seconds_left
        text = f"{job.units_done:,} of {job.units:,} {job.work.unit}"
        st.progress(job.fraction, text=text + (f", about {duration(left)} left" if left is not None else ""))
    if by_language:
        columns = st.columns(4)
        for k, (code, total) in enumerate(job.totals.items()):
            done = job.done.get(code, 0)
            columns[k % 4].progress(done / total if total else 1.0, text=f"{label(code)} {done}/{total}")
    cancel_button(job, queue)


def whose(job: Job) -> str:
    """Who asked for a job, for others to read."""
    me = people.person().key
    return ", ".join("you" if owner.key == me else owner.name for owner in job.owners)


def cancel_button(job: Job, queue: JobQueue) -> None:
    """A button for those who asked for the job and those who manage the app; for others a word on whose it is."""
    me = people.person()
    options = {"key": f"cancel-{job.number}", "icon": ":material/stop_circle:"}
    if job.stopping:
        st.caption("It stops after the sentences that it reads now.")
    elif job.is_of(me.key):
        if st.button("Cancel", **options):
            queue.withdraw(job, me.key)
            if not job.stopping and job.active:
                st.toast("Somebody else asked for the same run, so it goes on.")
    elif me.manages:
        if st.button(f"Cancel the run of {safe(whose(job))}", **options):
            queue.cancel(job)
    else:
        st.caption(safe(f"Started by {whose(job)}, who can stop it."))
