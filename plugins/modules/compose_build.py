#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_build
short_description: Build or pull the images of a Compose project
description:
  - Builds each image that a service of the project has a C(build) section for and that is not on this host yet.
  - Pulls each image that is not on this host and that no service has a C(build) section for, by its digest where it has one.
    C(pull_policy=never) leaves it out. Nothing that serves has been touched by then, and one that cannot be had fails the call.
  - An image that is on this host is no question to a registry, also if its tag has moved there.
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
      - Ask the registries again for tags of services that an update replaces, where the image here came from one. Databases,
        brokers, proxies and digests are left alone.
    type: bool
    default: false
  build:
    description:
      - V(policy) builds what is not there. V(never) is for going back without building. What is gone is loaded from the
        archive in the release's folder (M(evenkeel.deploy.image_archive)); where there is none, or it is damaged, it refuses.
    type: str
    choices: [policy, never]
    default: policy
  registry:
    description:
      - The login of one registry, for the images whose names begin with it. It is used for these pulls alone and written
        nowhere. Without it, and for other registries, a login that C(docker login) has left for this user is used.
    type: dict
    default: {}
    suboptions:
      url:
        description:
          - The registry as image names have it, such as C(registry.example.com) or C(ghcr.io).
        type: str
      username:
        description:
          - Name of the user, or of the token.
        type: str
      password:
        description:
          - Password or token.
        type: str
      password_file:
        description:
          - A file on this host that has the password, instead of O(registry.password).
        type: path
  memory:
    description:
      - Memory that all builds together may take, such as V(2G). Without it nine tenths of what is available.
    type: str
  brief:
    description:
      - Do it only if nothing has to be built, pulled or loaded. Otherwise change nothing, and return RV(due).
    type: bool
    default: false
  progress_id:
    description:
      - Name of the file in which the module tells what it does while it does it. The collection's action plugin sets it
        and shows the lines; there is no need to set it.
    type: str
"""

EXAMPLES = r"""
- name: Build what this release needs
  evenkeel.deploy.compose_build:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865

- name: Pull what CI has built for it
  evenkeel.deploy.compose_build:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    registry:
      url: registry.example.com
      username: travel-server
      password: "{{ vault_registry_password }}"
"""

RETURN = r"""
due:
  description: Whether something has to be built, pulled or loaded, and was not because of O(brief).
  returned: always
  type: bool
built:
  description: The images that were built.
  returned: always
  type: list
  elements: str
pulled:
  description: The images that were pulled; of those that were asked for again, the ones that are others now.
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
