"""How long a run takes: by the pace of the last one of the same model, dtype and device, which the store keeps."""

from __future__ import annotations

import math
from collections.abc import Iterable

from neuronxa_core.experiment import digest
from neuronxa_core.states.planning import Plan, missing, missing_bytes
from neuronxa_core.store.cache import Store
from neuronxa_core.wording import counted, duration, size

# a shorter run tells little: it does not replace what a longer one told
LEAST_SECONDS = 1.0


def seconds_of(plan: Plan, store: Store) -> float | None:
    """About how long the states that are missing will take, the loading of the model among it.

    0 where nothing is missing; None where the model was not run on this device yet, as far as the store knows.
    """
    lacking = missing(plan, store)
    known = _known(plan, store)
    if not lacking or known is None:
        return None if lacking else 0.0
    per_byte, loading = known
    return loading + per_byte * _bytes(plan, lacking)


def keep(plan: Plan, store: Store, languages: Iterable[str], seconds: float, loading: float | None) -> None:
    """Note how long the states of some languages took, and the model's loading; None where it was loaded already."""
    known = _known(plan, store)
    if known is None or seconds >= LEAST_SECONDS:
        before = known[1] if known else 0.0
        store.try_put_json(
            _key(plan), [seconds / max(1, _bytes(plan, languages)), before if loading is None else loading]
        )


def summary(plan: Plan, store: Store, kept: bool = True) -> str:
    """What a run will compute, what that takes on disk where it is kept, and how long, such as

    3 languages to compute, about 24.1 MB on disk, exact, about 12 s at the pace of this model's last run
    """
    said = [f"{counted(len(missing(plan, store)), 'language')} to compute"]
    if kept:
        how = "exact" if plan.storage == "exact" else "NAV and EMB in 16 bits (storage half)"
        said.append(f"about {size(missing_bytes(plan, store))} on disk, {how}")
    if (seconds := seconds_of(plan, store)) is not None:
        said.append(f"about {duration(seconds)} at the pace of this model's last run")
    return ", ".join(said)


def _key(plan: Plan) -> str:
    return "pace-" + digest([plan.identity, plan.dtype, plan.device])


def _known(plan: Plan, store: Store) -> tuple[float, float] | None:
    """(seconds per byte of text, seconds of loading); None where there is no such document."""
    try:
        per_byte, loading = map(float, store.get_json(_key(plan)))
    except (TypeError, ValueError):
        return None
    return (per_byte, loading) if math.isfinite(per_byte + loading) else None


def _bytes(plan: Plan, languages: Iterable[str]) -> int:
    """Bytes of the languages' sentences in UTF-8, which tokens follow better than sentences do."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for code in languages for text in plan.sentences(code))
