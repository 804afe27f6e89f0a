"""What is known of the bundled model: the share of its training messages that each language got."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

SHARES_FILE = Path(__file__).parent / "model" / "shares.csv"


@cache
def shares() -> dict[str, float]:
    """{language code: share of its messages that the bundled model was trained on, in [0, 1]}."""
    with SHARES_FILE.open(encoding="utf-8", newline="") as handle:
        return {row["language"]: float(row["share"]) for row in csv.DictReader(handle)}


def with_shares(table: pd.DataFrame) -> pd.DataFrame:
    """The table, which has a column `language`, with a column `training_share`; NaN where it is not known."""
    return table.assign(training_share=[shares().get(code, np.nan) for code in table["language"]])
