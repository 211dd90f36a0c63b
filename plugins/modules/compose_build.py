#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_build
short_description: Build the images of a Compose project within limits
description:
  - Builds each image that a service of the project has a C(build) section for and that is not on this host yet.
  - Builds get a quarter of the processor share of a container, and no more memory than is free, so that what serves
    goes on doing so. That needs root; without it RV(notes) says that there were no limits.
  - A release is built from a copy of its tree without the generated C(compose.yaml), its record and the server's own files
    such as C(.env), which C(COPY . /app) would put into the image. The copy lies in the state directory until the builds end.
    Images built from it have the label C(evenkeel.context=clean).
  - A release that was being prepared is C(built) from then on, and may be switched to.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.project
  - evenkeel.deploy.project.attributes
options:
  rebuild:
    description:
      - Build even what is there, without the cache.
    type: bool
    default: false
  build:
    description:
      - V(policy) builds what is not there. V(never) is for going back without building. What is gone is loaded from the
        archive in the release's folder (M(evenkeel.deploy.image_archive)); where there is none, or it is damaged, it refuses.
    type: str
    choices: [policy, never]
    default: policy
  memory:
    description:
      - Bytes that all builds together may take. Without it nine tenths of what is available.
    type: int
"""

EXAMPLES = r"""
- name: Build what this release needs
  evenkeel.deploy.compose_build:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
"""

RETURN = r"""
built:
  description: The images that were built.
  returned: always
  type: list
  elements: str
loaded:
  description: The images that were loaded from the release's archive.
  returned: always
  type: list
  elements: str
images:
  description: For each image its id, empty in check mode where it is not there yet.
  returned: always
  type: dict
containers:
  description: Per service the states of its containers after that, such as V(running) or V(exited), one-offs left out.
  returned: always
  type: dict
  sample: {"api": ["running"], "frontend": ["exited"]}
msg:
  description: What was done, empty for nothing.
  returned: always
  type: str
notes:
  description: What is worth knowing, such as builds without limits.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "compose_build")


if __name__ == "__main__":
    main()
