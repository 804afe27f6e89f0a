"""Zero-shot transfer against a plain computation, on planted duplicates, and on labels that transfer or do not."""

from __future__ import annotations

import dataclasses
import io
import itertools
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from neuronxa_core.cli.main import main
from neuronxa_core.corpora import reading
from neuronxa_core.errors import CorpusError, ExperimentError
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import task
from neuronxa_core.measures.transfer import Transfer, best_layer, features, groups_of_equal
from neuronxa_core.states import extraction, planning
from neuronxa_core.states.pools import ModelPool


@pytest.fixture
def plan(store):
    return planning.make_plan(Experiment(languages=("deu_Latn", "tha_Thai"), sentences=4), store)


def write(path, rows):
    """A file of XNLI's form; rows: (language, label, sentence1[, sentence2])."""
    head = ["language", "gold_label", *(["sentence1", "sentence2"] if len(rows[0]) == 4 else ["sentence"])]
    path.write_text("".join("\t".join(row) + "\n" for row in (head, *rows)), "utf-8")
    return path


@pytest.fixture
def pairs(tmp_path):
    """Pairs of sentences within each of 12 groups of three, told by whether the topic is the same, in two languages."""
    corpus = reading.read("demo")
    triples = np.random.default_rng(1).permutation(36).reshape(12, 3).tolist()
    chosen = [pair for own in triples for pair in itertools.combinations(own, 2)]
    same = [corpus.labels[a] == corpus.labels[b] for a, b in chosen]
    rows = [
        (code, "same" if one else "other", corpus.texts[full][a], corpus.texts[full][b])
        for code, full in (("en", "eng_Latn"), ("de", "deu_Latn"))
        for (a, b), one in zip(chosen, same, strict=True)
    ]
    return write(tmp_path / "pairs.tsv", rows)


def small(plan, layers=3):
    return dataclasses.replace(plan, info=dataclasses.replace(plan.info, layers=layers))


def put(store, measure, states):
    """Made-up hidden states [layer, sentence, width] by language."""
    for code, values in states.items():
        for pooling in ("weighted", "last"):
            name = f"emb_{pooling}"
            store.put(measure.plan.entry_key(code, name), {name: values.astype(np.float32)}, {"truncated": 0})
        store.put(measure.plan.keys[code], {"tokens": np.full(values.shape[1], 3)}, {"truncated": 0})


def plain_groups(texts):
    """Items that share a sentence, by merging until nothing changes."""
    words = [{column[k] for own in texts.values() for column in own} for k in range(len(next(iter(texts.values()))[0]))]
    group = list(range(len(words)))
    changed = True
    while changed:
        changed = False
        for a, b in itertools.combinations(range(len(words)), 2):
            if words[a] & words[b] and group[a] != group[b]:
                low, high = sorted((group[a], group[b]))
                group, changed = [low if one == high else one for one in group], True
    return group


def plain_classes(train, y, new):
    """Standardised, scaled to length 1 on average, scikit-learn's softmax; two classes have their weights halved."""
    mean, spread = train.mean(axis=0), train.std(axis=0)
    z, new = ((one - mean) / spread / sqrt(train.shape[1]) for one in (train, new))
    strength = (2 if len(set(y)) == 2 else 1) / (0.01 * len(y))
    return LogisticRegression(C=strength, tol=1e-7, max_iter=1000, solver="newton-cg").fit(z, y).predict(new)


def test_the_table_is_that_of_a_plain_computation(pairs, plan, store):
    pool, plan = ModelPool(), small(plan, 2)
    measure = Transfer(plan, str(pairs), "eng_Latn", layer="all", folds=4)
    table = measure.frame(measure.run(store, pool))
    names = ["language", "layer", "chosen", "state", "accuracy", "stderr", "majority", "chance", "n"]
    assert list(table) == names
    lines = [line.split("\t") for line in pairs.read_text("utf-8").splitlines()[1:]]
    own = {code: [line for line in lines if line[0] == code] for code in ("en", "de")}
    labels = [line[1] for line in own["en"]]
    y = np.array([sorted(set(labels)).index(label) for label in labels])
    groups = plain_groups({code: tuple(zip(*(line[2:] for line in rows), strict=True)) for code, rows in own.items()})
    assert len(set(groups)) == 12
    folds = [held for _, held in StratifiedGroupKFold(4, shuffle=True, random_state=0).split(y, y, groups)]
    with pool.acquire(plan) as loaded:
        x = {}
        for code, rows in own.items():
            for side in (2, 3):
                found = extraction.extract(loaded, code, [line[side] for line in rows])
                whole = found.tokens * (found.tokens + 1) / 2
                x[code, side] = found.arrays["emb_weighted"].astype(float) / whole[None, :, None]
    validation, wanted = [], {}
    for layer in range(plan.info.layers):
        full = {}
        for code in own:
            u, v = x[code, 2][layer], x[code, 3][layer]
            full[code] = np.concatenate([u, v, abs(u - v), u * v], axis=1)
        trained_on = lambda held: np.setdiff1d(np.arange(len(y)), held)  # noqa: E731
        rows = trained_on(folds[0])
        validation.append((plain_classes(full["en"][rows], y[rows], full["en"][folds[0]]) == y[folds[0]]).sum())
        for code in own:
            right = []
            for held in folds[1:]:
                rows = trained_on(held)
                right += (plain_classes(full["en"][rows], y[rows], full[code][held]) == y[held]).tolist()
            wanted[code, layer] = right
    chosen = validation.index(max(validation))
    tested = np.concatenate(folds[1:])
    assert len(table) == len(wanted)
    for row in table.itertuples():
        right = wanted[row.language, row.layer]
        assert row.accuracy == pytest.approx(np.mean(right))
        assert row.stderr == pytest.approx(np.std(right, ddof=1) / sqrt(len(right)))
        assert (row.n, row.chance, row.chosen) == (len(tested), 1 / 2, row.layer == chosen)
        assert row.majority == max((y[tested] == k).mean() for k in (0, 1))
    # the chosen layer alone is a row of all, and a layer by number, too
    kept = table[table["chosen"]].reset_index(drop=True)
    for layer, what in (("chosen", kept), (chosen, kept.assign(chosen=False))):
        one = Transfer(plan, str(pairs), "en", layer=layer, folds=4)
        pd.testing.assert_frame_equal(one.frame(one.run(store)), what)
    # as a task it is matched with the languages of the corpus, and is that of the chosen layer
    found = task.measured(measure, store, plan)
    by_language = kept.set_index("language")["accuracy"]
    assert found.scores == {"eng_Latn": by_language["en"], "deu_Latn": by_language["de"]}
    assert (found.title, found.of_model(plan, store)) == ("transfer from en on pairs.tsv (accuracy)", found.scores)


def test_equal_sentences_are_never_on_both_sides(tmp_path, plan, store):
    generator = np.random.default_rng(0)
    labels = generator.permutation([str(k % 2) for k in range(40)])
    copies = generator.permutation(np.repeat(np.arange(40), 5)).tolist()
    rows = [(code, labels[k], f"{code} {k}") for code in ("en", "de") for k in copies]
    measure = Transfer(small(plan, 1), str(write(tmp_path / "x.tsv", rows)), "en", layer=0, pooling="last")
    for part in range(5):
        inside = {copies[k] for k in np.flatnonzero(measure.fold_of == part)}
        assert inside.isdisjoint(copies[k] for k in np.flatnonzero(measure.fold_of != part))
    # states that say the sentence and nothing of the label: what saw a copy would be always right
    vectors = generator.normal(size=(40, 60))[copies][None]
    put(store, measure, {"en": vectors, "de": vectors})
    found = measure.frame(measure.run(store))
    assert found["accuracy"].between(0.25, 0.75).all()


def test_groups_are_chains_of_equal_sentences_in_any_language():
    texts = {
        "en": (("a", "b", "c", "d", "e"), ("p", "q", "q", "r", "s")),
        "de": (("A", "B", "C", "D", "E"), ("P", "Q", "R", "E", "S")),
    }
    # b and c share q, d and e share E
    found = groups_of_equal(texts)
    assert [int(np.flatnonzero(found == one)[0]) for one in found] == [0, 1, 1, 3, 3] == plain_groups(texts)


def test_labels_that_transfer_and_labels_that_do_not(tmp_path, plan, store):
    generator = np.random.default_rng(0)
    y = np.arange(120) % 3
    rows = [(code, "abc"[k], f"{code} {n}") for code in ("en", "de", "fr") for n, k in enumerate(y)]
    measure = Transfer(small(plan), str(write(tmp_path / "x.tsv", rows)), "en", pooling="last")
    told = 6 * np.eye(10)[y]
    states = {code: generator.normal(size=(3, 120, 10)) for code in ("en", "de", "fr")}
    # English tells at layer 1, German alike; French tells in other directions there, and at layer 2 more than all
    for code, layer, signs in (
        ("en", 1, told),
        ("de", 1, told),
        ("fr", 1, told[:, ::-1]),
        ("fr", 2, told),
        ("de", 2, told),
    ):
        states[code][layer] += signs
    put(store, measure, states)
    seen = []
    table = measure.frame(measure.run(store, on_progress=lambda *done: seen.append(done))).set_index("language")
    assert (table["layer"] == 1).all()
    assert table["chosen"].all()
    assert table["accuracy"]["en"] > 0.95
    assert table["accuracy"]["de"] > 0.95
    assert table["accuracy"]["fr"] < 0.5
    assert seen == [("layers", k, 3) for k in (1, 2, 3)] + [("languages", k, 3) for k in (1, 2, 3)]
    # what is missing is made again from what is kept
    store.drop(measure.key_of("fr"))
    assert measure.totals(store) == {"languages": 1}
    again = measure.frame(measure.run(store)).set_index("language")
    pd.testing.assert_frame_equal(again, table)


def test_features_by_hand():
    found = features(np.array([[1.0, 2]]), np.array([[3.0, -1]]))
    assert found.tolist() == [[1, 2, 3, -1, 2, 3, 3, -2]]
    assert features(np.ones((1, 2))).tolist() == [[1, 1]]
    assert best_layer({2: {"right": np.array(5)}, 0: {"right": np.array(4)}, 1: {"right": np.array(5)}}) == 1


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"data": None}, "data is missing"),
        ({"pivot": "xx"}, "pairs.tsv: xx is none of the languages; give one of en, de as pivot"),
        ({"data_languages": ("en",)}, "at least 2 languages, and pairs.tsv has only en"),
        ({"layer": 8}, "layer is from 0 to 7"),
        ({"layer": "middle"}, "layer is a number, chosen or all, not 'middle'"),
        ({"penalty": 0}, "must be above 0"),
        ({"folds": 2}, "at least 3 folds, not 2"),
        ({"folds": 17}, "36 items of pairs.tsv fall into 12 groups that share no sentence, fewer than the 17 folds"),
        ({"items": 0}, "items is from 1 to 36"),
        ({"items": 1}, "have only the label"),
        ({"state": "x"}, "state is one of"),
    ],
)
def test_choices_that_do_not_fit_are_refused(choices, said, pairs, plan):
    with pytest.raises(ExperimentError, match=said):
        Transfer(**{"plan": plan, "data": pairs, "pivot": "en", "folds": 4} | choices)


def test_labels_that_one_fold_holds_alone_are_refused(tmp_path, plan):
    rows = [(code, "rare" if k < 9 else "ab"[k % 2], f"{code} {max(k, 8)}") for code in ("en", "de") for k in range(40)]
    with pytest.raises(ExperimentError, match="tsv: label 'rare' is in one of the 5 folds alone, since items that"):
        Transfer(plan, str(write(tmp_path / "x.tsv", rows)), "en")


def test_a_sample_of_the_items_is_the_same_in_all_languages(pairs, plan):
    few, whole = (Transfer(plan, str(pairs), "en", items=n, folds=3) for n in (30, None))
    assert len(few.labelled.labels) == 30
    places = [whole.labelled.texts["en"][0].index(text) for text in few.labelled.texts["en"][0]]
    assert places == sorted(places)
    for n, text in enumerate(few.labelled.texts["de"][1]):
        k = next(
            k
            for k in range(36)
            if all(whole.labelled.texts["en"][s][k] == few.labelled.texts["en"][s][n] for s in (0, 1))
        )
        assert (whole.labelled.texts["de"][1][k], whole.labelled.labels[k]) == (text, few.labelled.labels[n])


def test_the_command_needs_no_corpus(pairs, tmp_path, capsys):
    options = ["measure", "transfer", "--model", "demo", "--cache-dir", str(tmp_path / "c"), "--states", "emb"]
    pairs.write_text(pairs.read_text("utf-8") + "de\t-\tMehr.\tWeniger.\nen\t-\tMore.\tLess.\n", "utf-8")
    options += ["--data", str(pairs), "--folds", "4", "--items", "30"]
    assert main([*options, "--pivot", "de"]) == 0
    out, err = capsys.readouterr()
    table = pd.read_csv(io.StringIO(out))
    assert table["language"].tolist() == ["de", "en"]
    assert "note: Items left aside, since they have no label: 1 of 37.\n" in err
    assert main([*options, "--pivot", "fr"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    pairs.write_text("a\n", "utf-8")
    assert main([*options, "--pivot", "de"]) == 2
    assert "has headings but no rows" in capsys.readouterr().err
    with pytest.raises(CorpusError):
        Transfer.make(None, None, None, data="/none", pivot="en")
