"""RankC, accuracy and the candidates' scores against plain computations from the published formula."""

from __future__ import annotations

import io
from itertools import combinations, permutations
from math import exp

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from neuronxa_core.cli.main import main
from neuronxa_core.errors import ExperimentError, ExtractionError, ModelError
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import consistency
from neuronxa_core.measures.consistency import Consistency, candidate_ranks, rankc, rankc_chance
from neuronxa_core.models import loading, sources
from neuronxa_core.states import likelihood, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.tasks.bmlama import Query

FILES = {
    "en": ["Ada was born in <mask>.|Rome|Oslo, Rome, Bonn", "<mask> is red.|Blood, Rust|Snow, Blood, Rust, Sea"],
    "de": ["Ada wurde in <mask> geboren.|Rom|Oslo, Rom, Bonn", "<mask> ist rot.|Blut, Rost|Schnee, Blut, Rost, Meer"],
    "fr": ["Ada est née à <mask>.|Rome|Oslo, Rome, Bonn", "<mask> est rouge.|Sang, Sang|Neige, Sang, Sang, Mer"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bmlama")
    for code, rows in FILES.items():
        lines = ["Prompt\tAns\tCandidate Ans\tSubject", *(row.replace("|", "\t") + "\tx" for row in rows)]
        (folder / f"{code}.tsv").write_text("\r\n".join(lines) + "\r\n", "utf-8")
    return folder


@pytest.fixture
def plan(store):
    return planning.make_plan(Experiment(languages=("deu_Latn",), sentences=4), store)


def plain_rankc(x, y):
    """Qi et al., 2023, eq. 1 to 3, for lists of rankings: candidates by number, the best first."""
    found = []
    for a, b in zip(x, y, strict=True):
        n = len(a)
        weights = [exp(n - j) for j in range(1, n + 1)]
        at = [len(set(a[:j]) & set(b[:j])) / j for j in range(1, n + 1)]
        found.append(sum(w * p for w, p in zip(weights, at, strict=True)) / sum(weights))
    return sum(found) / len(found)


def as_ranks(rankings):
    return np.concatenate([np.argsort(ranking) + 1 for ranking in rankings])


def test_rankc_is_the_published_formula():
    generator = np.random.default_rng(0)
    for _ in range(20):
        sizes = generator.integers(1, 12, 7)
        x, y = ([generator.permutation(n).tolist() for n in sizes] for _ in range(2))
        ranks = as_ranks(x), as_ranks(y)
        assert rankc(*ranks, sizes) == pytest.approx(plain_rankc(x, y), rel=1e-12)
        assert rankc(*ranks[::-1], sizes) == rankc(*ranks, sizes)
        assert rankc(ranks[0], ranks[0], sizes) == pytest.approx(1, abs=1e-14)


def test_rankc_by_hand():
    # two candidates the wrong way round: P@1 = 0, P@2 = 1, so w_2 = 1 / (1 + e); and one query that agrees
    sizes = np.array([2, 3])
    found = rankc(np.array([1, 2, 1, 2, 3]), np.array([2, 1, 1, 2, 3]), sizes)
    assert found == pytest.approx((1 / (1 + exp(1)) + 1) / 2)


def test_chance_is_the_mean_over_all_rankings():
    for n in (1, 3, 5):
        every = list(permutations(range(n)))
        wanted = np.mean([plain_rankc([every[0]], [other]) for other in every])
        assert rankc_chance(np.array([n])) == pytest.approx(wanted)
    query = Query("<mask>", ("a", "b"), ("a", "b", "a", "c"))
    by_chance = [
        len({query.candidates[k] for k in order[:2]} & set(query.answers)) / 2 for order in permutations(range(4))
    ]
    assert consistency.chance([query]) == pytest.approx(np.mean(by_chance))


def test_ties_keep_the_order_of_the_file_and_accuracy_is_a_share_of_the_top():
    ranks = candidate_ranks(np.array([2.0, 1, 1, 1, 0.5, 0.5]), np.array([4, 2]))
    assert ranks.tolist() == [4, 1, 2, 3, 1, 2]
    queries = [Query("<mask>", ("a", "c"), ("a", "b", "c", "d")), Query("<mask>", ("a",), ("a", "b"))]
    # of a and c the top two, b and c, hold one; a is the first of its equals
    assert consistency.accuracy(queries, ranks) == (1 / 2 + 1) / 2


@torch.inference_mode()
def plain_scores(loaded, queries, how):
    """Each filled prompt by itself, token by token."""
    found = []
    for query in queries:
        for candidate in query.candidates:
            ids = loaded.tokenizer(query.prompt.replace("<mask>", candidate))["input_ids"]
            odds = loaded.head(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            nats = [-odds[k, token].item() for k, token in enumerate(ids[1:])]
            found.append(sum(nats) / (len(nats) if how == "mean" else 1))
    return found


@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_the_table_is_that_of_plain_scores(reduce, plan, data, store):
    pool = ModelPool()
    measure = Consistency(plan, data, reduce=reduce)
    table = measure.frame(measure.run(store, pool)).set_index(["language_x", "language_y"])
    assert list(table.index) == list(combinations(["de", "en", "fr"], 2))
    with pool.acquire(plan, head=True) as loaded:
        scores = {code: plain_scores(loaded, queries, reduce) for code, queries in measure.queries.items()}
    rankings = {
        code: [sorted(range(3), key=one[:3].__getitem__), sorted(range(4), key=one[3:].__getitem__)]
        for code, one in scores.items()
    }
    texts = {code: [query.candidates for query in queries] for code, queries in measure.queries.items()}
    for (x, y), row in table.iterrows():
        assert (row["n"], row["rankc"]) == (2, pytest.approx(plain_rankc(rankings[x], rankings[y])))
        for side, code in (("x", x), ("y", y)):
            shares = []
            for query, ranking, names in zip(measure.queries[code], rankings[code], texts[code], strict=True):
                top = {names[k] for k in ranking[: len(query.answers)]}
                shares.append(np.mean([answer in top for answer in query.answers]))
            assert row[f"accuracy_{side}"] == np.mean(shares)
    # equal texts have equal scores, so that the one that is first in the file is first
    second = measure.ranks(measure.results(store))["fr"][3:]
    assert second[2] == second[1] + 1


def test_another_language_is_ranked_alone(plan, data, store):
    pool, seen = ModelPool(), []
    Consistency(plan, data, ("en", "de")).run(store, pool)
    more = Consistency(plan, data, ("en", "de", "fr"))
    assert more.totals(store) == {"fr": 2}
    more.run(store, pool, lambda *done: seen.append(done))
    assert {group for group, *_ in seen} == {"fr"}
    # the sum is read from what is kept
    assert Consistency(plan, data, reduce="sum").missing(store) == []
    assert len(Consistency(plan, data, prompts=1).missing(store)) == 3


def test_choices_that_do_not_fit_are_refused(plan, data):
    for choices, said in (
        ({"data": None}, "data is missing"),
        ({"prompts": 0}, "prompts is a whole number from 1 on, not 0"),
        ({"reduce": "max"}, "reduce is one of mean, sum"),
        ({"data_languages": ("en",)}, "at least 2 languages"),
        ({"data_languages": ("en", "xx")}, "has no file xx.tsv; there are de, en, fr"),
    ):
        with pytest.raises(ExperimentError, match=said):
            Consistency(**{"plan": plan, "data": data, **choices})


def test_an_encoder_ranks_by_tokens_masked_in_turn(data, store, tiny, tmp_path):
    bare = tiny("bert")
    with pytest.raises(ModelError, match="hold no language-model head"):
        encoder = planning.make_plan(Experiment(str(bare), languages=("deu_Latn",), sentences=4), store)
        Consistency(encoder, data).run(store, ModelPool())
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig.from_pretrained(bare)).eval()
    model.save_pretrained(tmp_path / "m")
    tokenizer = AutoTokenizer.from_pretrained(bare)
    tokenizer.mask_token = "<unk>"
    tokenizer.save_pretrained(tmp_path / "m")
    encoder = planning.make_plan(Experiment(str(tmp_path / "m"), languages=("deu_Latn",), sentences=4), store)
    measure = Consistency(encoder, data, ("en", "de"))
    found = measure.run(store, ModelPool())["en"]
    wanted, counts = [], []
    for text in (text for query in measure.queries["en"] for text in query.filled):
        ids = tokenizer(text)["input_ids"]
        own = [k for k, token in enumerate(ids) if token not in tokenizer("")["input_ids"]]
        nats = 0.0
        for k in own:
            masked = torch.tensor([[*ids[:k], tokenizer.mask_token_id, *ids[k + 1 :]]])
            with torch.inference_mode():
                nats -= model(masked).logits[0, k].double().log_softmax(-1)[ids[k]].item()
        wanted.append(nats)
        counts.append(len(own))
    assert found["tokens"].tolist() == counts
    np.testing.assert_allclose(found["nats"], wanted, rtol=1e-4)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(tmp_path / "m")
    other = planning.make_plan(Experiment(str(tmp_path / "m"), languages=("deu_Latn",), sentences=4), store)
    with pytest.raises(ModelError, match="has no mask token"):
        Consistency(other, data, ("en", "fr"), prompts=1).run(store, ModelPool())


def test_texts_that_cannot_be_scored_are_refused(tiny):
    loaded = loading.load(sources.parse_source(str(tiny("llama", head=True, with_special_tokens=False))), head=True)
    longest = loaded.info.max_length
    for text, said in (("a", "en: 'a' has 1 token; from 2 to"), ("a b" * longest, f"from 2 to {longest} can be")):
        with pytest.raises(ExtractionError, match=said):
            likelihood.text_likelihood(loaded, [["good text", text]], language="en")


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "gemma3_text"])
def test_what_texts_begin_with_is_shared_without_a_trace(family, tiny, monkeypatch):
    groups = [["the long road to Rome", "the long road to a far town", "the long road to Rome"], ["Rome is it", "Oslo"]]
    loaded = loading.load(sources.parse_source(str(tiny(family, head=True))), head=True)
    found, shared, run_group = [], [], likelihood._run_group
    monkeypatch.setattr(likelihood, "_run_group", lambda *rows: shared.append(rows) or run_group(*rows))
    for least in (10**9, 2):
        monkeypatch.setitem(likelihood.SHARED_TOKENS, "cpu", least)
        found.append(likelihood.text_likelihood(loaded, groups, language="en"))
    (plain, tokens), (cached, same) = found
    assert len(shared) == 2  # once to try, once for what it gives
    np.testing.assert_allclose(cached, plain, rtol=1e-5)
    assert tokens.tolist() == same.tolist()
    # where a cache changes the numbers, nothing is shared
    monkeypatch.setattr(likelihood, "_run_group", lambda *rows: run_group(*rows) + 1)
    assert likelihood.text_likelihood(loaded, groups, language="en")[0].tolist() == plain.tolist()


def test_the_command_needs_no_corpus(data, tmp_path, capsys):
    options = ["measure", "consistency", "--model", "demo", "--cache-dir", str(tmp_path)]
    assert main([*options, "--data", str(data)]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    wanted = ["language_x", "language_y", "n", "rankc", "accuracy_x", "accuracy_y"]
    assert [column for column in table if column in wanted] == wanted
    assert len(table) == 3
    assert main([*options, "--data", str(tmp_path / "none")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "cannot be read: No such file" in err
