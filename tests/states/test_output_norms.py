"""Norms of the last projection against the weights file, and against what zeroing a neuron changes."""

import pytest
import torch
from accelerate import cpu_offload
from safetensors.torch import load_file
from tiny_models import EXPERTS, FAMILIES, LAYERS

from neuronxa_core.models import loading, sources
from neuronxa_core.states import output_norms


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_zeroing_a_neuron_moves_the_output_by_its_norm(family, loaded, monkeypatch):
    monkeypatch.setattr(output_norms, "COLUMNS", 20)
    model, known = loaded(family), FAMILIES[family]
    norms = output_norms.output_norms(model)
    assert norms.shape == (LAYERS, known.neurons)
    for layer in range(LAYERS):
        last = model.model.get_submodule(f"{known.layer.format(layer)}.{known.last}")
        inner = torch.randn(5, known.neurons, generator=torch.Generator().manual_seed(layer))
        for neuron in (0, 19, 20, known.neurons - 1):
            without = inner.clone()
            without[:, neuron] = 0
            with torch.inference_mode():
                change = (last(inner) - last(without)).norm(dim=1)
            torch.testing.assert_close(change, inner[:, neuron].abs() * norms[layer, neuron], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("offloaded", [False, True])
@pytest.mark.parametrize("family", ["mixtral", "gpt_oss"])
def test_experts_have_the_columns_of_their_own_down_projections(family, offloaded, tiny):
    folder = tiny(family)
    model = loading.load(sources.parse_source(str(folder)), device="cpu")
    weights = load_file(folder / "model.safetensors")
    if offloaded:
        cpu_offload(model.model, torch.device("cpu"))
    norms = output_norms.output_norms(model)
    for layer in range(LAYERS):
        if family == "mixtral":  # [hidden, column], expert by expert
            path = f"layers.{layer}.block_sparse_moe.experts.{{}}.w2.weight"
            columns = torch.cat([weights[path.format(k)] for k in range(EXPERTS)], 1)
        else:  # [expert, column, hidden]
            columns = weights[f"layers.{layer}.mlp.experts.down_proj"].flatten(0, 1).T
        torch.testing.assert_close(torch.tensor(norms[layer]), columns.norm(dim=0))
