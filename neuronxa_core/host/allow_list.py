"""Which paths and hub ids are allowed: real paths below the host's folders, and patterns of ids."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from neuronxa_core.errors import NotAllowed
from neuronxa_core.host import limits
from neuronxa_core.wording import some_of

ANY = "*"

Folders = tuple[Path, ...] | None
"""Folders below which everything may be read; None for any."""


def within(text: str, folders: tuple[Path, ...]) -> Path | None:
    """The real path, all links followed, that a text names; None where it is not below one of the folders.

    The text is compared before any link is followed, so that nothing outside the folders is looked for.
    """
    path = Path(text)
    if len(text) > limits.PATH_LETTERS or "\0" in text or text.startswith("~") or ".." in path.parts:
        return None
    try:
        if not _is_below(path.absolute(), folders):
            return None
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a ring, names that no file system takes
        return None
    return real if _is_below(real, folders) else None


def _is_below(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def check_links(path: Path, folders: tuple[Path, ...], named: str, depth: int | None = None) -> None:
    """Raise NotAllowed where a link somewhere below a real path leads out of the folders.

    named: the path as the visitor wrote it. depth: how many folders deep it is read, None for all. The hub's cache
    keeps its files beside `snapshots` in `blobs`, and links to them: these links are allowed.
    """
    for number, entry in enumerate(_entries(path, depth)):
        if number >= limits.LINKS_LOOKED_FOR:
            raise NotAllowed(f"{named:.200} holds more than {limits.LINKS_LOOKED_FOR:,} files; choose a folder in it")
        if not entry.is_symlink():
            continue
        link = Path(entry.path)
        try:
            target = link.resolve()
        except (OSError, RuntimeError):  # a ring of links leads nowhere
            continue
        if not _is_below(target, folders) and not _is_of_the_hub(link, target):
            raise NotAllowed(
                f"{link.name} in {named:.200} is a link that leads out of the folders that the host of this app "
                "allows; put a copy there in its place"
            )


def _is_of_the_hub(link: Path, target: Path) -> bool:
    """Whether a link lies in models--…/snapshots/<commit>/ and leads to models--…/blobs/."""
    repository = next((parent.parent for parent in link.parents if parent.name == "snapshots"), None)
    return (
        repository is not None
        and repository.name.startswith(("models--", "datasets--"))
        and target.parent == repository / "blobs"
    )


def _entries(top: Path, depth: int | None) -> Iterator[os.DirEntry]:
    """Everything below a folder, links not followed; nothing for a file. What cannot be read is left out."""
    todo = [(top, 0)]
    while todo:
        folder, deep = todo.pop()
        try:
            with os.scandir(folder) as found:
                entries = list(found)
        except OSError:
            continue
        yield from entries
        if depth is None or deep < depth:
            todo += [(Path(entry.path), deep + 1) for entry in entries if entry.is_dir(follow_symlinks=False)]


def below(folders: Folders, of_folder: Callable[[Path], Iterable[Path]]) -> list[str]:
    """What `of_folder` finds in the folders and those below, links not followed, at most limits.OFFERED."""
    looked, found = 0, []
    todo = [(folder, 0) for folder in dict.fromkeys(folder.resolve() for folder in folders or ())]
    while todo and looked < limits.LOOKED_THROUGH and len(found) < limits.OFFERED:
        folder, depth = todo.pop(0)
        looked += 1
        try:
            here = list(of_folder(folder))
            inner = sorted(Path(e.path) for e in os.scandir(folder) if e.is_dir(follow_symlinks=False))
        except OSError:
            continue
        found += map(str, here)
        if depth < limits.OFFERED_DEPTH and folder not in here:
            todo += [(one, depth + 1) for one in inner if not one.name.startswith(".")]
    return sorted(dict.fromkeys(found))[: limits.OFFERED]


def matches(identity: str, patterns: Iterable[str]) -> bool:
    """Whether a hub id is one of the patterns: * stands for anything but a slash, and alone for anything."""
    owner, _, name = identity.partition("/")
    for pattern in patterns:
        of_owner, _, of_name = pattern.partition("/")
        if pattern == ANY or (fnmatchcase(owner, of_owner) and fnmatchcase(name, of_name)):
            return True
    return False


def offered(folders: Folders, hub: tuple[str, ...] = ()) -> str:
    """What may be chosen instead, in words; folders by their names only."""
    if folders == () and not hub:
        return "choose the bundled one"
    named = [f"what lies in {some_of(dict.fromkeys(folder.name for folder in folders), 5)}"] if folders else []
    named += [f"{some_of(hub, 5)} of the hub"] if hub else []
    return "choose " + " or ".join(named or ["one of this machine's folders"])
