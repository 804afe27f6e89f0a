"""What is known of the bundled model: the share of its training messages that each language got."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

SHARES_FILE = Path(__file__).parent / "model" / "shares.csv"


@cache
def shares() -> dict[str, float]:
    """{language code: share of its messages that the bundled model was trained on, in [0, 1]}."""
    with SHARES_FILE.open(encoding="utf-8", newline="") as handle:
        return {row["language"]: float(row["share"]) for row in csv.DictReader(handle)}
