# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of the guard in a folder of the target: all of it, or what was there before."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from typing import Any

from ...base.errors import BadInput
from ...base.host import runtime

_PACKAGE = "evenkeel"
_WRITING, _BEFORE = ".writing", ".before"


def install(path: str, check_mode: bool) -> dict[str, Any]:
    """Bring the code to a folder.

    :raises BadInput: the folder cannot be written.
    """
    path = os.path.normpath(path)
    wanted = {
        os.path.join(_PACKAGE, f"{name.replace('.', '/')}.py"): text.encode()
        for name, text in runtime.sources().items()
    }
    try:
        if not check_mode:
            _tidy(path)
        changed = not _is_there(path, wanted)
        if changed and not check_mode:
            _write(path, wanted)
    except OSError as error:
        raise BadInput(
            f"{error.filename or path} cannot be written: {error.strerror}", "run with become: true, or make room there"
        ) from error
    return {"changed": changed, "path": path, "msg": f"{len(wanted)} files in {path}"}


def _is_there(path: str, wanted: Mapping[str, bytes]) -> bool:
    """Whether a folder has just these files, and nobody but its owner can change any."""
    mine = os.geteuid()
    found = set()
    for parent, folders, names in os.walk(path):
        for name in (".", *folders, *names):
            about = os.lstat(os.path.join(parent, name))
            if about.st_uid != mine or about.st_mode & 0o022 or stat.S_ISLNK(about.st_mode):
                return False
        found |= {os.path.relpath(os.path.join(parent, name), path) for name in names}
    return found == set(wanted) and all(_read(os.path.join(path, name)) == text for name, text in wanted.items())


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def _tidy(path: str) -> None:
    """Take away what a killed call has left; where the folder itself is missing, what was there before takes its place again."""
    if os.path.isdir(path + _BEFORE) and not os.path.lexists(path):
        os.rename(path + _BEFORE, path)
    for left in (path + _WRITING, path + _BEFORE):
        if os.path.lexists(left):
            shutil.rmtree(left)


def _write(path: str, wanted: Mapping[str, bytes]) -> None:
    """Write all of it beside the folder, and let it take its place; a guard that runs has read what it needs."""
    writing, before = path + _WRITING, path + _BEFORE
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    os.mkdir(writing, 0o755)
    for name in sorted(wanted):
        file = os.path.join(writing, name)
        os.makedirs(os.path.dirname(file), 0o755, exist_ok=True)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as stream:
            stream.write(wanted[name])
    for parent, _folders, names in os.walk(writing):
        # Whatever umask this runs with: systemd's guard reads it as another user may.
        for entry, mode in ((parent, 0o755), *((os.path.join(parent, n), 0o644) for n in names)):
            os.chmod(entry, mode)
    if os.path.lexists(path):
        os.rename(path, before)
    os.rename(writing, path)
    if os.path.lexists(before):
        shutil.rmtree(before)
