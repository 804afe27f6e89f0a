"""Words that messages and pages share."""

from collections.abc import Iterable


def some_of(names: Iterable[str], most: int = 12, separator: str = ", ") -> str:
    """The first names, and how many more there are."""
    names = list(names)
    shown = separator.join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
