"""Words that messages and pages share."""

from collections.abc import Iterable

ALIGNED, MISSED, WRONG = MARKS = ("mutual nearest neighbours", "missed translation", "nearest wrong sentence")
"""What a cell of a similarity matrix is marked as, in a measure's table and in the chart's legend."""
PARALLEL_KINDS = ("translations", "mismatched sentences", "translations − mismatched")
"""What the overlap of sentences' active neurons is taken over, in a measure's table and in the chart's legend."""


def counted(count: int, one: str, many: str = "") -> str:
    """A number of things: `1 language`, `1,024 languages`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def some_of(names: Iterable[str], most: int = 12, separator: str = ", ") -> str:
    """The first names, and how many more there are."""
    names = list(names)
    shown = separator.join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def duration(seconds: float) -> str:
    """A time as a person says it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(amount: float) -> str:
    """Bytes as a person says them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if amount >= 100 or unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
