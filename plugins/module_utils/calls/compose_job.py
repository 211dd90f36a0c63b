# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``compose_job`` takes, and one call of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.options import read
from ..build.host import job
from ..engine.options import PROJECT_SPEC, project_options
from ..operation.options import LOCK_SPEC, lock_options

_OWN: dict[str, Any] = {
    "services": {"type": "list", "elements": "str", "default": []},
    "point": {"type": "str", "choices": ["before", "after", "all"], "default": "all"},
    "service_options": {"type": "dict", "default": {}},
    "django_service": {"type": "str"},
    "timeout": {"type": "str", "default": "30m"},
}
SPEC: dict[str, Any] = {
    **PROJECT_SPEC,
    **LOCK_SPEC,
    **_OWN,
    # The only one that there is, as other modules have it.
    "state": {"type": "str", "choices": ["present"], "default": "present"},
}


def call(params: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Carry out one call of the module.

    :raises BadInput: nothing was touched.
    """
    request = read(job.Request, _OWN, params, project=project_options(params), lock=lock_options(params))
    return job.run_jobs(request, check_mode)
