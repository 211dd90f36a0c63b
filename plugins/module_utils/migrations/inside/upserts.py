# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container: whether its code names unique columns in INSERT … ON CONFLICT, as far as files tell.

Django does so for ``bulk_create(update_conflicts=True, unique_fields=…)`` alone, and what is not in the app's own files and
those of its apps does not know the app's columns.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from collections.abc import Iterator

#: What such code cannot do without, in Django, in SQL, or with a package that does it.
_SIGNS = re.compile(rb"update_conflicts|on_conflict|ON\s+CONFLICT|upsert", re.IGNORECASE)
#: Folders of a project that hold no code of the app which serves; migrations are judged by themselves.
_NO_CODE = {"site-packages", "dist-packages", "node_modules", "migrations", "__pycache__", "venv"}
#: Files that are looked at at most; an app has some thousand, and a folder of uploads may have a million.
MOST_FILES = 100_000


@functools.cache
def found() -> str:
    """Where the app may upsert, as ``file:line``, or why that is not known; empty where it does not."""
    try:
        return _found()
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"


def _found() -> str:
    seen = 0
    for folder in sorted(_folders()):
        own = 0
        for path in _files(folder):
            seen += 1
            if seen > MOST_FILES:
                return f"{folder} has too many files to look for it"
            if path.endswith(".py"):
                own += 1
                with open(path, "rb") as stream:
                    text = stream.read()
                sign = _SIGNS.search(text)
                if sign:
                    line = text[: sign.start()].count(b"\n") + 1
                    return f"{path}:{line}"
        if not own:
            return f"{folder} has no sources"
    return ""


def _folders() -> set[str]:
    """The project's own folder, and those of its apps but Django's; none that is within another."""
    from django.apps import apps
    from django.conf import settings

    folders = {os.path.realpath(c.path) for c in apps.get_app_configs() if not c.name.startswith("django.")}
    module = getattr(settings, "SETTINGS_MODULE", None)
    spec = importlib.util.find_spec(module.partition(".")[0]) if module else None
    if spec and spec.origin:
        top = os.path.dirname(os.path.realpath(spec.origin))
        # Of a package the folder that it is in, where the rest of the project is; not of one that is installed.
        project = os.path.dirname(top) if spec.submodule_search_locations else top
        folders.add(top if os.path.basename(project) in _NO_CODE or project == os.sep else project)
    return {f for f in folders if not any(f.startswith(other + os.sep) and _is_within(f, other) for other in folders)}


def _is_within(folder: str, other: str) -> bool:
    """Whether a walk through another folder comes by it."""
    return not _NO_CODE & set(os.path.relpath(folder, other).split(os.sep))


def _files(folder: str) -> Iterator[str]:
    for place, folders, files in os.walk(folder, onerror=_give_up):
        folders[:] = [f for f in folders if f not in _NO_CODE and not f.startswith(".")]
        yield from (os.path.join(place, name) for name in files)


def _give_up(error: OSError) -> None:
    raise error
