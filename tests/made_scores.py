"""Small score tables and harness results that tests read."""

import json

from neuronxa_core.tasks.score_files import from_measure, read_file

LONG = "model,task,metric,language,score\nm,xnli,acc,en,0.8\nm,xnli,acc,de,0.7\nm,xcopa,acc,de,0.6\n"


def read(text, name="scores.csv", **names):
    return read_file(name, text.encode() if isinstance(text, str) else text, **names)


def found(scores, **where):
    """{language: score} of a selection."""
    table = scores.select(**where).table
    return dict(zip(table["language"], table["score"], strict=True))


def note(scores, *words):
    """The one note that holds all words."""
    (hit,) = [note for note in scores.notes if all(word in note for word in words)]
    return hit


def harness(results, **more):
    return json.dumps({"results": results, "config": {"model": "hf", "model_args": "pretrained=a/b"}} | more).encode()


def measured(**scores):
    return from_measure("m", "t", "acc", {code: (score, None, None) for code, score in scores.items()}, "here")
