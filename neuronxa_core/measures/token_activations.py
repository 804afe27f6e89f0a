"""One neuron at every token of sentences: a few that someone looks at, or all of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from neuronxa_core.experiment import digest
from neuronxa_core.measures.base import Arrays, Measure, Run, choice
from neuronxa_core.models import token_text
from neuronxa_core.states import extraction, per_token
from neuronxa_core.states.per_token import TokenActivations
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

# sentences that the store keeps for one neuron; where there are more, those read first are forgotten
KEPT_SENTENCES = 2000


def activations_of(
    plan: Plan,
    store: Store,
    pool: ModelPool | None,
    language: str,
    texts: Sequence[str],
    layer: int,
    neuron: int,
    *,
    patience: float | None = None,
) -> list[TokenActivations]:
    """One neuron at every token of some texts, by the plan's definition; what was read before is in the store.

    layer, neuron: from 0. language: for messages only. The model is acquired, see ModelPool.acquire, only where some
    of the texts are not in the store. Raises ExperimentError for a layer or neuron that there is not, and ModelBusy,
    ModelError, ExtractionError, StoreError.
    """
    per_token.check_neuron(plan.info, layer, neuron)
    key = _key(plan, layer, neuron)
    known = store.get_json(key) or {}
    todo = [text for text in dict.fromkeys(texts) if digest(text) not in known]
    if todo:
        with pool.acquire(plan, patience=patience) as loaded:
            definition = plan.experiment.neuron
            fresh = per_token.token_activations(loaded, todo, layer, neuron, definition, language=language)
        # a float32 is exact as a float, and a float comes back from JSON to the last bit
        added = {digest(one.text): [list(one.ids), one.values.tolist(), one.truncated] for one in fresh}
        known |= added
        # what another session has added meanwhile is taken in; what is lost between the two lines is read again
        kept = {name: value for name, value in (store.get_json(key) or {}).items() if name not in added} | added
        store.try_put_json(key, dict(list(kept.items())[-KEPT_SENTENCES:]))
    return [_from_json(text, *known[digest(text)]) for text in texts]


def _key(plan: Plan, layer: int, neuron: int) -> str:
    """Names the store's document of one neuron, {digest of a text: [ids, values, whether it was cut]}."""
    # a document per neuron, not per sentence: a file each would be thousands
    model = plan.identity or plan.key
    what = [model, plan.dtype, plan.experiment.neuron, plan.info.max_length, extraction.VERSION, per_token.VERSION]
    return "tokens-" + digest([*what, int(layer), int(neuron)])


def _from_json(text: str, ids: list[int], values: list[float], truncated: bool) -> TokenActivations:
    return TokenActivations(text, tuple(ids), np.array(values, dtype=np.float32), truncated)


@dataclass(frozen=True)
class TokenActivationsMeasure(Measure):
    """The activation of one neuron at every token of every sentence."""

    layer: int = choice(0, "the neuron's layer, from 0")
    number: int = choice(0, "the neuron's number in its layer, from 0")
    name: ClassVar[str] = "token_activations"
    unit: ClassVar[str] = "languages"
    needs: ClassVar[str] = "model"

    def __post_init__(self) -> None:
        super().__post_init__()
        per_token.check_neuron(self.plan.info, self.layer, self.number)

    def parts(self) -> tuple[str, ...]:
        return self.plan.all_languages

    def content(self, part: str) -> object:
        return [per_token.VERSION, self.layer, self.number, self.reads(part)]

    def compute(self, part: str, run: Run) -> Arrays:
        """ids, values: of all tokens, [token]. tokens: how many each sentence has, [sentence]."""
        texts = [self.plan.corpus.texts[part][row] for row in self.plan.corpus.usable]
        definition = self.plan.experiment.neuron
        read = per_token.token_activations(run.loaded, texts, self.layer, self.number, definition, language=part)
        return {
            "ids": np.concatenate([one.ids for one in read]),
            "values": np.concatenate([one.values for one in read]),
            "tokens": np.array([len(one.ids) for one in read]),
        }

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per token, special tokens included.

        Columns: language, sentence (among those compared, from 1), position (from 1), token_id, token, activation.
        """
        tokenizer = token_text.tokenizer_of(self.plan.source, self.plan.identity)
        tables = []
        for language, arrays in results.items():
            tokens = arrays["tokens"]
            columns = {
                "language": language,
                "sentence": np.repeat(np.arange(1, len(tokens) + 1), tokens),
                "position": np.concatenate([np.arange(1, count + 1) for count in tokens]),
                "token_id": arrays["ids"],
                "token": token_text.token_strings(tokenizer, arrays["ids"].tolist()),
                "activation": arrays["values"],
            }
            tables.append(pd.DataFrame(columns))
        return pd.concat(tables, ignore_index=True)
