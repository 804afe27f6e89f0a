"""Models: the same corpus and task in several models, within each and over all of them."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from neuronxa_core import charts, exports
from neuronxa_core.errors import NeuronXAError
from neuronxa_core.measures import task_tables
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.planning import Plan
from neuronxa_core.statistics import across_models, correlation
from pages.components import cached, exporting, progress, wording
from pages.views.downstream import model_grid
from pages.views.downstream.selection import TaskSelection

SAYS = (
    "Several models at once, their correlations within each and over all points. Points of all models together can "
    "correlate, or not, for reasons that hold in no single model (Simpson's paradox)."
)


def show(selection: TaskSelection) -> None:
    typed = st.text_input(
        "Other models, separated by commas",
        key="other_models",
        placeholder="/models/another, Qwen/Qwen3-8B",
        help="Folders or hub ids; their states on the same corpus are used, or computed when you ask for it.",
    )
    own = selection.experiment.model
    names = [name for name in dict.fromkeys(map(str.strip, typed.split(","))) if name and name != own]
    found = [selection.plan, *(plan for name in names if (plan := _plan_of(selection, name)) is not None)]
    plans = {plan.source.name: plan for plan in reversed(found)}
    plans = dict(reversed(plans.items()))
    if len(plans) < 2:
        shown = f"{wording.safe(own)} is the model that is shown. " if own in map(str.strip, typed.split(",")) else ""
        st.info(f"{shown}Name at least one more model to compare with.")
        return
    codes = [code for code in selection.plan.languages if all(code in plan.languages for plan in plans.values())]
    how = selection.experiment
    alignments = {name: cached.alignment_of(plan, how.state, how.pooling) for name, plan in plans.items()}
    scores = task_tables.by_model(alignments, codes, how.layers)
    _show_depths(selection, task_tables.by_depth(alignments, codes), scores)
    first, *others = plans
    for name in others:
        _measure_on(selection, plans[name])
    tasks = {name: selection.task.of_model(plans[name], selection.store) for name in others}
    _show_tasks(selection, task_tables.points_of_models(scores, {first: selection.task.scores, **tasks}))
    model_grid.show(selection, plans)


def _plan_of(selection: TaskSelection, model: str) -> Plan | None:
    """Another model's plan on the same corpus and languages; None, and a button, where it is not computed."""
    try:
        plan = cached.plan_for(replace(selection.experiment, model=model))
    except NeuronXAError as error:
        st.error(wording.said(str(error)), icon=":material/error:")
        return None
    work = Extraction(plan)
    missing = len(work.totals(selection.store))
    if progress.ready(work, f"Compute {wording.safe(model)}", f"compute-{model}"):
        return plan
    st.caption(wording.safe(f"Not computed yet: {wording.counted(missing, 'language')} of {model}."))
    return None


def _show_depths(selection: TaskSelection, table: pd.DataFrame, scores: pd.DataFrame) -> None:
    """Mean scores by relative depth, and how much the models differ."""
    title = f"{selection.method} by relative depth, mean over {len(scores)} languages"
    chart = charts.model_curves(table, title)
    st.altair_chart(chart)
    st.caption("Layer 0 is at depth 0, the last at 1. Bands: ± 1.96 standard errors over languages.")
    ranking = scores.reset_index()
    ranking.insert(1, "label", ranking["language"].map(wording.label))
    st.dataframe(exports.harmless_table(ranking), hide_index=True)
    first, *others = scores
    for name in others if len(scores) >= correlation.FEWEST else ():
        gap = across_models.paired_difference(scores[first], scores[name])
        st.caption(
            wording.safe(
                f"{first} less {name}: {gap.difference:+.4f} on average (95 % interval {gap.low:+.4f} to "
                f"{gap.high:+.4f} over {gap.n} languages)."
            )
        )
    exporting.downloads(table, chart, "models-by-depth")


def _measure_on(selection: TaskSelection, other: Plan) -> None:
    """A button, or the progress, where the task is measured here and not yet on another model."""
    if selection.task.measure is not None:
        name = other.source.name
        label = f"Measure {wording.safe(f'{selection.task.name} on {name}')}"
        measure = replace(selection.task.measure, plan=other)
        progress.ready(measure, label, f"measure-{name}", icon=":material/play_arrow:")


def _show_tasks(selection: TaskSelection, points: pd.DataFrame) -> None:
    """All models' languages in one scatter, and the correlation within and over models."""
    if points["model"].nunique() < 2:
        st.info("The scores above are of one model only, so no correlation over several models is shown.")
        return
    several = across_models.pooled_and_within(points)
    labels = points["language"].map(wording.label) + ", " + points["model"]
    drawn = points.assign(label=labels, group=points["model"], more=points["model"])
    chart = charts.scatter(
        drawn,
        pd.DataFrame(),
        x_title=selection.method,
        y_title=selection.task.title,
        colour="Model",
        title="All models' languages",
    )
    st.altair_chart(chart)
    exporting.figures(
        {
            "r over all points": f"{several.pooled_r:.3f}",
            "r within models": f"{several.within_r:.3f}",
            "its 95 % interval": f"{several.within_low:.2f} … {several.within_high:.2f}",
        }
    )
    if several.simpson:
        st.warning("All points together have the opposite sign of what holds within the models (Simpson's paradox).")
    st.dataframe(exports.harmless_table(several.per_model), hide_index=True)
