#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guard_code
short_description: Put the code of the guard into a folder of the target
description:
  - Writes what C(evenkeel.guard.host.guard) needs, all of it at once; role P(evenkeel.deploy.guard#role) runs it from there.
    The modules' own code on a target is of no use for that, since it goes when newer code comes.
  - A guard that runs goes on with the code that it has begun with.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
options:
  path:
    description:
      - The folder. Whatever else is in it is removed.
    type: path
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
"""

EXAMPLES = r"""
- name: Put the guard's code where its unit expects it
  evenkeel.deploy.guard_code:
    path: /usr/local/lib/evenkeel/0.1.0
  become: true
"""

RETURN = r"""
path:
  description: The folder.
  returned: always
  type: str
msg:
  description: What is in it.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "guard_code")


if __name__ == "__main__":
    main()
