# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of ``deploy_lock``: say who asks, since the target only knows the user that logs in."""

from __future__ import annotations

import getpass
import os
import platform
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.plugin_utils.live import LiveAction


def who_asks(variables: dict[str, Any]) -> str:
    """The person or job at the controller, as others would look for them."""
    job = variables.get("awx_job_id") or variables.get("tower_job_id")
    if job:
        user = variables.get("awx_user_name") or variables.get("tower_user_name") or "somebody"
        return f"{user} (AWX job {job})"
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = f"user {os.getuid()}"
    return f"{user}@{platform.node()}"


class ActionModule(LiveAction):
    """See the module's text."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        arguments = dict(self._task.args)
        arguments["who"] = arguments.get("who") or who_asks(task_vars or {})
        if not self._task.async_val:
            # To be followed while it works, a module is run in the background: too dear for what mostly waits for nobody.
            first = {**arguments, "at_once": True}
            result: dict[str, Any] = self.run_module(module_args=first, task_vars=task_vars)
            if not result.get("waitable"):
                return result
        self._task.args = arguments
        return super().run(tmp, task_vars)
