#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hotfix_in_place
short_description: Put a small change into the containers that run, until it is made a release
description:
  - For the worst night. Code and templates are replaced in the running containers themselves, whose processes are made to load them.
    No image and no release has it, so a container that is created anew comes without it. M(evenkeel.deploy.hotfix_patch) makes it one,
    from the same files or by its C(capture), and until then M(evenkeel.deploy.deploy_info) tells that it is to be done.
  - What is refused as a hotfix by M(evenkeel.deploy.hotfix_patch) is refused here as well, by the same checks, and so is what is no code
    or template in an image. The patched modules are imported, the patched templates compiled, and C(manage.py check) is asked,
    in a container of its own, before any running one is touched.
  - Files are written beside those they replace, and put into their place by a rename, with the owner and permissions of before;
    what Python has compiled of them goes. What was there is kept in O(state_dir) first.
  - Which processes have loaded a changed file is seen in their memory, so that it does not matter how they were started. gunicorn's
    workers are started anew by their master where that has loaded nothing of it, and all else is started again with its container.
    It has succeeded when no process that was there before the change has it in its memory and takes requests.
  - One web container after the other. Where there are several, nginx is led away from each meanwhile, as M(evenkeel.deploy.compose_rolling)
    does it. Requests to a single one wait while its workers start, which needs nftables; where they cannot be made to wait it is refused
    unless O(allow_downtime). Workers are told to fetch nothing more first, and their tasks end.
  - Whatever fails is put back in all containers. A run that was killed is finished by the same call again.
  - There is one such hotfix at a time. It belongs to the release whose containers have it.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.release
  - evenkeel.deploy.hotfix
  - evenkeel.deploy.hotfix.source
  - evenkeel.deploy.staging
  - evenkeel.deploy.operation
  - evenkeel.deploy.project.attributes
options:
  state:
    description:
      - V(reverted) brings the files of O(name) back to what the images have.
    type: str
    choices: [applied, reverted]
    default: applied
  name:
    description:
      - What the hotfix is called. Without it that of O(ref) without C(hotfix/), else one made from the content. With the name of the one
        that is in place it becomes that one, and files that are not of it any more go back.
    type: str
  service_options:
    description:
      - Per service what C(x-evenkeel) may say as well, as in M(evenkeel.deploy.compose_rolling).
    type: dict
    default: {}
  django_service:
    description:
      - The service whose image has the Django project, and of which O(canary) is asked.
    type: str
    required: true
  prove:
    description:
      - Requests that each changed web container has to answer rightly before its users come back to it, and nginx afterwards.
    type: list
    elements: dict
  canary:
    description:
      - The same, besides what a service always has to answer. The first container that has the change is asked before another gets it.
    type: list
    elements: dict
  log_lines:
    description:
      - How many log lines since the change are told.
    type: int
    default: 50
  allow_downtime:
    description:
      - Let requests fail where they cannot be kept from a container that has to be started again.
    type: bool
    default: false
requirements:
  - root on the target
  - git
  - nftables and util-linux, for requests that wait
  - Docker Engine 20.10 or newer
  - Docker Compose 2.24 or newer
  - Docker SDK for Python 5.0 or newer (package C(python3-docker))
"""

EXAMPLES = r"""
- name: Put a corrected view into what runs
  evenkeel.deploy.hotfix_in_place:
    path: /srv/travel
    repo: git@git.example.com:travel/shop.git
    files:
      - path: tours/views.py
        src: views.py
    name: price
    compose_files: [docker-compose.prod.yml]
    shared: [.env]
    django_service: api
    canary:
      - path: /tours/1/
        contains: EUR
    owner: deploy

- name: Take it back
  evenkeel.deploy.hotfix_in_place:
    path: /srv/travel
    repo: git@git.example.com:travel/shop.git
    name: price
    state: reverted
    compose_files: [docker-compose.prod.yml]
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
known:
  description: V(false) where O(state=reverted) and no hotfix in place is called so.
  returned: always
  type: bool
files:
  description: All files of the tree that are changed.
  returned: always
  type: list
  elements: str
containers:
  description: The containers that were changed by this call.
  returned: always
  type: list
  elements: str
revision:
  description: The hotfix's commit.
  returned: always
  type: str
seal:
  description: The command that makes it a release.
  returned: always
  type: str
logs:
  description: The last O(log_lines) lines that the changed containers have written since, all together in the order of time.
  returned: always
  type: list
  elements: str
rolled_back:
  description: Whether everything is as the images have it.
  returned: on failure
  type: bool
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
  description: What is worth knowing, such as what users notice.
  returned: always
  type: list
  elements: str
timeline:
  description: What was done and how long it took.
  returned: always
  type: list
  elements: dict
msg:
  description: The same in a sentence.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "hotfix_in_place")


if __name__ == "__main__":
    main()
