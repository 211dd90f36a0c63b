# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The argument of modules that can be a whole operation by themselves."""

from __future__ import annotations


class ModuleDocFragment:
    """See the module's text."""

    DOCUMENTATION = r"""
options:
  operation:
    description:
      - Makes this call the whole operation, as M(evenkeel.deploy.deploy_lock) makes several tasks one. The lock is taken, a record is kept,
        and the lock is given back. Not looked at with O(lock_token) or in check mode.
    type: dict
    suboptions:
      playbook:
        description: The operation's name.
        type: str
        required: true
      app_name:
        description: The app's name.
        type: str
        required: true
      target:
        description: What it is brought to.
        type: str
        default: ''
      who:
        description: Who asks. Without it the one who runs C(ansible-playbook), or the AWX job.
        type: str
      lease:
        description: Time after which others may take it over, should this run vanish.
        type: str
        default: 30m
      wait:
        description: Time that the caller would wait for others; nothing is done then where somebody has the lock (RV(whole)).
        type: str
        default: 0s
      take_over:
        description: Take the lock from a run that has vanished.
        type: bool
        default: false
"""
