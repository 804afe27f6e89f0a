"""A report: one HTML file with charts, tables, choices and versions, which needs nothing else to be read."""

from __future__ import annotations

import html
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

import altair as alt
import numpy as np
import pandas as pd

from neuronxa_core.charts import tasks, theme
from neuronxa_core.exports import harmless
from neuronxa_core.host.redaction import redacted
from neuronxa_core.statistics.correlation import Correlation

PACKAGES = ("torch", "transformers", "numpy", "scipy", "pandas", "altair", "streamlit")
# what a browser may do with a report: draw it
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; font-size: .85rem; } th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; }
th { text-align: left; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } svg { max-width: 100%; height: auto; }
code, pre { background: #f3f3f3; padding: .1rem .3rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.note { color: #555; }
"""


@dataclass(frozen=True)
class Section:
    """A part of a report: a heading, sentences, and a chart or table or both."""

    heading: str
    sentences: Sequence[str] = ()
    chart: alt.TopLevelMixin | None = None
    table: pd.DataFrame | None = None


def correlation_sections(
    one: Correlation,
    joined: pd.DataFrame,
    scatter: alt.TopLevelMixin,
    by_layer: pd.DataFrame,
    by_method: pd.DataFrame,
    influence: pd.DataFrame | None,
    unmatched: Sequence[str],
    says: Mapping[str, str],
    *,
    lower_is_better: bool,
) -> list[Section]:
    """What a report on alignment and a task holds.

    The tables are those of measures.task_tables, influence that of leave_one_out. says: what each part is and is not,
    by scatter, layers, methods, robustness.
    """
    figures = (
        f"Pearson's r = {one.pearson_r:.4f} (95 % interval {one.pearson_low:.4f} to {one.pearson_high:.4f}, "
        f"p = {one.pearson_p:.3g}), Spearman's rho = {one.spearman_rho:.4f}, Kendall's tau = {one.kendall_tau:.4f}, "
        f"n = {one.n} languages without the pivot."
    )
    layers = tasks.correlation_by_layer(by_layer, "Correlation by layer", lower_is_better=lower_is_better)
    methods = tasks.methods_by_tasks(by_method, "Pearson's r (number of languages)")
    sections = [
        Section("Correlation over languages", [figures, says["scatter"]], scatter.properties(width=700), joined),
        Section("By layer", [says["layers"]], layers.properties(width=700), by_layer),
        Section("Methods and tasks", [says["methods"]], methods, by_method.drop(columns="row")),
    ]
    if influence is not None:
        sections.append(Section("Without one language", [says["robustness"]], None, influence))
    if unmatched:
        sections.append(Section("What was not used", unmatched))
    return sections


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers and charts depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def html_report(
    title: str, choices: Mapping[str, object], sections: Sequence[Section], commands: Sequence[str], made: datetime
) -> str:
    """The report as one HTML document: no script, no address that is fetched; all text is escaped, and holds no
    token.

    choices: what was chosen, by name. commands: lines for a shell that make the figures again. made: when.
    """
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{html.escape(title)}</title>',
        f"<style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>",
        f'<p class="note">Made by NeuronXA Explorer on {made:%Y-%m-%d %H:%M}.</p>',
        "<h2>Choices</h2>",
        _table(pd.DataFrame({"choice": list(choices), "value": [str(value) for value in choices.values()]})),
    ]
    for section in sections:
        parts.append(f"<h2>{html.escape(section.heading)}</h2>")
        parts += [f"<p>{html.escape(sentence)}</p>" for sentence in section.sentences]
        if section.chart is not None:
            parts.append(f'<div class="wide">{_inline(section.chart)}</div>')
        if section.table is not None:
            parts.append(f'<div class="wide">{_table(section.table)}</div>')
    parts.append("<h2>How to make it again</h2>")
    parts += [f"<pre>{html.escape(command)}</pre>" for command in commands]
    parts.append("<h2>Versions</h2>")
    parts.append(_table(pd.DataFrame({"package": list(versions()), "version": list(versions().values())})))
    parts.append("</body></html>")
    return redacted("".join(parts))


def _inline(chart: alt.TopLevelMixin) -> str:
    """A chart as an SVG element without the XML prologue."""
    text = theme.svg(chart).decode()
    return text[text.index("<svg") :]


def _cell(value: object) -> str:
    if isinstance(value, bool | np.bool_) or value is None or value is pd.NA:
        return f"<td>{'' if value is None or value is pd.NA else value}</td>"
    if isinstance(value, int | np.integer):
        return f'<td class="number">{int(value):,}</td>'
    if isinstance(value, float | np.floating):
        return f'<td class="number">{"" if np.isnan(value) else f"{value:.4g}"}</td>'
    # a spreadsheet opens HTML, too, and would run what looks like a formula
    return f'<td dir="auto">{html.escape(harmless(str(value)))}</td>'


def _table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{html.escape(harmless(str(column)))}</th>" for column in table.columns)
    rows = "".join(
        "<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in table.itertuples(index=False, name=None)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
