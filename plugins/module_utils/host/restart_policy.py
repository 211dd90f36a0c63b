# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is stopped in a roll stays stopped over a reboot of the machine in the middle of it.

With ``restart: always`` the engine starts such a container again when it starts itself: an old scheduler beside the new one.
With ``unless-stopped`` it does not (https://docs.docker.com/engine/containers/start-containers-automatically/), and
nothing else differs. Compose compares definitions, so it never sees this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .engine import APIError, DockerException, Engine, EngineFailed, RequestException

_ALWAYS, _UNLESS_STOPPED = "always", "unless-stopped"


class RestartPolicies:
    """Those of one engine's containers, as far as this run has changed them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed: set[str] = set()

    def stay_down(self, inspection: Mapping[str, Any]) -> None:
        """Before a container is stopped.

        :raises EngineFailed: the engine refuses.
        """
        policy = ((inspection.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name")
        if policy == _ALWAYS:
            self._set(str(inspection["Id"]), _UNLESS_STOPPED)
            self._changed.add(str(inspection["Id"]))

    def as_before(self, container_id: str) -> None:
        """After it was started again. One that a killed run stopped keeps the other policy.

        :raises EngineFailed: the engine refuses.
        """
        if container_id in self._changed:
            self._set(container_id, _ALWAYS)
            self._changed.discard(container_id)

    def _set(self, container_id: str, policy: str) -> None:
        api: Any = self._engine.api
        try:
            api.update_container(container_id, restart_policy={"Name": policy})
        except APIError as error:
            raise EngineFailed(str(error.explanation or error)) from error
        except (DockerException, RequestException) as error:
            raise EngineFailed(str(error)) from error
