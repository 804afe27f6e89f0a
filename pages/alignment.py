"""Alignment: ranking, layers, sentences, all pairs, the three states side by side, and the table."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
import streamlit as st

from neuronxa_core import charts, exports
from neuronxa_core.corpora import languages
from neuronxa_core.demo import training
from neuronxa_core.experiment import CHOICES
from neuronxa_core.measures import alignment, all_pairs, cosine_retrieval
from neuronxa_core.measures.alignment import METHODS, Alignment
from neuronxa_core.states import stored
from neuronxa_core.states.planning import Plan
from pages.components import cached, controls, exporting, process, selection, session, wording

services = process.services()
now = session.experiment()
selected = selection.open_page("Alignment")
whole_plan, plan = selected.whole, selected.plan

now = controls.reading_choice("alignment")
state, pooling, layers = now.state, now.pooling, now.layers
method = METHODS[state]
with selection.recompute_if_corrupt(whole_plan):
    found = cached.alignment_of(plan, state, pooling)
chance = alignment.chance_level(found.n_sentences)


def ranking_table(result: Alignment, layer_pooling: str) -> pd.DataFrame:
    """One row a language: pooled score with interval, peak layer, retrieval, script, family."""
    low, high = alignment.bootstrap(result.aligned, layer_pooling)
    score = result.score
    return pd.DataFrame(
        {
            "language": result.languages,
            "label": [wording.label(code) for code in result.languages],
            "score": result.pooled(layer_pooling),
            "low": low,
            "high": high,
            "peak_layer": score.argmax(axis=1),
            "peak_score": score.max(axis=1),
            "forward": alignment.pool_layers(result.retrieval_src2trg, layer_pooling),
            "backward": alignment.pool_layers(result.retrieval_trg2src, layer_pooling),
            "script": [languages.script(code) or "" for code in result.languages],
            "family": [languages.family(code) for code in result.languages],
        }
    )


def curve_table(result: Alignment, codes: list[str]) -> pd.DataFrame:
    """Score and interval by language and layer."""
    at = [result.languages.index(code) for code in codes]
    low, high = alignment.bootstrap(result.aligned[at])
    count = result.score.shape[1]
    return pd.DataFrame(
        {
            "label": np.repeat([wording.label(code) for code in codes], count),
            "layer": np.tile(np.arange(count), len(codes)),
            "score": result.score[at].ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
        }
    )


def spread_of_languages(result: Alignment) -> list[str]:
    """Five languages from the best to the worst."""
    order = np.argsort(-result.pooled(layers), kind="stable")
    return controls.spread([result.languages[k] for k in order], 5)


def languages_drawn(key: str) -> list[str]:
    """The languages whose curves are drawn: no more than can be told apart."""
    return st.multiselect(
        "Languages",
        list(found.languages),
        default=spread_of_languages(found),
        format_func=wording.label,
        key=key,
        max_selections=charts.MOST_CURVES,
    )


def layer_slider(key: str) -> int:
    """A layer from 0; it starts at the layer where the languages together score highest."""
    return controls.layer_slider(plan.info.layers, int(found.score.mean(axis=0).argmax()), key)


def mark_table(matched: list[alignment.Match], cosines: np.ndarray) -> pd.DataFrame:
    """The cells to mark: mutual nearest neighbours, missed translations and what won instead."""
    rows = []
    for match in matched:
        i, j = match.row, match.best_in_y
        if match.status == "aligned":
            rows.append((i, i, "mutual nearest neighbours"))
            continue
        rows.append((i, i, "missed translation"))
        if j >= 0 and matched[j].best_in_x == i:
            rows.append((i, j, "mutual nearest neighbours"))
        elif j >= 0 and j != i:
            rows.append((i, j, "what won instead"))
    table = pd.DataFrame(rows, columns=["row", "column", "kind"])
    table["cosine"] = [float(cosines[r, c]) for r, c in zip(table["row"], table["column"], strict=True)]
    return table


STATUS_TEXT = {
    "aligned": "Aligned: each is the other's nearest, of all sentences.",
    "x to y only": "Found from the first language, but not back.",
    "y to x only": "Found from the second language, but not from the first.",
    "missed": "Missed in both directions.",
}


def sentence_detail(row: int, x: str, y: str, matched: list[alignment.Match], cosines: np.ndarray) -> None:
    """A pair of translations, and for a miss what won instead."""
    match = matched[row]
    texts_x = [plan.corpus.texts[x][k] for k in plan.corpus.usable]
    texts_y = [plan.corpus.texts[y][k] for k in plan.corpus.usable]
    line = plan.corpus.lines[plan.corpus.usable[row]]
    st.markdown(f"**Sentence {row}** (line {line} of the corpus)")
    st.caption(STATUS_TEXT[match.status])
    rows = [(wording.label(x), texts_x[row], x, None), (wording.label(y), texts_y[row], y, cosines[row, row])]
    if match.best_in_y not in (row, -1):
        title = f"nearer to it in {wording.label(y)}: sentence {match.best_in_y}"
        rows.append((title, texts_y[match.best_in_y], y, cosines[row, match.best_in_y]))
    if match.best_in_x not in (row, -1):
        title = f"nearer to the translation in {wording.label(x)}: sentence {match.best_in_x}"
        rows.append((title, texts_x[match.best_in_x], x, cosines[match.best_in_x, row]))
    if -1 in (match.best_in_x, match.best_in_y):
        st.caption("Two sentences tie for the nearest; a tie is not an alignment.")
    st.html(
        "".join(
            f"<p style='margin:0 0 .2rem;opacity:.65;font-size:.85rem'>{html.escape(title)}"
            f"{'' if cosine is None else f' · cosine {cosine:.4f}'}</p>"
            f"<p style='margin:0 0 .9rem'>{wording.sentence(text, code)}</p>"
            for title, text, code, cosine in rows
        )
    )


def pair_view(x: str, y: str, layer: int, key: str) -> None:
    """The similarity matrix of two languages at a layer, and the sentence that was clicked."""
    with st.spinner("Comparing …", show_time=False):
        vectors_x, vectors_y = all_pairs.pair_vectors(plan, services.store, x, y, state, pooling, layer)
        matched = list(alignment.matches(vectors_x, vectors_y))
        cosines = cosine_retrieval.similarity(vectors_x, vectors_y)
    hits = sum(match.status == "aligned" for match in matched)
    marks = mark_table(matched, cosines)
    side_by_side = st.container(horizontal=True, gap="large")
    picture, detail = side_by_side.container(width=680), side_by_side.container(width=420)
    chart = charts.similarity_matrix(cosines, marks, wording.label(y), wording.label(x))
    step = charts.picture_step(len(cosines))
    with picture:
        event = st.altair_chart(chart, on_select="rerun", selection_mode="cell", key=f"{key}-matrix")
        if step > 1:
            st.caption(f"Each point of the picture is the mean of {step} × {step} cells.")
    with detail:
        st.metric(f"{method} at layer {layer}", f"{hits / len(matched):.3f}")
        st.caption(f"{hits} of {len(matched)} sentences aligned")
        cells = event.selection.get("cell") or []
        misses = [match.row for match in matched if match.status != "aligned"]
        if cells and "row" in cells[0]:
            # a tap, without a pointer over the picture before it, tells the row alone
            row, column = int(cells[0]["row"]), int(cells[0].get("column", cells[0]["row"]))
        else:
            row = column = misses[0] if misses else 0
        row, column = min(row, len(matched) - 1), min(column, len(matched) - 1)
        sentence_detail(row, x, y, matched, cosines)
        if column != row:
            text = plan.corpus.texts[y][plan.corpus.usable[column]]
            st.caption(f"The cell that was clicked: sentence {column}, cosine {cosines[row, column]:.4f}")
            st.html(f"<p>{wording.sentence(text, y)}</p>")
        if not cells:
            st.caption(f"Click a {'cell' if step == 1 else 'mark'} of the matrix to see its sentences.")
    exporting.downloads(
        pd.DataFrame(
            {
                "sentence": [m.row for m in matched],
                "line": [plan.corpus.lines[plan.corpus.usable[m.row]] for m in matched],
                "status": [m.status for m in matched],
                "cosine": np.diag(cosines),
                f"nearest in {y}": [m.best_in_y for m in matched],
                f"nearest in {x}": [m.best_in_x for m in matched],
                x: [plan.corpus.texts[x][plan.corpus.usable[m.row]] for m in matched],
                y: [plan.corpus.texts[y][plan.corpus.usable[m.row]] for m in matched],
            }
        ),
        chart,
        f"sentences-{x}-{y}-layer{layer}",
    )


def show_ranking() -> None:
    table = ranking_table(found, layers)
    chart = charts.ranking(table, chance, method, layers)
    event = st.altair_chart(chart, on_select="rerun", selection_mode="language", key="ranking")
    chosen = event.selection.get("language") or []
    if chosen and chosen[0].get("language") in found.languages:
        code = chosen[0]["language"]
        st.subheader(wording.label(code), anchor=False)
        st.altair_chart(charts.layer_curves(curve_table(found, [code]), chance, method))
        layer = layer_slider("ranking_layer")
        pair_view(plan.pivot, code, layer, "ranking")
    else:
        st.caption("Click a language to see its layers and its sentences.")
    if plan.source.kind == "demo":
        table = table.assign(training_share=[training.shares().get(code, np.nan) for code in table["language"]])
    exporting.downloads(table, chart, "ranking")


def show_layers() -> None:
    codes = languages_drawn("curves")
    if not codes:
        st.info("Choose at least one language.")
        return
    table = curve_table(found, codes)
    chart = charts.layer_curves(table, chance, method)
    st.altair_chart(chart)
    exporting.downloads(table, chart, "layers")


def show_sentences() -> None:
    everyone = list(plan.all_languages)
    columns = st.columns(3)
    x = columns[0].selectbox("From", everyone, 0, format_func=wording.label, key="from", bind="query-params")
    best = plan.languages[int(found.pooled(layers).argmax())]
    y = columns[1].selectbox(
        "To", everyone, everyone.index(best), format_func=wording.label, key="to", bind="query-params"
    )
    with columns[2]:
        layer = layer_slider("layer")
    pair_view(x, y, layer, "sentences")


def show_all_pairs() -> None:
    layer = layer_slider("layer")
    scores = pair_scores(alignment.scores_key(plan, state, pooling), state, pooling, layer, plan)
    services.pairs.prepare(plan, state, pooling, layer)
    order = alignment.hierarchical_order(scores)
    codes = [plan.all_languages[k] for k in order]
    labels = [wording.label(code) for code in codes]
    ordered = scores[np.ix_(order, order)]
    chart = charts.language_matrix(
        ordered,
        codes,
        labels,
        measure=method,
        title=f"{method} of every pair of languages",
        chosen=controls.chosen_pair("pairs"),
    )
    picked = controls.pair_of_matrix(chart, codes, "pairs", "Sentences of")
    st.caption("Languages that align alike stand together (average linkage on 1 − score).")
    if picked:
        pair_view(*picked, layer, "pairs")
    else:
        st.caption("Choose a cell to see the two languages' sentences.")
    exporting.downloads(
        pd.DataFrame(ordered, index=codes, columns=codes).rename_axis("language").reset_index(),
        chart,
        f"all-pairs-layer{layer}",
    )


@st.cache_resource(max_entries=256, show_spinner="Comparing all languages …")
def pair_scores(key: str, state: str, pooling: str, layer: int, _plan: Plan) -> np.ndarray:
    return services.pairs.at(_plan, state, pooling, layer)


def show_states() -> None:
    codes = languages_drawn("states")
    if not codes:
        st.info("Choose at least one language.")
        return
    tables = []
    for name in CHOICES["state"]:
        table = curve_table(cached.alignment_of(plan, name, pooling), codes)
        tables.append(table.assign(state=name, method=f"{METHODS[name]} ({name.upper()})"))
    table = pd.concat(tables)
    chart = charts.states_side_by_side(table[["method", "label", "layer", "score"]])
    st.altair_chart(chart)
    exporting.downloads(table, chart, "states")


def show_table() -> None:
    rows = []
    for name in CHOICES["state"]:
        result = cached.alignment_of(plan, name, pooling)
        table = ranking_table(result, layers)
        rows.append(table.assign(method=METHODS[name]))
    long = pd.concat(rows)
    wide = long.pivot(index=["language", "label", "script", "family"], columns="method", values="score").reset_index()
    peaks = long[long["method"] == method].set_index("language")["peak_layer"]
    wide["peak_layer"] = wide["language"].map(peaks)
    if plan.source.kind == "demo":
        wide["training_share"] = [training.shares().get(code, np.nan) for code in wide["language"]]
    with stored.StatesReader(plan, services.store) as reader:
        wide["tokens_per_sentence"] = [reader.tokens(code).mean() for code in wide["language"]]
        wide["sentences_cut"] = [reader.truncated(code) for code in wide["language"]]
    wide = wide.sort_values([method, "label"], ascending=[False, True])
    number = st.column_config.NumberColumn(format="%.4f")
    st.dataframe(
        wide,
        hide_index=True,
        height=min(900, 38 + 35 * len(wide)),
        column_config={
            "language": "Code",
            "label": "Language",
            "script": "Script",
            "family": "Family",
            "NASCA": number,
            "NAVCA": number,
            "MEXA": number,
            "peak_layer": f"Peak layer ({method})",
            "training_share": st.column_config.NumberColumn("Share in training", format="%.2f"),
            "tokens_per_sentence": st.column_config.NumberColumn("Tokens a sentence", format="%.1f"),
            "sentences_cut": "Sentences cut",
        },
    )
    st.download_button("CSV", exports.csv_text(wide), "alignment.csv", "text/csv", icon=":material/download:")
    st.caption(
        "By layer, with all poolings, from the command line: "
        f"`python -m neuronxa_core score {wording.command_line(now)} --states nas nav emb`"
    )


VIEWS = {
    "Ranking": show_ranking,
    "Layers": show_layers,
    "Sentences": show_sentences,
    "All pairs": show_all_pairs,
    "States": show_states,
    "Table": show_table,
}
controls.show_views({name: lambda _, show=show: show() for name, show in VIEWS.items()}, "view", selected)
