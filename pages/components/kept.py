"""What is computed once per process and kept by its size, in one cache that no visitor can have cleared."""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from typing import Any, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from neuronxa_core.host import limits, process_memory

Value = TypeVar("Value")

# (function, arguments) -> (value, bytes), the one used longest ago first
_values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
_lock = threading.Lock()


def kept(spinner: str = "") -> Callable[[Callable[..., Value]], Callable[..., Value]]:
    """For a function of the position of its arguments: its values are kept by those whose names begin with a letter.

    All values together take limits.KEPT_BYTES; those used longest ago go first, and the newest one always stays. A
    function computes one value at a time. Values must be left as they are. spinner: what the page says meanwhile.
    """

    def decorate(compute: Callable[..., Value]) -> Callable[..., Value]:
        counts = [not name.startswith("_") for name in inspect.signature(compute).parameters]
        computing = threading.RLock()

        @functools.wraps(compute)
        def get(*arguments: Any) -> Value:
            chosen = itertools.compress(arguments, counts)
            key = (compute.__code__.co_filename, compute.__qualname__, *chosen)
            found = _find(key)
            if found is None:
                shows = spinner and get_script_run_ctx(suppress_warning=True) is not None
                with computing, st.spinner(spinner) if shows else nullcontext():
                    found = _find(key) or _keep(key, compute(*arguments))
            return found[0]

        return get

    return decorate


def _find(key: Hashable) -> tuple[Any, int] | None:
    with _lock:
        if key in _values:
            _values.move_to_end(key)
        return _values.get(key)


def _keep(key: Hashable, value: Any) -> tuple[Any, int]:
    sized = value, process_memory.size_of(value)
    with _lock:
        _values[key] = sized
        whole = sum(size for _, size in _values.values())
        evicts = whole > limits.KEPT_BYTES
        while whole > limits.KEPT_BYTES and len(_values) > 1:
            whole -= _values.popitem(last=False)[1][1]
    if evicts:
        process_memory.trim()
    return sized
