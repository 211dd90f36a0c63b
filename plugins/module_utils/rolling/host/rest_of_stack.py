# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of the services that a roll does not replace, and of those that the project no longer has."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...base.errors import BadInput
from ...base.host import processes
from ...engine.host.compose import Compose
from ...engine.host.inspection import FILES_LABEL, HASH_LABEL, SERVICE_LABEL, label_of, pid_of
from ...engine.kinds import Evidence, judge
from ...engine.programs import OTHER
from ...engine.services import ROLLED_KINDS, CommonSettings, settings_of
from ...nginx.config import Route
from ...releases.host.data_mounts import anonymous_data, is_anonymous
from ..rest_of_stack import Present
from .targets import Target

# What may hold data is given this long to end by itself (seconds).
_PATIENCE = 60.0


def present_of(inspection: Mapping[str, Any]) -> Present:
    """A container as :mod:`rolling.rest_of_stack` wants to know it."""
    state = inspection.get("State") or {}
    alive = pid_of(inspection) is not None
    written = {
        str(m.get("Destination")): str(m.get("Name") or m.get("Source") or "")
        for m in inspection.get("Mounts") or []
        if m.get("RW", True) and m.get("Type") in ("bind", "volume") and not is_anonymous(m)
    }
    return Present(
        service=label_of(inspection, SERVICE_LABEL),
        name=str(inspection["Name"]).lstrip("/"),
        config_hash=label_of(inspection, HASH_LABEL),
        image=str(inspection["Image"]),
        running=alive,
        source_of=written,
        files=tuple(f for f in label_of(inspection, FILES_LABEL).split(",") if f),
        exit_code=None if alive or state.get("Status") == "created" else int(state.get("ExitCode") or 0),
        anonymous=anonymous_data(inspection),
    )


def files_of(compose: Compose) -> frozenset[str]:
    """The project's own Compose files, absolute."""
    return frozenset(os.path.normpath(os.path.join(compose.project_src, f)) for f in compose.files)


def removed_targets(
    names: Sequence[str],
    found: Sequence[Mapping[str, Any]],
    routes_to: Callable[[str, Mapping[str, Any]], tuple[Route, ...]],
) -> list[Target]:
    """The services that the project no longer has, as targets of which nothing is wanted.

    :param found: the project's containers.
    :param routes_to: the ways by which the running nginx leads to a service, by its name and definition.
    :raises BadInput: nginx still leads to one.
    """
    targets = []
    for name in names:
        mine = [i for i in found if label_of(i, SERVICE_LABEL) == name]
        config = mine[0].get("Config") or {}
        definition = {key: config.get(key.capitalize()) for key in ("image", "entrypoint")} | {
            "command": config.get("Cmd")
        }
        networks = (mine[0].get("NetworkSettings") or {}).get("Networks") or {}
        definition["networks"] = {n: {"aliases": (net or {}).get("Aliases") or []} for n, net in networks.items()}
        leading = routes_to(name, definition)
        if leading:
            raise BadInput(
                f"{name} is not in the project any more, but nginx still leads to it: without it nginx could not be "
                f"loaded again",
                "take it out of nginx's configuration too, or put the service back",
            )
        kind = judge(definition, Evidence()).kind
        pids = [pid for i in mine if (pid := pid_of(i))]
        grace = max([float(config.get("StopTimeout") or 0.0), _PATIENCE if kind not in ROLLED_KINDS else 10.0])
        options = {"kind": kind if kind in ROLLED_KINDS else OTHER, "stop_timeout": grace}
        settings = settings_of(name, definition, Evidence(), CommonSettings(), options)
        ports = frozenset().union(*(processes.listening_ports(pid) for pid in pids)) if pids else frozenset()
        targets.append(Target(settings, "", "", removed=True, listening=ports))
    return targets
