# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of modules that are given a hotfix: its files, and what else a change of the repository can be given as."""

from __future__ import annotations


class ModuleDocFragment:
    """See the module's text."""

    DOCUMENTATION = r"""
options:
  files:
    description:
      - Files with their new content. The content travels in the module's arguments, which are not logged.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description:
          - Path of the file in the repository, or in the folder that is changed; of SQL what it is called in messages.
        type: str
        required: true
      src:
        description:
          - Path of the file on the controller.
        type: path
      content:
        description:
          - The content in base64, in the place of O(files[].src).
        type: str
"""

    SOURCE = r"""
options:
  repo:
    description:
      - git URL, or path on the target. It is asked only for O(ref).
    type: str
    required: true
  patch_src:
    description:
      - Path on the controller of a patch against the running revision, as C(git diff) writes it.
    type: path
  patch:
    description:
      - The patch in base64, in the place of O(patch_src).
    type: str
  ref:
    description:
      - Branch or tag of the repository that begins at the running revision. Otherwise it is refused with the commits that would come
        along.
    type: str
  reason:
    description:
      - What the commit says, for O(files) and patches.
    type: str
  compose_files:
    description:
      - The project's own Compose files, relative to the tree.
    type: list
    elements: str
    required: true
  env_files:
    description:
      - Files with variables for the Compose files, relative to the tree.
    type: list
    elements: str
    default: []
  shared:
    description:
      - What a release gets as links into C(shared), as M(evenkeel.deploy.symlink_release) was told.
    type: list
    elements: str
    default: []
  manage_py:
    description:
      - Path of C(manage.py) in the image, from its working directory.
    type: str
    default: manage.py
  max_files:
    description:
      - Changed files that still are a hotfix, V(0) for any number.
    type: int
    default: 20
  max_lines:
    description:
      - Added and removed lines that still are a hotfix, V(0) for any number.
    type: int
    default: 400
  force:
    description:
      - Take what is larger than O(max_files) and O(max_lines). It is recorded where it becomes a release.
    type: bool
    default: false
  timeout:
    description:
      - Time that the check of the patched code may take.
    type: str
    default: 5m
  owner:
    description:
      - The user who owns trees and runs git. Without it the one who runs the module.
    type: str
"""
