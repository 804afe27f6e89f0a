"""Uploads: kept under their content, whatever their names."""

import pytest

from neuronxa_core.corpora import reading, uploads
from neuronxa_core.errors import CorpusError


def test_uploads_are_kept_under_their_content(tmp_path):
    first = uploads.keep([("../eng.txt", b"one\ntwo\n"), ("deu.txt", b"eins\nzwei\n")], tmp_path)
    assert first.parent == tmp_path
    assert sorted(f.name for f in first.iterdir()) == ["deu.txt", "eng.txt"]
    assert uploads.keep([("eng.txt", b"one\ntwo\n"), ("deu.txt", b"eins\nzwei\n")], tmp_path) == first
    assert reading.read(first).texts["deu"] == ("eins", "zwei")
    table = uploads.keep([("t.csv", b"eng,deu\none,eins\ntwo,zwei\n")], tmp_path)
    assert reading.read(table).texts["eng"] == ("one", "two")


@pytest.mark.parametrize("name", ["../../etc/eng.txt", "C:\\temp\\eng.txt", "/abs/eng.txt", "..eng.txt"])
def test_a_name_cannot_leave_the_folder(tmp_path, name):
    kept = uploads.keep([(name, b"one\n")], tmp_path)
    assert kept.name == "eng.txt"
    assert kept.parent.parent == tmp_path


def test_a_name_is_as_long_as_names_may_be(tmp_path):
    kept = uploads.keep([("語" * 300 + ".csv", b"eng,deu\na,b\nc,d\n")], tmp_path)
    assert kept.name.endswith("語.csv")
    assert reading.read(kept).languages == ("deu", "eng")


def test_no_name_and_equal_names_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="no usable name"):
        uploads.keep([("...", b"")], tmp_path)
    with pytest.raises(CorpusError, match=r"called eng\.txt"):
        uploads.keep([("a/eng.txt", b"1"), ("b/eng.txt", b"2")], tmp_path)
