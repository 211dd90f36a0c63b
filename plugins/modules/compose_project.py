#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_project
short_description: Resolve Compose files into the compose.yaml of a release
description:
  - Resolves the project's own Compose files as Compose does and writes the result as C(compose.yaml) (mode 0600) beside
    them, with absolute paths, built images tagged with the revision, and files that services mount from the release
    replaced by content-addressed copies.
  - Everyone uses that file, so that an admin's plain C(docker compose up -d) recreates nothing.
  - It has the values of all variables, and lies where images would be built from. So its build contexts in the release are paths
    that do not exist, C(docker compose build) fails, and M(evenkeel.deploy.compose_build) builds from a copy without that file.
  - Services that run to completion get the profile C(evenkeel-jobs), and nothing depends on them any more, so that none is
    started as a side effect. M(evenkeel.deploy.compose_job) runs them; by hand C(docker compose run --rm NAME) does.
  - The project's own C(compose.yaml), and override files that Compose would read beside it, get another name
    (C(.evenkeel.) in front), by which they are found again. So this is for a release's folder, not for a checkout.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.project
  - evenkeel.deploy.project.attributes
options:
  revision:
    description:
      - The commit that the release is the tree of.
    type: str
    required: true
  mounts_dir:
    description:
      - Folder for the copies of mounted files.
    type: path
    required: true
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well, of which C(kind) matters here.
    type: dict
    default: {}
  reuse_images:
    description:
      - Keep an image of the release in O(serving_src), under its own name, where a build would make it from the same files.
        Outside of its context nothing counts. Of files in it that nothing in production reads (documentation, tests, CI,
        Compose files, and nginx's configuration where its Dockerfile has no nginx) those count that its Dockerfile or another
        file of the app mentions. RV(notes) names the images that are kept.
    type: bool
    default: false
  regenerate:
    description:
      - Whether the file is generated from the user's files and today's environment. V(false) leaves the one that is there, and
        returns the same of it.
    type: bool
    default: true
  live_dir:
    description:
      - Folder in which a proxy finds what it mounts out of the tree, such as its configuration, at paths that never change.
        They are filled where they are not there yet, and M(evenkeel.deploy.nginx_reload) brings a release's files there.
      - Without it a proxy mounts copies like everyone, and has to be created anew when they change.
    type: path
  serving_src:
    description:
      - Folder of the release that serves now. Databases, brokers and proxies of which only the environment differs from it
        keep what they run with, and RV(notes) says so. Without it every service gets its environment.
    type: path
  data_dir:
    description:
      - Folder for what is mounted by a relative path and is not in the revision, such as C(./pgdata) or C(./media). It is data,
        and lies there for all releases. A folder of the revision with nothing but C(.gitkeep) counts as well.
      - A folder that the revision has files of, and that containers of the serving release have written others to, is data too and
        stays where it is. With code of the revision in it, it is refused.
      - Without it such a mount is refused.
    type: path
"""

EXAMPLES = r"""
- name: Resolve the project of a release
  evenkeel.deploy.compose_project:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    files: [docker-compose.prod.yml]
    project_name: travel
    revision: 5d33865fdfc578b623a4dde03705b70f6820116e
    mounts_dir: /srv/travel/mounts
    live_dir: /srv/travel/shared/proxy
    data_dir: /srv/travel/shared
"""

RETURN = r"""
path:
  description: The generated file.
  returned: always
  type: str
project_name:
  description: The project's name.
  returned: always
  type: str
services:
  description: The services of the project.
  returned: always
  type: list
  elements: str
jobs:
  description: Those of them that run to completion.
  returned: always
  type: list
  elements: str
notes:
  description: What is worth knowing, such as an environment that is kept.
  returned: always
  type: list
  elements: str
live:
  description: The services that find what they mount out of the tree in O(live_dir).
  returned: always
  type: list
  elements: str
images:
  description: For each service that is built the image it runs.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "compose_project")


if __name__ == "__main__":
    main()
