"""The services of this process, one of each, whatever the number of sessions."""

from __future__ import annotations

import threading
from typing import NamedTuple

from neuronxa_core.host.settings import Settings
from neuronxa_core.jobs.job_queue import JobQueue
from neuronxa_core.measures.all_pairs import PairScores
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store, default_folder
from pages.access import people
from pages.access.host import host_settings
from pages.components.navigation import ensure_app


class Services(NamedTuple):
    """One of each per process, whatever the number of sessions."""

    store: Store
    pool: ModelPool
    queue: JobQueue
    pairs: PairScores


# by cache folder; not in a cache of Streamlit's, which visitors can have cleared
_made: dict[str, Services] = {}
_making = threading.Lock()


def _services(folder: str, allowed: Settings) -> Services:
    with _making:
        if folder not in _made:
            store = Store(folder, allowed.cache.limit_bytes, allowed.cache.kept_days)
            pool = ModelPool(allowed.models.loaded)
            queue = JobQueue(store, pool, allowed.queue.waiting, allowed.queue.waiting_a_person)
            _made[folder] = Services(store, pool, queue, PairScores(store))
        return _made[folder]


def services() -> Services:
    """The store, the model pool and the job queue of this process, for somebody who may use them."""
    ensure_app()
    people.person()
    return _services(str(default_folder()), host_settings())


def close() -> None:
    """Before the process ends: stop what runs between two batches; the next server lists it as interrupted."""
    for made in _made.values():
        made.queue.close()
        made.store.close()
