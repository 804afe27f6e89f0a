"""What is known of languages: script, family, share in training, and the columns of a table of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.errors import ScoresError
from neuronxa_core.tasks import cells, matching
from neuronxa_core.tasks.headings import share_of
from neuronxa_core.tasks.language_names import code_of

# languages of XLM-R's training data and millions of tokens (Conneau et al., ACL 2020, table 6; Burmese without Zawgyi),
# as github.com/mayhewsw/multilingual-data-stats transcribes them, which corrects Swedish and Ukrainian
XLMR_FILE = Path(__file__).with_name("xlmr_training.csv")
HEAD, LONG_TAIL = "head", "long tail"
HEAD_COLUMN, TOKENS_COLUMN, SHARE_COLUMN = "head or long tail", "ln tokens in XLM-R's training", "training share"
MOST_GROUPS = 8


def read(name: str, data: bytes) -> pd.DataFrame:
    """A table of one's own: a column `language` and any others, numbers as numbers; empty cells are unknown.

    The first column that is mostly codes or names of languages is theirs. Raises ScoresError where there is none, where
    nothing else is there, and where a language is there twice.
    """
    frame = cells.read_frame(name, data)
    own = next((heading for heading in frame if share_of(frame[heading], code_of) > 0.5), None)
    if own is None or frame.shape[1] < 2:
        raise ScoresError(f"{name} needs a column of language codes and at least one more, such as code,training_share")
    frame = frame.rename(columns={own: "language"})
    frame = frame[frame["language"] != ""].replace("", np.nan)
    twice = frame["language"][frame["language"].duplicated()].tolist()
    if twice:
        raise ScoresError(f"{name} has {twice[0]} more than once; leave one row of each language")
    for heading in frame.columns.drop("language"):
        numbers = pd.to_numeric(frame[heading], errors="coerce")
        if (numbers.notna() == frame[heading].notna()).all():
            frame[heading] = numbers
    return frame.reset_index(drop=True)


def matched(frame: pd.DataFrame, codes: Sequence[str]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """(the table's other columns by code of the corpus, what could not be matched in sentences).

    A language that the table does not have is a row of NaN.
    """
    table = pd.DataFrame({"language": frame["language"], "score": 0.0, "row": range(len(frame))})
    joined = matching.join(table, codes, pivot=codes[0])
    rows = joined.pairs["row"].reindex(list(codes))
    found = frame.drop(columns="language").reindex(rows.fillna(-1).astype(int)).set_axis(list(codes))
    return found, joined.notes


@cache
def _xlmr() -> pd.Series:
    return pd.read_csv(XLMR_FILE, index_col="language")["tokens"].astype(float)


@cache
def _tokens(code: str) -> float:
    """Millions of tokens of a language in XLM-R's training data; NaN where it has none."""
    found = languages.matches(code, tuple(_xlmr().index))
    return float(_xlmr()[found[0]]) if found else np.nan


def head(codes: Sequence[str]) -> list[str]:
    """`head` for each language of XLM-R's training data, `long tail` for the others."""
    return [LONG_TAIL if np.isnan(_tokens(code)) else HEAD for code in codes]


def known(codes: Sequence[str], shares: Mapping[str, float], own: pd.DataFrame | None = None) -> pd.DataFrame:
    """What is known of languages, a row each, indexed by code.

    shares: of the model's training text, where known. own: a table of `read`; its columns come last, and replace those
    of the same name. Columns: script, family, head or long tail, ln tokens in XLM-R's training, training share.
    """
    codes = list(codes)
    found = pd.DataFrame({"script": map(script_of, codes), "family": map(languages.family, codes)}, index=codes)
    found[HEAD_COLUMN] = head(codes)
    found[TOKENS_COLUMN] = np.log([_tokens(code) for code in codes])
    if shares:
        found[SHARE_COLUMN] = [shares.get(code, np.nan) for code in codes]
    for column, values in matched(own, codes)[0].items() if own is not None else ():
        found[column] = values
    return found


def script_of(code: str) -> str:
    """The name of a language's script; both forms of Chinese characters are Han."""
    script = languages.script(code)
    name = languages.script_name(script) if script else "unknown"
    return f"Han ({name.lower()})" if script in ("Hans", "Hant") else name


def groups(values: pd.Series) -> list[str]:
    """What each language is grouped by, from a column of `known`: its value, or its quarter where numbers are many."""
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > MOST_GROUPS:
        quarters = pd.qcut(values, 4, duplicates="drop", precision=2)
        return ["unknown" if pd.isna(one) else f"{one.left:g} to {one.right:g}" for one in quarters]
    shown = [f"{one:g}" if isinstance(one, int | float) else str(one) for one in values]
    return ["unknown" if pd.isna(one) else text for one, text in zip(values, shown, strict=True)]
