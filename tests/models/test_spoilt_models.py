"""Spoilt models: each is refused with one sentence, before anything large is built, or works."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import byte_tokenizer, refused

from neuronxa_core.errors import ExtractionError, ModelError
from neuronxa_core.models import description, loading, sources, structure
from neuronxa_core.states import extraction


def settings(folder: Path, **changes: object) -> None:
    """Change a model's configuration."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **changes}), "utf-8")


def load(folder: Path) -> description.LoadedModel:
    return loading.load(sources.parse_source(str(folder)), device="cpu")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", 1001),
        ("hidden_size", 10**12),
        ("intermediate_size", 10**9),
        ("vocab_size", 10**10),
        ("max_position_embeddings", 10**9),
        ("vision_config", {"num_hidden_layers": 10**9}),
        ("text_config", {"sizes": [{"num_local_experts": 10**6}]}),
        ("num_hidden_layers", 1e300),
    ],
)
def test_a_configuration_of_absurd_size_is_refused_before_anything_is_built(name, value, spoilt, monkeypatch):
    settings(spoilt, **{name: value})

    def built(*_arguments, **_options):
        pytest.fail("it was built")

    monkeypatch.setattr(sources.AutoConfig, "from_pretrained", built)
    message = refused(lambda: structure.describe(sources.parse_source(str(spoilt))))
    assert "no model has more than" in message and "spoilt" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_hidden_layers", 0),
        ("num_hidden_layers", -3),
        ("num_hidden_layers", "three"),
        ("num_hidden_layers", None),
        ("num_hidden_layers", 1.5),
        ("num_hidden_layers", [3]),
        ("hidden_size", 0),
        ("hidden_size", -32),
        ("hidden_size", "x"),
        ("intermediate_size", 0),
        ("intermediate_size", None),
        ("num_attention_heads", 0),
        ("num_attention_heads", 7),
        ("vocab_size", 0),
        ("vocab_size", -1),
        ("hidden_act", "no such function"),
        ("rope_parameters", []),
        ("model_type", {"a": 1}),
        ("architectures", 7),
        ("torch_dtype", "float1"),
        ("dtype", 3),
        ("pad_token_id", 10**6),
        ("max_position_embeddings", 0),
        ("max_position_embeddings", "many"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_one_sentence_or_a_model_that_works(name, value, spoilt):
    settings(spoilt, **{name: value})
    try:
        loaded = load(spoilt)
        states = extraction.extract(loaded, "eng", ["the cat sat"])
    except (ModelError, ExtractionError) as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
    else:
        assert states.tokens.tolist() == [len(byte_tokenizer(True).encode("the cat sat").ids)]


@pytest.mark.parametrize("content", ["[]", "[1, 2]", '"llama"', "7", "null"])
def test_a_configuration_that_is_no_table_of_settings(content, spoilt):
    (spoilt / "config.json").write_text(content, "utf-8")
    message = refused(lambda: structure.describe(sources.parse_source(str(spoilt))))
    assert "config.json holds no settings of a model" in message


def test_a_configuration_that_is_nested_without_end_or_huge(spoilt):
    file = spoilt / "config.json"
    file.write_text("[" * 100_000, "utf-8")
    assert "is not readable JSON" in refused(lambda: structure.describe(sources.parse_source(str(spoilt))))
    file.write_text('{"a":' * 900 + "1" + "}" * 900, "utf-8")
    refused(lambda: structure.describe(sources.parse_source(str(spoilt))))
    with file.open("wb") as handle:
        handle.truncate(sources.MOST_CONFIG_BYTES + 1)
    assert "is larger than any such file" in refused(lambda: structure.describe(sources.parse_source(str(spoilt))))


@pytest.mark.parametrize("name", ["tokenizer_config.json", "tokenizer.json", "generation_config.json"])
@pytest.mark.parametrize("content", ["[]", "{", "[" * 5000, "7", '{"model_max_length": "x", "added_tokens": 3}'])
def test_other_files_of_a_model_that_make_no_sense(name, content, spoilt):
    (spoilt / name).write_text(content, "utf-8")
    try:
        loaded = load(spoilt)
    except ModelError as error:
        assert "spoilt" in str(error) and "\n" not in str(error)
    else:
        assert extraction.extract(loaded, "eng", ["the cat sat"]).tokens[0] > 2


def in_shards(folder: Path, **index: object) -> list[str]:
    """Take a model's weights apart into two files with an index, and change the index."""
    weights = load_file(folder / "model.safetensors")
    names, shards = sorted(weights), ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    weight_map = {}
    for number, shard in enumerate(shards):
        part = {name: weights[name] for name in names[number::2]}
        save_file(part, folder / shard, {"format": "pt"})
        weight_map.update(dict.fromkeys(part, shard))
    (folder / "model.safetensors").unlink()
    whole = {"metadata": {}, "weight_map": weight_map, **index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(whole), "utf-8")
    return shards


def test_a_shard_that_is_missing_is_named(spoilt):
    _, second = in_shards(spoilt)
    assert load(spoilt).info.layers == 3
    (spoilt / second).unlink()
    message = refused(lambda: load(spoilt))
    assert f"lacks 1 of the 2 files of weights that its model.safetensors.index.json names ({second})" in message


def test_a_shard_that_is_cut_off(spoilt):
    _, second = in_shards(spoilt)
    content = (spoilt / second).read_bytes()
    (spoilt / second).write_bytes(content[: len(content) // 2])
    assert "damaged or cut off" in refused(lambda: load(spoilt))


@pytest.mark.parametrize(
    "content", ["[]", "{", "{}", '{"weight_map": {}}', '{"weight_map": [], "metadata": {}}', "[" * 9999]
)
def test_an_index_of_weights_that_is_none(content, spoilt):
    in_shards(spoilt)
    (spoilt / "model.safetensors.index.json").write_text(content, "utf-8")
    message = refused(lambda: load(spoilt))
    assert "model.safetensors.index.json" in message


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/etc/passwd", "weights.bin", "sub/x.safetensors", 7, ""])
def test_an_index_leads_to_no_file_elsewhere_and_to_no_pickle(name, spoilt):
    """transformers itself would follow it, and load a pickled file."""
    shutil.copy(spoilt / "model.safetensors", spoilt.parent / "elsewhere.safetensors")
    weights = load_file(spoilt / "model.safetensors")
    torch.save(weights, spoilt / "weights.bin")
    in_shards(spoilt, weight_map=dict.fromkeys(weights, name))
    assert "names what is no .safetensors file beside it" in refused(lambda: load(spoilt))


@pytest.mark.parametrize("name", ["adapter_model.bin", "other.safetensors", "../elsewhere.safetensors"])
def test_a_configuration_leads_to_no_weights_of_another_name(name, spoilt):
    """transformers itself would load them, adapter_model.bin as a pickle."""
    torch.save(load_file(spoilt / "model.safetensors"), spoilt / "adapter_model.bin")
    settings(spoilt, transformers_weights=name)
    assert "transformers_weights" in refused(lambda: load(spoilt))


def test_an_adapter_is_no_model(spoilt):
    (spoilt / "adapter_config.json").write_text('{"base_model_name_or_path": "/etc"}', "utf-8")
    assert "is an adapter of another model" in refused(lambda: load(spoilt))


def test_tensors_that_are_missing_are_named(spoilt):
    file = spoilt / "model.safetensors"
    weights = load_file(file)
    for layer in range(3):
        del weights[f"layers.{layer}.input_layernorm.weight"], weights[f"layers.{layer}.mlp.up_proj.weight"]
    save_file(weights, file, {"format": "pt"})
    message = refused(lambda: load(spoilt))
    assert "lack 6 of the tensors" in message
    assert "layers.0.input_layernorm.weight, layers.0.mlp.up_proj.weight" in message and "and 2 more" in message


def test_weights_that_are_far_too_few_are_refused_before_the_rest_is_made_up(spoilt, monkeypatch):
    """Without it, transformers makes up a hundred million rows of random numbers."""
    settings(spoilt, vocab_size=10**8)

    def loads(*_arguments, **_options):
        pytest.fail("it was loaded")

    monkeypatch.setattr(loading.AutoModel, "from_pretrained", loads)
    message = refused(lambda: load(spoilt))
    size = (spoilt / "model.safetensors").stat().st_size
    assert f"are {size:,} bytes in all" in message and "belong to another model" in message


def test_a_tokenizer_of_another_model_is_refused(spoilt):
    settings(spoilt, vocab_size=50, bos_token_id=0, eos_token_id=2)
    weights = load_file(spoilt / "model.safetensors")
    weights["embed_tokens.weight"] = weights["embed_tokens.weight"][:50].clone()
    save_file(weights, spoilt / "model.safetensors", {"format": "pt"})
    loaded = load(spoilt)
    with pytest.raises(ExtractionError, match="the model knows only 50: the tokenizer belongs to another model"):
        extraction.extract(loaded, "deu", ["a dog runs in the rain"])
