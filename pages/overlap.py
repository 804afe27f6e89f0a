"""Overlap: which neurons languages share, by pair, set and layer, which are theirs alone, and what they do."""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pandas as pd
import streamlit as st

from neuronxa_core import charts, exports
from neuronxa_core.corpora import languages
from neuronxa_core.measures import (
    ablation,
    activation_counts,
    alignment,
    intersections,
    lape,
    neuron_rankings,
    overlap,
    parallel_overlap,
    shared_core,
)
from neuronxa_core.measures.ablation import Ablation
from neuronxa_core.measures.activation_counts import ActivationCounts, ActivationCriterion
from neuronxa_core.measures.alignment import METHODS
from neuronxa_core.measures.lape import LanguageSpecific
from neuronxa_core.states import interventions
from neuronxa_core.states.interventions import Neurons
from neuronxa_core.states.planning import Plan
from neuronxa_core.wording import PARALLEL_KINDS, some_of
from pages.components import cached, controls, exporting, messages, process, progress, selection, session, wording

SECONDS_A_LAYER = 0.9
MOST_SETS = 6
MOST_BARS = 31
# languages that a heat map names at its side
MOST_ROWS = 400

HELP = {
    "Matrix": "Which share of their active neurons two languages have in common, at one layer. A high overlap says "
    "that the same neurons are often on in both, not that they mean the same there: compare *Meaning*.",
    "By layer": "How the overlap of pairs of languages changes from layer to layer; dashed is what independent sets of "
    "the same sizes would share. It is a count of common neurons and no proof that they carry common meaning.",
    "Meaning": "How much the active neurons of a sentence and its translation overlap, against those of sentences that "
    "are no translations: the gap is what meaning, rather than language, contributes. Names and numbers that stay the "
    "same in translation contribute to it too.",
    "Sets": "How many neurons are active in exactly these languages and in none of the others chosen. That a neuron is "
    "active in one of them only says nothing of the languages that were not chosen.",
    "Shared core": "Neurons active in all the chosen languages, beside what independent sets of the same sizes would "
    "share. A large core can come from neurons that are on whatever they read, so a high z is no proof of a "
    "common meaning.",
    "Specific": "LAPE: the neurons whose activation probability is concentrated on the fewest languages. They tell "
    "languages apart; whether the model needs them for a language is asked under *Causal check*.",
    "Causal check": "What becomes of each language when a set of neurons is switched off, beside random neurons of the "
    "same number in the same layers. A larger loss than the control's shows that the language depends on them in this "
    "corpus; a small one does not show that it never does.",
    "Summary": "Every language's active neurons over all layers, how many of them the pivot shares, and how many LAPE "
    "calls its own. The counts depend on what is taken as active, above.",
}

services = process.services()
now = session.experiment()
selected = selection.open_page("Overlap")
whole_plan, plan = selected.whole, selected.plan
with selection.recompute_if_corrupt(whole_plan):
    activity = cached.activity_of(plan)
codes = list(plan.all_languages)
last_layer = plan.info.layers - 1
if len(codes) < 2:
    st.info("Overlap needs at least two languages; choose more in *Run*.")
    st.stop()


def active_rule() -> ActivationCriterion:
    """When a neuron counts as active, from two widgets."""
    with st.container(horizontal=True, gap="large", vertical_alignment="bottom"):
        kind = controls.segments(
            "A neuron is active in a language if it is",
            ["top", "threshold"],
            "top",
            "active_by",
            format_func={"top": "among the most often active", "threshold": "active in enough tokens"}.get,
            help="By rank every language has as many active neurons as any other; by threshold their number differs.",
        )
        if kind == "top":
            percent = st.slider(
                "The layer's neurons with the highest activation probability, %",
                1,
                50,
                10,
                key="active_top",
                bind="query-params",
                width=380,
            )
            return ActivationCriterion("top", percent / 100)
        percent = st.slider(
            "Active in more than this share of the tokens, %",
            0,
            99,
            80,
            key="active_threshold",
            bind="query-params",
            width=380,
        )
        return ActivationCriterion("threshold", percent / 100)


with messages.errors_shown():
    rule = active_rule()


@st.cache_resource(max_entries=32, show_spinner="Comparing languages …")
def overlaps(key: str, kind: str, value: float, measure: str, _activity: ActivationCounts) -> np.ndarray:
    """Overlap of every pair at every layer, [layer, language, language]."""
    return overlap.overlap_by_layer(_activity, ActivationCriterion(kind, value), measure)


@st.cache_resource(max_entries=32, show_spinner="Looking for specific neurons …")
def specific(key: str, share: float, drop: float, assign: float, _activity: ActivationCounts) -> LanguageSpecific:
    """LAPE's language-specific neurons."""
    return lape.lape(_activity, share, drop, assign)


def overlaps_now(measure: str) -> np.ndarray:
    return overlaps(activation_counts.counts_key(plan), rule.kind, rule.value, measure, activity)


def layer_slider(key: str) -> int:
    """A layer from 0; it starts in the middle."""
    return controls.layer_slider(plan.info.layers, last_layer // 2, key)


def pair_choice(key: str, first: str | None = None, second: str | None = None) -> tuple[str, str]:
    """Two languages, side by side."""
    columns = st.columns(2)
    x = columns[0].selectbox(
        "Language",
        codes,
        codes.index(first or codes[0]),
        format_func=wording.label,
        key=f"{key}_x",
        bind="query-params",
    )
    y = columns[1].selectbox(
        "and",
        codes,
        codes.index(second or codes[1]),
        format_func=wording.label,
        key=f"{key}_y",
        bind="query-params",
    )
    return x, y


def best_aligned() -> list[str]:
    """The languages, best aligned with the pivot first."""
    scores = cached.alignment_of(plan, now.state, now.pooling).pooled(now.layers)
    return [plan.languages[k] for k in np.argsort(-scores, kind="stable")]


def probabilities(codes: list[str]) -> dict[str, object]:
    """Column settings of activation probabilities."""
    return {code: st.column_config.NumberColumn(f"Probability in {code}", format="%.3f") for code in codes}


# ----------------------------------------------------------------------------------------------------------- matrix


def next_layer_if_due() -> None:
    """While the layers play, move on to the next one when the time of this one is over."""
    if st.session_state.get("overlap_playing") and time.monotonic() >= st.session_state.get("overlap_due", 0):
        at = st.session_state.get("overlap_layer", last_layer)
        st.session_state.overlap_layer = at + 1 if at < last_layer else 0
        st.session_state.overlap_due = time.monotonic() + 0.8 * SECONDS_A_LAYER


def matrix_at_layer(measure: str) -> None:
    """The slider and the matrix; alone in its fragment, so that it can play."""
    next_layer_if_due()
    layer = layer_slider("overlap_layer")
    whole = overlaps_now(measure)
    off_diagonal = whole[:, ~np.eye(len(codes), dtype=bool)]
    domain = (float(np.floor(off_diagonal.min() * 10) / 10), float(np.ceil(off_diagonal.max() * 10) / 10))
    if domain[0] == domain[1]:
        domain = (0.0, 1.0)
    order = alignment.hierarchical_order(overlaps_now("jaccard").mean(axis=0))
    ordered = whole[layer][np.ix_(order, order)]
    names = [codes[k] for k in order]
    is_conditional = measure == "conditional"
    chart = charts.language_matrix(
        ordered,
        names,
        [wording.label(code) for code in names],
        measure="Share of the row's neurons that the column has" if is_conditional else "Jaccard overlap",
        title="Active neurons that two languages share",
        domain=domain,
        row_title="Of the neurons of" if is_conditional else None,
        column_title="active in" if is_conditional else None,
        chosen=controls.chosen_pair("overlap"),
    )
    picked = controls.pair_of_matrix(chart, names, "overlap", "Neurons of")
    st.caption(
        "Languages that share most, over all layers, stand together; order and colours stay as the layer changes."
    )
    if picked and picked[0] != picked[1]:
        st.subheader(f"{wording.label(picked[0])} and {wording.label(picked[1])}", anchor=False)
        table = curve_table(picked[0], [picked[1]], measure)
        st.altair_chart(charts.overlap_curves(table, measure_name(measure), "Their overlap by layer"))
        st.caption(f"Neurons of layer {layer} that are active in both")
        exporting.neuron_list(
            neuron_rankings.pairs_shared(activity, *picked, rule, layer), "overlap-pair", **probabilities(list(picked))
        )
    else:
        st.caption("Choose a cell to see the neurons that two languages share.")
    table = pd.DataFrame(ordered, index=names, columns=names).rename_axis("language").reset_index()
    exporting.downloads(table, chart, f"overlap-{measure}-layer{layer}")


def start_or_stop() -> None:
    """Let the layers play, or stay."""
    st.session_state.overlap_playing = not st.session_state.get("overlap_playing")
    st.session_state.overlap_due = 0.0


def show_matrix() -> None:
    with st.container(horizontal=True, gap="large", vertical_alignment="bottom"):
        measure = measure_choice("overlap_measure")
        playing = bool(st.session_state.get("overlap_playing"))
        if last_layer:
            st.button(
                "Pause" if playing else "Play the layers",
                icon=":material/pause:" if playing else ":material/play_arrow:",
                key="overlap_play",
                on_click=start_or_stop,
            )
    st.fragment(matrix_at_layer, run_every=SECONDS_A_LAYER if playing else None)(measure)


def measure_choice(key: str) -> str:
    return controls.segments(
        "Measure",
        ["jaccard", "conditional"],
        "jaccard",
        key,
        format_func={"jaccard": "Jaccard", "conditional": "conditional"}.get,
        help="Jaccard: |A ∩ B| / |A ∪ B|. Conditional: |A ∩ B| / |A|, the share of A's neurons that B has as well.",
    )


def measure_name(measure: str) -> str:
    return "Conditional overlap |A ∩ B| / |A|" if measure == "conditional" else "Jaccard overlap"


# ---------------------------------------------------------------------------------------------------------- by layer


def curve_table(x: str, others: list[str], measure: str) -> pd.DataFrame:
    """Overlap of a language with others by layer, and what independent sets of the same sizes would have."""
    whole = overlaps_now(measure)
    sets = rule.all_sets(activity.of([x, *others]))
    sizes = sets.sum(axis=2)
    rows = []
    for k, code in enumerate(others, start=1):
        for layer in range(plan.info.layers):
            a, b = int(sizes[0, layer]), int(sizes[k, layer])
            chance = overlap.chance_jaccard(a, b, plan.info.neurons)
            if measure == "conditional":
                chance = b / plan.info.neurons
            rows.append(
                {
                    "label": f"{wording.label(x)} – {wording.label(code)}",
                    "x": x,
                    "y": code,
                    "layer": layer,
                    "value": whole[layer, codes.index(x), codes.index(code)],
                    "chance": chance,
                    "active in x": a,
                    "active in y": b,
                }
            )
    return pd.DataFrame(rows)


def show_curves() -> None:
    columns = st.columns([1, 2])
    x = columns[0].selectbox("Language", codes, 0, format_func=wording.label, key="curve_x", bind="query-params")
    ranked = [code for code in (*best_aligned(), plan.pivot) if code != x]
    others = columns[1].multiselect(
        "with",
        [code for code in codes if code != x],
        controls.spread(ranked, 4),
        format_func=wording.label,
        key=f"curve_y_{x}",
        max_selections=8,
    )
    measure = measure_choice("curve_measure")
    if not others:
        st.info("Choose at least one language to compare with.")
        return
    table = curve_table(x, others, measure)
    chart = charts.overlap_curves(table, measure_name(measure), f"Overlap of active neurons by layer, {rule}")
    st.altair_chart(chart)
    exporting.downloads(table, chart, "overlap-by-layer")


# ----------------------------------------------------------------------------------------------------------- meaning


@st.cache_resource(max_entries=64, show_spinner="Comparing sentences …")
def meaning_table(key: str, x: str, y: str, threshold: float, state: str, pooling: str, _plan: Plan) -> pd.DataFrame:
    """Overlap of translations and of mismatched sentences by layer, and the pair's alignment score."""
    found = parallel_overlap.parallel_overlaps(_plan, services.store, x, y, threshold)
    rows = []
    for layer, one in enumerate(found):
        values = (one.parallel, one.mismatched, one.difference)
        rows += [(kind, layer, *value) for kind, value in zip(PARALLEL_KINDS, values, strict=True)]
    pair = alignment.pair_alignment(_plan, services.store, x, y, state, pooling)
    low, high = alignment.bootstrap(pair.aligned)
    scores = pair.score
    rows += [(METHODS[state], k, scores[0, k], low[0, k], high[0, k]) for k in range(_plan.info.layers)]
    return pd.DataFrame(rows, columns=["kind", "layer", "value", "low", "high"])


def show_meaning() -> None:
    x, y = pair_choice("meaning", plan.pivot, best_aligned()[0])
    threshold = st.slider(
        "A neuron is active in a sentence if it is in more than this share of the sentence's tokens, %",
        0,
        95,
        50,
        key="meaning_threshold",
        bind="query-params",
    )
    if x == y:
        st.info("Choose two different languages: every sentence is its own translation.")
        return
    table = meaning_table(activation_counts.counts_key(plan), x, y, threshold / 100, now.state, now.pooling, plan)
    method = METHODS[now.state]
    difference = table[table["kind"] == PARALLEL_KINDS[2]].set_index("layer")
    best = int(difference["value"].idxmax())
    chart = charts.meaning(table, method, f"{wording.label(x)} and {wording.label(y)}: the overlap that is meaning")
    st.altair_chart(chart)
    at = difference.loc[best]
    st.caption(
        f"Translations share most beyond mismatched sentences at layer {best}: {at['value']:.3f} more "
        f"(95 % interval {at['low']:.3f} to {at['high']:.3f}, {len(plan.corpus.usable)} sentences)."
    )
    exporting.downloads(table, chart, f"meaning-{x}-{y}")


# -------------------------------------------------------------------------------------------------------- sets, core


def show_sets() -> None:
    start = [plan.pivot, *best_aligned()[:3]]
    chosen = st.multiselect(
        f"Two to {MOST_SETS} languages",
        codes,
        start,
        format_func=wording.label,
        key="sets",
        max_selections=MOST_SETS,
    )
    whole = st.toggle("All layers together", key="sets_all_layers", bind="query-params")
    layer = None if whole else layer_slider("sets_layer")
    if len(chosen) < 2:
        st.info("Choose at least two languages.")
        return
    part = activity.of(chosen)
    active = rule.all_sets(part) if layer is None else rule.sets(part.probability(layer))[:, None]
    found = intersections.exclusive_intersections(active, chosen)
    if not found:
        st.info("No neuron is active in any of them; lower the threshold above.")
        return
    bars = pd.DataFrame(
        {
            "members": [" + ".join(i.languages) for i in found],
            "size": [i.size for i in found],
            **{str(k): [code in i.languages for i in found] for k, code in enumerate(chosen)},
        }
    )
    chart = charts.upset(
        bars.head(MOST_BARS),
        [wording.label(code) for code in chosen],
        active.sum(axis=(1, 2)).tolist(),
        "Neurons active in exactly these languages",
    )
    event = st.altair_chart(chart, on_select="rerun", selection_mode="members", key="upset", width="content")
    if len(bars) > MOST_BARS:
        st.caption(f"The {MOST_BARS} largest of {len(bars)} combinations are drawn; the table has them all.")
    picked = event.selection.get("members") or []
    intersection = next((i for i in found if picked and " + ".join(i.languages) == picked[0].get("members")), None)
    if intersection is None:
        st.caption("Click a bar to list its neurons.")
    else:
        st.subheader("Active in exactly " + ", ".join(map(wording.label, intersection.languages)), anchor=False)
        numbers = intersection.layer if layer is None else np.full(intersection.size, layer)
        exporting.neuron_list(
            with_probabilities(numbers, intersection.neuron, chosen), "upset-neurons", **probabilities(chosen)
        )
    exporting.downloads(
        bars.rename(columns={str(k): code for k, code in enumerate(chosen)}), chart, "exact-intersections"
    )


def with_probabilities(layer: np.ndarray, neuron: np.ndarray, chosen: list[str]) -> pd.DataFrame:
    """Neurons with their activation probability in some languages."""
    values = activity.of(chosen).at(layer, neuron)
    return pd.DataFrame({"layer": layer, "neuron": neuron, **dict(zip(chosen, values, strict=True))})


def show_core() -> None:
    chosen = codes
    if not st.toggle(f"All {len(codes)} languages", True, key="core_all"):
        chosen = st.multiselect("Languages", codes, codes[:6], format_func=wording.label, key="core_languages")
    if len(chosen) < 2:
        st.info("Choose at least two languages.")
        return
    active = rule.all_sets(activity.of(chosen))
    core = shared_core.shared_core(active)
    table = pd.DataFrame(
        {
            "layer": range(plan.info.layers),
            "observed": core.observed,
            "expected": core.expected,
            "deviation": core.deviation,
            "z": core.z,
        }
    )
    drawn = table.assign(low=np.maximum(core.expected - 2 * core.deviation, 0), high=core.expected + 2 * core.deviation)
    chart = charts.shared_core(
        drawn, plan.info.neurons, f"Neurons active in all {len(chosen)} languages; expected ± 2 standard deviations"
    )
    st.altair_chart(chart)
    if not core.observed.any():
        st.caption("No neuron is active in all of them; choose fewer languages, or a lower bar above.")
    layers, neurons = np.nonzero(active.all(axis=0))
    if len(neurons):
        lowest = activity.of(chosen).at(layers, neurons).min(axis=0)
        rows = pd.DataFrame({"layer": layers, "neuron": neurons, "lowest": lowest})
        exporting.neuron_list(
            rows.sort_values("lowest", ascending=False, kind="stable").reset_index(drop=True),
            "core-neurons",
            lowest=st.column_config.NumberColumn("Lowest probability of all", format="%.3f"),
        )
    exporting.downloads(table, chart, "shared-core")


# -------------------------------------------------------------------------------------------------------------- LAPE


def lape_choice() -> LanguageSpecific:
    """LAPE's three parameters and what they find."""
    columns = st.columns(3)
    share = columns[0].slider(
        "Lowest entropy, % of all neurons",
        0.1,
        10.0,
        1.0,
        0.1,
        key="lape_share",
        bind="query-params",
        help="How many of the neurons with the lowest entropy are called language-specific.",
    )
    drop = columns[1].slider(
        "Drop neurons never above this percentile",
        0,
        100,
        95,
        key="lape_drop",
        bind="query-params",
        help="Of all activation probabilities: a neuron that is above it in no language is dropped first.",
    )
    assign = columns[2].slider(
        "Assign to languages above this percentile",
        0,
        100,
        95,
        key="lape_assign",
        bind="query-params",
        help="A neuron belongs to the languages in which its probability is above it.",
    )
    return specific(activation_counts.counts_key(plan), share / 100, drop, assign, activity)


def show_specific() -> None:
    found = lape_choice()
    counts = found.counts()
    total = len(found.neuron)
    st.caption(
        f"{total:,} neurons: dropped below a probability of {found.drop_below:.4f}, assigned above "
        f"{found.assign_above:.4f}. {int((found.members.sum(axis=1) > 1).sum()):,} belong to several languages, "
        f"{int((~found.members.any(axis=1)).sum()):,} to none."
    )
    if not total:
        st.info("No neuron is left; raise the share or lower the percentile below which neurons are dropped.")
        return
    order = [k for k in np.argsort(-counts.sum(axis=1), kind="stable") if counts[k].any()]
    table = pd.DataFrame(
        {
            "label": np.repeat([wording.label(found.languages[k]) for k in order], plan.info.layers),
            "layer": np.tile(np.arange(plan.info.layers), len(order)),
            "count": counts[order].ravel(),
        }
    )
    chart = None
    if order:
        chart = charts.specific_neurons(
            table.head(MOST_ROWS * plan.info.layers), "Language-specific neurons by language and layer"
        )
        st.altair_chart(chart, width="content")
        if len(order) > MOST_ROWS:
            st.caption(f"The {MOST_ROWS} languages with the most of them are drawn; the table has all.")
        if len(order) < len(codes):
            none = [wording.label(code) for k, code in enumerate(found.languages) if not counts[k].any()]
            st.caption(f"None for {some_of(none)}.")
    only = st.selectbox(
        "Neurons of",
        [None, *(found.languages[k] for k in order)],
        format_func=lambda code: wording.label(code) if code else "all",
        key="lape_of",
    )
    neurons = lape_table(found)
    if only:
        neurons = neurons[found.members[:, found.languages.index(only)]].reset_index(drop=True)
    exporting.neuron_list(
        neurons,
        "lape-neurons",
        entropy=st.column_config.NumberColumn("Entropy, nats", format="%.4f"),
        languages="Assigned to",
        **{code: st.column_config.NumberColumn(code, format="%.3f") for code in found.languages},
    )
    parameters = {"drop_below": found.drop_below, "assign_above": found.assign_above}
    listed = {
        "model": plan.source.name,
        "corpus": plan.corpus.name,
        "neuron": now.neuron,
        "layers": plan.info.layers,
        "neurons_a_layer": plan.info.neurons,
        **parameters,
        "neurons": lape_table(found).to_dict("records"),
    }
    with st.container(horizontal=True):
        icon = ":material/download:"
        st.download_button(
            "JSON", lambda: json.dumps(listed, ensure_ascii=False, indent=1), "lape.json", "application/json", icon=icon
        )
        st.download_button(
            "Masks (JSON)",
            lambda: json.dumps(found.masks()),
            "lape-masks.json",
            "application/json",
            icon=icon,
            help="For every language a list a layer of neuron numbers, from 0.",
        )
    if chart is not None:
        exporting.downloads(table, chart, "lape-by-layer")


def lape_table(found: LanguageSpecific) -> pd.DataFrame:
    """One row a neuron: entropy, the languages it belongs to, probability in every language."""
    return pd.DataFrame(
        {
            "layer": found.layer,
            "neuron": found.neuron,
            "entropy": found.entropy,
            "languages": [", ".join(itertools.compress(found.languages, row)) for row in found.members.tolist()],
            **dict(zip(found.languages, found.probability.T, strict=True)),
        }
    )


def show_summary() -> None:
    found = lape_choice()
    table = neuron_rankings.summary(activity, rule, plan.pivot, found)
    table.insert(1, "label", [wording.label(code) for code in table["language"]])
    table.insert(2, "script", [languages.script(code) or "" for code in table["language"]])
    table.insert(3, "family", [languages.family(code) for code in table["language"]])
    st.dataframe(
        table,
        hide_index=True,
        height=min(900, 38 + 35 * len(table)),
        column_config={
            "language": "Code",
            "label": "Language",
            "script": "Script",
            "family": "Family",
            "tokens": st.column_config.NumberColumn("Tokens", format="localized"),
            "active": st.column_config.NumberColumn("Active neurons", format="localized"),
            "active_share": st.column_config.NumberColumn("Share of all", format="percent"),
            "shared_with_pivot": st.column_config.NumberColumn(f"Shared with {plan.pivot}", format="localized"),
            "jaccard_with_pivot": st.column_config.NumberColumn(f"Jaccard with {plan.pivot}, mean", format="%.4f"),
            "specific": "Specific (LAPE)",
        },
    )
    st.download_button("CSV", exports.csv_text(table), "overlap.csv", "text/csv", icon=":material/download:")


# ------------------------------------------------------------------------------------------------------------- causal

CORE = "shared core"
MEASURES = {
    "nats_per_byte": "nats a byte",
    "score_nas": METHODS["nas"],
    "score_nav": METHODS["nav"],
    "score_emb": METHODS["emb"],
}


def set_label(name: str) -> str:
    """A set's name as a person reads it."""
    return CORE if name == CORE else wording.label(name)


def control_name(name: str, number: int) -> str:
    return f"{name} · random {number}"


def causal_choice(found: LanguageSpecific) -> tuple[Ablation, dict[str, Neurons], int] | None:
    """What to switch off and where to look at the effect, from widgets; None where that is nothing."""
    counts = dict(zip(found.languages, found.counts().sum(axis=1).tolist(), strict=True))
    own = sorted((code for code in codes if counts[code]), key=lambda code: -counts[code])
    if not own:
        st.warning("LAPE finds no specific neurons so; lower its percentiles above, or raise the share.")
    aligned = [code for code in best_aligned() if counts[code]]
    start = list(dict.fromkeys([*aligned[:2], *own[:2]]))
    first, second = st.columns(2)
    chosen = first.multiselect(
        "Switch off the specific neurons of",
        own,
        start,
        format_func=lambda code: f"{wording.label(code)} · {counts[code]}",
        key="causal_sets",
    )
    core_mask = rule.all_sets(activity).all(axis=0)
    with_core = first.toggle(
        f"Also the shared core of all languages · {int(core_mask.sum())}",
        key="causal_core",
        disabled=not core_mask.any(),
    )
    affected = second.multiselect(
        "See the effect on",
        codes,
        list(dict.fromkeys([*start, plan.pivot, *best_aligned()[:2]])),
        format_func=wording.label,
        key="causal_languages",
    )
    first, second, third = st.columns(3)
    most = len(plan.corpus.usable)
    sentences = first.number_input(
        "Sentences", 2, most, min(50, most), key="causal_sentences", help="The first so many; fewer are faster."
    )
    draws = second.number_input(
        "Random controls a set", 1, 10, 2, key="causal_draws", help="Neurons drawn anew, as many in the same layers."
    )
    pooling = now.pooling
    likelihood = plan.info.causal and third.toggle(
        "Measure the likelihood",
        True,
        key="causal_likelihood",
        help="Needs the model's language-model head; without it the alignment score alone is measured.",
    )
    if not plan.info.causal:
        third.caption(
            f"{plan.info.class_name} is an encoder: it gives no probability to a text, so only alignment is measured."
        )
    neurons: dict[str, Neurons] = {}
    for code in chosen:
        layer, number = found.of(code)
        neurons[code] = Neurons.of({int(k): number[layer == k] for k in np.unique(layer)})
    if with_core and core_mask.any():
        neurons[CORE] = Neurons.from_mask(core_mask)
    if not neurons or not affected:
        return None
    sets = list(neurons.items())
    for name, one in neurons.items():
        for draw in range(1, int(draws) + 1):
            sets.append((control_name(name, draw), interventions.random_like(one, plan.info, seed=draw)))
    work = Ablation(plan, tuple(sets), tuple(affected), pooling, int(sentences), likelihood=bool(likelihood))
    return work, neurons, int(draws)


def show_causal() -> None:
    with st.expander("Which neurons are specific (LAPE)"):
        found = lape_choice()
    chosen = causal_choice(found)
    if chosen is None:
        st.info("Choose neurons to switch off, and at least one language to see the effect on.")
        return
    work, neurons, draws = chosen
    to_do = sum(work.totals(services.store).values())
    label = f"Measure {to_do} of {len(work.everything) * len(work.languages)} effects"
    if not progress.ready(work, label, "causal_measure_button", type="primary", icon=":material/play_arrow:"):
        st.caption(
            f"{len(work.sets)} sets and the untouched model, each read by {len(work.languages)} languages: "
            f"{work.sentences} sentences a language and one for the pivot."
        )
    table = ablation.effects_table(work, services.store)
    if table.empty:
        st.caption("Nothing is measured yet.")
        return
    show_effects(work, table, neurons, draws)


def show_effects(work: Ablation, table: pd.DataFrame, neurons: dict[str, Neurons], draws: int) -> None:
    """The matrix of effects beside the control's, and every set's effect on its own language."""
    offered = [name for name in MEASURES if work.with_likelihood or name != "nats_per_byte"]
    measure = st.segmented_control(
        "Change of",
        offered,
        default=offered[0],
        required=True,
        key="causal_measure",
        format_func=MEASURES.get,
        help="Nats a byte: what the model loses in predicting the text, so more is worse. The scores: alignment with "
        "the pivot, mean over layers, so less is worse.",
    )
    wide = table.pivot(index="set", columns="language", values=f"change_{measure}")
    control = {}
    for name in neurons:
        drawn = [control_name(name, k) for k in range(1, draws + 1) if control_name(name, k) in wide.index]
        if drawn:
            control[name] = wide.loc[drawn]
    groups = {
        "the set itself": {name: wide.loc[name] for name in neurons if name in wide.index},
        "random neurons (mean)": {name: drawn.mean() for name, drawn in control.items()},
    }
    rows = [
        {"group": group, "set": set_label(name), "label": wording.label(code), "value": values[code]}
        for group, effects in groups.items()
        for name, values in effects.items()
        for code in work.languages
        if code in values and np.isfinite(values[code]) and not (measure != "nats_per_byte" and code == plan.pivot)
    ]
    if rows:
        drawn = pd.DataFrame(rows)
        shown = max(1, charts.MOST_MARKS // (2 * len(neurons)))
        if drawn["label"].nunique() > shown:
            strongest = drawn["value"].abs().groupby(drawn["label"]).max().nlargest(shown).index
            drawn = drawn[drawn["label"].isin(strongest)]
            st.caption(f"The {shown} languages with the largest changes are drawn; the table has all.")
        chart = charts.effects(drawn, f"Change of {MEASURES[measure]}", "What switching neurons off does")
        st.altair_chart(chart, width="content")
    summary = []
    for name in neurons:
        if name not in wide.index:
            continue
        others = [code for code in work.languages if code != name and code in wide.columns]
        row = {"set": set_label(name), "neurons": neurons[name].count}
        if name in wide.columns:
            row["effect on itself"] = wide.loc[name, name]
            if name in control:
                row["random: effect on it, mean"] = control[name][name].mean()
                row["random: lowest"], row["random: highest"] = control[name][name].min(), control[name][name].max()
        row["effect on the others, mean"] = wide.loc[name, others].mean() if others else np.nan
        summary.append(row)
    if summary:
        st.caption(f"Change of {MEASURES[measure]}: a set's effect on its own language, its control, and the others")
        number = st.column_config.NumberColumn(format="%+.4f")
        st.dataframe(
            pd.DataFrame(summary),
            hide_index=True,
            column_config={name: number for name in pd.DataFrame(summary).columns if name not in ("set", "neurons")}
            | {"set": "Neurons of", "neurons": "Neurons"},
        )
    if rows:
        exporting.downloads(table, chart, f"switched-off-{measure}")


VIEWS = {
    "Matrix": show_matrix,
    "By layer": show_curves,
    "Meaning": show_meaning,
    "Sets": show_sets,
    "Shared core": show_core,
    "Specific": show_specific,
    "Causal check": show_causal,
    "Summary": show_summary,
}
controls.show_views({name: lambda _, show=show: show() for name, show in VIEWS.items()}, "overlap_view", selected, HELP)
