#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_archive
short_description: Keep the images of the release to go back to in files as well
description:
  - C(docker system prune --all) takes every image that nothing runs, those of the release to go back to among them. This
    module writes them into compressed files in that release, each with its checksum. Going back loads them from there
    where they are gone (M(evenkeel.deploy.compose_build) with O(evenkeel.deploy.compose_build#module:build=never)).
  - Images that a container has are left out; nobody can prune them. Archives of other releases are taken away.
  - What cannot be archived, for want of room or otherwise, is said in RV(msg) and is no failure.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.release
  - evenkeel.deploy.project.attributes
options:
  release:
    description:
      - Id of a release. Without it the one that was found good last before the current one.
    type: str
  policy:
    description:
      - V(auto) archives where a tenth of the disk, and 1 GiB, stay free should nothing be gained by compressing.
      - V(always) leaves 256 MiB free.
      - V(never) takes away what there is.
    type: str
    choices: [auto, always, never]
    default: auto
  wait:
    description:
      - Wait until the files are written. V(false) leaves that to a process of the lowest priority, which goes on when the
        module has ended. If that process is killed, the next operation writes what is missing.
    type: bool
    default: true
requirements:
  - Docker Engine 20.10 or newer
  - Docker SDK for Python 5.0 or newer (package C(python3-docker))
"""

EXAMPLES = r"""
- name: Have a way back that outlives docker system prune
  evenkeel.deploy.image_archive:
    path: /srv/travel
"""

RETURN = r"""
release:
  description: The release whose images are meant, empty where there is none to go back to.
  returned: always
  type: str
archived:
  description: What was written, for each image its C(image) (id), C(names), C(bytes), C(sha256) and C(seconds).
  returned: always
  type: list
  elements: dict
removed:
  description: The releases whose archives were taken away.
  returned: always
  type: list
  elements: str
bytes:
  description: The size of the release's archive.
  returned: always
  type: int
later:
  description: Whether files are written after the module has ended.
  returned: always
  type: bool
notes:
  description: What was in the way.
  returned: always
  type: list
  elements: str
msg:
  description: Whether the way back is really there, and why it is not archived where it is not.
  returned: always
  type: str
  sample: the images of 20261120T084911Z-5d33865 are on this host, and in an archive of 143 MiB, which outlives docker system prune --all
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "image_archive")


if __name__ == "__main__":
    main()
