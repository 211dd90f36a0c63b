# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``project_variables``: reads a Compose project, asks its site where it runs, and says what to write."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ...traffic.host import smoke_test
from ..text import variables_file
from ..variables import Seen, describe, site_addresses
from .look import look

#: How many of the likely addresses are asked.
_ASKED = 8


@dataclass(frozen=True)
class Request:
    """Which project is described.

    :ivar src: its Compose files or its folder, empty for the one that runs; ``project_name`` of several.
    """

    src: tuple[str, ...] = ()
    project_name: str = ""


def project_variables(request: Request, check_mode: bool) -> dict[str, Any]:
    """Describe the project; nothing is touched, and in check mode nobody is asked either.

    :raises BadInput: there is none, or it cannot be read.
    """
    seen = look(request.src, request.project_name)
    asked = seen.running and not check_mode
    answering = (
        next((url for url in site_addresses(seen)[:_ASKED] if not smoke_test.wrong(url, (), 1)), "") if asked else ""
    )
    found = describe(seen, answering, asked)
    source = " + ".join(seen.files)
    return {
        "changed": False,
        "msg": _sentence(seen),
        "name": seen.name,
        "running": seen.running,
        "branch": seen.repository.branch if seen.repository else "",
        "variables": {v.name: v.value for v in found.variables},
        "services": {s.name: {"kind": s.kind, "because": s.because} for s in seen.services},
        "questions": [*(f"{v.name}: {v.value}: {v.why}" for v in found.variables if not v.sure), *found.questions],
        "problems": list(found.problems),
        "text": variables_file(seen.name, source, found, seen.services),
    }


def _sentence(seen: Seen) -> str:
    files = " + ".join(os.path.basename(f) for f in seen.files)
    state = "runs here" if seen.running else "does not run here"
    return f"{seen.name}: {len(seen.services)} services, read in {files} of {seen.folder}; it {state}"
