"""Files of BMLAMA (Qi et al., EMNLP 2023): prompts with a mask, their answers and candidates, a TSV per language."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from neuronxa_core.corpora.texts import stem
from neuronxa_core.errors import ScoresError
from neuronxa_core.host import limits
from neuronxa_core.tasks import cells

MASK = "<mask>"
PROMPT, ANSWERS, CANDIDATES = COLUMNS = ("Prompt", "Ans", "Candidate Ans")
SEPARATOR = ", "


@dataclass(frozen=True)
class Query:
    """A prompt with one mask, the candidates that may fill it in the file's order, and those that are right."""

    prompt: str
    answers: tuple[str, ...]
    candidates: tuple[str, ...]

    @property
    def filled(self) -> list[str]:
        """The prompt with each candidate in place of the mask."""
        return [self.prompt.replace(MASK, candidate) for candidate in self.candidates]


def read(path: Path) -> dict[str, tuple[Query, ...]]:
    """The queries of each language, by the name of its file: en.tsv is en; a folder's other files are none.

    Raises ScoresError for what cannot be read, is no such file, or where files are not parallel: query k of every
    language is the same with as many candidates, which keep one numbering over languages.
    """
    path = path.expanduser()
    try:
        files = sorted(path.glob("*.tsv")) if path.is_dir() else [path]
        if not files:
            raise ScoresError(f"{path} holds no .tsv file; give a folder with one per language, such as en.tsv")
        found = {stem(f.name): read_file(f.name, limits.first_bytes(f, limits.SCORES_FILE_BYTES)) for f in files}
    except OSError as error:
        raise ScoresError(f"{path} cannot be read: {error.strerror or error}") from error
    check_parallel(found)
    return found


def read_file(name: str, data: bytes) -> tuple[Query, ...]:
    """The queries of one language's file, a row each; cells may be quoted as CSV quotes them. Raises ScoresError."""
    cells.check_size(name, len(data))
    rows = csv.reader(io.StringIO(cells.decode_table(name, data).rstrip(), newline=""), "excel-tab")
    queries: list[Query] = []
    try:
        headings = next(rows, [])
        missing = [column for column in COLUMNS if headings.count(column) != 1]
        if missing:
            raise ScoresError(
                f"{name} has no column {' and no column '.join(missing)}; BMLAMA's files are tab-separated with the "
                f"columns {', '.join(COLUMNS)}"
            )
        places = [headings.index(column) for column in COLUMNS]
        for number, row in enumerate(rows, 2):
            where = f"{name}, line {number}"
            if rows.line_num != number:
                raise ScoresError(f"{where}: a quotation mark opens a cell and none closes it; mend the line")
            if len(row) <= max(places):
                raise ScoresError(f"{where}: {len(row)} cells where there are {len(headings)} columns; mend the line")
            queries.append(_query(where, *(row[place].strip() for place in places)))
    except csv.Error as error:
        raise ScoresError(f"{name}, line {rows.line_num}: {error}; export the file once more") from error
    if not queries:
        raise ScoresError(f"{name} has headings but no prompts; give a file with prompts")
    return tuple(queries)


def _query(where: str, prompt: str, answers: str, candidates: str) -> Query:
    if prompt.count(MASK) != 1:
        raise ScoresError(f"{where}: the prompt has {MASK} {prompt.count(MASK)} times; it must be there once")
    query = Query(prompt, tuple(answers.split(SEPARATOR)), tuple(candidates.split(SEPARATOR)))
    if "" in query.candidates:
        raise ScoresError(f"{where}: a candidate is empty; separate candidates by a comma and a space")
    strange = [answer for answer in query.answers if answer not in query.candidates]
    if strange:
        raise ScoresError(f"{where}: the answer {strange[0]!r:.80} is none of the candidates; add it to them")
    return query


def check_parallel(found: Mapping[str, tuple[Query, ...]]) -> None:
    """Raise ScoresError where languages differ in the number of queries, or of a query's candidates."""
    first, *others = found
    for other in others:
        if len(found[other]) != len(found[first]):
            raise ScoresError(
                f"{other} has {len(found[other])} prompts and {first} {len(found[first])}; the same prompts must be in "
                "the same lines of every language's file"
            )
        for number, (a, b) in enumerate(zip(found[first], found[other], strict=True), 2):
            if len(a.candidates) != len(b.candidates):
                raise ScoresError(
                    f"line {number} has {len(b.candidates)} candidates in {other} and {len(a.candidates)} in {first}; "
                    "the same candidates must be in the same order in every language's file"
                )
