"""Unicode's scripts by their ISO 15924 codes: which letters are written in one, and which way it runs."""

import unicodedata
from functools import lru_cache

import regex

# codes that Unicode does not have as scripts of their own: those they are written in
WRITTEN_IN = {
    "Aran": ("Arab",),
    "Cyrs": ("Cyrl",),
    "Geok": ("Geor",),
    "Hang": ("Hang", "Hani"),
    "Hans": ("Hani", "Bopo"),
    "Hant": ("Hani", "Bopo"),
    "Jpan": ("Hira", "Kana", "Hani"),
    "Kore": ("Hang", "Hani"),
    "Latf": ("Latn",),
    "Latg": ("Latn",),
}
# common to all scripts, inherited from the letter before, unknown
NO_SCRIPT = ("Zyyy", "Zinh", "Zzzz")


@lru_cache(maxsize=512)
def letters(script: str) -> tuple[regex.Pattern, regex.Pattern] | None:
    """What finds a script's own letters, and those of other scripts; None for a code that is no script of Unicode."""
    own = "".join(rf"\p{{scx={one}}}" for one in WRITTEN_IN.get(script, (script,)))
    try:
        mine = regex.compile(rf"[\p{{L}}&&[{own}]]", regex.V1)
    except regex.error:
        return None
    others = regex.compile(rf"[\p{{L}}--[{own}\p{{Zyyy}}\p{{Zinh}}]]", regex.V1)
    return None if script in NO_SCRIPT else (mine, others)


@lru_cache(maxsize=512)
def is_rtl(script: str) -> bool:
    """Whether a script runs from right to left."""
    found = letters(script)
    return found is not None and found[0].search(_rtl_letters()) is not None


@lru_cache(maxsize=1)
def _rtl_letters() -> str:
    """All letters of right-to-left scripts, which lie between Hebrew and the end of plane 1's second part."""
    return "".join(c for c in map(chr, range(0x590, 0x1F000)) if unicodedata.bidirectional(c) in ("R", "AL"))
