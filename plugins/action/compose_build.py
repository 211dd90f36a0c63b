# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of ``compose_build``: what is built or pulled is shown while that is done."""

from __future__ import annotations

from typing import Any

from ansible_collections.evenkeel.deploy.plugins.plugin_utils.live import LiveAction


class ActionModule(LiveAction):
    """See the module's text."""

    def answer_at_once(self, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """The result where nothing has to be built or pulled."""
        answer = self.run_module(module_args={**self._task.args, "brief": True}, task_vars=task_vars)
        return {} if answer.get("due") else answer
