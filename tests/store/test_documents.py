"""Documents: shared by processes, never unpickled, and whatever befalls the database costs no entry."""

import json
import pickle
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def test_another_process_reads_them(store):
    store.put_json("key", {"a": [1, None, "ü"]})
    code = "import json, sys; from neuronxa_core.store.cache import Store; store = Store(sys.argv[1]); "
    code += "print(json.dumps(store.get_json('key')))"
    said = subprocess.check_output([sys.executable, "-c", code, str(store.folder)], cwd=ROOT, text=True)
    assert json.loads(said) == {"a": [1, None, "ü"]}


def test_a_planted_pickle_is_not_read(store, tmp_path):
    class Planted:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    store.put_json("key", 1)
    store.close()
    with sqlite3.connect(store.folder / "documents" / "cache.db") as database:
        database.execute("UPDATE Cache SET mode = 4, value = ?", (pickle.dumps(Planted()),))
    assert store.get_json("key") is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("planted", "found"),
    [("store_time = 1e300", 1), ("size = 'x'", 1), ("value = 'x'", None), ("value = NULL", None), ("mode = 'x'", None)],
)
def test_a_row_of_other_types_is_read_or_none_and_the_next_write_is_kept(store, planted, found):
    store.put_json("key", 1)
    store.close()
    with sqlite3.connect(store.folder / "documents" / "cache.db") as database:
        database.execute(f"UPDATE Cache SET {planted}")
    assert store.get_json("key") == found
    store.put_json("key", 2)
    assert store.get_json("key") == 2


@pytest.mark.parametrize("start", [0, 4096])
def test_a_damaged_database_is_begun_anew_with_one_line_in_the_log(store, caplog, start):
    store.put("key", {"x": np.arange(3)}, {})
    store.put_json("key", 1)
    store.close()
    (store.folder / "documents" / "cache.db-wal").unlink(missing_ok=True)
    with (store.folder / "documents" / "cache.db").open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * 100_000)
    assert store.get_json("key") is None
    store.put_json("key", 2)
    assert store.get_json("key") == 2
    assert ["begun anew" in record.message for record in caplog.records] == [True]
    assert store.read("key")["x"].tolist() == [0, 1, 2]
