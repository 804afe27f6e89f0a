"""NeuronXA: cross-lingual alignment of a language model, read off the states of its feed-forward neurons.

    import neuronxa_core as nxa

    session = nxa.Session("demo", "demo", "eng_Latn")
    session.measure("alignment", state="nas")

Everything here runs without a browser; the app in `pages/` and the command line in `cli/` are two fronts of it. Names
are imported when they are used, so that importing the package takes no time.
"""

import importlib
import os

# before torch is loaded: threads that wait let those of other processes work
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

_HOMES = {
    "Experiment": "experiment.Experiment",
    "Measure": "measures.base.Measure",
    "NeuronXAError": "errors.NeuronXAError",
    "Session": "session.Session",
    "charts": "charts",
    "list_measures": "session.list_measures",
    "read_corpus": "corpora.reading.read",
    "read_scores": "tasks.score_files.read_scores",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = f"{__name__}.{_HOMES[name]}".rpartition(".")
    if attribute == name == "charts":
        return importlib.import_module(f"{module}.charts")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
