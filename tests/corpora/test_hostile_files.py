"""Files that nobody checked: however large, deep or damaged they are, they are refused in one sentence."""

import base64
import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neuronxa_core.corpora import parquet, reading
from neuronxa_core.errors import CorpusError, NeuronXAError, ScoresError
from neuronxa_core.experiment import Experiment
from neuronxa_core.host import limits
from neuronxa_core.measures import lm_eval
from neuronxa_core.models import sources
from neuronxa_core.tasks import score_files


def as_parquet(table, **options):
    held = io.BytesIO()
    pq.write_table(table, held, **options)
    return held.getvalue()


def test_a_parquet_file_that_repeats_one_long_value_is_refused_and_fills_no_memory(monkeypatch):
    monkeypatch.setattr(limits, "CORPUS_LETTERS", 4 * limits.MIB)
    value = pa.array(["x" * 100_000], pa.string())
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(50_000, np.int32)), value)
    data = as_parquet(pa.table({"eng": column, "deu": column}), compression="zstd")
    assert len(data) < 20_000
    said = pq.ParquetFile(io.BytesIO(data)).metadata
    assert sum(said.row_group(0).column(k).total_uncompressed_size for k in range(2)) < limits.CORPUS_LETTERS
    with pytest.raises(CorpusError, match="letters"):
        reading.read_uploads([("bomb.parquet", data)])


def test_a_repeated_value_that_is_small_is_read_as_it_is():
    column = pa.array(["a", "b", None, "a"]).dictionary_encode()
    plain = pa.array(["c", "d", "e", "f"], pa.large_string())
    data = as_parquet(pa.table({"eng": column, "deu": plain, "note": pa.array([[1], [2], [3], [4]])}), row_group_size=3)
    raw = reading.read_uploads([("fine.parquet", data)])
    assert raw.texts == {"eng": ("a", "b", "", "a"), "deu": ("c", "d", "e", "f")}


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("CORPUS_LINES", 50, "rows"),
        ("CORPUS_CELLS", 100, "cells"),
        ("CORPUS_COLUMNS", 2, "columns"),
        ("CORPUS_LETTERS", 3000, "unpacked"),
        ("LINE_BYTES", 5, "one cell"),
        ("PARQUET_CHUNKS", 5, "row groups"),
        ("CORPUS_FILE_BYTES", 100, "MiB"),
        ("CORPUS_BYTES", 100, "together"),
    ],
)
def test_what_a_parquet_file_says_of_its_size_is_checked_first(monkeypatch, limit, value, said):
    texts = [f"sentence {k}" for k in range(100)]
    data = as_parquet(pa.table({"eng": texts, "deu": texts, "fra": texts}), row_group_size=25)
    monkeypatch.setattr(limits, limit, value)
    with pytest.raises(CorpusError, match=said):
        reading.read_uploads([("large.parquet", data)])


def test_only_the_wanted_columns_of_a_parquet_file_are_unpacked(monkeypatch):
    monkeypatch.setattr(limits, "CORPUS_LETTERS", 10_000)
    texts = ["a", "b"]
    large = [f"{k:05d}" * 4000 for k in range(2)]
    data = as_parquet(pa.table({"eng": texts, "deu": texts, "notes": large}), use_dictionary=False)
    assert reading.read_uploads([("t.parquet", data)]).texts["eng"] == ("a", "b")


def test_a_column_that_is_no_text_is_said_and_not_unpacked():
    odd = {
        "fra": pa.array([[1] * 1000, [2]]),
        "spa": pa.array([{"a": "x"}, {"a": "y"}]),
        "ita": pa.array([b"\xff", b"x"], pa.binary()),
        "nld": pa.array([1, 2]),
        "por": pa.array([True, False]),
        "tur": pa.array([2**62, 0], pa.timestamp("ns")),
    }
    raw = reading.read_uploads([("t.parquet", as_parquet(pa.table({"eng": ["a", "b"], "deu": ["c", "d"], **odd})))])
    assert raw.languages == ("deu", "eng")
    assert all("no text" in raw.problems[code] for code in odd)


# 338 bytes of which one was changed: Arrow ends the process that asks how its columns are called
DEADLY = (
    "c-noCO$x#=5QQgg2rjxP#R&~`(M^LwEh;E3+_-lk-k{cCU8uG7=Q<wA6L=OUB7z7m<~`;y-(<*Qwj3bGHn!(v5CAX$$gQjpFu)+C+(&^TqRgS<jJeJ)"
    "Q&?I5XVi2Ap=gTI>~iFQUeXC&v)?2zx0BR6p}RKccQ3h$RH`9DPmMtM>NSj%%TktlqFY`25}*SlKG~EIp)_!!zc^a@;ciS<|3G<XlIs>3bmA(nk7sl0"
    "6;;*C>-unwFQ#s`hkZO8XZ>uTQo7V0`=DCTZ$1Hu7%Mv"
)


def test_a_parquet_file_that_ends_its_reader_does_not_end_the_app():
    with pytest.raises(CorpusError, match=r"cannot be read as Parquet") as refused:
        reading.read_uploads([("t.parquet", zlib.decompress(base64.b85decode(DEADLY)))])
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.abort()", "SIGABRT"),
        ("import sys; sys.stdin.buffer.read(1); sys.exit(3)", "status 3"),
        ("print('[1')", "damaged"),
        ("print('[\"described\", 3]')", "damaged"),
        ("import time; time.sleep(60)", "SIGKILL"),
    ],
)
def test_whatever_becomes_of_the_reader_is_one_sentence(tmp_path, monkeypatch, program, said):
    (tmp_path / "reader.py").write_text(program)
    monkeypatch.setattr(parquet, "READER", tmp_path / "reader.py")
    monkeypatch.setattr(limits, "PARQUET_SECONDS", 1)
    with pytest.raises(CorpusError, match=said):
        reading.read_uploads([("t.parquet", b"x" * 10_000_000)])


def test_the_reader_is_told_no_secret(tmp_path, monkeypatch):
    (tmp_path / "reader.py").write_text(
        "import json, os\nprint(json.dumps(['error', ' '.join(f'{k}={v}' for k, v in os.environ.items())]))"
    )
    monkeypatch.setattr(parquet, "READER", tmp_path / "reader.py")
    monkeypatch.setenv("HF_TOKEN", "a-planted-token")
    monkeypatch.setenv("OTHER_SECRET", "another")
    with pytest.raises(CorpusError, match="PATH=") as refused:
        reading.read_uploads([("t.parquet", b"x")])
    assert "planted" not in str(refused.value)
    assert "OTHER_SECRET" not in str(refused.value)


def test_a_damaged_parquet_file_is_one_sentence(full):
    data = bytearray(as_parquet(pa.table({"eng": ["a", "b"], "deu": ["c", "d"]}), compression="none"))
    random = np.random.default_rng(5)
    refused = 0
    tries = 60 if full else 5
    for _ in range(tries):
        broken = bytearray(data)
        for place in random.integers(0, len(data), 3):
            broken[place] = random.integers(0, 256)
        try:
            reading.read_uploads([("t.parquet", bytes(broken))])
        except NeuronXAError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1
    assert refused > tries / 4
    not_text = bytes(data).replace(b"c", b"\xff")
    with pytest.raises(CorpusError):
        reading.read_uploads([("t.parquet", not_text)])
    for lying in (b"PAR1" + struct.pack("<I", 2**31) + b"PAR1", b"PAR1PAR1", data[:-4]):
        with pytest.raises(CorpusError, match="Parquet"):
            reading.read_uploads([("t.parquet", bytes(lying))])


def test_a_table_of_a_million_columns_is_refused_before_it_is_made(monkeypatch, full):
    monkeypatch.setattr(pd, "read_csv", lambda *_, **__: pytest.fail("the table was made"))
    many = 1_000_000 if full else 100_000
    for name, separator in (("t.csv", b","), ("t.tsv", b"\t")):
        data = separator.join(b"c" for _ in range(many)) + b"\n1\n"
        with pytest.raises(CorpusError, match=r"columns|one line"):
            reading.read_uploads([(name, data)])
    with pytest.raises(ScoresError, match=r"too large|larger"):
        score_files.read_file("t.csv", b",".join(b"c" for _ in range(many)) + b"\n1\n")


def test_a_table_that_is_mostly_empty_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(pd, "read_csv", lambda *_, **__: pytest.fail("the table was made"))
    header = ",".join(f"c{k}" for k in range(900))
    with pytest.raises(CorpusError, match="cells"):
        reading.read_uploads([("t.csv", header.encode() + b"\n" * 20_000)])


def test_a_line_that_is_no_sentence_is_refused(monkeypatch, full):
    size = 240 * limits.MIB if full else 4 * limits.MIB
    for name in ("eng.txt", "eng-deu.tsv", "t.csv"):
        data = b"eng,deu\ta\n" + b"x" * size + b"\n"
        with pytest.raises(CorpusError, match=r"line 2: .* MiB in one line"):
            reading.read_uploads([(name, data)])


def test_too_many_lines_and_cells_are_refused(monkeypatch):
    monkeypatch.setattr(limits, "CORPUS_LINES", 100)
    with pytest.raises(CorpusError, match="more than 100 lines"):
        reading.read_uploads([("eng.txt", b"a\n" * 101), ("deu.txt", b"a\n" * 101)])
    monkeypatch.setattr(limits, "CORPUS_CELLS", 50)
    with pytest.raises(CorpusError, match="more than 50 cells"):
        reading.read_uploads([("eng-deu.tsv", b"a\tb\n" * 51)])


def test_an_enormous_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    for name in ("eng.txt", "deu.txt"):
        with (tmp_path / name).open("wb") as handle:
            handle.truncate(400 * limits.MIB)  # takes no room on the disk
    opened, opens = [], Path.open
    monkeypatch.setattr(Path, "open", lambda path, *given, **named: opened.append(path) or opens(path, *given, **named))
    with pytest.raises(CorpusError, match="400 MiB; at most 256 MiB"):
        reading.read(tmp_path)
    with pytest.raises(CorpusError, match="400 MiB"):
        reading.read(tmp_path / "eng.txt")
    (tmp_path / "eng.txt").rename(tmp_path / "s.csv")
    with pytest.raises(ScoresError, match="400 MiB; at most 64 MiB"):
        score_files.read_scores(tmp_path / "s.csv")
    assert not [path for path in opened if path.is_relative_to(tmp_path)]


def test_a_folder_of_very_many_files_is_refused(tmp_path, monkeypatch):
    for k in range(12):
        (tmp_path / f"{k}.json").write_text("{}")
    monkeypatch.setattr(limits, "CORPUS_FILES", 10)
    monkeypatch.setattr(limits, "SCORES_FILES", 10)
    with pytest.raises(CorpusError, match="more than 10 files"):
        reading.read(tmp_path)
    with pytest.raises(ScoresError, match="more than 10 files"):
        score_files.read_scores(tmp_path)
    monkeypatch.setattr(limits, "SCORES_FILES", 100)
    monkeypatch.setattr(limits, "SCORES_BYTES", 10)
    with pytest.raises(ScoresError, match="together"):
        score_files.read_scores(tmp_path)


@pytest.mark.parametrize("name", ["eng.txt", "t.csv", "eng-deu.tsv", "t.tsv"])
def test_null_bytes_are_no_text(name):
    data = b"eng,deu\tx\na\0,b\tc\n"
    with pytest.raises(CorpusError, match="NUL"):
        reading.read_uploads([(name, data)])
    with pytest.raises(ScoresError, match="NUL"):
        score_files.read_file("t.csv", data)


def test_an_archive_is_not_unpacked(tmp_path):
    packed = tmp_path / "c.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("eng.txt", "a\nb\n")
        archive.writestr("deu.txt", "a\nb\n")
    for source in (packed, tmp_path):
        with pytest.raises(CorpusError, match="archive, which is not read"):
            reading.read(source)
    with pytest.raises(CorpusError, match="archive, which is not read"):
        reading.read_uploads([("c.tar.gz", b"\x1f\x8b")])
    with pytest.raises(CorpusError):
        reading.read_uploads([("t.csv", packed.read_bytes())])
    with pytest.raises(ScoresError, match="workbook"):
        score_files.read_file("t.csv", packed.read_bytes())


def test_json_as_deep_as_it_likes_is_one_sentence():
    deep = "[" * 200_000
    for text in (
        deep,
        '{"results":' * 100_000,
        '{"results": ' + deep + "]" * 200_000 + "}",
        '{"results": ' + "9" * 10_000 + "}",
    ):
        with pytest.raises(ScoresError) as refused:
            score_files.read_file("results_1.json", text.encode())
        assert len(str(refused.value)) < 500
        assert not lm_eval._holds_results(text.encode())


@pytest.mark.parametrize("asks", [reading.read, score_files.read_scores, sources.parse_source])
@pytest.mark.parametrize("text", ["~nobody-of-that-name/x", "a\0b", "x" * 5000, "/proc/1/root/x"])
def test_a_strange_path_is_one_sentence_on_the_command_line_too(asks, text):
    with pytest.raises(NeuronXAError):
        asks(text)


def test_an_experiment_has_names_of_a_length_that_names_have():
    for values in (
        {"model": "x" * 5000},
        {"corpus": "x" * 5000},
        {"pivot": "x" * 300},
        {"languages": ("x" * 300,)},
        {"languages": ("x",) * 2000},
    ):
        with pytest.raises(NeuronXAError):
            Experiment(**values)
