# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of ``hotfix_in_place``, which reads files as that of ``hotfix_patch`` does."""

from __future__ import annotations

from ansible_collections.evenkeel.deploy.plugins.action import hotfix_patch


class ActionModule(hotfix_patch.ActionModule):
    """See the module's text."""
