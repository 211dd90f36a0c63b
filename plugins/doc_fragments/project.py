# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments that every module of this collection uses to name a Compose project."""

from __future__ import annotations


class ModuleDocFragment:
    """See the module's text."""

    DOCUMENTATION = r"""
options:
  project_src:
    description:
      - Absolute path of the folder with the Compose project, on the target.
    type: path
    required: true
  files:
    description:
      - Compose files, relative to O(project_src). Without them Compose's own choice is taken,
        which is the generated C(compose.yaml) in a release.
    type: list
    elements: path
    default: []
  env_files:
    description:
      - Files with variables for the Compose files, relative to O(project_src). Without them C(.env) there.
    type: list
    elements: path
    default: []
  profiles:
    description:
      - Compose profiles that are active.
    type: list
    elements: str
    default: []
  project_name:
    description:
      - The project's name. Without it the one that the Compose files or the folder give.
    type: str
  state_dir:
    description:
      - Private folder of this collection on the target, for locks and records.
        Without it C(/var/lib/evenkeel/<project name>). It belongs to root or to whom the module runs as.
        Links, folders that others may write to and, from root, folders below those of others are refused.
    type: path
  lock_token:
    description:
      - What M(evenkeel.deploy.deploy_lock) returned to the operation that this call is part of.
        Without it the module takes the lock for as long as it runs.
    type: str
requirements:
  - Docker Engine 20.10 or newer
  - Docker Compose 2.24 or newer
  - Docker SDK for Python 5.0 or newer (package C(python3-docker))
"""

    ATTRIBUTES = r"""
attributes:
  check_mode:
    support: full
    description: Can run in check_mode and return changed status prediction without modifying target.
  diff_mode:
    support: full
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
  idempotent:
    support: full
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
"""
