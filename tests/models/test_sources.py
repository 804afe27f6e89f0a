"""Where models come from: names, configurations, tokenizers, the hub's cache, and what tells two models apart."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
from huggingface_hub import constants as hub_constants
from huggingface_hub import errors as hub_errors
from safetensors.torch import load_file
from tiny_models import INNER, LAYERS, TRAINING_TEXT, byte_tokenizer, refused
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer
from transformers import PreTrainedTokenizerFast

from neuronxa_core.errors import ModelError
from neuronxa_core.models import fingerprint, loading, sources, structure
from neuronxa_core.models.description import ModelSource
from neuronxa_core.states import batches


def describe_refused(source: Path | str) -> str:
    return refused(lambda: structure.describe(sources.parse_source(str(source))))


# names


def test_parse_source(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    place = str((tmp_path / "folder").resolve())
    assert sources.parse_source("demo") == ModelSource("demo", str(sources.DEMO_FOLDER), "demo")
    for text in (place, "folder", "./folder", "folder/", " folder ", "~/folder", "../" + tmp_path.name + "/folder"):
        assert sources.parse_source(text) == ModelSource("folder", place, "folder")
    assert sources.parse_source("Qwen/Qwen3-8B") == ModelSource("Qwen/Qwen3-8B", "Qwen/Qwen3-8B", "hub", None)
    assert sources.parse_source("gpt2").kind == "hub"
    assert sources.parse_source("owner/name@v1.0") == ModelSource("owner/name", "owner/name", "hub", "v1.0")
    assert sources.parse_source("owner/name@refs/pr/1").revision == "refs/pr/1"


@pytest.mark.parametrize("text", ["/no/such/folder", "./none", "~/none", "none/", "a/b/c", "a\\b"])
def test_a_missing_folder_is_named(text):
    assert refused(lambda: sources.parse_source(text)).startswith(f"there is no folder {text}")


@pytest.mark.parametrize("text", ["", "   ", "two words", "-x/y", "a//b@", "@main", "a/b?c",
                                  "x" * 5000, "~no-such-user/x", "a\0b"])  # fmt: skip
def test_what_can_be_no_hub_id_is_refused(text):
    refused(lambda: sources.parse_source(text))


def test_a_file_is_no_folder(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    assert f"{file} is a file; give the folder" in refused(lambda: sources.parse_source(str(file)))


# configurations


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "config.json is not readable JSON"),
        (b"\xff\xfe\x00", "config.json is not readable JSON"),
        (b'{"model_type": ', "config.json is not readable JSON"),
        (b"{}", ""),
        (b'{"model_type": 3}', ""),
        (b'{"model_type": "a\\u001b[2Jb"}', r"a\x1b[2Jb"),
        (b'{"model_type": "frobnicator"}', f"transformers {transformers.__version__} does not know"),
    ],
)
def test_configurations_that_are_none(content, said, tmp_path):
    assert "has no config.json" in describe_refused(tmp_path)
    (tmp_path / "config.json").write_bytes(content)
    message = describe_refused(tmp_path)
    assert tmp_path.name in message
    assert said in message


def test_remote_code_is_never_run(tmp_path, spoilt):
    evidence = tmp_path / "ran"
    (tmp_path / "code.py").write_text(f"from pathlib import Path\nPath({str(evidence)!r}).touch()\n")
    content = {"model_type": "frobnicator", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert "asks for its own code to be run, which this app never does" in describe_refused(tmp_path)
    shutil.copy(tmp_path / "code.py", spoilt)
    file = spoilt / "tokenizer_config.json"
    other = {"tokenizer_class": "Odd", "auto_map": {"AutoTokenizer": ["code.Odd", None]}}
    file.write_text(json.dumps({**json.loads(file.read_text()), **other}))
    try:
        sources.load_tokenizer(sources.parse_source(str(spoilt)))
    except ModelError as error:
        assert "its own code" in str(error)
    assert not evidence.exists()


# tokenizers


@pytest.mark.parametrize("name", ["llama", "bert", "xlm-roberta", "gpt2"])
def test_missing_tokenizer(name, tiny, tmp_path):
    """Some tokenizer classes would start empty and make one unknown token of every word."""
    folder = tmp_path / "model"
    shutil.copytree(tiny(name), folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    message = refused(lambda: sources.load_tokenizer(sources.parse_source(str(folder))))
    assert "the tokenizer of model model" in message
    assert "tokenizer.json" in message


def test_damaged_tokenizer(spoilt):
    (spoilt / "tokenizer.json").write_text("{")
    message = refused(lambda: sources.load_tokenizer(sources.parse_source(str(spoilt))))
    assert "the tokenizer of model spoilt could not be read" in message


def test_a_text_never_has_two_beginnings(loaded):
    """The tokenizer begins every text with <s>; one that is spelt out in the text is text."""
    model = loaded("llama")
    texts = ["the cat", "<s>the cat", "a</s>", "<pad><pad>a", "<unk>"]
    for text, ids in zip(texts, batches.tokenize(model, texts, 100).ids, strict=True):
        assert (ids[0], ids[-1]) == (0, 2)
        assert not set(ids[1:-1]) & {0, 1, 2, 3}
        assert model.tokenizer.decode(ids[1:-1]) == text
    for text, ids in zip(texts, batches.tokenize(model, texts, 100, special=False).ids, strict=True):
        assert not set(ids) & {0, 1, 2, 3}
        assert model.tokenizer.decode(ids) == text
    # whoever uses the same tokenizer without saying so gets the same
    assert model.tokenizer("<s>a")["input_ids"][:2] == [0, byte_tokenizer(False).encode("<").ids[0]]


def test_special_tokens_that_a_text_spells_out_for_a_word_piece_tokenizer(tiny, tmp_path):
    shutil.copytree(tiny("bert"), tmp_path / "model")
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*TRAINING_TEXT * 4, "[MASK] [CLS]"], trainer)
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(tmp_path / "model")
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


# identity


def identity(folder: Path) -> str:
    return fingerprint.identity(sources.parse_source(str(folder)))


def test_identity_is_of_the_content_only(spoilt, tmp_path):
    before = identity(spoilt)
    assert before.startswith("files:")
    for file in spoilt.iterdir():
        os.utime(file, (1, 1))
    (spoilt / "README.md").write_text("unrelated")
    (spoilt / "pytorch_model.bin").write_bytes(b"never read")
    (spoilt / "generation_config.json").write_text("{}")
    assert identity(spoilt) == before
    elsewhere = tmp_path / "another name"
    shutil.copytree(spoilt, elsewhere)
    assert identity(elsewhere) == before


@pytest.mark.parametrize(
    "name",
    ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "vocab.txt", "vocab.json",
     "merges.txt", "tokenizer.model", "sentencepiece.bpe.model", "special_tokens_map.json", "added_tokens.json",
     "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
)  # fmt: skip
def test_identity_changes_with_every_file_that_matters(spoilt, name):
    before, file = identity(spoilt), spoilt / name
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b" ")
    assert identity(spoilt) != before


def test_identity_changes_with_the_names_of_the_files(spoilt):
    (spoilt / "vocab.txt").write_text("a")
    (spoilt / "merges.txt").write_text("b")
    before = identity(spoilt)
    (spoilt / "vocab.txt").write_text("b")
    (spoilt / "merges.txt").write_text("a")
    assert identity(spoilt) != before
    (spoilt / "vocab.txt").write_text("a")
    (spoilt / "merges.txt").rename(spoilt / "vocab.json")
    assert identity(spoilt) != before


def test_hashes_are_remembered_by_path_size_and_time(spoilt):
    kept: dict[str, str] = {}
    computed = []

    def remembered(key, compute):
        if key not in kept:
            computed.append(Path(key.split(":")[0]).name)
            kept[key] = compute()
        return kept[key]

    source = sources.parse_source(str(spoilt))
    first = fingerprint.identity(source, remembered)
    assert first == fingerprint.identity(source) == fingerprint.identity(source, remembered)
    assert sorted(computed) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    computed.clear()
    # a change of the same size is seen by its time, one at the same time by its size
    text = (spoilt / "config.json").read_text()
    for changed in (text.replace("\n", " ", 1), text + " "):
        (spoilt / "config.json").write_text(changed)
        os.utime(spoilt / "config.json", ns=(1, 1))
        assert fingerprint.identity(source, remembered) != first
    assert computed == ["config.json"] * 2


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


def test_revisions_of_a_cached_hub_model_load_offline(hub_cache, tiny):
    other = COMMIT[::-1]
    put_into_cache(hub_cache, tiny("llama"), "owner/tiny")
    put_into_cache(hub_cache, tiny("llama", seed=1), "owner/tiny", other, "v2")
    main, named = sources.parse_source("owner/tiny"), sources.parse_source("owner/tiny@v2")
    by_commit = sources.parse_source(f"owner/tiny@{other}")
    info = structure.describe(main)
    assert (info.name, info.class_name, info.neurons) == ("owner/tiny", "LlamaModel", INNER)
    assert fingerprint.identity(main) == f"hub:owner/tiny@{COMMIT}"
    assert fingerprint.identity(named) == fingerprint.identity(by_commit) == f"hub:owner/tiny@{other}"
    for seed, source in ((0, main), (1, named), (1, by_commit)):
        model = loading.load(source, device="cpu")
        weights = load_file(tiny("llama", **({"seed": seed} if seed else {})) / "model.safetensors")
        assert torch.equal(model.model.embed_tokens.weight, weights["embed_tokens.weight"])
        assert model.tokenizer("the cat")["input_ids"] == byte_tokenizer(True).encode("the cat").ids
    assert "not in the local hub cache" in describe_refused("owner/tiny@v9")


def test_what_is_not_cached_is_not_reached_offline(hub_cache, tiny):
    message = describe_refused("owner/tiny")
    assert message.startswith("model owner/tiny is not in the local hub cache and the hub cannot be reached")
    assert refused(lambda: fingerprint.identity(sources.parse_source("owner/tiny"))) == message
    snapshot = put_into_cache(hub_cache, tiny("llama"), "owner/tiny")
    (snapshot / "model.safetensors").unlink()
    source = sources.parse_source("owner/tiny")
    assert structure.describe(source).layers == LAYERS
    assert "owner/tiny" in refused(lambda: loading.load(source, device="cpu"))


def test_a_hub_repository_without_a_configuration(hub_cache, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "README.md").write_text("nothing")
    put_into_cache(hub_cache, tmp_path / "files", "owner/empty")
    assert "model owner/empty has no config.json" in describe_refused("owner/empty")


def test_cached_models(hub_cache, tiny, monkeypatch):
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
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(hub_cache / "none"))
    assert sources.cached_models() == []


def test_the_tests_reach_no_hub():
    with pytest.raises(hub_errors.OfflineModeIsEnabled):
        huggingface_hub.model_info("gpt2")
