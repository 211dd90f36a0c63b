# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of ``change_plan``: the code that it needs is on the target, or is sent there."""

from __future__ import annotations

from ansible_collections.evenkeel.deploy.plugins.plugin_utils.runtime import RuntimeAction


class ActionModule(RuntimeAction):
    """See the module's text."""
