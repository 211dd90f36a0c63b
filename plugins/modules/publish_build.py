#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_build
short_description: Put what the jobs of a release built beside the files that the proxy serves
description:
  - Takes what M(evenkeel.deploy.compose_job) has had built for a release and puts it beside the live files, in a one-off
    container without a network that has both. Membership in the group C(docker) is enough.
  - What pages name comes first, then manifests, pages, C(index.html) and the service worker. All of it is copied before the
    first file is replaced, each file is moved into place by a rename, with owner and permissions.
  - Files of earlier releases stay, so that a page which was loaded before finds its files after, and the other way round after
    going back. With O(releases_dir) those that only releases had which are gone are taken away, and what was built for them;
    a file that no publication has written down never is.
  - What is replaced is kept for O(state=restored).
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.project
  - evenkeel.deploy.project.attributes
attributes:
  diff_mode:
    support: none
options:
  django_service:
    description:
      - A service whose image has Python; as in M(evenkeel.deploy.compose_job).
    type: str
    required: true
  service_options:
    description:
      - As in M(evenkeel.deploy.compose_job).
    type: dict
    default: {}
  services:
    description:
      - Jobs whose files are published, with those of others that build parts of the same site. Without it all of them.
    type: list
    elements: str
    default: []
  refuse_broken:
    description:
      - Publish nothing that is no small change of the build before, but a broken one. That is where pages of it are missing or
        empty, or load nothing of the site any more, where a page newly names files of the site that are not there, where bytes or
        files are less than half, and where a file has other bytes under a name with the same hash. Not looked at with
        O(state=restored).
    type: bool
    default: false
  refuse_same:
    description:
      - With O(refuse_broken), publish nothing either that is the same as what is served.
    type: bool
    default: false
  drop_edits:
    description:
      - Let files go that somebody changed by hand since they were published, and that this build has otherwise. Otherwise they stop it.
        What an entrypoint wrote when its container was started is replaced in any case.
    type: bool
    default: false
  releases_dir:
    description:
      - Folder with the releases that there are. Without it nothing is ever taken away.
    type: path
  state:
    description:
      - V(offered) puts there what replaces nothing, for before the roll. Where a service of the app reads the files as well, it is
        everything, since they are read when a container starts.
      - V(published) is everything, V(restored) the way back from it.
    type: str
    choices: [offered, published, restored]
    default: published
  timeout:
    description:
      - Time it may take for each volume or folder.
    type: str
    default: 10m
"""

EXAMPLES = r"""
- name: Show the front end of a release
  evenkeel.deploy.publish_build:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    django_service: api
    releases_dir: /srv/travel/releases
"""

RETURN = r"""
files:
  description: How many files were moved into place.
  returned: always
  type: int
replaced:
  description: How many of them were there with another content.
  returned: always
  type: int
removed:
  description: How many files of releases that are gone were taken away.
  returned: always
  type: int
notes:
  description: What is worth knowing, such as files that were replaced and have no hash in their names.
  returned: always
  type: list
  elements: str
msg:
  description: The same in a sentence.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "publish_build")


if __name__ == "__main__":
    main()
