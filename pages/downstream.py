"""Downstream: does alignment go with what the model can do, language by language, and how far to believe it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import get_args

import numpy as np
import pandas as pd
import streamlit as st

from neuronxa_core import charts, exports
from neuronxa_core.charts import report as reports
from neuronxa_core.corpora import languages
from neuronxa_core.demo import training
from neuronxa_core.errors import NeuronXAError
from neuronxa_core.experiment import CHOICES, Experiment, digest
from neuronxa_core.jobs.job_queue import Work
from neuronxa_core.measures import (
    alignment,
    bitext_retrieval,
    likelihood,
    lm_eval,
    probe,
    sentence_subsets,
    task_correlation,
)
from neuronxa_core.measures.alignment import METHODS, Alignment
from neuronxa_core.states import computing
from neuronxa_core.states.planning import Plan
from neuronxa_core.statistics import (
    across_models,
    comparison,
    correlation,
    layer_choice,
    partial,
    regression,
    transforms,
)
from neuronxa_core.tasks import cells, consistency, matching, score_files, score_tables, task_scores
from neuronxa_core.tasks.task_scores import TaskScores
from neuronxa_core.wording import some_of
from pages.access import host
from pages.components import cached, controls, exporting, messages, process, progress, selection, session, wording

HELP = {
    "Scatter": "Each point is a language: its alignment with the pivot, and its task score. A correlation over "
    "languages does not show that alignment causes the score: languages with more training data have more of both.",
    "By layer": "How well each layer's alignment goes with the task, for the three states. The best of many layers is "
    "partly luck; the nested figure below says what is left of it on languages that did not choose the layer.",
    "Methods": "The correlation of every method with every task, as in the paper's tables. Cells differ by chance too: "
    "the comparison below says whether NASCA beats MEXA by more than that.",
    "Sentences": "The correlation with only so many sentence pairs, drawn from those that there are. Draws of nearly "
    "all sentences are nearly the same draw, so their spread narrows of itself.",
    "Doubts": "What is left of the correlation when training share, tokens a sentence or script are held constant, and "
    "which language it hangs on. What was not measured can still explain it.",
    "Estimate": "MEXA's estimate for languages without a score: alignment times the pivot's own score, with its "
    "errors where there is a score. It is worth something only where it beats the mean of the other languages.",
    "Models": "Several models at once, their correlations within each and over all points. Points of all models "
    "together can correlate, or not, for reasons that hold in no single model (Simpson's paradox).",
    "Report": "One file with the choices, charts, tables and versions, and how to make the figures again. It holds "
    "what this page shows now, with the same limits.",
}
# metrics of which less is better, by a word in their names
LOWER_IS_BETTER = ("perplexity", "bits", "nats", "loss", "error")
SENTENCE_STEPS = (10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000)
# figures of the paper's tables, as method.md's source gives them
PAPER = {
    "paper: MEXA, XNLI": 0.8370,
    "paper: NAVCA, XNLI": 0.8937,
    "paper: NASCA, XNLI": 0.9326,
    "paper: mean over tasks": 0.9556,
}

services = process.services()
now = session.experiment()
selected = selection.open_page("Downstream")
whole_plan, plan = selected.whole, selected.plan


@dataclass(frozen=True)
class Task:
    """One task's scores by code of the plan.

    model: whose scores they are. scores, n: by language; n is NaN where unknown. unmatched: sentences on what was not
    used. rows: the sentences on which alignment is to be measured, where the task was measured on the others.
    higher_is_better: False for likelihood in nats.
    """

    model: str
    name: str
    metric: str
    scores: dict[str, float]
    n: dict[str, float]
    source: str
    unmatched: tuple[str, ...] = ()
    rows: tuple[int, ...] | None = None
    higher_is_better: bool = True
    work: Work | None = None
    """What measured it, where the app did."""
    table: TaskScores | None = None
    """The table that it is of, where it was read."""

    @property
    def title(self) -> str:
        return f"{self.name} ({self.metric})"

    @property
    def sign(self) -> int:
        """1, or -1 where less is better: a method predicts such a task by a negative correlation."""
        return 1 if self.higher_is_better else -1


def scores_of(task: Task, state: str, pooling: str) -> Alignment:
    """Alignment of the plan's languages, on the sentences that the task leaves for it."""
    if task.rows is None:
        return cached.alignment_of(plan, state, pooling)
    return alignment_on_rows(alignment.scores_key(plan, state, pooling), task.rows, state, pooling, plan)


@st.cache_resource(max_entries=32, show_spinner="Comparing sentences …")
def alignment_on_rows(key: str, rows: tuple[int, ...], state: str, pooling: str, _plan: Plan) -> Alignment:
    return bitext_retrieval.alignment_on(_plan, services.store, rows, state, pooling)


# ---------------------------------------------------------------------------------------------------- where scores come


@st.cache_resource(show_spinner="Reading the published scores …")
def published_scores() -> TaskScores:
    return score_files.published()


def matched(scores: TaskScores, model: str, task: str, metric: str) -> Task:
    """A task's scores at the plan's languages."""
    chosen = scores.select(model=model, task=task, metric=metric)
    joined = matching.join(chosen, plan.all_languages, pivot=plan.pivot)
    sources = list(dict.fromkeys(str(source) for source in chosen.table["source"] if str(source)))
    return Task(
        model,
        task,
        metric,
        {code: float(value) for code, value in joined.pairs["score"].items()},
        {code: float(value) for code, value in joined.pairs["n"].items()},
        some_of(sources, 3, "; "),
        joined.notes,
        higher_is_better=not any(word in metric.lower() for word in LOWER_IS_BETTER),
        table=scores,
    )


@st.cache_resource(max_entries=32, show_spinner="Matching languages …")
def best_covered(codes: tuple[str, ...], pivot: str) -> tuple[str, str, str]:
    """The published (model, task, metric) with scores of most of the languages."""
    scores = published_scores()
    groups = [tuple(row) for row in scores.groups[["model", "task", "metric"]].itertuples(index=False)]

    def covered(group: tuple[str, str, str]) -> int:
        chosen = scores.select(model=group[0], task=group[1], metric=group[2])
        return len(matching.join(chosen, codes, pivot=pivot).pairs)

    return max(groups, key=covered)


def task_choice(scores: TaskScores, key: str, start: tuple[str, ...] = ()) -> Task | None:
    """One model, task and metric of a table of scores, from widgets; at first the model's own, or `start`."""
    groups = scores.groups
    columns = st.columns(3)
    models = list(dict.fromkeys(groups["model"]))
    own = task_correlation.same_model(plan, models)
    at = next((models.index(name) for name in (own, *start[:1]) if name in models), 0)
    model = columns[0].selectbox("Scores of the model", models, at, key=f"{key}_model")
    tasks = list(dict.fromkeys(groups.loc[groups["model"] == model, "task"]))
    at = tasks.index(start[1]) if model in start[:1] else 0
    task = columns[1].selectbox("Task", tasks, at, key=f"{key}_task")
    metrics = groups.loc[(groups["model"] == model) & (groups["task"] == task), "metric"].tolist()
    metric = columns[2].selectbox("Metric", metrics, key=f"{key}_metric")
    if model != own:
        st.caption(
            wording.safe(
                f"These are scores of {model}; the alignment is that of {plan.source.name}. Scores of another model "
                "say how hard a language is, not what this model can do."
            )
        )
    for note in scores.notes[:6] if key != "published" else ():
        st.caption(wording.safe(note))
    return matched(scores, model, task, metric)


def from_published() -> Task | None:
    return task_choice(published_scores(), "published", best_covered(plan.all_languages, plan.pivot))


MAPPED = ("language", "model", "task", "metric", "score", "stderr", "n", "source")


def from_file() -> Task | None:
    """A table or harness results, by path or upload; what the columns of a table are can be corrected."""
    allowed = host.host_settings()
    left, right = st.columns(2)
    path = ""
    if allowed.scores.folders != ():
        path = left.text_input(
            "File or folder",
            key="scores_path",
            placeholder="/results/lm-eval or scores.csv",
            help="A CSV or TSV table, long or wide; results_*.json of lm-evaluation-harness, or a folder of them.",
        ).strip()
    upload = right.file_uploader(
        "or upload" if allowed.scores.folders != () else "A table, or results_*.json of lm-evaluation-harness",
        type=["csv", "tsv", "tab", "txt", "json"],
        key="scores_upload",
        max_upload_size=max(1, allowed.uploads.file_mib),
        disabled=not allowed.uploads.file_mib,
    )
    if upload is not None:
        name, data = upload.name, upload.getvalue()
    elif path:
        where = allowed.score_source(path)
        if where.suffix.lower() == ".json" or not task_scores.is_file(where):
            return task_choice(score_files.read_scores(where), "file")
        name, data = where.name, task_scores.read_content(where)
    else:
        st.caption(
            "Give a path or upload a file to go on." if allowed.scores.folders != () else "Upload a file to go on."
        )
        return None
    if name.lower().endswith(".json"):
        return task_choice(score_files.read_file(name, data), "file")
    frame = cells.read_frame(name, data)
    if consistency.is_consistency(frame):
        st.caption(f"A table of language pairs: each language's value with {wording.label(plan.pivot)} is taken.")
        return task_choice(consistency.consistency(frame, source=name).consistency_with(plan.pivot), "file")
    return task_choice(mapped(name, frame), "file")


def mapped(name: str, frame: pd.DataFrame) -> TaskScores:
    """A table's scores, its columns as guessed or as corrected."""
    guess = score_tables.guess_mapping(frame)
    with st.expander(f"What the columns are · {guess.layout}", icon=":material/table_edit:"):
        st.dataframe(exports.harmless_table(frame.head(8)), hide_index=True)
        layouts = list(get_args(score_tables.Layout))
        layout = st.selectbox("Layout", layouts, layouts.index(guess.layout), key=f"map_layout_{name}")
        offered = [None, *frame.columns]
        columns = st.columns(4)
        roles = {}
        for k, role in enumerate(MAPPED):
            before = getattr(guess, role) if layout == guess.layout else None
            roles[role] = columns[k % 4].selectbox(
                role.capitalize(),
                offered,
                offered.index(before) if before in offered else 0,
                format_func=lambda column: "—" if column is None else str(column),
                key=f"map_{role}_{layout}_{name}",
            )
        wide = list(guess.columns) if layout == guess.layout else []
        if layout != "long":
            wide = st.multiselect("Columns of scores", list(frame.columns), wide, key=f"map_columns_{layout}_{name}")
        first, second, third = st.columns(3)
        named = {
            "model": first.text_input("Model, if no column says", key=f"map_says_model_{name}"),
            "task": second.text_input("Task, if no column says", key=f"map_says_task_{name}"),
            "metric": third.text_input("Metric, if no column says", key=f"map_says_metric_{name}"),
        }
        mapping = replace(guess, layout=layout, columns=tuple(wide), **roles)
        scores = score_tables.apply_mapping(frame, mapping, source=name, **named)
        st.caption(f"Read as {len(scores)} scores:")
        st.dataframe(exports.harmless_table(scores.table.head(8)), hide_index=True)
    return scores


MEASURES = {
    "topics": "topic transfer (probe)",
    "retrieval": "translation retrieval, held out",
    "likelihood": "likelihood per byte",
}


def from_measure() -> Task | None:
    """A task that the app measures itself, as a background job."""
    kind = controls.segments("Measure", list(MEASURES), "topics", "measure", format_func=MEASURES.get)
    if kind == "topics":
        columns = st.columns(3)
        source = columns[0].selectbox(
            "Learn the labels in", list(plan.all_languages), format_func=wording.label, key="probe_source"
        )
        state = columns[1].selectbox("from", CHOICES["state"], 2, format_func=str.upper, key="probe_state")
        layer = columns[2].selectbox(
            "at layer", ["middle", "chosen", *range(plan.info.layers)], key="probe_layer",
            help="Chosen: by cross-validation in the source language alone.",
        )  # fmt: skip
        work = probe.LinearProbe(plan, source, state, now.pooling, layer)
        st.caption(
            f"A linear classifier learns {len(work.classes)} labels of the corpus in {wording.label(source)} and tells "
            f"them in every language, on sentences that it did not learn from. Chance is {work.chance:.2f}."
        )
    elif kind == "retrieval":
        columns = st.columns(2)
        state = columns[0].selectbox("by", CHOICES["state"], 0, format_func=str.upper, key="retrieval_state")
        share = columns[1].slider("Held out, % of the sentences", 20, 80, 50, key="retrieval_share") / 100
        work = bitext_retrieval.BitextRetrieval(plan, state, now.pooling, share=share)
        st.caption(
            "How often a sentence finds its translation among the held-out ones. Alignment is then measured on the "
            "other sentences, so that both share none; they still share the model and the method, so expect r near 1."
        )
    else:
        work = likelihood.NatsPerByte(plan)
        st.caption(
            "Nats per UTF-8 byte: lower is better, so a good model has a negative correlation. Scripts take one to "
            "three bytes a letter, which moves languages by itself."
        )
    if not measured(work):
        return None
    return measured_task(work)


def measured_task(work: Work) -> Task:
    """The task that a complete measure is."""
    rows = None
    if isinstance(work, probe.LinearProbe):
        name = f"topic transfer from {work.source_language}"
    elif isinstance(work, bitext_retrieval.BitextRetrieval):
        name = f"retrieval of held-out sentences by {work.state.upper()}"
        rows = tuple(bitext_retrieval.parts(plan, work.share, work.seed)[0].tolist())
    else:
        name = "likelihood"
    scores = score_files.from_measure(
        plan.source.name,
        name,
        work.metric,
        {code: (one.score, one.stderr, one.n) for code, one in work.results(services.store).items()},
        "measured here",
    )
    task = matched(scores, plan.source.name, name, work.metric)
    return replace(task, rows=rows, higher_is_better=work.higher_is_better, work=work, table=None)


def from_harness() -> Task | None:
    """Tasks of lm-evaluation-harness, run on this model as a background job."""
    allowed = host.host_settings()
    if not allowed.scores.harness:
        st.info(
            "The host of this app does not let visitors run the evaluation harness. Results that you have already are "
            "read under *File*."
        )
        return None
    version = lm_eval.available()
    if version is None:
        st.info(
            f"The evaluation harness is an extra and is not there: {wording.said(lm_eval.INSTALL)}. Results that you "
            "have already are read under *File*."
        )
        return None
    columns = st.columns([2, 2, 1, 1])
    text = columns[0].text_input(
        "Tasks", key="harness_tasks", placeholder="xnli_de, xnli_fr, belebele_deu_Latn", help="Names, with commas."
    )
    include = ""
    if allowed.scores.task_folders != ():
        include = columns[1].text_input(
            "Folder of task definitions, if of your own",
            key="harness_include",
            help="YAML files; Python that they name is run, so give a folder that you trust.",
        )
    limit = columns[2].number_input("First documents", 0, None, 0, key="harness_limit", help="0 for all.")
    shots = columns[3].number_input("Examples", -1, 64, -1, key="harness_shots", help="-1 for the task's own number.")
    if not text.strip(" ,"):
        st.caption(f"lm_eval {version} is there; name the tasks to run on {wording.safe(plan.source.name)}.")
        return None
    tasks = lm_eval.parse_tasks(text)
    work = lm_eval.HarnessRun(
        plan,
        tasks,
        allowed.task_folder(include),
        limit=int(limit) or None,
        num_fewshot=None if shots < 0 else int(shots),
    )
    if not measured(work):
        return None
    scores = score_files.read_scores(work.results_files(services.store))
    named = scores.table.assign(model=plan.source.name)  # the harness knows it by its folder
    return task_choice(replace(scores, table=named), "harness")


def measured(work: Work) -> bool:
    """Whether a measure is complete; where it is not, its button or its progress."""
    return progress.ready(work, "Measure", "measure_button", type="primary", icon=":material/play_arrow:")


# ------------------------------------------------------------------------------------------------------------- choices


SOURCES: dict[str, Callable[[], Task | None]] = {
    "Measured here": from_measure,
    "Published": from_published,
    "File": from_file,
    "lm-evaluation-harness": from_harness,
}
with st.container(border=True):
    source = controls.segments("Task scores", list(SOURCES), "Measured here", "scores_from")
    with selection.recompute_if_corrupt(whole_plan):
        task = SOURCES[source]()
if task is None:
    st.info("There are no task scores yet; choose or measure some above.")
    st.stop()

now = controls.reading_choice("downstream")
state, pooling, layers = now.state, now.pooling, now.layers
method = METHODS[state]
used = task_correlation.points(plan, task.scores)
with st.expander(f"{len(used.languages)} languages have both alignment and a score", icon=":material/join:"):
    for sentence in task.unmatched:
        st.caption(wording.safe(sentence))
    if task.source:
        st.caption(wording.safe(f"Source: {task.source}"))
    with messages.errors_shown():
        joined = pd.DataFrame(
            {
                "language": used.languages,
                "label": [wording.label(code) for code in used.languages],
                "alignment": scores_of(task, state, pooling).pooled(layers)[used.at],
                "score": used.y,
                "n": [task.n.get(code, np.nan) for code in used.languages],
            }
        )
    st.dataframe(exports.harmless_table(joined), hide_index=True)
    st.download_button(
        "CSV", exports.csv_text(joined), "downstream.csv", "text/csv", icon=":material/download:", key="joined-csv"
    )
if len(used.languages) < correlation.FEWEST:
    st.warning(
        f"{len(used.languages)} languages have both an alignment and a score; a correlation needs at least "
        f"{correlation.FEWEST}. Choose more languages in *Run*, or scores of more languages."
    )
    st.stop()
if len(used.languages) < correlation.FEW:
    st.warning(f"Only {len(used.languages)} languages: one of them can make the result.")


def script_of(code: str) -> str:
    script = languages.script(code) or ""
    name = languages.script_name(script) if script else "unknown"
    return f"Han ({name.lower()})" if script in ("Hans", "Hant") else name


def shares() -> dict[str, float]:
    """Training shares, where they are known."""
    return training.shares() if plan.source.kind == "demo" else {}


# ------------------------------------------------------------------------------------------------------------- scatter


def figures(one: correlation.Correlation) -> None:
    """The figures of a correlation, side by side."""
    with st.container(horizontal=True, gap="medium"):
        st.metric("Pearson's r", f"{one.pearson_r:.3f}", width="content")
        st.metric("95 % interval", f"{one.pearson_low:.2f} … {one.pearson_high:.2f}", width="content")
        st.metric("p", f"{one.pearson_p:.2g}", width="content")
        st.metric("Spearman's rho", f"{one.spearman_rho:.3f}", width="content")
        st.metric("Kendall's tau", f"{one.kendall_tau:.3f}", width="content")
        st.metric("Languages", one.n, width="content")
    st.caption(
        f"Fisher's interval; the bootstrap over languages gives {one.bootstrap_low:.2f} … {one.bootstrap_high:.2f}. "
        "p is two-sided and takes languages for independent, which relatives are not."
    )


COLOURINGS = ("script", "family", "training share")


def coloured(codes: tuple[str, ...], by: str) -> list[str]:
    if by == "script":
        return [script_of(code) for code in codes]
    if by == "family":
        return [languages.family(code) for code in codes]
    known = shares()
    return [f"{known[code]:g}" if code in known else "unknown" for code in codes]


def point_table(x: np.ndarray, y: np.ndarray, by: str) -> pd.DataFrame:
    """The languages as charts.scatter takes them."""
    return pd.DataFrame(
        {
            "language": used.languages,
            "label": [wording.label(code) for code in used.languages],
            "x": x,
            "y": y,
            "group": coloured(used.languages, by),
            "more": [f"alignment {a:.4f}, score {b:.4f}" for a, b in zip(joined["alignment"], used.y, strict=True)],
        }
    )


def regression_line(span: np.ndarray, x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """The line of y on x with its band, from the least to the largest of `span`; empty where x is constant."""
    at = np.linspace(span.min(), span.max(), 60)
    fit = regression.regression(x, y, at)
    return pd.DataFrame({"x": at, "mean": fit.line, "low": fit.low, "high": fit.high}).dropna()


def show_scatter() -> None:
    columns = st.columns(3)
    by = columns[0].selectbox("Colour", COLOURINGS if shares() else COLOURINGS[:2], key="scatter_colour")
    x_scale = columns[1].selectbox("Scale of alignment", transforms.TRANSFORMS, key="scatter_x")
    y_scale = columns[2].selectbox("Scale of the task score", transforms.TRANSFORMS, key="scatter_y")
    selection = st.session_state.get("scatter", {}).get("selection", {})
    off = {point.get("language") for point in selection.get("off", [])}
    result = scores_of(task, state, pooling)
    x = transforms.transformed(result.pooled(layers)[used.at], x_scale, result.n_sentences)
    n = np.array([task.n.get(code, np.nan) for code in used.languages])
    if y_scale == "logit" and not np.isfinite(n).all():
        n = np.where(np.isfinite(n), n, 100.0)
        st.caption("Where the number of test items is unknown, the logit takes 100.")
    y = transforms.transformed(used.y, y_scale, n if y_scale == "logit" else None)
    kept = np.array([code not in off for code in used.languages])
    if kept.sum() < correlation.FEWEST:
        st.warning(f"Fewer than {correlation.FEWEST} languages are left; click a grey point to take it back in.")
        one, line = None, pd.DataFrame(columns=["x", "mean", "low", "high"])
    else:
        one = correlation.correlate(x[kept], y[kept])
        line = regression_line(x, x[kept], y[kept])
    points = point_table(x, y, by)
    names = {"identity": "", "log": "ln of ", "logit": "logit of "}
    chart = charts.scatter(
        points,
        line,
        x_title=f"{names[x_scale]}{method}, {layers} over layers",
        y_title=f"{names[y_scale]}{task.title}",
        colour=by.capitalize(),
        title="Alignment with the pivot and task score, language by language",
    )
    if one is not None:
        figures(one)
    st.altair_chart(chart, on_select="rerun", selection_mode="off", key="scatter")
    gone = [code for code in used.languages if code in off]
    st.caption(
        "Click a point to switch its language off, and again to bring it back."
        + (f" Off: {', '.join(map(wording.label, gone))}." if gone else "")
    )
    exporting.downloads(points.assign(switched_off=~kept), chart, "scatter")


# ------------------------------------------------------------------------------------------------------------ by layer


def layer_table(states: tuple[str, ...] = CHOICES["state"]) -> pd.DataFrame:
    tables = []
    for name in states:
        one = layer_choice.correlation_by_layer(scores_of(task, name, pooling).score[used.at], used.y)
        columns = {key: getattr(one, key) for key in ("r", "low", "high", "p", "rho", "tau")}
        tables.append(pd.DataFrame({"method": METHODS[name], "layer": range(len(one.r)), **columns}))
    return pd.concat(tables, ignore_index=True)


def show_layers() -> None:
    table = layer_table()
    with_paper = st.toggle("The paper's figures, for orientation", key="layers_paper")
    chart = charts.correlation_by_layer(
        table,
        f"Correlation with {task.title} by layer; a diamond marks the best",
        PAPER if with_paper else None,
        lower_is_better=not task.higher_is_better,
    )
    st.altair_chart(chart)
    if with_paper:
        st.caption(
            "Dotted: figures that NeuronXA (Huang et al., ACL 2025) reports for large models: correlation with XNLI by "
            "MEXA 0.8370, NAVCA 0.8937 and NASCA 0.9326, and 0.9556 as the mean over tasks with 100 sentence pairs."
        )
    rows = []
    for name in CHOICES["state"]:
        scores = scores_of(task, name, pooling).score[used.at]
        try:
            nested = layer_choice.nested_layer_choice(scores, task.sign * used.y)
        except NeuronXAError as error:
            st.caption(wording.safe(str(error)))
            break
        rows.append(
            {
                "method": METHODS[name],
                "best layer": nested.best,
                "r there": task.sign * nested.optimistic,
                "r on languages that did not choose it": task.sign * nested.mean,
                "90 % of halves from": np.nanquantile(task.sign * nested.held_out, 0.05),
                "to": np.nanquantile(task.sign * nested.held_out, 0.95),
                "optimism": nested.gap,
            }
        )
    if rows:
        st.caption(
            "Picking the best layer is selection: it was chosen on half of the languages and tested on the other half, "
            "200 times."
        )
        number = st.column_config.NumberColumn(format="%.3f")
        nested_table = pd.DataFrame(rows)
        st.dataframe(
            nested_table,
            hide_index=True,
            column_config={name: number for name in nested_table.columns if name not in ("method", "best layer")},
        )
    exporting.downloads(table, chart, "correlation-by-layer")


# ------------------------------------------------------------------------------------------------------------- methods


def tasks_at_hand() -> list[Task]:
    """The task that is shown, and the others of its model in the same source."""
    if source == "Published":
        table = published_scores().select(model=task.model)
        return [matched(table, *row) for row in table.groups[["model", "task", "metric"]].itertuples(index=False)]
    if source == "Measured here":
        return [task, *(other for other in measured_already() if other.name != task.name)]
    return [task]


def measured_already() -> list[Task]:
    """The other measures, as they are asked for by default, where they are complete."""
    works = [bitext_retrieval.BitextRetrieval(plan, "nas", now.pooling)]
    if plan.corpus.labels is not None:
        works.append(probe.LinearProbe(plan, plan.pivot, "emb", now.pooling))
    if plan.info.causal:
        works.append(likelihood.NatsPerByte(plan))
    return [measured_task(work) for work in works if not work.totals(services.store)]


def methods_table(tasks: list[Task]) -> pd.DataFrame:
    """r, interval and n of every method with every task."""
    rows = []
    for one in tasks:
        points = task_correlation.points(plan, one.scores)
        if len(points.languages) < correlation.FEWEST:
            continue
        for name in CHOICES["state"]:
            for how in ("weighted", "last"):
                result = scores_of(one, name, how)
                for pooled in CHOICES["layers"]:
                    found = correlation.correlate(result.pooled(pooled)[points.at], points.y)
                    rows.append(
                        {
                            "row": f"{METHODS[name]} · {how} · {pooled}",
                            "method": METHODS[name],
                            "pooling": how,
                            "layers": pooled,
                            "task": one.title,
                            "r": found.pearson_r,
                            "low": found.pearson_low,
                            "high": found.pearson_high,
                            "p": found.pearson_p,
                            "n": found.n,
                            "text": f"{found.pearson_r:.3f} ({found.n})",
                        }
                    )
    return pd.DataFrame(rows)


def show_methods() -> None:
    table = methods_table(tasks_at_hand())
    chart = charts.methods_by_tasks(table, "Pearson's r (number of languages) of every method with every task")
    st.altair_chart(chart, width="content")
    st.subheader("Is NASCA better than MEXA?", anchor=False)
    x, z = (scores_of(task, name, pooling).pooled(layers)[used.at] for name in ("nas", "emb"))
    one = comparison.compare(x, z, task.sign * used.y)
    if not task.higher_is_better:
        st.caption("Less is better in this task, so its scores are turned round here: a larger r predicts better.")
    with st.container(horizontal=True, gap="medium"):
        st.metric("r of NASCA", f"{one.r_xy:.3f}", width="content")
        st.metric("r of MEXA", f"{one.r_zy:.3f}", width="content")
        st.metric("Difference", f"{one.difference:+.3f}", width="content")
        st.metric("95 % interval", f"{one.low:+.2f} … {one.high:+.2f}", width="content")
        st.metric("Resamples with NASCA ahead", f"{one.share_first_larger:.0%}", width="content")
        st.metric("Williams' p", f"{one.p:.2g}", width="content")
    said = {
        True: "By that test the difference is beyond chance.",
        False: "By that test the difference is within chance.",
        None: "The two cannot be compared: one of them, or the task's score, is the same for all languages, or they "
        "say the same.",
    }[one.beyond_chance]
    st.caption(
        f"With {wording.safe(task.title)}, {pooling}, layers by {layers}. Paired bootstrap over {one.n} languages, and "
        f"Williams' test for dependent correlations (t = {one.t:.2f}, {one.dof} degrees of freedom). {said}"
    )
    exporting.downloads(table.drop(columns="text"), chart, "methods-by-tasks")


# ----------------------------------------------------------------------------------------------------------- sentences


@st.cache_resource(max_entries=16, show_spinner="Drawing sentences …")
def curve(
    key: str, state: str, pooling: str, layers: str, codes: tuple[str, ...], y: tuple[float, ...], _plan: Plan
) -> pd.DataFrame:
    n = _plan.corpus.n_sentences
    sizes = [size for size in SENTENCE_STEPS if size < n] + [n]
    return sentence_subsets.sentence_curve(
        task_correlation.competitor_masks(_plan, services.store, state, pooling),
        codes,
        range(_plan.info.layers),
        np.array(y),
        sizes,
        layer_pooling=layers,
    )


def show_sentences() -> None:
    table = curve(
        alignment.scores_key(plan, state, pooling), state, pooling, layers, used.languages, tuple(used.y), plan
    )
    chart = charts.sentence_curve(table.dropna(subset="r"), f"Correlation with {task.title} by number of sentences")
    st.altair_chart(chart)
    close = table[(table["r"] - table["r"].iloc[-1]).abs() <= 0.05]
    if len(close):
        st.caption(
            f"From {int(close['sentences'].iloc[0])} sentence pairs on the mean r is within 0.05 of that of all "
            f"{int(table['sentences'].iloc[-1])}. In every draw sentences compete with those of the draw only. The "
            "score itself falls as sentences are added, since each gets more rivals."
        )
    if task.rows is not None:
        st.caption("Drawn from all sentences, so that here alignment and the task share some.")
    exporting.downloads(table, chart, "correlation-by-sentences")


# -------------------------------------------------------------------------------------------------------------- doubts


@st.cache_resource(max_entries=16, show_spinner=False)
def fertility(key: str, _plan: Plan) -> dict[str, float]:
    return task_correlation.tokens_per_sentence(_plan, services.store)


def show_doubts() -> None:
    x = scores_of(task, state, pooling).pooled(layers)[used.at]
    codes = used.languages
    known = shares()
    constant = {
        "tokens a sentence": pd.DataFrame({"tokens": [fertility(plan.key, plan)[code] for code in codes]}),
        "script": pd.DataFrame({"script": [script_of(code) for code in codes]}),
    }
    if known:
        constant["training share"] = pd.DataFrame({"share": [known.get(code, np.nan) for code in codes]})
        both = [constant["tokens a sentence"], constant["training share"]]
        constant["training share and tokens"] = pd.concat(both, axis=1)
    plain = correlation.correlate(x, used.y)

    def row(name: str, one: correlation.Correlation | partial.Partial) -> tuple:
        return name, one.n, one.pearson_r, one.pearson_low, one.pearson_high, one.pearson_p, one.spearman_rho

    rows, refused = [row("nothing", plain)], []
    for name, frame in constant.items():
        try:
            one = partial.partial(x, used.y, frame)
        except NeuronXAError as error:
            refused.append(f"{name}: {error}")
            continue
        rows.append(row(name, one))
    table = pd.DataFrame(rows, columns=["held constant", "n", "r", "low", "high", "p", "rho"])
    st.markdown("**Correlation with something held constant**")
    number = st.column_config.NumberColumn(format="%.3f")
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            **dict.fromkeys(("r", "low", "high", "rho"), number),
            "p": st.column_config.NumberColumn(format="%.2g"),
        },
    )
    for sentence in refused:
        st.caption(wording.safe(sentence))
    st.markdown("**Without one language**")
    if len(codes) <= correlation.FEWEST:
        st.caption(f"Leaving one out would leave fewer than {correlation.FEWEST} languages.")
        return
    influence = regression.leave_one_out(x, used.y, codes)
    influence.insert(1, "label", [wording.label(code) for code in influence["language"]])
    st.dataframe(
        influence,
        hide_index=True,
        height=320,
        column_config={
            "language": "Code",
            "label": "Without",
            "r": st.column_config.NumberColumn("r without it", format="%.3f"),
            "change": st.column_config.NumberColumn("Change of r", format="%+.3f"),
            "cooks_distance": st.column_config.NumberColumn("Cook's distance", format="%.3f"),
        },
    )
    st.download_button("CSV", exports.csv_text(influence), "leave-one-out.csv", "text/csv", icon=":material/download:")


# ------------------------------------------------------------------------------------------------------------ estimate


def show_estimate() -> None:
    if not task.higher_is_better or min(task.scores.values()) < 0 or max(task.scores.values()) > 1:
        st.info("The estimate is for scores between 0 and 1 of which more is better, such as an accuracy.")
        return
    pivot_score = task.scores.get(plan.pivot, np.nan)
    if not np.isfinite(pivot_score):
        st.info(f"The scores have none for the pivot {wording.label(plan.pivot)}, which the estimate multiplies.")
        pivot_score = st.number_input("The pivot's own score", 0.0, 1.0, 0.8, 0.01, key="pivot_score")
    result = scores_of(task, state, pooling).pooled(layers)
    unknown = [k for k, code in enumerate(plan.languages) if code not in task.scores and code != plan.pivot]
    found = regression.predicted(result[used.at], used.y, result[unknown], float(pivot_score))
    rows = [
        ("alignment × pivot's score (MEXA)", found.adjusted_error),
        ("line through the other languages", found.line_error),
        ("mean of the other languages", found.mean_error),
    ]
    number = st.column_config.NumberColumn(format="%.3f")
    st.markdown(f"**Errors on the {len(used.languages)} languages with a score**")
    st.dataframe(
        pd.DataFrame(
            [(name, one.mean_absolute, one.root_mean_square, one.bias) for name, one in rows],
            columns=["estimate", "mean absolute error", "root mean square", "bias"],
        ),
        hide_index=True,
        column_config={"mean absolute error": number, "root mean square": number, "bias": number},
    )
    best = min(rows, key=lambda row: row[1].mean_absolute)[0]
    st.caption(f"The smallest mean absolute error has: {best}.")
    everyone = pd.DataFrame({"language": [code for code in plan.languages if code != plan.pivot]})
    at = [plan.languages.index(code) for code in everyone["language"]]
    known = regression.predicted(result[used.at], used.y, result[at], float(pivot_score))
    everyone["label"] = [wording.label(code) for code in everyone["language"]]
    everyone["alignment"] = result[at]
    everyone["score"] = [task.scores.get(code, np.nan) for code in everyone["language"]]
    everyone["MEXA's estimate"] = known.adjusted
    everyone["line"] = known.line
    st.markdown(f"**All languages; {len(unknown)} have no score of their own**")
    st.dataframe(
        everyone.sort_values("MEXA's estimate", ascending=False),
        hide_index=True,
        column_config={"alignment": number, "score": number, "MEXA's estimate": number, "line": number},
    )
    st.download_button("CSV", exports.csv_text(everyone), "estimates.csv", "text/csv", icon=":material/download:")


# -------------------------------------------------------------------------------------------------------------- models


def other_plan(model: str) -> Plan | None:
    """Another model's plan on the same corpus and languages; None, and a button, where it is not computed."""
    chosen: Experiment = replace(now, model=model)
    try:
        whole = cached.plan_for(chosen)
    except NeuronXAError as error:
        st.error(wording.said(str(error)), icon=":material/error:")
        return None
    work = computing.Extraction(whole)
    lacking = len(work.totals(services.store))
    if not progress.ready(work, f"Compute {wording.safe(model)}", f"compute-{model}"):
        st.caption(wording.safe(f"{lacking} languages of {model} are not computed."))
        return None
    return whole


def show_models() -> None:
    typed = st.text_input(
        "Other models, separated by commas",
        key="other_models",
        placeholder="/models/another, Qwen/Qwen3-8B",
        help="Folders or hub ids; their states on the same corpus are used, or computed when you ask for it.",
    )
    names = [name for name in dict.fromkeys(part.strip() for part in typed.split(",")) if name and name != now.model]
    plans = [plan, *(found for name in names if (found := other_plan(name)) is not None)]
    if len(plans) < 2:
        st.info("Name at least one more model to compare with.")
        return
    codes = [code for code in plan.languages if all(code in other.languages for other in plans)]
    curves, pooled, points = [], {}, []
    for other in plans:
        result = cached.alignment_of(other, state, pooling)
        at = [result.languages.index(code) for code in codes]
        by_layer = result.score[at]
        spread = by_layer.std(axis=0, ddof=1) / np.sqrt(len(at)) if len(at) > 1 else np.zeros(by_layer.shape[1])
        count = by_layer.shape[1]
        curves.append(
            pd.DataFrame(
                {
                    "model": other.source.name,
                    "layer": range(count),
                    "depth": np.linspace(0, 1, count) if count > 1 else [0.5],
                    "score": by_layer.mean(axis=0),
                    "low": by_layer.mean(axis=0) - 1.96 * spread,
                    "high": by_layer.mean(axis=0) + 1.96 * spread,
                }
            )
        )
        pooled[other.source.name] = pd.Series(alignment.pool_layers(by_layer, layers), index=codes)
        own = scores_for(other)
        points += [
            {"model": other.source.name, "language": code, "x": pooled[other.source.name][code], "y": own[code]}
            for code in codes
            if code in own
        ]
    table = pd.concat(curves, ignore_index=True)
    chart = charts.model_curves(table, f"{method} by relative depth, mean over {len(codes)} languages")
    st.altair_chart(chart)
    st.caption("Layer 0 is at depth 0, the last at 1. Bands: ± 1.96 standard errors over languages.")
    ranking = pd.DataFrame(pooled)
    ranking.insert(0, "label", [wording.label(code) for code in codes])
    st.dataframe(exports.harmless_table(ranking.rename_axis("language").reset_index()), hide_index=True)
    first = plans[0].source.name
    for other in plans[1:]:
        name = other.source.name
        if len(codes) < correlation.FEWEST or name == first:
            continue
        gap = across_models.paired_difference(pooled[first], pooled[name])
        st.caption(
            wording.safe(
                f"{first} less {name}: {gap.difference:+.4f} on average (95 % interval {gap.low:+.4f} to "
                f"{gap.high:+.4f} over {gap.n} languages)."
            )
        )
    exporting.downloads(table, chart, "models-by-depth")
    frame = pd.DataFrame(points, columns=["model", "language", "x", "y"])
    for other in plans[1:]:
        measure_for(other)
    if frame["model"].nunique() < 2:
        st.info("The scores above are of one model only, so no correlation over several models is shown.")
        return
    several = across_models.pooled_and_within(frame)
    drawn = frame.assign(
        label=[
            f"{wording.label(code)}, {model}" for code, model in zip(frame["language"], frame["model"], strict=True)
        ],
        group=frame["model"],
        more=frame["model"],
    )
    both = charts.scatter(
        drawn, pd.DataFrame(), x_title=method, y_title=task.title, colour="Model", title="All models' languages"
    )
    st.altair_chart(both)
    with st.container(horizontal=True, gap="medium"):
        st.metric("r over all points", f"{several.pooled_r:.3f}", width="content")
        st.metric("r within models", f"{several.within_r:.3f}", width="content")
        st.metric("its 95 % interval", f"{several.within_low:.2f} … {several.within_high:.2f}", width="content")
    if several.simpson:
        st.warning("The points together turn the sign of what holds within the models (Simpson's paradox).")
    st.dataframe(exports.harmless_table(several.per_model), hide_index=True)


def measure_for(other: Plan) -> None:
    """A button, or the progress, where the task is measured here and not yet on another model."""
    if task.work is not None:
        name = other.source.name
        work = replace(task.work, plan=other)
        progress.ready(
            work, f"Measure {wording.safe(f'{task.name} on {name}')}", f"measure-{name}", icon=":material/play_arrow:"
        )


def scores_for(other: Plan) -> dict[str, float]:
    """The task's scores of another model, where they are measured or the source has them."""
    if other.source == plan.source:
        return task.scores
    if task.work is not None:
        work = replace(task.work, plan=other)
        if work.totals(services.store):
            return {}
        return {code: one.score for code, one in work.results(services.store).items()}
    if task.table is None:
        return {}
    named = task_correlation.same_model(other, list(dict.fromkeys(task.table.table["model"])))
    if named is None:
        return {}
    try:
        return matched(task.table, named, task.name, task.metric).scores
    except NeuronXAError:
        return {}


# -------------------------------------------------------------------------------------------------------------- report


def show_report() -> None:
    st.caption("The report is made when you ask for it; it opens in any browser, without a network.")
    if st.button("Make the report", icon=":material/summarize:", key="report_make"):
        with st.spinner("Drawing …"):
            st.session_state.report = (report_key(), the_report())
    kept = st.session_state.get("report")
    if kept and kept[0] == report_key():
        name = f"downstream-{exports.file_name(plan.source.name)}.html"
        st.download_button(
            "HTML", kept[1], name, "text/html", icon=":material/download:", type="primary", key="report_html"
        )
        st.caption(f"Ready: {wording.size(len(kept[1]))}.")


def report_key() -> str:
    return digest(
        [alignment.scores_key(plan, state, pooling), layers, task.title, task.model, sorted(task.scores.items())]
    )


def the_report() -> str:
    result = scores_of(task, state, pooling)
    x = result.pooled(layers)[used.at]
    one = correlation.correlate(x, used.y)
    by_layer = layer_table()
    methods = methods_table(tasks_at_hand())
    scatter = charts.scatter(
        point_table(x, used.y, "script"),
        regression_line(x, x, used.y),
        x_title=f"{method}, {layers} over layers",
        y_title=task.title,
        colour="Script",
        title="Alignment with the pivot and task score",
    ).properties(width=700)
    sections = [
        reports.Section(
            "Correlation over languages",
            [
                f"Pearson's r = {one.pearson_r:.4f} (95 % interval {one.pearson_low:.4f} to {one.pearson_high:.4f}, "
                f"p = {one.pearson_p:.3g}), Spearman's rho = {one.spearman_rho:.4f}, Kendall's tau = "
                f"{one.kendall_tau:.4f}, n = {one.n} languages without the pivot.",
                HELP["Scatter"],
            ],
            scatter,
            joined,
        ),
        reports.Section(
            "By layer",
            [HELP["By layer"]],
            charts.correlation_by_layer(
                by_layer, "Correlation by layer", lower_is_better=not task.higher_is_better
            ).properties(width=700),
            by_layer,
        ),
        reports.Section(
            "Methods and tasks",
            [HELP["Methods"]],
            charts.methods_by_tasks(methods, "Pearson's r (number of languages)"),
            methods.drop(columns=["text", "row"]),
        ),
    ]
    if one.n > correlation.FEWEST:
        influence = regression.leave_one_out(x, used.y, used.languages)
        sections.append(reports.Section("Without one language", [HELP["Doubts"]], None, influence))
    if task.unmatched:
        sections.append(reports.Section("What was not used", task.unmatched))
    choices = {
        "model": plan.source.name,
        "model identity": plan.identity,
        "corpus": f"{plan.corpus.name}, {result.n_sentences} sentences",
        "pivot": wording.label(plan.pivot),
        "state, sentence vector, layers": f"{state}, {pooling}, {layers}",
        "neuron, dtype": f"{plan.experiment.neuron}, {plan.dtype}",
        "task": task.title,
        "scores of": task.model,
        "source of the scores": task.source,
    }
    command = f"python -m neuronxa_core score {wording.command_line(now)} --states nas nav emb --out scores.csv"
    correlate = f"python -m neuronxa_core correlate {wording.command_line(now)} --scores downstream.csv"
    return reports.html_report(
        f"Alignment and {task.name}: {plan.source.name}", choices, sections, [command, correlate], datetime.now()
    )


VIEWS = {
    "Scatter": show_scatter,
    "By layer": show_layers,
    "Methods": show_methods,
    "Sentences": show_sentences,
    "Doubts": show_doubts,
    "Estimate": show_estimate,
    "Models": show_models,
    "Report": show_report,
}
controls.show_views(
    {name: lambda _, show=show: show() for name, show in VIEWS.items()}, "downstream_view", selected, HELP
)
