"""Find models: what a user names, its configuration and tokenizer, and what the hub's cache holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import transformers
from huggingface_hub import HfApi, scan_cache_dir, snapshot_download
from huggingface_hub import constants as hub_constants
from huggingface_hub import errors as hub_errors
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig

from neuronxa_core.errors import ModelError
from neuronxa_core.host.process_memory import ran_out
from neuronxa_core.models.description import LOCAL_ONLY, ModelSource

DEMO_FOLDER = Path(__file__).parents[1] / "demo" / "model"
# beyond these no model was ever made, and one that asks for them would be built for hours; [the end of a setting's
# name, the most that it may say]
_MOST = [
    (("layers", "layer", "blocks", "depth"), 1_000),
    (("experts",), 10_000),
    (("size", "dim", "heads", "positions", "embeddings", "inner", "embd", "ctx", "hidden", "width", "channels"), 10**8),
]
MOST_CONFIG_BYTES = 16 << 20
WEIGHTS_INDEX = "model.safetensors.index.json"
HUB_TIMEOUT_S = 5.0
_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.codes"]
_WEIGHTS = ["model.safetensors", "model-*.safetensors"]


def parse_source(text: str) -> ModelSource:
    """`demo`, a folder, or a hub id with an optional `@revision`.

    Raises ModelError for a path that is no folder and for what can be no hub id.
    """
    text = text.strip()
    if text == "demo":
        return ModelSource("demo", str(DEMO_FOLDER), "demo")
    if not text:
        raise ModelError("no model is named; give a local folder, a hub id such as Qwen/Qwen3-8B, or demo")
    try:
        path = Path(text).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:  # a name that is too long, a folder that may not be read, ~nobody
        raise ModelError(f"{text[:100]!r} is no folder that can be read: {error}") from error
    if is_folder:
        return ModelSource(path.resolve().name, str(path.resolve()), "folder")
    if is_file:
        raise ModelError(f"{text} is a file; give the folder that holds config.json and the .safetensors weights")
    identity = text.partition("@")[0]
    if text.startswith(("/", ".", "~")) or "\\" in text or identity.count("/") > 1 or text.endswith("/"):
        raise ModelError(f"there is no folder {text}; give a local folder, a hub id such as Qwen/Qwen3-8B, or demo")
    source = hub_source(text)
    if source is None:
        raise ModelError(f"{text!r} is neither a folder nor a hub id such as Qwen/Qwen3-8B (optionally with @revision)")
    return source


def hub_source(text: str) -> ModelSource | None:
    """The hub's model that a text names, whatever lies on this disk; None for what can be no hub id."""
    identity, _, revision = text.strip().partition("@")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", identity):
        return None
    return ModelSource(identity, identity, "hub", revision or None)


class _Hub(HfApi):
    """The hub, which is not waited for long: a cache may know what it would say."""

    def repo_info(self, *arguments, **options):
        return super().repo_info(*arguments, **{**options, "timeout": HUB_TIMEOUT_S})


def resolved(source: ModelSource) -> ModelSource:
    """A hub model at the commit that its revision names now, in one call to the hub; others as they are.

    Where the hub cannot be reached, the commit that the local cache knows is taken, with a line in the log. Raises
    ModelError.
    """
    if source.kind != "hub":
        return source
    try:
        options = {"revision": source.revision, "local_files_only": hub_constants.is_offline_mode()}
        return replace(source, revision=_Hub().resolve_revision(source.location, **options).resolved)
    except Exception as error:
        raise explained(source, error) from error


def local(source: ModelSource, weights: bool = False) -> ModelSource:
    """A hub model as the folder in the local cache that holds its files; others as they are.

    What is missing there is downloaded: configuration and tokenizer, and the weights where they are asked for. Raises
    ModelError.
    """
    if source.kind != "hub":
        return source
    source = resolved(source)
    wanted = {
        "revision": source.revision,
        "allow_patterns": [*_SMALL_FILES, *(_WEIGHTS if weights else [])],
        "ignore_patterns": "*/*",
        "etag_timeout": HUB_TIMEOUT_S,
    }
    try:
        folder = Path(snapshot_download(source.location, local_files_only=True, **wanted))
        whole = (folder / "config.json").exists() and (not weights or any(folder.glob("model*.safetensors")))
    except hub_errors.LocalEntryNotFoundError:
        whole = False
    if not whole:
        try:
            folder = Path(snapshot_download(source.location, **wanted))
        except Exception as error:
            raise explained(source, error) from error
    return replace(source, location=str(folder), kind="folder")


def explained(source: ModelSource, error: Exception) -> ModelError:
    """One clear sentence for what the libraries raise while a model is read."""
    where = f"model {source.name}"
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(c, kinds) for c in causes)

    text = " ".join(str(error).split())
    if has(hub_errors.GatedRepoError):
        return ModelError(f"{where} is gated: accept its terms on its hub page and log in with `hf auth login`")
    if has(hub_errors.RevisionNotFoundError):
        return ModelError(f"{where} has no revision {source.revision!r} on the hub; check the name after the @")
    if has(hub_errors.RepositoryNotFoundError):
        return ModelError(f"{where} is not on the hub, or is private: check its spelling, or run `hf auth login`")
    if "trust_remote_code" in text or "custom code" in text:
        return ModelError(
            f"{where} asks for its own code to be run, which this app never does; use a model that transformers "
            f"{transformers.__version__} knows"
        )
    if any(map(ran_out, causes)):
        return ModelError(f"{where} does not fit into memory; choose a smaller dtype, another device or another model")
    no_network = (hub_errors.LocalEntryNotFoundError, hub_errors.RevisionResolutionError, ConnectionError)
    if source.kind == "hub" and (has(*no_network) or "couldn't connect" in text.lower() or "offline" in text.lower()):
        return ModelError(
            f"{where} is not in the local hub cache and the hub cannot be reached; check the network, or give a folder"
        )
    if "safetensors" in text and ("no file named" in text or "does not appear to have" in text):
        return ModelError(f"{where} has no .safetensors weights; convert them first (pickled weights are never loaded)")
    if has(SafetensorError):
        return ModelError(f"{where} has a .safetensors file that is damaged or cut off ({text}); copy it again")
    if "model type" in text.lower() or "Unrecognized" in text:
        return ModelError(f"transformers {transformers.__version__} does not know the kind of {where}: {text[:300]}")
    return ModelError(f"{where} could not be read: {type(error).__name__}: {text[:300]}")


def read_config(source: ModelSource) -> PretrainedConfig:
    """The model's configuration, from a folder, the hub cache or the hub.

    Raises ModelError for one that cannot be read, that no model could have, or that leads away from the model's files.
    """
    source = local(source)
    folder = Path(source.location)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"model {source.name} has no config.json in the folder {folder}; give a model in transformers' format"
        )
    settings = read_json(folder / "config.json")
    if not isinstance(settings, dict):
        raise ModelError(f"{folder / 'config.json'} holds no settings of a model; copy it again")
    _check_config(source, settings)  # before it is built: a list of a thousand million layers would be made there
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"model {source.name} is an adapter of another model (adapter_config.json); merge the two, and give "
            "the folder of the whole"
        )
    try:
        config = AutoConfig.from_pretrained(source.location, **LOCAL_ONLY)
    except Exception as error:
        raise explained(source, error) from error
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"model {source.name} ({type(config).__name__}) is an encoder-decoder; decoders and encoders are supported"
        )
    return config


def read_json(file: Path) -> object:
    """What a JSON file holds. Raises ModelError."""
    try:
        if file.stat().st_size > MOST_CONFIG_BYTES:
            raise ModelError(f"{file} is larger than any such file ({MOST_CONFIG_BYTES >> 20} MiB); copy it again")
        return json.loads(file.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{file} is not readable JSON: {error}") from error


def _check_config(source: ModelSource, settings: dict) -> None:
    """Raise ModelError for sizes that no model has, and for a file of weights that is not where they always are.

    transformers would load the latter even where it is pickled.
    """
    if settings.get("transformers_weights") is not None:
        raise ModelError(
            f"the configuration of model {source.name} names a file of weights of its own (transformers_weights); only "
            f"model.safetensors and {WEIGHTS_INDEX} are read: take that setting out, and name the file so"
        )
    for name, value in _settings_in(settings):
        most = next((most for endings, most in _MOST if name.endswith(endings)), None)
        if most is not None and isinstance(value, int | float) and value > most:
            raise ModelError(
                f"the configuration of model {source.name} says {name} = {value:,}, and no model has more than "
                f"{most:,}; the file is damaged"
            )


def _settings_in(settings: dict) -> Iterator[tuple[str, object]]:
    """Name and value of every setting, of those within others too."""
    todo: list[tuple[str, object]] = [("", settings)]
    while todo:
        name, value = todo.pop()
        if isinstance(value, dict):
            todo += [(str(inner), below) for inner, below in value.items()]
        elif isinstance(value, list):
            todo += [(name, below) for below in value]
        else:
            yield name, value


def load_tokenizer(source: ModelSource) -> transformers.PreTrainedTokenizerBase:
    """A model's tokenizer, without the model; it reads special tokens that a text spells out, such as "<s>", as text.

    Otherwise a sentence could begin with two BOS tokens, or hold padding. (A Unigram vocabulary has them as words too,
    and there they stay what they are.) Raises ModelError.
    """
    source = local(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.location, **LOCAL_ONLY)
        tokenizer(["a"])  # some settings that make no sense are met here first
    except Exception as error:
        cause = explained(source, error)
        if "could not be read" not in str(cause):
            raise cause from error
        raise ModelError(
            f"the tokenizer of model {source.name} could not be read (tokenizer.json, or the files that its "
            f"tokenizer class wants): {' '.join(str(error).split())[:200]}"
        ) from error
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # some tokenizer classes ask for no file at all
        raise ModelError(
            f"the tokenizer of model {source.name} knows nothing but special tokens: its files are missing "
            "(tokenizer.json, or the vocabulary that its tokenizer class wants)"
        )
    # slow ones would take apart the words that were added to a vocabulary, too
    if tokenizer.is_fast or set(tokenizer.added_tokens_decoder) <= set(tokenizer.all_special_ids):
        tokenizer.split_special_tokens = True
    return tokenizer


def cached_models() -> list[str]:
    """Hub ids whose configuration and safetensors weights are in the local hub cache, by name."""
    if not Path(hub_constants.HF_HUB_CACHE).is_dir():
        return []
    models = [one for one in scan_cache_dir(hub_constants.HF_HUB_CACHE).repos if one.repo_type == "model"]
    files = {one.repo_id: [{file.file_name for file in of.files} for of in one.revisions] for one in models}
    return sorted(name for name, revisions in files.items() if any(map(_is_complete, revisions)))


def _is_complete(names: set[str]) -> bool:
    return "config.json" in names and any(name.endswith(".safetensors") for name in names)
