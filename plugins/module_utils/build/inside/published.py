# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What both ways of publishing files share.  Runs inside containers: sent as text, standard library only.

A folder of live files has a private ``.evenkeel`` beside them: what a publication replaced, and per publisher and
release the list of its files, so that those of releases that are gone can go too, and nothing else ever does.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable
from typing import Any

PRIVATE = ".evenkeel"


def keep(live: str, backup: str, relative: str) -> None:
    """Keep what is live for the way back; what was kept first stays."""
    kept = os.path.join(backup, relative)
    if os.path.lexists(live) and not os.path.lexists(kept):
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        os.link(live, kept, follow_symlinks=False)


def install(source: str, live: str) -> None:
    """Move one file into place, atomically."""
    os.makedirs(os.path.dirname(live), exist_ok=True)
    os.replace(source, live)


def load(path: str) -> Any:
    """A JSON value, an empty object where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return {}


def dump(path: str, value: Any) -> None:
    """Write a JSON value, whole or not at all."""
    with open(path + ".part", "w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(path + ".part", path)


def sync(paths: Iterable[str]) -> None:
    """Have the names of files on the disk, where their folders are there."""
    for folder in {os.path.dirname(path) for path in paths}:
        if os.path.isdir(folder):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(handle)
            os.close(handle)


def drop(path: str) -> None:
    """Remove a file where there is one."""
    if os.path.lexists(path):
        os.unlink(path)


def clear(folder: str) -> None:
    """Remove a folder and what is in it, where there is one."""
    if os.path.isdir(folder):
        shutil.rmtree(folder)


def files_in(folder: str) -> list[str]:
    """Every file and link below a folder, relative to it, sorted."""
    found = []
    for base, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(base, name))]
        found += [os.path.relpath(os.path.join(base, name), folder) for name in [*names, *links]]
    return sorted(found)


def has_list(root: str, publisher: str, release: str) -> bool:
    """Whether a release's files are written down."""
    return os.path.exists(os.path.join(root, PRIVATE, "lists", publisher, f"{release}.json"))


def write_list(root: str, publisher: str, release: str, files: Iterable[str]) -> None:
    """Write down which files are a release's, before the first of them is moved."""
    folder = os.path.join(root, PRIVATE, "lists", publisher)
    os.makedirs(folder, exist_ok=True)
    dump(os.path.join(folder, f"{release}.json"), sorted(files))


def prune(root: str, living: Iterable[str]) -> list[str]:
    """Remove the files that only releases which are gone have on a list, and those lists; returns the files.

    :param living: the releases that there still are; none at all means that nobody knows.
    """
    alive, folder = set(living), os.path.join(root, PRIVATE, "lists")
    dead: dict[str, set[str]] = {}
    kept: set[str] = set()
    for relative in files_in(folder) if alive else ():
        release, end = os.path.splitext(os.path.basename(relative))
        if end == ".json":
            names = {str(name) for name in load(os.path.join(folder, relative))}
            if release in alive:
                kept |= names
            else:
                dead[relative] = names
    removed = []
    for relative, names in dead.items():
        try:
            removed += [name for name in sorted(names - kept) if _remove(root, name)]
            drop(os.path.join(folder, relative))
        except OSError as error:
            # Tidying up fails no publication; the list stays, so the next one tries again.
            sys.stdout.write(f"could not be taken away: {error}\n")
    return removed


def _remove(root: str, relative: str) -> bool:
    if os.path.isabs(relative) or {"..", PRIVATE} & set(relative.split("/")):
        return False
    path = os.path.join(root, relative)
    if not os.path.lexists(path) or (os.path.isdir(path) and not os.path.islink(path)):
        return False
    os.unlink(path)
    folder = os.path.dirname(path)
    while folder != root and not os.listdir(folder):
        os.rmdir(folder)
        folder = os.path.dirname(folder)
    return True
