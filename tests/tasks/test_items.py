"""Right and wrong answers item by item: sample logs, tables, and what is neither."""

import json

import pytest

from neuronxa_core.errors import ScoresError
from neuronxa_core.tasks import items

DATE = "2026-01-02T03-04-05.678901"


def sample(doc_id, filter="none", doc=None, **metrics):
    return {"doc_id": doc_id, "doc": doc or {}, "filter": filter, "metrics": list(metrics), **metrics}


def log(folder, task, *samples, date=DATE):
    folder.mkdir(exist_ok=True)
    file = folder / f"samples_{task}_{date}.jsonl"
    file.write_text("".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in samples), "utf-8")
    return file


def test_sample_logs_of_a_folder(tmp_path):
    log(
        tmp_path / "model",
        "xnli_de",
        sample(0, acc=1.0, doc={"premise": " Ja\u0308. ", "label": 2}),
        sample(4, acc=0.0),
    )
    log(tmp_path / "model", "xnli_fr", sample(2, acc=True))
    log(tmp_path / "model", "xnli_fr", sample(2, acc=False), date="2026-01-01T00-00-00")
    log(tmp_path / "model", "other", sample(0, acc=1))
    found = items.read(tmp_path)
    assert found.correct == {"de": {1: True, 5: False}, "fr": {3: True}}
    assert found.texts["de"] == {1: {"Jä."}, 5: frozenset()}
    assert found.what == "xnli (acc)"
    assert found.notes == (
        "Of several logs of xnli_fr the latest is read.",
        "Left aside, as their names tell no language, or a subject: other.",
    )


def test_a_metric_and_a_filter_are_chosen(tmp_path):
    answers = [sample(0, "strict", exact_match=0, f1=0.5), sample(0, "flexible", exact_match=1, f1=0.5)]
    file = log(tmp_path, "mgsm_de", *answers)
    first = items.read(file)
    assert (first.correct, first.what) == ({"de": {1: False}}, "mgsm (exact_match,strict)")
    assert first.notes == ("Answers under the filter strict are read, not those under flexible.",)
    assert items.read(file, "exact_match,flexible").correct == {"de": {1: True}}


def test_a_table(tmp_path):
    file = tmp_path / "items.tsv"
    file.write_text("Line\tlanguage\tcorrect\tmore\n1\tde\t1\tx\n2\tde\tFalse\t\n2\tfr\t0.0\t\n", "utf-8")
    found = items.read(file)
    assert (found.correct, found.what) == ({"de": {1: True, 2: False}, "fr": {2: False}}, "items.tsv")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "language,line\nde,1", "a.csv has no column correct; items need language, line, correct once"),
        ("a.csv", "language,Line,line,correct\nde,1,1,1", "has no column line"),
        ("a.csv", "language,line,correct\nde,0,1", "a.csv, row 1: line is '0'; it is the line of the corpus"),
        ("a.csv", "language,line,correct\nde,1.5,1", "line is '1.5'"),
        ("a.csv", f"language,line,correct\nde,{'9' * 5000},1", "it is the line of the corpus"),
        ("a.csv", "language,line,correct\nde,1,0.7", "correct is '0.7'; write 1 for a right answer"),
        ("a.csv", "language,line,correct\n,1,1", "the language is empty"),
        ("a.csv", "language,line,correct\nde,1,1\nde,1,0", "row 2: de has line 1 twice"),
        ("samples_xnli_de.jsonl", "{", "samples_xnli_de.jsonl, line 1 has no doc_id"),
        ("samples_xnli_de.jsonl", '{"doc_id": true, "acc": 1}', "has no doc_id"),
        ("samples_xnli_de.jsonl", '{"doc_id": 0, "metrics": ["f1"], "f1": 1}', "its metrics are f1"),
        ("samples_xnli_de.jsonl", '{"doc_id": 0, "acc": 0.4}', "acc is 0.4, neither 0 nor 1"),
        ("samples_xnli_de.jsonl", '{"doc_id": 0, "acc": [1]}', "neither 0 nor 1"),
        (
            "samples_xnli_de.jsonl",
            '{"doc_id": 0, "acc": 1}\n{"doc_id": 0, "acc": 1}',
            "line 2: doc_id 0 is there twice",
        ),
        ("samples_xnli_de.jsonl", "\n", "holds no item"),
        ("samples_piqa.jsonl", '{"doc_id": 0, "acc": 1}', "name no language: piqa"),
        ("xnli_de.jsonl", "{}", "xnli_de.jsonl is not named as the lm-evaluation-harness does"),
    ],
)
def test_what_is_wrong_is_one_sentence(name, text, said, tmp_path):
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(ScoresError) as error:
        items.read(tmp_path / name)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_folders_that_are_none(tmp_path):
    with pytest.raises(ScoresError, match="holds no sample logs"):
        items.read(tmp_path)
    with pytest.raises(ScoresError, match="There is no file or folder"):
        items.read(tmp_path / "absent")
    log(tmp_path, "xnli_de", sample(0, acc=1))
    log(tmp_path, "xcopa_it", sample(0, acc=1))
    with pytest.raises(ScoresError, match="are of several tasks, xcopa, xnli"):
        items.read(tmp_path)
    for task in ("xwinograd_jp", "xwinograd_ja"):
        log(tmp_path / "two", task, sample(0, acc=1))
    with pytest.raises(ScoresError, match="xwinograd_jp is the second log of xwinograd in ja"):
        items.read(tmp_path / "two")
