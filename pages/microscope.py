"""Microscope: one neuron, in every language, in the sentences that excite it, and token by token."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
import streamlit as st

from neuronxa_core import charts, exports
from neuronxa_core.corpora import languages, parallel
from neuronxa_core.errors import ModelBusy
from neuronxa_core.measures import activation_counts, lape, neuron_rankings, text_neurons, token_activations
from neuronxa_core.measures.activation_counts import ActivationCounts
from neuronxa_core.models import token_text
from neuronxa_core.states import per_token
from neuronxa_core.states.per_token import TextStates, TokenActivations
from pages.components import cached, exporting, messages, process, selection, session, shading, wording

# a model of fewer parameters is loaded without being asked for
SMALL_MODEL = 1_000_000_000
# seconds that a page waits for a model which someone else uses
PATIENCE = 2.0
MOST_BARS = 60

services = process.services()
now = session.experiment()
selected = selection.open_page("Microscope")
whole_plan, plan = selected.whole, selected.plan
with selection.recompute_if_corrupt(whole_plan):
    activity = cached.activity_of(plan)
codes = list(plan.all_languages)


@st.cache_resource(max_entries=16, show_spinner=False)
def most_specific_neuron(key: str, _activity: ActivationCounts) -> tuple[int, int]:
    """Where to start: the neuron that LAPE finds most specific, or the first."""
    if len(_activity.languages) < 2:
        return 0, 0
    found = lape.lape(_activity)
    return (int(found.layer[0]), int(found.neuron[0])) if len(found.neuron) else (0, 0)


def look_at(key: str, table: pd.DataFrame) -> None:
    """Make the neuron of a list's chosen row the one that is looked at."""
    rows = st.session_state[key].selection.rows
    if rows and rows[0] < len(table):
        st.session_state.neuron_layer = int(table["layer"].iloc[rows[0]])
        st.session_state.neuron_number = int(table["neuron"].iloc[rows[0]])


def pick_list(table: pd.DataFrame, key: str, **columns: object) -> None:
    """A list of neurons; choosing a row looks at it."""
    if table.empty:
        st.caption("No neurons here.")
        return
    st.dataframe(
        exports.harmless_table(table),
        hide_index=True,
        on_select=lambda: look_at(key, table),
        selection_mode="single-row",
        key=key,
        height=min(300, 38 + 35 * len(table)),
        column_config={"layer": "Layer", "neuron": "Neuron", **columns},
    )
    st.caption("Choose a row to look at that neuron.")


st.caption(
    "One neuron: how often it is on in each language, and on which words. What excites it in these sentences suggests "
    "what it is for; it does not prove that the model uses it for that, which *Overlap* → *Causal check* can test."
)
start = most_specific_neuron(activation_counts.counts_key(plan), activity)
with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
    numbers = [
        st.number_input(name, 0, count - 1, value, key=key, bind="query-params", width=160)
        for name, count, value, key in (
            ("Layer", plan.info.layers, start[0], "neuron_layer"),
            ("Neuron", plan.info.neurons, start[1], "neuron_number"),
        )
    ]
layer, neuron = map(int, numbers)


# ------------------------------------------------------------------------------------------------------ find a neuron

WAYS = {
    "shared": "most shared",
    "specific": "most specific to …",
    "discriminating": "most discriminating between …",
    "sentence": "strongest for a sentence",
}


def find_neurons() -> None:
    """Lists of neurons that stand out."""
    way = st.segmented_control(
        "Neurons that are", list(WAYS), default="specific", required=True, key="find_by", format_func=WAYS.get
    )
    columns = st.columns(3)
    here = columns[2].toggle(f"In layer {layer} only", key="find_here")
    only = layer if here else None
    x = y = ""
    if way in ("specific", "discriminating", "sentence"):
        x = columns[0].selectbox("Language", codes, min(1, len(codes) - 1), format_func=wording.label, key="find_x")
    if way == "discriminating":
        y = columns[1].selectbox("against", codes, 0, format_func=wording.label, key="find_y")
    if way == "sentence":
        texts = plan.corpus.sentences(x)
        at = columns[1].selectbox("Sentence", range(len(texts)), format_func=lambda k: f"{k}: {texts[k]}", key="find_k")
        table = neuron_rankings.strongest_in_sentence(plan, services.store, x, at, layer=only)
        pick_list(
            table,
            f"find-{way}-{x}-{at}-{only}",
            value=st.column_config.NumberColumn("Mean |a| in it", format="%.4f"),
            usual=st.column_config.NumberColumn("in all sentences", format="%.4f"),
            deviations=st.column_config.NumberColumn("Standard deviations above", format="%.2f"),
        )
        return
    if way == "discriminating" and x == y:
        st.info("Choose two different languages.")
        return
    table = neuron_rankings.rank_neurons(activity, way, x=x, y=y, layer=only)
    value = {
        "shared": "Lowest probability of all languages",
        "specific": "Probability above the next language's",
        "discriminating": "Difference of probability",
    }[way]
    probability = {
        code: st.column_config.NumberColumn(f"Probability in {code}", format="%.3f") for code in (x, y) if code
    }
    pick_list(
        table,
        f"find-{way}-{x}-{y}-{only}",
        value=st.column_config.NumberColumn(value, format="%+.3f" if way == "discriminating" else "%.3f"),
        **probability,
    )


with st.expander("Find a neuron", icon=":material/search:"), selection.recompute_if_corrupt(whole_plan):
    find_neurons()

st.subheader(f"Neuron {neuron} of layer {layer}", anchor=False)


# -------------------------------------------------------------------------------------------------------- by language


def by_language() -> None:
    """Activation probability and the distribution of values, language by language."""
    probability = activity.at(layer, neuron)
    values = neuron_rankings.neuron_values(plan, services.store, codes, layer, neuron)
    table = pd.DataFrame(
        {
            "language": codes,
            "label": [wording.label(code) for code in codes],
            "script": [languages.script(code) or "" for code in codes],
            "tokens": activity.tokens,
            "probability": probability,
            **{
                name: [float(np.quantile(values[code], at)) for code in codes]
                for name, at in (("low", 0), ("lower", 0.25), ("median", 0.5), ("upper", 0.75), ("high", 1))
            },
        }
    ).sort_values(["probability", "label"], ascending=[False, True])
    drawn = table
    if len(table) > MOST_BARS:
        half = MOST_BARS // 2
        drawn = pd.concat([table.head(half), table.tail(half)])
        st.caption(f"The {half} languages with the highest and the {half} with the lowest probability are drawn.")
    bars = charts.probability_bars(drawn, "How often it is active")
    boxes = charts.value_distribution(drawn, "Mean |a| of a sentence's tokens", "How strongly, sentence by sentence")
    left, right = st.columns(2)
    left.altair_chart(bars)
    right.altair_chart(boxes)
    st.caption(
        "Boxes: the middle half of the sentences, with the median; lines: all of them. Values are sizes, without sign; "
        "tokens below show the sign."
    )
    exporting.downloads(table, bars, f"neuron-{layer}-{neuron}")


with selection.recompute_if_corrupt(whole_plan):
    by_language()


# ---------------------------------------------------------------------------------------------------------- sentences


def start_languages() -> list[str]:
    """The pivot, two languages in which the neuron is most often on, and some of further scripts, six in all."""
    probability = activity.at(layer, neuron)
    most = [codes[k] for k in np.argsort(-probability, kind="stable")[:2]]
    first_of_script: dict[str, str] = {}
    for code in (plan.pivot, *most, *codes):
        first_of_script.setdefault(languages.script(code) or code, code)
    return list(dict.fromkeys([plan.pivot, *most, *first_of_script.values(), *codes]))[:6]


def may_load(part: str) -> bool:
    """Whether the model's weights may be read now: it is small or there already, or someone asked for it."""
    if services.pool.holds(plan) or plan.info.parameters < SMALL_MODEL:
        return True
    key = f"load-{plan.source.location}"
    if st.session_state.get(key):
        return True
    st.button(
        "Load the model and read the tokens",
        icon=":material/memory:",
        key=f"{key}-{part}",
        on_click=lambda: st.session_state.update({key: True}),
    )
    st.caption(
        wording.said(f"{plan.info.name} has {plan.info.parameters / 1e9:.1f} billion parameters and is not loaded.")
    )
    return False


@st.fragment(run_every=3.0)
@messages.errors_shown()
def wait_for_model(message: str) -> None:
    """Look again as long as the model is at work."""
    st.info(message, icon=":material/hourglass_top:")
    if not services.pool.busy:
        st.rerun()


def token_scale(read: list[TokenActivations], units: list[tuple[token_text.Unit, ...]]) -> float:
    """The largest size among the tokens of the text itself; special tokens are often far beyond."""
    sizes = [
        abs(float(one.values[k]))
        for one, parts in zip(read, units, strict=True)
        for unit in parts
        if not unit.special
        for k in unit.tokens
    ]
    return max(sizes, default=0.0)


@st.fragment
def sentences() -> None:
    """The sentences that excite the neuron most, in chosen languages side by side, token by token."""
    with selection.recompute_if_corrupt(whole_plan):
        show_sentences()


def show_sentences() -> None:
    st.subheader("The sentences that excite it most", anchor=False)
    columns = st.columns([2, 1, 1])
    shown = columns[0].multiselect(
        "Side by side", codes, start_languages(), format_func=wording.label, key="microscope_languages",
        max_selections=12,
    )  # fmt: skip
    state = columns[1].selectbox(
        "Ranked by",
        ["nav", "nas"],
        key="microscope_state",
        format_func={"nav": "mean size |a| (NAV)", "nas": "share of tokens on (NAS)"}.get,
    )
    count = columns[2].number_input("Sentences a language", 1, 10, 1, key="microscope_count")
    if not shown:
        st.info("Choose at least one language.")
        return
    values = neuron_rankings.neuron_values(plan, services.store, shown, layer, neuron, state)
    top = {code: np.argsort(-values[code], kind="stable")[: int(count)].tolist() for code in shown}
    by_row: dict[int, list[str]] = {}
    for code in shown:
        for row in top[code]:
            by_row.setdefault(row, []).append(code)
    if not may_load("sentences"):
        return
    try:
        with st.spinner("Reading tokens …"):
            read = {
                code: token_activations.activations_of(
                    plan,
                    services.store,
                    services.pool,
                    code,
                    [plan.corpus.sentences(code)[row] for row in by_row],
                    layer,
                    neuron,
                    patience=PATIENCE,
                )
                for code in shown
            }
    except ModelBusy as busy:
        wait_for_model(str(busy))
        return
    tokenizer = token_text.tokenizer_of(plan.source, plan.identity)
    units = {
        code: [token_text.align_tokens_to_text(tokenizer, one.text, one.ids) for one in read[code]] for code in shown
    }
    scale = max(token_scale(read[code], units[code]) for code in shown)
    kind = "mean size |a| of its tokens" if state == "nav" else "share of its tokens that are on"
    st.caption(f"Beside each language the sentence's {kind}; point at a token for its exact value.")
    st.html(shading.legend(scale))
    for k, (row, first_in) in enumerate(by_row.items()):
        line = plan.corpus.lines[plan.corpus.usable[row]]
        strongest = ", ".join(html.escape(wording.label(code)) for code in first_in)
        st.html(
            f"<p style='margin:.6rem 0 .2rem'><b>Sentence {row}</b> "
            f"<span style='opacity:.65'>line {line} of the corpus · among the strongest in {strongest}</span></p>"
            + "".join(
                sentence_row(code, values[code][row], read[code][k], units[code][k], tokenizer, scale) for code in shown
            )
        )
    table = pd.DataFrame(
        [
            {
                "language": code,
                "sentence": row,
                "line": plan.corpus.lines[plan.corpus.usable[row]],
                "value": values[code][row],
                "among the strongest": code in first_in,
                "tokens": " ".join(f"{value:.6g}" for value in read[code][k].values),
                "text": read[code][k].text,
            }
            for k, (row, first_in) in enumerate(by_row.items())
            for code in shown
        ]
    )
    with st.expander("Table and files", icon=":material/table:"):
        st.dataframe(exports.harmless_table(table), hide_index=True)
        st.download_button(
            "CSV",
            exports.csv_text(table),
            f"tokens-{layer}-{neuron}.csv",
            "text/csv",
            icon=":material/download:",
            key="tokens-csv",
        )


def sentence_row(
    code: str,
    value: float,
    read: TokenActivations,
    units: tuple[token_text.Unit, ...],
    tokenizer: object,
    scale: float,
) -> str:
    """HTML of one language's shaded sentence under its name and value."""
    shaded = shading.shaded(units, read.values, token_text.token_strings(tokenizer, read.ids), code=code, scale=scale)
    return (
        "<div style='display:flex;flex-wrap:wrap;gap:0 1rem;max-width:64rem;margin:0 0 .4rem'>"
        "<div style='flex:0 0 15rem;opacity:.65;font-size:.85rem;line-height:2.3'>"
        f"{html.escape(wording.label(code))} · {value:.4f}</div>"
        f"<div style='flex:1 1 24rem'>{shaded}</div></div>"
    )


sentences()


# ---------------------------------------------------------------------------------------------------------- free text


@st.cache_resource(max_entries=4, show_spinner="Reading the text …")
def states_of_texts(key: str, texts: tuple[str, ...]) -> list[TextStates]:
    with services.pool.acquire(plan, patience=PATIENCE) as loaded:
        return per_token.text_activations(loaded, texts, now.neuron)


@st.fragment
def free_text() -> None:
    """A typed sentence, and its translation, and their neurons."""
    with selection.recompute_if_corrupt(whole_plan):
        show_free_text()


def show_free_text() -> None:
    st.subheader("Your own text", anchor=False)
    with st.form("free_text", border=False):
        columns = st.columns(2)
        first = columns[0].text_area("A sentence", key="text_x", height=80, max_chars=2000)
        second = columns[1].text_area("Its translation, if you like", key="text_y", height=80, max_chars=2000)
        st.form_submit_button("Read", icon=":material/arrow_forward:")
    texts = tuple(text for text in map(parallel.normalise, (first, second)) if text)
    if not texts:
        st.caption("Type a sentence, alone or with its translation, and see which neurons it excites.")
        return
    if not may_load("text"):
        return
    try:
        states = states_of_texts(f"{plan.identity}-{plan.dtype}-{now.neuron}", texts)
    except ModelBusy as busy:
        wait_for_model(str(busy))
        return
    tokenizer = token_text.tokenizer_of(plan.source, plan.identity)
    own = [TokenActivations(one.text, one.ids, one.values[layer, :, neuron], one.truncated) for one in states]
    units = [token_text.align_tokens_to_text(tokenizer, one.text, one.ids) for one in own]
    scale = token_scale(own, units)
    st.caption(f"Neuron {neuron} of layer {layer} on each token")
    st.html(
        shading.legend(scale)
        + "".join(
            shading.shaded(parts, one.values, token_text.token_strings(tokenizer, one.ids), code="", scale=scale)
            for one, parts in zip(own, units, strict=True)
        )
    )
    if len(states) == 1:
        st.caption("The neurons with the largest mean |a| in it")
        pick_list(
            text_neurons.strongest(states[0]),
            "text-strongest",
            mean_abs=st.column_config.NumberColumn("Mean |a|", format="%.4f"),
            share_active=st.column_config.NumberColumn("Share of tokens on", format="%.2f"),
            peak=st.column_config.NumberColumn("Peak a", format="%.4f"),
            peak_token="at token",
        )
        return
    share = st.slider("On in more than this share of the tokens, %", 0, 95, 50, key="text_share")
    table = text_neurons.shared_neurons(*states, threshold=share / 100)
    chart = charts.text_overlap(table, "Neurons that are on in both texts, by layer")
    st.altair_chart(chart)
    st.caption("The neurons that are strongest in both")
    pick_list(
        text_neurons.strongest_shared(*states, threshold=share / 100),
        "text-shared",
        weaker=st.column_config.NumberColumn("Weaker mean |a|", format="%.4f"),
        mean_abs_x=st.column_config.NumberColumn("Mean |a| in the first", format="%.4f"),
        mean_abs_y=st.column_config.NumberColumn("in the second", format="%.4f"),
        share_active_x=st.column_config.NumberColumn("Tokens on in the first", format="percent"),
        share_active_y=st.column_config.NumberColumn("in the second", format="percent"),
    )
    exporting.downloads(table, chart, "text-overlap")


free_text()
