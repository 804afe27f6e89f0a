"""TODO"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from neuronxa_core.errors import Cancelled, ExperimentError
from neuronxa_core.experiment import digest
from neuronxa_core.measures.figures import VERSION, Measured, _check_layer, _check_states
from neuronxa_core.states import computing
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store

MIDDLE, CHOSEN = "middle", "chosen"
# vectors are float32: a smaller spread, as a share of the mean, is rounding
FLAT = 1e-6
# directions of the training sentences whose variance is a smaller share of the largest one's say nothing
NO_VARIANCE = 1e-12


# Transfer ---------------------------------------------------------------------------------------------------------


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


def fit(vectors: np.ndarray, classes: np.ndarray, count: int, penalty: float) -> Classifier:
    """Multinomial logistic regression with L2, on standardised vectors.

    vectors: [sentence, width]. classes: int [sentence], each of 0 ... count - 1 at least once. What is minimised is

        (1/n) sum_i -ln softmax(z_i W + b)[class_i] + (penalty/2) sum W^2

    where z is the vectors with mean 0 and deviation 1 in every component that varies, divided by the square root of how
    many those are: a row has squared length 1 on average, so that one penalty suits all widths. A component that does
    not vary gets no weight. b is not penalised.

    The optimum lies in the span of the rows, so W is sought in the basis of their principal directions, at most n of
    them, whatever the width: exact for L2. Raises ExperimentError where the search does not converge.
    """
    n = len(vectors)
    x = np.asarray(vectors, dtype=np.float64)
    mean, spread = x.mean(axis=0), x.std(axis=0)
    varies = spread > FLAT * np.abs(mean)
    scale = np.zeros_like(spread)
    scale[varies] = 1 / (spread[varies] * np.sqrt(varies.sum()))
    z = (x - mean) * scale
    variances, directions = np.linalg.eigh(z @ z.T)
    kept = variances > NO_VARIANCE * max(variances[-1], 0)
    variances, directions = variances[kept], directions[:, kept]
    reduced = directions * np.sqrt(variances)
    own = np.eye(count)[classes]

    def log_probabilities(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """W and b as one table [direction and 1, class], and ln p [sentence, class]."""
        table = flat.reshape(-1, count)
        return table, log_softmax(reduced @ table[:-1] + table[-1], axis=1)

    def back(residual: np.ndarray, table: np.ndarray) -> np.ndarray:
        return np.vstack([reduced.T @ residual / n + penalty * table[:-1], residual.sum(axis=0) / n]).ravel()

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        table, log_p = log_probabilities(flat)
        loss = -(log_p * own).sum() / n + penalty / 2 * (table[:-1] ** 2).sum()
        return loss, back(np.exp(log_p) - own, table)

    def curvature(flat: np.ndarray, direction: np.ndarray) -> np.ndarray:
        p = np.exp(log_probabilities(flat)[1])
        table = direction.reshape(-1, count)
        change = reduced @ table[:-1] + table[-1]
        return back(p * (change - (p * change).sum(axis=1, keepdims=True)), table)

    # Newton steps, and not L-BFGS-B: its tiny matrices go through a threaded BLAS, a hundred times slower on busy cores
    start = np.zeros((len(variances) + 1) * count)
    options = {"gtol": 1e-7, "maxiter": 500}
    found = minimize(objective, start, method="trust-ncg", jac=True, hessp=curvature, options=options)
    # it may stop short of gtol where the objective can fall no further at the machine's precision
    if not np.abs(found.jac).max() < 1e-5:
        raise ExperimentError(
            f"the classifier did not converge on {n} sentences with penalty {penalty:g}; choose a larger penalty"
        )
    table = found.x.reshape(-1, count)
    weights = scale[:, None] * (z.T @ (directions / np.sqrt(variances) @ table[:-1]))
    return Classifier(weights, table[-1] - mean @ weights)


def stratified_folds(classes: np.ndarray, folds: int, generator: np.random.Generator) -> np.ndarray:
    """The fold of each sentence, int64 [sentence] from 0: random, with each class and the whole spread evenly.

    Of any class, and of all together, two folds' counts differ by 1 at most.
    """
    order = np.argsort(classes + generator.random(len(classes)), kind="stable")
    found = np.empty(len(classes), dtype=np.int64)
    found[order] = np.arange(len(classes)) % folds
    return found


@dataclass(frozen=True)
class LinearProbe:
    """Work for the queue: how well labels learnt in one language are told in every language of the plan.

    The corpus's labels are classes (a topic, say). For each of `repeats` random partitions of the sentences into
    `folds` (stratified by class), and for each fold, `fit` learns from the source language's sentences outside the
    fold and classifies every language's sentences inside it: since the sentences are parallel, none is tested whose
    translation was learnt from. Features are standardised on the learning sentences and nothing of another language is
    used to adapt, as in zero-shot transfer. A language's score is the share of right answers, averaged over the
    repeats; the source language's own score is its held-out accuracy. Its standard error is sd / sqrt(n) of the
    sentences' shares of right answers; it does not cover another choice of learning sentences.

    layer: a number, `middle` (layers // 2), or `chosen`: for each classifier the layer with the most right answers in
    an inner cross-validation (folds - 1) over its learning sentences in the source language alone, the lowest of
    equals. The other languages have no say, nor have the fold's own sentences.
    penalty: strength of L2, see `fit`; fixed, not tuned, so that no language is fitted better than another.
    Sentences without a label are left out.

    Raises ExperimentError where these do not fit each other or the labels make no task.
    """

    plan: Plan
    source_language: str
    state: str = "emb"
    pooling: str = "weighted"
    layer: int | Literal["middle", "chosen"] = MIDDLE
    penalty: float = 0.01
    folds: int = 5
    repeats: int = 5
    unit: ClassVar[str] = "steps"
    metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_states(self.state, self.pooling)
        if self.source_language not in self.plan.keys:
            raise ExperimentError(f"{self.source_language} is not a language of this experiment; choose it there first")
        if self.layer not in (MIDDLE, CHOSEN):
            _check_layer(self.plan, self.layer)
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
                f"the corpus {name} has no labels to learn; add a labels.txt with one label a line to its folder, or a "
                "column named label to its table"
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

    @property
    def languages(self) -> tuple[str, ...]:
        """Which languages are measured: all of the plan, the source language among them."""
        return self.plan.all_languages

    @cached_property
    def _numbers(self) -> np.ndarray:
        """The class of every sentence, int64 [sentence]."""
        number = {label: k for k, label in enumerate(self.classes)}
        return np.array([number[label] for label in self.labels], dtype=np.int64)

    @cached_property
    def _folds(self) -> np.ndarray:
        """The fold of every sentence in every repeat, int64 [repeat, sentence]."""
        generators = (np.random.default_rng([repeat]) for repeat in range(self.repeats))
        return np.stack([stratified_folds(self._numbers, self.folds, generator) for generator in generators])

    @property
    def _fixed_layer(self) -> int | None:
        """The layer that is read; None where it is chosen."""
        if self.layer == CHOSEN:
            return None
        return self.plan.info.layers // 2 if self.layer == MIDDLE else self.layer

    @cached_property
    def _learnt(self) -> str:
        """What decides the classifiers, their layer aside."""
        choices = [VERSION, self.state, self.pooling, self.penalty, self.folds, self.repeats, list(self.labels)]
        return digest([choices, self._read(self.source_language)])

    def _read(self, language: str) -> list:
        """Which states of a language are read."""
        return [self.plan.keys[language], self.plan.positions[language][self._labelled].tolist()]

    @cached_property
    def _keys(self) -> dict[str, str]:
        """The store's key of every language's figure: it changes exactly when the number could."""
        learnt = [self._learnt, self._fixed_layer]
        return {code: "probe-" + digest([learnt, self._read(code)]) for code in self.languages}

    def _inner_key(self, layer: int) -> str:
        return "probe-inner-" + digest([self._learnt, layer])

    @cached_property
    def key(self) -> str:
        """What decides the results: equal works share one run."""
        return digest(list(self._keys.values()))

    @property
    def title(self) -> str:
        """One line for a list of jobs."""
        return f"transfer of {len(self.classes)} labels from {self.source_language} in {self.plan.source.name}"

    def results(self, store: Store) -> dict[str, Measured]:
        """The figures that are there, by language; scores in [0, 1]."""
        kept = {code: Measured.from_json(store.get_json(self._keys[code]), 1) for code in self.languages}
        return {code: measured for code, measured in kept.items() if measured is not None}

    @property
    def units(self) -> int:
        """Languages and, where the layer is chosen, layers."""
        return len(self.languages) + (self.plan.info.layers if self.layer == CHOSEN else 0)

    def totals(self, store: Store) -> dict[str, int]:
        """Languages still to be measured and, where the layer is chosen, layers still to be tried for it."""
        lacking = len(self.languages) - len(self.results(store))
        layers = self._layers_to_try(store) if lacking else []
        return {part: count for part, count in (("layers", len(layers)), ("languages", lacking)) if count}

    def run(
        self,
        store: Store,
        pool: ModelPool,
        on_progress: Callable[[str, int, int], None] = lambda _part, _done, _all: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Measure and store what is missing; every figure is stored as soon as it is there.

        on_progress(`layers` or `languages`, how many are done, how many were lacking). The model is loaded only where
        stored states turn out damaged. Raises ExperimentError (also where states are not in the store), StoreError,
        Cancelled, and for damaged states ModelError and ExtractionError.
        """
        there = self.results(store)
        lacking = [code for code in self.languages if code not in there]
        if not lacking:
            return
        if cancelled():
            raise Cancelled("stopped before it began")

        def healed(work: Callable[[], object]) -> object:
            return computing.recompute_if_corrupt(self.plan, store, pool, work, cancelled=cancelled)

        layers = self._layers_to_try(store)
        for done, layer in enumerate(layers, start=1):
            counts = healed(lambda layer=layer: self._inner_counts(store, layer, cancelled))
            store.put_json(self._inner_key(layer), counts.tolist())
            on_progress("layers", done, len(layers))
        classifiers = healed(lambda: self._learn(store, cancelled))
        for done, code in enumerate(lacking, start=1):
            if cancelled():
                raise Cancelled(f"stopped before {code}, after {done - 1} of {len(lacking)} languages")
            measured = healed(lambda code=code: self._measure(store, code, classifiers))
            store.put_json(self._keys[code], measured.to_json())
            on_progress("languages", done, len(lacking))

    def layers_read(self, store: Store) -> dict[int, int] | None:
        """How many of the classifiers read each layer, {layer: classifiers}; None while that is not known."""
        if self.layer == CHOSEN and self._layers_to_try(store):
            return None
        return dict(sorted(Counter(self._layers(store).ravel().tolist()).items()))

    def _kept_counts(self, store: Store, layer: int) -> np.ndarray | None:
        """What `_inner_counts` gave before; None where there is none or it was damaged."""
        document = store.get_json(self._inner_key(layer))
        shape = (self.repeats, self.folds)
        try:
            counts = np.array(document)
        except ValueError:  # rows of different lengths
            return None
        return counts if counts.shape == shape and counts.dtype.kind == "i" and counts.min() >= 0 else None

    def _layers_to_try(self, store: Store) -> list[int]:
        """Layers whose inner cross-validation is not in the store; none where the layer is not chosen."""
        if self.layer != CHOSEN:
            return []
        return [layer for layer in range(self.plan.info.layers) if self._kept_counts(store, layer) is None]

    def _layers(self, store: Store) -> np.ndarray:
        """The layer of every classifier, int64 [repeat, fold]."""
        if self._fixed_layer is not None:
            return np.full((self.repeats, self.folds), self._fixed_layer)
        return np.stack([self._kept_counts(store, layer) for layer in range(self.plan.info.layers)]).argmax(axis=0)

    def _inner_counts(self, store: Store, layer: int, cancelled: Callable[[], bool]) -> np.ndarray:
        """Right answers in inner cross-validation at one layer, of the source language alone: int64 [repeat, fold]."""
        vectors = self._vectors(store, self.source_language, layer)
        counts = np.zeros((self.repeats, self.folds), dtype=np.int64)
        for repeat, fold, learnt, _ in self._splits():
            x, y = vectors[learnt], self._numbers[learnt]
            inner = stratified_folds(y, self.folds - 1, np.random.default_rng([repeat, fold]))
            for held in range(self.folds - 1):
                if cancelled():
                    raise Cancelled(f"stopped while layer {layer} was tried")
                classifier = fit(x[inner != held], y[inner != held], len(self.classes), self.penalty)
                counts[repeat, fold] += (classifier.classify(x[inner == held]) == y[inner == held]).sum()
        return counts

    def _splits(self) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """(repeat, fold, sentences to learn from, sentences to test on)."""
        for repeat, fold_of in enumerate(self._folds):
            for fold in range(self.folds):
                yield repeat, fold, np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)

    def _learn(self, store: Store, cancelled: Callable[[], bool]) -> dict[tuple[int, int], tuple[int, Classifier]]:
        """(repeat, fold) to the layer and the classifier that learnt from the source language outside the fold."""
        layers = self._layers(store)
        found = {}
        for layer in np.unique(layers).tolist():
            vectors = self._vectors(store, self.source_language, layer)
            for repeat, fold, learnt, _ in self._splits():
                if layers[repeat, fold] != layer:
                    continue
                if cancelled():
                    raise Cancelled(f"stopped while the labels were learnt in {self.source_language}")
                classifier = fit(vectors[learnt], self._numbers[learnt], len(self.classes), self.penalty)
                found[repeat, fold] = layer, classifier
        return found

    def _measure(
        self, store: Store, language: str, classifiers: dict[tuple[int, int], tuple[int, Classifier]]
    ) -> Measured:
        """A language's figure: each sentence is classified once a repeat, by the classifier that did not learn it."""
        right = np.zeros(len(self.labels))
        for layer in sorted({layer for layer, _ in classifiers.values()}):
            vectors = self._vectors(store, language, layer)
            for repeat, fold, _, tested in self._splits():
                its_layer, classifier = classifiers[repeat, fold]
                if its_layer == layer:
                    right[tested] += classifier.classify(vectors[tested]) == self._numbers[tested]
        return Measured.mean_of(right / self.repeats)

    def _vectors(self, store: Store, language: str, layer: int) -> np.ndarray:
        """The labelled sentences' vectors at one layer, float64 [sentence, neuron or hidden].

        What is stored are pooled_sums, which grow with a sentence's tokens; here that matters, and they are divided.
        """
        with StatesReader(self.plan, store, [language]) as reader:
            pooled_sums = reader.pooled_sums(language, self.state, self.pooling, layer)[self._labelled]
            tokens = reader.tokens(language)[self._labelled].astype(np.float64)
        whole = {"weighted": tokens * (tokens + 1) / 2, "mean": tokens, "last": np.ones_like(tokens)}[self.pooling]
        return pooled_sums / whole[:, None]
