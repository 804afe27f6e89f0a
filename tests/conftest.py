"""Fixtures that several test files share. No test reaches the network: the hub is offline and its cache is empty."""

import functools
import gc
import os
import shutil
import tempfile
import threading
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="neuronxa-tests-hub-")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"):
    os.environ.pop(name, None)

# the hub's library reads the environment when it is imported
import pytest  # noqa: E402
import torch  # noqa: E402
from faults import own_cache, read_only_cache, right_scores, small_disk, undisturbed  # noqa: E402, F401
from hypothesis import settings  # noqa: E402
from streamlit.components.v2 import manifest_scanner  # noqa: E402
from tiny_models import tiny_model  # noqa: E402

from neuronxa_core.models import description, loading, sources  # noqa: E402
from neuronxa_core.states import extraction  # noqa: E402
from neuronxa_core.store.cache import Store  # noqa: E402

torch.set_num_threads(1)
settings.register_profile("neuronxa", deadline=None, max_examples=60)
settings.load_profile("neuronxa")


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="long tests in their full size; see the README")


def pytest_configure(config):
    # AppTest would look through all installed packages for each page that it runs
    manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)
    settings.register_profile("fuzz", deadline=None, max_examples=2500 if config.getoption("--full") else 10)
    config.addinivalue_line("markers", "full: a slow test, which runs with --full only")
    config.addinivalue_line("markers", "cuda: a test that needs a CUDA GPU")


def pytest_collection_modifyitems(config, items):
    lacks = {"full": "a slow test: runs with --full"} if not config.getoption("--full") else {}
    if not torch.cuda.is_available():
        lacks["cuda"] = "needs a CUDA GPU"
    for item in items:
        for marker, reason in lacks.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def full(request) -> bool:
    """Whether long tests run in their full size."""
    return request.config.getoption("--full")


def pytest_collection_finish():
    # what was imported stays: a collection, as when memory runs out or a model is freed, need not look through it again
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    store = Store(tmp_path / "cache")
    yield store
    store.close()


@pytest.fixture
def failing(monkeypatch):
    """failing(language, error): extraction raises the error at a language."""

    def fail(language: str, error: BaseException):
        real = extraction.extract

        def extract(loaded, code, *arguments, **options):
            if code == language:
                raise error
            return real(loaded, code, *arguments, **options)

        monkeypatch.setattr(extraction, "extract", extract)

    return fail


@pytest.fixture
def counted(monkeypatch):
    """counted(): a list of the languages that extraction reads from now on, in order."""

    def count() -> list[str]:
        read = []
        real = extraction.extract

        def extract(loaded, code, *arguments, **options):
            read.append(code)
            return real(loaded, code, *arguments, **options)

        monkeypatch.setattr(extraction, "extract", extract)
        return read

    return count


@pytest.fixture
def gate(monkeypatch):
    """gate(language): (reached, go), two events: extraction waits before a language until it is let go."""

    def hold(language: str) -> tuple[threading.Event, threading.Event]:
        reached, go = threading.Event(), threading.Event()
        real = extraction.extract

        def held(loaded, code, *arguments, **options):
            if code == language:
                reached.set()
                assert go.wait(60)
            return real(loaded, code, *arguments, **options)

        monkeypatch.setattr(extraction, "extract", held)
        return reached, go

    return hold


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """tiny(family, **choices): the folder of a tiny model, made once; see tiny_models.tiny_model."""
    made: dict[str, Path] = {}

    def get(family: str, **choices: object) -> Path:
        key = repr((family, sorted(choices.items())))
        # a function's address may come again, so a model with an edit is always made anew
        if key not in made or "edit" in choices:
            made[key] = tiny_model(family, tmp_path_factory.mktemp(family), **choices)
        return made[key]

    return get


@pytest.fixture(scope="session")
def loaded(tiny):
    """loaded(family, **choices): a tiny model in memory, loaded once. Tests must leave it as it is."""
    made: dict[str, description.LoadedModel] = {}

    def get(family: str, **choices: object) -> description.LoadedModel:
        folder = tiny(family, **choices)
        if str(folder) not in made:
            made[str(folder)] = loading.load(sources.parse_source(str(folder)), device="cpu")
        return made[str(folder)]

    return get
