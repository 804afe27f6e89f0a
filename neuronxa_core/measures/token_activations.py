"""One neuron, one sentence: the tokens as a reader reads them, and signed activations token by token.

A token is what the tokenizer makes of a text, and often no unit that anyone can read: a byte of a character, a vowel
sign without its letter, a word with the space before it. `align_tokens_to_text` joins tokens into slices of text that
can be shown. `token_activations` reads one neuron at every token of a few sentences and `activations_of` keeps what it
read; `text_activations` reads all neurons at every token of a text that someone has just typed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuronxa_core.errors import ExperimentError
from neuronxa_core.experiment import digest
from neuronxa_core.states import extraction, per_token
from neuronxa_core.states.per_token import KEPT_SENTENCES, VERSION, TokenActivations
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store


def activations_of(
    plan: Plan,
    store: Store,
    pool: ModelPool,
    language: str,
    rows_or_texts: Sequence[int | str],
    layer: int,
    neuron: int,
    *,
    patience: float | None = None,
) -> list[TokenActivations]:
    """One neuron at every token of some sentences, by the plan's definition; what was read before is in the store.

    rows_or_texts: rows of the language in the plan's corpus, from 0, or texts, in any order. layer, neuron: from 0.
    The model is borrowed, as ModelPool.acquire says, only where some of the sentences are not in the store. Raises
    ExperimentError for a row, layer or neuron that there is not, and ModelBusy, ModelError, ExtractionError,
    StoreError.
    """
    per_token.check_neuron(plan.info, layer, neuron)
    texts = [item if isinstance(item, str) else _text_of_row(plan, language, item) for item in rows_or_texts]
    key = _activations_key(plan, layer, neuron)
    known = _known(store, key)
    todo = [text for text in dict.fromkeys(texts) if digest(text) not in known]
    if todo:
        with pool.acquire(plan, patience=patience) as loaded:
            definition = plan.experiment.neuron
            fresh = per_token.token_activations(loaded, todo, layer, neuron, definition, language=language)
        added = {digest(read.text): _as_json(read) for read in fresh}
        known |= added
        # what another session has added meanwhile is taken in; what is lost between the two lines is read again
        kept = {name: value for name, value in _known(store, key).items() if name not in added} | added
        store.try_put_json(key, dict(list(kept.items())[-KEPT_SENTENCES:]))
    return [_from_json(text, known[digest(text)]) for text in texts]


def _text_of_row(plan: Plan, language: str, row: int) -> str:
    if language not in plan.corpus.texts:
        raise ExperimentError(f"the corpus {plan.corpus.name} has no language {language}; choose another")
    texts = plan.corpus.texts[language]
    if not 0 <= row < len(texts):
        raise ExperimentError(f"{language} has no row {row}: its rows are 0 to {len(texts) - 1}; choose one of them")
    if not texts[row]:
        raise ExperimentError(f"row {row} is empty in {language}; choose another")
    return texts[row]


def _activations_key(plan: Plan, layer: int, neuron: int) -> str:
    """Names the store's document of one neuron, {digest of a text: [ids, values, whether it was cut]}."""
    # one document a neuron, not one a sentence: a file each would be thousands
    model = plan.identity or plan.key
    what = [model, plan.dtype, plan.experiment.neuron, plan.info.max_length, extraction.VERSION, VERSION]
    return "tokens-" + digest([*what, int(layer), int(neuron)])


def _known(store: Store, key: str) -> dict[str, list]:
    document = store.get_json(key)
    return document if isinstance(document, dict) else {}


def _as_json(read: TokenActivations) -> list:
    # a float32 is exact as a float, and a float comes back from JSON to the last bit
    return [list(read.ids), read.values.tolist(), read.truncated]


def _from_json(text: str, kept: list) -> TokenActivations:
    ids, values, truncated = kept
    return TokenActivations(text, tuple(ids), np.array(values, dtype=np.float32), truncated)
