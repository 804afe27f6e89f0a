"""The bundled scores: complete, sourced, and as published."""

import csv
import math

import pytest

from neuronxa_core.corpora import languages
from neuronxa_core.tasks.matching import join
from neuronxa_core.tasks.score_files import FACTS, published
from neuronxa_core.tasks.task_scores import COLUMNS

FILES = sorted(FACTS.glob("*.csv"))


@pytest.fixture(scope="module")
def scores():
    return published()


def rows(file):
    with file.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_tables_are_there():
    assert {file.name for file in FILES} == {file.name for file in FACTS.iterdir()}
    assert len(FILES) == 9


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_every_row_is_complete_and_sourced(file):
    table = rows(file)
    assert tuple(table[0]) == COLUMNS
    keys = [(row["model"], row["task"], row["metric"], row["language"]) for row in table]
    assert len(set(keys)) == len(keys)
    for row in table:
        assert all(row[column] == row[column].strip() != "" for column in (*COLUMNS[:5], "source"))
        assert row["source"].startswith(("https://github.com/", "https://huggingface.co/"))
        assert languages.is_language_code(row["language"])
        assert languages.name(row["language"]) != row["language"]
        assert 0 < float(row["score"]) < 100


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_table_has_one_unit(file):
    scores = [float(row["score"]) for row in rows(file)]
    assert max(scores) < 1 or min(scores) > 1


def test_nothing_is_left_aside(scores):
    assert len(scores) == sum(len(rows(file)) for file in FILES)
    assert all(note.startswith("Percentages in ") for note in scores.notes)
    assert scores.table["score"].between(0.1, 0.95).all()


def test_a_group_has_languages_to_correlate(scores):
    assert (scores.groups["languages"] >= 6).all()


def test_standard_errors_are_those_of_a_share_of_n(scores):
    table = scores.table.dropna(subset=["stderr", "n"])
    assert len(table) == 449
    expected = (table["score"] * (1 - table["score"]) / (table["n"] - 1)) ** 0.5
    half_a_digit = 0.00005
    assert ((table["stderr"] - expected).abs() <= 1.02 * half_a_digit).all()


def test_scores_are_whole_numbers_of_items():
    """A published percentage is a count over n, to its last decimal: a wrong digit or n would show here."""
    for file in FILES:
        for row in rows(file):
            if row["n"]:
                n, score = int(row["n"]), float(row["score"])
                share = score if score < 1 else score / 100
                half_a_digit = 0.5 * 10.0 ** -len(row["score"].partition(".")[2]) / (1 if score < 1 else 100)
                assert abs(round(share * n) / n - share) <= half_a_digit * 1.001 + 1e-12, row


@pytest.mark.parametrize(
    ("model", "task", "language", "score"),
    [
        ("FacebookAI/xlm-roberta-base", "xnli", "swh", 0.652),
        ("bert-base-multilingual-cased", "xnli", "tha", 0.558),
        ("FacebookAI/xlm-roberta-base", "xnli_dev", "eng", 0.858),
        ("facebook/xlm-roberta-xxl", "xnli_translate_train_all", "urd", 0.806),
        ("microsoft/mdeberta-v3-base", "xnli_dev", "urd", 0.724),
        ("bigscience/bloom-560m", "xcopa_0-shot", "vie", 0.61),
        ("bigscience/bloom-7b1", "xstory_cloze_0-shot", "eng", 0.7075),
        ("llama-30B", "pawsx_0-shot", "kor", 0.457),
        ("facebook/xglm-7.5B", "xwinograd_0-shot", "jpn", 0.6496),
        ("meta-llama/Llama-3.1-8B-Instruct", "mmlu_5-shot", "hin", 0.5088),
        ("meta-llama/Llama-3.2-1B-Instruct", "mmlu_5-shot", "por", 0.3982),
        ("google/gemma-2b", "arc_challenge", "cat", 0.3516),
        ("Mathoctopus/Parallel_7B", "mgsm", "swh", 0.392),
        ("microsoft/Multilingual-MiniLM-L12-H384", "mlqa", "hin", 0.585),
        ("llama-7B", "hellaswag", "deu", 0.39427900523001386),
    ],
)
def test_a_figure_as_published(scores, model, task, language, score):
    table = scores.select(model=model, task=task).table
    hits = table[(table["language"] == language) & (table["metric"] != "acc_norm")]
    assert hits["score"].item() == pytest.approx(score, abs=1e-12)


def test_a_published_table_meets_a_flores_corpus(scores):
    one = scores.select(model="FacebookAI/xlm-roberta-base", task="xnli", metric="accuracy")
    codes = "eng_Latn fra_Latn deu_Latn swh_Latn arb_Arab zho_Hans tha_Thai urd_Arab"
    joined = join(one, codes.split(), pivot="eng_Latn")
    assert list(joined.pairs.index) == codes.split()
    assert joined.pivot_score == pytest.approx(0.846)
    assert joined.ambiguous == {}
    assert len(joined.unmatched_scores) == 7
    assert not math.isnan(joined.pairs["score"].sum())
