# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of ``django_check``: what the tests print is shown while they run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.evenkeel.deploy.plugins.plugin_utils.live import LiveAction


class ActionModule(LiveAction):
    """See the module's text."""

    def is_brief(self, args: Mapping[str, Any]) -> bool:
        """Without tests it is one question."""
        return not args.get("test_command")
