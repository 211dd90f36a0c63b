#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_command
short_description: Run commands that a release needs, once
description:
  - Runs commands where they are due. What is due is read off the release, so that a call that was killed is made up for by
    the next one, and a second one does nothing.
  - Commands are lists of words. No shell is between; say V([sh, -c, ...]) where there has to be one. Each has to be of the
    kind that may run twice.
  - What they print goes into a private file under C(logs/) in O(state_dir). Its last lines are told where one fails, without
    the values in the files of assignments that the release shares. Words of a command are told as they are.
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
  release:
    description:
      - Id of a release, as M(evenkeel.deploy.symlink_release) returns it.
    type: str
    required: true
  state:
    description:
      - V(prepared) runs the commands as O(owner) in the release's folder, as long as the release is V(preparing). Where one
        fails the release is marked bad. Two calls never prepare one release at the same time.
      - V(reloaded) runs them as the one who runs the module, in O(path), where O(release) is the current one and V(active),
        that is, switched to and not yet found good.
    type: str
    choices: [prepared, reloaded]
    required: true
  commands:
    description:
      - The commands, in their order. The first that fails ends the call.
      - E(EVENKEEL_RELEASE) and E(EVENKEEL_RELEASE_PATH) tell them the release's id and folder.
    type: list
    elements: list
    required: true
  timeout:
    description:
      - Time that each command may take before it is killed.
    type: str
    default: 15m
  owner:
    description:
      - The user who prepares. Without it the one who runs the module.
    type: str
  progress_id:
    description:
      - Name of the file in which the module tells which command it runs. The action plugin sets it.
    type: str
seealso:
  - module: evenkeel.deploy.symlink_release
"""

EXAMPLES = r"""
- name: Install what the release needs
  evenkeel.deploy.release_command:
    path: /srv/blog
    release: "{{ release.release }}"
    state: prepared
    owner: deploy
    commands:
      - [composer, install, --no-dev, --no-interaction]

- name: Let PHP know of the new release
  evenkeel.deploy.release_command:
    path: /srv/blog
    release: "{{ release.release }}"
    state: reloaded
    commands:
      - [systemctl, reload, php8.4-fpm]
"""

RETURN = r"""
release:
  description: The release's id.
  returned: always
  type: str
commands:
  description: The commands that were run, in check mode those that would be.
  returned: always
  type: list
  elements: str
timeline:
  description: One entry for each command that was run, with C(step), C(started), C(seconds) and C(result).
  returned: always
  type: list
  elements: dict
what:
  description: What failed, with the last lines of its output.
  returned: when a command failed
  type: str
serving:
  description: The commit that C(current) leads to.
  returned: when a command failed
  type: str
rolled_back:
  description: Whether anything was undone; that is for the caller to do.
  returned: when a command failed
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "release_command")


if __name__ == "__main__":
    main()
