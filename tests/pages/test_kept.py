"""What pages keep: by size, and whatever a visitor sends."""

import threading
from collections import OrderedDict

import numpy as np
import pytest
import streamlit as st

from neuronxa_core.corpora.parallel import RawCorpus
from neuronxa_core.host import limits
from pages.components import kept


@pytest.fixture
def made(monkeypatch):
    """make(name, bytes, anything), kept in at most 1000 bytes; and the names for which it was called."""
    monkeypatch.setattr(kept, "_values", OrderedDict())
    monkeypatch.setattr(limits, "KEPT_BYTES", 1000)
    names = []

    @kept.kept("Making …")
    def make(name, size, _other=None):
        names.append(name)
        return np.zeros(size, np.uint8)

    return make, names


def test_what_was_used_longest_ago_goes_first_and_the_newest_stays(made):
    make, names = made
    for name, size in (("a", 400), ("b", 400), ("a", 400), ("c", 400), ("a", 400), ("b", 400), ("huge", 5000)):
        make(name, size, object())
    assert names == ["a", "b", "c", "b", "huge"]
    assert [size for _, size in kept._values.values()] == [5000]
    st.cache_resource.clear()
    assert make("huge", 5000) is make("huge", 5000)
    assert names[-1] == "huge" != names[-2]


def test_a_value_is_made_once_however_many_ask_at_once(made):
    make, names = made
    threads = [threading.Thread(target=make, args=("a", 1)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == ["a"]


def test_a_corpus_counts_with_its_texts():
    """Three uploads took 3 GiB when corpora were counted by their number."""
    texts = {code: tuple(f"{code} {k} " + "x" * 1000 for k in range(500)) for code in ("eng", "deu")}
    size = kept.process_memory.size_of(RawCorpus("name", "source", texts, {}, {}))
    assert 1000 * 1000 < size < 1100 * 1000
