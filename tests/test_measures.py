"""measures.py against plain computations on made-up states, and what is kept, resumed and computed again."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronxa_core.corpora import parallel
from neuronxa_core.errors import Cancelled, ExperimentError, ModelError
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import alignment, bitext_retrieval, likelihood
from neuronxa_core.measures.bitext_retrieval import BitextRetrieval
from neuronxa_core.measures.figures import Measured
from neuronxa_core.measures.likelihood import NatsPerByte
from neuronxa_core.measures.probe import LinearProbe, fit, stratified_folds
from neuronxa_core.models import loading
from neuronxa_core.states import computing, extraction, planning, stored
from neuronxa_core.states import likelihood as likelihood_states
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

LANGUAGES = ("deu_Latn", "fra_Latn", "tha_Thai")
EVERYONE = ("eng_Latn", *LANGUAGES)
SENTENCES = 60


@pytest.fixture(scope="module")
def pool():
    return ModelPool()


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A random sample of the bundled corpus, whose lines go topic by topic, in four languages."""
    store = Store(tmp_path_factory.mktemp("plan"))
    plan = planning.make_plan(Experiment(languages=LANGUAGES, sentences=SENTENCES, seed=2), store)
    store.close()
    return plan


@pytest.fixture(scope="module")
def real(plan, pool, tmp_path_factory):
    """A store with the plan's states. Tests leave them there."""
    store = Store(tmp_path_factory.mktemp("real"))
    computing.compute_missing(plan, store, pool)
    yield store
    store.close()


def small(plan, layers=3, neurons=10, hidden=10):
    """The plan as if its model were small, for made-up states."""
    return dataclasses.replace(plan, info=dataclasses.replace(plan.info, layers=layers, neurons=neurons, hidden=hidden))


def put_states(store, plan, language, vectors, tokens=None):
    """Made-up hidden states [layer, sentence, width] as those of a language, as `last` vectors."""
    n = len(plan.rows(language))
    tokens = np.full(n, 3) if tokens is None else tokens
    vectors = np.asarray(vectors, dtype=np.float32)
    whole = {"last": 1, "mean": tokens[:, None], "weighted": (tokens * (tokens + 1) / 2)[:, None]}
    arrays = {f"{s}_{p}": (vectors * whole[p]).astype(np.float32) for s in ("emb", "nav", "nas") for p in whole}
    store.put(plan.keys[language], {**arrays, "tokens": tokens}, {"truncated": 0})


def made_up(store, plan, seed=0, noise=1.0):
    """Made-up states: every class has a direction, the same in all languages, and a language adds noise."""
    generator = np.random.default_rng(seed)
    labels = plan.corpus.labels
    number = {label: k for k, label in enumerate(sorted(set(labels)))}
    shape = (plan.info.layers, len(labels), plan.info.hidden)
    centres = generator.normal(size=(shape[0], len(number), shape[2]))
    meaning = centres[:, [number[label] for label in labels]] + 0.5 * generator.normal(size=shape)
    for k, code in enumerate(plan.all_languages):
        put_states(store, plan, code, meaning + noise * k * generator.normal(size=shape))


# figures


@given(st.floats(0, 9), st.floats(0, 9), st.integers(2, 99))
def test_a_figure_comes_back(score, stderr, n):
    measured = Measured(score, stderr, n)
    assert Measured.from_json(measured.to_json()) == measured
    assert (Measured.from_json(measured.to_json(), 1) is None) is (score > 1)


@pytest.mark.parametrize(
    "document",
    [None, [], "x", 1, {}, {"score": 0.5, "stderr": 0.1}, {"score": 0.5, "stderr": 0.1, "n": 3, "more": 1}]
    + [{"score": 0.5, "stderr": 0.1, "n": 3, **change} for change in ({"score": None}, {"score": -1}, {"score": True})]
    + [{"score": 0.5, "stderr": 0.1, "n": 3, **change} for change in ({"stderr": "a"}, {"n": 1}, {"n": 2.0})]
    + [{"score": float("nan"), "stderr": 0.1, "n": 3}, {"score": float("inf"), "stderr": 0.1, "n": 3}],
)
def test_a_damaged_or_older_document_is_no_figure(document):
    assert Measured.from_json(document) is None


def test_mean_and_standard_error_by_hand():
    measured = Measured.mean_of(np.array([0.0, 1.0, 1.0, 0.5]))
    assert measured.score == 0.625
    assert measured.stderr == pytest.approx(np.sqrt((0.625**2 + 2 * 0.375**2 + 0.125**2) / 3) / 2)
    assert measured.n == 4


# the classifier


def plain_fit(x, y, count, penalty):
    """The same objective without any reduction, minimised with torch's gradients: weights and bias of raw vectors."""
    x = torch.tensor(np.asarray(x, dtype=np.float64))
    spread = x.std(dim=0, correction=0)
    varies = spread > 0
    z = torch.where(varies, (x - x.mean(dim=0)) / torch.where(varies, spread, 1.0), 0.0) / varies.sum().sqrt()
    weights = torch.zeros(x.shape[1], count, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, bias], max_iter=3000, tolerance_grad=1e-11, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        own = torch.nn.functional.cross_entropy(z @ weights + bias, torch.tensor(y))
        loss = own + penalty / 2 * (weights**2).sum()
        loss.trg2src()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        raw = torch.where(varies[:, None], weights / torch.where(varies, spread, 1.0)[:, None], 0) / varies.sum().sqrt()
        return raw.numpy(), (bias - x.mean(dim=0) @ raw).numpy()


@pytest.mark.parametrize(("n", "width", "count"), [(24, 5, 3), (20, 60, 2), (30, 30, 6)])
@pytest.mark.parametrize("penalty", [0.001, 0.01, 1])
def test_the_classifier_is_that_of_a_plain_minimisation(n, width, count, penalty):
    generator = np.random.default_rng(n)
    y = generator.permutation(np.arange(n) % count)
    x = generator.normal(size=(n, width)) * 10.0 ** generator.integers(-3, 3, width) + generator.normal(size=width)
    x[:, 1] = 7.3
    x[:, 2] = x[:, 0] + generator.integers(0, 2, n)
    classifier = fit(x, y, count, penalty)
    weights, bias = plain_fit(x, y, count, penalty)
    new = x[generator.integers(0, n, 200)] + generator.normal(size=(200, width)) * x.std(axis=0)
    logits = lambda w, b: (new @ w + b) - (new @ w + b).mean(axis=1, keepdims=True)  # noqa: E731
    assert np.allclose(logits(classifier.weights, classifier.bias), logits(weights, bias), atol=1e-5)
    assert np.array_equal(classifier.classify(new), (new @ weights + bias).argmax(axis=1))
    assert not classifier.weights[1].any()


@given(st.integers(0, 10**6), st.sampled_from([1e-6, 1e-3, 1, 1e3]), st.sampled_from([0, 1e-8, 1e8]))
@settings(max_examples=25)
def test_the_classifier_converges_and_does_not_see_scale_or_order(seed, penalty, offset):
    generator = np.random.default_rng(seed)
    y = np.arange(12) % 3
    x = generator.normal(size=(12, 7))
    classifier = fit(x, y, 3, penalty)
    order, columns = generator.permutation(12), generator.permutation(7)
    scale = 10.0 ** generator.integers(-2, 3, 7)
    moved = fit((x * scale + offset * scale * 1e-3)[order][:, columns], y[order], 3, penalty)
    new = generator.normal(size=(9, 7))
    mine = new @ classifier.weights + classifier.bias
    other = (new * scale + offset * scale * 1e-3)[:, columns] @ moved.weights + moved.bias
    assert np.allclose(mine, other, atol=1e-3 * np.abs(mine).max())


def test_vectors_that_do_not_vary_leave_the_bias_alone():
    classifier = fit(np.full((5, 3), 2.0), np.array([0, 1, 1, 1, 0]), 2, 0.01)
    assert not classifier.weights.any()
    assert np.exp(classifier.bias[1] - classifier.bias[0]) == pytest.approx(1.5)
    assert classifier.classify(np.ones((2, 3))).tolist() == [1, 1]


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.integers(2, 6), st.integers(0, 99))
def test_folds_are_even_in_every_class_and_over_all(classes, folds, seed):
    classes = np.array(classes)
    found = stratified_folds(classes, folds, np.random.default_rng(seed))
    assert np.array_equal(found, stratified_folds(classes, folds, np.random.default_rng(seed)))
    for some in (found, *(found[classes == k] for k in set(classes.tolist()))):
        counts = np.bincount(some, minlength=folds)
        assert len(counts) == folds
        assert counts.max() - counts.min() <= 1


# the probe


def plain_vectors(states, state, pooling):
    tokens = states.tokens.astype(float)
    whole = {"weighted": tokens * (tokens + 1) / 2, "mean": tokens, "last": tokens * 0 + 1}[pooling]
    return states.arrays[f"{state}_{pooling}"].astype(float) / whole[None, :, None]


@pytest.mark.parametrize(("state", "pooling"), [("emb", "weighted"), ("nas", "mean")])
def test_the_probe_is_a_plain_one_on_plain_states(state, pooling, plan, real, pool):
    probe = LinearProbe(plan, "eng_Latn", state, pooling, layer=3, repeats=2, folds=3)
    probe.run(real, pool)
    topics = [plan.corpus.labels[row] for row in plan.corpus.usable]
    names = sorted(set(topics))
    y = np.array([names.index(topic) for topic in topics])
    with pool.acquire(plan) as loaded:
        vectors = {
            code: plain_vectors(extraction.extract(loaded, code, plan.sentences(code)), state, pooling)[3]
            for code in ("eng_Latn", "deu_Latn")
        }
    right = {code: np.zeros((2, len(y))) for code in vectors}
    for repeat in range(2):
        fold_of = stratified_folds(y, 3, np.random.default_rng([repeat]))
        for fold in range(3):
            train = [k for k in range(len(y)) if fold_of[k] != fold]
            weights, bias = plain_fit(vectors["eng_Latn"][train], y[train], len(names), 0.01)
            for code, x in vectors.items():
                for k in set(range(len(y))) - set(train):
                    right[code][repeat, k] = np.argmax(x[k] @ weights + bias) == y[k]
    found = probe.results(real)
    assert list(found) == list(EVERYONE)
    for code, table in right.items():
        shares = table.mean(axis=0)
        assert found[code].score == pytest.approx(shares.mean())
        assert found[code].stderr == pytest.approx(np.std(shares, ddof=1) / np.sqrt(len(y)))
        assert found[code].n == len(y)
    assert probe.classes == tuple(names)
    assert probe.chance == 1 / 6
    assert probe.majority == max(Counter(topics).values()) / len(topics)


def test_what_is_alike_is_told_alike_and_noise_is_told_less(plan, store, pool):
    plan = small(plan)
    made_up(store, plan)
    with store.get(plan.keys["eng_Latn"]) as entry:
        emb = entry.array("emb_last").copy()
    # the source language under another name, with other numbers of tokens
    put_states(store, plan, "deu_Latn", emb, tokens=np.arange(SENTENCES) + 1)
    probe = LinearProbe(plan, "eng_Latn")
    probe.run(store, pool)
    found = probe.results(store)
    assert found["deu_Latn"] == found["eng_Latn"]
    assert found["eng_Latn"].score > 0.9 > found["fra_Latn"].score > found["tha_Thai"].score > probe.chance
    assert LinearProbe(plan, "tha_Thai", layer=1).results(store) == {}


def test_labels_that_mean_nothing_are_told_at_chance(plan, store, pool):
    plan = small(plan)
    made_up(store, plan)
    generator = np.random.default_rng(5)
    scores = []
    for _ in range(12):
        labels = tuple(generator.permutation(plan.corpus.labels).tolist())
        shuffled = dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, labels=labels))
        probe = LinearProbe(shuffled, "eng_Latn", repeats=1)
        probe.run(store, pool)
        scores.append([measured.score for measured in probe.results(store).values()])
    # one score's deviation is about 0.05; those of one shuffling go together
    assert abs(np.mean(scores) - 1 / 6) < 0.05
    assert np.std(scores) > 0


def test_the_layer_is_chosen_by_the_source_language_alone(plan, store, pool):
    plan = small(plan)
    generator = np.random.default_rng(0)
    y = np.unique(plan.corpus.labels, return_inverse=True)[1]
    noise = lambda: generator.normal(size=(3, SENTENCES, 10))  # noqa: E731
    told = 10 * np.eye(10)[y]
    for code in plan.all_languages:
        vectors = noise()
        vectors[1 if code == "eng_Latn" else 2] += told
        put_states(store, plan, code, vectors)
    probe, progress = LinearProbe(plan, "eng_Latn", layer="chosen", repeats=2), []
    assert probe.totals(store) == {"layers": 3, "languages": 4}
    assert probe.layers_read(store) is None
    probe.run(store, pool, lambda *done: progress.append(done))
    assert progress == [("layers", k, 3) for k in (1, 2, 3)] + [("languages", k, 4) for k in (1, 2, 3, 4)]
    assert probe.layers_read(store) == {1: 10}
    found = probe.results(store)
    fixed = LinearProbe(plan, "eng_Latn", layer=1, repeats=2)
    fixed.run(store, pool)
    assert fixed.results(store) == found
    assert fixed.layers_read(store) == {1: 10}
    assert found["eng_Latn"].score == 1
    assert found["deu_Latn"].score < 0.5
    # a damaged choice is made again when a language is missing, and only then
    store.put_json(probe._inner_key(2), [[1, 2], [3]])
    assert probe.totals(store) == {}
    store.drop(probe._keys["fra_Latn"])
    assert probe.totals(store) == {"layers": 1, "languages": 1}
    probe.run(store, pool)
    assert probe.results(store) == found


def test_inner_counts_by_loops(plan, store, pool):
    plan = small(plan, layers=1)
    made_up(store, plan, noise=0)
    probe = LinearProbe(plan, "eng_Latn", layer="chosen", repeats=1, folds=3)
    probe.run(store, pool)
    x = probe._vectors(store, "eng_Latn", 0)
    y = np.array([probe.classes.index(label) for label in probe.labels])
    for fold in range(3):
        rows = np.flatnonzero(probe._folds[0] != fold)
        inner = stratified_folds(y[rows], 2, np.random.default_rng([0, fold]))
        right = 0
        for held in (0, 1):
            weights, bias = plain_fit(x[rows[inner != held]], y[rows[inner != held]], 6, 0.01)
            right += ((x[rows[inner == held]] @ weights + bias).argmax(axis=1) == y[rows[inner == held]]).sum()
        assert store.get_json(probe._inner_key(0))[0][fold] == right


def test_sentences_without_a_label_are_left_out(plan, store, pool):
    plan = small(plan)
    made_up(store, plan)
    labels = tuple("  " if k % 5 == 0 else f" {label}" for k, label in enumerate(plan.corpus.labels))
    some = dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, labels=labels))
    rest = tuple(k for k in range(SENTENCES) if k % 5)
    fewer = dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, usable=rest))
    found = []
    for other in (some, fewer):
        probe = LinearProbe(other, "eng_Latn", folds=3)
        probe.run(store, pool)
        found.append(probe.results(store))
        assert found[-1]["deu_Latn"].n == len(rest) == len(probe.labels)
    assert found[0] == found[1]


def test_a_stopped_probe_keeps_what_it_finished_and_goes_on_from_there(plan, store, pool):
    plan = small(plan)
    made_up(store, plan)
    probe, progress = LinearProbe(plan, "eng_Latn"), []
    assert (probe.unit, probe.metric, probe.higher_is_better) == ("steps", "accuracy", True)
    assert probe.title == "transfer of 6 labels from eng_Latn in demo"
    with pytest.raises(Cancelled, match="before fra_Latn, after 2 of 4"):
        probe.run(store, pool, lambda *done: progress.append(done), lambda: len(progress) == 2)
    kept = probe.results(store)
    assert list(kept) == ["eng_Latn", "deu_Latn"]
    assert probe.totals(store) == {"languages": 2}
    progress.clear()
    probe.run(store, pool, lambda *done: progress.append(done))
    assert progress == [("languages", 1, 2), ("languages", 2, 2)]
    assert kept.items() <= probe.results(store).items()
    assert probe.totals(store) == {}
    for document in ({"score": 2, "stderr": 0, "n": 60}, "text", None):
        store.put_json(probe._keys["deu_Latn"], document)
        assert probe.totals(store) == {"languages": 1}
    whole = probe.results(store)
    probe.run(store, pool)
    assert probe.results(store) == {**whole, "deu_Latn": kept["deu_Latn"]}
    # everything there: no classifier is learnt
    probe.run(store, None, cancelled=lambda: True)


@pytest.mark.parametrize("calls", [0, 1, 7, 30])
def test_cancelling_reaches_every_part_of_a_probe(calls, plan, store, pool):
    plan, asked = small(plan, layers=2), []
    made_up(store, plan)

    def cancelled():
        asked.append(1)
        return len(asked) > calls

    with pytest.raises(Cancelled, match="stopped"):
        LinearProbe(plan, "eng_Latn", layer="chosen", repeats=1).run(store, pool, cancelled=cancelled)
    assert len(asked) == calls + 1


def test_what_decides_a_probe(plan):
    base = LinearProbe(plan, "eng_Latn")
    assert base._keys == LinearProbe(plan, "eng_Latn", layer=plan.info.layers // 2)._keys
    corpus = plan.corpus
    others = [
        LinearProbe(plan, "deu_Latn"),
        LinearProbe(plan, "eng_Latn", state="nas"),
        LinearProbe(plan, "eng_Latn", pooling="mean"),
        LinearProbe(plan, "eng_Latn", layer=1),
        LinearProbe(plan, "eng_Latn", layer="chosen"),
        LinearProbe(plan, "eng_Latn", penalty=0.1),
        LinearProbe(plan, "eng_Latn", folds=4),
        LinearProbe(plan, "eng_Latn", repeats=4),
        LinearProbe(dataclasses.replace(plan, keys={**plan.keys, "eng_Latn": "states-other"}), "eng_Latn"),
        LinearProbe(
            dataclasses.replace(plan, corpus=dataclasses.replace(corpus, usable=corpus.usable[1:])), "eng_Latn"
        ),
        LinearProbe(
            dataclasses.replace(plan, corpus=dataclasses.replace(corpus, labels=corpus.labels[::-1])), "eng_Latn"
        ),
    ]
    assert len({probe.key for probe in (base, *others)}) == len(others) + 1
    assert len({probe._keys["fra_Latn"] for probe in (base, *others)}) == len(others) + 1
    # another language's states leave a language's figure as it is
    other = dataclasses.replace(plan, keys={**plan.keys, "tha_Thai": "states-other"})
    assert LinearProbe(other, "eng_Latn")._keys["fra_Latn"] == base._keys["fra_Latn"]
    assert LinearProbe(other, "eng_Latn").key != base.key


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"source_language": "xyz_Latn"}, "xyz_Latn is not a language of this experiment"),
        ({"state": "abc"}, "state is one of nas, nav, emb"),
        ({"pooling": "abc"}, "pooling is one of weighted, last, mean"),
        ({"layer": 8}, "layer is from 0 to 7 in model demo, not 8"),
        ({"layer": -1}, "layer is from 0 to 7"),
        ({"layer": "best"}, "layer is from 0 to 7"),
        ({"penalty": 0}, "penalty of a probe must be above 0"),
        ({"folds": 1}, "at least 2 folds"),
        ({"folds": 2, "layer": "chosen"}, "at least 3 folds"),
        ({"repeats": 0}, "at least 1 repeat"),
        ({"folds": 30}, "sentences, fewer than the 30 folds"),
    ],
)
def test_probes_that_do_not_fit_are_refused(choices, message, plan):
    with pytest.raises(ExperimentError, match=message):
        LinearProbe(**{"plan": plan, "source_language": "eng_Latn", **choices})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"corpus demo has no labels to learn; add a labels.txt"),
        (("",) * SENTENCES, "have no label; a probe needs at least 2 classes"),
        (("a",) * SENTENCES, "have only the label 'a'"),
        (("a",) * (SENTENCES - 4) + ("b",) * 4, "label 'b' of corpus demo has 4 sentences, fewer than the 5 folds"),
    ],
)
def test_labels_that_make_no_task_are_refused(labels, message, plan):
    with pytest.raises(ExperimentError, match=message):
        LinearProbe(dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, labels=labels)), "eng_Latn")


def test_states_that_are_not_there_are_asked_for(plan, store, pool):
    for work in (LinearProbe(plan, "eng_Latn"), BitextRetrieval(plan)):
        with pytest.raises(ExperimentError, match="eng_Latn are not in the cache; run the extraction first"):
            work.run(store, pool)


def test_damaged_states_are_computed_again(plan, store, pool, monkeypatch):
    plan, read = planning.restrict(plan, ["deu_Latn"]), []
    real = extraction.extract
    monkeypatch.setattr(extraction, "extract", lambda *some, **more: read.append(some[1]) or real(*some, **more))
    works = (LinearProbe(plan, "eng_Latn", repeats=1), BitextRetrieval(plan))
    computing.compute_missing(plan, store, pool)
    for work in works:
        work.run(store, pool)
    whole = [work.results(store) for work in works]
    for work in works:
        for key in work._keys.values():
            store.drop(key)
    for file in store.folder.rglob("*.safetensors"):
        content = bytearray(file.read_bytes())
        for at in range(len(content) // 50, len(content), 997):
            content[at] ^= 0xFF
        file.write_bytes(content)
    again = Store(store.folder)
    read.clear()
    for work, results in zip(works, whole, strict=True):
        assert work.results(again) == {}
        work.run(again, pool)
        assert work.results(again) == results
    assert sorted(read) == ["deu_Latn", "eng_Latn"]
    again.close()


# likelihood


def test_nats_per_byte_of_every_language(plan, store, pool):
    work, progress = NatsPerByte(plan, sentences=6), []
    assert (work.unit, work.metric, work.higher_is_better) == ("sentences", "nats per byte", False)
    assert work.title == "likelihood of 4 languages in demo"
    assert work.totals(store) == dict.fromkeys(EVERYONE, 6)
    with pytest.raises(Cancelled):
        work.run(store, pool, lambda *done: progress.append(done), lambda: ("deu_Latn", 6, 6) in progress)
    assert work.totals(store) == dict.fromkeys(EVERYONE[2:], 6)
    kept = work.results(store)
    progress.clear()
    work.run(store, pool, lambda *done: progress.append(done))
    assert {code for code, _, _ in progress} == set(EVERYONE[2:])
    assert progress[-1] == ("tha_Thai", 6, 6)
    found = work.results(store)
    assert kept.items() <= found.items()
    with pool.acquire(plan, head=True) as loaded:
        for code in EVERYONE:
            texts = [plan.corpus.texts[code][row] for row in plan.corpus.usable[:6]]
            alone = likelihood_states.negative_log_likelihood(loaded, texts)
            sizes = np.array([len(text.encode()) for text in texts])
            assert found[code].score == pytest.approx(alone.nats.sum() / sizes.sum(), rel=1e-5)
            assert found[code].n == 6
    store.put_json(work._keys["deu_Latn"], {"score": -1, "stderr": 0, "n": 6})
    assert work.totals(store) == {"deu_Latn": 6}
    work.run(store, pool)
    assert work.results(store) == found
    work.run(store, None)


@given(st.integers(3, 40), st.integers(0, 10**6))
@settings(max_examples=15)
def test_the_standard_error_of_a_ratio(n, seed):
    generator = np.random.default_rng(seed)
    below = generator.integers(20, 60, n)
    assert likelihood._ratio(1.5 * below, below) == Measured(1.5, pytest.approx(0, abs=1e-12), n)
    # sentences of one length: the standard error of a mean
    values = generator.random(n)
    equal = likelihood._ratio(values * 7, np.full(n, 7))
    assert equal.score == pytest.approx(values.mean())
    assert equal.stderr == pytest.approx(np.std(values, ddof=1) / np.sqrt(n))


def test_the_standard_error_agrees_with_a_bootstrap():
    generator = np.random.default_rng(0)
    below = generator.integers(20, 200, 80)
    above = below * generator.normal(1.5, 0.3, 80)
    drawn = generator.integers(0, 80, (4000, 80))
    bootstrap = np.std(above[drawn].sum(axis=1) / below[drawn].sum(axis=1))
    assert likelihood._ratio(above, below).stderr == pytest.approx(bootstrap, rel=0.06)


def test_what_decides_a_likelihood(plan):
    base = NatsPerByte(plan, 6)
    shorter = dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, usable=plan.corpus.usable[:6]))
    assert NatsPerByte(shorter).key == base.key
    gate = dataclasses.replace(plan, keys=dict.fromkeys(plan.keys, "another definition of a neuron"))
    assert NatsPerByte(gate, 6).key == base.key
    others = [
        NatsPerByte(plan, 7),
        NatsPerByte(plan),
        NatsPerByte(dataclasses.replace(plan, identity="other"), 6),
        NatsPerByte(dataclasses.replace(plan, dtype="bfloat16"), 6),
        NatsPerByte(dataclasses.replace(plan, info=dataclasses.replace(plan.info, max_length=5)), 6),
    ]
    assert len({work.key for work in (base, *others)}) == len(others) + 1


def test_likelihood_that_does_not_fit_is_refused(plan, store, monkeypatch):
    encoder = dataclasses.replace(plan, info=dataclasses.replace(plan.info, causal=False))
    with pytest.raises(ModelError, match="is an encoder, which predicts no next token"):
        NatsPerByte(encoder)
    with pytest.raises(ExperimentError, match="at least 2 sentences, not 1"):
        NatsPerByte(plan, 1)
    monkeypatch.setattr(loading, "load", None)
    with pytest.raises(Cancelled, match="before it began"):
        NatsPerByte(plan).run(store, ModelPool(), cancelled=lambda: True)


# retrieval


@given(st.floats(0.05, 0.95), st.integers(0, 10**6))
def test_the_parts_are_a_partition(share, seed):
    corpus = dataclasses.replace(DUMMY, usable=tuple(range(40)))
    plan = planning.Plan(Experiment(), corpus, None, None, "cpu", "float32", {})
    first, held = bitext_retrieval.parts(plan, share, seed)
    assert len(held) == round(share * 40)
    assert sorted([*first, *held]) == list(range(40))
    assert (np.diff(first) > 0).all()
    assert (np.diff(held) > 0).all()
    again = bitext_retrieval.parts(plan, share, seed)
    assert np.array_equal(first, again[0])
    assert np.array_equal(held, again[1])
    assert not np.array_equal(held, bitext_retrieval.parts(plan, share, seed + 1)[1]) or min(len(first), len(held)) < 4


DUMMY = parallel.Corpus("dummy", "eng", ("deu",), {}, (), (), None, ())


def hits(x, y):
    """For each sentence the mean of found x to y and y to x, by loops."""
    cosine = lambda a, b: float(a @ b / np.sqrt(float(a @ a) * float(b @ b)))  # noqa: E731
    found = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        src2trg = all(cosine(x[i], y[i]) > cosine(x[i], y[j]) for j in others)
        trg2src = all(cosine(x[i], y[i]) > cosine(x[j], y[i]) for j in others)
        found.append((src2trg + trg2src) / 2)
    return np.array(found)


def test_retrieval_is_that_of_loops_with_the_layer_of_the_other_part(plan, store, pool):
    plan = small(plan, layers=3)
    generator = np.random.default_rng(0)
    first, held = bitext_retrieval.parts(plan, 0.4, 3)
    assert len(held) == 24
    noise = np.full((3, SENTENCES, 1), 3.0)
    # layer 1 is best where alignment is measured, layer 2 on what is held out
    noise[1, first], noise[2, held] = 0.3, 0.3
    meaning = generator.normal(size=(3, SENTENCES, 10))
    for code in plan.all_languages:
        put_states(store, plan, code, meaning + noise * generator.normal(size=meaning.shape))
    work, progress = BitextRetrieval(plan, "emb", "last", share=0.4, seed=3), []
    assert (work.unit, work.metric, work.higher_is_better) == ("languages", "retrieval accuracy", True)
    assert work.title == "retrieval between eng_Latn and 3 languages in demo"
    assert work.chance == 1 / 24
    assert work.layer_read(store) is None
    assert work.totals(store) == {"languages": 3}
    with pytest.raises(Cancelled, match="before fra_Latn, after 1 of 3"):
        work.run(store, pool, lambda *done: progress.append(done), lambda: len(progress) == 1)
    # the layer is not known before all are there
    assert work.results(store) == {}
    assert BitextRetrieval(plan, "emb", "last", 1, share=0.4, seed=3).results(store).keys() == {"deu_Latn"}
    work.run(store, pool, lambda *done: progress.append(done))
    assert progress == [("languages", 1, 3), ("languages", 1, 2), ("languages", 2, 2)]
    assert work.layer_read(store) == 1
    found = work.results(store)
    with stored.StatesReader(plan, store) as reader:
        for layer in (None, 0, 1, 2):
            same = BitextRetrieval(plan, "emb", "last", layer, share=0.4, seed=3)
            assert same.totals(store) == {}
            for code in LANGUAGES:
                x, y = (
                    np.array(reader.vectors(c, "emb", "last", 1 if layer is None else layer))[held].astype(float)
                    for c in ("eng_Latn", code)
                )
                values = hits(x, y)
                measured = same.results(store)[code]
                assert measured.score == pytest.approx(values.mean())
                assert measured.stderr == pytest.approx(np.std(values, ddof=1) / np.sqrt(24))
                assert measured.n == 24
    assert found["deu_Latn"].score < BitextRetrieval(plan, "emb", "last", 2, 0.4, 3).results(store)["deu_Latn"].score
    aligned = bitext_retrieval.alignment_on(plan, store, first, "emb", "last")
    assert aligned.n_sentences == len(first)
    by_layer = (aligned.retrieval_src2trg + aligned.retrieval_trg2src).mean(axis=0) / 2
    assert by_layer.argmax() == 1
    # a damaged document is measured again
    for document in (None, {"chosen_on": [1, 1], "held_out": []}, {"chosen_on": [1, 1, 2], "held_out": [1, 1, 1]}):
        store.put_json(work._keys["deu_Latn"], document)
        assert work.totals(store) == {"languages": 1}
        assert work.results(store) == {}
    work.run(store, pool)
    assert work.results(store) == found


def test_alignment_on_some_sentences_is_that_of_a_corpus_of_them(plan, real):
    rows = [3, 0, 17, 30, 41]
    found = bitext_retrieval.alignment_on(plan, real, rows, "nas", "weighted")
    usable = tuple(plan.corpus.usable[row] for row in sorted(rows))
    other = dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, usable=usable))
    assert np.array_equal(found.aligned, alignment.align(other, real, "nas", "weighted").aligned)
    whole = bitext_retrieval.alignment_on(plan, real, range(SENTENCES), "nas", "weighted")
    assert np.array_equal(whole.aligned, alignment.align(plan, real, "nas", "weighted").aligned)
    assert (found.score >= whole.aligned[:, :, sorted(rows)].mean(axis=2)).all()
    for rows in ([1], [1, 1], [0, SENTENCES], [-1, 0]):
        with pytest.raises(ExperimentError, match="at least 2 of the 60 compared ones, each once"):
            bitext_retrieval.alignment_on(plan, real, rows, "nas", "weighted")


def test_what_decides_retrieval(plan):
    base = BitextRetrieval(plan)
    others = [
        BitextRetrieval(plan, "emb"),
        BitextRetrieval(plan, pooling="last"),
        BitextRetrieval(plan, share=0.4),
        BitextRetrieval(plan, seed=1),
        BitextRetrieval(dataclasses.replace(plan, keys={**plan.keys, "eng_Latn": "states-other"})),
        BitextRetrieval(
            dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, usable=plan.corpus.usable[1:]))
        ),
    ]
    assert len({work._keys["fra_Latn"] for work in (base, *others)}) == len(others) + 1
    assert len({work.key for work in (base, BitextRetrieval(plan, layer=2), *others)}) == len(others) + 2
    assert base._keys == BitextRetrieval(plan, layer=2)._keys


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"state": "abc"}, "state is one of"),
        ({"pooling": "abc"}, "pooling is one of"),
        ({"layer": 8}, "layer is from 0 to 7"),
        ({"share": 0}, "between 0 and 1, not 0"),
        ({"share": 1.0}, "between 0 and 1"),
        ({"share": 0.01}, "parts 60 sentences into 59 and 1, and each part needs at least 2"),
        ({"seed": -1}, "must be 0 or more"),
    ],
)
def test_retrieval_that_does_not_fit_is_refused(choices, message, plan):
    with pytest.raises(ExperimentError, match=message):
        BitextRetrieval(plan, **choices)


def test_retrieval_needs_a_language_besides_the_pivot(plan):
    alone = dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, languages=("eng_Latn",)))
    with pytest.raises(ExperimentError, match="a language besides the pivot eng_Latn"):
        BitextRetrieval(alone)
    with_pivot = dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, languages=("eng_Latn", "fra_Latn")))
    assert BitextRetrieval(with_pivot).languages == ("fra_Latn",)
    assert BitextRetrieval(with_pivot).title == "retrieval between eng_Latn and fra_Latn in demo"


def test_on_the_bundled_model_close_languages_do_better_than_far_ones(plan, real, pool):
    retrieval = BitextRetrieval(plan)
    retrieval.run(real, pool)
    found = retrieval.results(real)
    assert min(found["deu_Latn"].score, found["fra_Latn"].score) > 0.3 > found["tha_Thai"].score
