# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of backups of a database: one of now, the proof of one, or one in the place of the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...engine.options import ProjectOptions
from ...operation.host.progress import ProgressOptions
from ...operation.options import LockOptions
from .external_database import ExternalDatabaseOptions, Wanted

PRESENT, VERIFIED, RESTORED = "present", "verified", "restored"


@dataclass(frozen=True)
class Request:
    """Which database, where its backups are, and what is done with one.

    :ivar service: of the project; empty for its only database, or for one that is no service.
    :ivar database: its name, empty where settings say it.
    :ivar django_service: by whose settings a database is found that is no service.
    :ivar dest: the folder of backups.
    :ivar keep: how many backups are left; 0 removes none.
    :ivar state: ``present`` makes one, ``verified`` proves one, ``restored`` puts one in the place of the database.
    :ivar backup: the file that is verified or restored; empty to verify the newest.
    :ivar allow_downtime: restore also though the app is held meanwhile; ``again`` though that one was restored before.
    :ivar newer_than: seconds, or a timestamp in ISO 8601: a backup that is newer is enough; empty makes one each time.
    :ivar release: that the backup belongs to, and is kept for while it is in ``releases_dir``.
    :ivar optional: that a project without a PostgreSQL database, or one without tables, is no mistake.
    :ivar lock_timeout: seconds in which the tables have to be free of others' locks.
    :ivar min_free: bytes that are left on a disk, with a unit (``256M``); ``verify_memory``: that the server to verify on may take.
    :ivar take_over_from: the host that the database belongs to so far (machine/project), where that is gone for good.
    :ivar timeout: seconds that dumping, reading or restoring may take, each.
    """

    project: ProjectOptions
    lock: LockOptions
    dest: str
    progress: ProgressOptions = field(default_factory=ProgressOptions)
    external: ExternalDatabaseOptions = field(default_factory=ExternalDatabaseOptions)
    service: str = ""
    service_options: Mapping[str, Any] = field(default_factory=dict)
    database: str = ""
    django_service: str = ""
    manage_py: str = "manage.py"
    keep: int = 7
    state: str = PRESENT
    backup: str = ""
    allow_downtime: bool = False
    again: bool = False
    newer_than: str = ""
    release: str = ""
    releases_dir: str = ""
    optional: bool = False
    lock_timeout: float = 30.0
    min_free: str = "256M"
    verify_memory: str = "512M"
    take_over_from: str = ""
    timeout: float = 7200.0

    @property
    def wanted(self) -> Wanted:
        """Its database."""
        return Wanted(
            self.project, self.external, self.service, self.service_options, self.database, self.django_service,
            self.manage_py, self.optional, restores=self.state == RESTORED, timeout=self.timeout,
        )  # fmt: skip
