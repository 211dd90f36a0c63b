# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of every module that works on an app's folder with its releases."""

from __future__ import annotations


class ModuleDocFragment:
    """See the module's text."""

    DOCUMENTATION = r"""
options:
  path:
    description:
      - The app's folder on the target (C(app_root)), absolute.
    type: path
    required: true
  state_dir:
    description:
      - Private folder of this collection on the target, for locks and records. Without it C(.evenkeel) under O(path), which
        root only takes below folders of its own. Where it is a folder under C(/var/lib/evenkeel) that has nothing yet,
        C(.evenkeel) under O(path) is used as long as it is there.
    type: path
  lock_token:
    description:
      - What M(evenkeel.deploy.deploy_lock) returned to the operation that this call is part of.
        Without it the module takes the lock for as long as it runs.
    type: str
"""
