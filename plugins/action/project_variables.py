# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of ``project_variables``: it knows how the host was reached, which no variable says after ``-u`` and ``-b``."""

from __future__ import annotations

from typing import Any

from ansible_collections.evenkeel.deploy.plugins.plugin_utils.runtime import RuntimeAction


class ActionModule(RuntimeAction):
    """See the module's text."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """As its base class does, with the user who logs in and whether that one becomes root."""
        result = super().run(tmp, task_vars)
        how = self._play_context
        result["reached"] = {"user": how.remote_user or "", "become": bool(how.become)}
        return result
