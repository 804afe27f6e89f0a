"""How far a neuron's activation moves the output of its feed-forward network: the norms of the last projection."""

from __future__ import annotations

import numpy as np
import torch
from accelerate.utils import align_module_device

from neuronxa_core.experiment import digest
from neuronxa_core.models.description import LoadedModel
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

# neurons whose columns are read at once
COLUMNS = 1024


@torch.inference_mode()
def output_norms(loaded: LoadedModel) -> np.ndarray:
    """Norm of the last projection's column of every neuron, float32 [layer, neuron].

    Setting a neuron's activation a to 0 changes the output of its feed-forward network by |a| times this norm. The
    columns are what the module makes of unit vectors, so that it may hold its weights in any form. In a mixture of
    experts the router's weight of the expert is left out.
    """
    info, model = loaded.info, loaded.model
    norms = np.empty((info.layers, info.neurons), np.float32)
    for layer, feed_forward in enumerate(loaded.feed_forwards):
        module = model.get_submodule(feed_forward.last_projection)
        if info.experts:
            with align_module_device(module):
                columns = module.down_proj.float().norm(dim=2 if module.is_transposed else 1)
                norms[layer] = columns.flatten().cpu().numpy()
            continue
        parameter = next(module.parameters())
        device = loaded.device if parameter.device.type == "meta" else parameter.device
        nothing = module(torch.zeros(1, info.neurons, dtype=model.dtype, device=device))
        for first in range(0, info.neurons, COLUMNS):
            count = min(COLUMNS, info.neurons - first)
            units = torch.zeros(count, info.neurons, dtype=model.dtype, device=device)
            units[torch.arange(count), torch.arange(first, first + count)] = 1
            columns = (module(units) - nothing).float()
            norms[layer, first : first + count] = columns.norm(dim=1).cpu().numpy()
    return norms


def norms_of(plan: Plan, store: Store, pool: ModelPool | None = None) -> np.ndarray | None:
    """The `output_norms` of a plan's model, kept in the store; None where they are not there and there is no pool."""
    key = "output_norms-" + digest([plan.identity, plan.dtype])
    kept = store.read(key)
    if kept is None and pool is not None:
        with pool.acquire(plan) as loaded:
            kept = {"norms": output_norms(loaded)}
        store.put(key, kept, {"kind": "output_norms", "model": plan.source.name})
    return None if kept is None else kept["norms"]
