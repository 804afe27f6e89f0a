"""All languages by all layers, what the scores say in words, and the language that was clicked."""

from __future__ import annotations

from dataclasses import replace

import altair as alt
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import alignment, alignment_tables, findings
from neuronxa_core.measures.alignment import Alignment, AlignmentScores, chance_level
from neuronxa_core.measures.findings import Finding
from neuronxa_core.states import planning
from neuronxa_core.states.planning import Plan
from pages.components import cached, controls, links
from pages.components.exporting import downloads, figures
from pages.components.kept import kept
from pages.components.selection import Selection
from pages.components.wording import label, safe

# pixels of the map that are seen at once; a longer one scrolls
HEIGHT = 560
SAYS = (
    "The same sentences are read in every language, or of pairs in two. A sentence is *aligned* when, of all "
    "sentences, its own translation has the most similar neurons, in both directions; the score is the share of "
    "aligned sentences, from 0 to 1."
)


def show(selection: Selection) -> None:
    """The map; where much is to be compared, of the languages that were and some more, and then anew."""
    plan = selection.plan
    work = AlignmentScores(plan, selection.experiment.state, selection.experiment.pooling)
    keeps = not selection.store.last_write_error  # else every pass would begin anew
    waiting = set(work.missing(selection.store)[work.at_once :]) if keeps else set()
    _show(replace(selection, plan=planning.restrict(plan, [code for code in plan.languages if code not in waiting])))
    if waiting:
        st.rerun()


def _show(selection: Selection) -> None:
    found = selection.alignment()
    ranking = alignment_tables.ranking_table(found, "mean")
    model = "the demo model" if selection.plan.source.kind == "demo" else safe(selection.plan.info.name)
    answer = findings.answer(found, ranking, selection.method, model, selection.plan.pivot)
    read, wanted = len(selection.plan.languages), len(selection.whole.languages)
    st.markdown(answer if read == wanted else f"{answer} So far, {read} of {wanted} languages are compared.", help=SAYS)
    figures(findings.figures(found, ranking))
    table = alignment_tables.heat_map_table(found, selection.experiment.layers)
    peaks = dict(zip(found.languages, found.score.argmax(axis=1).tolist(), strict=True))

    def draw(chosen: str | None = None) -> alt.LayerChart:
        return charts.layer_heat_map(table, selection.method, (chosen, peaks[chosen]) if chosen else None)

    row = st.container(horizontal=True, gap="medium")
    picture, side = row.container(width=580), row.container(width=350)
    with picture.container(height=HEIGHT if 18 * len(table) > HEIGHT else "content", border=False):
        code, fields = controls.language_of_chart(draw, "cell", "overview", found.languages)
    layer = int(fields.get("layer", peaks.get(code, 0)))
    with side:
        if code is not None and 0 <= layer < found.score.shape[1]:
            _language(selection, found, code, layer)
        else:
            _findings(selection, found)
    downloads(table.explode("scores").rename(columns={"scores": "score"}), draw(), "overview")


def _findings(selection: Selection, found: Alignment) -> None:
    """What the numbers hold beyond the ranking, each with a way to the view that shows it."""
    st.markdown("**What stands out**")
    chosen, plan = selection.experiment, selection.plan
    every = _found_out(alignment.scores_key(plan, chosen.state, chosen.pooling), chosen.layers, found, plan)
    for number, one in enumerate(every):
        st.markdown(one.says)
        st.caption(one.evidence)
        links.button(f"See {one.view}", "alignment", f"finding-{number}", view=one.view)
    if found.own_sentences:
        st.caption("Whether a middle layer is best is not tested, as that takes the same sentences in all languages.")
    if not every:
        st.caption("No difference between layers, scripts or directions is beyond chance here.")
    st.caption("Click a cell of the map to see its language.")


@kept()
def _found_out(key: str, layers: str, _found: Alignment, _plan: Plan) -> list[Finding]:
    """What stands out: tests by permutation, which a click on the map need not do again."""
    tokens = cached.tokens_of(_plan)
    return findings.findings(_found, layers, _plan.pivot, [tokens[code] for code in _found.languages])


def _language(selection: Selection, found: Alignment, code: str, layer: int) -> None:
    """A language's curve, and a way to its sentences."""
    st.markdown(f"**{safe(label(code))}**")
    one = found.only([code])
    aligned = round(one.score[0, layer] * one.n_sentences)
    st.caption(f"{aligned} of {one.n_sentences} sentences are aligned at layer {layer}.")
    curve = alignment_tables.curve_table(found, [code])
    picture = charts.layer_curves(curve, chance_level(one.n_sentences), selection.method)
    st.altair_chart(picture.properties(height=300))
    query = {"view": "Sentences", "from": selection.plan.pivot, "to": code, "layer": str(layer)}
    links.button("See its sentences", "alignment", "overview-sentences", **query)
