"""What the columns of a table of scores are, by their headings and cells."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Any

import pandas as pd

from neuronxa_core.tasks.cells import MISSING, is_number
from neuronxa_core.tasks.language_names import AGGREGATES, code_of

# what a heading says in lower case, in order of preference where a table has several
HEADINGS: dict[str, tuple[str, ...]] = {
    "language": ("language code", "lang code", "iso code", "iso", "code", "language", "lang", "languages", "locale"),
    "model": ("model", "model name", "model id", "models", "checkpoint", "system"),
    "task": ("task", "task name", "tasks", "benchmark", "dataset", "benchmark name", "dataset name"),
    "metric": ("metric", "metric name", "metrics", "measure"),
    "score": ("score", "value", "accuracy", "acc", "scores", "result", "performance", "acc norm", "exact match", "f1"),
    "stderr": ("stderr", "std err", "standard error", "se", "sem", "std error", "acc stderr", "score stderr"),
    "n": ("n", "n samples", "samples", "num samples", "examples", "n examples", "count", "size"),
    "source": ("source", "url", "reference"),
}
GENERAL_SCORES = ("score", "value", "scores", "result", "performance")
SCORES_OF_PAIRS = ("rankc", "consistency", *HEADINGS["score"])
MODEL_NAME = re.compile(
    r"/|\d[bm]\b|llama|qwen|mistral|gemma|bloom|glm|olmo|gpt|bert|xlm|mt[05]-|opt-|falcon|deepseek", re.IGNORECASE
)


def roles_of(frame: pd.DataFrame) -> dict[str, str]:
    """{role: heading} by the headings, checked against the cells; the column of languages also by its cells alone."""
    checks = {
        "language": lambda heading: "lang" in heading.lower() or share_of(frame[heading], code_of) > 0.5,
        "score": lambda heading: holds_scores(frame, heading),
        "stderr": lambda heading: share_of(frame[heading], is_number) > 0.5,
        "n": lambda heading: share_of(frame[heading], is_number) > 0.5,
    }
    words = {words_of(heading): heading for heading in reversed(list(frame))}
    roles: dict[str, str] = {}
    for role, known in HEADINGS.items():
        heading = next((words[w] for w in known if w in words and checks.get(role, bool)(words[w])), None)
        if heading is not None:
            roles[role] = heading
    if "language" not in roles:
        free = [heading for heading in frame if heading not in roles.values()]
        found = next((heading for heading in free if share_of(frame[heading], code_of) > 0.5), None)
        if found is not None:
            roles["language"] = found
    return roles


def words_of(heading: str) -> str:
    """A heading in lower case, its words with single spaces between, what is in brackets aside."""
    bare = re.sub(r"\([^()]*\)|%", "", str(heading).lower())
    return " ".join(re.split(r"[\s_-]+", bare.strip()))


def share_of(cells: Iterable[Any], is_one: Any) -> float:
    """Share of the first thousand cells with something in them for which `is_one` holds; 0 where there are none."""
    filled = (str(cell) for cell in cells if str(cell).strip().lower() not in MISSING)
    sample = list(itertools.islice(filled, 1000))
    return sum(bool(is_one(cell)) for cell in sample) / len(sample) if sample else 0.0


def holds_scores(frame: pd.DataFrame, heading: str) -> bool:
    """Whether a column is of numbers that are neither spreads nor averages, by its heading."""
    is_spread = re.search(r"std|err|\bci\b", heading, re.IGNORECASE) is not None
    is_average = not AGGREGATES.isdisjoint(re.split(r"\W+", heading.lower()))
    return not is_spread and not is_average and share_of(frame[heading], is_number) > 0.5
