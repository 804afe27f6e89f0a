"""What a language code says: its English name, its script, its family, and which other codes mean the same language.

Codes come in many forms (eng_Latn, eng, en, zh_CN, zh-Hans, deu_1996); every function here takes any of them. Names and
likely scripts are CLDR's, through langcodes; families are those of `languages.csv` beside this module.
"""

import csv
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from langcodes import Language, LanguageTagError, standardize_tag
from langcodes.data_dicts import LIKELY_SUBTAGS

from neuronxa_core.corpora import scripts

NAMES_OF_FLORES = {"ben": "Bengali", "luo": "Luo", "tgl": "Tagalog"}
SCRIPT_NAMES = {"Beng": "Bengali"}
SAME_SCRIPT = {"Aran": "Arab", "Hang": "Kore", "Hani": "Hans", "Latf": "Latn", "Latg": "Latn"}
MACRO_OF_FLORES = {"ayr": "aym", "dik": "din", "fuv": "ful", "nob": "nor", "pbt": "pus", "quy": "que"}
# CLDR names the Cypriot syllabary
LIKELY_SCRIPTS = {"grc": "Grek"}
NO_LANGUAGE = frozenset({"mis", "mul", "und", "zxx"})

_CODE = re.compile(
    r"(?P<language>[a-z]{2,3})"
    r"(?:[-_](?P<script>[a-z]{4}))?"
    r"(?:[-_](?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<variants>(?:[-_](?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*)",
    re.IGNORECASE | re.ASCII,
)
_REMARK = re.compile(r" \([^)]*(?:language|macrolanguage)\)$")


@lru_cache(maxsize=8192)
def name(code: str) -> str:
    """English name: "swh_Latn" -> "Swahili", "zho_Hans" -> "Chinese (Simplified)", "pt_BR" -> "Portuguese (Brazil)".

    A script is named where it is not the one expected of the language (the likely one, or Latin where none is known),
    so that two codes of one language in two scripts have two names; Simplified and Traditional are always named.
    Variants are named as they are written: "deu_1996" -> "German (1996)". An unknown code is returned as it is.
    """
    parts = _CODE.fullmatch(code)
    language_name = _language_name(parts["language"]) if parts and is_language_code(code) else None
    if not parts or language_name is None:
        return code
    remarks = []
    if parts["script"] and _is_worth_saying(parts["script"].title(), parts["language"], language_name):
        remarks.append(script_name(parts["script"]))
    if parts["region"]:
        territory = Language.make(territory=parts["region"].upper()).territory_name()
        remarks.append(parts["region"].upper() if territory.startswith("Unknown") else territory)
    remarks += re.split("[-_]", parts["variants"])[1:]
    return f"{language_name} ({', '.join(remarks)})" if remarks else language_name


@lru_cache(maxsize=8192)
def label(code: str) -> str:
    """Name and code together, as pages show a language: "Swahili (swh_Latn)"; only the code where it has no name."""
    english = name(code)
    return code if english == code else f"{english} ({code})"


@lru_cache(maxsize=8192)
def script(code: str) -> str | None:
    """ISO 15924 script of a code, four letters: the one it names, else the likely one; None where none is known."""
    parts = _CODE.fullmatch(code)
    if not parts:
        return None
    return parts["script"].title() if parts["script"] else _likely_script(parts["language"], parts["region"])


def names_script(code: str) -> bool:
    """Whether a code says its script, so that `script` is no guess from what is likely."""
    parts = _CODE.fullmatch(code)
    return bool(parts and parts["script"])


@lru_cache(maxsize=512)
def script_name(script_code: str) -> str:
    """English name of a four-letter script: "Deva" -> "Devanagari"; the code itself where it has none."""
    script_code = script_code.title()
    if script_code in SCRIPT_NAMES:
        return SCRIPT_NAMES[script_code]
    english = Language.make(script=script_code).script_name()
    return script_code if english.startswith("Unknown") else english


@lru_cache(maxsize=8192)
def is_rtl(code: str) -> bool:
    """True where the code's script runs from right to left."""
    return scripts.is_rtl(script(code) or "")


@lru_cache(maxsize=8192)
def family(code: str) -> str:
    """Language family, a large one by its branch: "Germanic", "Indo-Aryan", "Bantu" ...; "Other" where unknown."""
    parts = _CODE.fullmatch(code)
    if not parts:
        return "Other"
    subtag = parts["language"].lower()
    families = _families()
    return families.get(subtag) or families.get(_alpha3(subtag)) or "Other"


@lru_cache(maxsize=8192)
def is_language_code(text: str) -> bool:
    """True for a plausible code in any case: a known language of 2-3 letters with optional script, region, variants.

    An unknown language passes in FLORES form, three letters and a known script: "xyz_Latn".
    """
    parts = _CODE.fullmatch(text)
    if not parts or parts["language"].lower() in NO_LANGUAGE:
        return False
    if parts["script"] and not _is_known_script(parts["script"]):
        return False
    has_flores_form = bool(parts["script"]) and len(parts["language"]) == 3
    return has_flores_form or _language_name(parts["language"]) is not None


def matches(code: str, codes: Sequence[str]) -> tuple[str, ...]:
    """Those of `codes` that mean the language of `code`, by the strictest reading that finds any.

    The readings: the same text; the same but for case and separators; the same language ("deu" -> "deu_Latn"); the
    same where one of the two is the macrolanguage ("ar" -> "arb_Arab", "sw" -> "swh_Latn"). A script or region in
    `code` must fit, so "zh_TW" finds zho_Hant alone, while "zh" finds zho_Hans and zho_Hant. The order is that of
    `codes`; empty for no match.
    """
    if code in codes:
        return (code,)
    written_alike = tuple(other for other in codes if _plain(other) == _plain(code))
    if written_alike:
        return written_alike
    if not is_language_code(code):
        return ()
    wanted_language, wanted_macro, wanted_script = _identity(code)
    fitting = [other for other in codes if is_language_code(other) and _fits(wanted_script, _script_group(other))]
    same_language = tuple(other for other in fitting if _identity(other)[0] == wanted_language)
    if same_language:
        return same_language
    return tuple(
        other
        for other in fitting
        if _identity(other)[1] == wanted_macro and wanted_macro in (wanted_language, _identity(other)[0])
    )


def _plain(code: str) -> str:
    return code.strip().lower().replace("-", "_")


def _fits(wanted: str | None, found: str | None) -> bool:
    return wanted is None or found is None or wanted == found


@lru_cache(maxsize=8192)
def _identity(code: str) -> tuple[str, str, str | None]:
    """(ISO 639-3 code, ISO 639-3 code of its macrolanguage, script or None where the code asks for none)."""
    parts = _CODE.fullmatch(code)
    assert parts is not None
    subtag = parts["language"].lower()
    macro = Language.get(subtag).prefer_macrolanguage()
    macro3 = _to_alpha3(macro) or subtag
    asks_for_script = parts["script"] or parts["region"]
    return _alpha3(subtag), MACRO_OF_FLORES.get(macro3, macro3), _script_group(code) if asks_for_script else None


def _script_group(code: str) -> str | None:
    found = script(code)
    return SAME_SCRIPT.get(found, found) if found else None


@lru_cache(maxsize=8192)
def _language_name(subtag: str) -> str | None:
    subtag = subtag.lower()
    alpha3 = _alpha3(subtag)
    if alpha3 in NAMES_OF_FLORES:
        return NAMES_OF_FLORES[alpha3]
    for is_replaced_first in (False, True):
        english = Language.get(subtag, normalize=is_replaced_first).language_name()
        if not english.startswith("Unknown language"):
            return _REMARK.sub("", english)
    return None


def _is_worth_saying(explicit_script: str, subtag: str, language_name: str) -> bool:
    if explicit_script in ("Hans", "Hant"):
        return True
    expected_script = _likely_script(subtag, None) or "Latn"
    is_expected = SAME_SCRIPT.get(explicit_script, explicit_script) == SAME_SCRIPT.get(expected_script, expected_script)
    return not is_expected and script_name(explicit_script) not in language_name


def _likely_script(subtag: str, region: str | None) -> str | None:
    language = Language.get(subtag.lower())
    for known in (language.language, language.prefer_macrolanguage().language):
        if known in LIKELY_SCRIPTS:
            return LIKELY_SCRIPTS[known]
        if known in LIKELY_SUBTAGS:
            return Language.make(language=known, territory=region.upper() if region else None).maximize().script
    return None


def _is_known_script(script_code: str) -> bool:
    return Language.make(language="und", script=script_code.title()).is_valid()


def tag(code: str) -> str:
    """What HTML's `lang` takes for a code: `th` for tha_Thai, `arb-Arab` for arb_Arab; `und` for what is none."""
    try:
        return standardize_tag(code.replace("_", "-"))
    except LanguageTagError:
        return "und"


@lru_cache(maxsize=8192)
def _alpha3(subtag: str) -> str:
    """ISO 639-3 code of a two- or three-letter subtag: "en" and "eng" -> "eng", "ger" -> "deu", "prs" -> "prs"."""
    as_it_is = Language.get(subtag, normalize=False)
    is_known_as_it_is = not as_it_is.language_name().startswith("Unknown language")
    if subtag in _families() or (is_known_as_it_is and len(subtag) == 3):
        return subtag
    return _to_alpha3(as_it_is if is_known_as_it_is else Language.get(subtag)) or subtag


def _to_alpha3(language: Language) -> str | None:
    try:
        return language.to_alpha3()
    except (LookupError, LanguageTagError):
        return None


@lru_cache(maxsize=1)
def _families() -> dict[str, str]:
    with Path(__file__).with_name("languages.csv").open(encoding="utf-8", newline="") as table:
        return {row["code3"]: row["family"] for row in csv.DictReader(table)}
