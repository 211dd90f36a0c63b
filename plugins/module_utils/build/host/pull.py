# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the images that nothing here builds, from their registries, before anything that serves is touched."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ...base.errors import BadInput
from ...base.host import known_secrets
from ...base.host.directory_handles import open_file
from ...engine.host.engine import Engine, EngineFailed
from ...engine.host.image_pull import pull
from ...operation.host.journal import Fence
from ...operation.host.progress import SILENT, Progress
from ..pulls import BadRegistry, Login, explained, from_registry, login_of, may_move, registry_of

# Seconds for one image; a registry may be far away.
_PATIENCE = 1800.0
# Characters of a password file that are read.
_LONGEST = 64 * 1024


@dataclass(frozen=True)
class Pulled:
    """What came, or would.

    :ivar images: names of images that were not here, or are others now.
    """

    images: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def login_from(given: Mapping[str, Any]) -> Login | None:
    """The login of ``app_registry``, its password read from its file on this host where one is named.

    :raises BadInput: it is not whole, or the file cannot be read.
    """
    path, password = str(given.get("password_file") or ""), str(given.get("password") or "")
    try:
        if path and not password:
            with open_file(path) as stream:
                password = stream.read(_LONGEST).decode("utf-8").rstrip("\r\n")
        known_secrets.learn_variables([("REGISTRY_PASSWORD", password)] if password else [])
        return login_of(given, password)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise BadInput(f"app_registry: password_file {path} cannot be read on this host: {why}") from error
    except BadRegistry as error:
        raise BadInput(
            str(error), "write url, username and password or password_file, or leave app_registry out"
        ) from error


def pull_missing(
    engine: Engine,
    project: Mapping[str, Any],
    built: Collection[str],
    login: Login | None,
    rebuild: bool,
    fence: Fence | None,
    progress: Progress = SILENT,
) -> Pulled:
    """Bring what is not here; with ``rebuild`` tags of what an update replaces are asked for again too.

    :param built: names of images that the project builds.
    :param fence: the lock under which it is done; None to only say what would be.
    :param progress: is told each image before it is pulled.
    :raises BadInput: one cannot be had.
    """
    came: list[str] = []
    notes: list[str] = []
    for reference, services in from_registry(project, built).items():
        before = engine.image(reference)
        # What no registry has ever had can only be here; its name may be another's there.
        again = rebuild and bool(before.get("RepoDigests")) and may_move(project, reference, services)
        if before and not again:
            continue
        if fence:
            fence.check()
            progress.say(f"{reference}: is pulled", "pull")
            mine = login if login and login.host == registry_of(reference) else None
            _pull(engine, reference, services, mine)
        if not before or (fence and engine.image(reference).get("Id") != before.get("Id")):
            came.append(reference)
        if again:
            notes.append(
                f"{reference} is a tag that moves: an earlier release with the same tag comes back with the image of now; write a "
                "tag for each version, or a digest"
            )
    return Pulled(tuple(came), tuple(notes))


def _pull(engine: Engine, reference: str, services: Collection[str], login: Login | None) -> None:
    try:
        pull(engine, reference, _PATIENCE, (login.username, login.password) if login else None)
    except EngineFailed as error:
        raise BadInput(*explained(reference, services, str(error), login)) from error
