"""Models, corpora, task scores and task folders below the allowed folders are read, and nothing else is looked at."""

import os
import pathlib
import shutil
import tomllib
from pathlib import Path

import pytest

from neuronxa_core.corpora import reading, uploads
from neuronxa_core.errors import CorpusError, ModelError, NotAllowed, ScoresError
from neuronxa_core.experiment import Experiment
from neuronxa_core.host import allow_list, settings
from neuronxa_core.host.settings import Settings
from neuronxa_core.models import sources, structure

ALLOWED = """
[models]
folders = ["models"]
hub = ["Qwen/*"]
[corpora]
folders = ["corpora"]
hub = ["openlanguagedata/flores_plus"]
[scores]
folders = ["scores"]
harness = true
task_folders = ["tasks"]
"""
ASKS = ["model_source", "corpus_source", "score_source", "task_folder"]


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host's folders, with something secret beside them, and a cache; the working folder is elsewhere."""
    for name in ("models", "corpora/own", "scores", "tasks", "secret", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    for folder in ("secret", "corpora/own"):
        for code, text in (("eng", "one\ntwo\n"), ("deu", "eins\nzwei\n")):
            (tmp_path / folder / f"{code}.txt").write_text(text)
    (tmp_path / "secret" / "config.json").write_text("{}")
    shutil.copytree(sources.DEMO_FOLDER, tmp_path / "models" / "small")
    (tmp_path / "scores" / "s.csv").write_text("language,acc\ndeu,0.5\n")
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def read(host, text):
    return settings.parse(tomllib.loads(text), host / "neuronxa.toml")


@pytest.fixture
def allowed(host):
    return read(host, ALLOWED)


def test_what_is_allowed_is_taken(host, allowed):
    small, own = str(host / "models" / "small"), str(host / "corpora" / "own")
    assert allowed.model_source(small) == sources.parse_source(small)
    assert allowed.model_source("demo").kind == "demo"
    assert allowed.model_source("Qwen/Qwen3-8B@main") == sources.parse_source("Qwen/Qwen3-8B@main")
    assert allowed.corpus_source(own) == own
    assert allowed.corpus_source("hub:openlanguagedata/flores_plus:x") == "hub:openlanguagedata/flores_plus:x"
    assert allowed.score_source(str(host / "scores" / "s.csv")) == host / "scores" / "s.csv"
    assert allowed.task_folder(str(host / "tasks")) == str(host / "tasks")
    assert allowed.task_folder("  ") is None
    assert allowed.check(Experiment(model=small, corpus=own)) == (sources.parse_source(small), own)
    assert allowed.check(Experiment()) == (sources.parse_source("demo"), "demo")
    assert (allowed.models_found(), allowed.corpora_found()) == ([small], [own])


@pytest.mark.parametrize(
    ("asks", "error"), [*zip(ASKS, (ModelError, CorpusError, ScoresError, NotAllowed), strict=True)]
)
def test_what_is_missing_in_an_allowed_folder_is_said(host, allowed, asks, error):
    folder = {"model_source": "models", "corpus_source": "corpora", "score_source": "scores", "task_folder": "tasks"}
    with pytest.raises(error, match="there is no"):
        getattr(allowed, asks)(str(host / folder[asks] / "gone"))


def outside(host):
    """Ways to name what is not allowed; some of it is there and some is not."""
    (host / "corpora" / "way-out").symlink_to(host / "secret")
    (host / "models" / "way-out").symlink_to(host / "secret")
    (host / "corpora" / "ring").symlink_to(host / "corpora" / "ring")
    below = ("secret", "not-there", "corpora/../secret", "models/../secret", "corpora/own/../../secret", "corporate")
    links = ("corpora/way-out", "models/way-out", "models/way-out/x", "corpora/ring")
    plain = [
        "/",
        "/etc/passwd",
        "..",
        "../secret",
        "~",
        "~root",
        "~nobody-of-that-name",
        "elsewhere",
        "a\0b",
        "x" * 5000,
    ]
    return [
        str(host),
        *(f"{host}/{name}" for name in below + links),
        *plain,
        "file:///etc/passwd",
        "Owner/other",
        "qwen",
    ]


@pytest.mark.parametrize("asks", ASKS)
def test_what_is_outside_is_refused_in_the_same_words_whether_it_is_there_or_not(host, allowed, asks):
    said = set()
    for text in [*outside(host), *(["hub:owner/other"] if asks == "corpus_source" else [])]:
        with pytest.raises(NotAllowed) as refused:
            getattr(allowed, asks)(text)
        shown = text[:200].replace("\0", "\\x00")  # an error writes control characters out
        said.add(str(refused.value).replace(shown, "…", 1))
    assert len(said) == 1


def test_nothing_outside_is_looked_at(host, allowed, monkeypatch):
    seen = []

    def noted(call):
        def asked(path, *arguments, **options):
            seen.append(os.fspath(path) if isinstance(path, str | os.PathLike) else "")
            return call(path, *arguments, **options)

        return asked

    for name in ("stat", "lstat", "scandir", "listdir", "readlink", "open"):
        monkeypatch.setattr(os, name, noted(getattr(os, name)))
    monkeypatch.setattr(pathlib.Path, "stat", noted(pathlib.Path.stat))
    for text in (f"{host}/secret", f"{host}/not-there/x", f"{host}/corpora/../secret", "~root"):
        for asks in ASKS:
            with pytest.raises(NotAllowed):
                getattr(allowed, asks)(text)
        with pytest.raises(NotAllowed):
            allowed.check(Experiment(model=text))
    assert not [path for path in seen if "secret" in path or "not-there" in path or "root" in path]


def test_a_link_inside_that_leads_out_is_refused_and_one_that_stays_is_not(host, allowed):
    own, model, secret = host / "corpora" / "own", host / "models" / "small", host / "secret"
    (own / "fra.txt").symlink_to(own / "eng.txt")
    assert allowed.corpus_source(str(own)) == str(own)
    (own / "devtest").symlink_to(secret)
    with pytest.raises(NotAllowed, match="devtest"):
        allowed.corpus_source(str(own))
    (model / "vocab.json").symlink_to(secret / "config.json")
    with pytest.raises(NotAllowed, match=r"vocab\.json"):
        allowed.model_source(str(model))
    (host / "scores" / "deep").mkdir()
    (host / "scores" / "deep" / "results_1.json").symlink_to(secret / "config.json")
    with pytest.raises(NotAllowed, match="results_1"):
        allowed.score_source(str(host / "scores"))


def test_an_allowed_folder_may_be_a_link_itself(host):
    (host / "by-link").symlink_to(host / "corpora")
    by_link = read(host, "[corpora]\nfolders = ['by-link']")
    for named in ("by-link", "corpora"):
        assert by_link.corpus_source(str(host / named / "own")) == str(host / "corpora" / "own")


def test_the_links_of_the_hubs_cache_stay_legal(host):
    repository = host / "hub" / "models--a--b"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    shutil.copytree(sources.DEMO_FOLDER, repository / "blobs")
    for file in sources.DEMO_FOLDER.iterdir():
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    only_this = read(host, f"[models]\nfolders = ['{snapshot}']")
    source = only_this.model_source(str(snapshot))
    assert structure.describe(source).layers == structure.describe(sources.parse_source("demo")).layers
    (snapshot / "extra.json").symlink_to(host / "secret" / "config.json")
    with pytest.raises(NotAllowed, match=r"extra\.json"):
        only_this.model_source(str(snapshot))


def test_an_allowed_hub_id_is_never_a_folder_of_that_name(host, allowed):
    (host / "elsewhere" / "Qwen" / "own").mkdir(parents=True)
    assert allowed.model_source("Qwen/own").kind == "hub"
    assert sources.parse_source("Qwen/own").kind == "folder", "the account itself may"
    with pytest.raises(NotAllowed):
        allowed.model_source("Qwen/own/config.json")


@pytest.mark.parametrize(
    ("identity", "pattern", "expected"),
    [
        ("Qwen/x", "Qwen/*", True),
        ("Other/Qwen", "Qwen/*", False),
        ("Qwen/a/b", "Qwen/?", False),
        ("any/thing", "*", True),
    ],
)
def test_in_a_pattern_a_star_stands_for_anything_but_a_slash(identity, pattern, expected):
    assert allow_list.matches(identity, (pattern,)) is expected


def test_where_folders_are_open_hub_ids_may_still_be_few(host):
    some = read(host, "[models]\nfolders = ['*']\nhub = ['Qwen/*']")
    assert some.model_source(str(host / "models" / "small")).kind == "folder"
    assert some.model_source("Qwen/x").kind == "hub"
    with pytest.raises(NotAllowed):
        some.model_source("Other/x")
    with pytest.raises(ModelError):
        some.model_source("/not/there")


def test_this_machines_own_user_may_do_everything(host):
    own, small = Settings.of_this_machine(), str(host / "models" / "small")
    assert own.model_source(small) == sources.parse_source(small)
    assert own.model_source("any/thing").kind == "hub"
    assert own.corpus_source("~/x") == "~/x"
    assert own.corpus_source("hub:any/thing") == "hub:any/thing"
    assert own.score_source(str(host / "secret")) == host / "secret"
    assert own.task_folder("anything") == "anything"
    with pytest.raises(ScoresError):
        own.score_source("~nobody-of-that-name/x")


def test_the_closed_app_has_the_bundled_ones_and_uploads(host):
    closed = Settings()
    closed.check(Experiment())
    for refused in ({"model": "Qwen/Qwen3-8B"}, {"corpus": str(host / "corpora")}, {"corpus": "hub:a/b"}):
        with pytest.raises(NotAllowed, match="choose the bundled one"):
            closed.check(Experiment(**refused))
    with pytest.raises(NotAllowed, match="lm-evaluation-harness"):
        closed.task_folder("")
    assert closed.models_found() == closed.corpora_found() == []


def test_a_kept_upload_is_read_by_its_exact_name_only(host, allowed):
    kept = uploads.keep([("a.csv", b"eng,deu\na,b\nc,d\n")], host / "cache" / "uploads")
    several = uploads.keep([("eng.txt", b"a\nb\n"), ("deu.txt", b"c\nd\n")], host / "cache" / "uploads")
    everything = kept.parent.parent
    assert allowed.corpus_source(str(kept)) == str(kept)
    assert reading.read(allowed.corpus_source(str(several))).languages == ("deu", "eng")
    for text in (everything, everything.parent, kept.parent / ".." / several.name, everything / "x"):
        with pytest.raises(NotAllowed):
            allowed.corpus_source(str(text))
    (kept.parent / "b.csv").symlink_to(host / "secret" / "eng.txt")
    for gone in (everything / ("0" * 32), kept.parent / "b.csv"):
        with pytest.raises(CorpusError, match="no longer kept"):
            allowed.corpus_source(str(gone))
