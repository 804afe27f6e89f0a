"""Effect of ablation on each language, beside that of random neurons."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from neuronxa_core import charts
from neuronxa_core.measures import overlap_tables
from neuronxa_core.measures.ablation import Ablation, effects_table, halves, with_controls
from neuronxa_core.measures.lape import LanguageSpecific
from neuronxa_core.measures.overlap_tables import CHANGES, CORE
from neuronxa_core.states.interventions import Neurons
from neuronxa_core.states.planning import Plan
from pages.components import cached
from pages.components.controls import segments
from pages.components.exporting import downloads
from pages.components.progress import ready
from pages.components.wording import counted, label
from pages.views.overlap.selection import OverlapSelection, specific_neurons


def show(selection: OverlapSelection) -> None:
    chosen_on, tested_on = halves(selection.plan)
    st.caption(
        f"Neurons are chosen on {counted(len(chosen_on.corpus.usable), 'sentence')} and tested on the other "
        f"{len(tested_on.corpus.usable)}."
    )
    tested = selection
    selection = replace(selection, plan=chosen_on, counts=cached.activity_of(chosen_on))
    with st.expander("Which neurons are specific (LAPE)"):
        found = specific_neurons(selection)
    sets, affected = _sets(selection, tested.best_aligned(), found)
    if not sets or not affected:
        st.info("Choose neurons to ablate, and at least one language to see the effect on.")
        return
    measure, controls = _measure(tested_on, selection, sets, affected)
    to_do = sum(measure.totals(selection.store).values())
    button = f"Measure {to_do} of {measure.units} effects"
    if not ready(measure, button, "causal_measure_button", type="primary", icon=":material/play_arrow:"):
        st.caption(
            f"{counted(len(measure.sets), 'set')} and the model as it is, each read by "
            f"{counted(len(affected), 'language')}: {measure.sentences} sentences per language and for the pivot."
        )
    table = effects_table(measure, selection.store)
    if table.empty:
        st.caption("Nothing is measured yet.")
        return
    _effects(selection, measure, table, sets, controls)


def _sets(
    selection: OverlapSelection, aligned: list[str], found: LanguageSpecific
) -> tuple[dict[str, Neurons], list[str]]:
    """Sets of neurons to ablate by name, and the languages to see the effect on, from widgets."""
    codes = selection.codes
    counts = dict(zip(found.languages, found.counts().sum(axis=1).tolist(), strict=True))
    own = sorted((code for code in codes if counts[code]), key=lambda code: -counts[code])
    if not own:
        st.warning(
            "LAPE finds no specific neurons with these choices; lower its percentiles above, or raise the share."
        )
    start = list(dict.fromkeys([*[code for code in aligned if counts[code]][:2], *own[:2]]))
    first, second = st.columns(2)
    chosen = first.multiselect(
        "Ablate the specific neurons of",
        own,
        start,
        format_func=lambda code: f"{label(code)} · {counts[code]}",
        key="causal_sets",
    )
    core = selection.criterion.all_sets(selection.counts).all(axis=0)
    with_core = first.toggle(
        f"Also the shared core of all languages · {int(core.sum())}", key="causal_core", disabled=not core.any()
    )
    affected = second.multiselect(
        "See the effect on",
        codes,
        list(dict.fromkeys([*start, selection.plan.pivot, *aligned[:2]])),
        format_func=label,
        key="causal_languages",
    )
    sets = {code: found.neurons_of(code) for code in chosen}
    return sets | ({CORE: Neurons.from_mask(core)} if with_core and core.any() else {}), affected


def _measure(
    plan: Plan, selection: OverlapSelection, sets: dict[str, Neurons], affected: list[str]
) -> tuple[Ablation, int]:
    """The measure and how many random controls each set has, from widgets."""
    info, most = plan.info, len(plan.corpus.usable)
    first, second, third, fourth = st.columns(4)
    sentences = first.number_input(
        "Sentences", 2, most, min(50, most), key="causal_sentences", help="The first so many; fewer are faster."
    )
    controls = second.number_input(
        "Random controls per set",
        19,
        199,
        19,
        key="causal_draws",
        help="Neurons drawn anew: as many in the same layers, of about the same activation probability. The smallest "
        "p that k of them can give is 1 / (k + 1).",
    )
    with third:
        set_to = segments(
            "Neurons are",
            ["zero", "mean"],
            "zero",
            "causal_set_to",
            format_func={"zero": "set to zero", "mean": "set to their mean"}.get,
            help="Zero takes a neuron away, but may be far from all that the network ever meets. The mean, over all "
            "languages and the sentences that chose the neurons, takes away only how it varies.",
        )
    likelihood = info.causal and fourth.toggle(
        "Measure the likelihood",
        True,
        key="causal_likelihood",
        help="Needs the model's language-model head; without it the alignment score alone is measured.",
    )
    if not info.causal:
        fourth.caption(
            f"{info.class_name} is an encoder, which gives no probability to a text: only alignment is measured."
        )
    measure = Ablation(
        plan,
        with_controls(sets, selection.counts, info, int(controls)),
        tuple(affected),
        selection.experiment.pooling,
        int(sentences),
        likelihood=bool(likelihood),
        set_to=set_to,
        chosen_on=selection.plan,
    )
    return measure, int(controls)


def _effects(
    selection: OverlapSelection, measure: Ablation, table: pd.DataFrame, sets: dict[str, Neurons], controls: int
) -> None:
    """The matrix of effects beside the controls', and every set's effect on its own language."""
    offered = [name for name in CHANGES if measure.with_likelihood or name != "nats_per_byte"]
    change = st.segmented_control(
        "Change of",
        offered,
        default=offered[0],
        required=True,
        key="causal_measure",
        format_func=CHANGES.get,
        help="Nats per byte: what the model loses in predicting the text, so more is worse. The scores: alignment with "
        "the pivot, mean over layers, so less is worse.",
    )
    most = max(1, charts.MOST_MARKS // (2 * len(sets)))
    pivot = selection.plan.pivot
    drawn, some = overlap_tables.effects_drawn(table, list(sets), measure.languages, change, pivot, controls, most)
    if some:
        st.caption(f"The {most} languages with the largest changes are drawn; the table has all.")
    chart = None
    if len(drawn):
        chart = charts.effects(drawn, f"Change of {CHANGES[change]}", "Effect of ablation on each language")
        st.altair_chart(chart, width="content")
    summary = overlap_tables.effects_summary(table, sets, measure.languages, change, controls)
    if len(summary):
        st.caption(f"Change of {CHANGES[change]}: a set's effect on its own language, its control, and the others")
        for said in overlap_tables.effects_sentences(summary, controls, change):
            st.markdown(said)
        number = st.column_config.NumberColumn(format="%+.4f")
        whole = ("random: as large", "random: measured")
        named = {"set": "Neurons of", "neurons": "Neurons", **dict.fromkeys(whole, st.column_config.NumberColumn())}
        named["p"] = st.column_config.NumberColumn(format="%.3f")
        st.dataframe(summary, hide_index=True, column_config=dict.fromkeys(summary.columns, number) | named)
    if chart is not None:
        downloads(table, chart, f"ablation-{measure.set_to}-{change}")
