# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of ``compose_build``: what is built or pulled is shown while that is done."""

from __future__ import annotations

from typing import Any

from ansible_collections.evenkeel.deploy.plugins.plugin_utils.live import LiveAction


class ActionModule(LiveAction):
    """See the module's text."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """As its base class does where something has to be built or pulled; otherwise the first answer is the result."""
        if not (self._task.check_mode or self._task.no_log or self._task.async_val):
            answer = self.run_module(module_args={**self._task.args, "brief": True}, task_vars=task_vars)
            if not answer.get("due"):
                return answer
        return super().run(tmp, task_vars)
