# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody changed by hand in containers that a hotfix replaces, and the refusal to take it away with them."""

from __future__ import annotations

from collections.abc import Collection

from ...base.errors import BadInput
from ...base.truncate_list import some
from ...drift.host.container_edits import edits_in_containers
from ...engine.host.inspection import SERVICE_LABEL, label_of
from ...git.host.git import Git
from . import in_place_record
from .in_place_record import Record
from .view import Serving

_SHOWN = 10


def refused(
    here: Serving, services: Collection[str], captured: Collection[str], dropped: bool, in_place: Record | None = None,
    sealing: tuple[Git, str] | None = None,
) -> list[str]:  # fmt: skip
    """Look for such edits in the containers of services; returns what is worth knowing.

    :param in_place: a hotfix that is in running containers only, and ``sealing`` the commit that may have it.
    :param captured: edits that the hotfix has, as they are told.
    :param dropped: whether others may go.
    :raises BadInput: there are others, and they may not.
    """
    mine = [c for c in here.containers if label_of(c, SERVICE_LABEL) in services]
    edits = edits_in_containers(here.engine, here.name, mine, in_place.judged if in_place else None)
    left, advice = [report for report in edits.texts if report not in captured], ""
    if sealing:
        left, advice = in_place_record.left_of(in_place, *sealing, edits, left)
    if left and not dropped:
        raise BadInput(
            f"somebody changed files by hand in containers that would be replaced: {some(left, _SHOWN, '; ')}",
            advice
            or "make them a hotfix of their own first (-e hotfix_capture=true; what is no file of the repository docker cp brings "
            "out), or run the same command with -e app_allow_lost_edits=true, by which they go",
        )
    gone = f"changed by hand, and gone with their containers: {'; '.join(left[:_SHOWN])}"
    return [*edits.notes, *([gone] if left else [])]
