"""Alignment from stored states: against a plain computation, with empty rows, damage, and bit-identical results."""

import numpy as np
import pytest
import torch

from neuronxa_core.errors import Cancelled
from neuronxa_core.experiment import ENTRIES, Experiment
from neuronxa_core.measures import alignment, all_pairs, cosine_retrieval
from neuronxa_core.states import computing, extraction, planning, stored
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store


@pytest.fixture(scope="module")
def pool():
    return ModelPool()


def write_corpus(folder, **texts):
    folder.mkdir(exist_ok=True)
    for code, lines in texts.items():
        (folder / f"{code}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return str(folder)


def test_scores_equal_a_plain_computation_from_plain_states(store, pool):
    plan = planning.make_plan(Experiment(languages=("spa_Latn", "hin_Deva"), sentences=12, kept=ENTRIES), store)
    computing.compute_missing(plan, store, pool)
    with pool.acquire(plan) as loaded:
        fresh = {c: extraction.extract(loaded, c, plan.sentences(c)) for c in plan.all_languages}
    for state in ("nas", "nav", "emb"):
        for pooling in ("weighted", "last", "mean"):
            found = alignment.align(plan, store, state, pooling)
            for k, code in enumerate(plan.languages):
                for layer in range(plan.info.layers):
                    x = fresh["eng_Latn"].arrays[f"{state}_{pooling}"][layer].astype(float)
                    y = fresh[code].arrays[f"{state}_{pooling}"][layer].astype(float)
                    assert found.score[k, layer] == plain_score(x, y)


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_mexa_as_published_is_of_all_hidden_states_that_transformers_returns(family, tiny, store, pool):
    names = [f"hid_{pooling}" for pooling in ("weighted", "last", "mean")]
    chosen = Experiment(model=str(tiny(family)), languages=("spa_Latn",), sentences=9, kept=tuple(names))
    plan = planning.make_plan(chosen, store)
    computing.compute_missing(plan, store, pool)
    vectors = {}
    with pool.acquire(plan) as loaded, torch.inference_mode():
        for code in plan.all_languages:
            read = [loaded.tokenizer(text, return_tensors="pt") for text in plan.sentences(code)]
            vectors[code] = [loaded.model(**one, output_hidden_states=True).hidden_states for one in read]
    pools = {
        "weighted": lambda h: sum((t + 1) * h[t] for t in range(len(h))),
        "last": lambda h: h[-1],
        "mean": lambda h: sum(h[t] for t in range(len(h))),
    }
    for pooling, pooled in pools.items():
        found = alignment.align(plan, store, "hid", pooling).score[0]
        wanted = [
            plain_score(*([pooled(one[k][0].double().numpy()) for one in vectors[c]] for c in ("eng_Latn", "spa_Latn")))
            for k in range(len(vectors["spa_Latn"][0]))
        ]
        assert found.tolist() == wanted
    assert len(wanted) == plan.info.layers + 1
    assert len(set(wanted)) > 1
    pairs = all_pairs.AllPairs(plan, "hid", "mean")
    assert pairs.frame(pairs.run(store))["score"].tolist() == wanted


def plain_score(x, y):
    hits = 0
    for i in range(len(x)):
        cosine = lambda a, b: float(a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b)))  # noqa: E731
        own = cosine(x[i], y[i])
        hits += all(
            own - cosine(x[i], y[j]) > 1e-12 and own - cosine(x[j], y[i]) > 1e-12 for j in range(len(x)) if j != i
        )
    return hits / len(x)


def test_a_language_with_an_empty_line_takes_the_line_from_all_and_computes_nothing_again(
    store, pool, tmp_path, counted
):
    corpus = write_corpus(
        tmp_path / "corpus",
        eng=["one dog", "two cats", "three birds", "four fish"],
        deu=["ein Hund", "zwei Katzen", "drei Vögel", "vier Fische"],
        fra=["un chien", "", "trois oiseaux", "quatre poissons"],
    )
    read = counted()
    small = planning.make_plan(Experiment(corpus=corpus, pivot="eng", languages=("deu",)), store)
    computing.compute_missing(small, store, pool)
    assert alignment.align(small, store, "nas", "weighted").n_sentences == 4
    both = planning.make_plan(Experiment(corpus=corpus, pivot="eng", languages=("deu", "fra")), store)
    computing.compute_missing(both, store, pool)
    assert read == ["eng", "deu", "fra"]
    assert both.corpus.usable == (0, 2, 3)
    assert alignment.align(both, store, "nas", "weighted").n_sentences == 3
    with stored.StatesReader(both, store) as reader, stored.StatesReader(small, store) as whole:
        kept = whole.vectors("deu", "nav", "weighted", 1)[[0, 2, 3]]
        assert np.array_equal(reader.vectors("deu", "nav", "weighted", 1), kept)
        assert len(reader.vectors("fra", "nav", "weighted", 1)) == 3
        assert len(reader.tokens("fra")) == 3


def test_cached_and_fresh_runs_give_the_same_bits(tmp_path, pool):
    results = []
    for name in ("a", "b"):
        store = Store(tmp_path / name)
        plan = planning.make_plan(Experiment(languages=("spa_Latn", "jpn_Jpan"), sentences=15, kept=ENTRIES), store)
        computing.compute_missing(plan, store, pool)
        for _ in range(2):
            found = [alignment.align(plan, store, s, p) for s in ("nas", "nav", "emb") for p in ("weighted", "last")]
            results.append(np.stack([np.stack([f.src2trg, f.trg2src]) for f in found]))
        store.close()
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_scores_are_the_same_however_many_layers_run_side_by_side(store, pool, monkeypatch):
    plan = planning.make_plan(Experiment(languages=("spa_Latn", "jpn_Jpan", "tha_Thai"), sentences=12), store)
    computing.compute_missing(plan, store, pool)
    asked = []
    real = alignment.side_by_side

    def side_by_side(work, count, most):
        asked.append(most)
        return real(work, count, most)

    monkeypatch.setattr(alignment, "side_by_side", side_by_side)
    found = []
    layer_bytes = 3 * 4 * 12 * plan.info.neurons
    for most_bytes in (1, 2 * layer_bytes, 100 * layer_bytes):
        monkeypatch.setattr(alignment, "CHUNK_BYTES", most_bytes)
        found.append(alignment.align(plan, store, "nas", "weighted"))
        measure = alignment.AlignmentScores(plan, "nas", "weighted")
        for part in measure.parts():
            store.drop(measure.key_of(part))
    assert asked == [1, 2, 100]
    for other in found[1:]:
        np.testing.assert_array_equal(other.src2trg, found[0].src2trg)
        np.testing.assert_array_equal(other.trg2src, found[0].trg2src)


def test_languages_are_compared_and_kept_group_by_group_to_the_same_bit(store, pool, monkeypatch):
    languages = ("spa_Latn", "jpn_Jpan", "tha_Thai", "deu_Latn", "hin_Deva")
    plan = planning.make_plan(Experiment(languages=languages, sentences=12), store)
    computing.compute_missing(plan, store, pool)
    monkeypatch.setattr(cosine_retrieval, "DECIDED_CELLS", 2 * 12**2)
    measure = alignment.AlignmentScores(plan, "nas", "weighted")
    assert measure.at_once == 2 * (alignment.GROUP_PRODUCTS // (4 * 12**2 * plan.info.neurons * plan.info.layers))
    whole = measure.run(store)
    for part in measure.parts():
        store.drop(measure.key_of(part))
    monkeypatch.setattr(alignment, "GROUP", 1)
    monkeypatch.setattr(alignment, "GROUP_PRODUCTS", 0)
    kept = []
    real = measure._compare

    def stop_at_the_last(parts, run):
        kept.append(len(measure.results(store)))
        if len(parts) == 1:
            raise Cancelled("stopped")
        return real(parts, run)

    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        patch.setattr(alignment.AlignmentScores, "_compare", lambda _measure, *arguments: stop_at_the_last(*arguments))
        measure.run(store)
    assert kept == [0, 2, 4]
    for part, arrays in measure.run(store).items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, whole[part][name])


def test_languages_that_count_in_numbers_of_their_own_are_compared(store, pool, tmp_path):
    """Counts of 400 tokens take 32 bits, those of a few 8; a row that one language lacks is left out in the others."""
    long = "word " * 400
    corpus = write_corpus(
        tmp_path / "corpus",
        eng=["one dog", "two cats", "three birds", "four fish"],
        deu=["ein Hund", "zwei Katzen", long, "vier Fische"],
        fra=["un chien", "", "trois oiseaux", "quatre poissons"],
    )
    plan = planning.make_plan(Experiment(corpus=corpus, pivot="eng"), store)
    computing.compute_missing(plan, store, pool)
    with stored.StatesReader(plan, store) as reader:
        buffer = reader.buffer("nas", "weighted")
        vectors = {code: reader.vectors(code, "nas", "weighted", 2) for code in plan.all_languages}
        assert {code: v.dtype for code, v in vectors.items()} == {"eng": "u1", "deu": "u4", "fra": "u1"}
        assert len(buffer) == 4 * 4 * plan.info.neurons
        for number, code in enumerate(plan.all_languages):
            states = stored.LayerStates(reader, plan.all_languages, "nas", "weighted", 2, buffer)
            assert len(states) == 3
            np.testing.assert_array_equal(states[number], vectors[code])
            np.testing.assert_array_equal(reader.vectors(code, "nas", "weighted", 2), vectors[code])
        assert not np.array_equal(vectors["eng"], vectors["fra"])
    found = alignment.align(plan, store, "nas", "weighted")
    matrix = all_pairs.pair_matrix(plan, store, "nas", "weighted", 2)
    everyone = list(vectors)
    for a, x in enumerate(everyone):
        for b, y in enumerate(everyone):
            assert matrix[a, b] == plain_score(vectors[x].astype(float), vectors[y].astype(float))
    assert found.score[:, 2].tolist() == matrix[0, 1:].tolist()


def test_a_damaged_entry_is_computed_again(store, pool, counted):
    plan = planning.make_plan(Experiment(languages=("spa_Latn",), sentences=10), store)
    computing.compute_missing(plan, store, pool)
    before = alignment.align(plan, store, "nas", "weighted")
    for file in store.folder.rglob("*.safetensors"):
        content = bytearray(file.read_bytes())
        for at in range(len(content) // 2, len(content), 997):
            content[at] ^= 0xFF
        file.write_bytes(content)
    again = Store(store.folder)
    read = counted()
    work = lambda: [alignment.align(plan, again, s, "weighted") for s in ("nas", "nav", "emb")]  # noqa: E731
    healed = computing.recompute_if_corrupt(plan, again, pool, work)
    assert set(read) == {"eng_Latn", "spa_Latn"}
    assert np.array_equal(before.src2trg, healed[0].src2trg)
    assert np.array_equal(before.trg2src, healed[0].trg2src)
    again.close()


def test_pair_matrix_agrees_with_the_pivot_row(store, pool):
    plan = planning.make_plan(Experiment(languages=("spa_Latn", "tha_Thai"), sentences=12, kept=ENTRIES), store)
    computing.compute_missing(plan, store, pool)
    found = alignment.align(plan, store, "nas", "mean")
    for layer in range(plan.info.layers):
        matrix = all_pairs.pair_matrix(plan, store, "nas", "mean", layer)
        assert np.array_equal(matrix, matrix.T)
        assert np.array_equal(matrix[0, 1:], found.score[:, layer])


def test_the_alignment_of_a_pair_is_that_of_all_languages(store, pool):
    plan = planning.make_plan(Experiment(languages=("deu_Latn", "tha_Thai"), sentences=8, kept=ENTRIES), store)
    computing.compute_missing(plan, store, pool)
    whole = alignment.align(plan, store, "nav", "mean")
    pair = alignment.pair_alignment(plan, store, "eng_Latn", "tha_Thai", "nav", "mean")
    at = whole.languages.index("tha_Thai")
    np.testing.assert_array_equal(pair.src2trg[0], whole.src2trg[at])
    np.testing.assert_array_equal(pair.trg2src[0], whole.trg2src[at])
    turned = alignment.pair_alignment(plan, store, "tha_Thai", "eng_Latn", "nav", "mean")
    np.testing.assert_array_equal(turned.src2trg, pair.trg2src)
