"""Models of the hub, through its real client and a small hub here: downloads, refusals, and a hub that is away."""

import time

import pytest
import torch
from huggingface_hub import constants as hub_constants
from safetensors.torch import load_file
from small_hub import COMMIT, SmallHub

from neuronxa_core.errors import ModelError
from neuronxa_core.experiment import Experiment
from neuronxa_core.models import fingerprint, loading, sources, structure
from neuronxa_core.states import planning

WHOLE = sources.parse_source("owner/whole")


@pytest.fixture
def hub(tiny, tmp_path, monkeypatch):
    """A hub that has a tiny LLaMA, and an empty cache."""
    hub = SmallHub(tiny("llama"))
    monkeypatch.setattr(hub_constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(
        hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield hub
    hub.stop()


def weights_of(source, tiny):
    """Whether a source loads as the tiny LLaMA."""
    loaded = loading.load(source, device="cpu")
    assert loaded.info.name == "owner/whole"
    wanted = load_file(tiny("llama") / "model.safetensors")["embed_tokens.weight"]
    return torch.equal(loaded.model.embed_tokens.weight, wanted)


def test_a_model_is_downloaded_once_and_then_the_hub_is_asked_once_per_load(hub, tiny, store):
    assert structure.describe(WHOLE).class_name == "LlamaModel"
    assert not any("safetensors" in one for one in hub.asked)
    assert weights_of(WHOLE, tiny)
    assert fingerprint.identity(WHOLE) == f"hub:owner/whole@{COMMIT}"
    hub.asked.clear()
    plan = planning.make_plan(Experiment("owner/whole", languages=("deu_Latn",), sentences=2), store)
    assert plan.source.revision == COMMIT
    assert weights_of(plan.source, tiny)
    assert hub.asked == ["GET /api/models/owner/whole"]


@pytest.mark.parametrize("how", ["refused", "silent", "broken"])
def test_with_the_hub_away_what_is_cached_is_used_and_said(how, hub, tiny, caplog, monkeypatch):
    weights_of(WHOLE, tiny)
    monkeypatch.setattr(sources, "HUB_TIMEOUT_S", 0.3)
    hub.asked.clear()
    if how == "refused":
        hub.stop()
    hub.slow, hub.status = (20 if how == "silent" else 0), (503 if how == "broken" else 0)
    with caplog.at_level("WARNING", "huggingface_hub"):
        started = time.monotonic()
        source = sources.resolved(WHOLE)
        assert time.monotonic() - started < 10
        assert weights_of(source, tiny)
    assert len(hub.asked) == (how != "refused")
    assert "Using cached commit hash for 'owner/whole'" in caplog.text
    with pytest.raises(ModelError, match="other is not in the local hub cache and the hub cannot be reached"):
        structure.describe(sources.parse_source("owner/other"))


def test_a_download_that_is_cut_is_resumed(hub, tiny, monkeypatch):
    monkeypatch.setattr(hub_constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    hub.cut.add("model.safetensors")
    assert weights_of(WHOLE, tiny)
    asked = [one for one in hub.asked if one.startswith("GET") and "model.safetensors" in one]
    assert len(asked) == 2, asked
    assert "bytes=" in asked[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("owner/gated", "is gated: accept its terms"),
        ("owner/private", "is not on the hub, or is private"),
        ("owner/whole@v9", "has no revision 'v9' on the hub"),
    ],
)
def test_what_the_hub_refuses(name, said, hub):
    with pytest.raises(ModelError, match=said) as caught:
        structure.describe(sources.parse_source(name))
    assert "\n" not in str(caught.value)
