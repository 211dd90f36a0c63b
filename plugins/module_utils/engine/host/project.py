# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module needs first: an engine that can be used, and the Compose project the arguments name."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from ...base.errors import BadInput
from ...operation.host.records import Records
from ...operation.host.state_folder import DEFAULT, where
from ...operation.lease import split_token
from ...operation.options import LockOptions
from .. import preflight
from ..options import ProjectOptions
from .compose import Compose
from .engine import Engine, EngineFailed

#: What an operation's record has where one of its modules has found engine and Compose new enough.
TOOLS_FIT = "tools_fit"


def _known_to_fit(lock: LockOptions) -> bool:
    """Whether an earlier module of the same operation has found them so: asking Compose costs a process each time."""
    known = split_token(lock.lock_token)
    return bool(known and lock.state_dir and Records(lock.state_dir).read(known[1]).get(TOOLS_FIT))


def connect(project_src: str, lock: LockOptions | None = None) -> Engine:
    """The engine, when it and Compose are there and new enough.

    :param lock: with it what an earlier module of the operation has found is believed.
    :raises BadInput: otherwise.
    """
    try:
        engine = Engine()
        if lock is not None and _known_to_fit(lock):
            return engine
        complaints = preflight.too_old("Docker Engine", engine.version(), preflight.ENGINE_NEEDED)
    except EngineFailed as error:
        raise BadInput(str(error)) from error
    version = Compose(project_src).version()
    if not version:
        raise BadInput(
            "docker compose (v2) is missing on this host", "install docker-compose-v2 or docker-compose-plugin"
        )
    complaints += preflight.too_old("Docker Compose", version, preflight.COMPOSE_NEEDED)
    if complaints:
        raise BadInput(complaints[0])
    return engine


def compose_of(project: ProjectOptions) -> Compose:
    """The Compose project that is named.

    :raises BadInput: a folder or file that is not there, a relative folder, a path that leaves it.
    """
    source = project.project_src
    if not os.path.isabs(source):
        raise BadInput(f"project_src {source} is relative", "write an absolute path: Compose hashes differ otherwise")
    if not os.path.isdir(source):
        raise BadInput(f"project_src {source} does not exist on this host", "see app_root and project_src")
    for option, paths in (("files", project.files), ("env_files", project.env_files)):
        for path in paths:
            if ".." in path.split("/"):
                raise BadInput(f"{option}: {path} leaves the project folder", "write a path without ..")
            if not os.path.isfile(os.path.join(source, path)):
                raise BadInput(f"{option}: {path} is not there in {source}")
    return Compose(source, project.files, project.env_files, project.profiles, project.project_name)


def state_dir_of(lock: LockOptions, project_name: str) -> str:
    """Where locks and records of a project are kept.

    :raises FilesFailed: somebody else could write there.
    """
    return where(lock.state_dir or os.path.join(DEFAULT, project_name))


def refuse_without_django(services: Collection[str], service: str) -> None:
    """Refuse a project that does not have the service of the app's Django.

    :raises BadInput: it does not.
    """
    if service not in services:
        raise BadInput(f"there is no service {service} in the project", "set app_django_service")


def image_name(project: Mapping[str, Any], name: str) -> str:
    return str(project["services"][name].get("image") or f"{project['name']}-{name}")


def names_of(name: str, service: Mapping[str, Any]) -> tuple[str, ...]:
    """The names by which other containers reach a service: its own and its network aliases."""
    aliases = [a for net in (service.get("networks") or {}).values() for a in (net or {}).get("aliases") or []]
    return tuple(dict.fromkeys([name, *aliases]))
