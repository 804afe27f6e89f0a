"""Corpora: every way in, what is refused, what is chosen, what is found."""

import codecs
import io
import sys
import types
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronxa_core.corpora import parallel
from neuronxa_core.corpora.parallel import RawCorpus
from neuronxa_core.corpora.reading import read, read_hub, read_uploads
from neuronxa_core.corpora.selection import select
from neuronxa_core.errors import CorpusError

ENGLISH = ("The house is old.", "We drink cold water.", "The train is late today.", "She reads a long book.")
GERMAN = ("Das Haus ist alt.", "Wir trinken kaltes Wasser.", "Der Zug ist heute spät.", "Sie liest ein langes Buch.")
FRENCH = (
    "La maison est vieille.",
    "Nous buvons de l'eau froide.",
    "Le train est en retard.",
    "Elle lit un long livre.",
)
VIETNAMESE = ("Ngôi nhà đã cũ.", "Chúng tôi uống nước lạnh.", "Hôm nay tàu đến muộn.", "Cô ấy đọc một cuốn sách dài.")
ARABIC = ("البيت قديم جدا.", "نشرب الماء البارد.", "القطار متأخر اليوم.", "تقرأ كتابا طويلا.")
THAI = ("บ้านหลังนี้เก่า", "เราดื่มน้ำเย็น", "วันนี้รถไฟมาสาย", "เธออ่านหนังสือเล่มยาว")


def write(folder, **files):
    """A folder of text files, one a keyword: its bytes, or its lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for code, content in files.items():
        data = content if isinstance(content, bytes) else "".join(f"{line}\n" for line in content).encode()
        (folder / f"{code}.txt").write_bytes(data)
    return folder


def raw_of(labels=None, problems=None, **texts):
    return RawCorpus("made", "made", texts, dict.fromkeys(texts, 0), problems or {}, labels)


def found(corpus, kind, language=None):
    return [f for f in corpus.findings if f.kind == kind and language in (None, f.language)]


# Folders of one file a language


def test_a_folder_of_text_files(tmp_path):
    raw = read(write(tmp_path / "mine", eng_Latn=ENGLISH, deu_Latn=GERMAN, arb_Arab=ARABIC, tha_Thai=THAI))
    assert raw.languages == ("arb_Arab", "deu_Latn", "eng_Latn", "tha_Thai")
    assert raw.texts["eng_Latn"] == ENGLISH
    assert raw.texts["arb_Arab"] == ARABIC
    assert raw.texts["tha_Thai"] == THAI
    assert raw.name == "mine"
    assert raw.labels is None
    assert raw.problems == {}
    assert raw.notes == ()


def test_path_objects_and_text_read_alike(tmp_path):
    folder = write(tmp_path / "mine", eng=ENGLISH, deu=GERMAN)
    assert read(folder) == read(str(folder))


def test_a_trailing_slash_or_a_dot_keeps_the_name(tmp_path, monkeypatch):
    folder = write(tmp_path / "mine", eng=ENGLISH, deu=GERMAN)
    monkeypatch.chdir(folder)
    assert read(".").name == "mine"
    assert read(f"{folder}/").name == "mine"


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    write(tmp_path / "mine", eng=ENGLISH, deu=GERMAN)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read("~/mine").languages == ("deu", "eng")


def test_labels_are_read(tmp_path):
    raw = read(write(tmp_path, eng=ENGLISH, deu=GERMAN, labels=("home", "home", "travel", "home")))
    assert raw.labels == ("home", "home", "travel", "home")
    assert "labels" not in raw.texts


def test_labels_of_another_number_are_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"labels\.txt has 3 labels where the languages have 4 lines"):
        read(write(tmp_path, eng=ENGLISH, deu=GERMAN, labels=("a", "b", "c")))


def test_what_is_no_language_is_left_aside_and_said(tmp_path):
    folder = write(tmp_path, eng=ENGLISH, deu=GERMAN, README=("Read me.",), notes=("Note.",), LICENSE=("Free.",))
    (folder / "table.csv").write_text("eng,deu\na,b\n")
    (folder / ".hidden.txt").write_text("x")
    raw = read(folder)
    assert raw.languages == ("deu", "eng")
    (note,) = raw.notes
    for name in ("README.txt", "notes.txt", "LICENSE.txt", "table.csv"):
        assert name in note
    assert ".hidden" not in note
    assert found(select(raw, "eng"), "note")[0].message == note


def test_a_folder_with_nothing_in_it(tmp_path):
    with pytest.raises(CorpusError, match="holds no corpus"):
        read(tmp_path)


def test_a_folder_with_only_labels(tmp_path):
    with pytest.raises(CorpusError, match="holds no corpus"):
        read(write(tmp_path, labels=("a", "b")))


def test_a_folder_of_one_table_reads_the_table(tmp_path):
    (tmp_path / "data.csv").write_text("eng,deu\nhouse,Haus\nwater,Wasser\n")
    (tmp_path / "README.md").write_text("about")
    assert read(tmp_path).texts == {"eng": ("house", "water"), "deu": ("Haus", "Wasser")}


def test_several_tables_are_refused(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("eng,deu\nhouse,Haus\n")
    with pytest.raises(CorpusError, match=r"several tables \(a\.csv, b\.csv\)"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/no/such/place", "no file or folder /no/such/place"),
        ("nothing.csv", r"no file or folder nothing\.csv"),
        ("", "No corpus was named"),
        ("x" * 5000, "cannot be read"),
        ("a\0b", "no file or folder"),
    ],
)
def test_a_missing_source(source, message, monkeypatch, tmp_path):
    monkeypatch.chdir(write(tmp_path, eng=ENGLISH, deu=GERMAN))
    with pytest.raises(CorpusError, match=message):
        read(source)


def test_an_unreadable_folder_is_said(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(f"Permission denied: {folder}")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(CorpusError, match="cannot be read: Permission denied"):
        read(write(tmp_path / "mine", eng=ENGLISH))


def test_a_file_of_an_unknown_kind(tmp_path):
    (tmp_path / "sentences.txt").write_text("a\nb\n")
    with pytest.raises(CorpusError, match=r"sentences\.txt is no corpus"):
        read(tmp_path / "sentences.txt")


# FLORES


def flores(folder, split, codes=("eng_Latn", "deu_Latn"), suffix=None):
    (folder / split).mkdir(parents=True, exist_ok=True)
    for code in codes:
        (folder / split / f"{code}.{suffix or split}").write_text("".join(f"{split} {code} {i}\n" for i in range(3)))


def test_a_flores_split(tmp_path):
    flores(tmp_path, "dev")
    assert read(tmp_path / "dev").texts["deu_Latn"][0] == "dev deu_Latn 0"


def test_a_flores_root_reads_devtest_and_says_so(tmp_path):
    flores(tmp_path, "dev")
    flores(tmp_path, "devtest")
    (tmp_path / "metadata_dev.tsv").write_text("URL\tdomain\n")
    raw = read(tmp_path)
    assert raw.texts["eng_Latn"] == ("devtest eng_Latn 0", "devtest eng_Latn 1", "devtest eng_Latn 2")
    assert raw.name == tmp_path.name
    assert "devtest" in raw.notes[0]
    assert read(tmp_path / "dev").texts["eng_Latn"][0] == "dev eng_Latn 0"


def test_both_splits_in_one_folder(tmp_path):
    flores(tmp_path, ".", suffix="dev")
    flores(tmp_path, ".", suffix="devtest", codes=("eng_Latn", "deu_Latn"))
    flores(tmp_path, ".", suffix="dev", codes=("fra_Latn",))
    raw = read(tmp_path)
    assert raw.languages == ("deu_Latn", "eng_Latn")
    assert "fra_Latn.dev" in raw.notes[0]
    assert len(raw.notes) == 1


def test_a_language_in_two_files_is_refused(tmp_path):
    write(tmp_path, eng=ENGLISH, deu=GERMAN)
    (tmp_path / "eng.devtest").write_text("x\ny\n")
    with pytest.raises(CorpusError, match="eng is there twice"):
        read(tmp_path)


# Bytes and lines


def test_only_lf_and_crlf_end_a_line(tmp_path):
    tricky = "one\u2028two\u2029three\x85four\x0bfive\x0csix\x1cseven\reight"
    folder = write(tmp_path, eng=f"{tricky}\nlast\n".encode(), deu=f"{tricky}\r\nletzte\r\n".encode())
    raw = read(folder)
    assert raw.texts["eng"] == (tricky, "last")
    assert raw.texts["deu"] == (tricky, "letzte")
    assert raw.changed == {"eng": 0, "deu": 0}


def test_a_byte_order_mark_is_no_text(tmp_path):
    raw = read(write(tmp_path, eng=codecs.BOM_UTF8 + b"one\ntwo\n", deu=b"eins\nzwei\n"))
    assert raw.texts["eng"] == ("one", "two")


def test_no_newline_at_the_end(tmp_path):
    assert read(write(tmp_path, eng=b"one\ntwo", deu=b"eins\nzwei\n\n \r\n\n")).texts == {
        "eng": ("one", "two"),
        "deu": ("eins", "zwei"),
    }


def test_empty_lines_within_stay(tmp_path):
    assert read(write(tmp_path, eng=b"\none\n\n \ntwo\n", deu=b"a\nb\nc\nd\ne\n")).texts["eng"] == (
        "",
        "one",
        "",
        "",
        "two",
    )


def test_text_that_is_not_utf8_is_a_problem_of_its_language(tmp_path):
    latin1 = "ein\nschön\nspät\n".encode("latin-1")
    raw = read(write(tmp_path, eng=("one", "two", "three"), fra=("un", "deux", "trois"), deu=latin1))
    assert raw.languages == ("eng", "fra")
    assert "deu.txt, line 2: not UTF-8" in raw.problems["deu"]
    with pytest.raises(CorpusError, match=r"deu\.txt, line 2"):
        select(raw, "eng")
    with pytest.raises(CorpusError, match=r"deu\.txt, line 2"):
        select(raw, "eng", ["deu"])
    (finding,) = found(select(raw, "eng", ["fra"]), "unreadable")
    assert (finding.language, finding.severity) == ("deu", "warning")
    assert "line 2" in finding.message


def test_bytes_cut_off_at_the_end(tmp_path):
    raw = read(write(tmp_path, eng=b"a\nb\n", deu=codecs.BOM_UTF8 + "a\nspät".encode()[:-2]))
    assert "deu.txt, line 2" in raw.problems["deu"]


def test_nul_bytes_are_a_problem(tmp_path):
    raw = read(write(tmp_path, eng=b"a\nb\n", deu=b"a\nb\0c\n"))
    assert "deu.txt, line 2: a NUL byte" in raw.problems["deu"]


def test_utf16_is_a_problem(tmp_path):
    raw = read(write(tmp_path, eng=b"a\nb\n", deu="a\nb\n".encode("utf-16")))
    assert "deu.txt, line 1: not UTF-8" in raw.problems["deu"]


@pytest.mark.parametrize("data", [b"", b"\n\n", b" \r\n", codecs.BOM_UTF8])
def test_an_empty_file_is_a_problem(tmp_path, data):
    assert "deu.txt is empty" in read(write(tmp_path, eng=b"a\nb\n", deu=data)).problems["deu"]


def test_no_readable_language_says_why(tmp_path):
    with pytest.raises(CorpusError, match=r"deu\.txt is empty; eng\.txt, line 1: not UTF-8"):
        read(write(tmp_path, eng=b"\xff\n", deu=b""))


def test_vietnamese_is_composed_and_counted(tmp_path):
    decomposed = [unicodedata.normalize("NFD", line) for line in VIETNAMESE]
    raw = read(
        write(tmp_path, eng=ENGLISH, vie=[decomposed[0], VIETNAMESE[1], decomposed[2], f" {VIETNAMESE[3]}\u3000"])
    )
    assert raw.texts["vie"] == VIETNAMESE
    assert raw.changed == {"eng": 0, "vie": 3}
    (finding,) = found(select(raw, "eng"), "normalised")
    assert (finding.language, finding.severity, finding.count) == ("vie", "info", 3)


def test_labels_are_normalised_too(tmp_path):
    raw = read(write(tmp_path, eng=b"a\nb\n", deu=b"c\nd\n", labels=[unicodedata.normalize("NFD", "Küche"), " Bad "]))
    assert raw.labels == ("Küche", "Bad")


# Tables


def table(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_csv_with_newlines_commas_and_quotes_in_cells(tmp_path):
    raw = read(table(tmp_path, 'eng,deu\n"one,\nand ""two""",eins\nthree,"drei, vier"\n'))
    assert raw.texts == {"eng": ('one,\nand "two"', "three"), "deu": ("eins", "drei, vier")}
    assert raw.name == "t"


@pytest.mark.parametrize("text", ["NA", "null", "nan", "None", "N/A", "1.50", "007", "True", "#N/A"])
def test_every_text_stays_text(tmp_path, text):
    assert read(table(tmp_path, f"eng,deu\n{text},Text\nmore,mehr\n")).texts["eng"] == (text, "more")


def test_crlf_bom_and_odd_separators_in_a_csv(tmp_path):
    raw = read(table(tmp_path, codecs.BOM_UTF8 + "eng,deu\r\na\u2028b,c\rd\r\ne,f\r\n".encode()))
    assert raw.texts == {"eng": ("a\u2028b", "e"), "deu": ("c\rd", "f")}
    assert raw.changed == {"eng": 0, "deu": 0}


def test_rows_stay_parallel_where_cells_are_missing(tmp_path):
    raw = read(table(tmp_path, "eng,deu\none\n,zwei\n\nfour,vier\n,\n\n"))
    assert raw.texts == {"eng": ("one", "", "", "four"), "deu": ("", "zwei", "", "vier")}


def test_columns_that_are_no_language_are_left_aside(tmp_path):
    raw = read(table(tmp_path, "id,url,eng,deu,topic\n1,http://a,one,eins,x\n2,http://b,two,zwei,y\n"))
    assert raw.languages == ("deu", "eng")
    (note,) = raw.notes
    assert note.endswith("id, url, topic.")


def test_a_column_of_indonesian_headed_id(tmp_path):
    raw = read(table(tmp_path, "id,en\nRumah itu tua.,The house is old.\nKami minum air.,We drink water.\n"))
    assert raw.texts["id"] == ("Rumah itu tua.", "Kami minum air.")


@pytest.mark.parametrize("heading", ["label", "labels", "Label", " LABELS "])
def test_a_label_column(tmp_path, heading):
    raw = read(table(tmp_path, f"eng,deu,{heading}\na,b,x\nc,d,y\n,,z\n"))
    assert raw.labels == ("x", "y")
    assert raw.notes == ()


def test_headings_may_have_spaces_and_a_prefix(tmp_path):
    raw = read(table(tmp_path, " sentence_eng_Latn , deu_Latn\na,b\nc,d\n"))
    assert raw.languages == ("deu_Latn", "eng_Latn")


def test_a_tsv_takes_quotation_marks_as_text(tmp_path):
    raw = read(table(tmp_path, 'eng\tdeu\n"Stop!" he said.\t"Halt!", sagte er.\n"Open\t"Auf\n', "t.tsv"))
    assert raw.texts == {"eng": ('"Stop!" he said.', '"Open'), "deu": ('"Halt!", sagte er.', '"Auf')}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("eng,deu\n", "headings but no text"),
        ("eng,deu\n,\n,\n", "headings but no text"),
        ("eng;deu\na;b\n", "0 language columns, at least 2 are needed; its columns are eng;deu"),
        ("eng,text,topic\na,b,c\n", "1 language columns, at least 2 are needed; its columns are eng, text, topic"),
        ("eng,deu,eng\na,b,c\n", "more than one column eng"),
        ("eng,deu,sentence_eng\na,b,c\n", "more than one column eng"),
        ("eng,deu,label,labels2,label\na,b,c,d,e\n", "more than one column label"),
        ("eng,deu\na,b,c\n", "Expected 2 fields in line 2, saw 3"),
        ('eng,deu\n"a,b\n', "cannot be read as a table"),
        ("eng,deu\na,b\nspät,c\n".encode("latin-1"), r"t\.csv, line 3: not UTF-8"),
        (b"eng,deu\na,b\0\n", r"t\.csv, line 2: a NUL byte"),
    ],
)
def test_tables_that_are_refused(tmp_path, content, message):
    with pytest.raises(CorpusError, match=message):
        read(table(tmp_path, content))


def test_too_many_columns(tmp_path):
    headings = ",".join(f"c{i}" for i in range(1001))
    with pytest.raises(CorpusError, match="1001 columns; at most 1000"):
        read(table(tmp_path, f"{headings}\n{headings}\n"))


def parquet(folder, name="t.parquet", **columns):
    pd.DataFrame(columns).to_parquet(folder / name)
    return folder / name


def test_parquet(tmp_path):
    path = parquet(
        tmp_path, eng_Latn=list(ENGLISH), sentence_deu_Latn=list(GERMAN), url=["x"] * 4, label=[1, 2, 1, 2], id=range(4)
    )
    raw = read(path)
    assert raw.texts == {"eng_Latn": ENGLISH, "deu_Latn": GERMAN}
    assert raw.labels == ("1", "2", "1", "2")
    assert "url, id" in raw.notes[0]


def test_parquet_missing_cells_are_empty(tmp_path):
    raw = read(parquet(tmp_path, eng=["a", None, "c", None], deu=["d", "e", None, None]))
    assert raw.texts == {"eng": ("a", "", "c"), "deu": ("d", "e", "")}


def test_parquet_numbers_are_no_text(tmp_path):
    raw = read(parquet(tmp_path, eng=["a", "b"], deu=["c", "d"], fra=[1, 2], ita=["a", "b\0"]))
    assert raw.languages == ("deu", "eng")
    assert "column fra, row 1: 1 is no text" in raw.problems["fra"]
    assert "column ita, row 2" in raw.problems["ita"]


@pytest.mark.parametrize("content", [b"PAR1 this is no parquet PAR1", b"eng,deu\na,b\n"])
def test_parquet_that_is_none(tmp_path, content):
    with pytest.raises(CorpusError, match="cannot be read as Parquet"):
        read(table(tmp_path, content, "t.parquet"))


def test_damaged_parquet(tmp_path):
    data = bytearray(parquet(tmp_path, eng=["a" * 50] * 100, deu=["b" * 50] * 100).read_bytes())
    for cut in (len(data) // 2, len(data) - 4, 10):
        with pytest.raises(CorpusError):
            read(table(tmp_path, bytes(data[:cut]), "cut.parquet"))


def test_exported_flores_plus_reads_from_parquet(tmp_path):
    raw = read(parquet(tmp_path, **FLORES_PLUS_ROWS))
    assert raw.texts["eng_Latn"] == ("one", "two")


# Pair files


@pytest.mark.parametrize("name", ["eng-deu.tsv", "eng-deu.txt", "tatoeba.eng-deu.tsv", "Tatoeba.v2.eng-deu.txt"])
def test_a_pair_file(tmp_path, name):
    raw = read(table(tmp_path, "one\teins\ntwo \tzwei\r\n\nfour\t\n", name))
    assert raw.texts == {"eng": ("one", "two", "", "four"), "deu": ("eins", "zwei", "", "")}


@pytest.mark.parametrize(
    ("stem", "codes"),
    [
        ("eng-deu", ("eng", "deu")),
        ("eng_Latn-deu_Latn", ("eng_Latn", "deu_Latn")),
        ("en-zh-Hans", ("en", "zh-Hans")),
        ("zh-Hans-en", ("zh-Hans", "en")),
    ],
)
def test_pair_names(tmp_path, stem, codes):
    raw = read(table(tmp_path, "left\tright\nmore\tstill\n", f"{stem}.tsv"))
    assert raw.texts == {codes[0]: ("left", "more"), codes[1]: ("right", "still")}


def test_a_pair_file_with_a_heading(tmp_path):
    raw = read(table(tmp_path, "deu\teng\neins\tone\nzwei\ttwo\n", "eng-deu.tsv"))
    assert raw.texts == {"eng": ("one", "two"), "deu": ("eins", "zwei")}


def test_short_words_are_no_heading(tmp_path):
    raw = read(table(tmp_path, "No\tNo\nYes\tSi\n", "eng-spa.tsv"))
    assert raw.texts == {"eng": ("No", "Yes"), "spa": ("No", "Si")}


@pytest.mark.parametrize(
    "rows",
    [
        "1\tone\t71\teins\n2\ttwo\t72\tzwei\n",
        "eng\tdeu\tone\teins\neng\tdeu\ttwo\tzwei\n",
        "one\teins\tCC-BY 2.0 (a)\ntwo\tzwei\tCC-BY 2.0 (b)\n",
    ],
)
def test_columns_of_ids_codes_and_attributions_are_skipped(tmp_path, rows):
    assert read(table(tmp_path, rows, "eng-deu.tsv")).texts == {"eng": ("one", "two"), "deu": ("eins", "zwei")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("one\teins\ntwo zwei\n", "line 2: 1 columns where 2 are expected"),
        ("one\teins\ntwo\tzwei\tzwo\n", "line 2: 3 columns where 2 are expected"),
        ("one\teins\tun\ntwo\tzwei\tdeux\n", "3 columns of text"),
        ("one\ntwo\n", "line 1: 1 columns"),
        ("", "is empty"),
        (b"one\teins\ntwo\t\xff\n", "line 2: not UTF-8"),
    ],
)
def test_pair_files_that_are_refused(tmp_path, content, message):
    with pytest.raises(CorpusError, match=message):
        read(table(tmp_path, content, "eng-deu.tsv"))


def test_a_folder_of_pair_files_with_one_pivot(tmp_path):
    table(tmp_path, "one\teins\ntwo\tzwei\n", "eng-deu.tsv")
    table(tmp_path, "un\tone\ndeux\ttwo\n", "fra-eng.tsv")
    raw = read(tmp_path)
    assert raw.texts == {"eng": ("one", "two"), "deu": ("eins", "zwei"), "fra": ("un", "deux")}


@pytest.mark.parametrize(
    ("second", "line"),
    [("one\tun\nTWO\tdeux\n", 2), ("one\tun\n", 2), ("one\tun\ntwo\tdeux\nthree\ttrois\n", 3), ("x\ty\n", 1)],
)
def test_pair_files_of_other_sentences_are_refused(tmp_path, second, line):
    table(tmp_path, "one\teins\ntwo\tzwei\n", "eng-deu.tsv")
    table(tmp_path, second, "eng-fra.tsv")
    with pytest.raises(
        CorpusError, match=rf"eng-deu\.tsv and eng-fra\.tsv are not parallel, their eng differs at line {line}"
    ):
        read(tmp_path)


def test_pair_files_without_a_common_language_are_refused(tmp_path):
    table(tmp_path, "one\teins\ntwo\tzwei\n", "eng-deu.tsv")
    table(tmp_path, "un\tuno\ndeux\tdos\n", "fra-spa.tsv")
    with pytest.raises(CorpusError, match="no language in common"):
        read(tmp_path)


def test_one_bad_pair_file_of_several_is_a_problem(tmp_path):
    table(tmp_path, "one\teins\ntwo\tzwei\n", "eng-deu.tsv")
    table(tmp_path, "one\tun\ntwo deux\n", "eng-fra.tsv")
    raw = read(tmp_path)
    assert raw.languages == ("deu", "eng")
    assert list(raw.problems) == ["fra"]
    assert "eng-fra.tsv, line 2" in raw.problems["fra"]


def test_pt_br_is_a_language_unless_its_lines_are_pairs(tmp_path):
    assert read(table(tmp_path, "um\ndois\n", "pt-br.txt")).texts == {"pt-br": ("um", "dois")}
    assert read(table(tmp_path, "um\tunan\ndois\tdaou\n", "pt-br.txt")).texts == {
        "pt": ("um", "dois"),
        "br": ("unan", "daou"),
    }


# Uploads


def test_uploads_of_text_files():
    raw = read_uploads([("eng.txt", b"one\ntwo\n"), ("deu.txt", b"eins\nzwei\n"), ("labels.txt", b"a\nb\n")])
    assert raw.texts == {"eng": ("one", "two"), "deu": ("eins", "zwei")}
    assert raw.labels == ("a", "b")
    assert raw.name == "upload"


def test_an_uploaded_table_has_its_name():
    raw = read_uploads([("my corpus.csv", b"eng,deu\none,eins\n")])
    assert raw.name == "my corpus"
    assert raw.texts["deu"] == ("eins",)


@pytest.mark.parametrize(
    "name", ["../../etc/eng.txt", "C:\\temp\\eng.txt", "/root/eng.txt", "e\x00ng.txt", "\x1beng.txt"]
)
def test_only_the_base_name_of_an_upload_counts(name):
    assert read_uploads([(name, b"one\ntwo\n")]).texts == {"eng": ("one", "two")}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "No file"),
        ([("eng.txt", b"a\n"), ("x/eng.txt", b"b\n")], r"called eng\.txt"),
        ([("a.csv", b"eng,deu\na,b\n"), ("b.csv", b"eng,deu\na,b\n")], "several tables"),
        ([("picture.png", b"\x89PNG")], "is no corpus"),
        ([("", b"x")], "is no corpus"),
        ([("eng.txt", b"\xff")], "not UTF-8"),
    ],
)
def test_uploads_that_are_refused(files, message):
    with pytest.raises(CorpusError, match=message):
        read_uploads(files)


def test_uploads_read_as_the_folder_they_came_from(tmp_path):
    folder = write(tmp_path, eng=ENGLISH, deu=GERMAN, fra=b"\xff\n", labels=("a", "b", "c", "d"), notes=("n",))
    from_disk = read(folder)
    uploaded = read_uploads([(f.name, f.read_bytes()) for f in sorted(folder.iterdir())])
    assert (uploaded.texts, uploaded.labels, uploaded.problems, uploaded.notes) == (
        from_disk.texts,
        from_disk.labels,
        from_disk.problems,
        from_disk.notes,
    )


# The hub

FLORES_PLUS_ROWS = {
    "id": [0, 1, 1, 0, 0],
    "iso_639_3": ["eng", "eng", "deu", "deu", "ace"],
    "iso_15924": ["Latn", "Latn", "Latn", "Latn", "Arab"],
    "glottocode": ["stan1293", "stan1293", "stan1295", "stan1295", "achi1257"],
    "variant": ["", "", "", "", ""],
    "text": ["one", "two", "zwei", "eins", "سا"],
    "url": ["u"] * 5,
}


class FakeDataset:
    def __init__(self, columns):
        self.columns = columns
        self.read = []

    @property
    def column_names(self):
        return list(self.columns)

    def __getitem__(self, name):
        self.read.append(name)
        return self.columns[name]


@pytest.fixture
def hub(monkeypatch):
    """hub(columns): what load_dataset gives from now on; its calls are in hub.calls."""
    module = types.ModuleType("datasets")
    state = types.SimpleNamespace(calls=[], dataset=None)

    def load_dataset(*args, **kwargs):
        state.calls.append((args, kwargs))
        if isinstance(state.dataset, Exception):
            raise state.dataset
        return state.dataset

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return state


def test_flores_plus_is_pivoted_by_id(hub):
    hub.dataset = FakeDataset(FLORES_PLUS_ROWS)
    raw = read_hub("openlanguagedata/flores_plus")
    assert raw.texts == {"eng_Latn": ("one", "two"), "deu_Latn": ("eins", "zwei"), "ace_Arab": ("سا", "")}
    assert raw.name == "openlanguagedata/flores_plus"
    assert raw.source == "hub:openlanguagedata/flores_plus"
    assert hub.calls == [
        (("openlanguagedata/flores_plus",), {"name": None, "split": "devtest", "revision": None}),
    ]
    assert "url" not in hub.dataset.read


def test_varieties_of_a_language_are_told_apart(hub):
    hub.dataset = FakeDataset(
        {
            "id": [0, 0, 0, 0],
            "iso_639_3": ["oci", "oci", "cat", "cat"],
            "iso_15924": ["Latn"] * 4,
            "glottocode": ["occi1239", "aran1260", "stan1289", "stan1289"],
            "variant": ["", "", "", "valencia"],
            "text": ["a", "b", "c", "d"],
        }
    )
    assert read_hub("openlanguagedata/flores_plus").texts == {
        "oci_Latn_occi1239": ("a",),
        "oci_Latn_aran1260": ("b",),
        "cat_Latn": ("c",),
        "cat_Latn_valencia": ("d",),
    }


def test_a_sentence_twice_is_refused(hub):
    hub.dataset = FakeDataset({"id": [0, 0], "iso_639_3": ["eng"] * 2, "iso_15924": ["Latn"] * 2, "text": ["a", "b"]})
    with pytest.raises(CorpusError, match="sentence 0 of eng_Latn twice"):
        read_hub("openlanguagedata/flores_plus")


def test_one_language_of_flores_plus_is_not_enough(hub):
    hub.dataset = FakeDataset({"id": [0, 1], "iso_639_3": ["eng"] * 2, "iso_15924": ["Latn"] * 2, "text": ["a", "b"]})
    with pytest.raises(CorpusError, match="1 language columns"):
        read_hub("openlanguagedata/flores_plus", config="eng_Latn")


def test_a_data_set_of_one_column_a_language(hub):
    hub.dataset = FakeDataset(
        {"id": [1, 2], "sentence_eng_Latn": ["a", "b"], "deu": ["c", None], "image": [b"x", b"y"]}
    )
    raw = read("hub:owner/name:all:dev")
    assert raw.texts == {"eng_Latn": ("a", "b"), "deu": ("c", "")}
    assert hub.calls == [(("owner/name",), {"name": "all", "split": "dev", "revision": None})]
    assert "image" not in hub.dataset.read
    assert "image" in raw.notes[0]


@pytest.mark.parametrize(
    ("source", "config", "split"),
    [
        ("hub:owner/name", None, "test"),
        ("hub:owner/name:all", "all", "test"),
        ("hub:owner/name::dev", None, "dev"),
        ("hub:openlanguagedata/flores_plus::dev", None, "dev"),
        ("hub:openlanguagedata/flores_plus", None, "devtest"),
    ],
)
def test_hub_sources(hub, source, config, split):
    hub.dataset = FakeDataset({"eng": ["a"], "deu": ["b"]})
    read(source)
    assert [kwargs for _, kwargs in hub.calls] == [{"name": config, "split": split, "revision": None}]


def test_a_revision_is_passed_on_and_code_never_trusted(hub):
    hub.dataset = FakeDataset({"eng": ["a"], "deu": ["b"]})
    read_hub("owner/name", revision="abc")
    ((_, kwargs),) = hub.calls
    assert kwargs["revision"] == "abc"
    assert "trust_remote_code" not in kwargs


@pytest.mark.parametrize(
    "source", ["hub:", "hub:a/b/c", "hub:../secret/x", "hub:a b/c", "hub:owner/name:a:b:c", "hub:/etc/passwd"]
)
def test_hub_sources_that_are_refused(hub, source):
    hub.dataset = FakeDataset({"eng": ["a"], "deu": ["b"]})
    with pytest.raises(CorpusError):
        read(source)
    assert hub.calls == []


@pytest.mark.parametrize(
    "error", [ValueError("Unknown split 'x'. Should be one of ['dev'].\nmore"), ConnectionError("offline"), KeyError()]
)
def test_what_the_hub_library_says_is_passed_on(hub, error):
    hub.dataset = error
    with pytest.raises(CorpusError, match=r"owner/name \(split test\) cannot be loaded") as caught:
        read_hub("owner/name")
    assert (str(error).splitlines() or ["KeyError"])[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_library_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match="pip install datasets"):
        read("hub:openlanguagedata/flores_plus")


# Choosing


@pytest.fixture
def raw():
    return raw_of(eng_Latn=ENGLISH, deu_Latn=GERMAN, fra_Latn=FRENCH, arb_Arab=ARABIC, labels=("a", "b", "c", "d"))


def test_all_languages_but_the_pivot(raw):
    corpus = select(raw, "eng_Latn")
    assert corpus.pivot == "eng_Latn"
    assert corpus.languages == ("arb_Arab", "deu_Latn", "fra_Latn")
    assert set(corpus.texts) == {"eng_Latn", "arb_Arab", "deu_Latn", "fra_Latn"}
    assert corpus.lines == (1, 2, 3, 4)
    assert corpus.usable == (0, 1, 2, 3)
    assert corpus.n_sentences == 4
    assert corpus.labels == ("a", "b", "c", "d")
    assert corpus.findings == ()


def test_the_order_of_the_languages_is_the_users(raw):
    corpus = select(raw, "deu_Latn", ["fra_Latn", "arb_Arab", "fra_Latn"])
    assert corpus.languages == ("fra_Latn", "arb_Arab")
    assert list(corpus.texts) == ["deu_Latn", "fra_Latn", "arb_Arab"]


def test_codes_in_other_forms(raw):
    corpus = select(raw, "en", ["deu", "FRA-latn", "ar", "de"])
    assert corpus.pivot == "eng_Latn"
    assert corpus.languages == ("deu_Latn", "fra_Latn", "arb_Arab")


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


def test_a_seed_without_a_number_takes_all(raw):
    assert select(raw, "eng_Latn", seed=3) == select(raw, "eng_Latn")


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


def test_lines_are_those_of_the_source_in_a_sample():
    lines = [f"sentence {i} is here" for i in range(50)]
    german = [f"Satz {i} ist da" for i in range(50)]
    for i in range(0, 50, 5):
        german[i] = ""
    raw = raw_of(eng=tuple(lines), deu=tuple(german))
    corpus = select(raw, "eng", sentences=30, seed=1)
    (empty,) = found(corpus, "empty")
    assert empty.count > 0
    assert empty.lines == tuple(line for line in corpus.lines if (line - 1) % 5 == 0)[:10]


def test_duplicates_are_counted_with_all_their_lines():
    german = tuple(f"Satz Nummer {i}" for i in range(20))
    german = (*german[:10], "doppelt gemoppelt", *german[11:15], "doppelt gemoppelt", *german[16:])
    raw = raw_of(eng=tuple(f"sentence number {i}" for i in range(20)), deu=german)
    (finding,) = select(raw, "eng").findings
    assert (finding.kind, finding.language, finding.severity) == ("duplicate", "deu", "warning")
    assert (finding.count, finding.lines) == (2, (11, 16))
    assert finding.message.startswith("German (deu): 2 lines (11, 16)")


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


def test_a_few_foreign_letters_are_no_finding():
    assert script_lines("rus_Cyrl", "Я купил iPhone в Москве вчера", "12345 !?", "USB", "Привет") == ()


def test_less_than_half_of_the_letters():
    assert script_lines("rus_Cyrl", "абвг abcd", "абв abcd", "абвгд abcd") == (2,)


def test_an_unknown_script_is_not_judged():
    assert script_lines("xyz_Latn", "Hello there", "Hi again") == ()
    assert script_lines("acq", "Hello there", "البيت قديم") == ()


def test_a_file_in_the_wrong_language_is_an_error():
    (finding,) = found(select(raw_of(eng=ENGLISH, rus_Cyrl=GERMAN), "eng"), "script")
    assert (finding.severity, finding.count) == ("error", 4)
    assert "Cyrillic" in finding.message


def test_the_pivot_is_looked_at_too():
    raw = raw_of(eng=(ENGLISH[0], ENGLISH[0], *ENGLISH[2:]), deu=GERMAN)
    (finding,) = select(raw, "eng").findings
    assert (finding.language, finding.kind, finding.lines) == ("eng", "duplicate", (1, 2))


def test_findings_are_about_the_chosen_rows_only():
    raw = raw_of(eng=ENGLISH, deu=(*GERMAN[:3], GERMAN[2]))
    assert select(raw, "eng", sentences=3).findings == ()
    assert len(found(select(raw, "eng"), "duplicate")) == 1


def test_two_hundred_languages():
    codes = [f"{a}{b}{c}_Latn" for a in "abcdefgh" for b in "abcde" for c in "abcde"]
    raw = raw_of(**{code: tuple(f"{code} says line {i}" for i in range(100)) for code in codes})
    corpus = select(raw, codes[0])
    assert len(corpus.languages) == 199
    assert corpus.findings == ()
    assert corpus.n_sentences == 100


# Properties

lines_of_text = st.lists(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\n\r\0"), min_size=1, max_size=12)
    .map(lambda text: unicodedata.normalize("NFC", text).strip())
    .filter(bool)
    .filter(lambda text: not text.startswith("\ufeff")),
    min_size=2,
    max_size=8,
)


@given(lines_of_text, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.integers(0, 3))
def test_reading_gives_what_was_written(lines, newline, with_bom, empty_lines):
    text = newline.join(lines) + newline * (1 + empty_lines)
    data = (codecs.BOM_UTF8 if with_bom else b"") + text.encode()
    raw = read_uploads([("eng.txt", data)])
    assert raw.texts["eng"] == tuple(lines)
    assert raw.changed["eng"] == 0


@given(st.lists(st.tuples(st.text(max_size=10), st.text(max_size=10)), min_size=1, max_size=6))
def test_a_csv_gives_what_was_written(rows):
    tidy = [[parallel.normalise(cell.replace("\0", "").replace("\r\n", "\n")) for cell in row] for row in rows]
    file = io.StringIO()
    pd.DataFrame([*tidy, ["end", "Ende"]], columns=["eng", "deu"]).to_csv(file, index=False, lineterminator="\n")
    raw = read_uploads([("t.csv", file.getvalue().encode())])
    assert raw.texts["eng"] == (*(row[0] for row in tidy), "end")
    assert raw.texts["deu"] == (*(row[1] for row in tidy), "Ende")


@given(st.text(max_size=30))
def test_normalising_is_idempotent_and_composed(text):
    once = parallel.normalise(text)
    assert parallel.normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == once.strip()


@given(st.binary(max_size=60), st.sampled_from(["eng.txt", "t.csv", "t.tsv", "eng-deu.tsv", "t.parquet", "labels.txt"]))
def test_any_bytes_read_or_are_refused_in_a_sentence(data, name):
    try:
        raw = read_uploads([(name, data)])
    except CorpusError as error:
        assert str(error)
    else:
        assert raw.texts
        assert all(isinstance(text, str) for lines in raw.texts.values() for text in lines)


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
