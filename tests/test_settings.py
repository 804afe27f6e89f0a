"""The host's settings: a file is read in full or refused, and nothing beyond what it allows is so much as looked at."""

import ast
import base64
import io
import os
import pathlib
import shutil
import struct
import sys
import time
import tomllib
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import chromium, needs_browser, served, visit, watched
from markdown_it import MarkdownIt
from streamlit.testing.v1 import AppTest

from neuronxa_core.corpora import parquet, reading, uploads
from neuronxa_core.errors import CorpusError, ModelError, NeuronXAError, NotAllowed, ScoresError, SettingsError
from neuronxa_core.experiment import Experiment
from neuronxa_core.host import allow_list, limits, settings
from neuronxa_core.host.settings import Settings
from neuronxa_core.measures import lm_eval
from neuronxa_core.models import sources, structure
from neuronxa_core.states.computing import compute_missing
from neuronxa_core.states.planning import make_plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from neuronxa_core.tasks import consistency, score_files

ROOT = Path(__file__).parents[1]
EVERYTHING = """
[models]
folders = ["models"]
hub = ["Qwen/*", "openai-community/gpt2"]
devices = ["cpu"]
dtypes = ["float32", "bfloat16"]
loaded = 2

[corpora]
folders = ["corpora"]
hub = ["openlanguagedata/flores_plus"]

[scores]
folders = ["scores"]
harness = true
task_folders = ["tasks"]

[uploads]
file_mib = 1
files = 3
kept_mib = 2

[cache]
gib = 2.5

[queue]
waiting = 4
waiting_a_person = 2

[runs]
languages = 3
sentences = 20

[people]
managers = ["Ann@lab.example"]
"""


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host's folders, with something secret beside them, and a cache; the working folder is elsewhere."""
    for name in ("models", "corpora", "scores", "tasks", "secret", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret" / "eng.txt").write_text("one\ntwo\n")
    (tmp_path / "secret" / "deu.txt").write_text("eins\nzwei\n")
    (tmp_path / "secret" / "config.json").write_text("{}")
    shutil.copytree(tmp_path / "secret", tmp_path / "corpora" / "own", ignore=shutil.ignore_patterns("*.json"))
    shutil.copytree(sources.DEMO_FOLDER, tmp_path / "models" / "small")
    (tmp_path / "scores" / "s.csv").write_text("language,acc\ndeu,0.5\n")
    (tmp_path / "tasks" / "t.yaml").write_text("task: t\n")
    (tmp_path / "neuronxa.toml").write_text(EVERYTHING)
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


@pytest.fixture
def allowed(host):
    return settings.read(host / "neuronxa.toml")


# the file -----------------------------------------------------------------------------------------------------------


def test_all_that_a_file_can_say_is_read(host, allowed):
    assert allowed.file == str(host / "neuronxa.toml")
    assert set(allowed.model_folders) == {host / "models"}
    assert allowed.hub_models == ("Qwen/*", "openai-community/gpt2")
    assert (allowed.devices, allowed.dtypes, allowed.models_loaded) == (("cpu",), ("float32", "bfloat16"), 2)
    assert set(allowed.corpus_folders) == {host / "corpora"}
    assert allowed.hub_corpora == ("openlanguagedata/flores_plus",)
    assert (allowed.harness, set(allowed.task_folders)) == (True, {host / "tasks"})
    assert (allowed.upload_mib, allowed.upload_files, allowed.uploads_mib) == (1, 3, 2)
    assert (allowed.waiting, allowed.waiting_a_person) == (4, 2)
    assert (allowed.most_languages, allowed.most_sentences) == (3, 20)
    assert allowed.managers == ("ann@lab.example",)


def test_every_setting_of_the_file_is_documented_and_has_its_field():
    named = {name for keys in settings._KEYS.values() for name, _ in keys.values()}
    assert named | {"file"} == set(Settings.__dataclass_fields__)
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    for section, keys in settings._KEYS.items():
        assert f"[{section}]" in text
        for key in keys:
            assert f"`{key}`" in text


def test_the_example_of_the_documentation_is_read(tmp_path):
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    example = text.split("```toml")[1].split("```")[0]
    for folder in ("models", "corpora"):
        (tmp_path / folder).mkdir()
    file = tmp_path / "neuronxa.toml"
    file.write_text(example)
    read = settings.read(file)
    assert set(tomllib.loads(example)) <= set(settings._KEYS)
    assert read.hub_models
    assert set(read.model_folders) == {tmp_path / "models"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[model]\nhub = []", "no section [model]"),
        ("[models]\nfolder = []", "no key 'folder'"),
        ("models = 3", "is a section"),
        ("[models]\nhub = 'Qwen/*'", "a list of hub ids"),
        ("[models]\nhub = ['a/b/c']", "a list of hub ids"),
        ("[models]\nhub = ['../x']", "a list of hub ids"),
        ("[models]\nfolders = ['nowhere']", "nowhere is none"),
        ("[models]\nfolders = ['~nobody-of-that-name/x']", "is none"),
        ("[models]\nfolders = ['a\\u0000b']", "is none"),
        ("[models]\nfolders = [3]", "a list of folders"),
        ("[models]\ndevices = ['tpu']", "cpu, cuda"),
        ("[models]\ndevices = []", "cpu, cuda"),
        ("[models]\ndtypes = ['auto']", "float32"),
        ("[models]\nloaded = 0", "from 1 to 100"),
        ("[models]\nloaded = true", "from 1 to 100"),
        ("[models]\nloaded = 1.5", "from 1 to 100"),
        ("[uploads]\nfile_mib = -1", "from 0"),
        ("[uploads]\nfile_mib = 100000", "from 0"),
        ("[cache]\ngib = 0", "above 0"),
        ("[cache]\ngib = nan", "above 0"),
        ("[cache]\ngib = inf", "above 0"),
        ("[scores]\nharness = 1", "true or false"),
        ("[scores]\ntask_folders = ['.']", "harness = true"),
        ("[people]\nmanagers = ['ann']", "e-mail"),
        ("[people]\nmanagers = 'ann@x.y'", "e-mail"),
        ("[queue]\nwaiting = '4'", "from 1"),
        ("[runs]\nlanguages = 1", "from 2"),
        ("[models", "is no TOML"),
        ("x = " + "9" * 5000, "is no TOML"),
        ("x = " + "[" * 5000, "is no TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_said_with_its_key(tmp_path, text, said):
    file = tmp_path / "neuronxa.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        settings.read(file)
    assert said in str(refused.value)
    assert str(file) in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_a_file_that_cannot_be_read_is_no_open_app(tmp_path, monkeypatch):
    file = tmp_path / "neuronxa.toml"
    for content in (None, b"\xff\xfe", b"#" * (limits.SETTINGS_BYTES + 1)):
        if content is not None:
            file.write_bytes(content)
        monkeypatch.setenv(settings.VARIABLE, str(file))
        with pytest.raises(SettingsError):
            settings.of_host(local=True)


TOML = st.recursive(
    st.one_of(st.text(max_size=6), st.integers(), st.floats(), st.booleans(), st.sampled_from(["*", "."])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=6), st.sampled_from([key for keys in settings._KEYS.values() for key in keys])),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.one_of(st.sampled_from(list(settings._KEYS)), st.text(max_size=6)), TOML, max_size=3))
def test_whatever_a_document_says_it_is_taken_or_refused(document):
    try:
        read = settings.parse(document, Path("x.toml"))
    except SettingsError:
        return
    assert isinstance(read, Settings)
    assert 1 <= read.models_loaded <= 100
    assert set(read.devices) <= {"cpu", "cuda"}


def test_without_a_file_only_this_machine_is_open(monkeypatch, tmp_path):
    monkeypatch.delenv(settings.VARIABLE, raising=False)
    monkeypatch.setattr(settings, "BESIDE_THE_APP", tmp_path / "none.toml")
    assert settings.of_host(local=True) == Settings.of_this_machine()
    assert settings.of_host(local=False) == Settings.closed()
    (tmp_path / "none.toml").write_text("[models]\nloaded = 3\n")
    assert settings.of_host(local=True).models_loaded == 3
    assert settings.of_host(local=True).model_folders == (), "what a file does not allow is not allowed"
    monkeypatch.setenv(settings.VARIABLE, str(tmp_path / "other.toml"))
    (tmp_path / "other.toml").write_text("[models]\nloaded = 5\n")
    assert settings.of_host(local=True).models_loaded == 5


def test_the_variable_goes_before_the_files_cache_limit(allowed, monkeypatch):
    monkeypatch.delenv("NEURONXA_CACHE_GIB", raising=False)
    assert allowed.cache_bytes == int(2.5 * 2**30)
    assert Settings().cache_bytes == 50 * 2**30
    monkeypatch.setenv("NEURONXA_CACHE_GIB", "7")
    assert allowed.cache_bytes == 7 * 2**30


# what may be loaded -------------------------------------------------------------------------------------------------


def test_what_is_allowed_is_taken(host, allowed):
    source = allowed.model_source(str(host / "models" / "small"))
    assert source == sources.parse_source(str(host / "models" / "small"))
    assert allowed.model_source("../models/small".replace("..", str(host))).kind == "folder"
    assert allowed.model_source("demo").kind == "demo"
    assert allowed.model_source("Qwen/Qwen3-8B@main") == sources.parse_source("Qwen/Qwen3-8B@main")
    assert allowed.corpus_source(str(host / "corpora" / "own")) == str(host / "corpora" / "own")
    assert allowed.corpus_source("hub:openlanguagedata/flores_plus:x") == "hub:openlanguagedata/flores_plus:x"
    assert allowed.score_source(str(host / "scores" / "s.csv")) == host / "scores" / "s.csv"
    assert allowed.task_folder(str(host / "tasks")) == str(host / "tasks")
    assert allowed.task_folder("  ") is None
    allowed.check(Experiment(model=str(host / "models" / "small"), corpus=str(host / "corpora" / "own")))
    allowed.check(Experiment())
    assert allowed.models_found() == [str(host / "models" / "small")]
    assert allowed.corpora_found() == [str(host / "corpora" / "own")]


def outside(host):
    """Ways to name what is not allowed, some there and some not."""
    (host / "corpora" / "way-out").symlink_to(host / "secret")
    (host / "models" / "way-out").symlink_to(host / "secret")
    (host / "scores" / "way-out.csv").symlink_to(host / "secret" / "eng.txt")
    (host / "corpora" / "ring").symlink_to(host / "corpora" / "ring")
    return [
        str(host / "secret"),
        str(host / "not-there"),
        str(host),
        "/",
        "/etc",
        "/etc/passwd",
        "..",
        "../secret",
        str(host / "corpora" / ".." / "secret"),
        str(host / "models" / ".." / "secret"),
        f"{host}/corpora/own/../../secret",
        str(host / "corpora" / "way-out"),
        str(host / "models" / "way-out"),
        str(host / "models" / "way-out" / "x"),
        str(host / "corpora" / "ring"),
        str(host) + "/corporate",
        "~",
        "~root",
        "~nobody-of-that-name",
        "elsewhere",
        "a\0b",
        "x" * 5000,
        "file:///etc/passwd",
        "http://localhost/",
        "hub:owner/other",
        "Owner/other",
        "qwen",
    ]


@pytest.mark.parametrize("asks", ["model_source", "corpus_source", "score_source", "task_folder"])
def test_what_is_outside_is_refused_in_the_same_words_whether_it_is_there_or_not(host, allowed, asks):
    said = {}
    for text in outside(host):
        if asks == "corpus_source" and text.startswith("hub:"):
            text = "hub:owner/other"
        with pytest.raises(NotAllowed) as refused:
            getattr(allowed, asks)(text)
        said[text] = str(refused.value).replace(text[:200], "…", 1)
    assert len(set(said.values())) == 1, said


def test_nothing_outside_is_so_much_as_looked_at(host, allowed, monkeypatch):
    seen = []

    def noted(call):
        def asked(path, *arguments, **options):
            seen.append(os.fspath(path) if isinstance(path, str | os.PathLike) else "")
            return call(path, *arguments, **options)

        return asked

    secrets = [str(host / "secret"), str(host / "not-there" / "x"), str(host / "corpora" / ".." / "secret"), "~root"]
    for name in ("stat", "lstat", "scandir", "listdir", "readlink", "open"):
        monkeypatch.setattr(os, name, noted(getattr(os, name)))
    monkeypatch.setattr(pathlib.Path, "stat", noted(pathlib.Path.stat))
    for text in secrets:
        for asks in (allowed.model_source, allowed.corpus_source, allowed.score_source, allowed.task_folder):
            with pytest.raises(NotAllowed):
                asks(text)
        with pytest.raises(NotAllowed):
            allowed.check(Experiment(model=text))
    assert not [path for path in seen if "secret" in path or "not-there" in path or "root" in path]


def test_a_link_inside_that_leads_out_is_refused_and_one_that_stays_is_not(host, allowed):
    own = host / "corpora" / "own"
    (own / "fra.txt").symlink_to(host / "secret" / "eng.txt")
    with pytest.raises(NotAllowed, match=r"fra\.txt"):
        allowed.corpus_source(str(own))
    (own / "fra.txt").unlink()
    (own / "fra.txt").symlink_to(own / "eng.txt")
    assert allowed.corpus_source(str(own)) == str(own)
    (own / "devtest").symlink_to(host / "secret")
    with pytest.raises(NotAllowed, match="devtest"):
        allowed.corpus_source(str(own))
    model = host / "models" / "small"
    weights = model / "model.safetensors"
    shutil.move(weights, host / "secret" / "w")
    weights.symlink_to(host / "secret" / "w")
    with pytest.raises(NotAllowed, match=r"model\.safetensors"):
        allowed.model_source(str(model))
    (host / "scores" / "deep").mkdir()
    (host / "scores" / "deep" / "results_1.json").symlink_to(host / "secret" / "config.json")
    with pytest.raises(NotAllowed, match="results_1"):
        allowed.score_source(str(host / "scores"))


def test_an_allowed_folder_may_be_a_link_itself(host):
    (host / "by-link").symlink_to(host / "corpora")
    file = host / "other.toml"
    file.write_text('[corpora]\nfolders = ["by-link"]\n')
    allowed = settings.read(file)
    for named in (host / "by-link" / "own", host / "corpora" / "own"):
        assert allowed.corpus_source(str(named)) == str(host / "corpora" / "own")


def test_the_links_of_the_hubs_cache_stay_legal(host, allowed):
    repository = host / "hub" / "models--a--b"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for file in sources.DEMO_FOLDER.iterdir():
        shutil.copy(file, repository / "blobs" / f"blob-{file.name}")
        (snapshot / file.name).symlink_to(Path("../../blobs") / f"blob-{file.name}")
    only_this = replace(allowed, model_folders=(snapshot,))
    source = only_this.model_source(str(snapshot))
    assert structure.describe(source).layers == structure.describe(sources.parse_source("demo")).layers
    (snapshot / "extra.json").symlink_to(host / "secret" / "config.json")
    with pytest.raises(NotAllowed, match=r"extra\.json"):
        only_this.model_source(str(snapshot))


def test_an_allowed_hub_id_is_never_a_folder_of_that_name(host, allowed):
    folder = Path("Qwen") / "own"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert allowed.model_source("Qwen/own").kind == "hub"
    assert sources.parse_source("Qwen/own").kind == "folder", "the account itself may"
    with pytest.raises(NotAllowed):
        allowed.model_source("Qwen/own/config.json")
    assert not allow_list._matches("Other/Qwen", ("Qwen/*",))
    assert not allow_list._matches("Qwen/a/b", ("Qwen/?",))
    assert allow_list._matches("any/thing", ("*",))


def test_where_folders_are_open_hub_ids_may_still_be_few(host):
    some = replace(Settings.of_this_machine(), hub_models=("Qwen/*",))
    assert some.model_source(str(host / "models" / "small")).kind == "folder"
    assert some.model_source("Qwen/x").kind == "hub"
    with pytest.raises(NotAllowed):
        some.model_source("Other/x")
    with pytest.raises(ModelError):
        some.model_source("/not/there")


def test_this_machines_own_user_may_do_everything(host):
    own = Settings.of_this_machine()
    assert own.model_source(str(host / "models" / "small")) == sources.parse_source(str(host / "models" / "small"))
    assert own.corpus_source("~/x") == "~/x"
    assert own.score_source(str(host / "secret")) == host / "secret"
    assert own.task_folder("anything") == "anything"
    with pytest.raises(ModelError):
        own.model_source("/not/there")
    with pytest.raises(ScoresError):
        own.score_source("~nobody-of-that-name/x")


def test_the_closed_app_has_the_bundled_ones_and_uploads(host):
    closed = Settings.closed()
    closed.check(Experiment())
    for refused in (
        Experiment(model="Qwen/Qwen3-8B"),
        Experiment(corpus=str(host / "corpora")),
        Experiment(corpus="hub:a/b"),
    ):
        with pytest.raises(NotAllowed, match="choose the bundled one"):
            closed.check(refused)
    with pytest.raises(NotAllowed, match="lm-evaluation-harness"):
        closed.task_folder("")
    assert closed.models_found() == closed.corpora_found() == []


def test_devices_and_dtypes_are_the_hosts(allowed):
    for refused in (Experiment(device="cuda"), Experiment(dtype="int8")):
        with pytest.raises(NotAllowed, match="allows"):
            allowed.check(refused)
    assert allowed.device("auto", lambda device: {"auto": "cuda"}.get(device, device)) == "cpu"
    assert allowed.device("cpu", lambda device: device) == "cpu"
    both = replace(allowed, devices=("cpu", "cuda"))
    assert both.device("auto", lambda device: {"auto": "cuda"}.get(device, device)) == "cuda"


def test_a_run_has_at_most_so_many_languages_and_sentences(allowed, store):
    fits = Experiment(languages=("deu_Latn", "fra_Latn"), sentences=20)
    allowed.check_size(make_plan(fits, store))
    for too_much, said in ((replace(fits, sentences=21), "21 sentences"), (replace(fits, languages=()), "languages")):
        with pytest.raises(NotAllowed, match=said):
            allowed.check_size(make_plan(too_much, store))


# uploads ------------------------------------------------------------------------------------------------------------


def test_a_kept_upload_is_read_by_its_exact_name_only(host, allowed):
    kept = uploads.keep([("a.csv", b"eng,deu\na,b\nc,d\n")], host / "cache" / "uploads")
    several = uploads.keep([("eng.txt", b"a\nb\n"), ("deu.txt", b"c\nd\n")], host / "cache" / "uploads")
    assert allowed.corpus_source(str(kept)) == str(kept)
    assert reading.read(allowed.corpus_source(str(several))).languages == ("deu", "eng")
    for text in (
        kept.parent.parent,
        kept.parent.parent.parent,
        kept.parent / ".." / several.name,
        kept.parent.parent / "x",
    ):
        with pytest.raises(NotAllowed):
            allowed.corpus_source(str(text))
    with pytest.raises(CorpusError, match="no longer kept"):
        allowed.corpus_source(str(kept.parent.parent / ("0" * 32)))
    (kept.parent / "b.csv").symlink_to(host / "secret" / "eng.txt")
    with pytest.raises(CorpusError, match="no longer kept"):
        allowed.corpus_source(str(kept.parent / "b.csv"))


def test_uploads_are_as_many_and_as_large_as_the_host_allows(tmp_path):
    most = {"file_mib": 1, "most_files": 2, "kept_mib": 2}
    mib = b"x" * limits.MIB
    with pytest.raises(NotAllowed, match="3 files"):
        uploads.keep([(f"{k}.txt", b"x") for k in range(3)], tmp_path, **most)
    with pytest.raises(NotAllowed, match="1 MiB a file"):
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


# what nobody checked ------------------------------------------------------------------------------------------------


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
    assert reading.read_uploads([("fine.parquet", data)]).languages == ("deu", "eng", "fra")
    monkeypatch.setattr(limits, limit, value)
    with pytest.raises(CorpusError, match=said):
        reading.read_uploads([("large.parquet", data)])


def test_only_the_wanted_columns_of_a_parquet_file_are_unpacked(monkeypatch):
    monkeypatch.setattr(limits, "CORPUS_LETTERS", 10_000)
    texts = ["a", "b"]
    large = [f"{k:05d}" * 4000 for k in range(2)]
    data = as_parquet(pa.table({"eng": texts, "deu": texts, "notes": large}), use_dictionary=False)
    assert reading.read_uploads([("t.parquet", data)]).texts["eng"] == ("a", "b")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1] * 1000, [2]]),
        pa.array([{"a": "x"}, {"a": "y"}]),
        pa.array([b"\xff", b"x"], pa.binary()),
        pa.array([1, 2]),
        pa.array([True, False]),
        pa.array([2**62, 0], pa.timestamp("ns")),
    ],
)
def test_a_column_that_is_no_text_is_said_and_not_unpacked(column):
    data = as_parquet(pa.table({"eng": ["a", "b"], "deu": ["c", "d"], "fra": column}))
    raw = reading.read_uploads([("t.parquet", data)])
    assert raw.languages == ("deu", "eng")
    assert "no text" in raw.problems["fra"]


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
        ("print('[\"said\", 3]')", "damaged"),
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
    tries = 300 if full else 15
    for _ in range(tries):
        broken = bytearray(data)
        for place in random.integers(0, len(data), 3):
            broken[place] = random.integers(0, 256)
        try:
            reading.read_uploads([("t.parquet", bytes(broken))])
        except NeuronXAError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1
    assert refused > tries / 3
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


def test_json_as_deep_as_it_likes_is_one_sentence(tmp_path):
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
        (tmp_path / "results_1.json").write_text(text)
        assert not lm_eval._holds_results(tmp_path / "results_1.json")
    (tmp_path / "config.json").write_text(deep)
    with pytest.raises(ModelError):
        sources.read_config(sources.parse_source(str(tmp_path)))


@pytest.mark.parametrize(
    "asks", [reading.read, score_files.read_scores, consistency.read_consistency, sources.parse_source]
)
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


FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "yaml"}
FORBIDDEN_CALLS = {("torch", "load"), ("pd", "read_pickle"), ("np", "load"), ("np", "fromfile"), ("builtins", "eval")}


def test_nothing_is_ever_unpickled_or_evaluated():
    files = [*(ROOT / "neuronxa_core").rglob("*.py"), *(ROOT / "pages").rglob("*.py"), ROOT / "streamlit_app.py"]
    assert len(files) > 30
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            where = f"{file.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                assert FORBIDDEN_MODULES.isdisjoint(name.name.split(".")[0] for name in node.names), where
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in FORBIDDEN_MODULES, where
            elif isinstance(node, ast.Call):
                called = node.func
                if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                    assert (called.value.id, called.attr) not in FORBIDDEN_CALLS, where
                elif isinstance(called, ast.Name):
                    assert called.id not in ("eval", "exec"), where
                for keyword in node.keywords:
                    value = getattr(keyword.value, "value", None)
                    assert not (
                        keyword.arg in ("allow_pickle", "trust_remote_code", "weights_only") and value is True
                    ), where
                    assert not (keyword.arg == "unsafe_allow_html" and value is True), where


# pages --------------------------------------------------------------------------------------------------------------

NASTY = [
    "![x](https://tracker.example/x.png)",
    "[click](https://evil.example)",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "**bold** _x_ ~~y~~",
    "`code` and `more",
    "``x`` `",
    "`\n\n![x](https://tracker.example/y.png)\n\n`",
    "# heading",
    "- list\n- list",
    "1. list",
    "12) list",
    "> quotation",
    "+ list",
    "=\n===",
    "a | b\n--|--\nc | d",
    "$\\href{javascript:alert(1)}{x}$",
    ":red[text] :material/delete: :smile:",
    "&lt;b&gt; &copy;",
    "\\*not\\*",
]


def plain_of(markdown):
    """What a reader of CommonMark, not this project's, sees: (text, kinds of all that is more than text and code)."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown)
    text, kinds = "", set()
    for token in tokens:
        if token.type == "inline":
            for inner in token.children:
                text += inner.content if inner.type in ("text", "code_inline", "text_special") else ""
                kinds.add(inner.type)
        else:
            kinds.add(token.type)
    return text, kinds - {"text", "text_special", "code_inline", "paragraph_open", "paragraph_close", "softbreak"}


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("way", ["said", "safe"])
def test_no_words_of_others_are_read_as_markdown(text, way):
    from pages.components import controls, wording

    shown = getattr(controls, way)(text) if way == "said" else wording.safe(" ".join(text.split()))
    seen, more = plain_of(shown)
    assert not more, (shown, more)
    if way == "safe":
        assert seen == " ".join(text.split()) or "&" in text
    for sign in ("$", ":material", ":red[", ":smile"):
        assert sign not in shown.replace(f"\\{sign[0]}", "")


@given(st.text(max_size=60))
def test_whatever_an_error_repeats_is_shown_as_words(text):
    from pages.components import wording

    _, more = plain_of(wording.said(text))
    assert not more


def test_an_error_keeps_its_code_and_codes():
    from pages.components import wording

    assert wording.said("run `hf auth login` for eng_Latn (a-b).") == "run `hf auth login` for eng_Latn (a-b)."


@pytest.fixture
def shared_app(host, monkeypatch):
    """open_page(name, settings file's text, query): a page of an app whose host has a settings file."""

    def open_page(name, text, **query):
        """In the working folder of the app, as it is started."""
        (host / "neuronxa.toml").write_text(text)
        monkeypatch.setenv(settings.VARIABLE, str(host / "neuronxa.toml"))
        monkeypatch.chdir(ROOT)
        from pages.access.host import _host_settings

        _host_settings.clear()
        # languages that are few enough for every host here, and soon computed
        query = {"languages": "deu_Latn", "sentences": "4"} | query
        test = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=120)
        for key, value in query.items():
            test.query_params[key] = value
        test.run()
        return test.switch_page(f"pages/{name}.py").run() if name else test

    from pages.access import host
    from pages.components import process

    # running the app makes its script `__main__`, which processes that other tests start would run again
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    yield open_page
    monkeypatch.delenv(settings.VARIABLE, raising=False)
    host._host_settings.clear()
    queue = process.services().queue
    for job in queue.jobs():
        queue.cancel(job)
    assert all(queue.wait(job, 60) for job in queue.jobs())
    host._host_settings.clear()


def words(test):
    kinds = ("caption", "info", "markdown", "error", "warning")
    return " ".join(element.value for kind in kinds for element in test.get(kind))


def test_a_link_to_what_is_not_allowed_opens_the_example_and_says_so(shared_app, host):
    for name in ("secret", "not-there"):
        test = shared_app("", "[models]\nloaded = 1\n", model=str(host / name), corpus=str(host / "secret"))
        assert not test.exception
        assert "not among those that the host of this app allows" in test.warning[0].value
        assert test.session_state["experiment"] == Experiment()


def test_run_offers_what_the_host_allows_and_no_more(shared_app, host):
    test = shared_app("run", EVERYTHING)
    assert not test.exception and not test.error
    by_key = {widget.key: widget for kind in ("selectbox", "segmented_control") for widget in test.get(kind)}
    assert list(by_key["run_model_kind"].options) == ["Bundled", "Models of this host", "Hub id"]
    assert list(by_key["run_corpus_kind"].options) == ["Bundled", "Corpora of this host", "Hub data set", "Upload"]
    assert list(by_key["run_device"].options) == ["auto", "cpu"]
    assert list(by_key["run_dtype"].options) == ["auto", "float32", "bfloat16"]
    by_key["run_model_kind"].set_value("Models of this host")
    test.run()
    (offered,) = [widget for widget in test.selectbox if widget.key == "run_found_model"]
    assert list(offered.options) == ["models/small"]
    assert not test.exception and not test.error


def test_a_closed_run_page_has_the_bundled_ones_and_uploads(shared_app):
    test = shared_app("run", "[models]\ndevices = ['cpu']\n")
    assert not test.exception and not test.error
    kinds = {widget.key: list(widget.options) for widget in test.get("segmented_control")}
    assert kinds["run_model_kind"] == ["Bundled"]
    assert kinds["run_corpus_kind"] == ["Bundled", "Upload"]


def test_a_page_refuses_an_experiment_that_is_not_allowed(shared_app, host):
    test = shared_app("", "[runs]\nlanguages = 3\n", languages="deu_Latn,fra_Latn,spa_Latn")
    assert "the host of this app allows 3 a run" in test.error[0].value
    test.session_state["experiment"] = Experiment(model=str(host / "secret"))
    test.run()
    assert "not among those" in test.error[0].value
    assert not test.exception


def test_scores_by_path_are_the_hosts(shared_app, host):
    store = Store(host / "cache")
    plan = make_plan(Experiment(languages=("deu_Latn",), sentences=4), store)
    compute_missing(plan, store, ModelPool())
    store.close()
    test = shared_app("downstream", "[models]\nloaded = 1\n", scores_from="File")
    assert not [widget for widget in test.text_input if widget.key == "scores_path"]
    test = shared_app("downstream", "[models]\nloaded = 1\n", scores_from="lm-evaluation-harness")
    assert "does not let visitors run the evaluation harness" in words(test)


def test_a_wrong_settings_file_is_one_sentence_and_no_open_app(shared_app):
    test = shared_app("", "[models]\nfolder = []\n")
    assert not test.exception
    assert "has no key 'folder'" in test.error[0].value
    assert not test.get("vega_lite_chart") and not test.get("arrow_vega_lite_chart")


class TestInTheBrowser:
    pytestmark = needs_browser

    def test_what_others_wrote_is_shown_and_not_run(self, tmp_path):
        evil = ["<img src=http://tracker.example/a.png onerror=\"document.title='owned'\">", "=1+cmd|'/C calc'!A0"]
        evil += ["![x](http://tracker.example/b.png)", "[x](javascript:alert(1)) **b** $x$ :red[r]"]
        evil += ["<script>document.title='owned'</script>", "{{7*7}} ${7*7} <b>bold</b>"]
        name = "<img src=x onerror=alert(1)> ![i](http:tracker.example) **b**"
        corpus = tmp_path / name.replace("/", "_")
        corpus.mkdir()
        for code in ("eng_Latn", "deu_Latn", "fra_Latn"):
            (corpus / f"{code}.txt").write_text("\n".join(f"{text} {code}" for text in evil) + "\n", "utf-8")
        (corpus / "![x](http:tracker.example).md").write_text("x")
        query = urlencode({"corpus": str(corpus), "sentences": str(len(evil))})
        with served(tmp_path / "cache", tmp_path / "log") as server, chromium() as browser:
            page = watched(browser.new_page())
            page.on("dialog", lambda dialog: page.errors.append(dialog.message))
            page.goto(f"{server.address}/?{query}")
            page.get_by_role("button", name="Compute them").click()
            page.get_by_text("languages against").first.wait_for()
            page.goto(f"{server.address}/?{query}&view=Sentences")
            page.get_by_text("sentences aligned").wait_for()
            visit(page, "Microscope")
            count = page.get_by_label("Sentences a language")
            count.fill(str(len(evil)))
            count.press("Enter")
            shaded = page.locator("[data-testid=stHtml]").filter(has_text="onerror=").first
            shaded.wait_for()
            assert "<img src=http://tracker.example/a.png" in shaded.inner_text().replace("\u00a0", " ")
            for name in ("Microscope", "Downstream", "Run"):
                visit(page, name)
                page.wait_for_timeout(1000)
                page.wait_for_function("!document.querySelector('[data-test-script-state=running]')")
                assert page.locator("[data-testid=stException]").count() == 0
                assert page.locator("[data-testid=stMain] img[src*=tracker], [data-testid=stMain] script").count() == 0
                assert page.locator("a[href*=tracker], a[href^=javascript]").count() == 0
                assert page.locator("[data-testid=stMain] .katex").count() == 0
            assert "owned" not in page.title()
            assert not page.strangers
            assert not page.errors
