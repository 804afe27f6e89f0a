"""Folders, uploads and data sets of the hub; bytes and lines."""

import codecs
import sys
import types
import unicodedata
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
    assert raw.changed == {"eng": (), "deu": ()}


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
    assert raw.changed == {"eng": (), "vie": (0, 2, 3)}
    (finding,) = found(select(raw, "eng"), "normalised")
    assert (finding.language, finding.severity, finding.lines) == ("vie", "info", (1, 3, 4))
    assert found(select(raw, "eng", sentences=2), "normalised")[0].lines == (1,)


def test_labels_are_normalised_too(tmp_path):
    raw = read(write(tmp_path, eng=b"a\nb\n", deu=b"c\nd\n", labels=[unicodedata.normalize("NFD", "Küche"), " Bad "]))
    assert raw.labels == ("Küche", "Bad")


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
