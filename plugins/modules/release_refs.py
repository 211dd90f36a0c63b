#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_refs
short_description: Tell an app's repository of its releases
description:
  - A branch that takes back what was rolled back, as C(git revert) would; a tag at what serves, a branch at what served before.
  - Nothing depends on it. A repository that does not answer, or takes nothing from this server, fails nothing; RV(notes) then
    has the commands. Nothing that is there is moved, and git never prompts.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.release
  - evenkeel.deploy.project.attributes
options:
  repo:
    description:
      - git URL, or path on the target. A plain folder is told nothing.
    type: str
    required: true
  release:
    description:
      - Id of the release that serves.
    type: str
    required: true
  state:
    description:
      - V(named) makes O(tag) and O(branch).
      - V(reverted) makes a branch C(revert/<commit>) for each release that was left for this one by a rollback. It stands on
        what was left and has its tree from before; merged, it lets later updates pass that are otherwise refused.
      - V(hotfixed) makes a branch C(hotfix/<name>) at the hotfix that O(release) was made by (M(evenkeel.deploy.hotfix_patch)).
    type: str
    choices: [named, reverted, hotfixed]
    default: named
  tag:
    description:
      - Name of an annotated tag at the commit of O(release). C({release}) in it is the id of O(release).
    type: str
  branch:
    description:
      - Name of a branch at the commit of O(before). C({release}) in it is the id of O(release).
    type: str
  before:
    description:
      - Id of the release that served before.
    type: str
  push:
    description:
      - V(false) pushes nothing and tells the commands.
    type: bool
    default: true
  timeout:
    description:
      - Time to wait for the repository, each time it is asked or told something.
    type: str
    default: 10s
  owner:
    description:
      - The user who runs git. Without it the one who runs the module.
    type: str
requirements:
  - git
"""

EXAMPLES = r"""
- name: Tag what serves now
  evenkeel.deploy.release_refs:
    path: /srv/travel
    repo: git@git.example.com:travel/shop.git
    release: 20261120T084911Z-5d33865
    tag: release/2026-11-20
    owner: deploy
"""

RETURN = r"""
refs:
  description: What the repository has taken, in words.
  returned: always
  type: list
  elements: str
  sample: ["tag release/2026-11-20 at 5d33865c1f"]
msg:
  description: What was done, empty for nothing.
  returned: always
  type: str
notes:
  description: What it has not taken, why, and the commands.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "release_refs")


if __name__ == "__main__":
    main()
