"""The host's settings: a file is read in full or refused, and what it allows is taken."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronxa_core.errors import NotAllowed, SettingsError
from neuronxa_core.experiment import Experiment
from neuronxa_core.host import limits, settings
from neuronxa_core.host.settings import Settings
from neuronxa_core.states.computing import compute_missing
from neuronxa_core.states.planning import bytes_per_language, make_plan, restrict
from neuronxa_core.states.pools import ModelPool

ROOT = Path(__file__).parents[2]
TABLES = {name: set(table.annotation.model_fields) for name, table in Settings.model_fields.items()}
EVERYTHING = """
[models]
folders = ["models"]
hub = [" Qwen/* ", "openai-community/gpt2", "Qwen/*"]
devices = ["cpu"]
dtypes = ["bfloat16", "float32"]
loaded = 2
[corpora]
folders = ["*"]
hub = ["openlanguagedata/flores_plus"]
[scores]
folders = ["scores"]
harness = true
task_folders = ["scores"]
[uploads]
file_mib = 1
files = 3
kept_mib = 2
memory_mib = 5
memory_mib_a_person = 4
[cache]
gib = 2.5
kept_days = 6
[queue]
waiting = 4
waiting_a_person = 2
[runs]
languages = 3
sentences = 20
gib = 0.5
[people]
managers = ["Ann@lab.example"]
"""


def parsed(text, folder=Path()):
    return settings.parse(tomllib.loads(text), folder / "neuronxa.toml")


@pytest.fixture
def few():
    return parsed(EVERYTHING.replace('folders = ["models"]', "").replace('"scores"', '"."'))


def test_all_that_a_file_can_say_is_read(tmp_path):
    for name in ("models", "scores"):
        (tmp_path / name).mkdir()
    read = parsed(EVERYTHING, tmp_path)
    models, scores = (tmp_path / "models",), (tmp_path / "scores",)
    assert read.model_dump() == {
        "models": {
            "folders": models,
            "hub": ("Qwen/*", "openai-community/gpt2"),
            "devices": ("cpu",),
            "dtypes": ("float32", "bfloat16"),
            "loaded": 2,
        },
        "corpora": {"folders": None, "hub": ("openlanguagedata/flores_plus",)},
        "scores": {"folders": scores, "harness": True, "task_folders": scores},
        "uploads": {"file_mib": 1, "files": 3, "kept_mib": 2, "memory_mib": 5, "memory_mib_a_person": 4},
        "cache": {"gib": 2.5, "kept_days": 6},
        "queue": {"waiting": 4, "waiting_a_person": 2},
        "runs": {"languages": 3, "sentences": 20, "gib": 0.5},
        "people": {"managers": ("ann@lab.example",)},
    }
    assert {name: set(table) for name, table in tomllib.loads(EVERYTHING).items()} == TABLES


def test_every_key_and_what_it_is_left_out_is_documented(tmp_path):
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    for section, keys in TABLES.items():
        assert f"[{section}]" in text
        for key in keys:
            assert f"`{key}`" in text
    for folder in ("models", "corpora"):
        (tmp_path / folder).mkdir()
    example = parsed(text.split("```toml")[1].split("```")[0], tmp_path)
    assert example.models.folders == (tmp_path / "models",)
    assert example.queue.waiting_a_person == 3
    rows = {row.split("|")[2].strip(): row.split("|")[-2].strip() for row in text.splitlines() if row.count("|") == 5}
    numbers = {f"`{key}`": str(value) for table in Settings().model_dump().values() for key, value in table.items()}
    for key in (
        "loaded",
        "file_mib",
        "files",
        "kept_mib",
        "memory_mib",
        "memory_mib_a_person",
        "kept_days",
        "waiting",
        "waiting_a_person",
        "sentences",
    ):
        assert rows[f"`{key}`"] == numbers[f"`{key}`"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[model]\nhub = []", "no section [model]"),
        ("[models]\nfolder = []", "no key 'folder'"),
        ("models = 3", "is a section"),
        ("[models]\nhub = 'Qwen/*'", "[models] hub must be a list of hub ids"),
        ("[models]\nhub = ['a/b/c']", "a list of hub ids"),
        ("[models]\nhub = ['../x']", "../x is none"),
        ("[models]\nhub = [' ']", "a list of hub ids"),
        ("[models]\nfolders = ['nowhere']", "nowhere is none"),
        ("[models]\nfolders = ['~nobody-of-that-name/x']", "is none"),
        ("[models]\nfolders = ['a\\u0000b']", "is none"),
        ("[models]\nfolders = [3]", "a list of folders"),
        ("[models]\ndevices = ['tpu']", "cpu, cuda, not ['tpu']"),
        ("[models]\ndevices = []", "cpu, cuda"),
        ("[models]\ndtypes = ['auto']", "float32"),
        ("[models]\nloaded = 0", "from 1 to 100, not 0"),
        ("[models]\nloaded = true", "from 1 to 100"),
        ("[models]\nloaded = 1.5", "from 1 to 100"),
        ("[uploads]\nfile_mib = -1", "from 0"),
        ("[uploads]\nfile_mib = 257", "from 0 to 256"),
        ("[cache]\ngib = 0", "above 0"),
        ("[cache]\ngib = nan", "above 0"),
        ("[cache]\ngib = inf", "above 0"),
        ("[cache]\ngib = true", "above 0"),
        ("[scores]\nharness = 1", "true or false"),
        ("[scores]\ntask_folders = ['.']", "harness = true"),
        ("[people]\nmanagers = ['ann']", "ann is none"),
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
    monkeypatch.setenv(settings.VARIABLE, str(file))
    for content in (None, b"\xff\xfe", b"#" * (limits.SETTINGS_BYTES + 1)):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(SettingsError):
            settings.of_host(local=True)


VALUES = st.recursive(
    st.one_of(st.text(max_size=6), st.integers(), st.floats(), st.booleans(), st.sampled_from(["*", "."])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted({key for keys in TABLES.values() for key in keys})) | st.text(max_size=6)
SECTIONS = st.sampled_from(sorted(TABLES)) | st.text(max_size=6)


@given(st.dictionaries(SECTIONS, st.dictionaries(KEYS, VALUES, max_size=3) | VALUES, max_size=3))
def test_whatever_a_document_says_it_is_taken_or_refused(document):
    try:
        read = settings.parse(document, Path("x.toml"))
    except SettingsError as refused:
        assert str(refused).startswith("x.toml: ")
        return
    assert 1 <= read.models.loaded <= 100
    assert set(read.models.devices) <= {"cpu", "cuda"}


def test_without_a_file_only_this_machine_is_open(monkeypatch, tmp_path):
    monkeypatch.delenv(settings.VARIABLE, raising=False)
    monkeypatch.setattr(settings, "BESIDE_THE_APP", tmp_path / "none.toml")
    assert settings.of_host(local=True) == Settings.of_this_machine()
    assert settings.of_host(local=False) == Settings()
    (tmp_path / "none.toml").write_text("[models]\nloaded = 3\n")
    assert settings.of_host(local=True).models.loaded == 3
    assert settings.of_host(local=True).models.folders == (), "what a file does not allow is not allowed"
    monkeypatch.setenv(settings.VARIABLE, str(tmp_path / "other.toml"))
    (tmp_path / "other.toml").write_text("[models]\nloaded = 5\n")
    assert settings.of_host(local=True).models.loaded == 5


def test_the_variable_goes_before_the_files_cache_limit(few, monkeypatch):
    monkeypatch.delenv("NEURONXA_CACHE_GIB", raising=False)
    assert few.cache.limit_bytes == int(2.5 * 2**30)
    assert Settings().cache.limit_bytes == 50 * 2**30
    monkeypatch.setenv("NEURONXA_CACHE_GIB", "7")
    assert few.cache.limit_bytes == 7 * 2**30


def test_devices_and_dtypes_are_the_hosts(few):
    for refused in (Experiment(device="cuda"), Experiment(dtype="int8")):
        with pytest.raises(NotAllowed, match="allows"):
            few.check(replace(refused, corpus="demo"))

    def with_gpu(device):
        return {"auto": "cuda"}.get(device, device)

    assert few.device("auto", with_gpu) == few.device("cpu", with_gpu) == "cpu"
    assert Settings().device("auto", with_gpu) == Settings().device("cuda", with_gpu) == "cuda"


def test_a_run_has_at_most_so_many_languages_and_sentences_and_bytes(few, store):
    fits = Experiment(languages=("deu_Latn", "fra_Latn"), sentences=20)
    few.check_size(plan := make_plan(fits, store), store)
    for too_much, said in ((replace(fits, sentences=21), "21 sentences"), (replace(fits, languages=()), "languages")):
        with pytest.raises(NotAllowed, match=said):
            few.check_size(make_plan(too_much, store), store)
    # of the host that said nothing: ten thousand sentences, and a tenth of the cache; what is stored counts no more
    cache = settings.Cache(gib=9.9 * 3 * bytes_per_language(plan) / 2**30)
    with pytest.raises(NotAllowed, match=r"would keep 0\.\d+ GiB"):
        Settings(cache=cache).check_size(plan, store)
    Settings.of_this_machine().model_copy(update={"cache": cache}).check_size(plan, store)
    compute_missing(restrict(plan, ["deu_Latn"]), store, ModelPool())
    Settings(cache=cache).check_size(plan, store)
    long = replace(plan, corpus=replace(plan.corpus, lines=tuple(range(10_001))))
    with pytest.raises(NotAllowed, match="10,001 sentences"):
        Settings().check_size(long, store)
