"""What every measure has in common: from a plan and its choices to parts that are kept, to a tidy table.

A measure says what its parts are (languages, pairs, layers), what decides a part's numbers, how they are computed and
how they become a table. Keys, what is missing, progress, cancelling, resuming, damaged entries and the options of the
command line come from here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import Field, dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, Self, TypeAlias, TypeVar

import numpy as np
import pandas as pd

from neuronxa_core.errors import Cancelled, ExperimentError
from neuronxa_core.experiment import CHOICES, digest
from neuronxa_core.models.description import LoadedModel
from neuronxa_core.states import planning
from neuronxa_core.states.computing import compute_missing, recompute_if_corrupt
from neuronxa_core.states.planning import Plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store

Part: TypeAlias = "str | int | tuple"
"""What is computed and kept by itself: a language, a layer, a pair."""
Arrays: TypeAlias = "dict[str, np.ndarray]"
"""A part's numbers by name."""
T = TypeVar("T")
# multiplications that a page may wait for
QUICK = 1e10


def choice(default: Any, says: str, among: Sequence[str] = (), of: type | None = None, optional: bool = False) -> Any:
    """A field of a measure that is an option of the command line too.

    says: its help. among: the values it can have. of: its type, where the default does not tell; a tuple takes several
    values. A field named `data` is a path, and must be given unless it is optional.
    """
    return field(default=default, metadata={"says": says, "among": tuple(among), "type": of, "optional": optional})


def state_choice(default: str = "nas") -> Any:
    """The representation: nas, nav or emb."""
    return choice(default, "representation: " + ", ".join(CHOICES["state"]), CHOICES["state"])


def pooling_choice(default: str = "weighted") -> Any:
    """The token pooling: weighted, last or mean."""
    return choice(default, "token pooling: " + ", ".join(CHOICES["pooling"]), CHOICES["pooling"])


@dataclass
class Run:
    """What a measure computes with.

    loaded: the plan's model, where the measure needs it. kept: for what several parts share, by any name.
    """

    plan: Plan
    store: Store
    cancelled: Callable[[], bool]
    loaded: LoadedModel | None = None
    on_units: Callable[[int], None] = lambda _done: None
    """Units of the part at work that are done so far."""
    kept: dict[Any, Any] = field(default_factory=dict)

    def states(self, *languages: str) -> StatesReader:
        """The stored states of some languages, or of all; a context that closes them."""
        return StatesReader(self.plan, self.store, languages or None)

    def check(self) -> None:
        """Raise Cancelled where the run was asked to stop."""
        if self.cancelled():
            raise Cancelled("stopped; what was finished is kept")

    def once(self, name: Any, make: Callable[[], T]) -> T:
        """make(), called for the first part that asks for it only."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]


@dataclass(frozen=True)
class Measure:
    """A computation on a plan, part by part.

    A subclass is a frozen dataclass whose fields are its choices (see `choice`) and whose docstring's first line says
    what it measures. It sets `name`, raises `version` whenever its numbers could change, and defines `parts`,
    `content`, `compute` and `frame`.

    needs: `states` where it reads stored states, `model`, `head` or `masked` where it runs the model (with its
    language-model head, or the one that predicts masked tokens), `nothing` otherwise. needs_corpus: whether the plan's
    corpus plays a part. instant: whether it takes no longer than a page may. needs_shared: whether all languages need
    the same sentences, and not only each of them those of the pivot.
    """

    plan: Plan
    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    unit: ClassVar[str] = "parts"
    needs: ClassVar[Literal["states", "model", "head", "masked", "nothing"]] = "states"
    needs_corpus: ClassVar[bool] = True
    needs_shared: ClassVar[bool] = True
    instant: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.needs_corpus and self.needs_shared:
            planning.check_shared(self.plan, f"The measure {self.name.replace('_', ' ')}")
        for one in options(type(self)):
            among, chosen = one.metadata["among"], getattr(self, one.name)
            for value in chosen if isinstance(chosen, tuple) else (chosen,):
                if among and value not in among:
                    raise ExperimentError(f"{one.name} is one of {', '.join(among)}, not {value!r}")

    # what a measure defines -------------------------------------------------------------------------------------------

    def parts(self) -> Sequence[Part]:
        """What is computed and kept one by one, in the order of the table."""
        raise NotImplementedError

    def content(self, part: Part) -> object:
        """What decides a part's numbers, name and version aside, as JSON can say it; see `reads`."""
        raise NotImplementedError

    def compute(self, part: Part, run: Run) -> Arrays:
        """A part's numbers. Raises NeuronXAError."""
        raise NotImplementedError

    def frame(self, results: Mapping[Part, Arrays]) -> pd.DataFrame:
        """The tidy table of the parts that are there: a row an observation."""
        raise NotImplementedError

    def compute_all(self, parts: Sequence[Part], run: Run) -> Iterator[tuple[Part, Arrays]]:
        """Each part with its numbers; for measures that compute several parts at once faster than one by one."""
        for part in parts:
            run.check()
            yield part, self.compute(part, run)

    @classmethod
    def make(cls, plan: Plan, store: Store, pool: ModelPool, **choices: Any) -> Self:
        """The measure as the command line and notebooks ask for it; for measures that find some choices themselves."""
        return cls(plan, **choices)

    @classmethod
    def extra_states(cls, plan: Plan) -> tuple[str, ...]:
        """Stored states `<state>_<pooling>` that are read whatever is chosen, besides `nas_weighted`."""
        return ()

    @property
    def needed(self) -> Plan:
        """The plan with the states that are read."""
        chosen = f"{getattr(self, 'state', 'nas')}_{getattr(self, 'pooling', 'weighted')}"
        return planning.with_states(self.plan, (chosen, *self.extra_states(self.plan)))

    def units_of(self, part: Part) -> int:
        """How many units of work a part is."""
        return 1

    def group_of(self, part: Part) -> str:
        """Under which heading the progress of a part is counted."""
        return self.unit

    @property
    def title(self) -> str:
        """One line for a list of jobs."""
        return f"{self.name.replace('_', ' ')} in {self.plan.source.name}"

    @property
    def note(self) -> str:
        """What the command line says of the choices, on stderr; mostly nothing."""
        return ""

    # what the base does -----------------------------------------------------------------------------------------------

    def reads(self, *languages: str) -> list:
        """Which states of which sentences of some languages are read: for `content`."""
        return [[self.plan.keys[code], self.plan.positions[code].tolist()] for code in languages]

    def choices(self) -> dict[str, Any]:
        """The choices by name."""
        return {one.name: getattr(self, one.name) for one in options(type(self))}

    def key_of(self, part: Part) -> str:
        """The store's key of a part: it changes exactly when the numbers could."""
        return f"{self.name}-" + digest([self.version, self.content(part)])

    @cached_property
    def key(self) -> str:
        """What decides all numbers: equal measures share one run."""
        return digest([self.key_of(part) for part in self.parts()])

    @property
    def units(self) -> int:
        """Units of the whole work."""
        return sum(map(self.units_of, self.parts()))

    def missing(self, store: Store) -> list[Part]:
        """The parts that are not in the store."""
        return [part for part in self.parts() if self.key_of(part) not in store]

    def totals(self, store: Store) -> dict[str, int]:
        """Units that are still to do, by group; empty where everything is in the store."""
        return self._units_by_group(self.missing(store))

    def _units_by_group(self, parts: Sequence[Part]) -> dict[str, int]:
        found: Counter[str] = Counter()
        for part in parts:
            found[self.group_of(part)] += self.units_of(part)
        return dict(found)

    def results(self, store: Store) -> dict[Part, Arrays]:
        """The parts that are in the store."""
        kept = ((part, store.read(self.key_of(part))) for part in self.parts())
        return {part: arrays for part, arrays in kept if arrays is not None}

    def run(
        self,
        store: Store,
        pool: ModelPool | None = None,
        on_progress: Callable[[str, int, int], None] = lambda _group, _done, _all: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> dict[Part, Arrays]:
        """Compute what is missing, keep each part as soon as it is there, and return all parts.

        on_progress(group, units done, units that were missing). Without a pool, states that are not stored are not
        computed. Raises NeuronXAError, and Cancelled between two parts.
        """
        results = self.results(store)
        missing = [part for part in self.parts() if part not in results]
        if not missing:
            return results
        if cancelled():
            raise Cancelled("stopped before it began")
        if self.needs == "states" and pool is not None:
            compute_missing(self.needed, store, pool, cancelled=cancelled)
        totals = self._units_by_group(missing)
        done = dict.fromkeys(totals, 0)

        def on_units(count: int) -> None:
            group = self.group_of(waiting[0])
            on_progress(group, done[group] + count, totals[group])

        waiting = list(missing)
        run = Run(self.plan, store, cancelled, on_units=on_units)
        keep = store.put if self.needs in ("model", "head", "masked") else store.try_put

        def compute_waiting() -> None:
            for part, arrays in self.compute_all(list(waiting), run):
                keep(self.key_of(part), arrays, self.meta(part))
                results[part] = arrays
                waiting.remove(part)
                group = self.group_of(part)
                done[group] += self.units_of(part)
                on_progress(group, done[group], totals[group])

        with ExitStack() as stack:
            if self.needs in ("model", "head", "masked"):
                head = "masked" if self.needs == "masked" else self.needs == "head"
                run.loaded = stack.enter_context(pool.acquire(self.plan, head=head))
            if self.needs == "states" and pool is not None:
                recompute_if_corrupt(self.needed, store, pool, compute_waiting, cancelled=cancelled)
            else:
                compute_waiting()
        return {part: results[part] for part in self.parts()}

    def table(self, store: Store) -> pd.DataFrame:
        """The tidy table of what is in the store. Raises ExperimentError where nothing is."""
        results = self.results(store)
        if not results:
            raise ExperimentError(f"nothing of this was computed yet: {self.title}; run it first")
        return self.frame(results)

    def meta(self, part: Part) -> dict:
        """What the cache's report says of a part."""
        about = {"kind": self.name, "model": self.plan.source.name, "corpus": self.plan.corpus.name}
        return {**about, "language": part} if part in self.plan.keys else about


def options(kind: type[Measure]) -> list[Field]:
    """A measure's choices, as its fields name them."""
    return [one for one in fields(kind) if one.metadata]
