"""What is chosen of a corpus, and what is found in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_corpora import ARABIC, ENGLISH, FRENCH, GERMAN, found, raw_of

from neuronxa_core.corpora.selection import select
from neuronxa_core.errors import CorpusError

# Choosing


@pytest.fixture
def raw():
    return raw_of(eng_Latn=ENGLISH, deu_Latn=GERMAN, fra_Latn=FRENCH, arb_Arab=ARABIC, labels=("a", "b", "c", "d"))


def test_all_languages_but_the_pivot(raw):
    corpus = select(raw, "eng_Latn")
    assert (corpus.pivot, corpus.languages) == ("eng_Latn", ("arb_Arab", "deu_Latn", "fra_Latn"))
    assert set(corpus.texts) == {"eng_Latn", *corpus.languages}
    assert (corpus.lines, corpus.usable, corpus.n_sentences) == ((1, 2, 3, 4), (0, 1, 2, 3), 4)
    assert corpus.labels == ("a", "b", "c", "d")
    assert corpus.findings == ()
    assert select(raw, "eng_Latn", seed=3) == corpus


def test_codes_in_other_forms_in_the_order_of_the_user(raw):
    corpus = select(raw, "en", ["deu", "FRA-latn", "ar", "de"])
    assert corpus.pivot == "eng_Latn"
    assert corpus.languages == ("deu_Latn", "fra_Latn", "arb_Arab")
    assert list(corpus.texts) == ["eng_Latn", "deu_Latn", "fra_Latn", "arb_Arab"]


def test_an_ambiguous_code():
    raw = raw_of(eng=ENGLISH, zho_Hans=GERMAN, zho_Hant=FRENCH)
    with pytest.raises(CorpusError, match="zh may mean zho_Hans or zho_Hant"):
        select(raw, "eng", ["zh"])
    assert select(raw, "eng", ["zh_TW"]).languages == ("zho_Hant",)


@pytest.mark.parametrize(
    ("code", "hint"), [("deu_Lat", "deu_Latn"), ("German", "deu_Latn"), ("frnch", "fra_Latn"), ("eng_Latm", "eng_Latn")]
)
def test_an_unknown_code_names_what_is_close_and_what_there_is(raw, code, hint):
    with pytest.raises(CorpusError, match=f"no language {code}.*Did you mean .*{hint}.*It holds arb_Arab, deu_Latn"):
        select(raw, "eng_Latn", [code])
    with pytest.raises(CorpusError, match=f"no language {code}"):
        select(raw, code)


def test_an_unknown_code_among_many_names_a_few():
    raw = raw_of(**{f"x{a}{b}_Latn": ENGLISH for a in "abcdefgh" for b in "abcdefgh"})
    with pytest.raises(CorpusError, match="and 34 more"):
        select(raw, "zzzz")


def test_the_pivot_among_the_languages_only_if_named(raw):
    corpus = select(raw, "eng_Latn", ["eng_Latn", "deu_Latn"])
    assert corpus.languages == ("eng_Latn", "deu_Latn")
    assert list(corpus.texts) == ["eng_Latn", "deu_Latn"]
    (finding,) = corpus.findings
    assert (finding.kind, finding.severity, finding.language) == ("pivot", "info", "eng_Latn")


def test_no_language_to_compare_with(raw):
    with pytest.raises(CorpusError, match="No language is left to compare with eng"):
        select(raw_of(eng=ENGLISH), "eng")
    with pytest.raises(CorpusError, match="No language is left"):
        select(raw, "eng_Latn", [])


def test_different_line_counts_of_chosen_languages(raw):
    raw = raw_of(eng=ENGLISH, deu=GERMAN, fra=FRENCH[:3])
    with pytest.raises(CorpusError, match=r"4 in eng, deu; 3 in fra\. A missing line shifts"):
        select(raw, "eng")
    (finding,) = select(raw, "eng", ["deu"]).findings
    assert (finding.language, finding.kind, finding.severity, finding.count) == ("fra", "count", "warning", 3)


def test_the_first_sentences(raw):
    corpus = select(raw, "eng_Latn", sentences=2)
    assert corpus.lines == (1, 2)
    assert corpus.texts["deu_Latn"] == GERMAN[:2]
    assert corpus.labels == ("a", "b")


@pytest.mark.parametrize(
    ("sentences", "message"), [(1, "at least 2"), (0, "at least 2"), (-3, "at least 2"), (5, "has 4")]
)
def test_numbers_of_sentences_that_are_refused(raw, sentences, message):
    with pytest.raises(CorpusError, match=message):
        select(raw, "eng_Latn", sentences=sentences)


def test_a_seed_samples_in_file_order_and_alike_each_time():
    lines = tuple(f"line {i} of many" for i in range(200))
    raw = raw_of(eng=lines, deu=tuple(f"Zeile {i} von vielen" for i in range(200)))
    first = select(raw, "eng", sentences=20, seed=7)
    assert first == select(raw, "eng", sentences=20, seed=7)
    assert first.lines != select(raw, "eng", sentences=20, seed=8).lines
    assert len(set(first.lines)) == 20
    assert list(first.lines) == sorted(first.lines)
    assert first.lines != tuple(range(1, 21))
    assert first.texts["eng"] == tuple(lines[line - 1] for line in first.lines)
    assert all(type(line) is int for line in first.lines)


def test_labels_that_do_not_fit_the_chosen_languages():
    raw = raw_of(eng=ENGLISH, deu=GERMAN, fra=FRENCH[:3], labels=("a", "b", "c"))
    with pytest.raises(CorpusError, match="3 labels for 4 lines"):
        select(raw, "eng", ["deu"])


# Findings


def test_rows_empty_in_one_language_are_dropped_from_all():
    raw = raw_of(eng=ENGLISH, deu=(GERMAN[0], "", *GERMAN[2:]), fra=(*FRENCH[:3], ""), ita=("", *ENGLISH[1:]))
    corpus = select(raw, "eng", ["deu", "fra"])
    assert corpus.usable == (0, 2)
    assert corpus.n_sentences == 2
    assert corpus.sentences("deu") == (GERMAN[0], GERMAN[2])
    assert corpus.texts["deu"][1] == ""
    (dropped,) = found(corpus, "dropped")
    assert (dropped.language, dropped.severity, dropped.count, dropped.lines) == ("", "warning", 2, (2, 4))
    assert "2 lines (2, 4) of 4 dropped from all languages" in dropped.message
    assert [(f.language, f.count, f.lines) for f in found(corpus, "empty")] == [("deu", 1, (2,)), ("fra", 1, (4,))]


def test_fewer_than_two_usable_rows():
    raw = raw_of(eng=ENGLISH, deu=("", "", "", GERMAN[3]))
    with pytest.raises(CorpusError, match=r"Only 1 of 4 rows .* deu is empty in 3 of them"):
        select(raw, "eng")


def test_duplicates_are_counted_with_all_their_lines():
    lines = tuple(f"sentence number {i}" for i in range(20))
    twice = (*lines[:10], "doppelt gemoppelt", *lines[11:15], "doppelt gemoppelt", *lines[16:])
    # the pivot is looked at, too
    for code, raw in (
        ("deu", raw_of(eng=[f"{line}!" for line in lines], deu=twice)),
        ("eng", raw_of(eng=twice, deu=GERMAN * 5)),
    ):
        (finding,) = found(select(raw, "eng"), "duplicate", code)
        assert (finding.severity, finding.count, finding.lines) == ("warning", 2, (11, 16))
        assert f"({code}): 2 lines (11, 16)" in finding.message


def test_a_duplicate_whose_twin_is_dropped_is_none():
    raw = raw_of(eng=ENGLISH, deu=("gleich", "gleich", *GERMAN[2:]), fra=("", *FRENCH[1:]))
    assert found(select(raw, "eng"), "duplicate") == []


def test_ten_lines_are_named_and_most_of_them_are_an_error():
    raw = raw_of(eng=tuple(f"sentence number {i}" for i in range(30)), deu=("immer dasselbe hier",) * 30)
    (finding,) = found(select(raw, "eng"), "duplicate")
    assert (finding.severity, finding.count) == ("error", 30)
    assert finding.lines == tuple(range(1, 11))
    assert ", 10, ...)" in finding.message


def test_untranslated_lines():
    raw = raw_of(eng=ENGLISH, deu=(GERMAN[0], ENGLISH[1], *GERMAN[2:]), fra=ENGLISH)
    findings = {f.language: f for f in found(select(raw, "eng"), "identical")}
    assert (findings["deu"].count, findings["deu"].lines, findings["deu"].severity) == (1, (2,), "warning")
    assert (findings["fra"].count, findings["fra"].severity) == (4, "error")


def test_odd_lengths_are_judged_by_the_language_itself():
    eng = tuple(f"This is the sentence number {i}, and it is quite long." for i in range(40))
    short_language = tuple(f"很短的第{i}句" for i in range(40))
    odd = (*short_language[:7], "很" * 80, *short_language[8:])
    corpus = select(raw_of(eng=eng, zho_Hans=odd), "eng")
    (finding,) = found(corpus, "length")
    assert (finding.language, finding.count, finding.lines) == ("zho_Hans", 1, (8,))
    assert found(select(raw_of(eng=eng, zho_Hans=short_language), "eng"), "length") == []


@pytest.mark.parametrize(("factor", "expected"), [(3.9, 0), (4.1, 1), (1 / 3.9, 0), (1 / 4.1, 1)])
def test_the_limit_of_odd_length_is_fourfold(factor, expected):
    eng = tuple("x" * 400 + str(i) for i in range(10, 21))
    deu = ["y" * 400 + str(i) for i in range(10, 21)]
    deu[4] = "z" * round(402 * factor)
    assert len(found(select(raw_of(eng=eng, deu=tuple(deu)), "eng"), "length")) == expected


def script_lines(code, *lines):
    """Lines, from 1, that are found to be in an unexpected script."""
    padding = tuple(f"{i} {i + 1}" for i in range(len(lines)))
    corpus = select(raw_of(eng=tuple(f"{p} abcd" for p in padding), **{code: lines}), "eng")
    return tuple(line for f in found(corpus, "script", code) for line in f.lines)


@pytest.mark.parametrize(
    ("code", "good", "bad"),
    [
        ("rus_Cyrl", "Дом очень старый.", "Dom ochen staryy."),
        ("arb_Arab", "البيت قديم جدا.", "The house is old."),
        ("arb_Latn", "Al-bayt qadim jiddan.", "البيت قديم جدا."),
        ("heb_Hebr", "הבית ישן מאוד.", "البيت قديم جدا."),
        ("hin_Deva", "घर पुराना है।", "ঘরটি পুরানো ছিল।"),
        ("ben_Beng", "ঘরটি পুরানো ছিল।", "घर बहुत पुराना है।"),
        ("ell_Grek", "Το σπίτι είναι παλιό.", "To spiti einai palio."),
        ("tha_Thai", "บ้านหลังนี้เก่า", "ເຮືອນຫຼັງນີ້ເກົ່າ"),
        ("lao_Laoo", "ເຮືອນຫຼັງນີ້ເກົ່າ", "บ้านหลังนี้เก่า"),
        ("jpn_Jpan", "この家は古いテーブル時々です。", "이 집은 아주 오래됐다."),
        ("jpn_Jpan", "東京都渋谷区", "This is English."),
        ("kor_Hang", "이 집은 아주 오래됐다.", "この家は古いです。"),
        ("kor", "大韓民國은 나라다", "This is English."),
        ("zho_Hans", "这座房子很旧。", "이 집은 아주 오래됐다."),
        ("zho_Hant", "這座房子很舊。", "The house is old."),
        ("vie_Latn", "Ngôi nhà đã cũ.", "Дом очень старый."),
        ("amh_Ethi", "ቤቱ አሮጌ ነው።", "The house is old."),
        ("taq_Tfng", "ⵜⴰⵎⴰⵣⵉⵖⵜ", "tamaziɣt"),
        ("sat_Olck", "ᱥᱟᱱᱛᱟᱲᱤ", "santali"),
        ("khm_Khmr", "ផ្ទះនេះចាស់", "บ้านหลังนี้เก่า"),
        ("kat_Geor", "სახლი ძველია", "The house is old."),
        ("grc", "μῆνιν ἄειδε θεά", "menin aeide thea"),
        ("jav_Java", "ꦲꦏ꧀ꦱꦫꦗꦮ", "aksara jawa"),
    ],
)
def test_scripts(code, good, bad):
    assert script_lines(code, good, bad, f"{good} 2") == (2,)


@pytest.mark.parametrize(
    ("code", "lines", "foreign"),
    [
        ("rus_Cyrl", ("Я купил iPhone в Москве вчера", "12345 !?", "USB", "Привет"), ()),
        # less than half of the letters
        ("rus_Cyrl", ("абвг abcd", "абв abcd", "абвгд abcd"), (2,)),
        # scripts that are not known
        ("xyz_Latn", ("Hello there", "Hi again"), ()),
        ("acq", ("Hello there", "البيت قديم"), ()),
    ],
)
def test_letters_of_other_scripts(code, lines, foreign):
    assert script_lines(code, *lines) == foreign


def test_a_file_in_the_wrong_language_is_an_error():
    (finding,) = found(select(raw_of(eng=ENGLISH, rus_Cyrl=GERMAN), "eng"), "script")
    assert (finding.severity, finding.count) == ("error", 4)
    assert "Cyrillic" in finding.message


@pytest.mark.parametrize(("code", "texts"), [("cnr", GERMAN), ("crh", GERMAN), ("ckb", GERMAN), ("sr", GERMAN)])
def test_a_script_that_is_only_likely_is_no_error(code, texts):
    (finding,) = found(select(raw_of(eng=ENGLISH, **{code: texts}), "eng"), "script")
    assert (finding.severity, finding.count) == ("warning", 4)
    assert f"the usual one of {code}" in finding.message


def test_findings_are_about_the_chosen_rows_only():
    raw = raw_of(eng=ENGLISH, deu=(*GERMAN[:3], GERMAN[2]))
    assert select(raw, "eng", sentences=3).findings == ()
    assert len(found(select(raw, "eng"), "duplicate")) == 1


@given(
    st.integers(2, 30),
    st.integers(0, 2**32 - 1),
    st.none() | st.integers(0, 1000),
    st.data(),
)
def test_chosen_rows_stay_parallel(n, mask_seed, seed, data):
    holes = np.random.default_rng(mask_seed).random((3, n)) < 0.15
    codes = ("eng", "deu", "fra")
    raw = raw_of(
        **{code: tuple("" if holes[k, i] else f"{code} {i}" for i in range(n)) for k, code in enumerate(codes)}
    )
    sentences = data.draw(st.none() | st.integers(2, n))
    try:
        corpus = select(raw, "eng", sentences=sentences, seed=seed)
    except CorpusError as error:
        assert "have text in every language" in str(error)
        return
    assert len(corpus.lines) == (sentences or n)
    assert list(corpus.lines) == sorted(set(corpus.lines))
    for code in codes:
        assert corpus.texts[code] == tuple(raw.texts[code][line - 1] for line in corpus.lines)
        assert [text.split()[1] for text in corpus.sentences(code)] == [
            str(corpus.lines[row] - 1) for row in corpus.usable
        ]
    full = [row for row, line in enumerate(corpus.lines) if not holes[:, line - 1].any()]
    assert list(corpus.usable) == full
    dropped = found(corpus, "dropped")
    assert sum(f.count for f in dropped) == len(corpus.lines) - len(full)
