"""From corpus and model to scores: plans, what is computed and when, damage, and bit-identical results."""

import numpy as np
import pytest

from neuronxa_core import extraction, models, pipeline
from neuronxa_core.errors import ExperimentError, ModelError
from neuronxa_core.experiment import Experiment
from neuronxa_core.pipeline import ModelShelf
from neuronxa_core.store import Store


@pytest.fixture(scope="module")
def shelf():
    return ModelShelf()


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "cache")
    yield store
    store.close()


def write_corpus(folder, **texts):
    folder.mkdir(exist_ok=True)
    for code, lines in texts.items():
        (folder / f"{code}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return str(folder)


def counted(monkeypatch):
    """The languages that extraction reads, in order."""
    read = []
    real = extraction.extract

    def extract(loaded, code, *arguments, **options):
        read.append(code)
        return real(loaded, code, *arguments, **options)

    monkeypatch.setattr(extraction, "extract", extract)
    return read


def test_scores_equal_a_plain_computation_from_plain_states(store, shelf):
    plan = pipeline.make_plan(Experiment(languages=("spa_Latn", "hin_Deva"), sentences=20), store)
    pipeline.compute_missing(plan, store, shelf)
    with shelf.borrow(plan) as loaded:
        fresh = {c: extraction.extract(loaded, c, plan.sentences(c)) for c in plan.everyone}
    for state in ("nas", "nav", "emb"):
        for pooling in ("weighted", "last", "mean"):
            found = pipeline.align(plan, store, state, pooling)
            for k, code in enumerate(plan.languages):
                for layer in range(plan.info.layers):
                    x = fresh["eng_Latn"].arrays[f"{state}_{pooling}"][layer].astype(float)
                    y = fresh[code].arrays[f"{state}_{pooling}"][layer].astype(float)
                    assert found.score[k, layer] == plain_score(x, y)


def plain_score(x, y):
    hits = 0
    for i in range(len(x)):
        cosine = lambda a, b: float(a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b)))  # noqa: E731
        own = cosine(x[i], y[i])
        hits += all(
            own - cosine(x[i], y[j]) > 1e-12 and own - cosine(x[j], y[i]) > 1e-12 for j in range(len(x)) if j != i
        )
    return hits / len(x)


def test_adding_a_language_computes_one_language(store, shelf, monkeypatch):
    read = counted(monkeypatch)
    pipeline.compute_missing(pipeline.make_plan(Experiment(languages=("deu_Latn",), sentences=5), store), store, shelf)
    assert read == ["eng_Latn", "deu_Latn"]
    wider = pipeline.make_plan(Experiment(languages=("deu_Latn", "fra_Latn"), sentences=5), store)
    assert pipeline.missing(wider, store) == ["fra_Latn"]
    assert pipeline.compute_missing(wider, store, shelf) == ["fra_Latn"]
    assert read == ["eng_Latn", "deu_Latn", "fra_Latn"]


def test_a_language_with_an_empty_line_takes_the_line_from_all_and_computes_nothing_again(
    store, shelf, tmp_path, monkeypatch
):
    corpus = write_corpus(
        tmp_path / "corpus",
        eng=["one dog", "two cats", "three birds", "four fish"],
        deu=["ein Hund", "zwei Katzen", "drei Vögel", "vier Fische"],
        fra=["un chien", "", "trois oiseaux", "quatre poissons"],
    )
    read = counted(monkeypatch)
    small = pipeline.make_plan(Experiment(corpus=corpus, pivot="eng", languages=("deu",)), store)
    pipeline.compute_missing(small, store, shelf)
    assert pipeline.align(small, store, "nas", "weighted").n_sentences == 4
    both = pipeline.make_plan(Experiment(corpus=corpus, pivot="eng", languages=("deu", "fra")), store)
    pipeline.compute_missing(both, store, shelf)
    assert read == ["eng", "deu", "fra"]
    assert both.corpus.usable == (0, 2, 3)
    assert pipeline.align(both, store, "nas", "weighted").n_sentences == 3
    with pipeline.StatesReader(both, store) as reader, pipeline.StatesReader(small, store) as whole:
        kept = whole.vectors("deu", "nav", "weighted", 1)[[0, 2, 3]]
        assert np.array_equal(reader.vectors("deu", "nav", "weighted", 1), kept)
        assert len(reader.vectors("fra", "nav", "weighted", 1)) == 3
        assert len(reader.tokens("fra")) == 3


def test_cached_and_fresh_runs_give_the_same_bits(tmp_path, shelf):
    results = []
    for name in ("a", "b"):
        store = Store(tmp_path / name)
        plan = pipeline.make_plan(Experiment(languages=("spa_Latn", "jpn_Jpan"), sentences=15), store)
        pipeline.compute_missing(plan, store, shelf)
        for _ in range(2):
            found = [pipeline.align(plan, store, s, p) for s in ("nas", "nav", "emb") for p in ("weighted", "last")]
            results.append(np.stack([np.stack([f.forward, f.backward]) for f in found]))
        store.close()
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_a_damaged_entry_is_computed_again(store, shelf, monkeypatch):
    plan = pipeline.make_plan(Experiment(languages=("spa_Latn",), sentences=10), store)
    pipeline.compute_missing(plan, store, shelf)
    before = pipeline.align(plan, store, "nas", "weighted")
    for file in store.folder.rglob("*.val"):
        content = bytearray(file.read_bytes())
        for at in range(len(content) // 2, len(content), 997):
            content[at] ^= 0xFF
        file.write_bytes(content)
    again = Store(store.folder)
    read = counted(monkeypatch)
    work = lambda: [pipeline.align(plan, again, s, "weighted") for s in ("nas", "nav", "emb")]  # noqa: E731
    healed = pipeline.healed(plan, again, shelf, work)
    assert set(read) == {"eng_Latn", "spa_Latn"}
    assert np.array_equal(before.forward, healed[0].forward)
    assert np.array_equal(before.backward, healed[0].backward)
    again.close()


def test_pair_matrix_agrees_with_the_pivot_row(store, shelf):
    plan = pipeline.make_plan(Experiment(languages=("spa_Latn", "rus_Cyrl", "tha_Thai"), sentences=25), store)
    pipeline.compute_missing(plan, store, shelf)
    found = pipeline.align(plan, store, "nas", "mean")
    for layer in range(plan.info.layers):
        matrix = pipeline.pair_matrix(plan, store, "nas", "mean", layer)
        assert np.array_equal(matrix, matrix.T)
        assert np.array_equal(matrix[0, 1:], found.score[:, layer])


def test_restricting_a_plan_keeps_rows_and_keys(store):
    plan = pipeline.make_plan(Experiment(sentences=6), store)
    part = pipeline.restrict(plan, ["tha_Thai", "deu_Latn"])
    assert set(part.languages) == {"deu_Latn", "tha_Thai"}
    assert part.everyone[0] == "eng_Latn"
    assert part.corpus.usable == plan.corpus.usable
    assert all(plan.keys[code] == key for code, key in part.keys.items())


def test_reading_states_that_are_not_there_says_so(store):
    plan = pipeline.make_plan(Experiment(languages=("deu_Latn",), sentences=3), store)
    with pytest.raises(ExperimentError, match="eng_Latn are not in the cache"):
        pipeline.align(plan, store, "nas", "weighted")


def test_keys_follow_the_text_and_the_choices_that_change_numbers(store):
    def keys(**choices):
        return pipeline.make_plan(Experiment(**{"languages": ("deu_Latn",), "sentences": 5, **choices}), store).keys

    base = keys()
    assert keys(state="emb", pooling="last", layers="max", device="cpu") == base
    assert keys(dtype="float32") == base
    for other in ({"dtype": "bfloat16"}, {"neuron": "gate"}, {"sentences": 6}):
        assert not set(keys(**other).values()) & set(base.values())
    sampled = keys(sentences=99, seed=1)
    assert not set(sampled.values()) & set(base.values())


def test_the_shelf_keeps_one_model(store, shelf):
    plan = pipeline.make_plan(Experiment(languages=("deu_Latn",), sentences=2), store)
    other = pipeline.make_plan(Experiment(languages=("deu_Latn",), sentences=2, dtype="bfloat16"), store)
    with shelf.borrow(plan) as first:
        pass
    with shelf.borrow(plan) as again:
        assert again is first
    with shelf.borrow(other) as second:
        assert second is not first
        assert second.dtype == "bfloat16"


def test_a_model_with_its_head_serves_requests_without(store, monkeypatch):
    loads = []
    real = models.load

    def load(*arguments):
        loads.append(arguments[4])
        return real(*arguments)

    monkeypatch.setattr(models, "load", load)
    shelf = ModelShelf()
    plan = pipeline.make_plan(Experiment(languages=("deu_Latn",), sentences=2), store)
    other = pipeline.make_plan(Experiment(languages=("deu_Latn",), sentences=2, dtype="bfloat16"), store)
    with shelf.borrow(plan) as without:
        assert without.head is None
    with shelf.borrow(plan, head=True) as with_head:
        assert with_head.head is not None
    for head in (False, True):
        with shelf.borrow(plan, head) as again:
            assert again is with_head
    with shelf.borrow(other) as second:
        assert second.head is None
    with shelf.borrow(plan) as once_more:
        assert once_more.head is None
    assert loads == [False, True, False, False]


def test_a_shelf_is_empty_after_a_load_that_failed(store, tiny):
    shelf = ModelShelf()
    plan = pipeline.make_plan(
        Experiment(model=str(tiny("llama")), languages=("deu_Latn",), sentences=2, dtype="float32"), store
    )
    with pytest.raises(ModelError, match="hold no language-model head"), shelf.borrow(plan, head=True):
        raise AssertionError("it must not be lent")
    with shelf.borrow(plan) as loaded:
        assert loaded.head is None


def test_the_size_said_before_a_run_is_the_size_on_disk(store, shelf):
    plan = pipeline.make_plan(Experiment(languages=("deu_Latn",), sentences=30), store)
    pipeline.compute_missing(plan, store, shelf)
    (entry,) = [e for e in store.entries() if e.meta.get("language") == "deu_Latn"]
    assert entry.size_bytes == pytest.approx(pipeline.bytes_a_language(plan), rel=0.02)


def test_a_file_is_hashed_once_while_it_stays_the_same(store, monkeypatch):
    first = pipeline.make_plan(Experiment(languages=("deu_Latn",), sentences=2), store)

    def refuse(file):
        raise AssertionError(f"{file} was hashed again")

    monkeypatch.setattr(models, "_hash_file", refuse)
    assert pipeline.make_plan(Experiment(languages=("deu_Latn",), sentences=2), store).keys == first.keys
