"""Loading models: files that are wrong, language-model heads, devices, memory, and weights in few bits."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_models import (
    FAMILIES,
    HIDDEN,
    INNER,
    LAYERS,
    VOCABULARY,
    byte_tokenizer,
    core,
    randomize,
    refused,
    save_tokenizer,
    tiny_config,
    tiny_model,
)
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedTokenizerFast

from neuronxa_core.models import estimates, loading, sources, structure, weights
from neuronxa_core.models.description import LoadedModel, ModelInfo
from neuronxa_core.states import extraction
from neuronxa_core.states.likelihood import negative_log_likelihood

SENTENCES = ["the cat sat, и 猫", "a", "кошка спит днём"]


def load(folder: Path, head: bool = False) -> LoadedModel:
    return loading.load(sources.parse_source(str(folder)), device="cpu", head=head)


def assert_same_bits(one: LoadedModel, other: LoadedModel, neuron: str = "product") -> None:
    """Two models give the same states to the last bit."""
    a, b = (extraction.extract(model, "eng", SENTENCES, neuron).arrays for model in (one, other))
    assert all(np.array_equal(a[name], b[name]) for name in a)


# files that are wrong; more of them in test_faults


def test_pickled_weights_are_never_loaded(spoilt):
    tensors = load_file(spoilt / "model.safetensors")
    (spoilt / "model.safetensors").unlink()
    assert "has no .safetensors weights" in refused(lambda: load(spoilt))
    torch.save(tensors, spoilt / "pytorch_model.bin")
    assert "has no .safetensors weights" in refused(lambda: load(spoilt))


@pytest.mark.parametrize("keep", [0, 4, 0.5])
def test_cut_off_weights(spoilt, keep):
    file = spoilt / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    assert "damaged or cut off" in refused(lambda: load(spoilt))


def test_a_tensor_of_another_size(spoilt):
    file = spoilt / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "layers.1.mlp.up_proj.weight": torch.zeros(INNER + 1, HIDDEN)}, file, {"format": "pt"})
    assert "spoilt could not be read" in refused(lambda: load(spoilt))


def test_weights_that_do_not_fit_into_memory(spoilt, monkeypatch):
    def full(*_args, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(AutoModel, "from_pretrained", full)
    assert "does not fit into memory" in refused(lambda: load(spoilt))


@pytest.mark.parametrize("family", ["fnet", "convbert"])
def test_a_model_whose_states_depend_on_padding_is_refused(family, tmp_path):
    sizes = {"vocab_size": VOCABULARY, "hidden_size": HIDDEN, "embedding_size": HIDDEN, "intermediate_size": INNER}
    model = AutoModel.from_config(CONFIG_MAPPING[family](**sizes, num_hidden_layers=LAYERS, num_attention_heads=4))
    randomize(model, 0)
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    refused(lambda: load(tmp_path))


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_a_model_and_tokenizer_without_a_padding_token(family, tmp_path):
    folder = tiny_model(family, tmp_path, head=True, pad_token_id=None)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(True), **names).save_pretrained(folder)
    model = load(folder, head=True)
    assert (model.tokenizer.pad_token, model.model.config.pad_token_id, model.padding_id) == (None, None, 0)
    together = extraction.extract(model, "eng", SENTENCES, token_budget=1000).arrays
    alone = extraction.extract(model, "eng", SENTENCES, token_budget=1).arrays
    for name, array in together.items():
        np.testing.assert_allclose(array, alone[name], rtol=1e-4, atol=1e-4 * np.abs(alone[name]).max())
    nats = [negative_log_likelihood(model, SENTENCES, token_budget=budget).nats for budget in (1000, 1)]
    np.testing.assert_allclose(*nats, rtol=1e-5)


# the language-model head

CAUSAL = [name for name in FAMILIES if FAMILIES[name].causal]
TIED = ["gemma2", "gemma3_text", "gpt2", "bloom", "opt", "falcon"]


@pytest.mark.parametrize("name", core(CAUSAL, "llama", "gemma2", "gpt2", "opt"))
def test_states_of_a_model_are_the_same_bits_with_and_without_its_head(name, tiny):
    folder = tiny(name, head=True)
    without, with_head = load(folder), load(folder, head=True)
    assert without.head is None
    assert with_head.info == without.info
    assert with_head.feed_forwards == without.feed_forwards
    assert with_head.model is with_head.head.base_model
    for neuron in ("product", "gate"):
        assert_same_bits(without, with_head, neuron)
    ids = torch.tensor([byte_tokenizer(True).encode(SENTENCES[0]).ids])
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        assert torch.equal(with_head.head(input_ids=ids).logits, plain(input_ids=ids).logits)
    for model in (with_head.head, without.model):
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", core(CAUSAL, "llama", "gpt2", "gpt_neox", "opt"))
def test_weights_of_a_base_model_serve_only_where_the_head_is_tied(name, tiny):
    if name in TIED:
        loaded = load(tiny(name), head=True)
        assert torch.equal(loaded.head.get_output_embeddings().weight, loaded.model.get_input_embeddings().weight)
    else:
        message = refused(lambda: load(tiny(name), head=True))
        assert "hold no language-model head (no lm_head.weight)" in message
        assert f"a {FAMILIES[name].class_name} alone" in message


def test_a_tied_head_is_not_missing_and_tensors_of_layers_are(tiny, tmp_path):
    folder = tiny("llama", head=True, tie_word_embeddings=True)
    stored = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in stored
    assert torch.equal(load(folder, head=True).head.lm_head.weight, stored["model.embed_tokens.weight"])
    shutil.copytree(tiny("llama", head=True), tmp_path / "spoilt")
    file = tmp_path / "spoilt" / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"], tensors["lm_head.weight"]
    save_file(tensors, file, {"format": "pt"})
    assert "lack 2 of the tensors" in refused(lambda: load(file.parent, head=True))


def test_models_that_have_no_likelihood(tiny, monkeypatch):
    for name in ("bert", "distilbert"):
        message = refused(lambda name=name: load(tiny(name), head=True))
        assert f"({FAMILIES[name].class_name}) is an encoder; likelihood needs a causal language model" in message
    # EmbeddingGemma is one: a decoder's class whose attention goes both ways
    folder = tiny("gemma3_text", head=True, use_bidirectional_attention=True)
    assert load(folder).info.causal
    assert "Gemma3TextModel lets a token see the ones after it" in refused(lambda: load(folder, head=True))
    monkeypatch.setattr(loading.AutoModelForCausalLM, "_model_mapping", {})
    message = refused(lambda: load(tiny("llama", head=True), head=True))
    assert "has no causal language model for LlamaConfig" in message


def test_the_language_model_inside_a_multimodal_one(tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
    config = transformers.Gemma3Config(
        text_config={**tiny_config("gemma3_text").to_dict(), "pad_token_id": 1},
        vision_config={**sizes, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_id=299,
        boi_token_id=298,
        eoi_token_id=297,
    )
    model = transformers.Gemma3ForConditionalGeneration(config)
    randomize(model, 0)
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    info = structure.describe(sources.parse_source(str(tmp_path)))
    assert (info.class_name, info.layers, info.neurons, info.hidden) == ("Gemma3TextModel", LAYERS, INNER, HIDDEN)
    assert info.gated and info.causal
    assert info.parameters == sum(p.numel() for p in AutoModel.from_config(tiny_config("gemma3_text")).parameters())
    without, with_head = load(tmp_path), load(tmp_path, head=True)
    assert type(with_head.model).__name__ == type(without.model).__name__ == "Gemma3TextModel"
    assert_same_bits(without, with_head)
    assert with_head.head(input_ids=torch.tensor([[5, 6, 7]])).logits.shape == (1, 3, VOCABULARY)


# dtype, device, memory

INFO = ModelInfo("m", "M", 2, 48, 32, 1000, True, True, "bfloat16", 2048)


def test_resolve_dtype():
    stored = {name: dataclasses.replace(INFO, stored_dtype=name) for name in ("float16", "float32", "float8_e4m3fn")}
    assert estimates.resolve_dtype("auto", INFO, "cpu") == "float32"
    assert estimates.resolve_dtype("auto", INFO, "cuda") == "bfloat16"
    assert estimates.resolve_dtype("auto", stored["float16"], "cuda") == "float16"
    assert estimates.resolve_dtype("auto", stored["float32"], "cuda") == "float32"
    assert estimates.resolve_dtype("auto", stored["float8_e4m3fn"], "cuda") == "float32"
    for dtype in estimates.DTYPES:
        assert estimates.resolve_dtype(dtype, INFO, "cpu") == estimates.computing_dtype(dtype, INFO) == dtype
    for dtype in estimates.QUANTIZED:
        assert estimates.resolve_dtype(dtype, INFO, "cuda") == dtype
        message = refused(lambda dtype=dtype: estimates.resolve_dtype(dtype, INFO, "cpu"))
        assert message == f"dtype {dtype} needs a CUDA GPU; choose float32 or bfloat16 for device cpu"
        assert estimates.computing_dtype(dtype, INFO) == "bfloat16"
        assert estimates.computing_dtype(dtype, stored["float16"]) == "float16"
        assert estimates.computing_dtype(dtype, stored["float32"]) == "bfloat16"


def test_resolve_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert estimates.resolve_device("auto") == estimates.resolve_device("cpu") == "cpu"
    assert "no usable CUDA GPU" in refused(lambda: estimates.resolve_device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert estimates.resolve_device("auto") == estimates.resolve_device("cuda") == "cuda"
    assert estimates.resolve_device("cpu") == "cpu"


@pytest.fixture
def gpus(monkeypatch):
    """gpus(bytes, ...): as if there were GPUs with so much free memory."""

    def put(*free: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda k: (free[k], 10**12))

    return put


def bytes_per_token(size: int, hidden: int, inner: int, neurons: int, *, sent: int = 0, heads: int = 0) -> int:
    """What a token of a batch takes, activations being `size` bytes, sentences of 16 to 512 tokens."""
    vectors = 10 * hidden * size + 6 * inner * size + 4 * sent * hidden * size
    pooled = 4 * inner + (2 if sent else 1) * 3 * 4 * neurons // 16
    return vectors + pooled + 512 * (1 + size) + 512 * heads * (4 + 4 * size)


def test_estimate_memory(monkeypatch, gpus):
    monkeypatch.setattr(estimates.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100_000})())
    gpus(300, 500)
    full, half = bytes_per_token(4, 32, 48, 48), bytes_per_token(2, 32, 48, 48)
    on_cpu = estimates.estimate_memory(INFO, "auto", "cpu", 7)
    assert on_cpu == estimates.MemoryEstimate(weights=4 * 1000, working=7 * full, free=100_000)
    assert on_cpu.needed == 4 * 1000 + 7 * full
    assert on_cpu.fits
    assert not estimates.estimate_memory(INFO, "auto", "cpu", 100).fits
    assert estimates.estimate_memory(INFO, "float16", "cpu", 7) == estimates.MemoryEstimate(2000, 7 * half, 100_000)
    assert estimates.estimate_memory(INFO, "auto", "cuda", 7) == estimates.MemoryEstimate(2000, 7 * half, 800)
    assert estimates.MemoryEstimate(1, 2, 3).fits
    assert not estimates.MemoryEstimate(1, 2, 2).fits


def test_estimates_of_attention_mixtures_and_few_bits(gpus):
    gpus(0)

    def estimate(dtype: str = "bfloat16", **changes: int) -> estimates.MemoryEstimate:
        return estimates.estimate_memory(dataclasses.replace(INFO, **changes), dtype, "cuda", 10)

    working = estimate().working
    assert estimate(attention=64).working == 10 * (bytes_per_token(2, 32, 48, 48) + 2 * 10 * 32)
    assert estimate(attention=16).working == working
    assert estimate(scored=4).working == 10 * bytes_per_token(2, 32, 48, 48, heads=4) == working + 10 * 512 * 4 * 12
    assert estimate(max_length=100).working == working - 10 * 412 * 3
    assert estimate(max_length=512).working == working
    mixture = estimate(neurons=60 * 16, experts=60, chosen=4)
    assert (mixture.weights, mixture.working) == (2 * 1000, 10 * bytes_per_token(2, 32, 4 * 16, 60 * 16, sent=4))
    for dtype, wanted in (("int8", 360 * 2 + 640), ("nf4", 360 * 2 + 320 + 4 * 640 // 64)):
        assert (estimate(dtype, projected=640).weights, estimate(dtype, projected=640).working) == (wanted, working)


@pytest.fixture
def asked(monkeypatch, gpus):
    """asked(source, *choices, **more): what from_pretrained would get on a GPU with bitsandbytes; nothing is loaded."""
    seen = {}

    def from_pretrained(*_args, **options):
        seen.update(options)
        raise ValueError("enough seen")

    gpus(10**9)
    monkeypatch.setattr(weights, "is_bitsandbytes_available", lambda: True)
    monkeypatch.setattr(AutoModel, "from_pretrained", from_pretrained)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", from_pretrained)

    def get(source, *choices: object, **more: object) -> dict:
        seen.clear()
        assert "enough seen" in refused(lambda: loading.load(source, *choices, device="cuda", **more))
        assert seen["use_safetensors"] is True
        assert seen["trust_remote_code"] is False
        return dict(seen)

    return get


@pytest.mark.parametrize(
    ("spare", "wanted"),
    [([0], {"": 0}), ([-1], {"": 0}), ([0, -1], {"": 0}), ([-1, 10**9], "auto"), ([-1, -1], "auto")],
)
def test_layers_are_spread_only_where_one_gpu_is_too_small(spare, wanted, tiny, asked, gpus):
    """`spare`: what every GPU has beyond the float32 weights, a head of its own and a batch of 10 tokens."""
    batch = 10 * bytes_per_token(4, HIDDEN, INNER, INNER)
    source = sources.parse_source(str(tiny("llama")))
    needed = 4 * structure.describe(source).parameters + batch
    gpus(*(needed + more for more in spare))
    assert asked(source, token_budget=10)["device_map"] == wanted
    for tied, head in ((True, 0), (False, 4 * VOCABULARY * HIDDEN)):
        source = sources.parse_source(str(tiny("llama", head=True, tie_word_embeddings=tied)))
        gpus(*(needed + head + more for more in spare))
        assert asked(source, token_budget=10, head=True)["device_map"] == wanted


# weights in few bits


@pytest.mark.parametrize("stored", ["float32", "float16"])
@pytest.mark.parametrize("dtype", ["int8", "nf4"])
def test_what_bitsandbytes_is_asked_for(dtype, stored, asked, tiny):
    source = sources.parse_source(str(tiny("llama", dtype=getattr(torch, stored))))
    assert structure.describe(source).stored_dtype == stored
    seen = asked(source, dtype)
    computing = torch.float16 if stored == "float16" else torch.bfloat16
    config = seen["quantization_config"]
    assert (config.load_in_8bit, config.load_in_4bit) == (dtype == "int8", dtype == "nf4")
    assert config.llm_int8_skip_modules == []
    if dtype == "nf4":
        assert (config.bnb_4bit_quant_type, config.bnb_4bit_compute_dtype) == ("nf4", computing)
        assert not config.bnb_4bit_use_double_quant
    assert (seen["dtype"], seen["device_map"]) == (computing, {"": 0})


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_a_head_keeps_its_bits(family, asked, tiny):
    source = sources.parse_source(str(tiny(family, head=True)))
    for dtype in estimates.QUANTIZED:
        assert asked(source, dtype, head=True)["quantization_config"].llm_int8_skip_modules == ["lm_head"]


def test_weights_in_few_bits_fit_where_others_are_spread(asked, tiny, gpus):
    source = sources.parse_source(str(tiny("llama", dtype=torch.bfloat16)))
    info = structure.describe(source)
    gpus(2 * (info.parameters - info.projected) + info.projected * 9 // 16, 10**9)
    for dtype, wanted in (("nf4", {"": 0}), ("int8", "auto"), ("bfloat16", "auto")):
        seen = asked(source, dtype)
        assert seen["device_map"] == wanted
        assert ("quantization_config" in seen) == (dtype != "bfloat16")


def test_few_bits_without_a_gpu_without_bitsandbytes_and_twice(asked, spoilt, tiny, monkeypatch):
    source = sources.parse_source(str(tiny("llama")))
    assert "dtype nf4 needs a CUDA GPU; choose float32" in refused(lambda: loading.load(source, "nf4", "cpu"))
    config = {**json.loads((spoilt / "config.json").read_text()), "quantization_config": {"quant_method": "awq"}}
    (spoilt / "config.json").write_text(json.dumps(config))
    message = refused(lambda: loading.load(sources.parse_source(str(spoilt)), "int8", "cuda"))
    assert "the weights of model spoilt are stored quantized, so they cannot be loaded as int8" in message
    monkeypatch.setattr(weights, "is_bitsandbytes_available", lambda: False)
    message = refused(lambda: loading.load(source, "int8", "cuda"))
    assert message == "dtype int8 needs a recent bitsandbytes; run `pip install -U bitsandbytes`, or choose bfloat16"


@pytest.mark.parametrize("dtype", ["int8", "nf4"])
def test_bitsandbytes_itself(dtype, tiny, monkeypatch):
    """On a CPU, which it can do in recent versions; the app asks for a GPU, where it is fast."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    monkeypatch.setattr(loading, "resolve_dtype", lambda dtype, _info, _device: dtype)
    wide = {"hidden_size": 128, "intermediate_size": 256, "num_key_value_heads": 4}
    source = sources.parse_source(str(tiny("llama", head=True, dtype=torch.bfloat16, **wide)))
    whole = loading.load(source, "bfloat16", "cpu")
    model, with_head = loading.load(source, dtype, "cpu"), loading.load(source, dtype, "cpu", head=True)
    projections = [module for module in model.model.modules() if structure.projection_shape(module)]
    assert model.feed_forwards == whole.feed_forwards
    assert {type(m).__name__ for m in projections} == {"Linear8bitLt" if dtype == "int8" else "Linear4bit"}
    assert type(with_head.head.lm_head) is torch.nn.Linear
    held = sum(p.numel() * p.element_size() for p in model.model.parameters())
    if dtype == "nf4":
        held += sum(4 * m.weight.quant_state.absmax.numel() for m in projections)
    assert estimates.estimate_memory(model.info, dtype, "cuda", 0).weights == held
    assert_same_bits(model, with_head)
    near = [extraction.extract(m, "eng", SENTENCES).arrays["emb_mean"][0].ravel() for m in (model, whole)]
    assert np.corrcoef(*near)[0, 1] > 0.9
