"""What shorter storage of states costs in scores: python benchmarks/storage.py [--model M ...] [--corpus C] [--pivot P]

The states of a model are computed once, exactly, and rounded to half precision. A row of the table compares the
decisions (is sentence i aligned, for every language, layer and sentence) of rounded states with those of exact ones.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import cosine_retrieval
from neuronxa_core.states import computing, extraction, planning, precision
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store

NAMES = tuple(f"{state}_{pooling}" for state in ("nav", "emb") for pooling in extraction.POOLINGS)


def read(plan: Plan, store: Store, name: str, storage: str) -> dict[str, np.ndarray]:
    """What is stored of every language's exact states: {language: [layer, sentence, width]}."""
    kept = {}
    with StatesReader(plan, store) as reader:
        for code in plan.all_languages:
            layers = [reader.vectors(code, *name.split("_"), layer) for layer in range(plan.info.layers)]
            if precision.is_rounded(name, storage):
                layers = [precision.to_half(pooled_sums)[0] for pooled_sums in layers]
            kept[code] = np.stack(layers)
    return kept


def decisions(plan: Plan, states: dict[str, np.ndarray]) -> np.ndarray:
    """Which sentences are aligned with the pivot's, [language, layer, sentence]."""
    found = [
        cosine_retrieval.retrieve(
            states[plan.pivot][layer], np.stack([states[code][layer] for code in plan.languages])
        ).aligned
        for layer in range(plan.info.layers)
    ]
    return np.stack(found, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["demo"])
    parser.add_argument("--corpus", default="demo")
    parser.add_argument("--pivot", default="eng_Latn")
    parser.add_argument("--sentences", type=int)
    options = parser.parse_args()
    print("| model | states | decisions | changed | score of a layer, most | pooled over layers, most |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for model in options.model:
        with tempfile.TemporaryDirectory() as folder:
            store = Store(folder)
            chosen = {"corpus": options.corpus, "pivot": options.pivot, "sentences": options.sentences}
            plan = planning.make_plan(Experiment(model, **chosen, storage="exact", kept=NAMES), store)
            computing.compute_missing(plan, store, ModelPool())
            for name in NAMES:
                exact = decisions(plan, read(plan, store, name, "exact"))
                half = decisions(plan, read(plan, store, name, "half"))
                by_layer = np.abs(exact.mean(axis=2) - half.mean(axis=2))
                pooled = np.abs(exact.mean(axis=(1, 2)) - half.mean(axis=(1, 2)))
                print(
                    f"| {plan.source.name} | {name.replace('_', ' ')} | {exact.size:,} | {(exact != half).sum()} "
                    f"| {by_layer.max():.3f} | {pooled.max():.5f} |",
                    flush=True,
                )
            store.close()


if __name__ == "__main__":
    main()
