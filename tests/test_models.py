"""models.py against families written down by hand in tiny_models.py, and folders that are wrong in many ways."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import constants as hub_constants
from huggingface_hub import errors as hub_errors
from safetensors.torch import load_file, save_file
from tiny_models import (
    FAMILIES,
    HIDDEN,
    INNER,
    LAYERS,
    TRAINING_TEXT,
    VOCABULARY,
    PlainNeurons,
    byte_tokenizer,
    randomize,
    save_tokenizer,
    tiny_config,
    tiny_model,
    without_weights,
)
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedTokenizerFast

from neuronxa_core.errors import ModelError
from neuronxa_core.models import description, estimates, fingerprint, loading, sources, structure
from neuronxa_core.states import extraction
from neuronxa_core.states import likelihood as likelihood_states

SENTENCE = "the cat sat, и 猫"


def refused(call) -> str:
    """The message of the ModelError that a call raises: one line, one sentence."""
    with pytest.raises(ModelError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert "Traceback" not in message
    return message


def config_only(folder: Path, family: str, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    tiny_config(family, **changes).save_pretrained(folder)
    return folder


# where the neurons are


@pytest.mark.parametrize("name", FAMILIES)
def test_every_layer_of_every_family_is_found(name, loaded):
    family = FAMILIES[name]
    found = loaded(name).feed_forwards
    assert len(found) == LAYERS
    for k, feed_forward in enumerate(found):
        layer = family.layer.format(k)
        assert feed_forward == description.FeedForward(
            layer=layer,
            last_projection=f"{layer}.{family.last}",
            activation=family.activation_module and f"{layer}.{family.activation_module}",
            neurons=family.neurons,
            gated=family.gated,
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_description_needs_no_weights_and_equals_that_of_the_loaded_model(name, tiny, loaded, tmp_path):
    family = FAMILIES[name]
    folder = tiny(name)
    bare = without_weights(folder, tmp_path)
    info = structure.describe(sources.parse_source(str(bare)))
    weights = load_file(folder / "model.safetensors")
    assert info == loaded(name).info
    assert info == description.ModelInfo(
        name=folder.name,
        class_name=family.class_name,
        layers=LAYERS,
        neurons=family.neurons,
        hidden=HIDDEN,
        parameters=sum(tensor.numel() for tensor in weights.values()),
        gated=family.gated,
        causal=family.causal,
        stored_dtype="float32",
        max_length={"gpt2": 1024, "bert": 512, "distilbert": 512, "xlm-roberta": 510}.get(name, 2048),
        projected=sum(
            tensor.numel()
            for key, tensor in weights.items()
            if tensor.dim() == 2 and "embed" not in key and not key.startswith(("wte", "wpe"))
        ),
        attention=HIDDEN,
        scored={"gemma2": 4, "bloom": 4}.get(name, 0),
    )
    assert [p.name for p in bare.iterdir()] == ["config.json"]


@pytest.mark.parametrize("name", FAMILIES)
def test_hook_points_see_the_activations_that_the_weights_give(name, tiny, loaded):
    plain = PlainNeurons(name, tiny(name))
    model = loaded(name)
    inputs: dict[int, torch.Tensor] = {}
    seen: dict[tuple[int, str], torch.Tensor] = {}
    handles = []

    def keep(into, key):
        def hook(_module, args, output=None):
            into[key] = args[0] if output is None else output

        return hook

    for k in range(LAYERS):
        first = model.model.get_submodule(plain.first_path(k))
        handles.append(first.register_forward_pre_hook(keep(inputs, k)))
        for neuron in ("product", "gate"):
            path, side = model.feed_forwards[k].module_for(neuron)
            module = model.model.get_submodule(path)
            register = module.register_forward_pre_hook if side == "input" else module.register_forward_hook
            handles.append(register(keep(seen, (k, neuron))))
    ids = model.tokenizer(SENTENCE)["input_ids"]
    try:
        with torch.inference_mode():
            model.model(input_ids=torch.tensor([ids]))
    finally:
        for handle in handles:
            handle.remove()
    for (k, neuron), activations in seen.items():
        wanted = plain.activations(k, inputs[k].reshape(1, len(ids), HIDDEN), neuron)
        activations = activations.reshape(wanted.shape).double()
        assert wanted.shape == (1, len(ids), FAMILIES[name].neurons)
        assert (wanted > 0).any()
        assert wanted.abs().max() > 0.5
        torch.testing.assert_close(activations, wanted, rtol=1e-5, atol=2e-5)
    assert len(seen) == 2 * LAYERS
    if FAMILIES[name].gated:
        assert not torch.allclose(seen[0, "product"], seen[0, "gate"], atol=0.1)


def test_a_hand_worked_gated_network(tmp_path):
    """W_gate x = 2, W_up x = 3 for x = e_0: product silu(2) * 3, gate silu(2)."""

    def plant(model):
        mlp = model.layers[0].mlp
        for projection, first in ((mlp.gate_proj, 2.0), (mlp.up_proj, 3.0)):
            projection.weight.zero_()
            projection.weight[5, 0] = first

    folder = tiny_model("llama", tmp_path, edit=plant, num_hidden_layers=1)
    model = loading.load(sources.parse_source(str(folder)), device="cpu")
    mlp = model.model.layers[0].mlp
    seen = {}
    for neuron in ("product", "gate"):
        path, side = model.feed_forwards[0].module_for(neuron)
        module = model.model.get_submodule(path)
        if side == "input":
            module.register_forward_pre_hook(lambda _m, args: seen.update(product=args[0]))
        else:
            module.register_forward_hook(lambda _m, _args, output: seen.update(gate=output))
    mlp(torch.eye(HIDDEN)[:1])
    silu_of_2 = 2 / (1 + 2.718281828459045**-2)
    assert seen["gate"][0, 5].item() == pytest.approx(silu_of_2, rel=1e-6)
    assert seen["product"][0, 5].item() == pytest.approx(3 * silu_of_2, rel=1e-6)
    assert seen["product"].count_nonzero() == 1


@pytest.mark.parametrize("name", ["llama", "phi3", "modernbert", "gpt2", "bert", "opt", "distilbert"])
def test_an_inner_width_that_equals_the_hidden_width(name, tmp_path):
    width = {"gpt2": "n_inner", "opt": "ffn_dim", "distilbert": "hidden_dim"}.get(name, "intermediate_size")
    folder = config_only(tmp_path / "square", name, **{width: HIDDEN})
    family = FAMILIES[name]
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(sources.read_config(sources.parse_source(str(folder))))
    found = structure.locate(model)
    assert [f.last_projection for f in found] == [f"{family.layer.format(k)}.{family.last}" for k in range(LAYERS)]
    assert {f.neurons for f in found} == {HIDDEN}
    assert {f.gated for f in found} == {family.gated}


def test_gate_needs_a_module_where_the_network_is_gated():
    hidden = description.FeedForward("layers.0", "layers.0.mlp.down_proj", None, INNER, gated=True)
    assert hidden.module_for("product") == ("layers.0.mlp.down_proj", "input")
    assert "choose 'product'" in refused(lambda: hidden.module_for("gate"))
    plain = description.FeedForward("h.0", "h.0.mlp.c_proj", None, INNER, gated=False)
    assert plain.module_for("gate") == plain.module_for("product") == ("h.0.mlp.c_proj", "input")


def test_the_language_model_inside_a_multimodal_one(tmp_path):
    text = tiny_config("gemma3_text").to_dict()
    vision = {
        "hidden_size": 16,
        "intermediate_size": 64,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    config.save_pretrained(tmp_path)
    info = structure.describe(sources.parse_source(str(tmp_path)))
    assert (info.class_name, info.layers, info.neurons, info.hidden) == ("Gemma3TextModel", LAYERS, INNER, HIDDEN)
    assert info.gated
    assert info.causal
    with torch.device("meta"):
        alone = transformers.AutoModel.from_config(tiny_config("gemma3_text"))
    assert info.parameters == sum(p.numel() for p in alone.parameters())


def test_well_known_models_have_their_published_sizes(tmp_path):
    """The default configurations of transformers are those of LLaMA-2 7B, GPT-2 small and BERT base."""

    def described(config) -> description.ModelInfo:
        folder = tmp_path / config.model_type
        config.save_pretrained(folder)
        return structure.describe(sources.parse_source(str(folder)))

    llama = described(transformers.LlamaConfig())
    a_layer = 4 * 4096 * 4096 + 3 * 4096 * 11008 + 2 * 4096
    assert (llama.layers, llama.neurons, llama.hidden, llama.gated) == (32, 11008, 4096, True)
    assert llama.parameters == 32000 * 4096 + 32 * a_layer + 4096
    gpt2 = described(transformers.GPT2Config())
    assert (gpt2.layers, gpt2.neurons, gpt2.hidden, gpt2.gated) == (12, 3072, 768, False)
    assert gpt2.parameters == 124_439_808
    bert = described(transformers.BertConfig())
    assert (bert.layers, bert.neurons, bert.hidden, bert.causal) == (12, 3072, 768, False)
    assert bert.parameters == 109_482_240


def test_longest_sentence(tmp_path):
    def longest(family: str, **changes: object) -> int:
        folder = config_only(tmp_path / family, family, **changes)
        return structure.describe(sources.parse_source(str(folder))).max_length

    assert longest("llama", max_position_embeddings=77) == 77
    assert longest("llama", max_position_embeddings=131072) == structure.LONGEST_SENTENCE
    assert longest("gpt2", n_positions=64) == 64
    assert longest("xlm-roberta", max_position_embeddings=514) == 512
    assert longest("xlm-roberta", max_position_embeddings=514, pad_token_id=0) == 513
    assert longest("bloom") == structure.LONGEST_SENTENCE


@pytest.mark.parametrize("name", ["xlm-roberta", "bert", "gpt2", "opt", "distilbert", "mpnet", "data2vec-text"])
def test_the_longest_sentence_runs_and_one_token_more_does_not(name, tmp_path):
    config = tiny_config(name, max_position_embeddings=20)
    model = transformers.AutoModel.from_config(config).eval()
    longest = structure._longest(config)
    assert 16 <= longest <= 20
    with torch.inference_mode():
        model(input_ids=torch.full((1, longest), 5), attention_mask=torch.ones(1, longest, dtype=torch.long))
        with pytest.raises((IndexError, RuntimeError)):
            model(
                input_ids=torch.full((1, longest + 1), 5), attention_mask=torch.ones(1, longest + 1, dtype=torch.long)
            )


@pytest.mark.parametrize(
    ("family", "changes", "class_name", "found"),
    [
        ("qwen2_moe", {}, "Qwen2MoeModel", "found routed experts in mlp.experts, and beside them"),
        ("switch_transformers", {}, "SwitchTransformersConfig", "encoder-decoder"),
        ("mamba", {}, "MambaModel", "state-space"),
        ("albert", {}, "AlbertModel", "no list of 3 modules"),
        ("t5", {}, "T5Config", "encoder-decoder"),
        ("bart", {}, "BartConfig", "encoder-decoder"),
        ("xlm", {}, "XLMModel", "several lists"),
        ("mobilebert", {}, "MobileBertModel", "found none among"),
    ],
)
def test_what_has_no_such_neurons_is_refused_by_class(family, changes, class_name, found, tmp_path):
    folder = config_only(tmp_path / "other", family, **changes)
    message = refused(lambda: structure.describe(sources.parse_source(str(folder))))
    assert class_name in message
    assert found in message


def test_layers_of_different_widths_are_refused(tmp_path):
    config = tiny_config("llama")
    model = transformers.AutoModel.from_config(config)
    model.layers[1].mlp.down_proj = torch.nn.Linear(64, HIDDEN)
    model.layers[1].mlp.gate_proj = torch.nn.Linear(HIDDEN, 64)
    model.layers[1].mlp.up_proj = torch.nn.Linear(HIDDEN, 64)
    message = refused(
        lambda: structure._describe(description.ModelSource("odd", str(tmp_path), "folder"), config, model)
    )
    assert "odd has layers of different widths [48, 64]" in message


def test_a_network_that_fits_twice_is_refused():
    model = transformers.AutoModel.from_config(tiny_config("llama"))
    model.layers[2].mlp.second_down_proj = torch.nn.Linear(INNER, HIDDEN)
    message = refused(lambda: structure.locate(model))
    assert "LlamaModel, layers.2" in message
    assert "found several: ['mlp.down_proj', 'mlp.second_down_proj']" in message


def test_the_layers_are_the_largest_list_of_their_length():
    model = transformers.AutoModel.from_config(tiny_config("llama"))
    wanted = structure.locate(model)
    model.layers[0].small = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(LAYERS))
    model.first = torch.nn.Module()
    model.first.also_small = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(LAYERS))
    assert structure.locate(model) == wanted


# sources


def test_parse_source(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    place = str((tmp_path / "folder").resolve())
    assert sources.parse_source("demo") == description.ModelSource("demo", str(sources.DEMO_FOLDER), "demo")
    folder = description.ModelSource("folder", place, "folder")
    for text in (place, "folder", "./folder", "folder/", " folder ", "~/folder", "../" + tmp_path.name + "/folder"):
        assert sources.parse_source(text) == folder
    hub = sources.parse_source("Qwen/Qwen3-8B")
    assert hub == description.ModelSource("Qwen/Qwen3-8B", "Qwen/Qwen3-8B", "hub", None)
    assert sources.parse_source("gpt2").kind == "hub"
    at = sources.parse_source("owner/name@v1.0")
    assert (at.name, at.location, at.revision) == ("owner/name", "owner/name", "v1.0")
    assert sources.parse_source("owner/name@refs/pr/1").revision == "refs/pr/1"


@pytest.mark.parametrize("text", ["/no/such/folder", "./none", "~/none", "none/", "a/b/c", "a\\b"])
def test_a_missing_folder_is_named(text):
    message = refused(lambda: sources.parse_source(text))
    assert message.startswith(f"there is no folder {text}")


@pytest.mark.parametrize("text", ["", "   ", "two words", "-x/y", "a//b@", "a b/c", "@main", "näme/x y", "a/b?c",
                                  "x" * 5000, "~no-such-user/x", "a\0b"])  # fmt: skip
def test_what_can_be_no_hub_id_is_refused(text):
    refused(lambda: sources.parse_source(text))


def test_a_file_is_no_folder(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    assert f"{file} is a file; give the folder" in refused(lambda: sources.parse_source(str(file)))


def test_hub_options_never_run_remote_code():
    assert description.ModelSource("a", "a", "hub", "v1").hub_options == {"trust_remote_code": False, "revision": "v1"}
    for kind in ("demo", "folder"):
        assert description.ModelSource("a", "/a", kind).hub_options == {
            "trust_remote_code": False,
            "local_files_only": True,
        }


# folders that are wrong


def test_no_config(tmp_path):
    assert "has no config.json" in refused(lambda: structure.describe(sources.parse_source(str(tmp_path))))


@pytest.mark.parametrize("content", [b"", b"{not json", b"\xff\xfe\x00", b'{"model_type": '])
def test_config_that_is_no_json(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    message = refused(lambda: structure.describe(sources.parse_source(str(tmp_path))))
    assert "config.json is not readable JSON" in message


@pytest.mark.parametrize("content", ["{}", "[]", '"text"', '{"model_type": 3}', '{"model_type": null}'])
def test_config_that_is_json_but_no_config(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    assert tmp_path.name in refused(lambda: structure.describe(sources.parse_source(str(tmp_path))))


def test_unknown_kind_of_model(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "frobnicator"}')
    message = refused(lambda: structure.describe(sources.parse_source(str(tmp_path))))
    assert "frobnicator" in message
    assert f"transformers {transformers.__version__} does not know" in message


def test_remote_code_is_never_run(tmp_path):
    evidence = tmp_path / "ran"
    (tmp_path / "code.py").write_text(f"from pathlib import Path\nPath({str(evidence)!r}).touch()\n")
    content = {"model_type": "frobnicator", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    message = refused(lambda: structure.describe(sources.parse_source(str(tmp_path))))
    assert "asks for its own code to be run, which this app never does" in message
    assert not evidence.exists()


def test_remote_code_of_a_tokenizer_is_never_run(tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny("llama"), folder)
    evidence = tmp_path / "ran"
    (folder / "code.py").write_text(f"from pathlib import Path\nPath({str(evidence)!r}).touch()\n")
    file = folder / "tokenizer_config.json"
    content = json.loads(file.read_text())
    content.update(tokenizer_class="Odd", auto_map={"AutoTokenizer": ["code.Odd", None]})
    file.write_text(json.dumps(content))
    try:
        loading.load(sources.parse_source(str(folder)), device="cpu")
    except ModelError as error:
        assert "its own code" in str(error)
    assert not evidence.exists()


@pytest.fixture
def copy(tiny, tmp_path):
    """A tiny LLaMA that a test may spoil."""
    folder = tmp_path / "spoilt"
    shutil.copytree(tiny("llama"), folder)
    return folder


def load(folder: Path) -> description.LoadedModel:
    return loading.load(sources.parse_source(str(folder)), device="cpu")


def test_pickled_weights_are_never_loaded(copy):
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    assert "has no .safetensors weights" in refused(lambda: load(copy))


def test_no_weights_at_all(copy):
    (copy / "model.safetensors").unlink()
    assert "has no .safetensors weights" in refused(lambda: load(copy))


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_cut_off_weights(copy, keep):
    file = copy / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    assert "damaged or cut off" in refused(lambda: load(copy))


def test_missing_tensors(copy):
    file = copy / "model.safetensors"
    weights = load_file(file)
    del weights["layers.1.mlp.up_proj.weight"], weights["layers.2.mlp.up_proj.weight"]
    save_file(weights, file, {"format": "pt"})
    message = refused(lambda: load(copy))
    assert "lack 2 of the tensors" in message
    assert "layers.1.mlp.up_proj.weight" in message


def test_tensors_of_another_size(copy):
    file = copy / "model.safetensors"
    weights = load_file(file)
    weights["layers.1.mlp.up_proj.weight"] = torch.zeros(INNER + 1, HIDDEN)
    save_file(weights, file, {"format": "pt"})
    assert "spoilt could not be read" in refused(lambda: load(copy))


def test_missing_shard(copy):
    weights = load_file(copy / "model.safetensors")
    names = sorted(weights)
    index = {}
    for number in (1, 2):
        part = {name: weights[name] for name in names[number - 1 :: 2]}
        save_file(part, copy / f"model-{number:05}-of-00002.safetensors", {"format": "pt"})
        index.update(dict.fromkeys(part, f"model-{number:05}-of-00002.safetensors"))
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    assert load(copy).info.layers == LAYERS
    (copy / "model-00002-of-00002.safetensors").unlink()
    refused(lambda: load(copy))


@pytest.mark.parametrize("name", ["llama", "qwen2", "bert", "xlm-roberta", "gemma2", "gpt2", "mistral"])
def test_missing_tokenizer(name, tiny, tmp_path):
    """Some tokenizer classes would start empty and make one unknown token of every word."""
    folder = tmp_path / "model"
    shutil.copytree(tiny(name), folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    message = refused(lambda: load(folder))
    assert "the tokenizer of model model" in message
    assert "tokenizer.json" in message


def test_damaged_tokenizer(copy):
    (copy / "tokenizer.json").write_text("{")
    assert "the tokenizer of model spoilt could not be read" in refused(lambda: load(copy))


def test_weights_that_do_not_fit_into_memory(copy, monkeypatch):
    def full(*_args, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", full)
    assert "does not fit into memory" in refused(lambda: load(copy))


# loading


@pytest.mark.parametrize("name", FAMILIES)
def test_loaded_weights_and_tokens_are_those_of_the_folder(name, tiny, loaded):
    model = loaded(name)
    assert not model.model.training
    assert not any(p.requires_grad for p in model.model.parameters())
    assert (model.device, model.dtype) == (torch.device("cpu"), "float32")
    state = model.model.state_dict()
    for key, tensor in load_file(tiny(name) / "model.safetensors").items():
        assert torch.equal(state[key], tensor)
    for text in (SENTENCE, "a dog", "кошка спит"):
        assert model.tokenizer(text)["input_ids"] == byte_tokenizer(True).encode(text).ids


@pytest.mark.parametrize(("dtype", "wanted"), [("bfloat16", torch.bfloat16), ("float16", torch.float16)])
def test_loading_in_half_precision(dtype, wanted, tiny):
    model = loading.load(sources.parse_source(str(tiny("llama"))), dtype, "cpu")
    assert {p.dtype for p in model.model.parameters()} == {wanted}
    assert model.dtype == dtype


def test_a_language_model_loads_without_its_head(tmp_path):
    config = tiny_config("llama", tie_word_embeddings=False)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tiny_model("llama", tmp_path / "tokenizer")
    for file in (tmp_path / "tokenizer").glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    model = load(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" in stored
    assert model.info.parameters == sum(t.numel() for name, t in stored.items() if name != "lm_head.weight")
    assert torch.equal(model.model.layers[2].mlp.up_proj.weight, stored["model.layers.2.mlp.up_proj.weight"])


# loading with the language-model head

CAUSAL = [name for name in FAMILIES if FAMILIES[name].causal]
TIED = ["gemma2", "gemma3_text", "gpt2", "bloom", "opt", "falcon"]


def load_with_head(folder: Path) -> description.LoadedModel:
    return loading.load(sources.parse_source(str(folder)), device="cpu", head=True)


@pytest.mark.parametrize("name", CAUSAL)
def test_states_of_a_model_are_the_same_bits_with_and_without_its_head(name, tiny):
    folder = tiny(name, head=True)
    without, with_head = load(folder), load_with_head(folder)
    assert without.head is None
    assert with_head.info == without.info
    assert with_head.feed_forwards == without.feed_forwards
    assert type(with_head.model) is type(without.model)
    assert with_head.model is with_head.head.base_model
    sentences = [SENTENCE, "a", "кошка спит днём"]
    for neuron in ("product", "gate"):
        a, b = (extraction.extract(model, "eng", sentences, neuron) for model in (without, with_head))
        assert all(np.array_equal(a.arrays[array], b.arrays[array]) for array in a.arrays)
    ids = torch.tensor([byte_tokenizer(True).encode(SENTENCE).ids])
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        assert torch.equal(with_head.head(input_ids=ids).logits, plain(input_ids=ids).logits)
    assert not with_head.head.training
    assert not any(p.requires_grad for p in with_head.head.parameters())


@pytest.mark.parametrize("name", CAUSAL)
def test_weights_of_a_base_model_serve_only_where_the_head_is_tied(name, tiny):
    if name in TIED:
        loaded = load_with_head(tiny(name))
        assert torch.equal(loaded.head.get_output_embeddings().weight, loaded.model.get_input_embeddings().weight)
    else:
        message = refused(lambda: load_with_head(tiny(name)))
        assert "hold no language-model head (no lm_head.weight)" in message
        assert f"a {FAMILIES[name].class_name} alone" in message


def test_a_tied_head_is_not_missing(tiny):
    folder = tiny("llama", head=True, tie_word_embeddings=True)
    stored = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in stored
    assert torch.equal(load_with_head(folder).head.lm_head.weight, stored["model.embed_tokens.weight"])


def test_missing_tensors_of_a_model_with_its_head(tiny, tmp_path):
    folder = tmp_path / "spoilt"
    shutil.copytree(tiny("llama", head=True), folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"], weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    message = refused(lambda: load_with_head(folder))
    assert "lack 2 of the tensors" in message


@pytest.mark.parametrize("name", ["bert", "xlm-roberta", "modernbert", "distilbert"])
def test_an_encoder_has_no_likelihood(name, tiny):
    message = refused(lambda: load_with_head(tiny(name)))
    assert f"({FAMILIES[name].class_name}) is an encoder; likelihood needs a causal language model" in message


def test_a_decoder_that_sees_later_tokens_has_no_likelihood(tiny):
    """EmbeddingGemma is one: a decoder's class whose attention goes both ways."""
    folder = tiny("gemma3_text", head=True, use_bidirectional_attention=True)
    assert load(folder).info.causal
    assert "Gemma3TextModel lets a token see the ones after it" in refused(lambda: load_with_head(folder))


def test_a_kind_of_model_without_a_language_model_class(tiny, monkeypatch):
    monkeypatch.setattr(loading.AutoModelForCausalLM, "_model_mapping", {})
    assert "has no causal language model for LlamaConfig" in refused(lambda: load_with_head(tiny("llama", head=True)))


def test_the_head_of_a_multimodal_model(tmp_path):
    vision = {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**tiny_config("gemma3_text").to_dict(), "pad_token_id": 1}
    config = transformers.Gemma3Config(
        text_config=text,
        vision_config={**vision, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_id=299,
        boi_token_id=298,
        eoi_token_id=297,
    )
    model = transformers.Gemma3ForConditionalGeneration(config)
    randomize(model, 0)
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    without, with_head = load(tmp_path), load_with_head(tmp_path)
    assert type(with_head.model).__name__ == type(without.model).__name__ == "Gemma3TextModel"
    a, b = (extraction.extract(model, "eng", [SENTENCE, "a"]) for model in (without, with_head))
    assert all(np.array_equal(a.arrays[array], b.arrays[array]) for array in a.arrays)
    assert with_head.head(input_ids=torch.tensor([[5, 6, 7]])).logits.shape == (1, 3, VOCABULARY)


def test_a_head_of_its_own_counts_when_layers_are_spread(tiny, monkeypatch):
    seen = {}

    def from_pretrained(*_args, **options):
        seen.update(options)
        raise ValueError("enough seen")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    for tied, wanted in ((False, "auto"), (True, {"": 0})):
        source = sources.parse_source(str(tiny("llama", head=True, tie_word_embeddings=tied)))
        body = 4 * structure.describe(source).parameters
        free = [body + 4 * VOCABULARY * HIDDEN - 1, 10**9]
        monkeypatch.setattr(estimates, "free_gpu_bytes", lambda free=free: free)
        refused(lambda source=source: loading.load(source, device="cuda", head=True))
        assert seen["device_map"] == wanted
        assert seen["use_safetensors"] is True
        assert seen["trust_remote_code"] is False


# dtype, device, memory

INFO = description.ModelInfo("m", "M", 2, 48, 32, 1000, True, True, "bfloat16", 2048)


def test_resolve_dtype():
    stored = {name: dataclasses.replace(INFO, stored_dtype=name) for name in ("float16", "float32", "float8_e4m3fn")}
    assert estimates.resolve_dtype("auto", INFO, "cpu") == "float32"
    assert estimates.resolve_dtype("auto", INFO, "cuda") == "bfloat16"
    assert estimates.resolve_dtype("auto", stored["float16"], "cuda") == "float16"
    assert estimates.resolve_dtype("auto", stored["float32"], "cuda") == "float32"
    assert estimates.resolve_dtype("auto", stored["float8_e4m3fn"], "cuda") == "float32"
    for dtype in estimates.DTYPES:
        assert estimates.resolve_dtype(dtype, INFO, "cpu") == dtype
        assert estimates.resolve_dtype(dtype, INFO, "cuda") == dtype
        assert estimates.computing_dtype(dtype, INFO) == dtype
    for dtype in estimates.QUANTIZED:
        assert estimates.resolve_dtype(dtype, INFO, "cuda") == dtype
        message = refused(lambda dtype=dtype: estimates.resolve_dtype(dtype, INFO, "cpu"))
        assert message == f"dtype {dtype} needs a CUDA GPU; choose float32 or bfloat16 for device cpu"
        assert estimates.computing_dtype(dtype, INFO) == "bfloat16"
        assert estimates.computing_dtype(dtype, stored["float16"]) == "float16"
        assert estimates.computing_dtype(dtype, stored["float32"]) == "bfloat16"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_stored_dtype(dtype, tmp_path):
    folder = tiny_model("llama", tmp_path, dtype=getattr(torch, dtype))
    assert structure.describe(sources.parse_source(str(folder))).stored_dtype == dtype


def test_resolve_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert estimates.resolve_device("auto") == estimates.resolve_device("cpu") == "cpu"
    assert "no usable CUDA GPU" in refused(lambda: estimates.resolve_device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert estimates.resolve_device("auto") == estimates.resolve_device("cuda") == "cuda"
    assert estimates.resolve_device("cpu") == "cpu"


def a_token(size: int, hidden: int, inner: int, neurons: int, *, sent: int = 0, heads: int = 0) -> int:
    """Bytes that a token of a batch takes, activations being `size` bytes, sentences of 16 to 512 tokens."""
    vectors = 10 * hidden * size + 6 * inner * size + 4 * sent * hidden * size
    pooled = 4 * inner + (2 if sent else 1) * 3 * 4 * neurons // 16
    return vectors + pooled + 512 * (1 + size) + 512 * heads * (4 + 4 * size)


def test_estimate_memory(monkeypatch):
    monkeypatch.setattr(loading.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100_000})())
    monkeypatch.setattr(estimates, "free_gpu_bytes", lambda: [300, 500])
    full, half = a_token(4, 32, 48, 48), a_token(2, 32, 48, 48)
    on_cpu = estimates.estimate_memory(INFO, "auto", "cpu", 7)
    assert on_cpu == estimates.MemoryEstimate(weights=4 * 1000, working=7 * full, free=100_000)
    assert on_cpu.needed == 4 * 1000 + 7 * full
    assert on_cpu.fits
    assert not estimates.estimate_memory(INFO, "auto", "cpu", 100).fits
    assert estimates.estimate_memory(INFO, "float16", "cpu", 7) == estimates.MemoryEstimate(2000, 7 * half, 100_000)
    assert estimates.estimate_memory(INFO, "auto", "cuda", 7) == estimates.MemoryEstimate(2000, 7 * half, 800)
    edge = estimates.MemoryEstimate(1, 2, 3)
    assert edge.fits
    assert not dataclasses.replace(edge, free=2).fits


def test_estimate_of_attention_wide_eager_and_short(monkeypatch):
    monkeypatch.setattr(estimates, "free_gpu_bytes", lambda: [0])

    def working(**changes: int) -> int:
        return estimates.estimate_memory(dataclasses.replace(INFO, **changes), "bfloat16", "cuda", 10).working

    assert working(attention=64) == 10 * (a_token(2, 32, 48, 48) + 2 * 10 * 32)
    assert working(attention=16) == working()
    assert working(scored=4) == 10 * a_token(2, 32, 48, 48, heads=4) == working() + 10 * 512 * 4 * 12
    assert working(max_length=100) == working() - 10 * 412 * 3
    assert working(max_length=512) == working()


def test_estimate_of_a_mixture_counts_the_experts_that_a_token_is_sent_to(monkeypatch):
    monkeypatch.setattr(estimates, "free_gpu_bytes", lambda: [0])
    mixture = dataclasses.replace(INFO, neurons=60 * 16, experts=60, chosen=4)
    estimate = estimates.estimate_memory(mixture, "bfloat16", "cuda", 10)
    assert estimate.weights == 2 * 1000
    assert estimate.working == 10 * a_token(2, 32, 4 * 16, 60 * 16, sent=4)


def test_estimate_of_weights_in_few_bits(monkeypatch):
    monkeypatch.setattr(estimates, "free_gpu_bytes", lambda: [0])
    info = dataclasses.replace(INFO, projected=640)
    half = estimates.estimate_memory(info, "bfloat16", "cuda", 7)
    for dtype, wanted in (("int8", 360 * 2 + 640), ("nf4", 360 * 2 + 320 + 4 * 640 // 64)):
        estimate = estimates.estimate_memory(info, dtype, "cuda", 7)
        assert estimate.weights == wanted
        assert estimate.working == half.working
        assert "needs a CUDA GPU" in refused(lambda dtype=dtype: estimates.estimate_memory(info, dtype, "cpu", 7))


def test_free_gpu_bytes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda k: (10 + k, 99))
    assert estimates.free_gpu_bytes() == [10, 11]


@pytest.mark.parametrize(
    ("spare", "wanted"),
    [([0], {"": 0}), ([-1], {"": 0}), ([0, -1], {"": 0}), ([-1, 10**9], "auto"), ([-1, -1], "auto")],
)
def test_layers_are_spread_only_where_one_gpu_is_too_small(spare, wanted, tiny, monkeypatch):
    """`spare`: what every GPU has beyond the float32 weights and a batch of 10 tokens."""
    seen = {}
    source = sources.parse_source(str(tiny("llama")))
    needed = 4 * structure.describe(source).parameters + 10 * a_token(4, HIDDEN, INNER, INNER)

    def from_pretrained(*_args, **options):
        seen.update(options)
        raise ValueError("enough seen")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(estimates, "free_gpu_bytes", lambda: [needed + more for more in spare])
    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", from_pretrained)
    refused(lambda: loading.load(source, device="cuda", token_budget=10))
    assert seen["device_map"] == wanted
    assert seen["use_safetensors"] is True
    assert seen["trust_remote_code"] is False


# weights in few bits


@pytest.fixture
def on_a_gpu(monkeypatch):
    """As if there were a GPU with room enough and bitsandbytes: what from_pretrained gets, and nothing is loaded."""
    seen = {}

    def from_pretrained(*_args, **options):
        seen.update(options)
        raise ValueError("enough seen")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(estimates, "free_gpu_bytes", lambda: [10**9])
    monkeypatch.setattr(loading, "is_bitsandbytes_available", lambda: True)
    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", from_pretrained)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    return seen


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("dtype", ["int8", "nf4"])
def test_what_bitsandbytes_is_asked_for(dtype, stored, on_a_gpu, tiny):
    source = sources.parse_source(str(tiny("llama", dtype=getattr(torch, stored))))
    assert "enough seen" in refused(lambda: loading.load(source, dtype, "cuda"))
    computing = torch.float16 if stored == "float16" else torch.bfloat16
    config = on_a_gpu["quantization_config"]
    assert isinstance(config, transformers.BitsAndBytesConfig)
    assert (config.load_in_8bit, config.load_in_4bit) == (dtype == "int8", dtype == "nf4")
    assert config.llm_int8_skip_modules == []
    if dtype == "nf4":
        assert (config.bnb_4bit_quant_type, config.bnb_4bit_compute_dtype) == ("nf4", computing)
        assert not config.bnb_4bit_use_double_quant
    assert on_a_gpu["dtype"] == computing
    assert on_a_gpu["device_map"] == {"": 0}
    assert on_a_gpu["use_safetensors"] is True


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mixtral"])
def test_a_head_keeps_its_bits(family, on_a_gpu, tiny):
    source = sources.parse_source(str(tiny(family, head=True)))
    for dtype in estimates.QUANTIZED:
        assert "enough seen" in refused(lambda dtype=dtype: loading.load(source, dtype, "cuda", head=True))
        assert on_a_gpu["quantization_config"].llm_int8_skip_modules == ["lm_head"]


def test_other_dtypes_ask_for_nothing_of_bitsandbytes(on_a_gpu, tiny, monkeypatch):
    monkeypatch.setattr(loading, "is_bitsandbytes_available", lambda: False)
    for dtype in ("auto", *estimates.DTYPES):
        refused(lambda dtype=dtype: loading.load(sources.parse_source(str(tiny("llama"))), dtype, "cuda"))
        assert "quantization_config" not in on_a_gpu


def test_weights_in_few_bits_fit_where_others_are_spread(on_a_gpu, tiny, monkeypatch):
    source = sources.parse_source(str(tiny("llama", dtype=torch.bfloat16)))
    info = structure.describe(source)
    nf4 = 2 * (info.parameters - info.projected) + info.projected * 9 // 16
    monkeypatch.setattr(estimates, "free_gpu_bytes", lambda: [nf4, 10**9])
    for dtype, wanted in (("nf4", {"": 0}), ("int8", "auto"), ("bfloat16", "auto")):
        refused(lambda dtype=dtype: loading.load(source, dtype, "cuda"))
        assert on_a_gpu["device_map"] == wanted


def test_few_bits_without_a_gpu_without_bitsandbytes_and_twice(on_a_gpu, tiny, tmp_path, monkeypatch):
    source = sources.parse_source(str(tiny("llama")))
    assert "dtype nf4 needs a CUDA GPU; choose float32" in refused(lambda: loading.load(source, "nf4", "cpu"))
    shutil.copytree(tiny("llama"), tmp_path / "quantized")
    file = tmp_path / "quantized" / "config.json"
    config = {**json.loads(file.read_text()), "quantization_config": {"quant_method": "awq", "bits": 4}}
    file.write_text(json.dumps(config))
    message = refused(lambda: loading.load(sources.parse_source(str(file.parent)), "int8", "cuda"))
    assert "the weights of model quantized are stored quantized, so they cannot be loaded as int8" in message
    monkeypatch.setattr(loading, "is_bitsandbytes_available", lambda: False)
    message = refused(lambda: loading.load(source, "int8", "cuda"))
    assert message == ("dtype int8 needs a recent bitsandbytes; run `pip install -U bitsandbytes`, or choose bfloat16")
    assert on_a_gpu == {}


class Bits(torch.nn.Module):
    """A projection as bitsandbytes has them: its weight is packed, and only its sizes tell what it is."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        packed = torch.zeros(in_features * out_features // 2, 1, dtype=torch.uint8)
        self.weight = torch.nn.Parameter(packed, requires_grad=False)


@pytest.mark.parametrize("name", FAMILIES)
def test_neurons_are_found_among_projections_whose_weights_are_packed(name):
    with torch.device("meta"):
        model = AutoModel.from_config(tiny_config(name))
        wanted = structure.locate(model)
        for path, module in list(model.named_modules()):
            shape = structure._shape(module)
            if shape is not None:
                model.set_submodule(path, Bits(*shape))
    assert structure.locate(model) == wanted


@pytest.mark.parametrize("dtype", ["int8", "nf4"])
def test_bitsandbytes_itself(dtype, tiny, monkeypatch):
    """On a CPU, which it can do in recent versions; the app asks for a GPU, where it is fast."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    monkeypatch.setattr(estimates, "resolve_dtype", lambda dtype, _info, _device: dtype)
    monkeypatch.setattr(estimates, "free_gpu_bytes", lambda: [0])
    wide = {"hidden_size": 128, "intermediate_size": 256, "num_key_value_heads": 4}
    source = sources.parse_source(str(tiny("llama", head=True, dtype=torch.bfloat16, **wide)))
    whole = loading.load(source, "bfloat16", "cpu")
    model, with_head = loading.load(source, dtype, "cpu"), loading.load(source, dtype, "cpu", head=True)
    assert model.feed_forwards == whole.feed_forwards
    assert {type(m).__name__ for m in model.model.modules() if structure._shape(m)} == {
        "Linear8bitLt" if dtype == "int8" else "Linear4bit"
    }
    assert type(with_head.head.lm_head) is torch.nn.Linear
    held = sum(p.numel() * p.element_size() for p in model.model.parameters())
    if dtype == "nf4":
        held += sum(4 * m.weight.quant_state.absmax.numel() for m in model.model.modules() if structure._shape(m))
    assert estimates.estimate_memory(model.info, dtype, "cuda", 0).weights == held
    sentences = [SENTENCE, "a", "кошка спит днём"]
    states = [extraction.extract(m, "eng", sentences).arrays for m in (model, with_head, whole)]
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
    near = [np.corrcoef(states[k]["emb_mean"][0].ravel(), states[2]["emb_mean"][0].ravel())[0, 1] for k in (0, 1)]
    assert min(near) > 0.9


# sentences that models read in unusual ways


def save_other_tokenizer(folder: Path, kind: str) -> None:
    """`no padding`: of the byte-level tokenizer without a padding token. `wordpiece`: one as BERT has."""
    if kind == "no padding":
        PreTrainedTokenizerFast(
            tokenizer_object=byte_tokenizer(True), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
        ).save_pretrained(folder)
        return
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    trainer = WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*TRAINING_TEXT * 4, "[MASK] [CLS]"], trainer)
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)


LINES = ["the cat sat on the mat", "a", "кошка спит днём", "猫は昼に"]


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_a_model_and_tokenizer_without_a_padding_token(family, tmp_path):
    folder = tiny_model(family, tmp_path, head=True, pad_token_id=None)
    save_other_tokenizer(folder, "no padding")
    model = load_with_head(folder)
    assert model.tokenizer.pad_token is None
    assert model.model.config.pad_token_id is None
    assert model.padding_id == 0
    together = extraction.extract(model, "eng", LINES, token_budget=1000).arrays
    alone = extraction.extract(model, "eng", LINES, token_budget=1).arrays
    for name, array in together.items():
        np.testing.assert_allclose(array, alone[name], rtol=1e-4, atol=1e-4 * np.abs(alone[name]).max())
    nats = [likelihood_states.negative_log_likelihood(model, LINES, token_budget=budget).nats for budget in (1000, 1)]
    np.testing.assert_allclose(*nats, rtol=1e-5)


def test_a_text_never_has_two_beginnings(loaded):
    """The tokenizer begins every text with <s>; one that is spelt out in the text is text."""
    model = loaded("llama")
    texts = ["the cat", "<s>the cat", "<s> the cat", "a</s>", "<pad><pad>a", "<unk>"]
    for text, ids in zip(texts, extraction.tokenize(model, texts, 100).ids, strict=True):
        assert (ids[0], ids[-1]) == (0, 2)
        assert not set(ids[1:-1]) & {0, 1, 2, 3}
        assert model.tokenizer.decode(ids[1:-1]) == text
    for text, ids in zip(texts, extraction.tokenize(model, texts, 100, special=False).ids, strict=True):
        assert not set(ids) & {0, 1, 2, 3}
        assert model.tokenizer.decode(ids) == text
    # whoever uses the same tokenizer without saying so gets the same
    assert model.tokenizer("<s>a")["input_ids"][:2] == [0, byte_tokenizer(False).encode("<").ids[0]]


def test_special_tokens_that_a_text_spells_out_for_a_word_piece_tokenizer(tiny, tmp_path):
    shutil.copytree(tiny("bert"), tmp_path / "model")
    for file in (tmp_path / "model").glob("*token*"):
        file.unlink()
    save_other_tokenizer(tmp_path / "model", "wordpiece")
    tokenizer = sources.load_tokenizer(sources.parse_source(str(tmp_path / "model")))
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("[CLS] the [MASK]")["input_ids"])
    assert (pieces[0], pieces[-1]) == ("[CLS]", "[SEP]")
    assert not {"[CLS]", "[MASK]"} & set(pieces[1:-1])
    assert "the" in pieces


def test_words_that_were_added_to_a_slow_tokenizer_stay_whole(monkeypatch):
    tokenizer = transformers.ByT5Tokenizer()
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_args, **_options: tokenizer)
    source = sources.parse_source("demo")
    end = tokenizer.eos_token_id
    assert sources.load_tokenizer(source)("a</s>")["input_ids"] == [byte + 3 for byte in b"a</s>"] + [end]
    tokenizer = transformers.ByT5Tokenizer()
    tokenizer.add_tokens(["naïve"])
    added = tokenizer.convert_tokens_to_ids("naïve")
    assert sources.load_tokenizer(source)("a naïve b")["input_ids"].count(added) == 1


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3_text", "qwen2"])
def test_a_sliding_window_shorter_than_the_sentence(family, tmp_path):
    """With one layer and a window of 4, a token depends on itself and the three before it, in a batch too."""
    window = {"layer_types": ["sliding_attention"], "sliding_window": 4}
    if family == "mistral":
        del window["layer_types"]
    if family == "qwen2":
        window |= {"use_sliding_window": True, "max_window_layers": 0}
    model = load(tiny_model(family, tmp_path, num_hidden_layers=1, **window))
    ids = list(range(20, 32))
    longer, other = [*ids, 40, 41, 42, 43], [50, *ids[1:]]
    rows = {"one": ids, "other": other, "longer": longer}
    hidden = {}
    with torch.inference_mode():
        batch, _, mask = extraction.right_padded(model, list(rows.values()))
        states = model.model(input_ids=batch, attention_mask=mask).last_hidden_state
        for (name, row), together in zip(rows.items(), states, strict=True):
            hidden[name] = model.model(input_ids=torch.tensor([row])).last_hidden_state[0]
            torch.testing.assert_close(together[: len(row)], hidden[name], rtol=1e-4, atol=1e-4)
    changed = (hidden["one"] - hidden["other"]).abs().amax(dim=1) > 1e-3
    assert changed.tolist() == [True] * 4 + [False] * 8
    torch.testing.assert_close(hidden["longer"][: len(ids)], hidden["one"], rtol=1e-4, atol=1e-4)


# identity


def identity(folder: Path) -> str:
    return fingerprint.identity(sources.parse_source(str(folder)))


def test_identity_is_of_the_content_only(copy, tmp_path):
    before = identity(copy)
    assert before.startswith("files:")
    for file in copy.iterdir():
        os.utime(file, (1, 1))
    (copy / "README.md").write_text("unrelated")
    (copy / "pytorch_model.bin").write_bytes(b"never read")
    (copy / "generation_config.json").write_text("{}")
    assert identity(copy) == before
    elsewhere = tmp_path / "another name"
    shutil.copytree(copy, elsewhere)
    assert identity(elsewhere) == before


def test_identity_changes_with_a_byte_of_the_weights(copy):
    before = identity(copy)
    file = copy / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert identity(copy) != before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_identity_changes_with_configuration_and_tokenizer(copy, name):
    before = identity(copy)
    file = copy / name
    file.write_text(file.read_text() + " ")
    assert identity(copy) != before


@pytest.mark.parametrize(
    "name",
    ["vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "sentencepiece.bpe.model", "special_tokens_map.json",
     "added_tokens.json", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
)  # fmt: skip
def test_identity_changes_with_a_new_file_that_matters(copy, name):
    before = identity(copy)
    (copy / name).write_text("{}")
    assert identity(copy) != before


def test_identity_changes_when_two_files_swap_their_contents(copy):
    (copy / "vocab.txt").write_text("a")
    (copy / "merges.txt").write_text("b")
    before = identity(copy)
    (copy / "vocab.txt").write_text("b")
    (copy / "merges.txt").write_text("a")
    assert identity(copy) != before


def test_identity_changes_with_the_name_of_a_file(copy):
    (copy / "vocab.txt").write_text("{}")
    before = identity(copy)
    (copy / "vocab.txt").rename(copy / "vocab.json")
    assert identity(copy) != before


def test_hashes_are_remembered_by_path_size_and_time(copy):
    kept: dict[str, str] = {}
    computed = []

    def remembered(key, compute):
        if key not in kept:
            computed.append(key)
            kept[key] = compute()
        return kept[key]

    source = sources.parse_source(str(copy))
    first = fingerprint.identity(source, remembered)
    assert first == fingerprint.identity(source)
    files = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {Path(key.split(":")[0]).name for key in computed} == files
    computed.clear()
    assert fingerprint.identity(source, remembered) == first
    assert computed == []
    # a change of the same size is seen by its time
    text = (copy / "config.json").read_text()
    (copy / "config.json").write_text(text.replace("\n", " ", 1))
    os.utime(copy / "config.json", ns=(1, 1))
    assert fingerprint.identity(source, remembered) != first
    assert [Path(key.split(":")[0]).name for key in computed] == ["config.json"]
    computed.clear()
    (copy / "config.json").write_text(text + " ")
    os.utime(copy / "config.json", ns=(1, 1))
    fingerprint.identity(source, remembered)
    assert [Path(key.split(":")[0]).name for key in computed] == ["config.json"]


# the hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put_into_cache(cache: Path, folder: Path, repository: str, commit: str = COMMIT, ref: str = "main") -> Path:
    """A folder's files in the layout of the hub's cache."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (root / "blobs").mkdir(exist_ok=True)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / ref).write_text(commit)
    for number, file in enumerate(sorted(folder.iterdir())):
        blob = root / "blobs" / f"{commit[:8]}{number}"
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty hub cache; the hub itself is offline (conftest)."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(cache))
    assert hub_constants.is_offline_mode()
    return cache


def test_a_cached_hub_model_loads_offline(hub_cache, tiny):
    put_into_cache(hub_cache, tiny("llama"), "owner/tiny")
    source = sources.parse_source("owner/tiny")
    info = structure.describe(source)
    assert (info.name, info.class_name, info.neurons) == ("owner/tiny", "LlamaModel", INNER)
    model = loading.load(source, device="cpu")
    assert model.info == info
    weights = load_file(tiny("llama") / "model.safetensors")
    assert torch.equal(model.model.layers[0].mlp.up_proj.weight, weights["layers.0.mlp.up_proj.weight"])
    assert model.tokenizer(SENTENCE)["input_ids"] == byte_tokenizer(True).encode(SENTENCE).ids
    assert fingerprint.identity(source) == f"hub:owner/tiny@{COMMIT}"


def test_revisions_of_a_cached_hub_model(hub_cache, tiny):
    other = COMMIT[::-1]
    put_into_cache(hub_cache, tiny("llama"), "owner/tiny")
    put_into_cache(hub_cache, tiny("llama", seed=1), "owner/tiny", other, "v2")
    named, by_commit = sources.parse_source("owner/tiny@v2"), sources.parse_source(f"owner/tiny@{other}")
    assert fingerprint.identity(named) == fingerprint.identity(by_commit) == f"hub:owner/tiny@{other}"
    assert fingerprint.identity(sources.parse_source("owner/tiny")) == f"hub:owner/tiny@{COMMIT}"
    weights = load_file(tiny("llama", seed=1) / "model.safetensors")
    for source in (named, by_commit):
        assert torch.equal(loading.load(source, device="cpu").model.embed_tokens.weight, weights["embed_tokens.weight"])


def test_what_is_not_cached_is_not_reached_offline(hub_cache):
    message = refused(lambda: structure.describe(sources.parse_source("owner/tiny")))
    assert message.startswith("model owner/tiny is not in the local hub cache and the hub cannot be reached")
    assert refused(lambda: fingerprint.identity(sources.parse_source("owner/tiny"))) == message


def test_a_revision_that_is_not_cached(hub_cache, tiny):
    put_into_cache(hub_cache, tiny("llama"), "owner/tiny")
    assert "not in the local hub cache" in refused(lambda: structure.describe(sources.parse_source("owner/tiny@v9")))


def test_a_cached_model_without_its_weights(hub_cache, tiny):
    snapshot = put_into_cache(hub_cache, tiny("llama"), "owner/tiny")
    (snapshot / "model.safetensors").unlink()
    source = sources.parse_source("owner/tiny")
    assert structure.describe(source).layers == LAYERS
    assert "owner/tiny" in refused(lambda: loading.load(source, device="cpu"))


def hub_error(kind: type[Exception], status: int) -> Exception:
    return kind("the hub says no", response=SimpleNamespace(status_code=status, headers={}, request=None))


# the errors of the HTTP library that huggingface_hub uses, whichever it is
http = sys.modules[hub_errors.HTTPError.__module__.partition(".")[0]]


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (hub_error(hub_errors.GatedRepoError, 403), "is gated: accept its terms"),
        (hub_error(hub_errors.RepositoryNotFoundError, 404), "is not on the hub, or is private"),
        (hub_error(hub_errors.RevisionNotFoundError, 404), "has no revision 'v1' on the hub"),
        (hub_error(hub_errors.HfHubHTTPError, 503), "the hub cannot be reached"),
        (hub_errors.OfflineModeIsEnabled("no requests"), "the hub cannot be reached"),
        (http.ConnectError("name resolution failed"), "the hub cannot be reached"),
        (http.ReadTimeout("too slow"), "the hub cannot be reached"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_hub_answers(error, wanted, hub_cache, monkeypatch):
    def get_hf_file_metadata(*_args, **_options):
        raise error

    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.file_download, "get_hf_file_metadata", get_hf_file_metadata)
    message = refused(lambda: structure.describe(sources.parse_source("owner/tiny@v1")))
    assert "owner/tiny" in message
    assert wanted in message


def test_a_hub_repository_without_a_configuration(hub_cache, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "README.md").write_text("nothing")
    put_into_cache(hub_cache, tmp_path / "files", "owner/empty")
    source = sources.parse_source("owner/empty")
    assert "owner/empty" in refused(lambda: structure.describe(source))
    assert "owner/empty" in refused(lambda: fingerprint.identity(source))


def test_cached_models(hub_cache, tiny, tmp_path):
    assert sources.cached_models() == []
    put_into_cache(hub_cache, tiny("llama"), "owner/whole")
    put_into_cache(hub_cache, tiny("gpt2"), "another")
    (put_into_cache(hub_cache, tiny("llama"), "owner/without-weights") / "model.safetensors").unlink()
    (put_into_cache(hub_cache, tiny("llama"), "owner/without-config") / "config.json").unlink()
    half = put_into_cache(hub_cache, tiny("llama"), "owner/second-revision-is-whole")
    (half / "model.safetensors").unlink()
    put_into_cache(hub_cache, tiny("llama"), "owner/second-revision-is-whole", COMMIT[::-1], "v2")
    put_into_cache(hub_cache, tiny("llama"), "owner/corpus").parents[1].rename(hub_cache / "datasets--owner--corpus")
    assert sources.cached_models() == ["another", "owner/second-revision-is-whole", "owner/whole"]


def test_no_cache_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    assert sources.cached_models() == []


def test_the_cache_is_found_by_the_environment(tiny, tmp_path):
    """In a process of its own, as a user has it."""
    put_into_cache(tmp_path / "home" / "hub", tiny("llama"), "owner/tiny")
    program = (
        "from neuronxa_core import models; source = models.parse_source('owner/tiny');"
        "print(models.cached_models(), models.identity(source), models.load(source, device='cpu').info.layers)"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=Path(loading.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[-2] == f"['owner/tiny'] hub:owner/tiny@{COMMIT} {LAYERS}"


def test_the_tests_reach_no_hub():
    assert hub_constants.HF_HUB_OFFLINE
    with pytest.raises(hub_errors.OfflineModeIsEnabled):
        huggingface_hub.model_info("gpt2")


def test_building_models_at_the_same_time_leaves_torchs_default_dtype_alone():
    source = sources.parse_source("demo")
    assert structure.describe(source).stored_dtype == "bfloat16"

    def work():
        for _ in range(8):
            structure.describe(source)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    loading.load(source, "bfloat16", "cpu")
    for thread in threads:
        thread.join()
    assert torch.get_default_dtype() == torch.float32


def test_a_model_is_described_without_touching_what_other_threads_compute_in(monkeypatch, tiny):
    """A forward pass beside it would make its tensors in whatever the default dtype is just then."""
    changed = []
    real = torch.set_default_dtype
    monkeypatch.setattr(torch, "set_default_dtype", lambda dtype: (changed.append(dtype), real(dtype)))
    for model in ("demo", str(tiny("llama", dtype=torch.bfloat16)), str(tiny("gpt2", dtype=torch.float16))):
        info = structure.describe(sources.parse_source(model))
        assert info.stored_dtype != "float32"
    assert set(changed) == {torch.float32}


@pytest.mark.parametrize("family", ["fnet", "convbert"])
def test_a_model_whose_states_depend_on_padding_is_refused(family, tmp_path):
    sizes = {"vocab_size": VOCABULARY, "hidden_size": HIDDEN, "embedding_size": HIDDEN, "intermediate_size": INNER}
    config = CONFIG_MAPPING[family](**sizes, num_hidden_layers=LAYERS, num_attention_heads=4)
    model = AutoModel.from_config(config)
    randomize(model, 0)
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(ModelError):
        loading.load(sources.parse_source(str(tmp_path)), device="cpu")


def test_a_hub_model_is_loaded_at_the_commit_of_its_identity():
    source = sources.parse_source("owner/name@main")
    assert fingerprint.pinned(source, "hub:owner/name@abc123").revision == "abc123"
    folder = sources.parse_source("demo")
    assert fingerprint.pinned(folder, "files:abc") == folder
