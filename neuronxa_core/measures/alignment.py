"""States to similarity, alignment scores and retrieval accuracy.

For n parallel sentences with vectors x_i and y_i at one layer, C[i, j] = cosine(x_i, y_j). Sentence i is aligned when
it is found in both directions, strictly:

    C[i, i] > C[i, j] and C[i, i] > C[j, i] for every j != i

and the score of the pair is the share of aligned sentences (NeuronXA, Huang et al., ACL 2025: NASCA from activation
states, NAVCA from activation values; MEXA, Kargaran et al., 2025, from hidden states). A zero vector has cosine 0 with
everything; a tie is not an alignment.

Scores do not depend on the order in which a matrix product adds up. Products run in float32; wherever the decision is
closer than a float32 product can tell, the rows in question are compared again in float64, and what is then equal
within 1e-12 counts as a tie.

The products are all that takes time: 2 n^2 width operations a language and layer. So the rest works on blocks that stay
in the processor's cache, never on whole layers: vectors of any dtype become float32 in a buffer that is used again,
their lengths divide the product instead of the vectors, and a block's decision is taken before the next one is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import ClassVar, TypeAlias

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform
from scipy.stats import norm

from neuronxa_core.errors import ExperimentError
from neuronxa_core.host.threads import side_by_side
from neuronxa_core.measures import cosine_retrieval
from neuronxa_core.measures.base import Arrays, Measure, Run, pooling_choice, state_choice
from neuronxa_core.measures.cosine_retrieval import TIE, Retrieved, _exact_cosines, retrieve
from neuronxa_core.states import planning
from neuronxa_core.states.computing import compute_missing
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.stored import LayerStates, StatesReader, taken
from neuronxa_core.store.cache import Store

# raise it whenever what is kept could change
VERSION = 3
METHODS = {"nas": "NASCA", "nav": "NAVCA", "emb": "MEXA", "hid": "MEXA as published"}
ByLanguage: TypeAlias = "np.ndarray | tuple[np.ndarray, ...]"
"""[language, layer, sentence], or of each language [layer, sentence], where each has its own sentences."""


@dataclass(frozen=True)
class Alignment:
    """Alignment of the pivot with each language, by layer, with one state and one pooling.

    src2trg, trg2src: [language, layer, sentence] bool, pivot to language and language to pivot. mutual: of the same
    shape, which sentence of the language is the pivot sentence's mutual nearest neighbour; -1 for none. Where each
    language has its own sentences of the pivot, they are tuples of [layer, sentence], one per language.
    """

    languages: tuple[str, ...]
    src2trg: ByLanguage
    trg2src: ByLanguage
    mutual: ByLanguage

    @property
    def own_sentences(self) -> bool:
        """Whether each language has its own sentences."""
        return isinstance(self.src2trg, tuple)

    @property
    def aligned(self) -> ByLanguage:
        """Sentences found in both directions, [language, layer, sentence] bool."""
        if self.own_sentences:
            return tuple(one & other for one, other in zip(self.src2trg, self.trg2src, strict=True))
        return self.src2trg & self.trg2src

    @property
    def counts(self) -> np.ndarray:
        """How many sentences of each language are compared, [language]."""
        return np.array([one.shape[-1] for one in self.src2trg])

    @property
    def n_sentences(self) -> int:
        """How many sentences are compared; the fewest where each language has its own."""
        return int(self.counts.min()) if self.own_sentences else self.src2trg.shape[2]

    @property
    def score(self) -> np.ndarray:
        """[language, layer] in [0, 1]."""
        return _shares(self.aligned)

    @property
    def retrieval_src2trg(self) -> np.ndarray:
        """Retrieval accuracy from the pivot to the language, [language, layer] in [0, 1]."""
        return _shares(self.src2trg)

    @property
    def retrieval_trg2src(self) -> np.ndarray:
        """Retrieval accuracy from the language to the pivot, [language, layer] in [0, 1]."""
        return _shares(self.trg2src)

    def only(self, codes: Sequence[str]) -> Alignment:
        """The alignment of some of the languages."""
        at = [self.languages.index(code) for code in codes]
        kept = (
            tuple(one[k] for k in at) if self.own_sentences else one[at]
            for one in (self.src2trg, self.trg2src, self.mutual)
        )
        return Alignment(tuple(codes), *kept)

    def pooled(self, how: str = "mean") -> np.ndarray:
        """The model's score of each language, layers pooled by `mean` or `max`: [language] in [0, 1]."""
        return pool_layers(self.score, how)


def _shares(found: ByLanguage) -> np.ndarray:
    """The share of sentences that are found, [language, layer]."""
    return np.stack([one.mean(axis=-1) for one in found]) if isinstance(found, tuple) else found.mean(axis=-1)


def pool_layers(scores: np.ndarray, how: str) -> np.ndarray:
    """Pool the last axis, layers, by `mean` or `max`."""
    if how not in ("mean", "max"):
        raise ExperimentError(f"layers are pooled by mean or max, not by {how!r}")
    return scores.mean(axis=-1) if how == "mean" else scores.max(axis=-1)


def chance_level(n: int | np.ndarray) -> float | np.ndarray:
    """The score of vectors that know nothing of each other: 1 / (2n - 1).

    C[i, i] has to be the largest of the 2n - 1 cells of its row and column, each equally likely to be it.
    """
    return 1 / (2 * n - 1)


def random_pairing_level(
    mutual: ByLanguage, layer_pooling: str | None = None, *, draws: int = 1000, seed: int = 0
) -> np.ndarray:
    """The mean score over random pairings of the same vectors: chance with the hubs that they have.

    mutual: [..., layer, sentence], see `Retrieved`. A pairing gives x_i a y_j at random, and they are aligned where
    j = mutual[i]: over all pairings the mean is m / n^2 for m mutual neighbours, exactly. Of [..., layer], or of [...]
    where layers are pooled by `mean` or `max`; for `max`, the mean over so many pairings that the layers share. A tuple
    of them gives all that stacked.
    """
    if isinstance(mutual, tuple):
        return np.stack([random_pairing_level(one, layer_pooling, draws=draws, seed=seed) for one in mutual])
    n = mutual.shape[-1]
    by_layer = (mutual >= 0).mean(axis=-1) / n
    if layer_pooling != "max":
        return by_layer if layer_pooling is None else pool_layers(by_layer, layer_pooling)
    pairings = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (draws, 1)), axis=1)
    return np.mean([pool_layers((mutual == paired).mean(axis=-1), "max") for paired in pairings], axis=0)


def resampling_weights(n: int, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each of n sentences is drawn in each resample, [resample, sentence] float32; rows sum to n."""
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return draws.astype(np.float32)


def bootstrap(
    aligned: ByLanguage, layer_pooling: str | None = None, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval of the score over sentences; Wilson's where the score is 0 or 1.

    aligned: [..., layer, sentence] bool. Returns (low, high) of [..., layer], or of [...] where layers are pooled by
    `mean` or `max`: all layers share a resample, and `max` picks its layer anew in each. That biases `max` upwards: its
    interval can lie above the score itself. What is resampled is which sentences count; each still has to be found
    among all n, so that duplicates in a resample cause no ties. A tuple of them gives all that stacked.
    """
    if isinstance(aligned, tuple):
        each = [bootstrap(one, layer_pooling, level=level, resamples=resamples, seed=seed) for one in aligned]
        return tuple(map(np.stack, zip(*each, strict=True)))
    n = aligned.shape[-1]
    weights = resampling_weights(n, resamples, seed)
    means = aligned.astype(np.float32) @ weights.T / n
    if layer_pooling is not None:
        means = pool_layers(np.moveaxis(means, -1, -2), layer_pooling)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=-1)
    # a score that no resample changes is not certain: Wilson (JASA 22, 1927) of 0 or n out of n
    score = aligned.mean(axis=-1) if layer_pooling is None else pool_layers(aligned.mean(axis=-1), layer_pooling)
    end = (z := norm.isf(tail) ** 2) / (n + z)
    return np.where(score == 1, 1 - end, low), np.where(score == 0, end, high)


@dataclass(frozen=True)
class Match:
    """What sentence `row` of x finds in y and what finds it, by number; -1 where there is a tie for the best.

    margin: the cosine of the translation less that of the nearest wrong sentence, in either direction.
    """

    row: int
    status: str
    best_in_y: int
    best_in_x: int
    margin: float


def matches(x: np.ndarray, y: np.ndarray) -> Iterator[Match]:
    """Every sentence's nearest neighbours at one layer, for x and y of [n, width].

    status: `aligned`, `missed` (found in neither direction), `x to y only` or `y to x only`.
    best_in_y is the sentence of y that is nearest to x_row, best_in_x the sentence of x nearest to y_row.
    """
    exact = _exact_cosines(x, y)
    found = retrieve(x, y[None])
    margins = np.minimum(*(cosine_retrieval.leads(exact, axis) for axis in (0, 1)))

    def best(cosines: np.ndarray) -> int:
        order = np.argsort(-cosines, kind="stable")
        return -1 if cosines[order[0]] - cosines[order[1]] <= TIE else int(order[0])

    names = {(True, True): "aligned", (True, False): "x to y only", (False, True): "y to x only"}
    for i in range(len(x)):
        status = names.get((bool(found.src2trg[0, i]), bool(found.trg2src[0, i])), "missed")
        yield Match(i, status, best(exact[i]), best(exact[:, i]), float(margins[i]))


def hierarchical_order(scores: np.ndarray) -> list[int]:
    """An order of languages that puts like ones side by side: average linkage on 1 - score.

    Leaves are turned by scipy's optimal_leaf_ordering, which is not always the optimum that its name promises (scipy
    issue 11227); the clusters stay together either way.

    scores: [language, language], symmetric, in [0, 1].
    """
    if len(scores) < 3:
        return list(range(len(scores)))
    distances = 1 - (scores + scores.T) / 2
    np.fill_diagonal(distances, 0)
    condensed = squareform(distances, checks=False)
    return [int(k) for k in leaves_list(optimal_leaf_ordering(linkage(condensed, "average"), condensed))]


# what layers that are compared side by side may hold of states, in bytes as float32
CHUNK_BYTES = 512 << 20
# languages that are compared before their scores are kept, at least, and products and sums of some 3 s on two cores
GROUP, GROUP_PRODUCTS = 16, 400_000_000_000


@dataclass(frozen=True)
class AlignmentScores(Measure):
    """Alignment of every language with the pivot by layer: NASCA, NAVCA or MEXA, and retrieval in each direction."""

    state: str = state_choice()
    pooling: str = pooling_choice()
    name: ClassVar[str] = "alignment"
    version: ClassVar[int] = VERSION
    unit: ClassVar[str] = "languages"
    needs_shared: ClassVar[bool] = False
    instant: ClassVar[bool] = True

    def parts(self) -> tuple[str, ...]:
        return self.plan.languages

    def content(self, part: str) -> object:
        of_part = replace(self, plan=planning.of_pair(self.plan, self.plan.pivot, part))
        return [self.state, self.pooling, of_part.reads(self.plan.pivot, part)]

    @property
    def at_once(self) -> int:
        """How many languages are compared at a time: whole steps of `retrieve`, so that no bit depends on it."""
        plan, n = self.plan, len(self.plan.corpus.usable or self.plan.corpus.lines)
        values = plan.info.width_of(self.state) * plan.info.layers_of(self.state)
        step = cosine_retrieval.languages_at_once(n)
        return step * max(-(-GROUP // step), GROUP_PRODUCTS // (2 * n**2 * values * step))

    def compute_all(self, parts: Sequence[str], run: Run) -> Iterator[tuple[str, Arrays]]:
        for start in range(0, len(parts), self.at_once):
            yield from self._compare(parts[start : start + self.at_once], run)

    def _compare(self, parts: Sequence[str], run: Run) -> Iterator[tuple[str, Arrays]]:
        """Some languages at once, layers side by side: states stream by layer and language."""
        plan, pivot = self.plan, self.plan.pivot
        groups = {(part,): planning.of_pair(plan, pivot, part) for part in parts}
        if not plan.corpus.own_sentences:
            groups = {tuple(parts): plan}
        width = plan.info.width_of(self.state)
        # of each layer the pivot, its unit rows and one language
        at_once = max(1, CHUNK_BYTES // (3 * 4 * len(plan.corpus.usable or plan.corpus.lines) * width))
        with ExitStack() as stack:
            of_pivot = stack.enter_context(run.states(pivot))
            readers = [stack.enter_context(StatesReader(group, run.store, codes)) for codes, group in groups.items()]

            def compare(layer: int) -> list[Retrieved]:
                run.check()
                block = of_pivot.block(pivot, self.state, self.pooling, layer)
                buffer = of_pivot.buffer(self.state, self.pooling)
                return [
                    cosine_retrieval.retrieve(
                        taken(block, group.positions[pivot]),
                        LayerStates(reader, codes, self.state, self.pooling, layer, buffer),
                    )
                    for (codes, group), reader in zip(groups.items(), readers, strict=True)
                ]

            layers = list(side_by_side(compare, plan.info.layers_of(self.state), at_once))
            opened = zip(groups, readers, strict=True)
            truncated = {code: reader.truncated(code) for codes, reader in opened for code in codes}
            cut = of_pivot.truncated(pivot)
        names = ("src2trg", "trg2src", "mutual")
        for number, codes in enumerate(groups):
            found = {name: np.stack([getattr(one[number], name) for one in layers], axis=1) for name in names}
            for k, part in enumerate(codes):
                arrays = {name: array[k] for name, array in found.items()}
                yield part, {**arrays, "truncated": np.array([truncated[part], cut])}

    def alignment(self, results: Mapping[str, Arrays]) -> Alignment:
        """The results as one array over the languages that are there."""
        there = tuple(part for part in self.parts() if part in results)
        names, stacked = ("src2trg", "trg2src", "mutual"), tuple if self.plan.corpus.own_sentences else np.stack
        return Alignment(there, *(stacked([results[part][name] for part in there]) for name in names))

    def frame(self, results: Mapping[str, Arrays]) -> pd.DataFrame:
        """A row per language and layer.

        Columns: state, pooling, language, layer, n_sentences, n_truncated (sentences of the language that were cut at
        the model's limit), score, retrieval_src2trg, retrieval_trg2src, chance (`random_pairing_level`).
        """
        tables = []
        for part, arrays in results.items():
            src2trg, trg2src = arrays["src2trg"], arrays["trg2src"]
            tables.append(
                pd.DataFrame(
                    {
                        "state": self.state,
                        "pooling": self.pooling,
                        "language": part,
                        "layer": np.arange(len(src2trg)),
                        "n_sentences": src2trg.shape[1],
                        "n_truncated": arrays["truncated"][0],
                        "score": (src2trg & trg2src).mean(axis=1),
                        "retrieval_src2trg": src2trg.mean(axis=1),
                        "retrieval_trg2src": trg2src.mean(axis=1),
                        "chance": random_pairing_level(arrays["mutual"]),
                    }
                )
            )
        return pd.concat(tables, ignore_index=True)


def scores_key(plan: Plan, state: str, pooling: str) -> str:
    """What decides the plan's alignment with a state and a pooling."""
    return AlignmentScores(plan, state, pooling).key


def align(plan: Plan, store: Store, state: str, pooling: str) -> Alignment:
    """Alignment of the pivot with every language at all layers, from stored states; itself kept in the store.

    Raises CorruptEntry where a stored block turns out damaged.
    """
    measure = AlignmentScores(plan, state, pooling)
    return measure.alignment(measure.run(store))


def align_without_keeping(
    plan: Plan,
    store: Store,
    pool: ModelPool,
    states: Sequence[str],
    pooling: str,
    on_progress: Callable[[str, int, int], None] = lambda _language, _done, _all: None,
) -> None:
    """Compute the plan's alignments into the store, and no states: a language's are dropped once it is compared.

    The pivot's states and one language's at a time lie in a folder beside the store's entries, which is removed at the
    end. A language whose alignment is in the store is not computed again. on_progress(language, sentences done,
    sentences of the language). Raises NeuronXAError.
    """
    with TemporaryDirectory(prefix="scratch-", dir=store.folder, ignore_cleanup_errors=True) as folder:
        scratch = Store(folder)
        read = planning.with_only(plan, [f"{state}_{pooling}" for state in states])
        try:
            for language in plan.languages:
                part = planning.restrict(read, [language])
                todo = [m for s in dict.fromkeys(states) if (m := AlignmentScores(part, s, pooling)).missing(store)]
                if not todo:
                    continue
                compute_missing(part, scratch, pool, notes=store, on_progress=on_progress)
                for measure in todo:
                    for done, arrays in measure.run(scratch).items():
                        store.put(measure.key_of(done), arrays, measure.meta(done))
                        scratch.drop(measure.key_of(done))
                if language != plan.pivot:
                    for key in read.entries(language).values():
                        scratch.drop(key)
        finally:
            scratch.close()


def pair_alignment(plan: Plan, store: Store, x: str, y: str, state: str, pooling: str) -> Alignment:
    """Alignment of language x with y at all layers, from stored states."""
    with StatesReader(planning.of_pair(plan, x, y), store, [x, y]) as reader:
        layers = [
            cosine_retrieval.retrieve(mine, [other])
            for layer in range(plan.info.layers_of(state))
            for mine, other in [[reader.vectors(code, state, pooling, layer) for code in (x, y)]]
        ]
    stacked = (np.stack([getattr(one, name) for one in layers], axis=1) for name in ("src2trg", "trg2src", "mutual"))
    return Alignment((y,), *stacked)
