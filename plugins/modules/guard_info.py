#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guard_info
short_description: Tell whether the nginx of a Compose project needs a guard, and whether one runs
description:
  - nginx resolves a plain name such as C(api) in C(proxy_pass http://api:8000;) only when it loads its configuration. A
    container that comes back at another address after a crash is not found any more, unless a guard runs, see role
    P(evenkeel.deploy.guard#role).
  - Changes nothing, and needs no lock.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
options:
  project_name:
    description:
      - Name of the Compose project whose nginx is meant.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: Can run in check_mode and return changed status prediction without modifying target.
  diff_mode:
    support: none
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
  idempotent:
    support: full
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
requirements:
  - Docker Engine 20.10 or newer
  - Docker SDK for Python 5.0 or newer (package C(python3-docker))
"""

EXAMPLES = r"""
- name: Ask whether nginx of the shop needs a guard
  evenkeel.deploy.guard_info:
    project_name: travel
  register: guard
"""

RETURN = r"""
needed:
  description: Whether a running nginx of the project resolves the name of a container only when it loads.
  returned: always
  type: bool
running:
  description: Whether a guard of this project runs on this host.
  returned: always
  type: bool
notes:
  description: What is worth doing about it, empty where there is nothing.
  returned: always
  type: list
  elements: str
msg:
  description: The same as a sentence.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    (guard_info,) = runtime.load("calls.guard_info")
    module = AnsibleModule(
        argument_spec=guard_info.SPEC,
        supports_check_mode=True,
    )
    runtime.finish(module, guard_info.call)


if __name__ == "__main__":
    main()
