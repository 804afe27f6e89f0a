"""Odds ratios of items against plain counting, by hand, on planted data and on noise."""

import json
import math

import numpy as np
import pytest

from neuronxa_core.cli.main import main
from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import alignment, item_alignment
from neuronxa_core.measures.item_alignment import ItemAlignment

NAN = math.nan


def plainly(aligned, correct, order):
    """(tables, how far each count of aligned right ones is from what the margins give), one sentence at a time."""
    tables, far = [], []
    for own, answers in zip(aligned, correct, strict=True):
        table = [[0, 0], [0, 0]]
        for place, answer in zip(order, answers, strict=True):
            if not math.isnan(answer):
                table[0 if own[place] else 1][0 if answer else 1] += 1
        (a, b), (c, d) = table
        tables.append(table)
        far.append(a - (a + b) * (a + c) / (a + b + c + d))
    return tables, far


def test_p_counts_permutations_of_sentences_that_languages_share():
    random = np.random.default_rng(0)
    aligned = random.random((3, 9)) < 0.5
    correct = (random.random((3, 9)) < 0.6).astype(float)
    correct[1, 2] = correct[2, 7] = NAN
    tables, p, pooled = item_alignment.permutation_test(aligned, correct, permutations=200, seed=3)
    wanted, far = plainly(aligned, correct, range(9))
    assert tables.tolist() == wanted
    generator = np.random.default_rng(3)
    every = [far, *(plainly(aligned, correct, generator.permutation(9))[1] for _ in range(200))]
    for k in range(3):
        assert p[k] == pytest.approx(np.mean([abs(one[k]) >= abs(far[k]) - 1e-9 for one in every]))
    assert pooled == pytest.approx(np.mean([abs(sum(one)) >= abs(sum(far)) - 1e-9 for one in every]))


def test_odds_ratios_by_hand():
    tables = np.array([[[8, 2], [3, 6]], [[4, 0], [3, 2]], [[5, 0], [4, 0]]])
    table = item_alignment.odds(["a", "b", "c"], tables, np.array([0.01, 0.04, NAN]), 0.003)
    # 0.5 in each cell of b, where one is 0; c has right answers alone
    assert table["odds_ratio"].tolist()[:3] == pytest.approx(
        [8 * 6 / (2 * 3), 4.5 * 2.5 / (0.5 * 3.5), NAN], nan_ok=True
    )
    woolf = 1.959963985 * math.sqrt(1 / 8 + 1 / 2 + 1 / 3 + 1 / 6)
    assert table.loc[0, ["low", "high"]].tolist() == pytest.approx([8 * math.exp(-woolf), 8 * math.exp(woolf)])
    pooled = table.iloc[-1]
    assert pooled["odds_ratio"] == pytest.approx((8 * 6 / 19 + 4 * 2 / 9) / (2 * 3 / 19 + 0))
    assert (pooled["language"], pooled["items"], pooled["p"]) == ("all languages", 37, 0.003)
    assert pooled["accuracy"] == pytest.approx((11 + 7 + 9) / 37)
    assert table["p_holm"].tolist() == pytest.approx([0.02, 0.04, NAN, NAN], nan_ok=True)
    assert table.loc[0, ["aligned", "missed_right"]].tolist() == [10 / 19, 3]
    never = item_alignment.odds(["a"], np.array([[[4, 0], [3, 2]]]), np.array([0.4]), 0.4)
    assert never["odds_ratio"].tolist() == pytest.approx([4.5 * 2.5 / (0.5 * 3.5)] * 2)


def made(seed, of_items, of_languages, languages=8, n=100):
    """The table of items whose answers follow alignment within a language, and over languages, as strongly as given."""
    random = np.random.default_rng(seed)
    level = np.linspace(-1, 1, languages)[:, None]
    aligned = random.random((languages, n)) < 1 / (1 + np.exp(-1.5 * level))
    right = of_languages * level + of_items * (aligned - aligned.mean(axis=1, keepdims=True))
    correct = (random.random((languages, n)) < 1 / (1 + np.exp(-right))).astype(float)
    found = item_alignment.permutation_test(aligned, correct, permutations=199)
    codes = ["deu_Latn", "fra_Latn", "spa_Latn", "ita_Latn", "por_Latn", "rus_Cyrl", "tha_Thai", "swh_Latn"][:languages]
    return item_alignment.odds(codes, *found).assign(layer=4)


def test_the_verdict_says_what_was_planted_and_no_more():
    both = item_alignment.verdict(made(0, 2, 2))
    assert both.startswith(
        "Within a language, sentences that are aligned at layer 4 are answered right more often than"
    )
    assert "permutation p = 0.005; 8 languages, 800 items)." in both
    assert "Over the 8 languages, accuracy rises with alignment (r = 0.9" in both
    assert "answered right less often" in item_alignment.verdict(made(0, -2, 2))
    # accuracy and alignment both follow the language, and no item within one: the link that must not be said of items
    apart, wrong = made(1, 0, 3), 0
    assert "are not shown to be answered right more or less often" in item_alignment.verdict(apart)
    assert "accuracy rises with alignment" in item_alignment.verdict(apart)
    assert "accuracy falls with alignment (r = -0.9" in item_alignment.verdict(made(1, 0, -3))
    assert "is not shown to go with alignment" in item_alignment.verdict(made(2, 2, 0))
    for seed in range(20):
        wrong += "not shown to be answered" not in item_alignment.verdict(made(seed, 0, 2, languages=4))
    assert wrong <= 4
    assert "Languages are compared from 5 on" in item_alignment.verdict(made(0, 0, 0, languages=4))
    still = item_alignment.odds(["deu_Latn"] * 5, np.array([[[5, 0], [4, 0]]] * 5), np.full(5, NAN), NAN).assign(
        layer=1
    )
    assert item_alignment.verdict(still).startswith("At layer 1 no language has both aligned and missed sentences")
    assert "is the same in all" in item_alignment.verdict(still)


def test_one_or_more_languages_that_show_it_by_themselves():
    table = made(0, 0, 0)
    assert "Holm" not in item_alignment.verdict(table.assign(p_holm=0.2))
    table.loc[2, "p_holm"] = 0.01
    one = table.assign(p_holm=[0.2, 0.2, 0.01, *[0.2] * 6])
    assert "Spanish (spa_Latn) shows a difference by itself" in item_alignment.verdict(one)
    assert "8 of 8 languages show a difference by themselves" in item_alignment.verdict(table.assign(p_holm=0.01))


def test_items_are_joined_with_the_corpus_by_its_lines(three_languages, tmp_path):
    plan, store = three_languages
    lines = [1, 2, 3, 5, 6, 7, 8]  # German lacks line 4
    rows = [("de", k, k % 2) for k in range(1, 9)] + [("tha_Thai", k, k % 3 == 0) for k in range(2, 9)]
    rows += [("en", 1, 1), ("xx", 1, 1), ("de", 999, 1)]
    file = tmp_path / "items.csv"
    file.write_text("language,line,correct\n" + "".join(f"{c},{k},{int(r)}\n" for c, k, r in rows), "utf-8")
    measure = ItemAlignment(plan, str(file), layer=3)
    table = measure.frame(measure.run(store)).set_index("language")
    assert table.index.tolist() == ["deu_Latn", "tha_Thai", "all languages"]
    found = alignment.align(plan, store, "nas", "weighted")
    for code, first, right in (("deu_Latn", 1, lambda k: k % 2), ("tha_Thai", 2, lambda k: k % 3 == 0)):
        at = [k for k, line in enumerate(lines) if line >= first]
        aligned = found.only([code]).aligned[0, 3, at]
        answers = np.array([bool(right(lines[k])) for k in at])
        cells = [(aligned & answers).sum(), (aligned & ~answers).sum(), (~aligned & answers).sum()]
        assert table.loc[code, ["aligned_right", "aligned_wrong", "missed_right", "items"]].tolist() == [
            *cells,
            len(at),
        ]
    assert any("Scores without a language of the corpus: xx" in note for note in measure.notes)
    assert "3 items of lines that are not compared here left aside." in measure.notes
    assert ItemAlignment(plan, str(file)).run(store)["items"]["layer"] == found.score.mean(axis=0).argmax()
    for wrong, said in (({}, "data is missing"), ({"data": str(file), "layer": 8}, "layer")):
        with pytest.raises(ExperimentError, match=said):
            ItemAlignment(plan, **wrong)


def test_items_that_do_not_hold_the_sentences_are_said(three_languages, tmp_path):
    plan, _ = three_languages
    texts = plan.corpus.sentences("deu_Latn")
    file = tmp_path / "samples_xnli_de.jsonl"
    for order, said in ((texts, False), (texts[1:], True)):
        docs = zip([1, 2, 3, 5, 6, 7, 8], order, strict=False)
        of_logs = [json.dumps({"doc_id": line - 1, "doc": {"text": text}, "acc": 1}) for line, text in docs]
        file.write_text("\n".join(of_logs), "utf-8")
        notes = ItemAlignment(plan, str(file)).notes
        assert any(note.startswith("0 of 6 items hold the corpus's sentence") for note in notes) == said
    file.write_text('{"doc_id": 9000, "acc": 1}', "utf-8")
    with pytest.raises(ExperimentError, match=r"no item of .* is a compared sentence"):
        ItemAlignment(plan, str(file))


def test_the_command_line_says_what_is_wrong_in_one_line(tmp_path, capsys):
    base = ["measure", "item_alignment", "--model", "demo", "--corpus", "demo", "--pivot", "eng_Latn", "--languages"]
    absent = ["deu_Latn", "--cache-dir", str(tmp_path), "--data", str(tmp_path / "absent.csv")]
    assert main([*base, *absent]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "There is no file or folder" in err
