"""Random models at real shapes, made where they are to be, and a plan that reads the bundled corpus with one."""

from __future__ import annotations

import itertools
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, Qwen2Config, Qwen3MoeConfig

sys.path.insert(0, str(Path(__file__).parents[1]))

from neuronxa_core.corpora import reading
from neuronxa_core.corpora.parallel import Corpus
from neuronxa_core.experiment import Experiment
from neuronxa_core.models import estimates, sources, structure
from neuronxa_core.models.description import LoadedModel, ModelSource
from neuronxa_core.states.planning import Plan

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TINY = DEVICE == "cpu"
DTYPE = "float32" if TINY else "bfloat16"

NAMES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
         "vocab_size", "head_dim", "moe_intermediate_size", "num_experts", "num_experts_per_tok")  # fmt: skip
SHAPES = {
    "LLaMA 3.1 8B": (LlamaConfig, (4096, 14336, 32, 32, 8, 128256), ()),
    "Qwen2.5 7B": (Qwen2Config, (3584, 18944, 28, 28, 4, 152064), ()),
    "8 layers of Qwen3-30B-A3B": (Qwen3MoeConfig, (2048, 6144, 8, 32, 4, 151936), (128, 768, 128, 8)),
}
TINY_SIZES = (64, 160, 2, 4, 2, 8192), (16, 32, 4, 2)


def build(shape: str, device: str = DEVICE, dtype: str = DTYPE, **changes: int) -> LoadedModel:
    """A model with random weights, made where it is to be."""
    kind, *sizes = SHAPES[shape]
    dense, mixture = TINY_SIZES if TINY else sizes
    named = dict(zip(NAMES, (*dense, *(mixture if sizes[1] else ())), strict=False))
    config = kind(**{**named, **changes})
    torch.manual_seed(0)
    with torch.device(device):
        head = AutoModelForCausalLM.from_config(config, dtype=estimates.DTYPES[dtype])
    return around(shape, head.eval().requires_grad_(False), dtype)


def around(shape: str, head: PreTrainedModel, dtype: str) -> LoadedModel:
    info = structure.describe_config(ModelSource(shape, shape, "folder"), head.config)
    tokenizer, text = sources.load_tokenizer(sources.parse_source("demo")), head.base_model
    return LoadedModel(info, text, tokenizer, structure.locate(text), next(text.parameters()).device, dtype, head)


def pool_of(loaded: LoadedModel) -> SimpleNamespace:
    """Stands for the ModelPool of a model that lies in no file."""
    return SimpleNamespace(acquire=lambda *_plan, **_options: nullcontext(loaded))


def plan_of(loaded: LoadedModel, languages: int, sentences: int) -> Plan:
    """So many languages of the bundled corpus, again and again where it has fewer, from another line on each."""
    raw = reading.read("demo").texts
    texts = {}
    for number, code in zip(range(languages), itertools.cycle(raw), strict=False):
        texts[f"{code}-{number}"] = tuple(raw[code][(k + number) % len(raw[code])] for k in range(sentences))
    pivot, *others = texts
    rows = tuple(range(sentences))
    corpus = Corpus("bundled", pivot, tuple(others), texts, tuple(row + 1 for row in rows), rows, None, ())
    source = ModelSource(loaded.info.name, loaded.info.name, "folder")
    keys = {code: f"states-{code}" for code in texts}
    return Plan(Experiment(), corpus, source, loaded.info, loaded.device.type, loaded.dtype, keys)
