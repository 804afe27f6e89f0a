"""Load a model with its tokenizer and, where it is asked for, its language-model head, and try that it can be read."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Literal

import torch
import transformers
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel

from neuronxa_core.errors import ModelError
from neuronxa_core.models import moe
from neuronxa_core.models.description import LOCAL_ONLY, LoadedModel, ModelInfo, ModelSource
from neuronxa_core.models.estimates import (
    DTYPES,
    computing_dtype,
    estimate_memory,
    free_gpu_bytes,
    resolve_device,
    resolve_dtype,
)
from neuronxa_core.models.sources import explained, load_tokenizer, local, read_config
from neuronxa_core.models.structure import BUILDING, describe_config, locate, text_model
from neuronxa_core.models.weights import check_weights, quantization
from neuronxa_core.wording import some_of

log = logging.getLogger(__name__)

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def load(
    source: ModelSource,
    dtype: str = "auto",
    device: str = "auto",
    token_budget: int = 0,
    head: bool | Literal["masked"] = False,
) -> LoadedModel:
    """Load a model, its tokenizer, and where its neurons are; its language-model head only where `head` asks for it.

    head: True for that of a causal language model, `masked` for an encoder's that predicts masked tokens.

    dtype: auto, float32, bfloat16 or float16, or, on a GPU with bitsandbytes, int8 (LLM.int8(), Dettmers et al., 2022)
    or nf4 (QLoRA, Dettmers et al., 2023) for the linear projections of the text model; stacked experts, embeddings,
    norms and the head stay as `computing_dtype` says. Under int8 a token's numbers depend a little on its batch, since
    LLM.int8() looks for outlying columns in all of it. device: auto, cpu or cuda; where one GPU is too small and there
    are several, the layers are spread over them. Weights come from safetensors only and remote code is never run.
    Raises ModelError; with `head` also for an encoder, for weights that hold no head, and for a model whose tokens see
    the ones after them.
    """
    device = resolve_device(device)
    source = local(source, weights=True)
    config = read_config(source)
    info = describe_config(source, config)
    if head == "masked":
        _check_masked_head(source, config)
    elif head:
        _check_head(source, config, info)
    dtype = resolve_dtype(dtype, info, device)
    bits = quantization(source, config, info, dtype, head)
    check_weights(source, config, info)
    tokenizer = load_tokenizer(source)
    kind = {False: AutoModel, True: AutoModelForCausalLM, "masked": AutoModelForMaskedLM}[head]
    try:
        with BUILDING:
            model, report = kind.from_pretrained(
                source.location,
                config=config,
                dtype=DTYPES[computing_dtype(dtype, info)],
                use_safetensors=True,
                device_map=_device_map(config, info, dtype, device, token_budget, head),
                output_loading_info=True,
                **bits,
                **LOCAL_ONLY,
            )
    except Exception as error:
        raise explained(source, error) from error
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
    _take_from_file(model)
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
    if head is True:
        _check_causal(loaded)
    return loaded


def _take_from_file(model: PreTrainedModel) -> None:
    """Weights of its own for a model on the CPU: until then they are the file's, and change or vanish with it."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def _device_map(
    config: PretrainedConfig, info: ModelInfo, dtype: str, device: str, token_budget: int, head: bool
) -> str | dict | None:
    """Where from_pretrained puts the layers: on one GPU, or over several where one is too small."""
    if device != "cuda":
        return None
    text = config.get_text_config()
    if head and not getattr(text, "tie_word_embeddings", False):
        info = replace(info, parameters=info.parameters + text.vocab_size * text.hidden_size)
    free = free_gpu_bytes()
    needed = estimate_memory(info, dtype, device, token_budget).needed
    return "auto" if len(free) > 1 and needed > free[0] else {"": 0}


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


def _check_masked_head(source: ModelSource, config: PretrainedConfig) -> None:
    """Raise ModelError where there is no model of the configuration's kind that predicts masked tokens."""
    if type(config) not in AutoModelForMaskedLM._model_mapping:
        raise ModelError(
            f"transformers {transformers.__version__} has no head that predicts masked tokens for "
            f"{type(config).__name__} of model {source.name}; choose an encoder with one, such as xlm-roberta-base"
        )


@torch.inference_mode()
def _last_hidden(loaded: LoadedModel, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | None:
    """The last hidden states [row, position, hidden] of token ids; None where the model fails, as its first batch will.

    inf and NaN pass the checks below: extraction names layer and language.
    """
    try:
        return loaded.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    except Exception:
        log.warning("%s could not be tried on a few tokens; its first batch will tell", loaded.info.name, exc_info=True)
        return None


def _some_tokens(loaded: LoadedModel) -> torch.Tensor | None:
    """Two equal rows of 12 token ids; None where the model knows or reads too few."""
    if loaded.vocabulary < 16 or loaded.info.max_length < 12:
        return None
    tokens = torch.arange(12, device=loaded.device) % (loaded.vocabulary - 4) + 4
    return torch.stack([tokens, tokens])


def _check_padding(loaded: LoadedModel) -> None:
    """Raise ModelError where a sentence's hidden states depend on the padding behind it.

    Some models mix positions without regard to the attention mask; their numbers would change with the batch.
    """
    batch = _some_tokens(loaded)
    if batch is None:
        return
    batch[0, 5:] = loaded.padding_id
    mask = torch.ones_like(batch)
    mask[0, 5:] = 0
    alone, padded = _last_hidden(loaded, batch[:1, :5], mask[:1, :5]), _last_hidden(loaded, batch, mask)
    if alone is None or padded is None or not padded[0, :5].isfinite().all():
        return
    if (alone[0] - padded[0, :5]).abs().max() > 0.1 * alone.abs().max():
        raise ModelError(
            f"{loaded.info.class_name} gives a sentence other states when padding stands behind it, so its numbers "
            "would depend on the batch; it is not supported"
        )


def _check_causal(loaded: LoadedModel) -> None:
    """Raise ModelError where a token's hidden state depends on the tokens after it: no likelihood can be read there."""
    batch = _some_tokens(loaded)
    if batch is None:
        return
    batch[1, 6:] = 4
    states = _last_hidden(loaded, batch, torch.ones_like(batch))
    if states is not None and (states[0, :6] - states[1, :6]).abs().max() > 0.02 * states[0, :6].abs().max():
        raise ModelError(
            f"{loaded.info.class_name} lets a token see the ones after it, so the probability of a token given those "
            "before it cannot be read; likelihood needs a causal language model, such as demo or Qwen/Qwen3-8B"
        )
