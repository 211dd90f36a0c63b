#!/usr/bin/python
# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: change_plan
short_description: Tell which change a version is, and how an update brings it in
description:
  - Compares the revision that runs with the one that is wanted, file by file, and puts each changed file into a class.
  - With what M(evenkeel.deploy.compose_rolling) and M(evenkeel.deploy.django_migrate) found out it tells which services are
    replaced and why, by which strategy, with which gap, for how long, with how much memory, and how large the risk is.
  - Touches nothing and takes no lock.
version_added: 0.1.0
author:
  - evenkeel contributors (@evenkeel)
extends_documentation_fragment:
  - evenkeel.deploy.release
  - evenkeel.deploy.project.attributes
options:
  to_ref:
    description:
      - The revision that is wanted, as M(evenkeel.deploy.symlink_release) returned it.
    type: str
    required: true
  from_ref:
    description:
      - The revision that is compared with it. The labels of the containers of O(service) in O(rolled) go before it. Without
        either nothing runs.
    type: str
  version:
    description:
      - What a person called O(to_ref).
    type: str
  app_name:
    description:
      - The app's name.
    type: str
    required: true
  service:
    description:
      - The service whose containers say which revision runs.
    type: str
    default: api
  compose_files:
    description:
      - The app's Compose files, whatever they are called.
    type: list
    elements: str
    default: []
  rolled:
    description:
      - What M(evenkeel.deploy.compose_rolling) returned in check mode. Where it failed this module fails as well, with the
        plan before that message.
    type: dict
    default: {}
  migrations:
    description:
      - What M(evenkeel.deploy.django_migrate) returned with C(state=planned).
    type: dict
    default: {}
  built:
    description:
      - Names of the images that were built for it.
    type: list
    elements: str
    default: []
  containers:
    description:
      - Whether the app runs in containers. Of another one files, time and risk are told.
    type: bool
    default: true
  backup:
    description:
      - Whether the database is backed up first.
    type: bool
    default: false
  strategy:
    description:
      - The strategy that was asked for. V(auto) is whichever the change needs.
    type: str
    choices: [auto, rolling, canary, blue_green, quick]
    default: auto
  owner:
    description:
      - The user who runs git. Without it the one who runs the module.
    type: str
requirements:
  - git
"""

EXAMPLES = r"""
- name: See which files lie between what runs and v2
  evenkeel.deploy.change_plan:
    path: /srv/travel
    app_name: travel
    from_ref: v1
    to_ref: v2
    owner: deploy
  register: change

- name: Find out which services would be replaced
  evenkeel.deploy.compose_rolling:
    project_src: /srv/travel/releases/20261120T084911Z-5d33865
  check_mode: true
  register: rolled

- name: See the whole plan
  evenkeel.deploy.change_plan:
    path: /srv/travel
    app_name: travel
    to_ref: v2
    rolled: "{{ rolled }}"
    owner: deploy
"""

RETURN = r"""
from_revision:
  description: The revision that runs, empty where nothing runs or its containers do not tell.
  returned: always
  type: str
to_revision:
  description: The revision that is wanted.
  returned: always
  type: str
classes:
  description:
    - Class → changed paths. C(unknown) counts as the strongest, then C(compose), C(build), C(dependency), C(migration),
      C(environment), C(nginx), C(code), C(frontend), C(template), C(static), and C(docs) (documentation, tests, CI).
    - Empty where the repository does not have both revisions.
  returned: always
  type: dict
  sample: {"migration": ["tours/migrations/0004_rating.py"], "code": ["tours/models.py"]}
strategy:
  description:
    - V(none) replaces nothing, V(reload) loads nginx's configuration anew, V(rolling) starts new containers beside old ones, V(quick) has
      a gap. Without O(rolled) the weakest that is surely enough for the changed files.
    - Empty where that cannot be known yet.
  returned: always
  type: str
services:
  description: What becomes of each service, with C(service), C(kind), C(action) and C(why).
  returned: always
  type: list
  elements: dict
gaps:
  description: What is without service for a moment.
  returned: always
  type: list
  elements: str
risk:
  description: V(low), V(medium) or V(high), by how much of it cannot be taken back.
  returned: always
  type: str
reasons:
  description: Why the risk is what it is.
  returned: always
  type: list
  elements: str
seconds:
  description: The C(median), the C(least) and the C(most) seconds of the last five updates that ended well; empty before the first.
  returned: always
  type: dict
memory:
  description: Bytes C(needed) beside what runs for a while, and C(available).
  returned: always, empty without O(rolled)
  type: dict
notes:
  description: What is worth knowing.
  returned: always
  type: list
  elements: str
text:
  description: The plan as a table for people.
  returned: always
  type: list
  elements: str
msg:
  description: The same as one text.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import runtime


def main() -> None:
    """Run the module."""
    runtime.run(AnsibleModule, "change_plan")


if __name__ == "__main__":
    main()
