"""Uploads: kept under their content, whatever their names."""

import errno
import os
import time

import pytest

from neuronxa_core.corpora import reading, uploads
from neuronxa_core.errors import CorpusError, NotAllowed
from neuronxa_core.host import limits


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


def test_uploads_are_as_many_and_as_large_as_the_host_allows(tmp_path, caplog):
    caplog.set_level("INFO", "neuronxa_core")
    most = {"file_mib": 1, "most_files": 2, "kept_mib": 2}
    mib = b"x" * limits.MIB
    with pytest.raises(NotAllowed, match="3 files"):
        uploads.keep([(f"{k}.txt", b"x") for k in range(3)], tmp_path, **most)
    with pytest.raises(NotAllowed, match="1 MiB per file"):
        uploads.keep([("a.txt", mib + b"x")], tmp_path, **most)
    assert not list(tmp_path.iterdir()), "nothing of it is kept"
    first = uploads.keep([("a.txt", mib)], tmp_path, **most)
    second = uploads.keep([("b.txt", mib)], tmp_path, **most)
    with pytest.raises(NotAllowed, match="last day"):
        uploads.keep([("c.txt", mib)], tmp_path, **most)
    assert uploads.keep([("b.txt", mib)], tmp_path, **most) == second, "what is there takes no more room"
    yesterday = time.time() - 2 * uploads.KEPT_S
    os.utime(first.parent, (yesterday, yesterday))
    third = uploads.keep([("c.txt", mib)], tmp_path, **most)
    assert third.is_file() and second.is_file() and not first.parent.exists()
    assert caplog.messages == [f"removed the upload {first.parent.name} to make room for another"]


def test_an_upload_that_fails_leaves_nothing_and_names_no_folder(tmp_path, monkeypatch):
    def full(path, data):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(uploads.Path, "write_bytes", full)
    with pytest.raises(CorpusError, match=r"cannot be kept \(No space left on device\)") as refused:
        uploads.keep([("eng.txt", b"one\n")], tmp_path)
    assert str(tmp_path) not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
