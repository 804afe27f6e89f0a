"""Tables, Parquet files and pair files: what is read, and what is refused."""

import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_corpora import found, table

from neuronxa_core.corpora import parallel
from neuronxa_core.corpora.reading import read, read_uploads
from neuronxa_core.corpora.selection import select
from neuronxa_core.errors import CorpusError


def test_parquet(tmp_path):
    columns = {"eng": ["a", None, "c", None], "sentence_deu": ["d", "e", None, None], "url": ["x"] * 4, "fra": range(4)}
    raw = read(parquet(tmp_path, **columns, ita=["a", "b\0", "", ""], label=[1, 2, 1, 2]))
    assert raw.texts == {"eng": ("a", "", "c"), "deu": ("d", "e", "")}
    assert raw.labels == ("1", "2", "1")
    assert "url" in raw.notes[0]
    assert "column fra, row 1: 0 is no text" in raw.problems["fra"]
    assert "column ita, row 2" in raw.problems["ita"]


def test_exported_flores_plus_reads_from_parquet(tmp_path):
    rows = {"id": [0, 1, 1, 0], "iso_639_3": ["eng", "eng", "deu", "deu"], "iso_15924": ["Latn"] * 4}
    raw = read(parquet(tmp_path, **rows, text=["one", "two", "zwei", "eins"], url=["u"] * 4))
    assert raw.texts == {"eng_Latn": ("one", "two"), "deu_Latn": ("eins", "zwei")}


# Tables


ODD = ("NA", "null", "nan", "None", "N/A", "1.50", "007", "True", "#N/A")
NUMBERS = ("one", "two"), ("eins", "zwei")
FILES = {
    'eng,deu\n"one,\nand ""two""",eins\nthree,"drei, vier"\n': [('one,\nand "two"', "three"), ("eins", "drei, vier")],
    "eng,deu\n" + "".join(f"{text},Text\n" for text in ODD): [ODD, ("Text",) * 9],
    "\ufeffeng,deu\r\na\u2028b,c\rd\r\ne,f\r\n": [("a\u2028b", "e"), ("c\rd", "f")],
    "eng,deu\none\n,zwei\n\nfour,vier\n,\n\n": [("one", "", "", "four"), ("", "zwei", "", "vier")],
    " sentence_eng , deu \na,b\nc,d\n": [("a", "c"), ("b", "d")],
}
PAIRS = {
    # with a heading, ids, codes, attributions
    "deu\teng\neins\tone\nzwei\ttwo\n": NUMBERS,
    "1\tone\t71\teins\n2\ttwo\t72\tzwei\n": NUMBERS,
    "eng\tdeu\tone\teins\neng\tdeu\ttwo\tzwei\n": NUMBERS,
    "one\teins\tCC-BY 2.0 (a)\ntwo\tzwei\tCC-BY 2.0 (b)\n": NUMBERS,
    # short words are no heading
    "No\tNo\nYes\tSi\n": [("No", "Yes"), ("No", "Si")],
}
QUOTED = 'eng\tdeu\n"Stop!" he said.\t"Halt!", sagte er.\n"Open\t"Auf\n'


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        *(("t.csv", content, texts) for content, texts in FILES.items()),
        ("t.tsv", QUOTED, [('"Stop!" he said.', '"Open'), ('"Halt!", sagte er.', '"Auf')]),
        *(("eng-deu.tsv", content, texts) for content, texts in PAIRS.items()),
    ],
)
def test_what_is_read_of_a_table_or_pair_file(tmp_path, name, content, texts):
    raw = read(table(tmp_path, content, name))
    assert raw.texts == dict(zip(("eng", "deu"), texts, strict=True))
    assert raw.changed == {"eng": (), "deu": ()}


def test_a_column_of_indonesian_headed_id(tmp_path):
    raw = read(table(tmp_path, "id,en\nRumah itu tua.,The house is old.\nKami minum air.,We drink water.\n"))
    assert raw.texts["id"] == ("Rumah itu tua.", "Kami minum air.")


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("eng-deu.tsv", ("eng", "deu")),
        ("eng-deu.txt", ("eng", "deu")),
        ("tatoeba.eng-deu.tsv", ("eng", "deu")),
        ("Tatoeba.v2.eng-deu.txt", ("eng", "deu")),
        ("eng_Latn-deu_Latn.tsv", ("eng_Latn", "deu_Latn")),
        ("en-zh-Hans.tsv", ("en", "zh-Hans")),
        ("zh-Hans-en.tsv", ("zh-Hans", "en")),
        # also a language by itself, where its lines are no pairs
        ("pt-br.txt", ("pt", "br")),
    ],
)
def test_a_pair_file_is_named_by_its_languages(tmp_path, name, codes):
    raw = read(table(tmp_path, "one\teins\ntwo \tzwei\r\n\nfour\t\n", name))
    assert raw.texts == dict(zip(codes, [("one", "two", "", "four"), ("eins", "zwei", "", "")], strict=True))


def test_pt_br_is_one_language_where_its_lines_are_no_pairs(tmp_path):
    assert read(table(tmp_path, "um\ndois\n", "pt-br.txt")).texts == {"pt-br": ("um", "dois")}


@pytest.mark.parametrize("heading", ["label", "labels", " LABELS "])
def test_labels_are_read_and_other_columns_left_aside(tmp_path, heading):
    raw = read(table(tmp_path, f"id,url,eng,deu,{heading},topic\n1,http://a,a,b,x,t\n2,http://b,c,d,y,t\n,,,,z,\n"))
    assert raw.languages == ("deu", "eng")
    assert raw.labels == ("x", "y")
    (note,) = raw.notes
    assert note.endswith("id, url, topic.")


WIDE = ",".join(f"c{i}" for i in range(1001))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "is empty"),
        ("t.csv", "\n\n", "is empty"),
        ("t.csv", "eng,deu\n,\n,\n", "headings but no text"),
        ("t.csv", "eng;deu\na;b\n", "0 language columns, at least 2 are needed; its columns are eng;deu"),
        ("t.csv", "eng,text,topic\na,b,c\n", "1 language columns, at least 2 are needed"),
        ("t.csv", "eng,deu,sentence_eng\na,b,c\n", "more than one column eng"),
        ("t.csv", "eng,deu,label,labels2,label\na,b,c,d,e\n", "more than one column label"),
        ("t.csv", "eng,deu\na,b,c\n", "Expected 2 fields in line 2, saw 3"),
        ("t.csv", 'eng,deu\n"a,b\n', "cannot be read as a table"),
        ("t.csv", "eng,deu\na,b\nspät,c\n".encode("latin-1"), r"t\.csv, line 3: not UTF-8"),
        ("t.csv", f"{WIDE}\n{WIDE}\n", "1001 columns; at most 1000"),
        ("t.parquet", b"PAR1 this is no parquet PAR1", "cannot be read as Parquet"),
        ("eng-deu.tsv", "one\teins\ntwo zwei\n", "line 2: 1 columns where 2 are expected"),
        ("eng-deu.tsv", "one\teins\ntwo\tzwei\tzwo\n", "line 2: 3 columns where 2 are expected"),
        ("eng-deu.tsv", "one\teins\tun\ntwo\tzwei\tdeux\n", "3 columns of text"),
        ("eng-deu.tsv", "", "is empty"),
        ("eng-deu.tsv", b"one\teins\ntwo\t\xff\n", "line 2: not UTF-8"),
    ],
)
def test_tables_and_pair_files_that_are_refused(tmp_path, name, content, message):
    with pytest.raises(CorpusError, match=message):
        read(table(tmp_path, content, name))


def parquet(folder, name="t.parquet", **columns):
    pd.DataFrame(columns).to_parquet(folder / name)
    return folder / name


# Pair files


def test_a_folder_of_pair_files_with_one_pivot(tmp_path):
    table(tmp_path, "one\teins\ntwo\tzwei\n", "eng-deu.tsv")
    table(tmp_path, "un\tone\ndeux\ttwo\n", "fra-eng.tsv")
    raw = read(tmp_path)
    assert raw.texts == {"eng": ("one", "two"), "deu": ("eins", "zwei"), "fra": ("un", "deux")}


# per language: the pivot's lines and its own
OWN = {"deu": (["one", "two", "ten"], ["eins", "zwei", "zehn"]), "fra": (["two", "six", ""], ["deux", "six", ""])}
OWN["spa"] = (["one", "two", "two"], ["uno", "dos", "un par"])


def own_pairs(folder):
    """Two files, two files in Moses' order, and one file; each with its own English."""
    for code, ending in (("deu", "tatoeba.deu-eng"), ("fra", "Ted.v1.eng-fra")):
        for side, lines in zip(("eng", code), OWN[code], strict=True):
            table(folder, "".join(f"{line}\n" for line in lines), f"{ending}.{side}")
    table(folder, "".join(f"{x}\t{y}\n" for x, y in zip(*OWN["spa"], strict=True)), "eng-spa.tsv")
    return folder


def test_pairs_with_their_own_pivot_sentences(tmp_path):
    raw = read(own_pairs(tmp_path))
    assert {code: (pair.texts["eng"], pair.texts[code]) for code, pair in raw.pairs.items()} == {
        "deu": tuple(map(tuple, OWN["deu"])), "fra": (("two", "six"), ("deux", "six")),
        "spa": tuple(map(tuple, OWN["spa"])),
    }  # fmt: skip
    assert (raw.pivots, raw.longest, raw.languages) == (("eng",), 3, ("deu", "eng", "fra", "spa"))
    assert "Each pair has its own sentences of eng" in raw.notes[0]
    for one in ("tatoeba.deu-eng.deu", "tatoeba.deu-eng.eng"):
        assert read(tmp_path / one).texts == {code: raw.pairs["deu"].texts[code] for code in ("deu", "eng")}
    corpus = select(raw, "en")
    # "two" stands twice in one pair: a tie there and nowhere else
    assert corpus.texts["eng"] == ("one", "two", "ten", "six", "two")
    assert corpus.texts["spa"] == ("uno", "dos", "", "", "un par")
    assert corpus.pairs == {"deu": {0: 1, 1: 2, 2: 3}, "fra": {1: 1, 3: 2}, "spa": {0: 1, 1: 2, 4: 3}}
    assert (corpus.counts, corpus.usable, corpus.size) == ((3, 2, 3), (), "2 to 3 sentences per pair")
    fra = corpus.restricted(["fra"])
    assert (fra.sentences("eng"), fra.sentences("fra"), fra.size) == (("two", "six"), ("deux", "six"), "2 sentences")
    assert [fra.line(k) for k in range(2)] == [1, 2]
    (count,) = found(corpus, "count")
    assert "from 2 to 3 sentences" in count.message
    assert "choose 2 sentences of each" in count.message
    assert [one.language for one in found(corpus, "duplicate")] == ["spa"]
    # one pair is an ordinary corpus
    assert (select(raw, "eng", ["spa"]).usable, select(raw, "eng", ["spa"]).pairs) == ((0, 1, 2), {})


def test_so_many_sentences_of_each_pair(tmp_path):
    raw = read(own_pairs(tmp_path))
    two, sampled, three = select(raw, "eng", None, 2), select(raw, "eng", None, 2, 1), select(raw, "eng", None, 3)
    assert (two.counts, found(two, "count"), found(two, "few")) == ((2, 2, 2), [], [])
    assert (two.size, list(two.pairs["spa"].values())) == ("2 sentences per pair", [1, 2])
    # each pair is drawn as it would be alone
    assert list(sampled.pairs["deu"].values()) == list(select(raw, "eng", ["deu"], 2, 1).lines)
    assert three.counts == (3, 2, 3)
    (few,) = found(three, "few")
    assert few.message == "French (fra): 2 sentences where 3 were asked for."
    for number, message in ((4, "corpus has 3; choose at most that"), (1, "at least 2")):
        with pytest.raises(CorpusError, match=message):
            select(raw, "eng", None, number)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"t.fra-eng.fra": "un\ndeux\n"}, r"t\.fra-eng\.fra is one side of a pair, and t\.fra-eng\.eng is missing"),
        (
            {"t.fra-eng.fra": "un\ndeux\n", "t.fra-eng.eng": "one\ntwo\nsix\n"},
            r"t\.fra-eng\.fra has 2 lines and t\.fra-eng\.eng has 3 lines",
        ),
        ({"t.fra-eng.fra": b"un\n\xff\n", "t.fra-eng.eng": "one\ntwo\n"}, r"t\.fra-eng\.fra, line 2: not UTF-8"),
        ({"t.fra-eng.fra": "", "t.fra-eng.eng": ""}, "is empty"),
        ({"t.fra-eng.fra": "un\n\ntrois", "t.fra-eng.eng": "one\ntwo\n\n"}, "Only 1 of 3 rows"),
    ],
)
def test_a_malformed_pair_beside_good_ones_is_one_sentence(tmp_path, files, said):
    table(tmp_path, "one\teins\ntwo\tzwei\n", "eng-deu.tsv")
    table(tmp_path, "two\tdos\nsix\tseis\n", "eng-spa.tsv")
    for name, content in files.items():
        table(tmp_path, content, name)
    raw = read(tmp_path)
    with pytest.raises(CorpusError, match=said) as problem:
        select(raw, "eng")
    assert "\n" not in str(problem.value)
    assert select(raw, "eng", ["deu", "spa"]).counts == (2, 2)
    assert "fra" in raw.pairs or "unreadable" in [one.kind for one in select(raw, "eng", ["deu"]).findings]


def test_the_shared_language_of_pairs_is_the_pivot(tmp_path):
    raw = read(own_pairs(tmp_path))
    for pivot, chosen in (("deu", ["eng"]), ("deu", ["fra"]), ("eng", ["eng", "deu"])):
        with pytest.raises(CorpusError, match="give eng as the pivot and not as a language"):
            select(raw, pivot, chosen)


@pytest.mark.parametrize(
    ("name", "second", "message"),
    [
        ("other.eng-deu.tsv", "one\teins\nTWO\tzwei\n", "are the same pair; give one of them"),
        ("deu-eng.tsv", "eins\tone\n", "are the same pair; give one of them"),
        ("fra-spa.tsv", "un\tuno\ndeux\tdos\n", "no language in common"),
    ],
)
def test_pair_files_that_do_not_fit_are_refused(tmp_path, name, second, message):
    table(tmp_path, "one\teins\ntwo\tzwei\n", "eng-deu.tsv")
    table(tmp_path, second, name)
    with pytest.raises(CorpusError, match=message):
        read(tmp_path)


def test_one_bad_pair_file_of_several_is_a_problem(tmp_path):
    table(tmp_path, "one\teins\ntwo\tzwei\n", "eng-deu.tsv")
    table(tmp_path, "one\tun\ntwo deux\n", "eng-fra.tsv")
    raw = read(tmp_path)
    assert raw.languages == ("deu", "eng")
    assert list(raw.problems) == ["fra"]
    assert "eng-fra.tsv, line 2" in raw.problems["fra"]


@given(st.lists(st.tuples(st.text(max_size=10), st.text(max_size=10)), min_size=1, max_size=6))
def test_a_csv_gives_what_was_written(rows):
    tidy = [[parallel.normalise(cell.replace("\0", "").replace("\r\n", "\n")) for cell in row] for row in rows]
    file = io.StringIO()
    pd.DataFrame([*tidy, ["end", "Ende"]], columns=["eng", "deu"]).to_csv(file, index=False, lineterminator="\n")
    raw = read_uploads([("t.csv", file.getvalue().encode())])
    assert raw.texts["eng"] == (*(row[0] for row in tidy), "end")
    assert raw.texts["deu"] == (*(row[1] for row in tidy), "Ende")
