"""Pairs that each have their own pivot sentences: scores per pair, and one sentence where pairs do not do."""

import numpy as np
import pandas as pd
import pytest

from neuronxa_core.cli.main import main
from neuronxa_core.corpora import reading
from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import alignment, alignment_tables, registry, task_correlation, task_tables
from neuronxa_core.states import computing, extraction, planning, stored
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

# lines of the bundled corpus in each pair; 7 and 8 are in the same order in none
LINES = {"deu_Latn": [7, 2, 9, 4, 8], "spa_Latn": [8, 7, 1], "hin_Deva": [0, 8, 3, 7, 6, 5]}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """(plan, store, folder), with all states."""
    folder, texts = tmp_path_factory.mktemp("pairs"), reading.read("demo").texts
    for code, lines in LINES.items():
        for side in ("eng_Latn", code):
            name = f"made.eng_Latn-{code}.{side}"
            (folder / name).write_text("".join(f"{texts[side][line]}\n" for line in lines), "utf-8")
    store = Store(tmp_path_factory.mktemp("store"))
    plan = planning.make_plan(Experiment(corpus=str(folder)), store)
    computing.compute_missing(plan, store, ModelPool())
    yield plan, store, folder
    store.close()


def plain_score(x, y):
    """The share of sentences whose own translation is strictly nearest both ways, from all cosines."""
    x, y = (rows / np.sqrt((rows**2).sum(axis=1, keepdims=True)) for rows in (x, y))
    cosines, hits = x @ y.T, 0
    for k in range(len(x)):
        rivals = [*np.delete(cosines[k], k), *np.delete(cosines[:, k], k)]
        hits += all(cosines[k, k] - rival > 1e-12 for rival in rivals)
    return hits / len(x)


def test_scores_are_those_of_a_plain_computation_pair_by_pair(pairs):
    plan, store, _ = pairs
    assert len(plan.rows("eng_Latn")) == len({line for lines in LINES.values() for line in lines})
    found, demo = alignment.align(plan, store, "nav", "weighted"), reading.read("demo").texts
    with ModelPool().acquire(plan) as loaded:
        for k, code in enumerate(plan.languages):
            x, y = (
                extraction.extract(loaded, side, [demo[side][line] for line in LINES[code]]).arrays["nav_weighted"]
                for side in ("eng_Latn", code)
            )
            plain = [plain_score(a.astype(float), b.astype(float)) for a, b in zip(x, y, strict=True)]
            assert found.score[k].tolist() == plain
    assert found.counts.tolist() == [5, 6, 3] == [len(LINES[code]) for code in plan.languages]
    assert (found.own_sentences, found.n_sentences) == (True, 3)
    # the tables of a language are those of its pair alone
    ranking = alignment_tables.ranking_table(found, "mean")
    for k, code in enumerate(plan.languages):
        alone = alignment.align(planning.restrict(plan, [code]), store, "nav", "weighted")
        assert not alone.own_sentences
        pd.testing.assert_frame_equal(
            ranking.iloc[[k]].reset_index(drop=True), alignment_tables.ranking_table(alone, "mean")
        )
        curve = alignment_tables.curve_table(found, [code])
        pd.testing.assert_frame_equal(curve, alignment_tables.curve_table(alone, [code]))
    # chance of 3, 5 and 6 sentences is 1/5, 1/9 and 1/11
    low = pd.DataFrame({"low": [0.12, 0.1, 0.19], "chance": 0.0})
    assert alignment_tables.above_chance(found, low) == 2


def test_sentences_of_a_pair_are_those_of_its_file_in_its_order(pairs):
    plan, store, folder = pairs
    shown = alignment_tables.sentence_pairs(plan, store, "eng_Latn", "spa_Latn", "nas", "weighted", 2).table()
    for code in ("eng_Latn", "spa_Latn"):
        assert shown[code].tolist() == (folder / f"made.eng_Latn-spa_Latn.{code}").read_text("utf-8").splitlines()
    assert shown["line"].tolist() == [1, 2, 3]
    with stored.StatesReader(plan, store) as reader:
        assert [len(reader.tokens(code)) for code in plan.all_languages] == [10, 5, 6, 3]


def test_the_command_line_says_each_languages_own_number(pairs, capsys, tmp_path):
    _, store, folder = pairs
    common = ["--model", "demo", "--corpus", str(folder), "--pivot", "eng_Latn", "--cache-dir", str(store.folder)]
    assert main(["score", *common]) == 0
    said = capsys.readouterr()
    (tmp_path / "scores.csv").write_text(said.out)
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table.groupby("language")["n_sentences"].unique().map(list).to_dict() == {c: [len(LINES[c])] for c in LINES}
    assert "from 3 to 6 sentences" in said.err
    for name in ("retrieval", "alignment"):
        assert main(["measure", name, *common]) == 0
        (tmp_path / "own.csv").write_text(capsys.readouterr().out)
        own = pd.read_csv(tmp_path / "own.csv").groupby("language")["n_sentences"].unique()
        assert own.map(list).to_dict() == {code: [len(lines)] for code, lines in LINES.items()}
    assert main(["score", *common, "--no-keep", "--cache-dir", str(tmp_path / "cache")]) == 0
    assert capsys.readouterr().out == said.out
    assert main(["measure", "all_pairs", *common]) == 2
    assert "The measure all pairs needs the same sentences in all languages" in capsys.readouterr().err
    assert main(["score", *common, "--pairs", "all"]) == 2
    assert "--pairs all needs the same sentences in all languages" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(registry.MEASURES))
def test_measures_that_need_one_set_of_sentences_say_so(pairs, name):
    plan, *_ = pairs
    kind = registry.find(name)
    if not (kind.needs_corpus and kind.needs_shared):
        return
    with pytest.raises(ExperimentError, match="needs the same sentences in all languages, and each pair"):
        kind(plan)


def test_what_reads_states_of_several_languages_says_so_too(pairs):
    plan, store, _ = pairs
    points = task_correlation.points(plan, dict.fromkeys(LINES, 0.5))
    for work in (
        lambda: alignment.pair_alignment(plan, store, "deu_Latn", "spa_Latn", "nas", "weighted"),
        lambda: task_tables.by_sentences(plan, store, "nas", "weighted", "mean", points),
        lambda: plan.positions,
    ):
        with pytest.raises(ExperimentError, match="needs the same sentences in all languages"):
            work()
    assert np.isfinite(alignment.pair_alignment(plan, store, "spa_Latn", "eng_Latn", "nas", "weighted").score).all()
