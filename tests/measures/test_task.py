"""Tasks: matched from a table, measured here, and the same task of another model."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from neuronxa_core.errors import ScoresError
from neuronxa_core.measures import task
from neuronxa_core.tasks import score_files

PLAN = SimpleNamespace(
    pivot="eng_Latn",
    all_languages=("eng_Latn", "spa_Latn", "deu_Latn"),
    languages=("spa_Latn", "deu_Latn"),
    source=SimpleNamespace(name="m"),
)
TABLE = score_files.read_file(
    "t.csv",
    b"model,task,metric,language,score,n\nm,xnli,acc,es,0.7,100\nm,xnli,acc,en,0.9,\nm,lm,word_perplexity,de,20,\n"
    b"other,xnli,acc,de,0.4,\nother,xnli,acc,sw,0.1,\n",
)


def test_a_task_of_a_table_is_matched_with_the_languages_of_a_plan():
    xnli = task.matched(PLAN, TABLE, "m", "xnli", "acc")
    assert xnli.scores == {"eng_Latn": 0.9, "spa_Latn": 0.7}
    assert xnli.n["spa_Latn"] == 100
    assert (xnli.title, xnli.sign, xnli.is_share, xnli.source) == ("xnli (acc)", 1, True, "t.csv")
    assert any("deu_Latn" in sentence or "German" in sentence for sentence in xnli.unmatched)
    perplexity = task.matched(PLAN, TABLE, "m", "lm", "word_perplexity")
    assert (perplexity.sign, perplexity.is_share) == (-1, False)
    assert [one.title for one in task.all_tasks(PLAN, TABLE, "m")] == ["xnli (acc)", "lm (word_perplexity)"]
    with pytest.raises(ScoresError):
        task.matched(PLAN, TABLE, "m", "xnli", "f1")
    assert xnli.of_another_model(PLAN) == ""
    other = task.matched(PLAN, TABLE, "other", "xnli", "acc")
    assert other.of_another_model(PLAN).startswith("These are scores of other; the alignment is that of m.")


def test_another_models_scores_are_those_of_the_same_table_or_measure(store):
    xnli = task.matched(PLAN, TABLE, "m", "xnli", "acc")
    other, unknown = (replace_name(name) for name in ("lab/other", "nobody"))
    assert xnli.of_model(other, store) == {"deu_Latn": 0.4}
    assert xnli.of_model(unknown, store) == {}
    assert task.matched(PLAN, TABLE, "m", "lm", "word_perplexity").of_model(other, store) == {}
    assert replace(xnli, table=None).of_model(other, store) == {}


def replace_name(name):
    return SimpleNamespace(**{**vars(PLAN), "source": SimpleNamespace(name=name)})


def test_the_published_task_at_first_is_that_of_most_languages():
    model, name, metric = task.best_covered(PLAN.all_languages, "eng_Latn")
    count = len(task.matched(PLAN, task.published(), model, name, metric).scores)
    assert count == max(len(one.scores) for one in task.all_tasks(PLAN, task.published(), model)) == 3
