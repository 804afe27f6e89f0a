"""Text that leaves the app in files: harmless to the spreadsheet that opens it."""

from __future__ import annotations

import re
from typing import TypeVar

import pandas as pd

# a cell that begins so is a formula to some spreadsheet; the last four are the full-width forms
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# where lists are separated by semicolons, a cell begins after one, whatever stands in quotes
LATER = re.compile(rf"(?<!^)([;\t\r\n] *)(?=[{re.escape(''.join(FORMULA))}])")
NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:e[+-]?\d+)?%?", re.IGNORECASE | re.ASCII)

Value = TypeVar("Value")


def harmless(value: Value) -> Value:
    """The value; a text that a spreadsheet would run gets an apostrophe before it, which shows it as text.

    Numbers, and text that is nothing but a number, stay as they are.
    """
    if not isinstance(value, str) or NUMBER.fullmatch(value):
        return value
    first = "'" if value.lstrip(" ").startswith(FORMULA) else ""
    return first + LATER.sub(r"\1'", value) if first or LATER.search(value) else value  # type: ignore[return-value]


def harmless_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `harmless` headings and cells; the same table where it holds no text."""
    of_text = [k for k in range(table.shape[1]) if not pd.api.types.is_numeric_dtype(table.dtypes.iloc[k])]
    if not of_text and all(harmless(heading) == heading for heading in table.columns):
        return table
    changed = table.copy()
    for k in of_text:
        cells = table.iloc[:, k]
        made = [harmless(cell) for cell in cells]
        if any(new is not old for new, old in zip(made, cells, strict=True)):
            changed.isetitem(k, pd.Series(made, index=table.index, dtype=cells.dtype))
    changed.columns = [harmless(heading) for heading in table.columns]
    return changed


def csv_text(table: pd.DataFrame) -> str:
    """The table as CSV, without its index, lines ended by LF; a spreadsheet runs nothing of it."""
    return harmless_table(table).to_csv(index=False, lineterminator="\n")


def file_name(text: str) -> str:
    """Text as a part of a file's name: letters, digits, dots, dashes and underscores, at most 80, not hidden."""
    return re.sub(r"[^\w.-]+", "_", text)[:80].lstrip(".") or "unnamed"
