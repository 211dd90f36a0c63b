#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: django_static
short_description: Publish a version's static files beside those of the version that serves
description:
  - Runs C(collectstatic) of the new image into a folder beside the live one, then moves what is new into place, the
    manifest last. Nothing is deleted, and the manifest keeps the entries of the version before, so that a worker of it
    that starts anew still finds its files.
  - What is replaced is kept for O(state=restored). What fails half-way is put back at once.
  - Files of earlier releases stay, so that a page which was loaded before finds its files after. With O(releases_dir) those
    that only releases had which are gone are taken away; a file that no publication has written down never is.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.project
  - evenkeel.deploy.project.attributes
options:
  service:
    description:
      - The service whose image has the Django project and whose volumes hold C(STATIC_ROOT).
    type: str
    required: true
  revision:
    description:
      - The commit whose files these are. Publishing the same one again changes nothing.
      - With O(state=restored) nothing is put back if another one was published last.
    type: str
  state:
    description:
      - V(published), or V(restored) for the way back after a publication.
    type: str
    choices: [published, restored]
    default: published
  releases_dir:
    description:
      - Folder with the releases that there are. Without it no file is ever taken away.
    type: path
  asked_in:
    description:
      - A container of the same code that M(evenkeel.deploy.compose_rolling) has asked for the schema, and that waits for more. Where it
        is not there any more, one is started.
    type: str
  manage_py:
    description:
      - Path of C(manage.py) in the image, from its working directory.
    type: str
    default: manage.py
  timeout:
    description:
      - Time it may take.
    type: str
    default: 10m
"""

EXAMPLES = r"""
- name: Publish the static files of a release
  evenkeel.deploy.django_static:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
    service: api
    revision: 5d33865fdfc578b623a4dde03705b70f6820116e
    releases_dir: /srv/travel/releases
"""

RETURN = r"""
files:
  description: How many files were moved into place.
  returned: always
  type: int
removed:
  description: How many files of releases that are gone were taken away.
  returned: outside check mode
  type: int
root:
  description: C(STATIC_ROOT) in the container.
  returned: outside check mode
  type: str
msg:
  description: The same in a sentence.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "django_static")


if __name__ == "__main__":
    main()
