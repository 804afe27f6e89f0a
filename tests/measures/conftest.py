"""States of the bundled model that the measures of neurons are tested on."""

import pytest

from neuronxa_core.corpora import reading
from neuronxa_core.experiment import ENTRIES, Experiment
from neuronxa_core.states import computing, per_token, planning
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store


@pytest.fixture(scope="session")
def three_languages(tmp_path_factory):
    """(plan, store) with the states of three languages, one with a row that the others lack; seven rows are usable."""
    folder = tmp_path_factory.mktemp("corpus")
    demo = reading.read("demo").texts
    for code in ("eng_Latn", "deu_Latn", "tha_Thai"):
        lines = list(demo[code][:8])
        if code == "deu_Latn":
            lines[3] = ""
        (folder / f"{code}.txt").write_text("\n".join(lines), "utf-8")
    store = Store(tmp_path_factory.mktemp("store"))
    plan = planning.make_plan(Experiment(corpus=str(folder), kept=ENTRIES), store)
    computing.compute_missing(plan, store, ModelPool())
    yield plan, store
    store.close()


@pytest.fixture(scope="session")
def tokenwise(three_languages):
    """tokenwise(language): activations of every usable sentence [layer, token, neuron], read in another way."""
    plan, _ = three_languages
    with ModelPool().acquire(plan) as loaded:
        read = {
            code: [states.values for states in per_token.text_activations(loaded, plan.corpus.sentences(code))]
            for code in plan.all_languages
        }
    return read.__getitem__
