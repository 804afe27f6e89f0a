"""The bundled corpus is what its users take it for: parallel, clean, in the right scripts, evenly labelled."""

import unicodedata
from collections import Counter

import numpy as np
import pytest

from neuronxa_core.corpora import languages, reading, selection

CODES = """
eng_Latn deu_Latn fra_Latn spa_Latn ita_Latn por_Latn rus_Cyrl ukr_Cyrl pol_Latn swe_Latn tur_Latn arb_Arab heb_Hebr
pes_Arab hin_Deva ben_Beng zho_Hans jpn_Jpan kor_Hang vie_Latn tha_Thai ind_Latn swh_Latn fin_Latn ell_Grek
"""
MEAN_CHARACTERS_PER_ENGLISH_ONE = {"Hans": (0.2, 0.45), "Jpan": (0.3, 0.65), "Hang": (0.35, 0.7)}
ALPHABETIC = (0.6, 1.5)


@pytest.fixture(scope="module")
def raw():
    return reading.read("demo")


def test_languages_and_scripts(raw):
    assert set(CODES.split()) <= set(raw.languages)
    assert len({languages.script(code) for code in raw.languages}) >= 8
    assert (raw.name, raw.problems, set(raw.changed.values())) == ("demo", {}, {()})


def test_files_are_clean_utf8():
    for path in sorted(reading.DEMO.glob("*.txt")):
        text = path.read_bytes().decode("utf-8")
        assert not set("\r\ufeff") & set(text), path.name
        assert text.endswith("\n") and not text.endswith("\n\n"), path.name


def test_a_hundred_different_clean_lines_each(raw):
    for code, lines in raw.texts.items():
        assert len(lines) == len(set(lines)) == 100, code
        assert code == "eng_Latn" or not set(lines) & set(raw.texts["eng_Latn"]), code
        for text in lines:
            assert text and "  " not in text and unicodedata.is_normalized("NFC", text), (code, text)
            assert not any(unicodedata.category(c) == "Cc" for c in text), (code, text)


def test_english_sentences_have_a_sentence_length(raw):
    lengths = [len(text.split()) for text in raw.texts["eng_Latn"]]
    assert min(lengths) >= 5
    assert max(lengths) <= 25


def test_lengths_go_with_english(raw):
    english = np.array([len(text) for text in raw.texts["eng_Latn"]])
    for code in raw.languages:
        lengths = np.array([len(text) for text in raw.texts[code]])
        low, high = MEAN_CHARACTERS_PER_ENGLISH_ONE.get(languages.script(code), ALPHABETIC)
        assert low < lengths.mean() / english.mean() < high, code
        assert np.corrcoef(lengths, english)[0, 1] > 0.6, code


def test_nothing_is_found_in_it(raw):
    corpus = selection.select(raw, "eng_Latn")
    assert corpus.findings == ()
    assert corpus.n_sentences == 100


def test_labels_are_many_and_even(raw):
    assert raw.labels is not None
    counts = Counter(raw.labels)
    assert len(counts) >= 6
    assert max(counts.values()) - min(counts.values()) <= 1
    assert sum(counts.values()) == 100
    assert "" not in counts
