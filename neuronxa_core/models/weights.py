"""A model's files of weights, looked at before they are loaded, and the few bits that they may be loaded in."""

from __future__ import annotations

import logging
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PretrainedConfig
from transformers.utils import is_bitsandbytes_available

from neuronxa_core.errors import ModelError
from neuronxa_core.models.description import ModelInfo, ModelSource
from neuronxa_core.models.estimates import DTYPES, QUANTIZED, computing_dtype
from neuronxa_core.models.sources import WEIGHTS_INDEX, explained, read_json
from neuronxa_core.models.structure import without_weights
from neuronxa_core.wording import some_of


def check_weights(source: ModelSource, config: PretrainedConfig, info: ModelInfo) -> None:
    """Raise ModelError where a file of weights is missing, is no safetensors file, or all are too small for the model.

    transformers would make up what is missing at random, however large, and load pickled files that an index names.
    """
    single, index = (Path(source.location) / name for name in ("model.safetensors", WEIGHTS_INDEX))
    files = [single] if single.is_file() else _shards(index) if index.is_file() else []
    if not files:
        return  # transformers says what it looked for
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelError(
            f"model {source.name} lacks {len(missing)} of the {len(files)} files of weights that its {WEIGHTS_INDEX} "
            f"names ({some_of(missing, 4)}); copy or download them, too"
        )
    try:
        with safe_open(files[0], framework="pt"):
            size = sum(file.stat().st_size for file in files)
    except (SafetensorError, OSError) as error:
        raise explained(source, error) from error
    # the fewest bytes that a weight is known to take, and a tenth for parts that no state comes from
    if size < info.parameters * (1 / 8 if _stored_quantized(config) else 1) * 0.9:
        raise ModelError(
            f"the weights of model {source.name} are {size:,} bytes in all and its configuration asks for "
            f"{info.parameters:,} weights; the files are incomplete or belong to another model"
        )


def _shards(index: Path) -> list[Path]:
    """The files that an index of weights names, each once. Raises ModelError for no index, and for files elsewhere."""
    content = read_json(index)
    named = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(named, dict) or not named or not isinstance(content.get("metadata"), dict):
        raise ModelError(f"{index} is no index of weights (a weight_map and metadata); copy it again")
    shards = sorted({str(name) for name in named.values()})
    strange = [name for name in shards if Path(name).name != name or not name.endswith(".safetensors")]
    if strange:
        raise ModelError(
            f"{index} names what is no .safetensors file beside it ({some_of(strange, 4)}); copy the model again "
            "(files elsewhere and pickled weights are never loaded)"
        )
    return [index.parent / name for name in shards]


def _stored_quantized(config: PretrainedConfig) -> bool:
    """Whether the weights are stored in few bits."""
    return any(getattr(part, "quantization_config", None) for part in (config, config.get_text_config()))


def quantization(source: ModelSource, config: PretrainedConfig, info: ModelInfo, dtype: str, head: bool) -> dict:
    """What from_pretrained gets for 8-bit or 4-bit weights; nothing for other dtypes.

    The head is left out by name. What the library would leave out by itself depends on whether the model is loaded
    with its head; states must not. Raises ModelError where bitsandbytes is missing, or the weights are stored in few
    bits already.
    """
    if dtype not in QUANTIZED:
        return {}
    if not is_bitsandbytes_available():
        raise ModelError(
            f"dtype {dtype} needs a recent bitsandbytes; run `pip install -U bitsandbytes`, or choose bfloat16"
        )
    if _stored_quantized(config):
        raise ModelError(
            f"the weights of model {source.name} are stored quantized, so they cannot be loaded as {dtype}; choose auto"
        )
    left_out = []
    if head:
        model = without_weights(AutoModelForCausalLM, config)
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
