"""The probe, likelihood and held-out retrieval against plain computations on made-up and real states."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedKFold

from neuronxa_core.errors import Cancelled, ExperimentError, ModelError
from neuronxa_core.experiment import ENTRIES, Experiment
from neuronxa_core.measures import alignment, bitext_retrieval, likelihood
from neuronxa_core.measures.bitext_retrieval import BitextRetrieval
from neuronxa_core.measures.language_scores import mean_score
from neuronxa_core.measures.likelihood import NatsPerByte
from neuronxa_core.measures.probe import LinearProbe, fit
from neuronxa_core.states import computing, extraction, planning, stored
from neuronxa_core.states import likelihood as likelihood_states
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

LANGUAGES = ("deu_Latn", "fra_Latn", "tha_Thai")
EVERYONE = ("eng_Latn", *LANGUAGES)
SENTENCES = 60


READ = [name for name in ENTRIES if not name.startswith("hid")]


@pytest.fixture(scope="module")
def pool():
    return ModelPool()


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A random sample of the bundled corpus, whose lines go topic by topic, in four languages."""
    store = Store(tmp_path_factory.mktemp("plan"))
    plan = planning.make_plan(Experiment(languages=LANGUAGES, sentences=SENTENCES, seed=2, kept=READ), store)
    store.close()
    return plan


@pytest.fixture(scope="module")
def pair(plan):
    """The plan of English and German."""
    return planning.restrict(plan, ["deu_Latn"])


@pytest.fixture(scope="module")
def real(pair, pool, tmp_path_factory):
    """A store with the pair's states. Tests leave them there."""
    store = Store(tmp_path_factory.mktemp("real"))
    computing.compute_missing(pair, store, pool)
    yield store
    store.close()


def small(plan, layers=3, neurons=10, hidden=10):
    """The plan as if its model were small, for made-up states."""
    return dataclasses.replace(plan, info=dataclasses.replace(plan.info, layers=layers, neurons=neurons, hidden=hidden))


def put_states(store, plan, language, vectors, tokens=None):
    """Made-up hidden states [layer, sentence, width] as those of a language under every pooling."""
    n = len(plan.rows(language))
    tokens = np.full(n, 3) if tokens is None else tokens
    vectors = np.asarray(vectors, dtype=np.float32)
    whole = {"last": 1, "mean": tokens[:, None], "weighted": (tokens * (tokens + 1) / 2)[:, None]}
    for pooling, weight in whole.items():
        for name in (f"{state}_{pooling}" for state in ("emb", "nav", "nas")):
            arrays = {name: (vectors * weight).astype(np.float32), "tokens": tokens}
            store.put(plan.entry_key(language, name), arrays, {"truncated": 0})


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


def scores(measure, store):
    """The table by language."""
    return measure.table(store).set_index("language")


def numbers(arrays):
    return tuple(arrays[name].item() for name in ("score", "stderr", "n"))


def test_mean_and_standard_error_by_hand():
    found = numbers(mean_score(np.array([0.0, 1.0, 1.0, 0.5])))
    assert found == pytest.approx((0.625, np.sqrt((0.625**2 + 2 * 0.375**2 + 0.125**2) / 3) / 2, 4))


# the probe


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
        loss.backward()
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
    classifier = fit(x, y, penalty)
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
    classifier = fit(x, y, penalty)
    order, columns = generator.permutation(12), generator.permutation(7)
    scale = 10.0 ** generator.integers(-2, 3, 7)
    moved = fit((x * scale + offset * scale * 1e-3)[order][:, columns], y[order], penalty)
    new = generator.normal(size=(9, 7))
    mine = new @ classifier.weights + classifier.bias
    other = (new * scale + offset * scale * 1e-3)[:, columns] @ moved.weights + moved.bias
    assert np.allclose(mine, other, atol=1e-3 * np.abs(mine).max())


def test_vectors_that_do_not_vary_leave_the_bias_alone():
    classifier = fit(np.full((5, 3), 2.0), np.array([0, 1, 1, 1, 0]), 0.01)
    assert not classifier.weights.any()
    assert np.exp(classifier.bias[1] - classifier.bias[0]) == pytest.approx(1.5)
    assert classifier.classify(np.ones((2, 3))).tolist() == [1, 1]


def plain_vectors(states, state, pooling):
    tokens = states.tokens.astype(float)
    whole = {"weighted": tokens * (tokens + 1) / 2, "mean": tokens, "last": tokens * 0 + 1}[pooling]
    return states.arrays[f"{state}_{pooling}"].astype(float) / whole[None, :, None]


@pytest.mark.parametrize(
    ("state", "pooling"), [("emb", "weighted"), pytest.param("nas", "mean", marks=pytest.mark.full)]
)
def test_the_probe_is_a_plain_one_on_plain_states(state, pooling, pair, real, pool):
    probe = LinearProbe(pair, "eng_Latn", state, pooling, layer=3, repeats=2, folds=3)
    probe.run(real, pool)
    topics = [pair.corpus.labels[row] for row in pair.corpus.usable]
    names = sorted(set(topics))
    y = np.array([names.index(topic) for topic in topics])
    with pool.acquire(pair) as loaded:
        vectors = {
            code: plain_vectors(extraction.extract(loaded, code, pair.sentences(code)), state, pooling)[3]
            for code in ("eng_Latn", "deu_Latn")
        }
    right = {code: np.zeros((2, len(y))) for code in vectors}
    folds = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0).split(y, y)
    for number, (train, tested) in enumerate(folds):
        weights, bias = plain_fit(vectors["eng_Latn"][train], y[train], len(names), 0.01)
        for code, x in vectors.items():
            right[code][number // 3, tested] = (x[tested] @ weights + bias).argmax(axis=1) == y[tested]
    found = scores(probe, real)
    assert list(found.index) == list(vectors)
    for code, table in right.items():
        shares = table.mean(axis=0)
        wanted = (shares.mean(), np.std(shares, ddof=1) / np.sqrt(len(y)), len(y))
        assert tuple(found.loc[code]) == pytest.approx(wanted)
    assert probe.classes == tuple(names)
    assert (probe.chance, probe.majority) == (1 / 6, max(Counter(topics).values()) / len(topics))


def test_what_is_alike_is_told_alike_and_noise_is_told_less(plan, store, pool):
    plan = small(plan)
    made_up(store, plan)
    with store.get(plan.entry_key("eng_Latn", "emb_last")) as entry:
        emb = entry.array("emb_last").copy()
    # the source language under another name, with other numbers of tokens
    put_states(store, plan, "deu_Latn", emb, tokens=np.arange(SENTENCES) + 1)
    probe = LinearProbe(plan, "eng_Latn")
    probe.run(store, pool)
    found = scores(probe, store)["score"]
    assert found["deu_Latn"] == found["eng_Latn"]
    assert found["eng_Latn"] > 0.9 > found["fra_Latn"] > found["tha_Thai"] > probe.chance


def test_labels_that_mean_nothing_are_told_at_chance(plan, store, pool):
    plan = small(plan)
    made_up(store, plan)
    generator = np.random.default_rng(5)
    found = []
    for _ in range(12):
        labels = tuple(generator.permutation(plan.corpus.labels).tolist())
        shuffled = dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, labels=labels))
        probe = LinearProbe(shuffled, "eng_Latn", repeats=1)
        probe.run(store, pool)
        found.append(scores(probe, store)["score"])
    # one score's deviation is about 0.05; those of one shuffling go together
    assert abs(np.mean(found) - 1 / 6) < 0.05
    assert np.std(found) > 0


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
    probe.run(store, pool, lambda *done: progress.append(done))
    assert progress == [("layers", k, 3) for k in (1, 2, 3)] + [("languages", k, 4) for k in (1, 2, 3, 4)]
    fixed = LinearProbe(plan, "eng_Latn", layer=1, repeats=2)
    fixed.run(store, pool)
    found = scores(probe, store)
    assert found.equals(scores(fixed, store))
    assert found["score"]["eng_Latn"] == 1
    assert found["score"]["deu_Latn"] < 0.5
    # what is lacking is made again from what is kept
    for part in (2, "fra_Latn"):
        store.drop(probe.key_of(part))
    assert probe.totals(store) == {"layers": 1, "languages": 1}
    probe.run(store, pool)
    assert scores(probe, store).equals(found)


def test_right_answers_at_a_layer_by_loops(plan, store, pool):
    plan = small(plan, layers=1)
    made_up(store, plan, noise=0)
    probe = LinearProbe(plan, "eng_Latn", layer="chosen", repeats=1, folds=3)
    found = probe.run(store, pool)[0]["right"]
    with stored.StatesReader(plan, store) as reader:
        x = reader.vectors("eng_Latn", "emb", "last", 0).astype(float)
    y = np.array([probe.classes.index(label) for label in probe.labels])
    outer = RepeatedStratifiedKFold(n_splits=3, n_repeats=1, random_state=0).split(y, y)
    for number, (rows, _) in enumerate(outer):
        right = 0
        for train, held in StratifiedKFold(2, shuffle=True, random_state=number).split(y[rows], y[rows]):
            weights, bias = plain_fit(x[rows[train]], y[rows[train]], 6, 0.01)
            right += ((x[rows[held]] @ weights + bias).argmax(axis=1) == y[rows[held]]).sum()
        assert found[number] == right


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
        found.append(scores(probe, store))
        assert found[-1]["n"]["deu_Latn"] == len(rest) == len(probe.labels)
    assert found[0].equals(found[1])


def test_a_stopped_probe_keeps_what_it_finished_and_goes_on_from_there(plan, store, pool):
    plan = small(plan)
    made_up(store, plan)
    probe, progress = LinearProbe(plan, repeats=1), []
    assert (probe.source_language, probe.metric, probe.higher_is_better) == ("eng_Latn", "accuracy", True)
    assert probe.title == "transfer of 6 labels from eng_Latn in demo"
    with pytest.raises(Cancelled):
        probe.run(store, pool, lambda *done: progress.append(done), lambda: len(progress) == 2)
    kept = scores(probe, store)
    assert list(kept.index) == ["eng_Latn", "deu_Latn"]
    assert probe.totals(store) == {"languages": 2}
    progress.clear()
    probe.run(store, pool, lambda *done: progress.append(done))
    assert progress == [("languages", 1, 2), ("languages", 2, 2)]
    assert scores(probe, store)[:2].equals(kept)
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
    assert base.key == LinearProbe(plan, layer=plan.info.layers // 2).key
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
    assert len({probe.key_of("fra_Latn") for probe in (base, *others)}) == len(others) + 1
    # another language's states leave a language's figure as it is
    other = dataclasses.replace(plan, keys={**plan.keys, "tha_Thai": "states-other"})
    assert LinearProbe(other, "eng_Latn").key_of("fra_Latn") == base.key_of("fra_Latn")
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


@pytest.mark.full
def test_damaged_states_are_computed_again(pair, store, pool):
    measures = (LinearProbe(pair, repeats=1), BitextRetrieval(pair))
    for measure in measures:
        measure.run(store, pool)
    whole = [scores(measure, store) for measure in measures]
    for measure in measures:
        for part in measure.parts():
            store.drop(measure.key_of(part))
    for file in store.folder.rglob("*.safetensors"):
        content = bytearray(file.read_bytes())
        for at in range(len(content) // 50, len(content), 997):
            content[at] ^= 0xFF
        file.write_bytes(content)
    again = Store(store.folder)
    for measure, wanted in zip(measures, whole, strict=True):
        assert measure.results(again) == {}
        measure.run(again, pool)
        assert scores(measure, again).equals(wanted)
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
    kept = scores(work, store)
    progress.clear()
    work.run(store, pool, lambda *done: progress.append(done))
    assert {code for code, _, _ in progress} == set(EVERYONE[2:])
    assert progress[-1] == ("tha_Thai", 6, 6)
    found = scores(work, store)
    assert found[:2].equals(kept)
    with pool.acquire(plan, head=True) as loaded:
        for code in EVERYONE:
            texts = [plan.corpus.texts[code][row] for row in plan.corpus.usable[:6]]
            alone = likelihood_states.negative_log_likelihood(loaded, texts)
            sizes = np.array([len(text.encode()) for text in texts])
            assert found["score"][code] == pytest.approx(alone.nats.sum() / sizes.sum(), rel=1e-5)
    assert (found["n"] == 6).all()


@given(st.integers(3, 40), st.integers(0, 10**6))
@settings(max_examples=15)
def test_the_standard_error_of_a_ratio(n, seed):
    generator = np.random.default_rng(seed)
    below = generator.integers(20, 60, n)
    assert numbers(likelihood.ratio_score(1.5 * below, below)) == pytest.approx((1.5, 0, n), abs=1e-12)
    # sentences of one length: the standard error of a mean
    values = generator.random(n)
    equal = numbers(likelihood.ratio_score(values * 7, np.full(n, 7)))
    assert equal == pytest.approx((values.mean(), np.std(values, ddof=1) / np.sqrt(n), n))


def test_the_standard_error_agrees_with_a_bootstrap():
    generator = np.random.default_rng(0)
    below = generator.integers(20, 200, 80)
    above = below * generator.normal(1.5, 0.3, 80)
    drawn = generator.integers(0, 80, (4000, 80))
    bootstrap = np.std(above[drawn].sum(axis=1) / below[drawn].sum(axis=1))
    assert likelihood.ratio_score(above, below)["stderr"] == pytest.approx(bootstrap, rel=0.06)


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


def test_likelihood_that_does_not_fit_is_refused(plan):
    encoder = dataclasses.replace(plan, info=dataclasses.replace(plan.info, causal=False))
    with pytest.raises(ModelError, match="is an encoder, which predicts no next token"):
        NatsPerByte(encoder)
    with pytest.raises(ExperimentError, match="at least 2 sentences, not 1"):
        NatsPerByte(plan, 1)


# retrieval


@given(st.floats(0.05, 0.95), st.integers(0, 10**6))
def test_the_sentences_are_parted_at_random(plan, share, seed):
    first, held = bitext_retrieval.split_sentences(plan, share, seed)
    assert len(held) == round(share * SENTENCES)
    assert sorted([*first, *held]) == list(range(SENTENCES))
    for part, again in zip((first, held), bitext_retrieval.split_sentences(plan, share, seed), strict=True):
        assert (np.diff(part) > 0).all()
        assert np.array_equal(part, again)


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
    first, held = bitext_retrieval.split_sentences(plan, 0.4, 3)
    assert len(held) == 24
    noise = np.full((3, SENTENCES, 1), 3.0)
    # layer 1 is best where alignment is measured, layer 2 on what is held out
    noise[1, first], noise[2, held] = 0.3, 0.3
    meaning = generator.normal(size=(3, SENTENCES, 10))
    for code in plan.all_languages:
        put_states(store, plan, code, meaning + noise * generator.normal(size=meaning.shape))
    measure, progress = BitextRetrieval(plan, "emb", "last", share=0.4, split_seed=3), []
    assert (measure.unit, measure.metric, measure.higher_is_better) == ("languages", "retrieval accuracy", True)
    assert measure.title == "retrieval between eng_Latn and 3 languages in demo"
    assert measure.chance == 1 / 24
    with pytest.raises(Cancelled):
        measure.run(store, pool, lambda *done: progress.append(done), lambda: len(progress) == 1)
    # the layer is not known before all are there
    assert measure.layer_read(measure.results(store)) is None
    assert measure.table(store).empty
    layer_1 = BitextRetrieval(plan, "emb", "last", 1, share=0.4, split_seed=3)
    assert layer_1.table(store)["language"].tolist() == ["deu_Latn"]
    assert measure.layer_read(measure.run(store, pool)) == 1
    for layer in (None, 0, 1, 2):
        same = BitextRetrieval(plan, "emb", "last", layer, share=0.4, split_seed=3)
        assert same.totals(store) == {}
        found = scores(same, store)
        for code in LANGUAGES:
            with stored.StatesReader(plan, store) as reader:
                x, y = (
                    reader.vectors(c, "emb", "last", 1 if layer is None else layer)[held].astype(float)
                    for c in ("eng_Latn", code)
                )
            values = hits(x, y)
            assert tuple(found.loc[code]) == pytest.approx((values.mean(), np.std(values, ddof=1) / np.sqrt(24), 24))
    aligned = bitext_retrieval.alignment_on(plan, store, first, "emb", "last")
    assert aligned.n_sentences == len(first)
    by_layer = (aligned.retrieval_src2trg + aligned.retrieval_trg2src).mean(axis=0) / 2
    assert by_layer.argmax() == 1


def test_alignment_on_some_sentences_is_that_of_a_corpus_of_them(pair, real):
    rows = [3, 0, 17, 30, 41]
    found = bitext_retrieval.alignment_on(pair, real, rows, "nas", "weighted")
    usable = tuple(pair.corpus.usable[row] for row in sorted(rows))
    other = dataclasses.replace(pair, corpus=dataclasses.replace(pair.corpus, usable=usable))
    assert np.array_equal(found.aligned, alignment.align(other, real, "nas", "weighted").aligned)
    whole = bitext_retrieval.alignment_on(pair, real, range(SENTENCES), "nas", "weighted")
    assert np.array_equal(whole.aligned, alignment.align(pair, real, "nas", "weighted").aligned)
    assert (found.score >= whole.aligned[:, :, sorted(rows)].mean(axis=2)).all()
    for rows in ([1], [1, 1], [0, SENTENCES], [-1, 0]):
        with pytest.raises(ExperimentError, match="at least 2 of the 60 compared ones, each once"):
            bitext_retrieval.alignment_on(pair, real, rows, "nas", "weighted")


def test_what_decides_retrieval(plan):
    base = BitextRetrieval(plan)
    others = [
        BitextRetrieval(plan, "emb"),
        BitextRetrieval(plan, pooling="last"),
        BitextRetrieval(plan, share=0.4),
        BitextRetrieval(plan, split_seed=1),
        BitextRetrieval(dataclasses.replace(plan, keys={**plan.keys, "eng_Latn": "states-other"})),
        BitextRetrieval(
            dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, usable=plan.corpus.usable[1:]))
        ),
    ]
    assert len({measure.key for measure in (base, *others)}) == len(others) + 1
    assert base.key == BitextRetrieval(plan, layer=2).key


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"state": "abc"}, "state is one of"),
        ({"pooling": "abc"}, "pooling is one of"),
        ({"layer": 8}, "layer is from 0 to 7"),
        ({"share": 0}, "between 0 and 1, not 0"),
        ({"share": 1.0}, "between 0 and 1"),
        ({"share": 0.01}, "parts 60 sentences into 59 and 1, and each part needs at least 2"),
        ({"split_seed": -1}, "must be 0 or more"),
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
