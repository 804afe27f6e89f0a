"""On a GPU: the numbers of the CPU, smaller batches where memory runs out, ablation and the microscope."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from neuronxa_core.models import loading, sources
from neuronxa_core.models.description import LoadedModel
from neuronxa_core.states import extraction, likelihood, per_token
from neuronxa_core.states.interventions import Neurons, ablated

pytestmark = pytest.mark.cuda
SENTENCES = ["a dog runs in the rain", "猫は昼に", "a", "кошка спит", "the cat sat on the mat", "a dog"] * 4
NEURONS = Neurons.of({0: [3], 2: [0, 40]})


@pytest.fixture
def both(tiny) -> Callable[..., tuple[LoadedModel, LoadedModel]]:
    """both(family): a tiny model on the GPU and on the CPU, with its head."""

    def get(family: str, dtype: str = "float32") -> tuple[LoadedModel, LoadedModel]:
        source = sources.parse_source(str(tiny(family, head=True)))
        return tuple(loading.load(source, dtype, device, head=True) for device in ("cuda", "cpu"))

    return get


def same(found: extraction.LanguageStates, wanted: extraction.LanguageStates, rounding: float = 2e-4) -> None:
    """Sums of whole numbers may differ where an activation is next to 0, others by rounding."""
    assert found.arrays.keys() == wanted.arrays.keys()
    for name, array in found.arrays.items():
        if name.startswith("nas"):
            assert (array != wanted.arrays[name]).mean() < 10 * rounding
        else:
            np.testing.assert_allclose(array, wanted.arrays[name], rtol=rounding, atol=100 * rounding)


@pytest.mark.parametrize(("family", "dtype", "rounding"), [
    ("llama", "float32", 2e-4), ("gpt2", "float32", 2e-4), ("qwen3_moe", "float32", 2e-4), ("llama", "bfloat16", 0.05)
])  # fmt: skip
def test_states_are_those_of_the_cpu(both, family, dtype, rounding):
    gpu, cpu = both(family, dtype)
    assert (gpu.device.type, gpu.model.dtype) == ("cuda", getattr(torch, dtype))
    same(extraction.extract(gpu, "xx", SENTENCES), extraction.extract(cpu, "xx", SENTENCES), rounding)


def test_where_memory_runs_out_batches_are_halved_and_nothing_else_changes(both):
    gpu, _ = both("llama")
    whole = extraction.extract(gpu, "xx", SENTENCES)
    sizes, ballast = [], []

    def fill(_module: object, _inputs: object, options: dict) -> None:
        sizes.append(options["input_ids"].numel())
        if sizes[-1] > 100:  # more than any GPU has
            ballast.append(torch.empty(1 << 50, dtype=torch.uint8, device="cuda"))

    handle = gpu.model.register_forward_pre_hook(fill, with_kwargs=True)
    halved = extraction.extract(gpu, "xx", SENTENCES)
    handle.remove()
    assert sizes[0] > 100 >= sizes[-1] and not ballast
    same(halved, whole)


def test_ablated_neurons_are_0_and_likelihoods_are_those_of_the_cpu(both):
    nats = []
    for model in both("llama"):
        with ablated(model, NEURONS):
            states = extraction.extract(model, "xx", SENTENCES).arrays["nav_mean"]
            nats.append(likelihood.negative_log_likelihood(model, SENTENCES).nats)
        assert all(not states[layer, :, list(numbers)].any() for layer, numbers in NEURONS.pairs)
        assert states[1].all(axis=0).any()
    np.testing.assert_allclose(*nats, rtol=1e-4)


def test_the_microscope_reads_the_values_of_the_cpu(both):
    found, wanted = (per_token.token_activations(model, SENTENCES, 1, 7) for model in both("llama"))
    for one, other in zip(found, wanted, strict=True):
        assert one.ids == other.ids
        np.testing.assert_allclose(one.values, other.values, rtol=1e-3, atol=1e-4)
