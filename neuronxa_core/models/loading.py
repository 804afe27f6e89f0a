"""Find, describe and load language models, and tell where their neurons are.

A neuron is one column of the feed-forward network's inner layer. Its activation is read at one of two places:

- `product`: the input of the network's last projection (`down_proj`, `c_proj`, `dense_4h_to_h`, `fc2`, ...);
- `gate`: the output of the activation function, act(W_gate x), LAPE's definition (Tang et al., ACL 2024). In a plain,
  ungated network the two are one.

Both are found by structure, not by a list of architectures: in every layer, the one projection from the inner width
to the hidden width that has a projection from the hidden to the inner width before it and is no part of attention.
In a mixture of experts, a layer's neurons are the columns of all its routed experts; see experts.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError, safe_open
from transformers import AutoModel, AutoModelForCausalLM, BitsAndBytesConfig, PretrainedConfig
from transformers.utils import is_bitsandbytes_available
from transformers.utils.hub import cached_file

from neuronxa_core.errors import ModelError
from neuronxa_core.models import moe
from neuronxa_core.models.description import LoadedModel, ModelInfo, ModelSource
from neuronxa_core.models.estimates import (
    DTYPES,
    QUANTIZED,
    _head_parameters,
    _stored_quantized,
    computing_dtype,
    estimate_memory,
    free_gpu_bytes,
    resolve_device,
    resolve_dtype,
)
from neuronxa_core.models.fingerprint import _shards
from neuronxa_core.models.sources import WEIGHTS_INDEX, _explained, load_tokenizer, read_config
from neuronxa_core.models.structure import _BUILDING, _describe_unloaded, _without_weights, locate, text_model
from neuronxa_core.wording import some_of

log = logging.getLogger(__name__)

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def load(
    source: ModelSource, dtype: str = "auto", device: str = "auto", token_budget: int = 0, head: bool = False
) -> LoadedModel:
    """Load a model, its tokenizer, and where its neurons are; its language-model head only where `head` asks for it.

    dtype: auto, float32, bfloat16 or float16, or, on a GPU with bitsandbytes, int8 (LLM.int8(), Dettmers et al., 2022)
    or nf4 (QLoRA, Dettmers et al., 2023) for the linear projections of the text model; stacked experts, embeddings,
    norms and the head stay as `computing_dtype` says. Under int8 a token's numbers depend a little on its batch, since
    LLM.int8() looks for outlying columns in all of it. device: auto, cpu or cuda; where one GPU is too small and there
    are several, the layers are spread over them. Weights come from safetensors only and remote code is never run.
    Raises ModelError; with `head` also for an encoder, for weights that hold no head, and for a model whose tokens see
    the ones after them.
    """
    device = resolve_device(device)
    config = read_config(source)
    info = _describe_unloaded(source, config)
    if head:
        _check_head(source, config, info)
    dtype = resolve_dtype(dtype, info, device)
    if dtype in QUANTIZED:
        _check_quantizable(source, config, dtype)
    _check_complete_weights(source, config, info)
    tokenizer = load_tokenizer(source)
    device_map: str | dict | None = None
    if device == "cuda":
        free = free_gpu_bytes()
        whole = replace(info, parameters=info.parameters + _head_parameters(config)) if head else info
        needed = estimate_memory(whole, dtype, device, token_budget).needed
        device_map = "auto" if len(free) > 1 and needed > free[0] else {"": 0}
    try:
        with _BUILDING:
            model, report = (AutoModelForCausalLM if head else AutoModel).from_pretrained(
                source.location,
                config=config,
                dtype=DTYPES[computing_dtype(dtype, info)],
                use_safetensors=True,
                device_map=device_map,
                output_loading_info=True,
                **_quantization(config, info, dtype, head),
                **source.hub_options,
            )
    except Exception as error:
        raise _explained(source, error) from error
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing and head and not any(key.startswith(f"{model.base_model_prefix}.") for key in missing):
        raise ModelError(
            f"the weights of model {source.name} hold no language-model head (no {missing[-1]}): they were saved from "
            f"a {info.class_name} alone; give the folder of the whole language model, since a head made up at random "
            "would give wrong likelihoods"
        )
    if missing:
        raise ModelError(
            f"the weights of model {source.name} lack {len(missing)} of the tensors that its configuration asks for "
            f"({some_of(missing, 4)}); the files are incomplete or belong to another model"
        )
    model = model.eval().requires_grad_(False)
    text = text_model(model.base_model if head else model)
    if type(text).__name__ != info.class_name:
        raise ModelError(
            f"model {source.name} is a {info.class_name} without its language-model head but a {type(text).__name__} "
            "with it, so its neurons might be others; likelihood is not supported for it"
        )
    device_of_text = next(text.parameters()).device
    loaded = LoadedModel(info, text, tokenizer, locate(text), device_of_text, dtype, model if head else None)
    if info.experts:
        moe.check_experts(loaded)
    _check_padding(loaded)
    if head:
        _check_causal(loaded)
    return loaded


def _check_complete_weights(source: ModelSource, config: PretrainedConfig, info: ModelInfo) -> None:
    """Raise ModelError where a file of weights is missing, is no safetensors file, or all are too small for the model.

    transformers would make up what is missing at random, however large, and load pickled files that an index names.
    """
    folder = Path(source.location)
    if source.kind == "hub":
        options = {"revision": source.revision, "_raise_exceptions_for_missing_entries": False}
        try:
            if cached_file(source.location, "model.safetensors", **options):
                return
            index = cached_file(source.location, WEIGHTS_INDEX, **options)
        except Exception as error:
            raise _explained(source, error) from error
        if index:
            _shards(Path(index))
        return
    single, index = folder / "model.safetensors", folder / WEIGHTS_INDEX
    if single.is_file():
        shards = [single.name]
    elif index.is_file():
        shards = _shards(index)
    else:
        return  # the library says what it looked for
    lacking = [name for name in shards if not (folder / name).is_file()]
    if lacking:
        raise ModelError(
            f"model {source.name} lacks {len(lacking)} of the {len(shards)} files of weights that its {WEIGHTS_INDEX} "
            f"names ({some_of(lacking, 4)}); copy them, too"
        )
    found = sum((folder / name).stat().st_size for name in shards)
    # the fewest bytes that a weight is known to take, and a tenth for parts that no state comes from
    least = info.parameters * (1 / 8 if _stored_quantized(config) else 1) * 0.9
    if 0 < found < least and _is_whole(single if single.is_file() else folder / shards[0]):
        raise ModelError(
            f"the weights of model {source.name} are {found:,} bytes in all and its configuration asks for "
            f"{info.parameters:,} weights; the files are incomplete or belong to another model"
        )


def _is_whole(file: Path) -> bool:
    """Whether a safetensors file can be opened; where it cannot, the library says why."""
    try:
        with safe_open(file, framework="pt"):
            return True
    except (SafetensorError, OSError):
        return False


def _check_quantizable(source: ModelSource, config: PretrainedConfig, dtype: str) -> None:
    """Raise ModelError where bitsandbytes is missing, or the weights are stored in few bits already."""
    if not is_bitsandbytes_available():
        raise ModelError(
            f"dtype {dtype} needs a recent bitsandbytes; run `pip install -U bitsandbytes`, or choose bfloat16"
        )
    if _stored_quantized(config):
        raise ModelError(
            f"the weights of model {source.name} are stored quantized, so they cannot be loaded as {dtype}; choose auto"
        )


def _quantization(config: PretrainedConfig, info: ModelInfo, dtype: str, head: bool) -> dict:
    """What from_pretrained gets for 8-bit or 4-bit weights; nothing for other dtypes.

    The head is left out by name. What the library would leave out by itself depends on whether the model is loaded
    with its head; states must not.
    """
    if dtype not in QUANTIZED:
        return {}
    left_out = []
    if head:
        model = _without_weights(AutoModelForCausalLM, config)
        output = model.get_output_embeddings()
        left_out = [name for name, module in model.named_modules() if module is output]
    if dtype == "int8":
        # it warns at every product of every pass that it casts bfloat16 to float16
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=left_out)}
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=DTYPES[computing_dtype(dtype, info)],
            llm_int8_skip_modules=left_out,
        )
    }


def _check_head(source: ModelSource, config: PretrainedConfig, info: ModelInfo) -> None:
    """Raise ModelError where there is no causal language model of the configuration's kind."""
    if not info.causal:
        raise ModelError(
            f"model {source.name} ({info.class_name}) is an encoder; likelihood needs a causal language model, "
            "one that reads from left to right, such as demo or Qwen/Qwen3-8B"
        )
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise ModelError(
            f"transformers {transformers.__version__} has no causal language model for {type(config).__name__} of "
            f"model {source.name}; likelihood needs one, such as demo or Qwen/Qwen3-8B"
        )


@torch.inference_mode()
def _check_padding(loaded: LoadedModel) -> None:
    """Raise ModelError where a sentence's hidden states depend on the padding behind it.

    Some models mix positions without regard to the attention mask; their numbers would change with the batch.
    """
    if loaded.vocabulary < 8 or loaded.info.max_length < 12:
        return
    tokens = torch.arange(12, device=loaded.device) % (loaded.vocabulary - 4) + 4
    batch = torch.stack([tokens, tokens])
    batch[0, 5:] = loaded.padding_id
    mask = torch.ones_like(batch)
    mask[0, 5:] = 0
    try:
        alone = loaded.model(input_ids=batch[:1, :5], attention_mask=mask[:1, :5]).last_hidden_state[0].float()
        padded = loaded.model(input_ids=batch, attention_mask=mask).last_hidden_state[0, :5].float()
    except Exception:
        log.warning("%s could not be probed for padding; its first batch will tell", loaded.info.name, exc_info=True)
        return
    if not torch.isfinite(alone).all() or not torch.isfinite(padded).all():
        return  # extraction names the layer and the language
    if (alone - padded).abs().max() > 0.1 * alone.abs().max():
        raise ModelError(
            f"{loaded.info.class_name} gives a sentence other states when padding stands behind it, so its numbers "
            "would depend on the batch; it is not supported"
        )


@torch.inference_mode()
def _check_causal(loaded: LoadedModel) -> None:
    """Raise ModelError where a token's hidden state depends on the tokens after it: no likelihood can be read there."""
    if loaded.vocabulary < 16 or loaded.info.max_length < 12:
        return
    tokens = torch.arange(12, device=loaded.device) % (loaded.vocabulary - 4) + 4
    batch = torch.stack([tokens, tokens])
    batch[1, 6:] = 4
    try:
        one, other = loaded.model(input_ids=batch, attention_mask=torch.ones_like(batch)).last_hidden_state.float()
    except Exception:
        log.warning("%s could not be probed for reading ahead; its first batch will tell", loaded.info.name)
        return
    # written so that inf and NaN pass: extraction and likelihood name the language
    if (one[:6] - other[:6]).abs().max() > 0.02 * one[:6].abs().max():
        raise ModelError(
            f"{loaded.info.class_name} lets a token see the ones after it, so the probability of a token given those "
            "before it cannot be read; likelihood needs a causal language model, such as demo or Qwen/Qwen3-8B"
        )
