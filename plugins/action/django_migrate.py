# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of ``django_migrate``: what migrates and what it waits for is shown while it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.plugin_utils.live import LiveAction


class ActionModule(LiveAction):
    """See the module's text."""

    def is_brief(self, args: Mapping[str, Any]) -> bool:
        """A plan is one question."""
        return args.get("state") == "planned"
