# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of a rehearsal: an update on the rows of a backup, or how long it took beside what was foretold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...backup.host.external_database import ExternalDatabaseOptions
from ...engine.options import ProjectOptions
from ...migrations.bridges import USUAL
from ...operation.host.progress import ProgressOptions
from ...operation.options import LockOptions

REHEARSED, COMPARED = "rehearsed", "compared"


@dataclass(frozen=True)
class Request:
    """Which update is rehearsed, on which rows, and within which limits.

    :ivar state: ``rehearsed``, or ``compared`` with what ``ran``: what ``django_migrate`` has returned.
    :ivar service: the Django service.
    :ivar database_service: empty for the project's only database, or for one that is no service.
    :ivar databases: names of the databases that are restored; the one of the settings where none is named.
    :ivar dest: the folder of backups.
    :ivar prove: what the app is asked; None where neither that nor that it is nothing was said.
    :ivar environment: names of variables, or patterns, whose values the app is told as they are.
    :ivar serving_src: folder of the release that serves, empty where there is none.
    :ivar contract: when what is put off is run in production: with the ``next`` update, ``now``, or ``manual``.
    :ivar release: the one that is rehearsed.
    :ivar memory: bytes for each container without a limit of its own, with a unit (``512M``).
    :ivar io_rate: bytes per second of the disk for each container, 0 for no limit; ``min_free``: bytes that are left on it.
    :ivar timeout: seconds for all of it.
    """

    project: ProjectOptions
    lock: LockOptions
    progress: ProgressOptions = field(default_factory=ProgressOptions)
    external: ExternalDatabaseOptions = field(default_factory=ExternalDatabaseOptions)
    state: str = REHEARSED
    service: str = ""
    database_service: str = ""
    databases: tuple[str, ...] = ()
    dest: str = ""
    service_options: Mapping[str, Any] = field(default_factory=dict)
    prove: tuple[Any, ...] | None = None
    environment: tuple[str, ...] = ()
    serving_src: str = ""
    contract: str = "next"
    bridges: tuple[str, ...] = USUAL
    declared_phases: Mapping[str, Any] = field(default_factory=dict)
    allow_data_loss: tuple[str, ...] = ()
    additive_only: bool = False
    allow_downtime: bool = False
    release: str = ""
    memory: str = "512M"
    io_rate: str = "100M"
    min_free: str = "1G"
    timeout: float = 3600.0
    manage_py: str = "manage.py"
    ran: Mapping[str, Any] = field(default_factory=dict)
