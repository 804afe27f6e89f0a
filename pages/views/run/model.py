"""The model, and how its neurons are read and kept."""

from __future__ import annotations

import streamlit as st

from neuronxa_core.errors import NeuronXAError
from neuronxa_core.models import estimates, sources
from neuronxa_core.models.description import ModelInfo
from neuronxa_core.states import batches
from neuronxa_core.wording import some_of
from pages.components import cached, wording
from pages.views.run.selection import RunSelection, allows, end_of, kind_choice, name_choice

STORAGE_NAMES = {
    "auto": "auto · exact while that takes little of the cache, else half",
    "exact": "exact · whole numbers and float32",
    "half": "half · NAV and EMB in float16",
}


def show(selection: RunSelection) -> dict[str, str] | None:
    """The experiment's choices of the model; None where no usable model is chosen."""
    model, info = _model(selection), None
    if model:
        try:
            info = cached.model_info(model)
            st.caption(
                wording.safe(
                    f"{info.class_name}: {info.layers} layers of {info.neurons:,} neurons"
                    f" ({'gated' if info.gated else 'plain'} feed-forward), hidden width {info.hidden:,}, "
                    f"{info.parameters / 1e6:,.1f} million parameters, stored as {info.stored_dtype}."
                )
            )
        except NeuronXAError as error:
            st.error(wording.said(str(error)), icon=":material/error:")
    else:
        st.caption("Give a folder or a hub id to go on.")
    with st.expander("Advanced: neuron, precision, device"):
        chosen = _advanced(selection, info)
    return None if info is None else {"model": model, **chosen}


def _model(selection: RunSelection) -> str:
    """The model's name: bundled, below the host's folders, typed, or from the hub's cache; empty for none."""
    allowed, value = selection.allowed, selection.before.model
    any_folder = allowed.models.folders is None
    typed = "Local folder or hub id" if any_folder else "Hub id"
    kinds = {
        "Bundled": ["demo"],
        "Models of this host": selection.found()[0],
        typed: None if any_folder or allowed.models.hub else [],
        "Hub cache": [name for name in sources.cached_models() if allows(allowed.model_source, name)],
    }
    kind = kind_choice("Model", kinds, value, typed, "run_model_kind")
    if kind == "Bundled":
        return "demo"
    if kind == "Hub cache":
        return name_choice("Model in the local hub cache", kinds[kind], value, "run_cached_model")
    if kind == "Models of this host":
        return name_choice("Folder", kinds[kind], value, "run_found_model", format_func=end_of)
    hub_id = "Qwen/Qwen3-8B@main"
    return st.text_input(
        "Folder or hub id" if any_folder else "Hub id",
        value="" if value == "demo" else value,
        key="run_model",
        placeholder=f"/models/my-model or {hub_id}" if any_folder else hub_id,
        help="A folder in transformers' format with .safetensors weights, or a hub id, optionally with @revision."
        if any_folder
        else f"One of {some_of(map(wording.safe, allowed.models.hub))}, optionally with @revision.",
    ).strip()


def _advanced(selection: RunSelection, info: ModelInfo | None) -> dict[str, str]:
    """How neurons are defined, computed and kept, and whether the model fits."""
    choice, allowed = selection.choice, selection.allowed
    chosen = {
        "neuron": choice(st.radio, "Neuron definition", "neuron", format_func=wording.NEURON_NAMES.get),
        "dtype": choice(
            st.selectbox,
            "Precision",
            "dtype",
            ("auto", *allowed.models.dtypes),
            help="auto: as stored on a GPU, float32 on a CPU. int8 and nf4 need a CUDA GPU and bitsandbytes.",
        ),
        "device": choice(st.selectbox, "Device", "device", ("auto", *allowed.models.devices)),
        "storage": choice(
            st.selectbox,
            "States on disk",
            "storage",
            format_func=STORAGE_NAMES.get,
            help="Half rounds once, before storing. On the bundled model it changed 1 of 115,200 decisions whether a "
            "sentence is aligned.",
        ),
    }
    if info is not None:
        try:
            device = allowed.device(chosen["device"])
            need = estimates.estimate_memory(info, chosen["dtype"], device, batches.TOKEN_BUDGET[device])
            said = f"Needs about {wording.size(need.needed)} on {device}; {wording.size(need.free)} are free."
            (st.caption if need.fits else st.warning)(said)
        except NeuronXAError as error:
            st.warning(wording.said(str(error)))
    return chosen
