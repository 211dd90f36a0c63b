#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hotfix_live
short_description: Change uploads or built files where they are served, and take that back
description:
  - Files of a volume or folder are replaced in a one-off container without a network that has it. No container of the app is
    replaced or restarted. Membership in the group C(docker) is enough.
  - All of them are written beside the live ones before the first is replaced, and each is moved into place by a rename; what is
    replaced is kept in the folder's C(.evenkeel). A call that was killed is taken up by the same call.
  - Of built files (V(frontend)) those with a hash in their names keep what they hold, since browsers do. The changed one gets another
    name, and so does each file that names it, up to the pages, which come last. The old ones stay. A compressed twin C(.gz) is
    made anew; so are others where the app's Python can, and else they are taken away where they would be of the file before.
  - Refused are a changed file with a hash in its name that no page leads to by its whole name, one whose checksum is said elsewhere
    (C(integrity), the list of a service worker), links, and paths that lead out of the folder.
  - The hotfix is kept with its checksums under C(hotfixes/) in O(state_dir).
  - Where the site does not answer O(health_url) and O(prove) as it should once files have changed, they go back.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.release
  - evenkeel.deploy.hotfix
  - evenkeel.deploy.staging
  - evenkeel.deploy.operation
  - evenkeel.deploy.smoke_test
  - evenkeel.deploy.project.attributes
options:
  kind:
    description:
      - V(media) is what users have uploaded, V(frontend) what a build has made and the proxy serves. Not looked at with
        O(state=reverted).
    type: str
    choices: [media, frontend]
    default: media
  target:
    description:
      - Where the folder is mounted, in O(django_service) for V(media), in the proxy for V(frontend). Without it the one mount called
        C(media) or C(uploads), or the one mount that a job builds to or that is C(/usr/share/nginx/html) or its like.
    type: str
  file_owner:
    description:
      - Owner and group of the files as numbers, such as C(1000:1000). Without it those of the file before, or of the folder.
    type: str
  mode:
    description:
      - Their permissions, such as V(0644). Without it those of the file before, or V(0644).
    type: str
  name:
    description:
      - What the hotfix is called. Without it a name made from the content.
    type: str
  state:
    description:
      - V(reverted) puts back what the hotfix O(name) has replaced. Files that somebody replaced since are left, and named. Copies
        under new names stay, for pages that are open.
      - It is refused where another hotfix lies on one of its files.
      - V(checked) changes no file, and tells which uploads of hotfixes that are in force are not what these put there any more, each
        once.
    type: str
    choices: [applied, reverted, checked]
    default: applied
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well, of which C(kind) matters here.
    type: dict
    default: {}
  django_service:
    description:
      - The service whose image has the Django project.
    type: str
    required: true
  timeout:
    description:
      - Time that it may take.
    type: str
    default: 5m
  owner:
    description:
      - The user who owns trees. Without it the one who runs the module.
    type: str
requirements:
  - Docker Engine 20.10 or newer
  - Docker Compose 2.24 or newer
  - Docker SDK for Python 5.0 or newer (package C(python3-docker))
"""

EXAMPLES = r"""
- name: Replace a picture
  evenkeel.deploy.hotfix_live:
    path: /srv/travel
    kind: media
    files:
      - path: banners/summer.jpg
        src: summer.jpg
    name: banner
    django_service: api

- name: Take it back
  evenkeel.deploy.hotfix_live:
    path: /srv/travel
    name: banner
    state: reverted
    django_service: api
"""

RETURN = r"""
whole:
  description:
    - Whether it was done as O(operation). Where that is given and this is false, nothing was done, since somebody has to be waited for or
      the way back of a killed run comes first; then hold the lock (M(evenkeel.deploy.deploy_lock)) and call again without it.
  returned: always
  type: bool
name:
  description: What the hotfix is called.
  returned: always
  type: str
kind:
  description: What it changes.
  returned: always
  type: str
files:
  description: The files that it writes or takes away, in that order; also those that name a changed one.
  returned: always
  type: list
  elements: str
public_paths:
  description:
    - Paths of the site under which these files are served, as nginx says by C(root) or C(alias), else by custom (C(/media/), C(/)), for
      who keeps copies of them; also of one that was there already.
  returned: always
  type: list
  elements: str
summary:
  description: What was done, as the operation's record has it, for people.
  returned: when it was the whole operation, or the last call of it
  type: list
  elements: str
next:
  description: Lines for the end of the operation, such as the command that takes it back.
  returned: always
  type: list
  elements: str
notes:
  description: What is worth knowing.
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
    runtime.run(AnsibleModule, "hotfix_live")


if __name__ == "__main__":
    main()
