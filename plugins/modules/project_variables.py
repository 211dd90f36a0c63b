#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: project_variables
short_description: Read a Compose project, and say which variables of role app describe it
description:
  - Reads the Compose files, what runs of them, nginx's configuration, the code and the git checkout that they lie in.
  - Returns the variables of role C(evenkeel.deploy.app), with the reason of each, and what only a person can say.
  - Where the project runs, the likely health URLs are requested until one answers 200. Nothing is changed.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
options:
  src:
    description:
      - The Compose files, or their folder. Without it, the Compose project that runs on the host.
    type: list
    elements: path
    default: []
  project_name:
    description:
      - Name of the Compose project, if several run.
    type: str
attributes:
  check_mode:
    description: Can run in check mode, and then changes nothing.
    support: full
    details: [No URL is requested then.]
  diff_mode:
    description: Shows what changes, in diff mode.
    support: none
requirements:
  - Docker Compose 2.24 or newer
  - Docker SDK for Python 5.0 or newer (package C(python3-docker)), to see what runs
"""

EXAMPLES = r"""
- name: Read what runs
  evenkeel.deploy.project_variables:
    src: [/srv/old/docker-compose.prod.yml]
  register: travel_found

- name: Show the variables
  ansible.builtin.debug:
    var: travel_found.variables
"""

RETURN = r"""
name:
  description: Name of the Compose project.
  returned: always
  type: str
running:
  description: Whether containers of it run on the host.
  returned: always
  type: bool
reached:
  description: How the host was reached, the C(user) who logged in, empty for ssh's own choice, and whether to C(become) root.
  returned: always
  type: dict
branch:
  description: The branch that is checked out, empty where there is none.
  returned: always
  type: str
variables:
  description: Variables of role app, those alone that differ from its defaults.
  returned: always
  type: dict
services:
  description: Per service its kind, and what says so.
  returned: always
  type: dict
questions:
  description: What only a person can say.
  returned: always
  type: list
  elements: str
problems:
  description: What an update would refuse, each with what to do.
  returned: always
  type: list
  elements: str
text:
  description: The variables as a YAML file with comments.
  returned: always
  type: str
msg:
  description: What was read.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "project_variables")


if __name__ == "__main__":
    main()
