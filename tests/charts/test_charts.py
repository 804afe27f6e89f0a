"""Charts: pure functions whose specification is valid, small, and whose ranges do not move."""

import base64
import io
import json
import re

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from neuronxa_core import charts
from neuronxa_core.charts import pictures, theme
from neuronxa_core.wording import PARALLEL_KINDS

PAYLOAD = 1_000_000


def ranking_table(n=24):
    rng = np.random.default_rng(0)
    score = rng.random(n)
    return pd.DataFrame(
        {
            "language": [f"l{k:03d}_Latn" for k in range(n)],
            "label": [f"Language {k} (l{k:03d}_Latn)" for k in range(n)],
            "score": score,
            "low": score - 0.05,
            "high": score + 0.05,
            "chance": 0.004,
            "forward": score,
            "backward": score,
            "script": "Latn",
            "family": "Other",
        }
    )


def curves(languages=5, layers=8):
    score = np.random.default_rng(1).random((languages, layers))
    return pd.DataFrame(
        {
            "label": np.repeat([f"Language {k}" for k in range(languages)], layers),
            "layer": np.tile(np.arange(layers), languages),
            "score": score.ravel(),
            "low": score.ravel() - 0.1,
            "high": score.ravel() + 0.1,
            "chance": 0.004,
        }
    )


def marks(n):
    return pd.DataFrame({"row": range(n), "column": range(n), "kind": "missed translation", "cosine": 0.5})


def domains(spec, channel):
    """All scale domains of a channel anywhere in a specification."""
    found = []
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key == channel and isinstance(value, dict) and isinstance(value.get("scale"), dict):
                found.append(value["scale"].get("domain"))
            found += domains(value, channel)
    elif isinstance(spec, list):
        for value in spec:
            found += domains(value, channel)
    return [d for d in found if d]


def test_ranking_is_ordered_by_score_on_a_fixed_axis():
    table = ranking_table()
    spec = charts.ranking(table, 0.005, "NASCA", "mean").to_dict()
    order = spec["layer"][0]["encoding"]["y"]["sort"]
    assert order == table.sort_values("score", ascending=False)["label"].tolist()
    assert domains(spec, "x") == [[0, 1]]
    assert "95 % interval" in " ".join(spec["title"])


@pytest.mark.parametrize("n", [3, 14])
def test_a_ranking_names_every_language_and_answers_in_its_whole_row(n):
    """Also of long codes, and where the score is 0."""
    names = [f"Northern Language {k} in its variety (l{k:03d}_Latn_nrth1234)" for k in range(n)]
    table = ranking_table(n).assign(label=names, score=0.0, low=0.0, script=[f"Script {k}" for k in range(n)])
    spec = charts.ranking(table, 0.005, "NASCA", "mean").to_dict()
    assert [param["views"] for param in spec["params"] if param["name"] == "language"] == [["rows_of_languages"]]
    drawn = vl_convert.vegalite_to_svg(spec)
    row = r'aria-label="label: [^"]+\(l(\d+)_[^"]+"[^>]+rect mark" d="M0,(\d+)h'
    tops = {int(k): int(top) for k, top in re.findall(row, drawn)}
    assert tops == {k: 22 * place for place, k in enumerate(sorted(range(n), key=names.__getitem__))}
    assert all(name[:30] in drawn for name in names)
    groups = domains(spec, "color")
    assert groups == [
        [f"Script {k}" for k in range(3)]
        if n == 3
        else [*(f"Script {k}" for k in (0, 1, 10, 11, 12, 13, 2, 3)), "other"]
    ]


def test_labels_of_points_never_meet_and_stay_in_the_plot():
    at = np.random.default_rng(3)
    table = pd.DataFrame({"x": np.r_[np.zeros(12), at.random(30) / 2], "y": np.r_[at.random(12) / 10, at.random(30)]})
    texts = pd.Series(["deu_Latn"] * 41 + ["deu_Latn_nrth1234"])
    ends = [theme.around(table["x"]), theme.around(table["y"])]
    found = theme.label_places(table, texts, ends)
    wide, high = (theme.PLOT[k] / (ends[k][1] - ends[k][0]) for k in (0, 1))
    boxes = [
        (x * wide, y * high, x * wide + theme.LETTER * len(text), y * high + theme.LABEL_HEIGHT)
        for x, y, text in zip(found["text_x"], found["text_y"], texts, strict=True)
    ]
    for i, a in enumerate(boxes):
        assert ends[0][0] * wide <= a[0] + 1e-6
        assert a[2] <= ends[0][1] * wide + 1e-6
        for b in boxes[:i]:
            apart = a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]
            assert apart or np.allclose(np.maximum(a, b)[:2], np.minimum(a, b)[2:])
    alone = theme.label_places(pd.DataFrame({"x": [0.5], "y": [0.5]}), pd.Series(["a"]), [(0, 1), (0, 1)])
    assert alone[["text_x", "text_y"]].to_numpy()[0] == pytest.approx([0.5 + theme.LABEL_GAP / theme.PLOT[0], 0.5])


def test_an_axis_of_shares_ends_where_shares_do():
    shares = pd.Series([0.0, 0.4, 1.0])
    assert theme.around(shares) == (0, 1)
    assert theme.around(shares / 2, pd.Series([-0.3, 0.2])) == (0, pytest.approx(0.54))
    assert theme.around(pd.Series([2.0, 4.0])) == (pytest.approx(1.9), pytest.approx(4.1))
    assert theme.around(pd.Series([-np.inf, 0.5])) == (pytest.approx(0.45), pytest.approx(0.55))


def test_more_groups_than_colours_leave_the_rarest_grey():
    values = pd.Series([f"g{k}" for k in range(10)] + ["g9", "g8", "rare"])
    shown, scale = theme.by_group(values, "rare")
    assert scale.domain == ["g0", "g1", "g2", "g3", "g4", "g5", "g8", "g9", "rare"]
    assert shown.tolist() == [*(f"g{k}" for k in range(6)), "rare", "rare", "g8", "g9", "g9", "g8", "rare"]
    assert scale.range[-1] == theme.LIGHT_GREY
    assert theme.by_group(pd.Series(["b", "a"]))[1].domain == ["a", "b"]


def test_curves_mark_every_peak():
    table = curves()
    spec = charts.layer_curves(table, 0.005, "NASCA").to_dict()
    peaks = [d for d in spec["datasets"].values() if len(d) == 5 and "chance" in d[0] and "layer" in d[0]]
    best = table.loc[table.groupby("label")["score"].idxmax()]
    assert [(p["label"], p["layer"]) for p in peaks[0]] == list(zip(best["label"], best["layer"], strict=True))
    none = charts.layer_curves(table.assign(score=0.0), 0.005, "NASCA").to_dict()
    assert not any(layer["mark"].get("shape") == "diamond" for layer in none["layer"])
    assert domains(spec, "y") == [[0, 1]] * len(domains(spec, "y"))


@pytest.mark.parametrize("n", [1, 24, 200])
def test_every_cell_of_a_heat_map_is_drawn_from_a_small_table(n):
    families = ["Romance", "Slavic", "Other"] + [f"family {k}" for k in range(9)]
    names = [f"Language {k} (l{k:03d}_Latn)" for k in range(n)]
    scores = np.random.default_rng(2).random((n, 32)).round(4)
    table = pd.DataFrame({"language": names, "label": names, "family": [families[k % 12] for k in range(n)]})
    chart = charts.layer_heat_map(table.assign(scores=scores.tolist()), "NASCA")
    assert len(chart.to_json()) < 300_000
    drawn = vl_convert.vegalite_to_svg(chart.to_json())
    assert drawn.count('aria-roledescription="rect mark"') == n * 32
    assert f"Layer: 31; label: {names[-1]}; NASCA: {scores[-1, -1]:.1f}" in drawn
    assert all(name in drawn for name in names)


def test_states_side_by_side_has_three_panels_with_one_scale():
    table = pd.concat([curves().assign(state=s, method=m) for s, m in (("nas", "NASCA (NAS)"), ("nav", "NAVCA (NAV)"))])
    spec = charts.states_side_by_side(table).to_dict()
    assert spec["facet"]["column"]["field"] == "method"
    assert domains(spec, "y") == [[0, 1]]


def rows_by_layer(spec):
    """How many rows every layer of a chart has, by the name of its view or the kind of its mark."""
    data = spec["datasets"]
    return {layer.get("name", layer["mark"]["type"]): len(data[layer["data"]["name"]]) for layer in spec["layer"]}


@pytest.mark.parametrize("n", [2, 100, 560])
def test_every_cell_of_a_similarity_matrix_can_be_clicked_up_to_a_size(n):
    cosines = np.random.default_rng(2).random((n, n))
    spec = charts.similarity_matrix(cosines, marks(n), "x", "y").to_dict()
    assert len(json.dumps(spec)) < PAYLOAD
    rows = rows_by_layer(spec)
    assert rows["rows_of_matrix"] == rows["cells_of_matrix"] == n
    assert sum(rows.values()) <= 3 * n + 2
    by_name = {param["name"]: param for param in spec["params"]}
    assert by_name["cell"]["select"]["fields"] == ["row", "column"]
    assert by_name["cell"]["views"] == ["cells_of_matrix"]
    picture = pixels(picture_of(spec))
    assert picture.shape == (n, n, 3)
    assert (
        np.abs(picture[cosines.argmax() // n, cosines.argmax() % n].astype(int) - picture.max(axis=(0, 1))).min() <= 2
    )
    assert [-2, 4] in domains(spec, "color")


def picture_of(spec):
    """The data URL of a chart's picture."""
    (image,) = [layer for layer in spec["layer"] if layer["mark"]["type"] == "image"]
    return spec["datasets"][image["data"]["name"]][0]["url"]


@pytest.mark.parametrize("n", [561, 2000])
def test_a_large_similarity_matrix_is_one_picture_of_means(n):
    cosines = np.random.default_rng(3).random((n, n))
    spec = charts.similarity_matrix(cosines, pd.concat([marks(n)] * 3), "x", "y").to_dict()
    assert len(json.dumps(spec)) < PAYLOAD
    assert set(rows_by_layer(spec)) == {"image", "point", "marks_of_matrix"}
    step = charts.picture_step(n)
    assert step == {561: 2, 2000: 4}[n]
    assert pixels(picture_of(spec)).shape == (-(-n // step), -(-n // step), 3)
    place = spec["datasets"][spec["layer"][0]["data"]["name"]][0]
    assert 0 <= place["right"] - n == place["bottom"] - n < step


def test_a_constant_matrix_draws():
    spec = charts.similarity_matrix(np.ones((4, 4)), marks(4), "x", "y").to_dict()
    assert "NaN" not in json.dumps(spec)


def test_a_picture_has_the_first_row_on_top_and_viridis_ends():
    image = pixels(pictures.picture(np.array([[0.0, 1.0], [0.5, 9.0]]), 0, 1))
    assert image.shape == (2, 2, 3)
    assert image[0, 0].tolist() == [68, 1, 84]
    assert image[0, 1].tolist() == image[1, 1].tolist() == [253, 231, 37]
    assert np.abs(image[1, 0].astype(int) - [33, 145, 140]).max() <= 2


def pixels(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


def legend_colours(values, domain):
    """What Vega draws for values on a viridis scale, [value, 3], read from an SVG file."""
    table = pd.DataFrame({"place": range(len(values)), "value": values})
    colour = alt.Color("value:Q", scale=alt.Scale(scheme="viridis", domain=list(domain), clamp=True), legend=None)
    drawn = alt.Chart(table).mark_rect().encode(alt.X("place:O"), color=colour)
    found = re.findall(
        r'aria-label="place: (\d+);[^"]*"[^>]*? fill="rgb\((\d+), (\d+), (\d+)\)"', charts.svg(drawn).decode()
    )
    return np.array([one[1:] for one in sorted(found, key=lambda one: int(one[0]))], dtype=int)


@pytest.mark.parametrize("domain", [(0, 1), (-2, 4)])
def test_a_picture_has_the_colours_of_its_legend(domain):
    spread = domain[1] - domain[0]
    values = np.random.default_rng(7).uniform(domain[0] - spread / 5, domain[1] + spread / 5, 400)
    wanted = legend_colours(values, domain)
    assert wanted.shape == (400, 3)
    drawn = pixels(pictures.picture(values.reshape(20, 20), *domain)).reshape(-1, 3)
    # of 256 steps each is at most half a step off
    assert np.abs(drawn.astype(int) - wanted).max() <= 2


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_means_of_blocks_are_those_of_a_plain_loop(rows, columns, step, seed):
    values = np.random.default_rng(seed).normal(size=(rows, columns))
    wanted = [
        [
            np.mean([values[r, c] for r in range(i, min(i + step, rows)) for c in range(j, min(j + step, columns))])
            for j in range(0, columns, step)
        ]
        for i in range(0, rows, step)
    ]
    np.testing.assert_allclose(pictures.block_means(values, step), wanted, rtol=1e-12, atol=1e-12)


def test_means_of_blocks_by_hand():
    values = np.array([[0, 1, 1], [1, 0, 1], [0, 0, 1]], dtype=float)
    assert pictures.block_means(values, 2).tolist() == [[0.5, 1], [0, 1]]


def languages_of(n):
    return [f"l{k:03d}_Latn" for k in range(n)]


def language_chart(values, **options):
    codes = languages_of(len(values))
    labels = [f"Language {code}" for code in codes]
    return charts.language_matrix(values, codes, labels, measure="NASCA", title="Pairs", **options)


@pytest.mark.parametrize("n", [2, 60, 61, 316, 317, 600])
def test_a_language_matrix_is_small_and_its_colours_stay(n):
    spec = language_chart(np.random.default_rng(4).random((n, n))).to_dict()
    assert len(json.dumps(spec)) < PAYLOAD
    assert domains(spec, "color") == [[0, 1]]
    if not charts.is_picture(n):
        assert "layer" not in spec
    else:
        rows = rows_by_layer(spec)
        assert rows["rows_of_matrix"] == rows["cells_of_matrix"] == n
        assert sum(rows.values()) == 2 * n + 2  # the picture and its legend


def test_a_picture_of_languages_tells_every_value_of_the_row_under_the_pointer():
    n = 61
    values = np.random.default_rng(8).random((n, n))
    spec = language_chart(values).to_dict()
    codes = languages_of(n)
    (under,) = [param for param in spec["params"] if param["name"] == "under"]
    for row in (0, 17, n - 1):
        under["value"] = [{"row": row, "row_code": codes[row], "row_label": f"Language {codes[row]}"}]
        drawn = vl_convert.vegalite_to_svg(spec)
        told = re.findall(r"Language: Language (\w+); and: Language (\w+); NASCA: ([\d.]+)", drawn)
        assert told == [(codes[row], codes[k], f"{values[row, k]:.4f}") for k in range(n)]
    del under["value"]
    assert "and: Language" not in vl_convert.vegalite_to_svg(spec)


def test_a_picture_of_sentences_tells_the_cosine_under_the_pointer():
    cosines = np.random.default_rng(9).uniform(-1, 1, (7, 7))
    spec = charts.similarity_matrix(cosines, marks(1), "x", "y").to_dict()
    (under,) = [param for param in spec["params"] if param["name"] == "under"]
    under["value"] = [{"row": 5}]
    drawn = vl_convert.vegalite_to_svg(spec)
    told = re.findall(r"below: 6; Sentence of y: (\d); Sentence of x: (\d); Cosine: ([\d.−-]+)", drawn)
    assert [(int(r), int(c)) for r, c, _ in told] == [(6, k + 1) for k in range(7)]
    assert [float(value.replace("−", "-")) for _, _, value in told] == np.round(cosines[5], 4).tolist()


def test_a_picture_of_languages_says_what_its_sides_are():
    plain = charts.svg(language_chart(np.eye(61))).decode()
    assert "Language … (by number in the table)" in plain
    named = charts.svg(language_chart(np.eye(61), row_title="Of the neurons of", column_title="active in")).decode()
    assert "Of the neurons of … (by number in the table)" in named
    assert "active in … (by number in the table)" in named


def test_a_picture_of_languages_frames_the_chosen_pair():
    codes = languages_of(61)
    spec = language_chart(np.eye(61), chosen=(codes[4], codes[9])).to_dict()
    frame = next(layer for layer in spec["layer"] if layer["mark"].get("stroke"))
    assert spec["datasets"][frame["data"]["name"]] == [{"row": 4, "column": 9}]
    elsewhere = language_chart(np.eye(61), chosen=("eng_Latn", codes[9])).to_dict()
    assert rows_by_layer(elsewhere)["rect"] == 0


@pytest.mark.parametrize("n", [10, pytest.param(600, marks=pytest.mark.full)])
def test_charts_are_saved_as_svg_and_png(n):
    drawn = charts.similarity_matrix(np.random.default_rng(5).random((n, n)), marks(n), "العربية", "日本語")
    assert b"<svg" in charts.svg(drawn)[:200]
    assert Image.open(io.BytesIO(charts.png(drawn))).width > charts.MATRIX_SIZE
    assert "日本語".encode() in charts.svg(drawn)


def overlap_table(layers=8):
    value = np.linspace(0, 1, layers)
    return pd.DataFrame({"label": "a – b", "layer": range(layers), "value": value, "chance": value / 10})


def meaning_table(layers=8):
    kinds = [*PARALLEL_KINDS, "NASCA"]
    return pd.DataFrame(
        [(kind, layer, 0.3, 0.2, 0.4) for kind in kinds for layer in range(layers)],
        columns=["kind", "layer", "value", "low", "high"],
    )


def upset_table(sets=3, bars=7):
    inside = {str(k): [bool((bar + 1) >> k & 1) for bar in range(bars)] for k in range(sets)}
    return pd.DataFrame({"members": [f"set {bar}" for bar in range(bars)], "size": range(bars * 10, 0, -10), **inside})


def core_table(layers=8):
    observed = np.arange(layers)
    return pd.DataFrame(
        {
            "layer": observed,
            "observed": observed,
            "expected": 0.5,
            "ratio": 2.0 * observed,
            "low": 0.0,
            "high": 1.0,
            "p": 0.5,
        }
    )


def specific_table(languages=25, layers=8):
    return pd.DataFrame(
        {
            "label": np.repeat([f"Language {k}" for k in range(languages)], layers),
            "layer": np.tile(range(layers), languages),
            "count": np.arange(languages * layers) % 7,
        }
    )


def neuron_table(languages=25):
    at = np.linspace(0, 1, languages)
    columns = dict.fromkeys(("probability", "low", "lower", "median", "upper", "high"), at)
    return pd.DataFrame(
        {"label": [f"Language {k}" for k in range(languages)], "script": "Latn", "tokens": 10, **columns}
    )


def effect_table(sets=3, languages=8):
    rows = [
        {"group": group, "set": f"s{k}", "label": f"Language {j}", "value": (k - j) / 10}
        for group in ("itself", "random")
        for k in range(sets)
        for j in range(languages)
    ]
    return pd.DataFrame(rows)


def point_table(n=24):
    at = np.linspace(0, 1, n)
    labels = [f"Language {k}" for k in range(n)]
    return pd.DataFrame({"language": labels, "label": labels, "x": at, "y": at**2, "group": "Latin", "more": "…"})


def line_table():
    at = np.linspace(0, 1, 20)
    return pd.DataFrame({"x": at, "mean": at, "low": at - 0.1, "high": at + 0.1})


def r_table(layers=8):
    tables = [
        pd.DataFrame({"method": method, "layer": range(layers), "r": r, "low": r - 0.1, "high": r + 0.1})
        for method, r in (("NASCA", np.linspace(0, 0.8, layers)), ("MEXA", np.full(layers, np.nan)))
    ]
    return pd.concat(tables).assign(p=0.1, p_of_best=0.2, rho=0.2, tau=0.3)


def methods_table():
    rows = [
        {
            "row": f"{method} · weighted",
            "task": task,
            "r": 0.5,
            "n": 24,
            "low": 0.1,
            "high": 0.8,
            "p": 0.01,
        }
        for method in ("NASCA", "MEXA")
        for task in ("xnli", "arc")
    ]
    return pd.DataFrame(rows)


CHARTS = {
    "ranking": lambda: charts.ranking(ranking_table(), 0.005, "NASCA", "mean"),
    "layer_curves": lambda: charts.layer_curves(curves(), 0.005, "NASCA"),
    "similarity_matrix": lambda: charts.similarity_matrix(np.eye(9), marks(9), "x", "y"),
    "language_matrix": lambda: language_chart(np.eye(9), domain=(0.4, 0.6)),
    "picture of languages": lambda: language_chart(np.eye(61)),
    "picture of specific neurons": lambda: charts.specific_neurons(specific_table(101, 40), "LAPE"),
    "overlap_curves": lambda: charts.overlap_curves(overlap_table(), "Jaccard", "By layer"),
    "meaning": lambda: charts.meaning(meaning_table(), "NASCA", "Meaning"),
    "upset": lambda: charts.upset(upset_table(), ["العربية", '"q" \\ label', "c"], [30, 20, 10], "Sets"),
    "shared_core": lambda: charts.shared_core(core_table(), 640, "Core"),
    "specific_neurons": lambda: charts.specific_neurons(specific_table(), "LAPE"),
    "probability_bars": lambda: charts.probability_bars(neuron_table(), "How often"),
    "value_distribution": lambda: charts.value_distribution(neuron_table(), "Mean |a|", "How strongly"),
    "effects": lambda: charts.effects(effect_table(), "Change", "Off"),
    "scatter": lambda: charts.scatter(
        point_table(), line_table(), x_title="NASCA", y_title="XNLI", colour="Script", title="Scatter"
    ),
    "correlation_by_layer": lambda: charts.correlation_by_layer(
        r_table(), "By layer", pd.DataFrame({"label": ["paper"], "r": [0.93]})
    ),
    "retrieval_gaps": lambda: charts.retrieval_gaps(
        pd.DataFrame({"label": ["a", "b"], "method": "m", "group": "head", "src2trg": 0.5, "trg2src": 0.4}).assign(
            both=0.45, gap=0.1
        ),
        "Retrieval",
    ),
    "methods_by_tasks": lambda: charts.methods_by_tasks(methods_table(), "Methods"),
    "sentence_curve": lambda: charts.sentence_curve(
        pd.DataFrame({"sentences": [10, 100], "r": [0.5, 0.6], "low": [0.3, 0.6], "high": [0.7, 0.6]}), "Sentences"
    ),
    "model_curves": lambda: charts.model_curves(
        pd.DataFrame({"model": ["a", "a", "b"], "depth": [0, 1, 0.5], "score": 0.4, "low": 0.3, "high": 0.5}), "Depth"
    ),
    "definitions": lambda: charts.definitions(
        pd.DataFrame({"group": ["real", "made-up"], "x": ["a", "b"], "y": ["b", "a"], "value": [0.4, np.nan]}),
        "Agreement",
    ),
    "text_overlap": lambda: charts.text_overlap(
        pd.DataFrame({"layer": [0, 1], "active_x": 3, "active_y": 4, "both": 2, "jaccard": 0.4}), "Text"
    ),
}


# channel -> the whole range of its scale
RANGES = {
    "overlap_curves": ("y", [0, 1]),
    "text_overlap": ("y", [0, 1]),
    "correlation_by_layer": ("y", [-1, 1]),
    "language_matrix": ("color", [0.4, 0.6]),
    "definitions": ("color", [0, 1]),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_drawn_small_titled_and_the_same_each_time(name):
    spec = CHARTS[name]().to_dict()
    assert spec["title"]
    text = json.dumps(spec)
    assert len(text) < PAYLOAD
    assert json.dumps(CHARTS[name]().to_dict()) == text
    assert vl_convert.vegalite_to_svg(spec).startswith("<svg")
    if name in RANGES:
        channel, wanted = RANGES[name]
        assert wanted in domains(spec, channel)


@pytest.mark.parametrize(("languages", "layers"), [(200, 40), (400, 128)])
def test_many_specific_neurons_are_a_picture_that_tells_their_numbers(languages, layers):
    table = specific_table(languages, layers)
    spec = charts.specific_neurons(table, "LAPE").to_dict()
    assert len(json.dumps(spec)) < PAYLOAD
    assert sum(rows_by_layer(spec).values()) == languages + layers + 2
    counts = table["count"].to_numpy().reshape(languages, layers)
    assert pixels(picture_of(spec)).shape == (*counts.shape, 3)
    if counts.size > charts.MOST_VALUES:
        return
    (under,) = [param for param in spec["params"] if param["name"] == "under"]
    under["value"] = [{"row": 3, "label": "Language 3"}]
    drawn = vl_convert.vegalite_to_svg(spec)
    told = re.findall(r"Layer: (\d+); row: 3; right: \d+; below: 4; Language: Language 3; Neurons: (\d+)", drawn)
    assert [int(count) for _, count in told] == counts[3].tolist()
    assert [int(layer) for layer, _ in told] == list(range(layers))


def test_large_tables_stay_small():
    many = curves(charts.MOST_CURVES, 80)
    three = pd.concat([many.assign(method=method) for method in ("NASCA (NAS)", "NAVCA (NAV)", "MEXA (EMB)")])
    for chart in (
        charts.layer_curves(many, 0.005, "NASCA"),
        charts.states_side_by_side(three[["method", "label", "layer", "score"]]),
        charts.effects(effect_table(20, 200), "Change", "Off"),
        charts.probability_bars(neuron_table(200), "How often"),
    ):
        assert len(json.dumps(chart.to_dict())) < PAYLOAD


def test_few_specific_neurons_have_rows_and_a_legend_to_their_most():
    table = specific_table(3, 12).assign(count=np.arange(36) % 16)
    spec = charts.specific_neurons(table, "LAPE").to_dict()
    assert spec["layer"][0]["encoding"]["color"]["legend"]["values"] == [0, 7, 15]
    drawn = vl_convert.vegalite_to_svg(spec | {"autosize": {"type": "fit", "contains": "padding"}})  # as Streamlit does
    cells = re.findall(r'"rect mark" d="M[\d.]+,[\d.]+h([\d.]+)v([\d.]+)', drawn)
    assert len(cells) == 36
    assert min(float(wide) for wide, _ in cells) == 46
    assert min(float(high) for _, high in cells) >= 15


def test_effects_have_one_scale_around_nothing():
    spec = CHARTS["effects"]().to_dict()
    (domain,) = {tuple(domain) for domain in domains(spec, "color") if domain}
    assert domain[0] == -domain[1] == -0.7


def test_an_upset_plot_names_its_sets_with_their_sizes_and_takes_clicks():
    drawn = CHARTS["upset"]()
    text = charts.svg(drawn).decode()
    assert "العربية · 30" in text
    assert "&quot;q&quot; \\ label · 20" in text or '"q" \\ label · 20' in text
    assert not {"hconcat", "vconcat", "concat", "facet"} & set(drawn.to_dict())
    assert any(param["name"] == "members" for param in drawn.to_dict()["params"])


def test_a_scatter_takes_clicks_and_can_be_without_a_line():
    spec = CHARTS["scatter"]().to_dict()
    assert any(param["name"] == "off" for param in spec["params"])
    bare = charts.scatter(point_table(3), pd.DataFrame(), x_title="x", y_title="y", colour="Model", title="Few")
    assert {layer["mark"]["type"] for layer in bare.to_dict()["layer"]} == {"text", "rule", "circle"}
    many = charts.scatter(point_table(200), line_table(), x_title="x", y_title="y", colour="c", title="Many")
    assert len(json.dumps(many.to_dict())) < PAYLOAD


@pytest.mark.parametrize(("lower", "layer"), [(False, 7), (True, 0)])
def test_the_best_layer_is_the_lowest_where_less_is_better(lower, layer):
    spec = charts.correlation_by_layer(r_table(), "By layer", lower_is_better=lower).to_dict()
    marked = next(part for part in spec["layer"] if part["mark"].get("shape") == "diamond")
    assert [row["layer"] for row in spec["datasets"][marked["data"]["name"]]] == [layer]
