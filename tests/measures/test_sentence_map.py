"""The map of sentences against a full decomposition; that it stays in place over layers; what is said of it."""

import sys

import numpy as np
import pandas as pd
import pytest

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import sentence_map
from neuronxa_core.measures.sentence_map import SentenceMap
from neuronxa_core.states.stored import StatesReader


def plainly(vectors):
    """Squared coordinates and products of two coordinates, which no sign of an axis changes, and shares of variance."""
    x = vectors - vectors.mean(axis=0)
    left, values, _ = np.linalg.svd(x, full_matrices=False)
    whole = (values**2).sum()
    coordinates = left[:, :2] * values[:2] * np.sqrt(len(x) / whole)
    return coordinates, values[:2] ** 2 / whole


@pytest.mark.parametrize("shape", [(30, 6), (8, 20), (6, 6)])
def test_a_plane_is_that_of_a_full_decomposition(shape):
    vectors = np.random.default_rng(0).normal(size=shape) + 5
    found, shares = sentence_map.pca_plane(vectors)
    coordinates, wanted = plainly(vectors)
    np.testing.assert_allclose(shares, wanted)
    np.testing.assert_allclose(np.abs(found), np.abs(coordinates))
    assert (found**2).sum(axis=1).mean() == pytest.approx(shares.sum())


def test_by_hand():
    # variance 8 along one axis and 2 along the other
    found, shares = sentence_map.pca_plane(np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]]))
    assert shares.tolist() == pytest.approx([0.8, 0.2])
    np.testing.assert_allclose(np.abs(found), np.array([[2, 0], [2, 0], [0, 1], [0, 1]]) * np.sqrt(4 / 10), atol=1e-12)
    for still in (np.ones((3, 2)), np.ones((2, 1))):
        found, shares = sentence_map.pca_plane(still)
        assert (found.shape, found.any(), shares.tolist()) == ((len(still), 2), False, [0, 0])
    found, shares = sentence_map.pca_plane(np.array([[1.0], [3.0]]))
    assert (np.abs(found).tolist(), shares.tolist()) == ([[1, 0], [1, 0]], [1, 0])


def test_the_table_is_that_of_the_states_and_a_layer_lies_on_the_one_before(three_languages):
    plan, store = three_languages
    measure = SentenceMap(plan, "nav", points=12)
    assert measure.rows.tolist() == [0, 2, 4, 6]
    assert measure.note == "the map shows 4 of 7 sentences, spread evenly, in each language"
    table = measure.frame(measure.run(store))
    assert len(table) == 8 * 3 * 4
    maps = {layer: own[["x", "y"]].to_numpy() for layer, own in table.groupby("layer")}
    with StatesReader(plan, store) as reader:
        for layer in (0, 5):
            of_all = [reader.sentence_vectors(c, "nav", "weighted", layer)[[0, 2, 4, 6]] for c in plan.all_languages]
            coordinates, shares = plainly(np.concatenate(of_all))
            # distances are those of the components, whichever way the plane is turned
            np.testing.assert_allclose(maps[layer] @ maps[layer].T, coordinates @ coordinates.T, atol=1e-6)
            own = table[table["layer"] == layer]
            assert own[["explained_1", "explained_2"]].iloc[0].tolist() == pytest.approx(shares)
    for layer in range(1, 8):
        moved = np.square(maps[layer] - maps[layer - 1]).sum()
        for angle in np.linspace(0.1, 6.2, 30):
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            for mirror in (1, -1):
                other = maps[layer] @ turn @ np.diag([1, mirror])
                assert moved <= np.square(other - maps[layer - 1]).sum() + 1e-9
    first = table.iloc[0]
    assert (first["language"], first["sentence"], first["line"]) == ("eng_Latn", 1, plan.corpus.line(0))
    with pytest.raises(ExperimentError, match="fewer than 2 sentences of 3 languages"):
        SentenceMap(plan, points=5)


def test_umap_is_asked_for_by_name_where_it_is_not_installed(three_languages, monkeypatch):
    plan, store = three_languages
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ExperimentError, match=r"^UMAP needs a package more: pip install umap-learn, or choose pca$"):
        SentenceMap(plan, plane="umap").run(store)


def test_umap_keeps_clusters_together():
    pytest.importorskip("umap", reason="umap-learn is not installed")
    random = np.random.default_rng(0)
    vectors = np.repeat(np.eye(4, 30), 20, axis=0) + random.normal(scale=0.02, size=(80, 30))
    found, shares = sentence_map.umap_plane(vectors)
    assert np.isnan(shares).all()
    np.testing.assert_allclose([*found.mean(axis=0), np.square(found).sum() / 80], [0, 0, 1], atol=1e-6)
    np.testing.assert_array_equal(sentence_map.umap_plane(vectors)[0], found)
    table = pd.DataFrame({"x": found[:, 0], "y": found[:, 1], "language": "a", "layer": 0, "explained": np.nan})
    said = sentence_map.conclusion(table.assign(sentence=np.repeat(range(4), 20)), 0)
    assert said.startswith("Of the points' nearest others, 100% are translations")


def test_the_sentence_tells_clusters_of_meaning_from_clusters_of_language():
    centres = np.random.default_rng(0).normal(size=(10, 2)) * 100
    near = np.random.default_rng(1).normal(size=(60, 2)) * 0.01

    def said(by):
        table = pd.DataFrame({"language": np.repeat(list("abcdef"), 10), "sentence": np.tile(np.arange(10), 6)})
        places = centres[table["sentence"] if by == "sentence" else table["language"].map("abcdef".index)]
        table[["x", "y"]] = places + near
        return sentence_map.conclusion(table.assign(layer=3, explained=0.5), 3)

    start = "The plane holds 50% of layer 3's variance. Of the points' nearest others, "
    assert said("sentence") == (
        f"{start}100% are translations (8% by chance) and 0% are sentences of the same language (15% by chance)."
    )
    assert said("language") == (
        f"{start}0% are translations (8% by chance) and 100% are sentences of the same language (15% by chance)."
    )
    still = pd.DataFrame({"layer": [3], "language": ["a"], "sentence": [1], "x": [0.0], "y": [0.0], "explained": [0.0]})
    assert sentence_map.conclusion(still, 3) == "At layer 3 all sentences have the same vector."
    assert sentence_map.reach(still) == 1
    assert sentence_map.reach(still.assign(y=-2.0)) == pytest.approx(2.1)


def test_groups_are_at_most_so_many_and_the_rest_is_grey():
    codes = ["eng_Latn", "deu_Latn", "rus_Cyrl", "xyz_Latn"]
    assert sentence_map.groups(codes, "family") == ["Germanic", "Germanic", "Slavic", "others"]
    assert sentence_map.groups(codes, "script") == ["Latin", "Latin", "Cyrillic", "Latin"]
    assert sentence_map.groups(codes, "language", ["rus_Cyrl"]) == ["others", "others", "Russian (rus_Cyrl)", "others"]
    many = [
        "spa_Latn",
        "fra_Latn",
        *(f"{c}_Latn" for c in ("deu", "rus", "arb", "tha", "jpn", "kor", "zho", "tur", "swh")),
    ]
    found = sentence_map.groups(many, "family")
    assert len(set(found) - {"others"}) == sentence_map.MOST_GROUPS
    assert found[:2] == ["Romance", "Romance"]
