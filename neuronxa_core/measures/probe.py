"""How well labels learnt in one language are told in the others: a linear probe of the sentence vectors."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures.base import Arrays, Part, Run, choice, pooling_choice, state_choice
from neuronxa_core.measures.language_scores import LanguageScores, check_layer, mean_score

MIDDLE, CHOSEN = "middle", "chosen"
# vectors are float32: a smaller spread, as a share of the mean, is rounding
FLAT = 1e-6
# directions of the training sentences whose variance is a smaller share of the largest one's say nothing
NO_VARIANCE = 1e-12


@dataclass(frozen=True)
class Classifier:
    """A linear classifier of vectors: the class of x is where x @ weights + bias is largest, the first of equals.

    weights: float64 [width, class]. bias: float64 [class].
    """

    weights: np.ndarray
    bias: np.ndarray

    def classify(self, vectors: np.ndarray) -> np.ndarray:
        """The class of each vector of [sentence, width], int64 [sentence]."""
        return (vectors @ self.weights + self.bias).argmax(axis=1)


def fit(vectors: np.ndarray, classes: np.ndarray, penalty: float) -> Classifier:
    """Multinomial logistic regression with L2, on standardised vectors, by scikit-learn.

    vectors: [sentence, width]. classes: int [sentence], each of 0 ... at least once. What is minimised is

        (1/n) sum_i -ln softmax(z_i W + b)[class_i] + (penalty/2) sum W^2

    where z is the vectors with mean 0 and deviation 1 in every component that varies, divided by the square root of how
    many those are: a row has squared length 1 on average, so that one penalty suits all widths. A component that does
    not vary gets no weight. b is not penalised.

    The optimum lies in the span of the rows, so W is sought in the basis of their principal directions, at most n of
    them, whatever the width: exact for L2. Raises ExperimentError where the search does not converge.
    """
    # seconds that only a run needs: not at the top
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    n, count = len(vectors), int(classes.max()) + 1
    x = np.asarray(vectors, dtype=np.float64)
    mean, spread = x.mean(axis=0), x.std(axis=0)
    varies = spread > FLAT * np.abs(mean)
    scale = np.zeros_like(spread)
    scale[varies] = 1 / (spread[varies] * np.sqrt(varies.sum()))
    z = (x - mean) * scale
    variances, directions = np.linalg.eigh(z @ z.T)
    kept = variances > NO_VARIANCE * max(variances[-1], 0)
    lengths = np.sqrt(variances, out=np.zeros(n), where=kept)
    # of two classes scikit-learn fits one vector w, where softmax has w / 2 and -w / 2: half the sum of squares
    strength = (2 if count == 2 else 1) / (n * penalty)
    model = LogisticRegression(C=strength, solver="newton-cg", tol=1e-9, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(directions * lengths, classes)
        except ConvergenceWarning:
            raise ExperimentError(
                f"the classifier did not converge on {n} sentences with penalty {penalty:g}; choose a larger penalty"
            ) from None
    found, bias = model.coef_, model.intercept_
    if count == 2:
        found, bias = np.vstack([-found, found]) / 2, np.concatenate([-bias, bias]) / 2
    inverse = np.divide(1, lengths, out=np.zeros(n), where=kept)
    weights = scale[:, None] * (z.T @ (directions * inverse @ found.T))
    return Classifier(weights, bias - mean @ weights)


def _layer(value: str) -> int | str:
    return value if value in (MIDDLE, CHOSEN) else int(value)


@dataclass(frozen=True)
class LinearProbe(LanguageScores):
    """Accuracy of labels that are learnt in one language and told in every language of the plan.

    Zero-shot transfer in the manner of XNLI (Conneau et al., EMNLP 2018). The corpus's labels are classes (a topic,
    say). For each of `repeats` random partitions of the sentences into `folds` (stratified by class), and for each
    fold, `fit` learns from the source language's sentences outside the fold and classifies every language's sentences
    inside it: since the sentences are parallel, none is tested whose translation was learnt from. Features are
    standardised on the learning sentences and nothing of another language is used to adapt. A language's score is the
    share of right answers, averaged over the repeats; the source language's own score is its held-out accuracy. Its
    standard error is sd / sqrt(n) of the sentences' shares of right answers; it does not cover another choice of
    learning sentences.

    layer: a number, `middle` (layers // 2), or `chosen`: for each classifier the layer with the most right answers in
    an inner cross-validation (folds - 1) over its learning sentences in the source language alone, the lowest of
    equals. The other languages have no say, nor have the fold's own sentences.
    penalty: strength of L2, see `fit`; fixed, not tuned, so that no language is fitted better than another.
    Sentences without a label are left out.

    Raises ExperimentError where these do not fit each other or the labels make no task.
    """

    source_language: str | None = choice(None, "language whose labels are learnt (default: the pivot)", of=str)
    state: str = state_choice("emb")
    pooling: str = pooling_choice()
    layer: int | Literal["middle", "chosen"] = choice(
        MIDDLE, "a layer, from 0; middle; or chosen, by cross-validation in the source language", of=_layer
    )
    penalty: float = choice(0.01, "strength of L2, above 0")
    folds: int = choice(5, "parts of the cross-validation, 2 or more")
    repeats: int = choice(5, "random partitions, 1 or more")
    name: ClassVar[str] = "probe"
    version: ClassVar[int] = 2
    metric: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "source_language", self.source_language or self.plan.pivot)
        if self.source_language not in self.plan.keys:
            raise ExperimentError(f"{self.source_language} is not a language of this experiment; choose it there first")
        if self.layer not in (MIDDLE, CHOSEN):
            check_layer(self.plan, self.state, self.layer)
        if not 0 < self.penalty < np.inf:
            raise ExperimentError(f"the penalty of a probe must be above 0, not {self.penalty}")
        least = 3 if self.layer == CHOSEN else 2
        if self.folds < least:
            raise ExperimentError(f"a probe needs at least {least} folds, not {self.folds}")
        if self.repeats < 1:
            raise ExperimentError(f"a probe needs at least 1 repeat, not {self.repeats}")
        self._check_labels()

    def _check_labels(self) -> None:
        name = self.plan.corpus.name
        if self.plan.corpus.labels is None:
            raise ExperimentError(
                f"the corpus {name} has no labels to learn; add a labels.txt with one label per line to its folder, or "
                "a column named label to its table"
            )
        counts = Counter(self.labels)
        if len(counts) < 2:
            there = f"only the label {next(iter(counts))!r}" if counts else "no label"
            raise ExperimentError(
                f"the {len(self.plan.corpus.usable)} sentences of corpus {name} that are compared have {there}; a "
                "probe needs at least 2 classes"
            )
        rarest = min(sorted(counts), key=counts.__getitem__)
        if counts[rarest] < self.folds:
            raise ExperimentError(
                f"label {rarest!r} of corpus {name} has {counts[rarest]} sentences, fewer than the {self.folds} folds; "
                "choose fewer folds, more sentences, or merge rare labels"
            )

    @property
    def title(self) -> str:
        return f"transfer of {len(self.classes)} labels from {self.source_language} in {self.plan.source.name}"

    # the task ---------------------------------------------------------------------------------------------------------

    @cached_property
    def _labelled(self) -> np.ndarray:
        """Which of the usable sentences have a label, [sentence]."""
        labels = self.plan.corpus.labels
        return np.array([k for k, row in enumerate(self.plan.corpus.usable) if labels[row].strip()], dtype=np.int64)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The label of every sentence that is classified."""
        usable = self.plan.corpus.usable
        return tuple(self.plan.corpus.labels[usable[k]].strip() for k in self._labelled)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The labels, each once, sorted."""
        return tuple(sorted(set(self.labels)))

    @property
    def chance(self) -> float:
        """The accuracy of guessing every class equally often."""
        return 1 / len(self.classes)

    @property
    def majority(self) -> float:
        """The share of the most frequent class: the accuracy of always answering that."""
        return max(Counter(self.labels).values()) / len(self.labels)

    @cached_property
    def _numbers(self) -> np.ndarray:
        """The class of every sentence, int64 [sentence]."""
        return np.array([self.classes.index(label) for label in self.labels], dtype=np.int64)

    @cached_property
    def _splits(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(sentences to learn from, sentences to test on) of every classifier, repeat by repeat."""
        from sklearn.model_selection import RepeatedStratifiedKFold

        folds = RepeatedStratifiedKFold(n_splits=self.folds, n_repeats=self.repeats, random_state=0)
        return list(folds.split(self._numbers, self._numbers))

    # parts: the languages and, where the layer is chosen, the layers to try, by number --------------------------------

    @property
    def _fixed_layer(self) -> int | None:
        """The layer that is read; None where it is chosen."""
        if self.layer == CHOSEN:
            return None
        return self.plan.info.layers_of(self.state) // 2 if self.layer == MIDDLE else self.layer

    def parts(self) -> tuple[Part, ...]:
        return (*(range(self.plan.info.layers_of(self.state)) if self._fixed_layer is None else ()), *self.languages)

    def group_of(self, part: Part) -> str:
        return "layers" if isinstance(part, int) else "languages"

    def content(self, part: Part) -> object:
        how = [self.state, self.pooling, self.penalty, self.folds, self.repeats, list(self.labels)]
        learnt = [how, self._read(self.source_language)]
        return [learnt, part] if isinstance(part, int) else [learnt, self._fixed_layer, self._read(part)]

    def _read(self, language: str) -> list:
        """Which states of a language are read."""
        return [self.plan.keys[language], self.plan.positions[language][self._labelled].tolist()]

    def compute(self, part: Part, run: Run) -> Arrays:
        """A layer's right answers in inner cross-validation, `right` [classifier]; or a language's score."""
        if isinstance(part, int):
            return {"right": run.once(part, lambda: self._try_layer(part, run))}
        classifiers = run.once("classifiers", lambda: self._learn(run))
        right = np.zeros(len(self.labels))
        # each sentence is classified once per repeat, by the classifier that did not learn it
        for layer in sorted({layer for layer, _ in classifiers}):
            vectors = self._vectors(run, part, layer)
            for (its_layer, classifier), (_, tested) in zip(classifiers, self._splits, strict=True):
                if its_layer == layer:
                    right[tested] += classifier.classify(vectors[tested]) == self._numbers[tested]
        return mean_score(right / self.repeats)

    def _layers(self, right: Mapping[int, np.ndarray]) -> np.ndarray:
        """The layer of every classifier, [classifier], by what `_try_layer` gave at each."""
        if self._fixed_layer is not None:
            return np.full(self.repeats * self.folds, self._fixed_layer)
        return np.stack([right[layer] for layer in range(self.plan.info.layers_of(self.state))]).argmax(axis=0)

    def _try_layer(self, layer: int, run: Run) -> np.ndarray:
        """Right answers in inner cross-validation at one layer, of the source language alone: int64 [classifier]."""
        from sklearn.model_selection import StratifiedKFold

        vectors = self._vectors(run, self.source_language, layer)
        right = np.zeros(len(self._splits), dtype=np.int64)
        for k, (learnt, _) in enumerate(self._splits):
            x, y = vectors[learnt], self._numbers[learnt]
            for inner, held in StratifiedKFold(self.folds - 1, shuffle=True, random_state=k).split(x, y):
                run.check()
                right[k] += (fit(x[inner], y[inner], self.penalty).classify(x[held]) == y[held]).sum()
        return right

    def _learn(self, run: Run) -> list[tuple[int, Classifier]]:
        """Each classifier with the layer that it read, of the source language outside the fold."""
        tried = {k: run.once(k, lambda k=k: self._tried(k, run)) for k in self.parts() if isinstance(k, int)}
        layers = self._layers(tried)
        found: dict[int, tuple[int, Classifier]] = {}
        for layer in np.unique(layers).tolist():
            vectors = self._vectors(run, self.source_language, layer)
            for k in np.flatnonzero(layers == layer).tolist():
                run.check()
                learnt, _ = self._splits[k]
                found[k] = layer, fit(vectors[learnt], self._numbers[learnt], self.penalty)
        return [found[k] for k in range(len(self._splits))]

    def _tried(self, layer: int, run: Run) -> np.ndarray:
        kept = run.store.read(self.key_of(layer))
        return self._try_layer(layer, run) if kept is None else kept["right"]

    def _vectors(self, run: Run, language: str, layer: int) -> np.ndarray:
        """The labelled sentences' vectors at one layer, float64 [sentence, neuron or hidden]."""
        with run.states(language) as reader:
            return reader.sentence_vectors(language, self.state, self.pooling, layer)[self._labelled]
