# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in a container's own layer, read where the kernel keeps it.

The engine answers ``docker diff`` by comparing all files of the container with all of its image: half a second of processor for
each, taken from those who are served.  The layer itself has what differs and nothing else
(https://docs.kernel.org/filesystems/overlayfs.html).  What is rare in it is left to the engine.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_DRIVER = "overlay2"
#: What else an entry may mean than what it looks like: a folder that hides what is below it, or has another name there.
_RARE = (".opaque", ".redirect", ".metacopy", ".whiteout", ".whiteouts")
_SYS_ADMIN = 21


class _Rare(Exception):
    """There is something that only the engine should judge."""


def changed_paths(graph_driver: Mapping[str, Any]) -> dict[str, str] | None:
    """Paths in a container's own layer and how they differ from its image: added, changed, removed.

    Folders that the image has too are not among them; a file that was written and is the same as before may be.

    :param graph_driver: ``GraphDriver`` of the container's inspection.
    :returns: None where only the engine can tell: another driver, no right to look, a folder that was replaced.
    """
    data = graph_driver.get("Data") or {}
    own, below = str(data.get("UpperDir") or ""), str(data.get("LowerDir") or "")
    if graph_driver.get("Name") != _DRIVER or not own or not below or not _may_see_all():
        return None
    return in_layer(own, below.split(":"))


def in_layer(own: str, below: Sequence[str]) -> dict[str, str] | None:
    """The same of a layer's folder over those ``below`` it, the topmost first."""
    image = _Image(below)
    found: dict[str, str] = {}
    try:
        if not os.path.isdir(own):
            return None
        for path, entry in _entries(os.fsencode(own)):
            known = image.has(path)
            name = "/" + path.decode("utf-8", "replace")
            if _is_whiteout(entry):
                # One of what no layer has any more hides nothing.
                found.update({name: "removed"} if known else {})
            elif known is None:
                found[name] = "added"
            elif stat.S_ISDIR(entry.st_mode) != stat.S_ISDIR(known.st_mode):
                raise _Rare
            elif not stat.S_ISDIR(entry.st_mode):
                found[name] = "changed"
    except (OSError, _Rare):
        return None
    return found


def _may_see_all() -> bool:
    """Whether this process reads attributes that only the kernel's administrator does: without them a folder may lie."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        (word,) = [line.split()[1] for line in stream if line.startswith("CapEff:")]
    return os.geteuid() == 0 and bool(int(word, 16) >> _SYS_ADMIN & 1)


def _is_whiteout(entry: os.stat_result) -> bool:
    return stat.S_ISCHR(entry.st_mode) and entry.st_rdev == 0


def _refuse_rare(path: bytes) -> None:
    if any(name.endswith(_RARE) and ".overlay." in name for name in os.listxattr(path, follow_symlinks=False)):
        raise _Rare


def _entries(root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Everything in a layer, by its path without the leading slash; what goes away meanwhile is left out."""
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        top = os.path.join(root, folder)
        try:
            _refuse_rare(top)
            names = os.listdir(top)
        except FileNotFoundError:
            continue
        for name in names:
            path = os.path.join(folder, name)
            try:
                entry = os.lstat(os.path.join(top, name))
                if stat.S_ISDIR(entry.st_mode):
                    waiting.append(path)
                elif not _is_whiteout(entry):
                    _refuse_rare(os.path.join(top, name))
            except FileNotFoundError:
                continue
            yield path, entry


class _Image:
    """The layers below a container's own, the topmost first."""

    def __init__(self, layers: Sequence[str]) -> None:
        self._layers = [os.fsencode(layer) for layer in layers]
        self._folders: dict[bytes, list[bytes]] = {b"": self._layers}

    def has(self, path: bytes) -> os.stat_result | None:
        """What the image has at a path; None where it has nothing."""
        for layer in self._with(os.path.dirname(path)):
            try:
                entry = os.lstat(os.path.join(layer, path))
            except FileNotFoundError:
                continue
            return None if _is_whiteout(entry) else entry
        return None

    def _with(self, folder: bytes) -> list[bytes]:
        """The layers in which a folder is seen."""
        if folder not in self._folders:
            seen = []
            for layer in self._with(os.path.dirname(folder)):
                whole = os.path.join(layer, folder)
                try:
                    entry = os.lstat(whole)
                except FileNotFoundError:
                    continue
                if not stat.S_ISDIR(entry.st_mode):
                    break
                seen.append(layer)
                marks = [name for name in os.listxattr(whole, follow_symlinks=False) if ".overlay." in name]
                if any(name.endswith(".redirect") for name in marks):
                    raise _Rare
                if any(name.endswith(".opaque") for name in marks):
                    break
            self._folders[folder] = seen
        return self._folders[folder]
