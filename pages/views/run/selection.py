"""What the Run page hands to its views, and the widgets that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from neuronxa_core.errors import NeuronXAError
from neuronxa_core.experiment import CHOICES, Experiment
from neuronxa_core.host.settings import Settings


@dataclass(frozen=True)
class RunSelection:
    """before: the experiment with which the page was entered, where the widgets start. allowed: by the host."""

    before: Experiment
    allowed: Settings

    def choice(
        self, widget: Callable, label: str, name: str, offered: Sequence[str] | None = None, **options: object
    ) -> str:
        """One of the experiment's fixed choices."""
        offered = list(offered or CHOICES[name])
        value = getattr(self.before, name)
        return widget(
            label, offered, index=offered.index(value) if value in offered else 0, key=f"run_{name}", **options
        )

    def found(self) -> tuple[list[str], list[str]]:
        """Models and corpora below the host's folders, looked for once a minute."""
        folders = (self.allowed.models.folders, self.allowed.corpora.folders)
        return _found_below(tuple(tuple(map(str, some or ())) for some in folders), self.allowed)


@st.cache_data(ttl=60, show_spinner="Looking for models and corpora …")
def _found_below(folders: tuple[tuple[str, ...], ...], _allowed: Settings) -> tuple[list[str], list[str]]:
    return _allowed.models_found(), _allowed.corpora_found()


def kind_choice(label: str, kinds: Mapping[str, Collection[str] | None], value: str, fallback: str, key: str) -> str:
    """Which kind of model or corpus; at first the one whose names hold the value, else `fallback`, else the first.

    kinds: the names of each kind; a kind without any is not offered, and None stands for names that cannot be listed.
    """
    offered = [kind for kind, names in kinds.items() if names is None or len(names)]
    start = next((kind for kind in offered if value in (kinds[kind] or ())), fallback)
    return st.segmented_control(
        label, offered, default=start if start in offered else offered[0], required=True, key=key
    )


def name_choice(label: str, names: Sequence[str], value: str, key: str, **options: object) -> str:
    """One of some names, at first the value."""
    return st.selectbox(label, names, index=names.index(value) if value in names else 0, key=key, **options)


def allows(asks: Callable[[str], object], name: str) -> bool:
    """Whether the host allows a name."""
    try:
        asks(name)
    except NeuronXAError:
        return False
    return True


def end_of(path: str) -> str:
    """The end of a path, which tells one from another."""
    return "/".join(Path(path).parts[-2:])
