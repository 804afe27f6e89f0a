"""Folders, uploads and data sets of the hub; bytes and lines."""

import codecs
import sys
import types
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_corpora import ARABIC, ENGLISH, GERMAN, THAI, VIETNAMESE, found, write

from neuronxa_core.corpora import parallel
from neuronxa_core.corpora.reading import read, read_hub, read_uploads
from neuronxa_core.corpora.selection import select
from neuronxa_core.errors import CorpusError

# Folders of one file per language


def test_a_folder_of_text_files(tmp_path, monkeypatch):
    labels = ("home", "home", "travel", "home")
    texts = {"arb_Arab": ARABIC, "deu_Latn": GERMAN, "eng_Latn": ENGLISH, "tha_Thai": THAI}
    folder = write(tmp_path / "mine", **texts, labels=labels)
    raw = read(folder)
    assert raw.languages == tuple(texts)
    assert (raw.texts, raw.labels, raw.name, raw.problems, raw.notes) == (texts, labels, "mine", {}, ())
    assert read(str(folder)) == raw
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    for way in (".", f"{folder}/", "~/mine"):
        assert (read(way).name, read(way).texts) == ("mine", texts)


def test_labels_of_another_number_are_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"labels\.txt has 3 labels where the languages have 4 lines"):
        read(write(tmp_path, eng=ENGLISH, deu=GERMAN, labels=("a", "b", "c")))


def test_what_is_no_language_is_left_aside_and_said(tmp_path):
    others = {f"{k:02d}-more": b"\xff" for k in range(20)}
    folder = write(tmp_path, eng=ENGLISH, deu=GERMAN, README=("Read me.",), notes=("Note.",), **others)
    (folder / "table.csv").write_text("eng,deu\na,b\n")
    (folder / ".hidden.txt").write_text("x")
    raw = read(folder)
    assert raw.languages == ("deu", "eng")
    assert raw.problems == {}
    kinds, counts = raw.notes
    assert kinds == "Left aside, since not part of the corpus: README.txt (no corpus file), table.csv (a table)."
    unreadable = ", ".join(f"{name}.txt (unreadable)" for name in others)
    assert counts.endswith(f"other numbers of lines than 4: {unreadable}, notes.txt (1).")
    assert [finding.message for finding in found(select(raw, "eng"), "note")] == [kinds, counts]


@pytest.mark.parametrize("coded", [{"eng": ENGLISH}, {}])
def test_a_file_that_no_code_names_is_a_language_of_its_name(tmp_path, coded):
    names = ("007", "auv", "ell_monotonic", "urd_2")
    raw = read(write(tmp_path, **coded, **dict.fromkeys(names, GERMAN), short=GERMAN[:2]))
    assert raw.languages == tuple(sorted((*coded, *names)))
    assert raw.notes[0].endswith("short.txt (2).")
    assert select(raw, "007", ["urd_2"]).texts["urd_2"] == GERMAN
    with pytest.raises(CorpusError, match=r"no language ell\. Did you mean ell_monotonic\?"):
        select(raw, "007", ["ell"])


def test_a_folder_without_sentences(tmp_path):
    for folder in (tmp_path, write(tmp_path, labels=("a", "b"))):
        with pytest.raises(CorpusError, match="holds no corpus"):
            read(folder)


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
    assert raw.changed == {"eng": (), "deu": ()}


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (codecs.BOM_UTF8 + b"one\ntwo\n", ("one", "two")),
        (b"one\ntwo", ("one", "two")),
        (b"one\ntwo\n\n \r\n\n", ("one", "two")),
        (b"\none\n\n \ntwo\n", ("", "one", "", "", "two")),
    ],
)
def test_marks_and_empty_lines(tmp_path, data, lines):
    assert read(write(tmp_path, eng=data)).texts["eng"] == lines


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


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (codecs.BOM_UTF8 + "a\nspät".encode()[:-2], r"deu.txt, line 2: not UTF-8"),
        (b"a\nb\0c\n", "deu.txt, line 2: a NUL byte"),
        ("a\nb\n".encode("utf-16"), "deu.txt, line 1: not UTF-8"),
        *((data, "deu.txt is empty") for data in (b"", b"\n\n", b" \r\n", codecs.BOM_UTF8)),
    ],
)
def test_a_file_that_is_no_text_is_a_problem_of_its_language(tmp_path, data, message):
    assert message in read(write(tmp_path, eng=b"a\nb\n", deu=data)).problems["deu"]


def test_no_readable_language_says_why(tmp_path):
    with pytest.raises(CorpusError, match=r"deu\.txt is empty; eng\.txt, line 1: not UTF-8"):
        read(write(tmp_path, eng=b"\xff\n", deu=b""))


def test_vietnamese_is_composed_and_counted(tmp_path):
    apart = [unicodedata.normalize("NFD", line) for line in (*VIETNAMESE, "Küche")]
    vie = [apart[0], VIETNAMESE[1], apart[2], f" {VIETNAMESE[3]}\u3000"]
    raw = read(write(tmp_path, eng=ENGLISH, vie=vie, labels=[apart[4], " Bad ", "a", "b"]))
    assert raw.texts["vie"] == VIETNAMESE
    assert raw.labels == ("Küche", "Bad", "a", "b")
    assert raw.changed == {"eng": (), "vie": (0, 2, 3)}
    (finding,) = found(select(raw, "eng"), "normalised")
    assert (finding.language, finding.severity, finding.lines) == ("vie", "info", (1, 3, 4))
    assert found(select(raw, "eng", sentences=2), "normalised")[0].lines == (1,)


# Uploads


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
    uploaded = read_uploads([(f.name, f.read_bytes()) for f in sorted(folder.iterdir())])
    assert uploaded == replace(read(folder), name="upload", source="upload")
    assert read_uploads([("my corpus.csv", b"eng,deu\none,eins\n")]).name == "my corpus"


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


def flores_plus(codes, **more):
    threes, scripts = zip(*(code.split("_") for code in codes.split()), strict=True)
    return FakeDataset(
        {"id": [0] * len(threes), "iso_639_3": threes, "iso_15924": scripts, "text": "abcd"[: len(threes)]} | more
    )


def test_varieties_of_a_language_are_told_apart(hub):
    more = {"glottocode": ["occi1239", "aran1260", "stan1289", "stan1289"], "variant": ["", "", "", "valencia"]}
    hub.dataset = flores_plus("oci_Latn oci_Latn cat_Latn cat_Latn", **more)
    codes = ("oci_Latn_occi1239", "oci_Latn_aran1260", "cat_Latn", "cat_Latn_valencia")
    assert read_hub("openlanguagedata/flores_plus").texts == dict(zip(codes, map(tuple, "abcd"), strict=True))


@pytest.mark.parametrize(
    ("more", "message"), [({}, "sentence 0 of eng_Latn twice"), ({"id": [0, 1]}, "1 language columns")]
)
def test_rows_of_flores_plus_that_are_refused(hub, more, message):
    hub.dataset = flores_plus("eng_Latn eng_Latn", **more)
    with pytest.raises(CorpusError, match=message):
        read_hub("openlanguagedata/flores_plus")


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
        ("owner/name", None, "test"),
        ("owner/name:all", "all", "test"),
        ("owner/name::dev", None, "dev"),
        ("openlanguagedata/flores_plus::dev", None, "dev"),
        ("openlanguagedata/flores_plus", None, "devtest"),
    ],
)
def test_hub_sources(hub, source, config, split):
    """No code of a data set is ever trusted: trust_remote_code is not among the arguments."""
    hub.dataset = FakeDataset({"eng": ["a"], "deu": ["b"]})
    read(f"hub:{source}")
    read_hub("owner/name", revision="abc")
    given = [kwargs for _, kwargs in hub.calls]
    assert given[0] == {"name": config, "split": split, "revision": None}
    assert given[1] == {"name": None, "split": "test", "revision": "abc"}


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
    assert raw.changed["eng"] == ()


@given(st.text(max_size=30))
def test_normalising_is_idempotent_and_composed(text):
    once = parallel.normalise(text)
    assert parallel.normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == once.strip()
