# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of migrations: into which state the databases of a service are to be brought, and what may be done for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...engine.options import ProjectOptions
from ...operation.host.progress import ProgressOptions
from ...operation.options import LockOptions
from ..bridges import USUAL

PLANNED, REVERSED = "planned", "reversed"


@dataclass(frozen=True)
class Request:
    """Whose migrations, and what is done with them.

    :ivar service: the Django service.
    :ivar state: ``planned`` only looks; the others are ``expanded``, ``contracted``, ``abandoned``, ``migrated``, ``reversed``.
    :ivar release: the one that migrates, or whose migrations are abandoned; empty for the revision of the image.
    :ivar lock_timeout: seconds that a statement may wait for a lock; it is tried again ``retries`` times.
    :ivar wait: seconds to wait for another migration of the same database.
    :ivar allow_data_loss: migrations, or operations (``app.name:index``), that may drop data.
    :ivar additive_only: refuse what takes something away; ``allow_downtime``: take back also what code that runs was made for.
    :ivar interrupted: by operation that was broken off (``app.name:index``): ``again`` runs it once more, ``done`` takes it for done.
    :ivar databases: aliases; all where none is named.
    :ivar canary_database: the alias that alone is changed, empty for all.
    :ivar target: ``app.migration`` up to which it is planned, or that stays when what follows is reversed.
    :ivar declared_phases: when an operation may run that cannot be judged, by migration or operation.
    :ivar bridges: the kinds of bridges that may be put up.
    :ivar only: migrations that the release has which comes next, or that are reversed; None where none is named.
    :ivar nothing_written: reverse also what has filled columns and tables, since nobody has written to them.
    :ivar only_data_moves: contract nothing but moves of rows.
    :ivar take_over_from: the host that a database belongs to so far (machine/project), where that is gone for good.
    :ivar timeout: seconds to wait for the container; a migration that takes longer goes on by itself in it.
    :ivar stays: whether the container that is asked for a plan then waits for one more script (``engine/host/staying.py``).
    """

    project: ProjectOptions
    lock: LockOptions
    service: str
    state: str
    progress: ProgressOptions = field(default_factory=ProgressOptions)
    release: str = ""
    lock_timeout: float = 2.0
    retries: int = 8
    wait: float = 60.0
    allow_data_loss: tuple[str, ...] = ()
    additive_only: bool = False
    interrupted: Mapping[str, Any] = field(default_factory=dict)
    databases: tuple[str, ...] = ()
    canary_database: str = ""
    allow_downtime: bool = False
    target: str = ""
    declared_phases: Mapping[str, Any] = field(default_factory=dict)
    bridges: tuple[str, ...] = USUAL
    only: tuple[str, ...] | None = None
    only_data_moves: bool = False
    nothing_written: bool = False
    manage_py: str = "manage.py"
    take_over_from: str = ""
    timeout: float = 3600.0
    stays: bool = False
