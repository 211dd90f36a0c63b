#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_adopt
short_description: Make the first release out of a stack that runs already
description:
  - Finds from which folder and files the running containers of a Compose project were started, looks whether that folder
    still says what runs, and makes a release of it under O(path), without starting, stopping or restarting any container.
  - The release has the folder's files as they are, the images that run, and a C(compose.yaml) by which the containers that
    run are exactly as wanted. Data, and what proxies mount, stay where they are, for this and all later releases.
  - Once a later release has taken its place, it comes back as releases do, with copies of its own of what was mounted.
  - M(evenkeel.deploy.symlink_release) with C(state=active) makes it the current one, once it is known that it serves.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.release
  - evenkeel.deploy.project.attributes
options:
  path:
    description:
      - The app's folder on the target (C(app_root)), absolute. It may not be the folder that runs, nor lie in it.
    type: path
    required: true
  state:
    description:
      - V(present) takes the stack over; where that was done before, nothing is changed.
      - V(absent) takes away what was made, and leaves what runs as it is. Refused when a later release serves.
    type: str
    choices: [present, absent]
    default: present
  project_name:
    description:
      - The name of the Compose project that runs.
    type: str
    required: true
  folder:
    description:
      - The folder that it was started from. Without it the one that the containers' labels name.
    type: path
  files:
    description:
      - The Compose files that later releases will be made from, relative. Refused where others are what runs.
    type: list
    elements: path
    default: []
  env_file:
    description:
      - The server's own environment file. What runs uses it from O(folder), or from wherever C(--env-file) named; it is copied to
        C(shared) under O(path), for later releases.
    type: str
    default: .env
  capture:
    description:
      - Commit the folder as it is, and what was changed by hand in containers where that belongs to a file of it, as
        C(adopted/<time>) in C(mirror.git) under O(path). The folder's own repository is not touched.
    type: bool
    default: false
  stop_sign:
    description:
      - Once the release, or a later one, is active, gives the folder's Compose files names that end in C(.adopted), and puts files
        of their names there by which Compose refuses every command with a message. Nothing else in O(folder) is changed.
        O(state=absent) takes them away again.
      - A call that makes the release sets none, since the release is not active yet; the next call does.
    type: bool
    default: false
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well, of which C(kind) matters here.
    type: dict
    default: {}
  owner:
    description:
      - The user who owns trees and runs git. Without it the one who runs the module.
    type: str
requirements:
  - Docker Engine 20.10 or newer
  - Docker Compose 2.24 or newer
  - Docker SDK for Python 5.0 or newer (package C(python3-docker))
  - git, where the folder is a checkout
"""

EXAMPLES = r"""
- name: Take over what runs from a checkout in somebody's home
  evenkeel.deploy.release_adopt:
    path: /srv/travel
    project_name: travel
    files: [docker-compose.prod.yml]
    owner: deploy
  register: adopted

- name: Make it the current release
  evenkeel.deploy.symlink_release:
    path: /srv/travel
    release: "{{ adopted.release }}"
    state: active
"""

RETURN = r"""
msg:
  description: What was adopted, in a sentence.
  returned: always
  type: str
release:
  description: The release's id, empty in check mode.
  returned: always
  type: str
release_path:
  description: Its folder, empty in check mode.
  returned: always
  type: str
folder:
  description: The folder that it runs from.
  returned: when there is one
  type: str
revision:
  description: The commit where the folder does not differ from it, else forty digits of a digest over the content.
  returned: when there is one
  type: str
local_edits:
  description: Files of the folder that differ from the commit that is checked out.
  returned: when there is a release
  type: list
  elements: str
container_edits:
  description: Files that were changed by hand in containers; they go when these are replaced.
  returned: when there is a release
  type: list
  elements: str
data:
  description: What is mounted out of the folder and is no part of a version, and where it stays.
  returned: when something was adopted
  type: dict
images:
  description: Per service the ids of the images that run.
  returned: when something was adopted
  type: dict
callers:
  description: Lines on commands of cron, systemd and the folder's scripts that call Compose for the folder, and what to do with them.
  returned: when something was adopted
  type: list
  elements: str
branch:
  description: Where O(capture) has kept what was found, empty where nothing was.
  returned: when there is a release
  type: str
notes:
  description: What is worth knowing.
  returned: when there is a release
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "release_adopt")


if __name__ == "__main__":
    main()
