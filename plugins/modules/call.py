#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: call
short_description: Run the code of another module of this collection (internal)
description:
  - What the action plugins of all other modules send to a target. Ansible packs a module once per run, which takes the controller
    longer than sending it; so all of them share this file. There is no need to use it.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
attributes:
  check_mode:
    description: As the module that is run.
    support: full
  diff_mode:
    description: As the module that is run.
    support: full
"""

EXAMPLES = r"""
- name: Any other module runs it
  evenkeel.deploy.deploy_lock:
    state_dir: /var/lib/evenkeel/travel
"""

RETURN = r"""
msg:
  description: What the module that is run returns, or that none is named.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module that the action plugin names."""
    runtime.run(AnsibleModule)


if __name__ == "__main__":
    main()
