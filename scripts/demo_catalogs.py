"""Parallel sentences from unpacked software packages: gettext catalogs and LibreOffice help pages.

A message is known by its English text; its translations are those of all packages. What is kept reads like a
sentence: four to forty words in English, mostly letters, at most one placeholder, no markup.
"""

from __future__ import annotations

import gettext
import html
import re
import struct
import unicodedata
from collections import defaultdict
from pathlib import Path

# FLORES-200 code -> the locale names that the packages use, the preferred first
LOCALES = {
    "deu_Latn": ["de"],
    "fra_Latn": ["fr"],
    "spa_Latn": ["es"],
    "ita_Latn": ["it"],
    "por_Latn": ["pt_BR", "pt-BR", "pt"],
    "rus_Cyrl": ["ru"],
    "ukr_Cyrl": ["uk"],
    "pol_Latn": ["pl"],
    "swe_Latn": ["sv"],
    "zho_Hans": ["zh_CN", "zh-CN"],
    "tur_Latn": ["tr"],
    "jpn_Jpan": ["ja"],
    "arb_Arab": ["ar"],
    "ind_Latn": ["id"],
    "vie_Latn": ["vi"],
    "hin_Deva": ["hi"],
    "fin_Latn": ["fi"],
    "kor_Hang": ["ko"],
    "heb_Hebr": ["he"],
}

PLACEHOLDER = re.compile(r"%(?:\d+\$)?[-+ #0]*\d*(?:\.\d+)?l*[a-zA-Z]|%\d+|\{[^}]*\}|\$\{?\w+\}?|@[A-Z_]+@")
TAG = re.compile(r"<[^<>]{1,200}>")
ACCELERATOR = re.compile(r"[&_](?=\w)")
EAST_ASIAN_ACCELERATOR = re.compile(r"\s*\([&_][A-Za-z0-9]\)")
HELP_BLOCK = re.compile(r'<(p|h\d)[^>]*\bid="((?:par|hd)_id\w+)"[^>]*>(.*?)</\1>', re.DOTALL)


def clean(text: str) -> str:
    """One message without accelerators and markup, NFC, single spaces."""
    text = EAST_ASIAN_ACCELERATOR.sub("", text)
    text = ACCELERATOR.sub("", text)
    text = html.unescape(TAG.sub(" ", text))
    return " ".join(unicodedata.normalize("NFC", text).split())


def is_sentence(text: str) -> bool:
    """Whether an English message reads like a sentence."""
    words = text.split()
    if not 4 <= len(words) <= 40 or len(PLACEHOLDER.findall(text)) > 1:
        return False
    letters = sum(c.isalpha() or c.isspace() for c in text)
    return letters / len(text) >= 0.85 and not re.search(r"[\\|=<>]|https?:|--", text)


def is_translation(text: str, english: str) -> bool:
    """Whether a message can be a translation of `english`: there, not the same, of a plausible length."""
    return bool(text) and text != english and 0.15 <= len(text) / len(english) <= 3 and len(text) <= 400


def read_catalogs(root: Path) -> dict[str, dict[str, str]]:
    """{english: {code: translation}} from every .mo file below `root`."""
    code_of = {locale: code for code, locales in LOCALES.items() for locale in locales}
    rank = {locale: k for locales in LOCALES.values() for k, locale in enumerate(locales)}
    found: dict[str, dict[str, str]] = defaultdict(dict)
    files = sorted(root.rglob("*.mo"), key=lambda p: (rank.get(p.parts[-3], 9), str(p)))
    for path in files:
        code = code_of.get(path.parts[-3])
        if code is None:
            continue
        try:
            with path.open("rb") as handle:
                catalog = gettext.GNUTranslations(handle)._catalog
        except (OSError, UnicodeDecodeError, struct.error) as error:
            print(f"left out {path}: {error}")
            continue
        for key, message in catalog.items():
            source = key[0] if isinstance(key, tuple) else key
            source = source.split("\x04")[-1]
            if "\n\n" in source:
                continue
            english = clean(source)
            if is_sentence(english):
                translation = clean(message)
                if is_translation(translation, english):
                    found[english].setdefault(code, translation)
    return found


def read_help(root: Path) -> dict[str, dict[str, str]]:
    """{english: {code: translation}} from LibreOffice's help pages, paragraphs matched by page and id."""
    base = next(root.rglob("libreoffice/help"), None)
    if base is None:
        return {}

    def blocks(folder: Path) -> dict[tuple[str, str], str]:
        texts = {}
        for page in sorted(folder.rglob("*.html")):
            name = str(page.relative_to(folder))
            for _, identity, body in HELP_BLOCK.findall(page.read_text("utf-8", errors="replace")):
                texts.setdefault((name, identity), clean(re.sub(r"\s+", " ", body)))
        return texts

    found: dict[str, dict[str, str]] = defaultdict(dict)
    english = {key: text for key, text in blocks(base / "en-US").items() if is_sentence(text)}
    for code, locales in LOCALES.items():
        for locale in locales:
            if (base / locale).is_dir():
                translated = blocks(base / locale)
                for key, source in english.items():
                    text = translated.get(key, "")
                    if is_translation(text, source):
                        found[source].setdefault(code, text)
    return found


def read_all(root: Path) -> dict[str, dict[str, str]]:
    """Catalogs and help pages together; {english: {code: translation}}."""
    found = read_catalogs(root)
    for english, translations in read_help(root).items():
        for code, text in translations.items():
            found[english].setdefault(code, text)
    return dict(found)
