#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hotfix_branch
short_description: Begin a hotfix's branch at what runs, and bring it to where updates come from
description:
  - Works on the mirror of the repository, without a work tree, and pushes. No release and no container is touched.
  - A push takes place only where a branch still is what it was when it was looked at. Where the repository does not take it, or there
    is a conflict, nothing of that branch is changed, and the commands to type in a clone are told, word for word.
  - A second call finds what the first has done, or somebody by these commands.
  - Check mode says what would be pushed, and leaves the repository and its mirror as they are.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.release
  - evenkeel.deploy.project.attributes
attributes:
  diff_mode:
    support: none
options:
  repo:
    description:
      - git URL, or path on the target.
    type: str
    required: true
  state:
    description:
      - V(started) makes a branch C(hotfix/<name>) at the running revision, or uses the one that is there and begins there.
      - V(finished) brings a hotfix that is in production into the branches O(into), and takes its own away once all have it. Whether one
        has it is seen by its content, so also where it was squashed, and where that is another one by its history. Where not all could
        get it the call fails; so it does for a branch that had it and has taken it back since.
    type: str
    choices: [started, finished]
    required: true
  name:
    description:
      - The branch without C(hotfix/). With O(state=started) and without it a version with the next free letter, such as C(16.03.1b), by
        the nearest tag that is one; or the last such branch that begins at what runs and was never put on it.
      - With O(state=finished) and without it the last hotfix that is in production.
    type: str
  pick:
    description:
      - Commits of the repository that are put on the branch, in this order. One whose change is there already is passed over.
    type: list
    elements: str
    default: []
  into:
    description:
      - Branches that get the hotfix. Without it the repository's default branch (C(main) or C(master) where it does not say), and
        C(develop) where there is one.
    type: list
    elements: str
    default: []
  how:
    description:
      - V(merge) merges, by which all commits of what runs come along that the branch does not have. V(cherry_pick) picks the
        hotfix's own commits, as one where there are merges among them.
    type: str
    choices: [merge, cherry_pick]
    default: merge
  delete:
    description:
      - Take the hotfix's branch away from the repository once all have it, unless it has more than production.
    type: bool
    default: true
  push:
    description:
      - Push. Otherwise the commands are told.
    type: bool
    default: true
  timeout:
    description:
      - Time that the repository may take for each answer.
    type: str
    default: 1m
  owner:
    description:
      - The user who owns trees and runs git. Without it the one who runs the module.
    type: str
requirements:
  - git
"""

EXAMPLES = r"""
- name: Begin a branch at what runs, with a fix that is on main already
  evenkeel.deploy.hotfix_branch:
    path: /srv/travel
    repo: git@git.example.com:travel/shop.git
    state: started
    pick: [5d33865]

- name: Bring what is in production to where updates come from
  evenkeel.deploy.hotfix_branch:
    path: /srv/travel
    repo: git@git.example.com:travel/shop.git
    state: finished
    name: 16.03.1b
    how: cherry_pick
"""

RETURN = r"""
branch:
  description: The hotfix's branch.
  returned: always
  type: str
  sample: hotfix/16.03.1b
revision:
  description: Its commit.
  returned: always
  type: str
refs:
  description: What was pushed.
  returned: always
  type: list
  elements: str
next:
  description: Lines for the end of the operation, such as the command that takes it back.
  returned: always
  type: list
  elements: str
notes:
  description: What is worth knowing.
  returned: always
  type: list
  elements: str
commands:
  description: What to type next, or by hand where something was not pushed, line by line. A line that begins with C(#) is for a person.
  returned: always
  type: list
  elements: str
msg:
  description: The same in a sentence.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "hotfix_branch")


if __name__ == "__main__":
    main()
