# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a proxy mounts out of a release's tree: it lies at one path for ever, so that a new release needs no new nginx.

``nginx_reload`` brings the files of a release there; only where there are none yet are they put there before.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from ..decide.nginx_include import FOLDER
from ..decide.project import LIVE, MARK
from .files import sync_directory
from .refusal import BadInput

_MAKING = ".evenkeel-making"


def place_first(live: Mapping[str, Mapping[str, str]], root: str) -> bool:
    """Put files of a release where a proxy mounts them from, where there are none yet.

    :param live: service → path in the tree → path it is mounted from.
    :param root: the release's folder.
    :returns: whether anything was put there.
    :raises BadInput: a file is to be where a folder is, or the other way round.
    """
    fresh = False
    for paths in live.values():
        for source, target in paths.items():
            if os.path.lexists(target):
                if os.path.isdir(target) != os.path.isdir(source):
                    raise BadInput(
                        f"{source[len(root) + 1 :]} is a {'folder' if os.path.isdir(source) else 'file'} in this revision, and "
                        f"was the other before ({target})",
                        "give it another name in the repository",
                    )
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            making = os.path.join(os.path.dirname(target), _MAKING)
            if os.path.isdir(making):
                shutil.rmtree(making)
            if os.path.isdir(source):
                shutil.copytree(source, making)
            else:
                shutil.copy2(source, making)
            os.rename(making, target)
            sync_directory(os.path.dirname(target))
            fresh = True
    return fresh


def bring(root: str, project: Mapping[str, Any], service: str, check_mode: bool) -> bool:
    """Bring a release's files to where a proxy that does not run mounts them from; returns whether any differs."""
    definition = project["services"][service]
    sources = {str(v.get("target")): str(v.get("source")) for v in definition.get("volumes") or []}
    changed = False
    for dest, content in files_of(root, project, service).items():
        target = max((t for t in sources if dest == t or dest.startswith(f"{t}/")), key=len)
        path = os.path.normpath(os.path.join(sources[target], os.path.relpath(dest, target)))
        before = None
        if os.path.isfile(path):
            with open(path, "rb") as stream:
                before = stream.read()
        if before == content:
            continue
        changed = True
        if not check_mode:
            put(path, content)
    return changed


def put(path: str, content: bytes | None) -> None:
    """Write a file so that it is whole at any moment, with the mode of the one before; None takes it away."""
    folder = os.path.dirname(path)
    if content is None:
        os.unlink(path)
    else:
        os.makedirs(folder, exist_ok=True)
        making = os.path.join(folder, _MAKING)
        with open(making, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(making, stat.S_IMODE(os.stat(path).st_mode) if os.path.exists(path) else 0o644)
        os.replace(making, path)
    sync_directory(folder)


def files_of(root: str, project: Mapping[str, Any], service: str, strangers: bool = False) -> dict[str, bytes | None]:
    """Each file that a release has for a proxy, as the proxy sees it, and None for those it does not have any more.

    What no release ever had is the server's own, such as certificates that git ignores, and stays.

    :param root: the release's folder; beside it are the others.
    :param project: its generated project.
    :param strangers: None for files as well that no release had, in folders that this one has.
    """
    definition = project["services"][service]
    sources = {str(v.get("target")): str(v.get("source")) for v in definition.get("volumes") or []}
    others = [other.path for other in os.scandir(os.path.dirname(root)) if other.path != root and other.is_dir()]
    found: dict[str, bytes | None] = {}
    for target, inside in sorted(((project.get(MARK) or {}).get(LIVE) or {}).get(service, {}).items()):
        wanted = os.path.join(root, inside)
        for name in _files_in(sources[target]):
            had = any(os.path.lexists(os.path.normpath(os.path.join(other, inside, name))) for other in others)
            if had or (strangers and os.path.lexists(wanted)):
                found[os.path.normpath(os.path.join(target, name))] = None
        for name in _files_in(wanted):
            with open(os.path.normpath(os.path.join(wanted, name)), "rb") as stream:
                found[os.path.normpath(os.path.join(target, name))] = stream.read()
    return found


def _files_in(path: str) -> Iterator[str]:
    """The files of a folder by their names in it, or ``.`` for a file; not those that we write there ourselves."""
    if not os.path.isdir(path):
        if os.path.isfile(path):
            yield "."
        return
    for folder, folders, names in os.walk(path):
        folders[:] = [n for n in folders if n != FOLDER]
        for name in names:
            full = os.path.join(folder, name)
            if not name.startswith(".evenkeel-") and stat.S_ISREG(os.stat(full).st_mode):
                yield os.path.relpath(full, path)
