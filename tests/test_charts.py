"""Charts: pure functions whose specification is valid, small, and whose ranges do not move."""

import base64
import io
import json

import altair as alt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from neuronxa_core import charts

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
    assert "95 % bootstrap" in spec["title"]


def test_curves_mark_every_peak():
    table = curves()
    spec = charts.layer_curves(table, 0.005, "NASCA").to_dict()
    peaks = [d for d in spec["datasets"].values() if len(d) == 5 and "layer" in d[0]]
    best = table.loc[table.groupby("label")["score"].idxmax()]
    assert [(p["label"], p["layer"]) for p in peaks[0]] == list(zip(best["label"], best["layer"], strict=True))
    assert domains(spec, "y") == [[0, 1]] * len(domains(spec, "y"))


def test_states_side_by_side_has_three_panels_with_one_scale():
    table = pd.concat([curves().assign(state=s, method=m) for s, m in (("nas", "NASCA (NAS)"), ("nav", "NAVCA (NAV)"))])
    spec = charts.states_side_by_side(table).to_dict()
    assert spec["facet"]["column"]["field"] == "method"
    assert domains(spec, "y") == [[0, 1]]


@pytest.mark.parametrize("n", [2, 100, 122])
def test_every_cell_of_a_similarity_matrix_can_be_clicked_up_to_a_size(n):
    cosines = np.random.default_rng(2).random((n, n))
    spec = charts.similarity_matrix(cosines, marks(n), "x", "y").to_dict()
    assert len(json.dumps(spec)) < PAYLOAD
    (cells,) = [layer for layer in spec["layer"] if "sequence" in layer.get("data", {})]
    assert cells["data"]["sequence"]["stop"] == n * n
    (pick,) = spec["params"]
    assert pick["select"]["fields"] == ["row", "column"]
    assert pick["views"] == [spec["layer"][2]["name"]]
    picture = pixels(spec["datasets"][spec["layer"][0]["data"]["name"]][0]["url"])
    assert picture.shape == (n, n, 3)
    assert (
        np.abs(picture[cosines.argmax() // n, cosines.argmax() % n].astype(int) - picture.max(axis=(0, 1))).min() <= 2
    )
    assert [-2, 4] in domains(spec, "color")


@pytest.mark.parametrize("n", [123, 1000])
def test_a_large_similarity_matrix_is_one_picture(n):
    cosines = np.random.default_rng(3).random((n, n))
    spec = charts.similarity_matrix(cosines, marks(n), "x", "y").to_dict()
    assert len(json.dumps(spec)) < PAYLOAD
    assert spec["layer"][0]["mark"]["type"] == "image"
    assert not any("sequence" in layer.get("data", {}) for layer in spec["layer"])


def test_a_constant_matrix_draws():
    spec = charts.similarity_matrix(np.ones((4, 4)), marks(4), "x", "y").to_dict()
    assert "NaN" not in json.dumps(spec)


def test_a_picture_has_the_first_row_on_top_and_viridis_ends():
    image = pixels(charts._picture(np.array([[0.0, 1.0], [0.5, 9.0]]), 0, 1))
    assert image.shape == (2, 2, 3)
    assert image[0, 0].tolist() == [68, 1, 84]
    assert image[0, 1].tolist() == image[1, 1].tolist() == [253, 231, 37]
    assert np.abs(image[1, 0].astype(int) - [33, 145, 140]).max() <= 2


def pixels(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


def test_a_picture_of_many_cells_shows_means_of_blocks(monkeypatch):
    monkeypatch.setattr(charts, "MATRIX_SIZE", 2)
    values = np.array([[0, 1, 1], [1, 0, 1], [0, 0, 1]], dtype=float)
    means = np.array([[0.5, 1], [0, 1]])
    assert np.array_equal(pixels(charts._picture(values, 0, 1)), pixels(charts._picture(means, 0, 1)))


@pytest.mark.parametrize("n", [2, 25, 70, 71, 200])
def test_a_language_matrix_is_small_and_its_colours_stay(n):
    scores = np.random.default_rng(4).random((n, n))
    codes = [f"l{k:03d}_Latn" for k in range(n)]
    spec = charts.language_matrix(
        scores, codes, [f"Language {c}" for c in codes], measure="NASCA", title="Pairs"
    ).to_dict()
    assert ("layer" in spec) == (n > charts.MOST_LABELLED)  # a picture and its legend
    assert len(json.dumps(spec)) < PAYLOAD
    assert domains(spec, "color") == [[0, 1]]


def test_charts_are_charts():
    assert isinstance(charts.ranking(ranking_table(200), 0.1, "MEXA", "max"), alt.LayerChart)
    assert len(json.dumps(charts.ranking(ranking_table(200), 0.1, "MEXA", "max").to_dict())) < PAYLOAD


@pytest.mark.parametrize("n", [10, 130])
def test_charts_are_saved_as_svg_and_png(n):
    drawn = charts.similarity_matrix(np.random.default_rng(5).random((n, n)), marks(n), "العربية", "日本語")
    assert b"<svg" in charts.svg(drawn)[:200]
    assert Image.open(io.BytesIO(charts.png(drawn))).width > charts.MATRIX_SIZE
    assert "日本語".encode() in charts.svg(drawn)


def test_drawing_again_gives_the_same_specification():
    cosines = np.random.default_rng(6).random((9, 9))
    codes = [f"l{k}" for k in range(9)]
    for draw in (
        lambda: charts.similarity_matrix(cosines, marks(9), "x", "y"),
        lambda: charts.language_matrix(cosines, codes, codes, measure="NASCA", title="Pairs"),
        lambda: charts.ranking(ranking_table(9), 0.1, "NASCA", "mean"),
        lambda: charts.layer_curves(curves(), 0.1, "NASCA"),
    ):
        assert draw().to_dict() == draw().to_dict()
