"""Zero-shot transfer on labelled data of its own, such as XNLI: trained in one language, tested in all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.corpora.parallel import Corpus, Finding
from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.base import Arrays, Part, Run, choice, pooling_choice, state_choice
from neuronxa_core.measures.language_scores import LanguageScores, check_layer, mean_score
from neuronxa_core.measures.probe import Classifier, fit
from neuronxa_core.states import planning
from neuronxa_core.tasks import labelled_pairs
from neuronxa_core.tasks.labelled_pairs import LabelledTexts
from neuronxa_core.wording import some_of

CHOSEN, ALL = "chosen", "all"


def features(u: np.ndarray, v: np.ndarray | None = None) -> np.ndarray:
    """[u, v, |u - v|, u * v] of the vectors of pairs, as in InferSent (Conneau et al., EMNLP 2017); u of single ones.

    u, v: [item, width]. Returns [item, 4 width] or [item, width].
    """
    return u if v is None else np.hstack([u, v, np.abs(u - v), u * v])


def groups_of_equal(texts: Mapping[str, tuple[tuple[str, ...], ...]]) -> np.ndarray:
    """A number per item, int64 [item]: equal where items share a sentence, in any language, directly or in a chain."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    columns = [column for own in texts.values() for column in own]
    n = len(columns[0])
    nodes = n + pd.factorize(np.concatenate([np.array(column, dtype=object) for column in columns]))[0]
    items = np.tile(np.arange(n), len(columns))
    size = n + len(nodes)
    graph = coo_array((np.ones(len(nodes), dtype=np.int8), (items, nodes)), shape=(size, size))
    return connected_components(graph, directed=False)[1][:n].astype(np.int64)


def _layer(value: str) -> int | str:
    return value if value in (CHOSEN, ALL) else int(value)


@dataclass(frozen=True)
class Transfer(LanguageScores):
    """Zero-shot transfer: a probe of labelled sentences or pairs is trained in the pivot and tested in all languages.

    data: files as `tasks.labelled_pairs.read` takes them. plan: its corpus is replaced by the data's sentences, the
    first ones of all items, then the second ones, whose states are kept as any corpus's.

    The items fall into `folds` parts, stratified by label, and the same in all languages; items that share a sentence
    are in one part. The first part is the pivot's validation part: where the layer is `chosen`, it is the one with most
    right answers there, of `fit` on the pivot's other parts, the lowest of equals. Every other part is tested in all
    languages by `fit` on the pivot's items outside of it. layer: a number, `chosen`, or `all`, which tests each layer
    and says which is chosen. items: a random sample of so many. penalty: see `probe.fit`.

    Raises CorpusError for the data, ExperimentError for choices that do not fit.
    """

    data: str | None = choice(None, "file or folder of labelled sentences or pairs, such as XNLI's (TSV, JSON Lines)")
    pivot: str | None = choice(None, "the language whose labels are trained on", of=str)
    data_languages: tuple[str, ...] = choice((), "languages of the data, such as en de (default: all)", of=tuple)
    items: int | None = choice(None, "a random sample of so many items (default: all)", of=int)
    state: str = state_choice("emb")
    pooling: str = pooling_choice()
    layer: int | Literal["chosen", "all"] = choice(CHOSEN, "a layer, from 0; chosen; or all", of=_layer)
    penalty: float = choice(0.01, "strength of L2, above 0")
    folds: int = choice(5, "parts of the items, 3 or more; one is for choosing the layer")
    name: ClassVar[str] = "transfer"
    metric: ClassVar[str] = "accuracy"
    needs_corpus: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data is None:
            raise ExperimentError("data is missing; give a file or folder of labelled sentences or pairs")
        if not isinstance(self.layer, str):
            check_layer(self.plan, self.state, self.layer)
        elif self.layer not in (CHOSEN, ALL):
            raise ExperimentError(f"layer is a number, {CHOSEN} or {ALL}, not {self.layer!r}")
        if not 0 < self.penalty < np.inf:
            raise ExperimentError(f"the penalty of a probe must be above 0, not {self.penalty}")
        if self.folds < 3:
            raise ExperimentError(f"transfer needs at least 3 folds, not {self.folds}")
        object.__setattr__(self, "plan", planning.on_corpus(self.plan, self._corpus(), str(self.data)))
        self._check_folds()

    @cached_property
    def labelled(self) -> LabelledTexts:
        """The data that is used."""
        path = Path(self.data)
        found = labelled_pairs.read(path, self.data_languages)
        if self.items is None or self.items == len(found.labels):
            return found
        if not 0 < self.items <= len(found.labels):
            raise ExperimentError(
                f"items is from 1 to {len(found.labels)}, the items of {found.name}; not {self.items}"
            )
        rows = np.sort(np.random.default_rng(0).choice(len(found.labels), self.items, replace=False)).tolist()
        texts = {code: tuple(tuple(c[k] for k in rows) for c in own) for code, own in found.texts.items()}
        return LabelledTexts(found.name, texts, tuple(found.labels[k] for k in rows), found.notes)

    def _corpus(self) -> Corpus:
        data, pivot = self.labelled, self.pivot or self.plan.pivot
        known, asked = list(data.texts), languages.matches(pivot, list(data.texts))
        if len(asked) != 1:
            fault = f"{pivot} may be {' or '.join(asked)}" if asked else f"{pivot} is none of the languages"
            raise ExperimentError(f"{data.name}: {fault}; give one of {some_of(known, 30)} as pivot")
        if len(known) < 2:
            raise ExperimentError(f"transfer needs at least 2 languages, and {data.name} has only {known[0]}")
        texts = {code: sum(columns, ()) for code, columns in data.texts.items()}
        rows = range(len(texts[asked[0]]))
        return Corpus(
            name=data.name,
            pivot=asked[0],
            languages=tuple(code for code in known if code != asked[0]),
            texts=texts,
            lines=tuple(row + 1 for row in rows),
            usable=tuple(rows),
            labels=None,
            findings=tuple(Finding("", "note", "info", 0, (), note) for note in data.notes),
        )

    def _check_folds(self) -> None:
        """Raise ExperimentError where a part is empty, or a label is not outside of every part."""
        counts = Counter(self.labelled.labels)
        if len(counts) < 2:
            raise ExperimentError(
                f"the items of {self.labelled.name} have only the label {next(iter(counts))!r}, not 2"
            )
        count = len(np.unique(self._groups))
        if count < self.folds:
            raise ExperimentError(
                f"the {len(self.labelled.labels)} items of {self.labelled.name} fall into {count} "
                f"{'group' if count == 1 else 'groups'} that share no sentence, fewer than the {self.folds} folds; "
                "choose fewer folds or give more items"
            )
        for part in range(self.folds):
            outside = {self.labelled.labels[k] for k in np.flatnonzero(self.fold_of != part)}
            lacking = [label for label in self.classes if label not in outside]
            if lacking or (self.fold_of != part).all():
                what = (
                    f"label {lacking[0]!r} is in one of the {self.folds} folds alone" if lacking else "a fold is empty"
                )
                raise ExperimentError(
                    f"{self.labelled.name}: {what}, since items that share a sentence stay together; choose fewer "
                    "folds or give more items"
                )

    @property
    def title(self) -> str:
        return f"transfer from {self.plan.pivot} on {self.labelled.name} in {self.plan.source.name}"

    # the task ---------------------------------------------------------------------------------------------------------

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The labels, each once, sorted."""
        return tuple(sorted(set(self.labelled.labels)))

    @cached_property
    def _numbers(self) -> np.ndarray:
        """The class of every item, int64 [item]."""
        return np.array([self.classes.index(label) for label in self.labelled.labels], dtype=np.int64)

    @cached_property
    def _groups(self) -> np.ndarray:
        return groups_of_equal(self.labelled.texts)

    @cached_property
    def fold_of(self) -> np.ndarray:
        """The part that every item is in, int64 [item]; 0 is the validation part."""
        from sklearn.model_selection import StratifiedGroupKFold

        found = np.empty(len(self._numbers), dtype=np.int64)
        splits = StratifiedGroupKFold(self.folds, shuffle=True, random_state=0)
        for part, (_, held) in enumerate(splits.split(self._numbers, self._numbers, self._groups)):
            found[held] = part
        return found

    @property
    def chance(self) -> float:
        """The accuracy of guessing every class equally often."""
        return 1 / len(self.classes)

    @property
    def majority(self) -> float:
        """The share of the most frequent class among the items that are tested."""
        tested = self._numbers[self.fold_of > 0]
        return float(np.bincount(tested).max() / len(tested))

    # parts: the layers to choose from, by number, and the languages ---------------------------------------------------

    def parts(self) -> tuple[Part, ...]:
        return (*(range(self.plan.info.layers_of(self.state)) if isinstance(self.layer, str) else ()), *self.languages)

    def group_of(self, part: Part) -> str:
        return "layers" if isinstance(part, int) else "languages"

    def content(self, part: Part) -> object:
        how = [self.state, self.pooling, self.penalty, self._numbers.tolist(), self.fold_of.tolist()]
        learnt = [how, self.reads(self.plan.pivot)]
        return [learnt, part] if isinstance(part, int) else [learnt, self.layer, self.reads(part)]

    def compute(self, part: Part, run: Run) -> Arrays:
        """`right` answers on the validation part at a layer; or a language's scores, [layer]."""
        if isinstance(part, int):
            return {"right": run.once(part, lambda: self._validate(part, run))}
        if self.layer == ALL:
            layers = range(self.plan.info.layers_of(self.state))
        else:
            layers = [self.layer if self.layer != CHOSEN else run.once("chosen", lambda: self._choose(run))]
        return mean_score(np.stack([self._right(part, layer, run) for layer in layers]))

    def _validate(self, layer: int, run: Run) -> np.ndarray:
        return np.asarray(self._fit(layer, 0, run)[1].sum())

    def _choose(self, run: Run) -> int:
        kept = {k: run.store.read(self.key_of(k)) for k in range(self.plan.info.layers_of(self.state))}
        return best_layer(
            {k: one or {"right": run.once(k, lambda k=k: self._validate(k, run))} for k, one in kept.items()}
        )

    def _fit(self, layer: int, part: int, run: Run) -> tuple[Classifier, np.ndarray]:
        """What is trained on the pivot outside a part, and which of its items it gets right in the pivot."""
        run.check()
        x = run.once(("pivot", layer), lambda: self._vectors(self.plan.pivot, layer, run))
        held = self.fold_of == part
        classifier = fit(x[~held], self._numbers[~held], self.penalty)
        return classifier, classifier.classify(x[held]) == self._numbers[held]

    def _right(self, language: str, layer: int, run: Run) -> np.ndarray:
        """Which tested items are right, float64 [item tested]."""
        trained = run.once(("trained", layer), lambda: {k: self._fit(layer, k, run)[0] for k in range(1, self.folds)})
        run.kept.pop(("pivot", layer), None)
        x = self._vectors(language, layer, run)
        right = np.zeros(len(x))
        for part, classifier in trained.items():
            held = self.fold_of == part
            right[held] = classifier.classify(x[held]) == self._numbers[held]
        return right[self.fold_of > 0]

    def _vectors(self, language: str, layer: int, run: Run) -> np.ndarray:
        """The features of every item at a layer, float64 [item, feature]."""
        with run.states(language) as reader:
            vectors = reader.sentence_vectors(language, self.state, self.pooling, layer)
        return features(*np.split(vectors, len(self.labelled.texts[language])))

    # the table --------------------------------------------------------------------------------------------------------

    def chosen_layer(self, results: Mapping[Part, Arrays]) -> int | None:
        """The layer that the pivot's validation part chose; None where it was given, or is not known yet."""
        tried = {part: one for part, one in results.items() if isinstance(part, int)}
        return best_layer(tried) if tried and len(tried) == self.plan.info.layers_of(self.state) else None

    def scores(self, results: Mapping[Part, Arrays]) -> dict[str, Arrays]:
        at = (self.chosen_layer(results) or 0) if self.layer == ALL else 0
        found = super().scores(results)
        return {c: {"score": o["score"][at], "stderr": o["stderr"][at], "n": o["n"]} for c, o in found.items()}

    def frame(self, results: Mapping[Part, Arrays]) -> pd.DataFrame:
        """A row per language and layer tested.

        Columns: language, layer, chosen (whether the validation part chose the layer), state, accuracy, stderr,
        majority, chance, n (items tested).
        """
        chosen = self.chosen_layer(results)
        rows = []
        for code, one in super().scores(results).items():
            layers = range(len(one["score"])) if self.layer == ALL else [chosen if self.layer == CHOSEN else self.layer]
            for layer, score, stderr in zip(layers, one["score"].tolist(), one["stderr"].tolist(), strict=True):
                own = (score, stderr, self.majority, self.chance, one["n"].item())
                rows.append((code, layer, layer == chosen, self.state, *own))
        names = "language layer chosen state accuracy stderr majority chance n"
        return pd.DataFrame(rows, columns=names.split())


def best_layer(tried: Mapping[int, Arrays]) -> int:
    """The layer with most right answers, the lowest of equals."""
    return max(sorted(tried), key=lambda layer: tried[layer]["right"].item())
