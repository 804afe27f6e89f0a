"""The services of this process, one of each, whatever the number of sessions."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st

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


@st.cache_resource(show_spinner=False)
def _services(folder: str, _allowed: Settings) -> Services:
    store, pool = Store(folder, _allowed.cache.limit_bytes), ModelPool(_allowed.models.loaded)
    queue = JobQueue(store, pool, _allowed.queue.waiting, _allowed.queue.waiting_a_person)
    return Services(store, pool, queue, PairScores(store))


def services() -> Services:
    """The store, the model pool and the job queue of this process, for somebody who may use them."""
    ensure_app()
    people.person()
    return _services(str(default_folder()), host_settings())
