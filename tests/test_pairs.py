"""All pairs by layer: the numbers of the pipeline, kept, computed once, ahead of who looks, and after damage."""

import threading

import numpy as np
import pytest

from neuronxa_core.errors import Cancelled, ExperimentError, StoreError
from neuronxa_core.experiment import ENTRIES, Experiment
from neuronxa_core.measures import all_pairs, cosine_retrieval
from neuronxa_core.measures.all_pairs import PairScores
from neuronxa_core.states import computing, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store


@pytest.fixture
def plan(store):
    chosen = Experiment(languages=("spa_Latn", "hin_Deva"), sentences=6, kept=ENTRIES)
    plan = planning.make_plan(chosen, store)
    computing.compute_missing(plan, store, ModelPool())
    return plan


@pytest.fixture
def computed(monkeypatch):
    """The layers that are computed, in order."""
    layers = []
    real = all_pairs.pair_matrix

    def pair_matrix(plan, store, state, pooling, layer, *more):
        layers.append(layer)
        return real(plan, store, state, pooling, layer, *more)

    monkeypatch.setattr(all_pairs, "pair_matrix", pair_matrix)
    return layers


def test_scores_are_those_of_the_pipeline_and_computed_once_in_all_processes(plan, store, computed):
    wanted = all_pairs.pair_matrix(plan, store, "nav", "last", 3)
    first = PairScores(store).at(plan, "nav", "last", 3)
    again = PairScores(store).at(plan, "nav", "last", 3)
    assert first.dtype == again.dtype == wanted.dtype
    assert np.array_equal(first, wanted)
    assert np.array_equal(again, wanted)
    assert computed == [3, 3]
    with store.get(all_pairs.AllPairs(plan, "nav", "last").key_of(3)) as entry:
        assert entry.meta["corpus"] == "demo"


def test_another_state_pooling_layer_or_choice_of_languages_is_another_entry(plan, store, computed):
    scores = PairScores(store)
    fewer = planning.restrict(plan, ["spa_Latn"])
    asked = [(plan, "nas", "last", 1), (plan, "emb", "last", 1), (plan, "nas", "mean", 1), (plan, "nas", "last", 2)]
    for one in [*asked, (fewer, "nas", "last", 1)]:
        assert np.array_equal(scores.at(*one), all_pairs.pair_matrix(one[0], store, *one[1:]))
    assert computed == [1, 1, 1, 1, 1, 1, 2, 2, 1, 1]


def test_one_layer_is_computed_once_for_all_who_ask_at_the_same_time(plan, store, computed):
    scores = PairScores(store)
    threads = [threading.Thread(target=scores.at, args=(plan, "nas", "mean", 0)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert computed == [0]


def test_the_layers_around_the_one_that_is_shown_are_computed_ahead_the_nearest_first(plan, store, computed):
    scores = PairScores(store)
    scores.at(plan, "nas", "weighted", 2)
    scores.prepare(plan, "nas", "weighted", 2)
    assert scores.wait(60)
    assert computed == [2, 3, 1, 4, 0, 5, 6]
    scores.prepare(plan, "nas", "weighted", 7)
    assert scores.wait(60)
    assert computed == [2, 3, 1, 4, 0, 5, 6, 7]


def test_what_is_wanted_now_replaces_what_was_wanted_before(plan, store, monkeypatch):
    scores = PairScores(store)
    begun, go_on, asked = threading.Event(), threading.Event(), []

    def at(plan, state, pooling, layer):
        asked.append((state, layer))
        begun.set()
        assert go_on.wait(60)

    monkeypatch.setattr(scores, "at", at)
    scores.prepare(plan, "nas", "weighted", 4)
    assert begun.wait(60)
    scores.prepare(plan, "emb", "weighted", 0)
    go_on.set()
    assert scores.wait(60)
    assert asked == [("nas", 4), ("emb", 0), ("emb", 1), ("emb", 2), ("emb", 3), ("emb", 4)]


def test_much_work_is_not_done_without_being_asked_for(plan, store, computed, monkeypatch):
    # 3 languages of 6 sentences: 3² · 6² products of 640 neurons or 192 hidden units
    monkeypatch.setattr(all_pairs, "MOST_AHEAD", 3**2 * 6**2 * plan.info.neurons - 1)
    scores = PairScores(store)
    scores.prepare(plan, "nas", "weighted", 0)
    assert scores.wait(60)
    assert computed == []
    scores.prepare(plan, "emb", "weighted", 0)
    assert scores.wait(60)
    assert computed == [0, 1, 2, 3, 4]


def test_progress_counts_pairs_and_a_run_that_is_stopped_keeps_the_layers_before(plan, store, monkeypatch):
    monkeypatch.setattr(cosine_retrieval, "HELD_CELLS", 2 * 6 * plan.info.neurons)  # two of three languages at a time
    measure = all_pairs.AllPairs(plan, layers=(4, 1))
    told = []
    with pytest.raises(Cancelled):
        measure.run(store, None, lambda *one: told.append(one), lambda: len(told) > 5)
    assert [done for _, done, _ in told[:5]] in ([2, 3, 4, 5, 6], [1, 3, 4, 5, 6])
    assert {(group, whole) for group, _, whole in told} == {("language pairs", 12)}
    assert list(measure.results(store)) == [4]
    assert list(measure.run(store)) == [4, 1]
    assert list(measure.frame(measure.results(store))["layer"]) == [4] * 3 + [1] * 3


def files(folder):
    return {path for path in folder.rglob("*.safetensors") if path.is_file()}


def test_damaged_scores_are_computed_again(plan, store, computed):
    before = files(store.folder)
    wanted = PairScores(store).at(plan, "nas", "weighted", 5)
    (file,) = files(store.folder) - before
    store.close()
    content = bytearray(file.read_bytes())
    at = content.index(wanted.tobytes())
    content[at] ^= 0xFF
    file.write_bytes(content)
    assert np.array_equal(PairScores(Store(store.folder)).at(plan, "nas", "weighted", 5), wanted)
    assert computed == [5, 5]


def test_scores_that_cannot_be_kept_are_shown_all_the_same(plan, store, monkeypatch, caplog):
    def put(*_arguments):
        raise StoreError("the disk is full")

    wanted = all_pairs.pair_matrix(plan, store, "nas", "weighted", 1)
    monkeypatch.setattr(store, "put", put)
    assert np.array_equal(PairScores(store).at(plan, "nas", "weighted", 1), wanted)
    assert "the disk is full" in caplog.text


def test_states_that_are_missing_stop_the_thread_and_are_said_to_who_looks(plan, store, caplog):
    scores = PairScores(store)
    store.drop(plan.keys["hin_Deva"])
    scores.prepare(plan, "nas", "weighted", 0)
    assert scores.wait(60)
    assert "was not computed ahead" in caplog.text
    with pytest.raises(ExperimentError, match="hin_Deva"):
        scores.at(plan, "nas", "weighted", 0)
    computing.compute_missing(plan, store, ModelPool())
    assert scores.at(plan, "nas", "weighted", 0).shape == (3, 3)
