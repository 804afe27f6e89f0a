"""Scatter: a point per language, its correlation, and the same without languages that are excluded."""

from __future__ import annotations

import streamlit as st

from neuronxa_core import charts
from neuronxa_core.corpora import languages
from neuronxa_core.measures import task_tables
from neuronxa_core.measures.task_verdict import verdict
from neuronxa_core.statistics import correlation, transforms
from neuronxa_core.tasks import covariates
from pages.components import exporting, wording
from pages.views.downstream import robustness
from pages.views.downstream.selection import TaskSelection

SAYS = (
    "Each point is a language: its alignment with the pivot, and its task score. A correlation over languages does not "
    "show that alignment causes the score: languages with more training data have more of both."
)
SCALE_NAMES = {"identity": "", "log": "ln of ", "logit": "logit of "}
ITEMS_ASSUMED = 100.0


def show(selection: TaskSelection) -> None:
    points, task, joined = selection.points, selection.task, selection.joined
    known = selection.known
    table, _ = robustness.with_controls(selection)
    st.markdown(verdict(table, selection.method, wording.safe(task.title)))
    side_by_side = st.container(horizontal=True, gap="medium")
    picture, beside = side_by_side.container(width=640), side_by_side.container(width=290)
    figures = beside.container()
    by = beside.selectbox("Colour", list(known), key="scatter_colour")
    x_scale = beside.selectbox("Scale of alignment", transforms.TRANSFORMS, key="scatter_x")
    y_scale = beside.selectbox("Scale of the task score", transforms.TRANSFORMS, key="scatter_y")
    clicked = st.session_state.get("scatter", {}).get("selection", {}).get("off", [])
    excluded = joined["language"].isin([point.get("language") for point in clicked]).to_numpy()
    kept = ~excluded

    x = transforms.transformed(selection.pooled(), x_scale, selection.alignment().counts[selection.points.at])
    items = joined["n"] if y_scale == "logit" else None
    if items is not None and items.isna().any():
        items = items.fillna(ITEMS_ASSUMED)
        beside.caption(f"Where the number of test items is unknown, the logit takes {ITEMS_ASSUMED:.0f}.")
    y = transforms.transformed(points.y, y_scale, items)
    if kept.sum() < correlation.FEWEST:
        beside.warning(f"Fewer than {correlation.FEWEST} languages are left; click a grey point to include it again.")
        line = task_tables.regression_line(x, x[:0], y[:0])
    else:
        with figures:
            families = [languages.family(code) for code, there in zip(points.languages, kept, strict=True) if there]
            _figures(correlation.correlate(x[kept], y[kept]), correlation.by_family(x[kept], y[kept], families))
        line = task_tables.regression_line(x, x[kept], y[kept])
    table = task_tables.scatter_points(joined, x, y, covariates.groups(known[by]))
    chart = charts.scatter(
        table,
        line,
        x_title=f"{SCALE_NAMES[x_scale]}{selection.method}, {selection.experiment.layers} over layers",
        y_title=f"{SCALE_NAMES[y_scale]}{task.title}",
        colour=by[:1].upper() + by[1:],
        title="Alignment with the pivot and task score, language by language",
    )
    picture.altair_chart(chart, on_select="rerun", selection_mode="off", key="scatter")
    picture.caption(
        "Click a point to exclude the language, and again to include it."
        + (f" Excluded: {', '.join(joined.loc[excluded, 'label'])}." if excluded.any() else "")
    )
    exporting.downloads(table.assign(excluded=excluded), chart, "scatter")


def _figures(one: correlation.Correlation, related: correlation.ByFamily) -> None:
    exporting.figures(
        {
            "Pearson's r": f"{one.pearson_r:.3f}",
            "95 % interval": f"{one.pearson_low:.2f} … {one.pearson_high:.2f}",
            "p": f"{one.pearson_p:.2g}",
            "Spearman's rho": f"{one.spearman_rho:.3f}",
            "Kendall's tau": f"{one.kendall_tau:.3f}",
            "Languages": one.n,
        }
    )
    st.caption(
        f"Fisher's interval; the bootstrap over languages gives {one.bootstrap_low:.2f} … {one.bootstrap_high:.2f}. "
        f"Both, and p, which is two-sided, take languages for independent, which relatives are not. "
        f"{related.verdict(one)}"
    )
