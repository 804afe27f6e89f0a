"""Effects of ablation against models whose weights lack the neurons; what is measured, kept and resumed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import FAMILIES, LAYERS

from neuronxa_core.errors import Cancelled, ExperimentError, ModelError
from neuronxa_core.experiment import ENTRIES, STATES, Experiment
from neuronxa_core.measures import ablation, alignment, cosine_retrieval
from neuronxa_core.measures.ablation import Ablation
from neuronxa_core.measures.activation_counts import ActivationCounts, activation_counts
from neuronxa_core.measures.lape import LapeMeasure
from neuronxa_core.measures.neuron_sets import NeuronSets
from neuronxa_core.models import loading, sources
from neuronxa_core.states import computing, mean_activations, planning, stored
from neuronxa_core.states.extraction import POOLINGS, extract
from neuronxa_core.states.interventions import Neurons, ablated, random_like
from neuronxa_core.states.likelihood import negative_log_likelihood
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

SOME = Neurons(((0, (0, 5, 17)), (2, (1, 2, 47))))


@pytest.fixture(scope="module")
def pool():
    return ModelPool()


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Two languages of the bundled corpus besides English, and the bundled model."""
    store = Store(tmp_path_factory.mktemp("plan"))
    plan = planning.make_plan(Experiment(languages=("deu_Latn", "fra_Latn"), sentences=8, kept=ENTRIES), store)
    store.close()
    return plan


@pytest.fixture(scope="module")
def sets(plan):
    mask = np.random.default_rng(0).random((plan.info.layers, plan.info.neurons)) < 0.1
    counts = np.random.default_rng(1).integers(0, 99, (3, *mask.shape))
    counts = ActivationCounts(plan.all_languages, counts, np.full(3, 99))
    return ablation.with_controls({"deu_Latn": Neurons.from_mask(mask)}, counts, plan.info, 1)


@pytest.fixture
def tiny_plan(store):
    """tiny_plan(folder, **choices): four sentences of two languages through a tiny model."""

    def get(folder, **choices):
        chosen = {"languages": ("deu_Latn", "spa_Latn"), "sentences": 4, **choices}
        return planning.make_plan(Experiment(model=str(folder), dtype="float32", **chosen), store)

    return get


def work_on(plan, sets, languages=("deu_Latn", "eng_Latn"), **choices) -> Ablation:
    return Ablation(plan, sets, languages, **{"sentences": 3, **choices})


def effect_of(loaded, plan, neurons, language, pooling, sentences, **options):
    pivot = ablation.pivot_states(loaded, plan, neurons, pooling, sentences)
    return ablation.effect(loaded, plan, neurons, language, pooling, sentences, pivot=pivot, **options)


def equal(x, y) -> bool:
    return x.keys() == y.keys() and all(np.array_equal(x[name], y[name]) for name in x)


def all_equal(x, y) -> bool:
    return list(x) == list(y) and all(equal(x[part], y[part]) for part in x)


# one effect


def test_the_baseline_is_the_plans_own_alignment_and_likelihood(plan, store, pool):
    computing.compute_missing(plan, store, pool)
    with pool.acquire(plan, head=True) as loaded:
        for pooling in POOLINGS:
            effect = effect_of(loaded, plan, Neurons(), "deu_Latn", pooling, 100, with_likelihood=pooling == "mean")
            for state in STATES:
                found = alignment.align(plan, store, state, pooling)
                assert effect[state].tolist() == found.score[0].tolist()
            assert ("likelihood" in effect) == (pooling == "mean")
        alone = negative_log_likelihood(loaded, plan.sentences("deu_Latn"))
        nats, tokens, size = effect_of(loaded, plan, Neurons(), "deu_Latn", "mean", 100)["likelihood"]
    assert nats == pytest.approx(alone.nats.sum(), rel=1e-12)
    assert (tokens, size) == (alone.tokens.sum(), alone.bytes.sum())


@pytest.mark.parametrize("neuron", ["product", "gate"])
def test_an_effect_is_what_the_model_without_the_columns_has(neuron, tiny, tiny_plan):
    """By another way: hidden states and likelihood of a model whose weights lack the neurons, plain cosines."""
    folder = tiny("llama", head=True)
    plan = tiny_plan(folder, neuron=neuron)
    model, spoilt = (loading.load(sources.parse_source(str(folder)), "float32", "cpu", head=True) for _ in range(2))
    with torch.no_grad():
        for layer, numbers in SOME.pairs:
            path = f"{FAMILIES['llama'].layer.format(layer)}.{FAMILIES['llama'].last}"
            spoilt.model.get_submodule(path).weight[:, list(numbers)] = 0
    effect = effect_of(model, plan, SOME, "deu_Latn", "last", 3)
    texts = {code: plan.sentences(code)[:3] for code in plan.all_languages}
    nll = negative_log_likelihood(spoilt, texts["deu_Latn"])
    assert effect["likelihood"][0] == pytest.approx(nll.nats.sum(), rel=1e-6)
    assert effect["likelihood"][1:].tolist() == [nll.tokens.sum(), sum(len(t.encode()) for t in texts["deu_Latn"])]
    states = {code: extract(spoilt, code, texts[code], neuron).arrays for code in ("eng_Latn", "deu_Latn")}
    for state in STATES:
        for layer in range(LAYERS):
            x, y = (states[code][f"{state}_last"][layer].astype(float) for code in ("eng_Latn", "deu_Latn"))
            if state != "emb" and layer in SOME.by_layer:
                x[:, list(SOME.by_layer[layer])] = y[:, list(SOME.by_layer[layer])] = 0
            assert effect[state][layer] == cosine_retrieval.retrieve(x, y[None]).aligned.mean()


def test_a_layer_without_neurons_aligns_nothing(plan, pool):
    layer = Neurons.of({2: np.arange(plan.info.neurons)})
    with pool.acquire(plan) as loaded:
        pivots = [ablation.pivot_states(loaded, plan, some, "weighted", 8) for some in (Neurons(), layer)]
        # against the pivot with and without these neurons: the language's own states are zero as well
        for pivot in pivots:
            effect = ablation.effect(loaded, plan, layer, "deu_Latn", "weighted", 8, pivot=pivot, with_likelihood=False)
            assert effect["nas"][2] == effect["nav"][2] == 0
            assert min(effect["nas"][1], effect["emb"][2]) > 0
    assert pivots[0]["nas"][2].any()
    assert not pivots[1]["nas"][2].any()


# the measure


def test_a_run_measures_every_set_and_the_baseline_once(plan, sets, store, pool, monkeypatch):
    measured = []
    real = ablation.effect

    def effect(loaded, plan, neurons, language, *arguments, **options):
        measured.append((neurons, language))
        return real(loaded, plan, neurons, language, *arguments, **options)

    monkeypatch.setattr(ablation, "effect", effect)
    work, progress = work_on(plan, sets), []
    assert work.totals(store) == {"nothing": 2, "deu_Latn": 2, "deu_Latn · random 1": 2}
    assert ablation.effects_table(work, store).empty
    work.run(store, pool, on_progress=lambda *done: progress.append(done))
    assert progress == [(name, k, 2) for name, _ in work.everything for k in (1, 2)]
    assert len(measured) == 6
    work.run(store, ModelPool())
    assert len(measured) == 6
    first = work.results(store)
    assert list(first) == [(name, code) for name, _ in work.everything for code in work.languages]
    # a language and a set more: only what they add is measured
    wider = work_on(plan, (*sets, ("empty", Neurons()), ("same", sets[0][1])), ("deu_Latn", "fra_Latn"))
    assert wider.totals(store) == {name: 1 for name, _ in wider.everything}
    measured.clear()
    wider.run(store, pool)
    assert [language for _, language in measured] == ["fra_Latn"] * 3
    found = wider.results(store)
    assert equal(found["same", "deu_Latn"], first["deu_Latn", "deu_Latn"])
    for code in wider.languages:
        assert equal(found["empty", code], found["nothing", code])
    # every effect is the one that a call for itself gives
    with pool.acquire(plan, head=True) as loaded:
        alone = effect_of(loaded, plan, sets[0][1], "fra_Latn", "weighted", 3)
    assert equal(alone, found["deu_Latn", "fra_Latn"])
    assert not equal(alone, found["nothing", "fra_Latn"])
    assert (first["nothing", "eng_Latn"]["emb"] == 1).all()


def test_the_mean_is_of_the_sentences_that_chose_the_neurons_and_is_kept(plan, sets, store, pool, monkeypatch):
    chosen_on, tested = ablation.halves(plan)
    work = work_on(tested, sets[:1], ("deu_Latn",), set_to="mean", chosen_on=chosen_on)
    work.run(store, pool)
    with pool.acquire(plan, head=True) as loaded:
        texts = {code: [plan.corpus.texts[code][row] for row in plan.corpus.usable[::2]] for code in plan.keys}
        means = mean_activations.mean_activations(loaded, texts)
        with ablated(loaded, sets[0][1], means=means):
            nats = negative_log_likelihood(loaded, ablation._texts(tested, "deu_Latn", 3)).nats.sum()
    found = work.results(store)
    assert found["deu_Latn", "deu_Latn"]["likelihood"][0] == pytest.approx(nats, rel=1e-6)
    # the model as it is and the means are not computed again
    assert dataclasses.replace(work, set_to="zero").totals(store) == {"deu_Latn": 1}
    monkeypatch.setattr(mean_activations, "mean_activations", None)
    store.drop(work.key_of(("deu_Latn", "deu_Latn")))
    assert all_equal(work.run(store, pool), found)


def test_the_table_tells_changes_from_the_baseline(plan, sets, store, pool):
    work = work_on(plan, sets)
    work.run(store, pool)
    table, effects = work.table(store), work.results(store)
    names = ["nats_per_byte", "score_nas", "score_nav", "score_emb"]
    assert table.columns.tolist() == ["set", "language", *names, *(f"change_{name}" for name in names)]
    for row in table.to_dict("records"):
        effect, base = effects[row["set"], row["language"]], effects["nothing", row["language"]]
        wanted = [
            [one["likelihood"][0] / one["likelihood"][2], *(sum(one[state]) / plan.info.layers for state in STATES)]
            for one in (effect, base)
        ]
        assert [row[name] for name in names] == pytest.approx(wanted[0])
        assert [row[f"change_{name}"] for name in names] == pytest.approx(np.subtract(*wanted), abs=1e-11)
    assert (table[table["set"] == "nothing"].filter(like="change_") == 0).all().all()
    assert table["change_nats_per_byte"].abs().max() > 0.001
    assert table["nats_per_byte"].between(0.5, 4).all()
    # without its baseline an effect has no change yet
    store.drop(work.key_of(("nothing", "deu_Latn")))
    table = work.table(store).set_index(["set", "language"])
    assert pd.isna(table.loc[("deu_Latn", "deu_Latn"), "change_score_nas"])
    assert table.loc[("deu_Latn", "eng_Latn"), "change_score_nas"] == 0
    assert ("nothing", "deu_Latn") not in table.index


def test_a_stopped_run_keeps_what_it_finished_and_goes_on_from_there(plan, sets, store, pool):
    work, progress = work_on(plan, sets), []
    with pytest.raises(Cancelled):
        work.run(store, pool, lambda *done: progress.append(done), lambda: len(progress) == 3)
    assert work.totals(store) == {"deu_Latn": 1, "deu_Latn · random 1": 2}
    kept = work.results(store)
    progress.clear()
    work.run(store, pool, lambda *done: progress.append(done))
    assert progress == [("deu_Latn", 1, 1), ("deu_Latn · random 1", 1, 2), ("deu_Latn · random 1", 2, 2)]
    assert all(equal(arrays, work.results(store)[part]) for part, arrays in kept.items())
    fresh = Store(store.folder.parent / "fresh")
    assert all_equal(work.run(fresh, pool), work.results(store))
    fresh.close()


@pytest.mark.parametrize("calls", range(4))
def test_cancelling_reaches_extraction_and_likelihood(calls, plan, sets, store, pool):
    """Asked before the run, then in the pivot's states, the language's states and its likelihood."""
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) > calls

    work = work_on(plan, sets, ("deu_Latn",))
    with pytest.raises(Cancelled):
        work.run(store, pool, cancelled=cancelled)
    assert work.results(store) == {}
    assert len(asked) == calls + 1


@pytest.mark.parametrize("family", ["bert", pytest.param("llama", marks=pytest.mark.full)])
def test_an_encoder_and_weights_without_a_head_have_alignment_only(family, tiny, tiny_plan, store):
    plan, pool = tiny_plan(tiny(family)), ModelPool()
    work = Ablation(plan, (("some", SOME),), ("deu_Latn",), sentences=3)
    if plan.info.causal:
        with pytest.raises(ModelError, match="hold no language-model head"):
            work.run(store, pool)
        work = dataclasses.replace(work, likelihood=False)
    assert not work.with_likelihood
    work.run(store, pool)
    table = work.table(store)
    assert table["set"].tolist() == ["nothing", "some"]
    assert table[["nats_per_byte", "change_nats_per_byte"]].isna().all().all()
    assert table["change_score_nas"].notna().all()


def test_the_measure_of_the_command_line_ablates_what_lape_finds_specific(plan, store, pool):
    work = Ablation.make(plan, store, pool, share=0.02, controls=2, likelihood=False)
    on, tested = ablation.halves(plan)
    assert work.chosen_on == on
    rows = plan.corpus.usable
    assert (on.corpus.usable, tested.corpus.usable, work.plan, work.sentences) == (rows[::2], rows[1::2], tested, 4)
    specific = LapeMeasure(on, 0.02)
    found = specific.found(specific.results(store))
    own = {code: found.neurons_of(code) for code in plan.all_languages}
    assert all(neurons.count for neurons in own.values())
    counts = activation_counts(on, store)
    assert work.sets == ablation.with_controls(own, counts, plan.info, 2)
    # controls are as often active in the language as the set, where plain random ones are not
    for k, code in enumerate(counts.languages):
        rates = np.stack([counts.probability(layer)[k] for layer in range(counts.layers)])
        own_rate, control_rate = (
            np.concatenate([rates[layer, list(numbers)] for layer, numbers in dict(work.sets)[name].pairs]).mean()
            for name in (code, f"{code} · random 1")
        )
        assert control_rate == pytest.approx(own_rate, abs=0.1)
    assert work.parts()[:3] == [("nothing", code) for code in plan.all_languages]
    assert work.title == "ablation of eng_Latn, deu_Latn, fra_Latn and 6 more in demo, effect on " + ", ".join(own)


@pytest.mark.parametrize("definition", ["ap", "impact"])
def test_other_definitions_give_as_many_neurons_as_lape(definition, plan, store, pool):
    on, _ = ablation.halves(plan)
    small = {"share": 0.02, "controls": 0, "likelihood": False}
    lape, other = (Ablation.make(plan, store, pool, **small, definition=one) for one in ("lape", definition))
    sizes = {name: neurons.count for name, neurons in lape.sets}
    assert {name: neurons.count for name, neurons in other.sets} == sizes
    rival = NeuronSets(on, definition, max(sizes.values()) / (plan.info.layers * plan.info.neurons))
    table = rival.table(store)
    for name, neurons in other.sets:
        best = table[(table["language"] == name) & (table["definition"] == rival.parts()[0])].head(sizes[name])
        assert {(layer, j) for layer, some in neurons.pairs for j in some} == set(
            zip(best["layer"], best["neuron"], strict=True)
        )


def test_a_key_follows_what_decides_the_results(plan, sets):
    base = work_on(plan, sets)
    assert base.key == work_on(plan, sets).key
    assert base.title == "ablation of deu_Latn, deu_Latn · random 1 in demo, effect on deu_Latn, eng_Latn"
    others = [
        work_on(plan, sets[:1]),
        work_on(plan, (("deu_Latn", sets[1][1]), sets[1])),
        work_on(plan, sets, ("deu_Latn",)),
        work_on(plan, sets, pooling="mean"),
        work_on(plan, sets, sentences=5),
        work_on(plan, sets, likelihood=False),
        work_on(plan, sets, set_to="mean"),
        work_on(plan, sets, set_to="mean", chosen_on=ablation.halves(plan)[0]),
        work_on(dataclasses.replace(plan, keys={**plan.keys, "eng_Latn": "states-other"}), sets),
        work_on(dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, usable=(0, 2, 3, 4))), sets),
    ]
    assert len({work.key for work in (base, *others)}) == len(others) + 1
    # rows beyond those that are read decide nothing
    shorter = dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, usable=plan.corpus.usable[:5]))
    assert work_on(shorter, sets).key == base.key


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"sets": (("nothing", SOME),)}, "'nothing' occurs twice"),
        ({"sets": (("a", SOME), ("a", SOME))}, "'a' occurs twice"),
        ({"sets": (("a", Neurons(((99, (0,)),))),)}, "layer 99 is not in model demo"),
        ({"languages": ("deu_Latn", "xyz_Latn")}, "xyz_Latn is not a language of this experiment"),
        ({"languages": ("deu_Latn", "deu_Latn")}, "named twice"),
        ({"pooling": "median"}, "pooling is one of weighted, last, mean"),
        ({"sentences": 1}, "at least 2 sentences"),
        ({"controls": -1}, "0 or more, not -1"),
        ({"set_to": "one"}, "set_to is one of zero, mean"),
    ],
)
def test_work_that_does_not_fit_is_refused(choices, message, plan):
    with pytest.raises(ExperimentError, match=message):
        Ablation(**{"plan": plan, "languages": ("deu_Latn",), **choices})


def test_three_sentences_have_no_two_halves(plan):
    three = dataclasses.replace(plan, corpus=dataclasses.replace(plan.corpus, usable=plan.corpus.usable[:3]))
    with pytest.raises(ExperimentError, match="at least 4 sentences, not 3"):
        ablation.halves(three)


@pytest.mark.full
def test_neurons_that_matter_to_the_bundled_model(plan, store, pool):
    """The neurons that fire most are worth more than as many random ones, and all together worth most."""
    computing.compute_missing(plan, store, pool)
    with stored.StatesReader(plan, store) as reader:
        value = np.stack(
            [reader.vectors("eng_Latn", "nav", "mean", layer).sum(axis=0) for layer in range(plan.info.layers)]
        )
    strongest = Neurons.from_mask(value >= np.quantile(value, 0.98, axis=1, keepdims=True))
    everything = Neurons.from_mask(np.ones(value.shape, dtype=bool))
    sets = (("strongest", strongest), ("random", random_like(strongest, plan.info, 0)), ("all", everything))
    work = Ablation(plan, sets, ("eng_Latn",), sentences=2)
    work.run(store, pool)
    worth = work.table(store).set_index("set")["change_nats_per_byte"]
    assert worth["all"] > worth["strongest"] > 2 * abs(worth["random"])
