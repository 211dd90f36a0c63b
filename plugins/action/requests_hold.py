# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of ``requests_hold``: what it does is shown while it does it."""

from __future__ import annotations

from ansible_collections.evenkeel.deploy.plugins.plugin_utils.live import LiveAction


class ActionModule(LiveAction):
    """See the module's text."""
