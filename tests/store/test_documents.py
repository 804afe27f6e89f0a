"""Documents: shared by processes, never unpickled, and whatever befalls the database costs no entry."""

import json
import pickle
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuronxa_core.errors import StoreError

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


def test_a_damaged_database_costs_no_entry(store):
    store.put("key", {"x": np.arange(3)}, {})
    store.put_json("key", 1)
    store.close()
    for file in (store.folder / "documents").glob("cache.db*"):
        file.write_bytes(b"\xff" * 5000)
    assert store.get_json("key") is None
    assert not store.try_put_json("key", 2)
    assert "delete that folder" in store.last_write_error
    with pytest.raises(StoreError, match="documents"):
        store.put_json("key", 2)
    assert store.read("key")["x"].tolist() == [0, 1, 2]
