"""How much visitors may hold in this process's memory by uploading, counted where requests arrive.

Streamlit keeps a file that was sent to its upload address, with or without a widget that asked for it, until it is
deleted there or its session ends, which is long after its page was closed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import runtime

from neuronxa_core.errors import SettingsError
from neuronxa_core.host.limits import MIB
from neuronxa_core.host.process_memory import trim
from pages.access import host

log = logging.getLogger(__name__)

ADDRESS = "/_stcore/upload_file/"
# what an empty file takes
FILE_BYTES = 4096
# so long a page can lose its connection and go on; Streamlit forgets the session, but not its uploads, after 120
RECONNECT_SECONDS = 100
# session -> who sends files to it; visitor -> bytes that are on their way
_sender: dict[str, str] = {}
_coming: Counter[str] = Counter()


def held() -> dict[str, int]:
    """Bytes of the uploads that are in memory, by session."""
    stored = runtime.get_instance().uploaded_file_mgr.file_storage if runtime.exists() else {}
    return {
        session: sum(len(file.data) + FILE_BYTES for file in list(files.values()))
        for session, files in list(stored.items())
    }


async def counted(app: ASGIApp, path: str, who: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request to the upload address; a file that is too much for its visitor or for the host is refused."""
    session = path.removeprefix(ADDRESS).partition("/")[0]
    arrived = 0

    async def receive_counted() -> Message:
        nonlocal arrived
        message = await receive()
        size = len(message.get("body", b""))
        arrived, _coming[who] = arrived + size, _coming[who] + size
        _check(who)
        return message

    try:
        await app(scope, receive_counted, send)
    finally:
        _coming[who] -= arrived
        _sender[session] = who
        for gone in _sender.keys() - held().keys():
            del _sender[gone]


def _check(who: str) -> None:
    """Raise HTTPException, which the app answers, where a visitor or all together hold too much."""
    try:
        allowed = host.of_visitors().uploads
    except SettingsError as problem:
        raise HTTPException(503, "The host's settings cannot be read.") from problem
    kept = held()
    own = sum(size for session, size in kept.items() if _sender.get(session) == who)
    for size, most, whose in (
        (own + _coming[who], allowed.memory_mib_a_person, "of yours"),
        (sum(kept.values()) + _coming.total(), allowed.memory_mib, "of all visitors"),
    ):
        if size > most * MIB:
            log.warning("refused an upload: %d MiB %s would be in memory", size // MIB, whose)
            raise HTTPException(413, f"Uploads {whose} may take {most:,} MiB; remove some, or try again later.")


def page_closed() -> None:
    """After a page's connection ended: unless it comes back, what it uploaded is given back."""
    if gone := [session for session in held() if not runtime.get_instance().is_active_session(session)]:
        asyncio.get_running_loop().call_later(RECONNECT_SECONDS, _give_back, gone)


def _give_back(sessions: Collection[str]) -> None:
    app = runtime.get_instance()
    for session in sessions:
        if not app.is_active_session(session):
            app.close_session(session)
            app.uploaded_file_mgr.remove_session_files(session)
    gc.collect()
    trim()
