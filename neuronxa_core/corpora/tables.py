"""Tables of parallel sentences (CSV, TSV, Parquet): a column per language, or FLORES+'s row per sentence."""

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from neuronxa_core.corpora import languages, parquet
from neuronxa_core.corpora.parallel import Columns
from neuronxa_core.corpora.texts import check_lines, decode, suffix
from neuronxa_core.errors import CorpusError
from neuronxa_core.host import limits
from neuronxa_core.wording import some_of

FLORES_PLUS_COLUMNS = ("iso_639_3", "iso_15924", "text", "id")
LABEL_COLUMNS = frozenset({"label", "labels"})
CODES_THAT_OFTEN_HEAD_NO_TEXT = frozenset({"doc", "id", "idx", "key", "pid", "ref", "row", "set", "sid", "tag", "url"})


def read_table(file_name: str, data: bytes) -> Columns:
    """The languages of a table file. Raises CorpusError for what is no table, too large, or lacks two languages."""
    if not data.strip():
        raise CorpusError(f"{file_name} is empty")
    headings, table = (_read_parquet if suffix(file_name) == "parquet" else _read_csv)(file_name, data)
    return columns_of_table(file_name, table, headings)


def _read_csv(file_name: str, data: bytes) -> tuple[list[str], dict[str, list[str]]]:
    is_tsv = suffix(file_name) in ("tsv", "tab", "txt")
    check_lines(file_name, data)
    text = decode(file_name, data).replace("\r\n", "\n")
    separator, quoting = ("\t", csv.QUOTE_NONE) if is_tsv else (",", csv.QUOTE_MINIMAL)
    try:
        # counted before the table is made: a few letters per column are enough to fill a memory with columns
        first = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting), [])
        _check_column_count(file_name, len(first))
        parquet.check_cells(file_name, text.count("\n") + 1, len(first))
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            quoting=quoting,
            header=None,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            lineterminator="\n",
        )
    except (csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise CorpusError(f"{file_name} cannot be read as a table: {str(error).strip()}") from error
    headings = [heading.strip() for heading in frame.iloc[0]]
    check_headings(file_name, headings)
    return headings, {heading: frame[position].tolist()[1:] for position, heading in enumerate(headings)}


def _read_parquet(file_name: str, data: bytes) -> tuple[list[str], dict[str, list[Any]]]:
    """Headings, and the columns that are wanted."""

    def choose(headings: Sequence[str]) -> list[str]:
        check_headings(file_name, headings)
        return headings_to_read(headings)

    headings, table = parquet.read(file_name, data, choose)
    if set(FLORES_PLUS_COLUMNS) <= set(table):
        for heading, cells in table.items():
            if any(isinstance(cell, parquet.NoText) for cell in cells):
                raise CorpusError(f"{file_name}, column {heading}: {cells[0]} is no text")
    return headings, table


def _check_column_count(where: str, count: int) -> None:
    if count > limits.CORPUS_COLUMNS:
        raise CorpusError(f"{where} has {count} columns; at most {limits.CORPUS_COLUMNS} are read")


def check_headings(where: str, headings: Sequence[str]) -> None:
    """Raise CorpusError for too many columns, and for two of one language or two of labels."""
    _check_column_count(where, len(headings))
    meanings = Counter(_code_of(heading) or heading.lower() for heading in headings if _is_wanted(heading))
    doubled = [meaning for meaning, count in meanings.items() if count > 1]
    if doubled:
        raise CorpusError(f"{where} has more than one column {some_of(doubled)}; name each column once")


def headings_to_read(headings: Sequence[str]) -> list[str]:
    """The headings of languages and labels, or FLORES+'s."""
    if set(FLORES_PLUS_COLUMNS) <= set(headings):
        return [heading for heading in headings if heading in (*FLORES_PLUS_COLUMNS, "variant", "glottocode")]
    return list(filter(_is_wanted, headings))


def _code_of(heading: str) -> str:
    """The language code in a column's name, "eng_Latn" or "sentence_eng_Latn"; empty where it is none."""
    code = heading.strip().removeprefix("sentence_")
    return code if languages.is_language_code(code) else ""


def _is_label(heading: str) -> bool:
    return heading.strip().lower() in LABEL_COLUMNS


def _is_wanted(heading: str) -> bool:
    return bool(_code_of(heading)) or _is_label(heading)


def columns_of_table(where: str, table: Mapping[str, Sequence[Any]], headings: Sequence[str]) -> Columns:
    """The languages of a table that was read. Raises CorpusError where it has fewer than two, or no text."""
    if set(FLORES_PLUS_COLUMNS) <= set(table):
        table = _one_column_per_language(where, table)
        headings = list(table)
    texts: dict[str, list[str]] = {}
    problems: dict[str, str] = {}
    labels = None
    for heading, cells in table.items():
        code = _code_of(heading)
        if _is_label(heading):
            labels = [_text(cell) for cell in cells]
        elif code and not (code.lower() in CODES_THAT_OFTEN_HEAD_NO_TEXT and not _reads_as_text(cells)):
            odd_row = next((row for row, cell in enumerate(cells, 1) if not _is_text(cell)), None)
            if odd_row is None:
                texts[code] = [_text(cell) for cell in cells]
            else:
                odd_cell = repr(cells[odd_row - 1])
                problems[code] = f"{where}, column {heading}, row {odd_row}: {odd_cell:.40} is no text"
    languages_there = {*texts, *problems}
    if len(languages_there) < 2:
        raise CorpusError(
            f"{where} has {len(languages_there)} language columns, at least 2 are needed; its columns are "
            f"{some_of(headings)}; name a column by its language, such as eng_Latn"
        )
    n_rows = max((row for cells in texts.values() for row, cell in enumerate(cells, 1) if cell.strip()), default=0)
    if texts and not n_rows:
        raise CorpusError(f"{where} has headings but no text")
    ignored = [heading for heading in headings if not _is_label(heading) and _code_of(heading) not in languages_there]
    return Columns(
        texts={code: cells[:n_rows] for code, cells in texts.items()},
        problems=problems,
        labels=labels[:n_rows] if labels is not None else None,
        notes=(f"Columns left aside, since they name no language: {some_of(ignored)}.",) if ignored else (),
    )


def _one_column_per_language(where: str, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    """FLORES+ form, one row per language and sentence, to one column per language, "" where a sentence is missing.

    Two varieties of a language in one script are told apart by their variant, or else by their glottocode.
    """
    ids, nothing = rows["id"], [""] * len(rows["id"])
    parts = zip(rows["iso_639_3"], rows["iso_15924"], rows.get("variant", nothing), strict=True)
    codes = [f"{language}_{script}" + (f"_{variant}" if variant else "") for language, script, variant in parts]
    doubled = {code for (code, _), count in Counter(zip(codes, ids, strict=True)).items() if count > 1}
    columns: dict[str, dict[Any, str]] = {}
    for code, glottocode, at, text in zip(codes, rows.get("glottocode", nothing), ids, rows["text"], strict=True):
        code = f"{code}_{glottocode}" if code in doubled and glottocode else code
        if at in columns.setdefault(code, {}):
            raise CorpusError(f"{where} holds sentence {at} of {code} twice; choose a config with one variety")
        columns[code][at] = text
    return {code: [column.get(at, "") for at in dict.fromkeys(ids)] for code, column in columns.items()}


def _is_text(cell: Any) -> bool:
    return cell is None or cell != cell or (isinstance(cell, str) and "\0" not in cell)


def _text(cell: Any) -> str:
    return "" if cell is None or cell != cell else str(cell)


def _reads_as_text(cells: Sequence[Any]) -> bool:
    """A column headed "id" is Indonesian, not an identifier, where most cells are words with spaces between."""
    spoken = [bool(re.search(r"[^\W\d_]\s+[^\W\d_]", _text(cell))) for cell in cells if _text(cell).strip()]
    return 2 * sum(spoken) > len(spoken)
