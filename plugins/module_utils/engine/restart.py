# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a service's containers are started again, by what its definition says of it in one of two places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO, ON_FAILURE, ALWAYS, UNLESS_STOPPED = "no", "on-failure", "always", "unless-stopped"
_CALLED_OTHERWISE = {"none": NO, "any": ALWAYS}


def _written(definition: Mapping[str, Any]) -> tuple[str, Any]:
    name, _colon, count = str(definition.get("restart") or "").partition(":")
    deployed = (definition.get("deploy") or {}).get("restart_policy")
    if deployed:
        name, count = str(deployed.get("condition") or ""), deployed.get("max_attempts")
    return _CALLED_OTHERWISE.get(name, name), count


def restart_of(definition: Mapping[str, Any]) -> str:
    """The policy's name as it is written; empty where none is, which means the same to Compose as ``no``."""
    return _written(definition)[0]


def wanted_policy(definition: Mapping[str, Any]) -> dict[str, Any]:
    """What Compose asks of the engine for a service (``getRestartPolicy`` of its pkg/compose/create.go).

    :returns: ``Name`` and ``MaximumRetryCount``, as the engine's API has them.
    """
    name, count = _written(definition)
    return {"Name": name or NO, "MaximumRetryCount": int(count or 0)}
