"""Tables, Parquet files and pair files: what is read, and what is refused."""

import codecs
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_corpora import ENGLISH, GERMAN, table

from neuronxa_core.corpora import parallel
from neuronxa_core.corpora.reading import read, read_uploads
from neuronxa_core.errors import CorpusError

FLORES_PLUS_ROWS = {
    "id": [0, 1, 1, 0, 0],
    "iso_639_3": ["eng", "eng", "deu", "deu", "ace"],
    "iso_15924": ["Latn", "Latn", "Latn", "Latn", "Arab"],
    "glottocode": ["stan1293", "stan1293", "stan1295", "stan1295", "achi1257"],
    "variant": ["", "", "", "", ""],
    "text": ["one", "two", "zwei", "eins", "سا"],
    "url": ["u"] * 5,
}


# Tables


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


@given(st.lists(st.tuples(st.text(max_size=10), st.text(max_size=10)), min_size=1, max_size=6))
def test_a_csv_gives_what_was_written(rows):
    tidy = [[parallel.normalise(cell.replace("\0", "").replace("\r\n", "\n")) for cell in row] for row in rows]
    file = io.StringIO()
    pd.DataFrame([*tidy, ["end", "Ende"]], columns=["eng", "deu"]).to_csv(file, index=False, lineterminator="\n")
    raw = read_uploads([("t.csv", file.getvalue().encode())])
    assert raw.texts["eng"] == (*(row[0] for row in tidy), "end")
    assert raw.texts["deu"] == (*(row[1] for row in tidy), "Ende")
