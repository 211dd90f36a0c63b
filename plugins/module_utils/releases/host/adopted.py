# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of a stack that was taken over: from where it ran, and what stays there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ...base.host.files import read_json, sync_directory, write_private
from ...engine.definition import GENERATED
from ...engine.host.compose import Compose
from ...engine.host.engine import Engine
from ...engine.host.inspection import HASH_LABEL, PROJECT_LABEL, SERVICE_LABEL, label_of
from ...engine.host.project import state_dir_of
from ...engine.jobs import jobs_of
from ...operation.host.journal import working
from ...operation.options import LockOptions
from .store import Store

_RECORD = "adopted.json"
#: In a release's own folder: how it comes back once what was started by hand is gone.
RETURNING = os.path.join(".evenkeel", "returning.json")


def record(state_dir: str) -> dict[str, Any]:
    """What was taken over, empty where nothing was: ``release folder files places data images made``."""
    return read_json(os.path.join(state_dir, _RECORD))


def write(state_dir: str, about: Mapping[str, Any]) -> None:
    """Remember it."""
    write_private(os.path.join(state_dir, _RECORD), json.dumps(about, indent=1, sort_keys=True) + "\n")


def forget(state_dir: str) -> None:
    """Remember it no longer."""
    os.unlink(os.path.join(state_dir, _RECORD))
    sync_directory(state_dir)


def files(state_dir: str) -> frozenset[str]:
    """The Compose files that it was started from."""
    return frozenset(str(f) for f in record(state_dir).get("files") or [])


def waiting(store: Store) -> list[str]:
    """Releases whose containers were started by hand and have been replaced since: these come back as releases do."""
    current = store.current()
    return [
        r.id for r in store.all() if r.id != current and os.path.exists(os.path.join(store.path_of(r.id), RETURNING))
    ]


def make_ready_to_return(store: Store, release: str) -> None:
    """Let a release be what it is when it comes back: images by its own names, mounted files from copies of its own."""
    path = store.path_of(release)
    os.replace(os.path.join(path, RETURNING), os.path.join(path, GENERATED))
    sync_directory(path)


def see_to_return(path: str, lock: LockOptions, service_options: Mapping[str, Any]) -> bool:
    """Make a release ready to come back where a failed update has already removed what was started by hand.

    As long as all of it runs, it is wanted just as it is.

    :param path: the folder of the release.
    :returns: whether that was done.
    """
    if not os.path.exists(os.path.join(path, RETURNING)):
        return False
    project = read_json(os.path.join(path, GENERATED))
    name = str(project.get("name"))
    # Of a job nothing runs, and what is left of it somebody may have pruned.
    jobs = jobs_of(project, service_options)
    built = {s for s, definition in (project.get("services") or {}).items() if definition.get("build")} - {*jobs}
    hashes = Compose(path, project_name=name).hashes(project)
    containers = Engine().containers({PROJECT_LABEL: name})
    there = {label_of(i, SERVICE_LABEL) for i in containers if label_of(i, HASH_LABEL) in hashes.values()}
    if all(service in there for service in built):
        return False
    state_dir = state_dir_of(lock, name)
    with (
        working(lock, state_dir, f"compose_rolling of {name}") as fence,
        fence.act("make it ready to come back"),
    ):
        os.replace(os.path.join(path, RETURNING), os.path.join(path, GENERATED))
        sync_directory(path)
    return True
