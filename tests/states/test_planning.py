"""Plans: what is computed and when, the keys of states, room for them, and the models that are kept loaded."""

import contextlib
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from neuronxa_core.errors import (
    Cancelled,
    ExperimentError,
    ExtractionError,
    ModelBusy,
    ModelError,
    StatesMissing,
    StoreError,
)
from neuronxa_core.experiment import Experiment
from neuronxa_core.models import fingerprint, loading
from neuronxa_core.states import computing, extraction, planning
from neuronxa_core.states.planning import states_key
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store, default_limit


@pytest.fixture(scope="module")
def pool():
    return ModelPool()


def test_adding_a_language_computes_one_language(store, pool, counted):
    read = counted()
    computing.compute_missing(planning.make_plan(Experiment(languages=("deu_Latn",), sentences=5), store), store, pool)
    assert read == ["eng_Latn", "deu_Latn"]
    wider = planning.make_plan(Experiment(languages=("deu_Latn", "fra_Latn"), sentences=5), store)
    assert planning.missing(wider, store) == ["fra_Latn"]
    assert computing.compute_missing(wider, store, pool) == ["fra_Latn"]
    assert read == ["eng_Latn", "deu_Latn", "fra_Latn"]


def test_restricting_a_plan_keeps_rows_and_keys(store):
    plan = planning.make_plan(Experiment(sentences=6), store)
    part = planning.restrict(plan, ["tha_Thai", "deu_Latn"])
    assert set(part.languages) == {"deu_Latn", "tha_Thai"}
    assert part.all_languages[0] == "eng_Latn"
    assert part.corpus.usable == plan.corpus.usable
    assert all(plan.keys[code] == key for code, key in part.keys.items())


def test_keys_follow_the_text_and_the_choices_that_change_numbers(store):
    def keys(**choices):
        return planning.make_plan(Experiment(**{"languages": ("deu_Latn",), "sentences": 5, **choices}), store).keys

    base = keys()
    assert keys(state="emb", pooling="last", layers="max", device="cpu") == base
    assert keys(dtype="float32") == base
    for other in ({"dtype": "bfloat16"}, {"neuron": "gate"}, {"sentences": 6}):
        assert not set(keys(**other).values()) & set(base.values())
    sampled = keys(sentences=99, seed=1)
    assert not set(sampled.values()) & set(base.values())


def test_a_file_is_hashed_once_while_it_stays_the_same(store, monkeypatch):
    monkeypatch.setattr(fingerprint, "_hashes", {})
    first = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=2), store)

    def refuse(file):
        raise AssertionError(f"{file} was hashed again")

    monkeypatch.setattr(fingerprint, "_hash_file", refuse)
    monkeypatch.setattr(fingerprint, "_hashes", {})  # as in another process
    assert planning.make_plan(Experiment(languages=("deu_Latn",), sentences=2), store).keys == first.keys


def test_reading_states_that_are_not_there_says_so(store):
    plan = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=3), store)
    with pytest.raises(ExperimentError, match=r"eng_Latn \(NAS, weighted\) are not in the cache"):
        StatesReader(plan, store)


PARTS = {
    "model_identity": "files:0123",
    "dtype": "float32",
    "neuron": "product",
    "storage": "exact",
    "max_length": 512,
    "version": 1,
    "sentences": ["a", "b", "ab"],
    "libraries": ["torch 2", "transformers 5"],
}
CHANGED = {
    "model_identity": ["files:0124", "hub:o/n@0123"],
    "dtype": ["bfloat16"],
    "neuron": ["gate"],
    "storage": ["half"],
    "max_length": [511, 5120],
    "version": [2],
    "sentences": [["b", "a", "ab"], ["a", "b"], ["a", "b", "ab", ""], ["a", "bab"], ["a", "b", "ab "], ["a", "b", "äb"],
                  ["a\nb", "ab"], ["a,b", "ab"], ['a","b', "ab"], [], ["A", "b", "ab"], ["a", "b", "\ud800"]],
    "libraries": [["torch 2", "transformers 6"], ["torch 2"]],
}  # fmt: skip


def test_the_key_of_states_changes_with_every_part():
    keys = [states_key(**PARTS)]
    keys += [states_key(**{**PARTS, name: value}) for name, values in CHANGED.items() for value in values]
    assert set(CHANGED) == set(PARTS)
    assert len(set(keys)) == len(keys)
    assert states_key(**{**PARTS, "max_length": 51, "version": 21}) not in keys
    # the cache on disk outlives the process
    assert keys[0] == "states-a3620bbb5abb8c03535ce2754aa8cc7b"


# room


def test_states_that_the_cache_cannot_hold_are_refused_before_anything_runs(tmp_path):
    store = Store(tmp_path / "cache", size_limit=1 << 20)
    experiment = Experiment(languages=("deu_Latn", "tha_Thai"), sentences=12, storage="exact")
    plan = planning.make_plan(experiment, store)
    assert 1 << 20 < 3 * planning.bytes_per_language(plan) < 1 << 30
    with pytest.raises(ExperimentError, match=r"3 languages take 0\.0 GiB .* at most 0\.0 GiB.*fewer repr.*half"):
        computing.Extraction(plan).run(store, ModelPool(), lambda *_: None, lambda: False)
    assert planning.missing(plan, store) == list(plan.all_languages)
    half = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=12, storage="half"), store)
    planning.check_size(half, store)
    store.close()


def test_storage_is_exact_while_the_whole_corpus_takes_a_quarter_of_the_cache(tmp_path):
    """The bundled model: 8 layers of 640 neurons of 6 bytes and 224 hidden numbers of 4; 25 languages."""
    most = 25 * 12 * 8 * (640 * 6 + 224 * 4)
    for limit, storage in ((4 * most, "exact"), (4 * most - 1, "half")):
        store = Store(tmp_path / storage, size_limit=limit)
        for choices in ({}, {"languages": ("deu_Latn",)}, {"kept": ("nas_weighted",)}):
            assert planning.make_plan(Experiment(sentences=12, **choices), store).storage == storage
        for asked in ("exact", "half"):
            assert planning.make_plan(Experiment(sentences=12, storage=asked), store).storage == asked
        store.close()


def test_a_model_of_8_billion_parameters_and_204_languages_fits_into_the_default_cache(store):
    plan = planning.make_plan(Experiment(languages=("deu_Latn",), storage="half"), store)
    plan = replace(plan, info=replace(plan.info, layers=32, neurons=14_336, hidden=4096))
    assert len(plan.corpus.lines) == 100
    for kept, most in ((Experiment.kept, 45e9), ((), 19e9)):
        size = 204 * planning.bytes_per_language(planning.with_only(plan, kept))
        assert 0.95 * most < size < most < 50 * 2**30


def test_a_disk_that_is_too_full_is_told_before_anything_runs(tmp_path, monkeypatch):
    store = Store(tmp_path / "cache")
    plan = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=12, storage="half"), store)
    needed = 2 * planning.bytes_per_language(plan)
    monkeypatch.setattr("neuronxa_core.store.cache.shutil.disk_usage", lambda _folder: SimpleNamespace(free=needed - 1))
    with pytest.raises(ExperimentError, match="are free in") as caught:
        planning.check_size(plan, store)
    assert "storage half" not in str(caught.value)
    monkeypatch.setattr("neuronxa_core.store.cache.shutil.disk_usage", lambda _folder: SimpleNamespace(free=needed))
    planning.check_size(plan, store)
    store.close()


def test_a_run_that_would_evict_what_others_used_is_refused(tmp_path):
    store = Store(tmp_path)
    both = planning.make_plan(Experiment(languages=("deu_Latn", "tha_Thai"), sentences=12), store)
    computing.compute_missing(others := planning.restrict(both, ["deu_Latn"]), store, ModelPool())
    limit = store.size() + planning.missing_bytes(both, store) // 2
    mine = planning.make_plan(Experiment(pivot="tha_Thai", languages=("eng_Latn",), sentences=12), store)

    def run(kept_days):
        own = Store(tmp_path, limit, kept_days)
        computing.Extraction(mine).run(own, ModelPool(), lambda *_: None, lambda: False)
        return planning.missing(others, own)

    with pytest.raises(ExperimentError, match="nothing is removed that was used within the last 1 day; ask"):
        run(1)
    assert not planning.missing(others, store)
    assert run(0)


def test_the_size_said_before_a_run_is_the_size_on_disk(store, pool):
    plan = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=30), store)
    computing.compute_missing(plan, store, pool)
    sizes = {one.meta["states"]: one.size_bytes for one in store.entries() if one.meta["language"] == "deu_Latn"}
    assert set(sizes) == set(plan.needed)
    for name, size in sizes.items():
        assert size == pytest.approx(planning.bytes_per_language(plan, [name]), rel=0.02)


@pytest.mark.parametrize("storage", ["exact", "half"])
def test_states_that_are_needed_later_are_added_and_nothing_else(storage, store, pool):
    """An entry of its own per language, to the last bit what it is where all are kept at once; counts are the sums."""
    plan = planning.make_plan(
        Experiment(languages=("deu_Latn",), sentences=6, kept=("nas_weighted",), storage=storage), store
    )
    computing.compute_missing(plan, store, pool)
    first = {entry.key: entry.stored for entry in store.entries()}
    assert set(first) == set(plan.keys.values())
    with StatesReader(plan, store) as reader, pytest.raises(StatesMissing, match=r"eng_Latn \(NAS, mean\) are not"):
        reader.vectors("eng_Latn", "nas", "mean", 0)
    more = planning.with_states(plan, ["nas_mean", "nav_weighted"])
    assert planning.missing_entries(more, store) == {
        code: ["nav_weighted", "nas_mean"] for code in ("eng_Latn", "deu_Latn")
    }
    size = planning.missing_bytes(more, store)
    computing.compute_missing(more, store, pool)
    entries = {entry.key: entry for entry in store.entries()}
    assert {key: entries[key].stored for key in first} == first
    assert sum(entries[key].size_bytes for key in set(entries) - set(first)) == pytest.approx(size, rel=0.1)
    assert planning.missing(more, store) == []
    with pool.acquire(plan) as loaded:
        fresh = extraction.extract(loaded, "deu_Latn", plan.sentences("deu_Latn"), storage=storage)
    kept = {name: array for key in more.entries("deu_Latn").values() for name, array in store.read(key).items()}
    scale = {"nav_weighted_scale"} if storage == "half" else set()
    assert set(kept) == {"nas_weighted", "counts", "tokens", "nav_weighted", "nas_mean"} | scale
    assert all((kept[name] == array).all() for name, array in fresh.arrays.items() if name in kept)
    assert (kept["counts"] == kept["nas_mean"].sum(axis=1, dtype=int)).all()


def test_states_of_an_earlier_version_are_dropped_with_one_line(store, pool, caplog):
    arrays = {"nas_mean": np.zeros((2, 3), np.uint8)}
    for key in ("states-old", "states-older", "scores-old"):
        store.put(key, arrays, {"language": "deu_Latn"})
    plan = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=3), store)
    computing.compute_missing(plan, store, pool)
    assert {entry.key for entry in store.entries()} == {"scores-old"} | {
        key for code in plan.keys for key in plan.entries(code).values()
    }
    assert [one for one in caplog.messages if "earlier" in one] == [
        "states of an earlier version are dropped from the cache: 2 entries"
    ]


def test_the_limit_can_be_set(monkeypatch):
    monkeypatch.delenv("NEURONXA_CACHE_GIB", raising=False)
    assert default_limit() == 50 * 2**30
    monkeypatch.setenv("NEURONXA_CACHE_GIB", "1.5")
    assert default_limit() == 3 * 2**29
    for wrong in ("0", "-3", "much", "nan", "inf", "1e-12"):
        monkeypatch.setenv("NEURONXA_CACHE_GIB", wrong)
        with pytest.raises(StoreError, match="NEURONXA_CACHE_GIB is a number of GiB above 0"):
            default_limit()


# the way to the disk


@pytest.mark.parametrize("end", ["written", "disk is full", "cancelled", "failed"])
def test_a_language_is_written_while_the_next_is_computed(end, store, pool, monkeypatch):
    plan = planning.make_plan(Experiment(languages=("deu_Latn", "fra_Latn", "spa_Latn"), sentences=3), store)
    real_extract, real_put = extraction.extract, store.put
    computing_second, read, put = threading.Event(), [], []

    def write(key, arrays, meta):
        assert computing_second.wait(60)  # the first is written only once the second is computed
        if end == "disk is full":
            raise StoreError("the disk is full")
        real_put(key, arrays, meta)
        put.append((meta["language"], meta["states"]))

    def extract(loaded, language, *arguments, cancelled, **options):
        read.append(language)
        assert len(read) - len(put) // 3 <= 3  # one that is computed, one that is written, and one in between
        if len(read) == 2:
            computing_second.set()
            if end == "disk is full":
                while not cancelled():  # between two batches
                    time.sleep(0.001)
            if end == "failed":
                raise ExtractionError("no")
        return real_extract(loaded, language, *arguments, cancelled=cancelled, **options)

    monkeypatch.setattr(extraction, "extract", extract)
    monkeypatch.setattr(store, "put", write)
    errors = {"disk is full": StoreError, "cancelled": Cancelled, "failed": ExtractionError}
    with pytest.raises(errors[end]) if end in errors else contextlib.nullcontext():
        computing.compute_missing(plan, store, pool, cancelled=lambda: end == "cancelled" and len(read) == 2)
    monkeypatch.undo()
    everything = list(plan.all_languages)
    kept = {"written": everything, "disk is full": []}.get(end, everything[:1])
    assert put == [(code, f"{state}_weighted") for code in kept for state in ("emb", "nav", "nas")]
    assert read == (everything if end == "written" else everything[:2])
    assert planning.missing(plan, store) == [code for code in everything if code not in kept]


# models that are kept loaded


def test_the_pool_keeps_one_model(store, pool):
    plan = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=2), store)
    other = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=2, dtype="bfloat16"), store)
    with pool.acquire(plan) as first:
        pass
    with pool.acquire(plan) as again:
        assert again is first
    with pool.acquire(other) as second:
        assert second is not first
        assert second.dtype == "bfloat16"


def test_a_model_with_its_head_serves_requests_without(store, monkeypatch):
    loads = []
    real = loading.load

    def load(*arguments):
        loads.append(arguments[4])
        return real(*arguments)

    monkeypatch.setattr(loading, "load", load)
    pool = ModelPool()
    plan = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=2), store)
    other = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=2, dtype="bfloat16"), store)
    with pool.acquire(plan) as without:
        assert without.head is None
    with pool.acquire(plan, head=True) as with_head:
        assert with_head.head is not None
    for head in (False, True):
        with pool.acquire(plan, head) as again:
            assert again is with_head
    with pool.acquire(other) as second:
        assert second.head is None
    with pool.acquire(plan) as once_more:
        assert once_more.head is None
    assert loads == [False, True, False, False]


def test_a_pool_is_empty_after_a_load_that_failed(store, tiny):
    pool = ModelPool()
    plan = planning.make_plan(
        Experiment(model=str(tiny("llama")), languages=("deu_Latn",), sentences=2, dtype="float32"), store
    )
    with pytest.raises(ModelError, match="hold no language-model head"), pool.acquire(plan, head=True):
        raise AssertionError("it must not be lent")
    with pool.acquire(plan) as loaded:
        assert loaded.head is None


def test_who_does_not_wait_is_told_that_the_model_is_busy(store):
    plan = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=2), store)
    pool = ModelPool()
    assert not pool.holds(plan)
    with pool.acquire(plan):
        assert pool.busy
        with pytest.raises(ModelBusy, match="at work"), pool.acquire(plan, patience=0.01):
            raise AssertionError("two had the model at once")
    assert not pool.busy
    assert pool.holds(plan)
    with pool.acquire(plan, patience=0.01) as loaded:
        assert loaded.info == plan.info
