# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reboot of the machine in the middle of a roll brings back: those who served, and nobody beside them.

Who was stopped stays stopped: with ``restart: always`` the engine would start it again when it starts itself, an old scheduler
beside the new one; with ``unless-stopped`` it does not (https://docs.docker.com/engine/containers/start-containers-automatically/),
and nothing else differs. Who is not trusted yet has no policy at all until it is. Compose compares definitions, so it never sees this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...engine.host.engine import APIError, DockerException, Engine, EngineFailed, RequestException
from ...engine.restart import ALWAYS, NO, UNLESS_STOPPED, wanted_policy


def is_unkept(inspection: Mapping[str, Any], definition: Mapping[str, Any]) -> bool:
    """Whether the engine never starts a container again, although its definition says so."""
    return _name_of(inspection) in ("", NO) and wanted_policy(definition)["Name"] != NO


def _name_of(inspection: Mapping[str, Any]) -> str:
    return str(((inspection.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "")


class RestartPolicies:
    """Those of one engine's containers; every method may raise :class:`EngineFailed` where the engine refuses."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed: set[str] = set()

    def distrust(self, inspection: Mapping[str, Any]) -> None:
        """Before a new container is started: nothing starts it again."""
        if _name_of(inspection) not in ("", NO):
            self._set(str(inspection["Id"]), {"Name": NO})

    def trust(self, inspection: Mapping[str, Any], definition: Mapping[str, Any]) -> None:
        """Once it is proven: as its definition says."""
        self._set(str(inspection["Id"]), wanted_policy(definition))

    def stay_down(self, inspection: Mapping[str, Any]) -> None:
        """Before a container is stopped."""
        if _name_of(inspection) == ALWAYS:
            self._set(str(inspection["Id"]), {"Name": UNLESS_STOPPED})
            self._changed.add(str(inspection["Id"]))

    def as_before(self, container_id: str) -> None:
        """After it was started again. One that a killed run stopped keeps the other policy."""
        if container_id in self._changed:
            self._set(container_id, {"Name": ALWAYS})
            self._changed.discard(container_id)

    def _set(self, container_id: str, policy: Mapping[str, Any]) -> None:
        api: Any = self._engine.api
        try:
            api.update_container(container_id, restart_policy=dict(policy))
        except APIError as error:
            raise EngineFailed(str(error.explanation or error)) from error
        except (DockerException, RequestException) as error:
            raise EngineFailed(str(error)) from error
