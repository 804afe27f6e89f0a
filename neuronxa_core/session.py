"""The Python interface: one model on one corpus, on the same cache as the app and the command line."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from neuronxa_core.corpora.parallel import Corpus
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import cosine_retrieval, registry
from neuronxa_core.measures.alignment import Alignment, align
from neuronxa_core.measures.base import Arrays, Measure, Part
from neuronxa_core.models.description import ModelInfo
from neuronxa_core.states import pace
from neuronxa_core.states.computing import compute_missing
from neuronxa_core.states.planning import Plan, check_size, make_plan, with_states
from neuronxa_core.states.planning import missing as missing_languages
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store


class Session:
    """A model, a corpus and what is computed of them.

    model: `demo`, a folder or a hub id. corpus: `demo`, a folder or a file; see docs/data.md. cache: a folder; by
    default the app's. choices: further fields of Experiment, such as languages, sentences, neuron, dtype or device.
    Nothing is computed before it is asked for. Raises CorpusError, ModelError, ExperimentError and StoreError.

        session = Session("demo", "demo", "eng_Latn", sentences=100)
        session.measure("alignment", state="nas")
    """

    def __init__(
        self,
        model: str = Experiment.model,
        corpus: str = Experiment.corpus,
        pivot: str = Experiment.pivot,
        *,
        cache: str | Path | None = None,
        progress: bool = True,
        **choices: Any,
    ) -> None:
        choices |= {name: tuple(choices[name]) for name in ("languages", "kept") if name in choices}
        self.store, self.pool, self.progress = Store(cache), ModelPool(), progress
        self.plan: Plan = make_plan(Experiment(model, corpus, pivot, **choices), self.store)

    @property
    def corpus(self) -> Corpus:
        """The sentences that are compared, and what was found in them."""
        return self.plan.corpus

    @property
    def model(self) -> ModelInfo:
        """The model's sizes."""
        return self.plan.info

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Codes of all languages, the pivot first."""
        return self.plan.all_languages

    def compute(self, *names: str) -> None:
        """Compute the states that are missing, and some more, such as "nas_mean"; a whole language is kept at once."""
        self._compute(with_states(self.plan, names))

    def _compute(self, plan: Plan) -> None:
        missing = missing_languages(plan, self.store)
        if not missing:
            return
        check_size(plan, self.store)
        if self.progress:
            print(pace.summary(plan, self.store), file=sys.stderr)
        done = dict.fromkeys(missing, 0)
        total = sum(len(plan.rows(code)) for code in missing)
        with tqdm(total=total, unit=" sentences", file=sys.stderr, disable=not self.progress) as bar:

            def on_progress(language: str, count: int, _all: int) -> None:
                bar.update(count - done[language])
                done[language] = count

            compute_missing(plan, self.store, self.pool, on_progress=on_progress)

    def states(self, language: str, layer: int, state: str = "nas", pooling: str = "weighted") -> np.ndarray:
        """Sentence vectors of a language at a layer: float64 [sentence, neuron or hidden]."""
        self.compute(f"{state}_{pooling}")
        with StatesReader(self.plan, self.store, [language]) as reader:
            return reader.sentence_vectors(language, state, pooling, layer)

    def similarity(self, x: str, y: str, layer: int, state: str = "nas", pooling: str = "weighted") -> np.ndarray:
        """Cosines of the sentences of language x with those of y at a layer: float32 [sentence of x, of y]."""
        return cosine_retrieval.similarity(*(self.states(code, layer, state, pooling) for code in (x, y)))

    def alignment(self, state: str = "nas", pooling: str = "weighted") -> Alignment:
        """Alignment of the pivot with every language, sentence by sentence at all layers."""
        self.compute(f"{state}_{pooling}")
        return align(self.plan, self.store, state, pooling)

    def make(self, name: str, **choices: Any) -> Measure:
        """A measure of this session that is computed: its `frame`, `results` and own methods say the rest."""
        return self._run(name, choices)[0]

    def _run(self, name: str, choices: dict[str, Any]) -> tuple[Measure, dict[Part, Arrays]]:
        measure = registry.find(name).make(self.plan, self.store, self.pool, **choices)
        if measure.needs == "states":
            self._compute(measure.needed)
        return measure, measure.run(self.store, self.pool)

    def measure(self, name: str, **choices: Any) -> pd.DataFrame:
        """A measure's tidy table; `list_measures()` lists the names. Raises ExperimentError for a name that is none."""
        measure, results = self._run(name, choices)
        return measure.frame(results)


def list_measures() -> dict[str, str]:
    """All measures by name, with a sentence each."""
    return {name: registry.sentence(registry.find(name)) for name in registry.MEASURES}
